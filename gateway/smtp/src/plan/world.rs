//! What of a message goes into the world: for recipients outside, and for those that addresses of ours send it on to.
//!
//! One [`Outbound`] for each organisation, sender and origin. What the sender asked to be told of (RFC 3461) goes with
//! it to a recipient outside, and to one that an address of ours leads to alone (5.2.7.1); without SUCCESS to one of
//! several (5.2.7.2); not at all through a list, whose owner gets what comes back (5.2.7.3). Of the success of these two
//! we tell ourselves, so their mail waits ([`local`]).
//!
//! An address outside gets one copy, and what was asked for it by its own name counts: recipients that lead to one place
//! go before those that lead to several.
//!
//! Mail that has been sent on by an address before, and says so in a Delivered-To field, is not sent on by it again.

use std::collections::{HashMap, HashSet};

use securanet_gateway::model::{
    Address, Command, GroupId, KeyedHash, RecipientAddress, ReversePath, TenantId,
    content::Ingested,
    delivery::FanOut,
    limits::{ACCEPTED_FAN_OUT_MAX, ACCEPTED_OUTBOUND_MAX, RECIPIENTS_MAX},
    outbound::{
        Acceptance, EnvelopeOptions, LOCAL_DESTINATION, Notify, Origin, Outbound, OutboundCommand, OutboundRecipient,
    },
};

use super::{Copy, Request, Seen, local, targets};
use crate::{
    envelope::{Accepted, Envelope, Outlet, Recipient, SentOn},
    grammar::Body,
};

/// Names the hash of [`repeat_key`]; frozen, since stores remember its results for three days.
const REPEAT_CONTEXT: &str = "securanet-mail 1 repeat of a message for the world";

/// A recipient in the world.
struct Abroad {
    group: GroupId,
    tenant: TenantId,
    sender: ReversePath,
    origin: Origin,
    through_list: bool,
    recipient: OutboundRecipient,
}

/// All recipients in the world, each address once.
pub(super) struct World {
    abroad: Vec<Abroad>,
    /// For each recipient of the envelope, those that it led to.
    pub(super) by_recipient: Vec<Vec<usize>>,
    /// Addresses of ours that have sent the message on before.
    pub(super) looped: Vec<Address>,
}

impl World {
    pub(super) fn new(envelope: &Envelope, messages: &[(TenantId, Ingested)], separate: bool) -> Self {
        let outlet = envelope.outlet.clone().or_else(|| local::outlet(envelope));
        let been = messages.first().map(|(_, ingested)| ingested.delivered_to.iter().map(String::as_str).collect());
        let been: HashSet<&str> = been.unwrap_or_default();
        let mut world = Self { abroad: Vec::new(), by_recipient: Vec::new(), looped: Vec::new() };
        let mut met: HashMap<String, usize> = HashMap::new();
        world.by_recipient = vec![Vec::new(); envelope.recipients.len()];
        for (place, recipient) in in_order(&envelope.recipients) {
            let mut of_recipient = Vec::new();
            let waits = super::waits(envelope, recipient, separate);
            for abroad in led_to(envelope, recipient, outlet.as_ref(), waits) {
                if let Origin::Forward(by) = &abroad.origin
                    && been.contains(by.canonical().as_str())
                {
                    world.looped.push(by.clone());
                    continue;
                }
                let place = *met.entry(abroad.recipient.address.canonical()).or_insert_with(|| {
                    world.abroad.push(abroad);
                    world.abroad.len() - 1
                });
                of_recipient.push(place);
            }
            world.by_recipient[place] = of_recipient;
        }
        world
    }

    pub(super) const fn len(&self) -> usize {
        self.abroad.len()
    }
}

/// Recipients with their places, those first that were named outside, then those that lead to few.
fn in_order(recipients: &[Recipient]) -> Vec<(usize, &Recipient)> {
    let mut ordered: Vec<_> = recipients.iter().enumerate().collect();
    ordered.sort_by_key(|(_, recipient)| recipient.accepted.accounts().len() + recipient.accepted.onward().len());
    ordered
}

