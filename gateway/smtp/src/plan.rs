//! Which commands put one message into its recipients' mailboxes, and what each recipient makes of the replies.
//!
//! Recipients of one group are one Deliver there: one commit, then 250. Recipients of several groups are one FanOut
//! in the group of the first: one commit, then 250, and the queue does the rest. In LMTP each recipient has a reply
//! of its own, so each group is asked by itself, and only a list that spans groups is fanned out.
//!
//! With recipients in the world ([`world`]) all of it is one Accept in the submitter's group, or in that of the first
//! address that sends on: the queue takes the world's copies and the mailboxes' together, or nothing. A mailing that is
//! too large for one is several in one request: should one of them be refused, the client sends all of it again, and
//! queue and mailboxes know the repeat. In LMTP each recipient that leads into the world is asked for by itself.
//!
//! A recipient of ours whose mail waits ([`local`]) goes the same way as the world. From somebody who submits nothing
//! that is one Accept in the shard of the first such recipient.
//!
//! An account reached by several recipients gets one copy, under the first one's folder and Delivered-To, and an address
//! in the world gets one.
//!
//! Pure: values in, values out.

pub(crate) mod local;
mod sent;
mod world;

use std::collections::HashMap;

use securanet_gateway::{
    deposit,
    model::{
        AccountId, Address, Command, GroupId, Reply as StoreReply, ReversePath, StoreError, TenantId,
        account::AccountRefusal,
        content::Ingested,
        delivery::{
            Deliver, DeliverReply, DeliverTo, Delivered, FanOut, FanOutTarget, QueueCommand, QueueReply, QuotaRule,
        },
        directory::LocalRecipient,
        outbound::OutboundReply,
    },
    store::Executed,
};

use self::world::{World, Writer};
use crate::envelope::{Accepted, Envelope, Recipient};

/// Commands for one group, committed together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    pub(crate) group: GroupId,
    pub(crate) commands: Vec<Command>,
    /// For each command, the copies that it is about, in the order of its outcomes.
    copies: Vec<Vec<usize>>,
}

/// What to ask of which group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    pub(crate) requests: Vec<Request>,
    /// Whether each request waits until what the one before it asked for is kept.
    pub(crate) in_order: bool,
    /// For each recipient, the copies that it led to, those for the world behind those for accounts. None: it led
    /// nowhere but back to where the message has been.
    by_recipient: Vec<Vec<usize>>,
    /// Addresses of ours that have sent the message on before, and do not again.
    pub(crate) looped: Vec<Address>,
    copies: usize,
    /// The copy in Sent.
    sent: Option<sent::Place>,
}

/// What was seen of a message while it came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Seen<'a> {
    /// Names it in logs and in its Received field.
    pub(crate) id: &'a str,
    /// It has octets above 127.
    pub(crate) eight_bit: bool,
    /// Its header has some.
    pub(crate) eight_bit_header: bool,
}

/// What became of one copy. Ordered: a recipient of several copies gets the worst.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It is in the mailbox, was there already, or is in the queue.
    Kept {
        /// It was there already.
        repeat: bool,
    },
    /// The account is full.
    OverQuota,
    /// The shard does not have the account as the directory had it.
    Elsewhere,
    /// Too much is on its way to a group, or the shard refuses for a reason of its own.
    Later(&'static str),
    /// The store did not answer, or does not know.
    Failed(StoreError),
}

/// One account's copy.
struct Copy {
    group: GroupId,
    tenant: TenantId,
    quota: QuotaRule,
    to: DeliverTo,
}

impl Plan {
    /// Plans for a message that was put once for each tenant of the envelope. `separate`: each recipient has a
    /// reply of its own (LMTP).
    pub(crate) fn new(envelope: &Envelope, messages: &[(TenantId, Ingested)], seen: Seen<'_>, separate: bool) -> Self {
        let (copies, mut by_recipient) = copies(envelope, messages, separate);
        let mut world = World::new(envelope, messages, separate);
        for (of_recipient, abroad) in by_recipient.iter_mut().zip(&world.by_recipient) {
            of_recipient.extend(abroad.iter().map(|place| copies.len() + place));
        }
        let looped = std::mem::take(&mut world.looped);
        let count = copies.len() + world.len();
        let writer = Writer { envelope, messages, seen, copies: &copies, world: &world };
        let bundles = bundles(&copies, count, &by_recipient, separate);
        let requests = bundles.into_iter().map(|bundle| match bundle.iter().any(|&copy| copy >= copies.len()) {
            true => writer.request(&bundle),
            false => request(&copies, bundle, messages, &envelope.mail.sender),
        });
        let requests = requests.collect();
        let plan = Self { requests, in_order: false, by_recipient, looped, copies: count, sent: None };
        plan.keep_sent(envelope, messages)
    }

