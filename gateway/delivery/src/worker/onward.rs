//! What waited in the queue for an address of ours that sends its mail on: it goes into the world now.
//!
//! A repeated attempt is taken in once: each message has a key of the recipient's place in the queue. What the sender
//! asked to be told of goes with it as when mail is sent on at once: with SUCCESS to one place (RFC 3461 5.2.7.1), without
//! to several, not at all through a list with an owner.

use securanet_gateway::{
    deposit,
    model::{
        Command, Reply, ReversePath, StoreError,
        content::Ingested,
        directory::{DirectoryAnswer, DirectoryQuery, Onward},
        limits::RECIPIENTS_MAX,
        outbound::{
            Acceptance, EnvelopeOptions, Notify, Origin, Outbound, OutboundCommand, OutboundRecipient, OutboundReply,
            Taken,
        },
    },
    srs::Srs,
};

use super::{
    letter::Verdict,
    local::{Delivery, Found, out_of_turn, window_full},
};

/// What became of sending on.
pub(super) enum Sent {
    /// It goes to somebody.
    On,
    /// To nobody: there was nobody, or all have sent it on before.
    Nowhere,
    /// It cannot be done now.
    Later(Verdict),
}

impl Delivery<'_> {
    /// Sends the message on.
    pub(super) async fn send_on(&mut self, taken: &Taken, found: &Found) -> Result<Sent, StoreError> {
        let onward = &found.onward;
        if onward.is_empty() {
            return Ok(Sent::Nowhere);
        }
        let sender = self.letter.head.view.sender.clone();
        // A stranger who names a sender of ours is a stranger.
        let submitted = self.letter.head.view.origin != Origin::Local;
        let is_ours = match &sender {
            ReversePath::Address(address) if submitted => self.is_ours(address.domain()).await?,
            ReversePath::Address(_) | ReversePath::Null | ReversePath::Literal(_) => false,
        };
        let (srs, now) = (self.srs().await?, self.core.now());
        let mut alike: Vec<(ReversePath, Vec<&Onward>)> = Vec::new();
        for to in onward {
            let sender = srs.sent_on(to, &sender, is_ours, now);
            match alike.iter_mut().find(|(of, others)| *of == sender && others[0].by == to.by) {
                Some((_, others)) => others.push(to),
                None => alike.push((sender, vec![to])),
            }
        }
        let mut sent = Sent::Nowhere;
        for (sender, to) in alike {
            let ingested = self.message(to[0].tenant).await?;
            if ingested.delivered_to.contains(&to[0].by.canonical()) {
                continue;
            }
            for to in to.chunks(RECIPIENTS_MAX) {
                let notify = told(taken.recipient.notify, to[0], found.is_one());
                let outbound = self.outbound(taken, &ingested, (&sender, notify), to);
                let acceptance = Acceptance { fan_out: Vec::new(), outbound: vec![outbound] };
                let command = Command::Outbound(OutboundCommand::Accept(Box::new(acceptance)));
                match self.commit(self.letter.handle.group, command).await? {
                    Reply::Outbound(OutboundReply::Accepted(_)) => sent = Sent::On,
                    Reply::Outbound(OutboundReply::WindowFull(group)) => return Ok(Sent::Later(window_full(group))),
                    other => return Err(out_of_turn(&other)),
                }
            }
        }
        Ok(sent)
    }

    fn outbound(
        &self,
        taken: &Taken,
        ingested: &Ingested,
        (sender, notify): (&ReversePath, Notify),
        to: &[&Onward],
    ) -> Outbound {
        let view = &self.letter.head.view;
        let texts: Vec<String> = to.iter().map(|to| to.address.canonical()).collect();
        let by = to[0].by.canonical();
        let key_of = std::iter::once(by.as_str()).chain(texts.iter().map(String::as_str));
        let of_sender = !to[0].through_list;
        let recipient = |to: &&Onward| OutboundRecipient {
            address: to.address.clone().into(),
            destination: to.address.domain().as_str().to_owned(),
            notify,
            original: taken.recipient.original.clone().filter(|_| of_sender),
        };
        let options = view.options.clone();
        Outbound {
            message: ingested.message.clone(),
            sender: sender.clone(),
            recipients: to.iter().map(recipient).collect(),
            options: EnvelopeOptions {
                ret: options.ret.filter(|_| of_sender),
                envelope_id: options.envelope_id.clone().filter(|_| of_sender),
                deliver_by: options.deliver_by.filter(|_| of_sender),
                ..options
            },
            origin: Origin::Forward(to[0].by.clone()),
            message_id: view.message_id.clone(),
            trace_id: view.trace_id.clone(),
            hold_until: None,
            repeat_key: Some(deposit::onward_key(self.letter.handle.group, taken.place, key_of)),
        }
    }

    async fn is_ours(&self, domain: &securanet_gateway::model::DomainName) -> Result<bool, StoreError> {
        match self.core.client.look_up(DirectoryQuery::Domain(domain.clone())).await? {
            DirectoryAnswer::Domain(domain) => Ok(domain.is_some()),
            other => Err(out_of_turn(&other)),
        }
    }

    async fn srs(&self) -> Result<Srs, StoreError> {
        match self.core.client.look_up(DirectoryQuery::Cluster).await? {
            DirectoryAnswer::Cluster(Some(cluster)) => Ok(Srs::new(&cluster.login_key)),
            other => Err(out_of_turn(&other)),
        }
    }
}

/// Of what the sender hears from those whom the address leads to.
const fn told(asked: Notify, to: &Onward, is_one: bool) -> Notify {
    match asked {
        _ if to.through_list => Notify::Default,
        asked if is_one => asked,
        asked => asked.without_success(),
    }
}