/// Where an accepted recipient leads in the queue: into the world, or to its mailboxes later.
fn led_to(envelope: &Envelope, recipient: &Recipient, outlet: Option<&Outlet>, waits: bool) -> Vec<Abroad> {
    let original = || {
        let original = recipient.rcpt.original.as_ref();
        original.map(|original| format!("{};{}", original.address_type, original.address))
    };
    let itself = |address: RecipientAddress, outlet: &Outlet, destination: &str| {
        vec![Abroad {
            group: outlet.group,
            tenant: outlet.tenant,
            sender: envelope.mail.sender.clone(),
            origin: outlet.origin.clone(),
            through_list: false,
            recipient: OutboundRecipient {
                address,
                destination: destination.to_owned(),
                notify: recipient.rcpt.notify,
                original: original(),
            },
        }]
    };
    match (&recipient.accepted, recipient.rcpt.recipient.address(), outlet) {
        (Accepted::Outside { destination }, Some(address), Some(outlet)) => itself(address, outlet, destination),
        (Accepted::Local { .. }, Some(address), Some(outlet)) if waits => itself(address, outlet, LOCAL_DESTINATION),
        (Accepted::Local { accounts, onward, .. }, ..) => {
            let asked = recipient.rcpt.notify;
            let notify = if accounts.len() + onward.len() == 1 { asked } else { asked.without_success() };
            onward.iter().map(|onward| sent_on(onward, notify, original())).collect()
        }
        _ => Vec::new(),
    }
}

fn sent_on(onward: &SentOn, notify: Notify, original: Option<String>) -> Abroad {
    let (notify, original) = if onward.through_list { (Notify::Default, None) } else { (notify, original) };
    Abroad {
        group: onward.group,
        tenant: onward.tenant,
        sender: onward.sender.clone(),
        origin: Origin::Forward(onward.by.clone()),
        through_list: onward.through_list,
        recipient: OutboundRecipient {
            destination: onward.to.domain().as_str().to_owned(),
            address: onward.to.clone().into(),
            notify,
            original,
        },
    }
}

/// What is needed to write the commands of a plan with recipients in the world.
pub(super) struct Writer<'a> {
    pub(super) envelope: &'a Envelope,
    pub(super) messages: &'a [(TenantId, Ingested)],
    pub(super) seen: Seen<'a>,
    pub(super) copies: &'a [Copy],
    pub(super) world: &'a World,
}

impl Writer<'_> {
    /// One request for these copies, all in one acceptance as long as it holds them.
    pub(super) fn request(&self, bundle: &[usize]) -> Request {
        let (here, abroad): (Vec<usize>, Vec<usize>) = bundle.iter().partition(|&&copy| copy < self.copies.len());
        let first = abroad.first().map(|&copy| self.abroad(copy).group);
        let group = self.envelope.outlet.as_ref().map(|outlet| outlet.group).or(first).unwrap_or(GroupId::DIRECTORY);
        let mut packing = Packing::default();
        for (tenant, ingested) in self.messages {
            let about: Vec<usize> = here.iter().copied().filter(|&copy| self.copies[copy].tenant == *tenant).collect();
            if !about.is_empty() {
                let sender = self.envelope.mail.sender.clone();
                let targets = targets(self.copies, &about);
                packing.add_fan_out(FanOut { message: ingested.message.clone(), sender, targets }, about);
            }
            for about in self.alike(*tenant, &abroad) {
                for about in about.chunks(RECIPIENTS_MAX) {
                    packing.add_outbound(self.outbound(ingested, about), about);
                }
            }
        }
        let (commands, copies) = packing.acceptances.into_iter().unzip();
        Request { group, commands: commands_of(commands), copies }
    }

    fn abroad(&self, copy: usize) -> &Abroad {
        &self.world.abroad[copy - self.copies.len()]
    }

    /// The recipients of a tenant's message by sender and origin, in order of appearance.
    fn alike(&self, tenant: TenantId, abroad: &[usize]) -> Vec<Vec<usize>> {
        let mut alike: Vec<Vec<usize>> = Vec::new();
        let mut places: HashMap<(String, String), usize> = HashMap::new();
        for &copy in abroad {
            let to = self.abroad(copy);
            if to.tenant != tenant {
                continue;
            }
            let place = *places.entry((to.sender.to_string(), format!("{:?}", to.origin))).or_insert_with(|| {
                alike.push(Vec::new());
                alike.len() - 1
            });
            alike[place].push(copy);
        }
        alike
    }

    /// The message for recipients with the same sender and origin; there is at least one.
    fn outbound(&self, ingested: &Ingested, about: &[usize]) -> Outbound {
        let first = self.abroad(about[0]);
        let recipients: Vec<_> = about.iter().map(|&copy| self.abroad(copy).recipient.clone()).collect();
        let repeat_key = repeat_key(ingested, &self.envelope.mail.sender, &first.origin, &recipients);
        Outbound {
            message: ingested.message.clone(),
            sender: first.sender.clone(),
            options: self.options(first, &recipients),
            recipients,
            origin: first.origin.clone(),
            message_id: ingested.message_id.clone(),
            trace_id: self.seen.id.to_owned(),
            hold_until: self.envelope.hold_until,
            repeat_key,
        }
    }

    fn options(&self, first: &Abroad, recipients: &[OutboundRecipient]) -> EnvelopeOptions {
        let (mail, seen) = (&self.envelope.mail, self.seen);
        let sender_needs_utf8 = matches!(&first.sender, ReversePath::Address(address) if address.needs_utf8());
        let address_needs_utf8 =
            sender_needs_utf8 || recipients.iter().any(|to| !to.is_local() && to.address.needs_utf8());
        let of_sender = !first.through_list;
        EnvelopeOptions {
            ret: mail.ret.filter(|_| of_sender),
            envelope_id: mail.envelope_id.clone().filter(|_| of_sender),
            eight_bit: mail.body == Body::EightBitMime || seen.eight_bit,
            // RFC 6531 3.1: asked for by the client, and needed; a header in Latin-1 is no reason to ask for it.
            utf8: mail.utf8 && (address_needs_utf8 || seen.eight_bit_header),
            require_tls: mail.require_tls,
            deliver_by: self.envelope.deliver_by.filter(|_| of_sender),
            author_checked: self.envelope.submitter.is_some(),
        }
    }
}