    /// What became of each copy, given what became of each request.
    pub(crate) fn fates(&self, results: &[Result<Executed, StoreError>]) -> Vec<Fate> {
        let mut fates = vec![Fate::Failed(StoreError::Internal("a copy was not asked for".to_owned())); self.copies];
        for (request, result) in self.requests.iter().zip(results) {
            for (at, copies) in request.copies.iter().enumerate() {
                for (place, &copy) in copies.iter().enumerate() {
                    fates[copy] = match result {
                        Ok(executed) => fate(executed.replies.get(at), place),
                        Err(error) => Fate::Failed(error.clone()),
                    };
                }
            }
        }
        fates
    }

    /// Whether some recipient of these leads nowhere but back to where the message has been.
    pub(crate) fn leads_nowhere(&self) -> bool {
        self.by_recipient.iter().any(Vec::is_empty)
    }

    /// The fates of one recipient's copies.
    pub(crate) fn of_recipient<'a>(&'a self, recipient: usize, fates: &'a [Fate]) -> impl Iterator<Item = &'a Fate> {
        self.by_recipient[recipient].iter().map(|&copy| &fates[copy])
    }
}

impl Request {
    /// Whether all that it asked for was kept.
    pub(crate) fn is_kept(&self, result: &Result<Executed, StoreError>) -> bool {
        let Ok(executed) = result else { return false };
        let mut places =
            self.copies.iter().enumerate().flat_map(|(at, copies)| (0..copies.len()).map(move |place| (at, place)));
        places.all(|(at, place)| fate(executed.replies.get(at), place).gravity() == 0)
    }
}

impl Fate {
    /// How much it stands in the way of a 250.
    pub(crate) const fn gravity(&self) -> u8 {
        match self {
            Self::Kept { .. } => 0,
            Self::OverQuota => 1,
            Self::Later(_) => 2,
            Self::Elsewhere => 3,
            Self::Failed(_) => 4,
        }
    }
}

/// One copy per account, in order; and which copies each recipient led to.
fn copies(envelope: &Envelope, messages: &[(TenantId, Ingested)], separate: bool) -> (Vec<Copy>, Vec<Vec<usize>>) {
    let alone = separate || envelope.recipients.len() == 1;
    let mut copies: Vec<Copy> = Vec::new();
    let mut by_account: HashMap<AccountId, usize> = HashMap::new();
    let mut by_recipient = Vec::with_capacity(envelope.recipients.len());
    for recipient in &envelope.recipients {
        if waits(envelope, recipient, separate) {
            by_recipient.push(Vec::new());
            continue;
        }
        let prefix = |account: &LocalRecipient| {
            // RFC 5321 3.9.2: what a list leads to comes from its owner. The null sender stays.
            let owner = account.list_owner.clone().filter(|_| envelope.mail.sender != ReversePath::Null);
            let sender = owner.map(ReversePath::Address);
            deposit::recipient_prefix(sender.as_ref().unwrap_or(&envelope.mail.sender), &recipient.rcpt.recipient)
        };
        let quota = if alone && recipient.enforces_quota() { QuotaRule::Enforced } else { QuotaRule::Admitted };
        let of_recipient = recipient.accepted.accounts().iter().map(|account| {
            *by_account.entry(account.account).or_insert_with(|| {
                let ingested = messages.iter().find(|(tenant, _)| *tenant == account.tenant).map(|(_, found)| found);
                let repeat_key =
                    ingested.and_then(|found| deposit::repeat_key(found, &envelope.mail.sender, account.account));
                let to = deposit::deliver_to(account, &prefix(account), repeat_key);
                copies.push(Copy { group: account.group, tenant: account.tenant, quota, to });
                copies.len() - 1
            })
        });
        by_recipient.push(of_recipient.collect());
    }
    (copies, by_recipient)
}

/// Whether a recipient of ours waits in the queue instead of getting its mail at once. In LMTP each recipient has a reply
/// of its own, which the queue cannot give.
fn waits(envelope: &Envelope, recipient: &Recipient, separate: bool) -> bool {
    matches!(recipient.accepted, Accepted::Local { .. }) && !separate && local::waits(envelope, recipient)
}