/// Acceptances that keep their bounds, with the copies that each is about. Almost always there is one.
#[derive(Default)]
struct Packing {
    acceptances: Vec<(Acceptance, Vec<usize>)>,
    /// Recipients in the world of the last one.
    recipients: usize,
}

impl Packing {
    fn add_fan_out(&mut self, fan_out: FanOut, about: Vec<usize>) {
        let (acceptance, copies) = self.with_room(0);
        acceptance.fan_out.push(fan_out);
        copies.extend(about);
    }

    fn add_outbound(&mut self, outbound: Outbound, about: &[usize]) {
        let (acceptance, copies) = self.with_room(about.len());
        acceptance.outbound.push(outbound);
        copies.extend(about);
        self.recipients += about.len();
    }

    /// The last acceptance, or a new one when that is full.
    fn with_room(&mut self, recipients: usize) -> &mut (Acceptance, Vec<usize>) {
        let has_room = self.acceptances.last().is_some_and(|(last, _)| {
            last.fan_out.len() < ACCEPTED_FAN_OUT_MAX
                && last.outbound.len() < ACCEPTED_OUTBOUND_MAX
                && self.recipients + recipients <= RECIPIENTS_MAX
        });
        if !has_room {
            self.acceptances.push(Default::default());
            self.recipients = 0;
        }
        let last = self.acceptances.len() - 1;
        &mut self.acceptances[last]
    }
}

fn commands_of(acceptances: Vec<Acceptance>) -> Vec<Command> {
    let accept = |acceptance| Command::Outbound(OutboundCommand::Accept(Box::new(acceptance)));
    acceptances.into_iter().map(accept).collect()
}

/// Recognises this sender's repeat of this message for these recipients. The sender is the one that the client named:
/// a rewritten one changes from day to day. As for accounts, a message without a Message-ID has none.
fn repeat_key(
    message: &Ingested,
    sender: &ReversePath,
    origin: &Origin,
    recipients: &[OutboundRecipient],
) -> Option<KeyedHash> {
    message.message_id.as_ref()?;
    let mut hasher = blake3::Hasher::new_derive_key(REPEAT_CONTEXT);
    hasher.update(&message.repeat_key.0);
    let by = if let Origin::Forward(by) = origin { by.canonical() } else { String::new() };
    let addresses = recipients.iter().map(|recipient| recipient.address.canonical());
    for text in [sender.to_string(), by].into_iter().chain(addresses) {
        // No address has a zero octet.
        hasher.update(text.as_bytes()).update(&[0]);
    }
    let mut key = [0; 16];
    key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    Some(KeyedHash(key))
}