/// Which copies are asked for together: all; or in LMTP each group's, and what a list or an address that sends on leads
/// to by itself. There are `count`, those for accounts first.
fn bundles(copies: &[Copy], count: usize, by_recipient: &[Vec<usize>], separate: bool) -> Vec<Vec<usize>> {
    if !separate {
        return if count == 0 { Vec::new() } else { vec![(0..count).collect()] };
    }
    let mut taken = vec![false; count];
    let mut bundles: Vec<Vec<usize>> = Vec::new();
    let mut by_group: HashMap<GroupId, usize> = HashMap::new();
    for of_recipient in by_recipient {
        let fresh: Vec<usize> = of_recipient.iter().copied().filter(|&copy| !taken[copy]).collect();
        fresh.iter().for_each(|&copy| taken[copy] = true);
        match fresh.as_slice() {
            [] => {}
            [copy] if *copy < copies.len() => {
                let bundle = *by_group.entry(copies[*copy].group).or_insert_with(|| {
                    bundles.push(Vec::new());
                    bundles.len() - 1
                });
                bundles[bundle].push(*copy);
            }
            _ => bundles.push(fresh),
        }
    }
    bundles
}

/// The request for one bundle: a Deliver for each tenant and quota rule, or a FanOut for each tenant.
fn request(copies: &[Copy], bundle: Vec<usize>, messages: &[(TenantId, Ingested)], sender: &ReversePath) -> Request {
    let group = bundle.first().map_or(GroupId::DIRECTORY, |&first| copies[first].group);
    let one_group = bundle.iter().all(|&copy| copies[copy].group == group);
    let mut request = Request { group, commands: Vec::new(), copies: Vec::new() };
    for (tenant, ingested) in messages {
        let of_tenant = bundle.iter().copied().filter(|&copy| copies[copy].tenant == *tenant);
        let message = || ingested.message.clone();
        if one_group {
            for quota in [QuotaRule::Enforced, QuotaRule::Admitted] {
                let about: Vec<usize> = of_tenant.clone().filter(|&copy| copies[copy].quota == quota).collect();
                if !about.is_empty() {
                    let to = about.iter().map(|&copy| copies[copy].to.clone()).collect();
                    request.commands.push(Command::Deliver(Deliver { key: None, message: message(), to, quota }));
                    request.copies.push(about);
                }
            }
            continue;
        }
        let about: Vec<usize> = of_tenant.collect();
        if !about.is_empty() {
            let fan_out = FanOut { message: message(), sender: sender.clone(), targets: targets(copies, &about) };
            request.commands.push(Command::Queue(QueueCommand::FanOut(fan_out)));
            request.copies.push(about);
        }
    }
    request
}

/// The copies by group; groups in order of appearance.
fn targets(copies: &[Copy], about: &[usize]) -> Vec<FanOutTarget> {
    let mut targets: Vec<FanOutTarget> = Vec::new();
    for copy in about.iter().map(|&copy| &copies[copy]) {
        let to = copy.to.clone();
        match targets.iter_mut().find(|target| target.group == copy.group) {
            Some(target) => target.to.push(to),
            None => targets.push(FanOutTarget { group: copy.group, to: vec![to] }),
        }
    }
    targets
}

/// What the reply to one command means for the copy at `place` in it.
fn fate(reply: Option<&StoreReply>, place: usize) -> Fate {
    let strange = |what: String| Fate::Failed(StoreError::Internal(what));
    match reply {
        Some(StoreReply::Deliver(DeliverReply::Outcomes(outcomes))) => match outcomes.get(place) {
            Some(Delivered::Stored { .. }) => Fate::Kept { repeat: false },
            Some(Delivered::Repeat) => Fate::Kept { repeat: true },
            Some(Delivered::Refused(AccountRefusal::OverQuota)) => Fate::OverQuota,
            Some(Delivered::Refused(AccountRefusal::NoAccount | AccountRefusal::WrongEpoch(_))) => Fate::Elsewhere,
            Some(Delivered::Refused(AccountRefusal::NoUidsLeft)) => Fate::Later("mailbox has no UIDs left"),
            Some(Delivered::Refused(other)) => strange(format!("delivery refused: {other}")),
            None => strange("an outcome is missing".to_owned()),
        },
        Some(StoreReply::Queue(QueueReply::Queued(_))) => Fate::Kept { repeat: false },
        Some(StoreReply::Outbound(OutboundReply::Accepted(items))) => {
            Fate::Kept { repeat: !items.is_empty() && items.iter().all(|item| item.repeat) }
        }
        Some(StoreReply::Queue(QueueReply::WindowFull(_)) | StoreReply::Outbound(OutboundReply::WindowFull(_))) => {
            Fate::Later("too much mail is on its way")
        }
        Some(StoreReply::Unknown) => Fate::Failed(StoreError::Unavailable("the outcome is not known".to_owned())),
        other => strange(format!("the store answered out of turn: {other:?}")),
    }
}

#[cfg(test)]
mod tests;
