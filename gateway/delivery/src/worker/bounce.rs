//! Telling a sender what became of a message: which recipients, which notice, and one commit with the message that
//! tells and the fact that it was told.
//!
//! A null sender is told nothing (RFC 5321 6.1), nor is one who said NOTIFY=NEVER or not this one (RFC 3461 4.1); the
//! queue is told all the same, so that it stops asking. A sender of ours gets the report into the mailbox, and where
//! that one's mail is sent on; any other by the outbound queue, with a null sender of its own. A sender that we rewrote
//! ([`Srs`]) is the one that it was made of. A sender of ours who is gone is told nothing more. A report that itself
//! cannot be delivered is dropped, or told to the postmaster where the policy `queue.double_bounce` says so.

use securanet_gateway::{
    model::{
        Address, ReversePath, StoreError, TenantId, UnixMillis,
        account::AccountRef,
        content::{NewMessage, Sealed},
        delivery::{DeliverTo, FanOut, FanOutTarget},
        directory::{Destinations, DirectoryAnswer, DirectoryQuery, LocalRecipient, Resolution},
        limits::ACCEPTED_OUTBOUND_MAX,
        outbound::{
            Acceptance, EnvelopeOptions, ItemView, Notice, Notify, Origin, Outbound, OutboundCommand,
            OutboundRecipient, OutboundReply, RecipientView, State,
        },
        policy::Scope,
    },
    srs::Srs,
    store::Content,
};

use super::{Core, queue::Queue};
use crate::{
    metric,
    report::{Action, Report, Written},
};

/// The tenant of reports to strangers, until there are several.
const TENANT: TenantId = TenantId::new(1);
const DOUBLE_BOUNCE: &str = "queue.double_bounce";
/// Layout of a recipient's prefix inside its [`Sealed`]: the bytes as they are.
const PREFIX_FORMAT: u8 = 1;

/// Recipients that are told about together.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Telling {
    notice: Notice,
    /// Which is the same for all of them.
    action: Action,
    positions: Vec<u32>,
    /// Somebody wants to hear it; otherwise only the queue is told.
    aloud: bool,
}

/// Tells the sender which recipients have ended.
pub(crate) async fn tell_end(core: &Core, queue: &Queue, item: u64) -> Result<(), StoreError> {
    let Some(view) = queue.item(item).await? else { return Ok(()) };
    for telling in ends(&view) {
        tell(core, queue, &view, telling).await?;
    }
    Ok(())
}

/// Tells the sender which recipients still wait.
pub(crate) async fn tell_delay(core: &Core, queue: &Queue, item: u64) -> Result<(), StoreError> {
    let Some(view) = queue.item(item).await? else { return Ok(()) };
    let now = core.now();
    let is_due = |recipient: &&RecipientView| recipient.delay_due.is_some_and(|due| due <= now) && !is_ended(recipient);
    let due = view.recipients.iter().filter(is_due);
    for telling in tellings(&view.sender, due.map(|recipient| (Notice::Delay, recipient))) {
        tell(core, queue, &view, telling).await?;
    }
    Ok(())
}

const fn is_ended(recipient: &RecipientView) -> bool {
    matches!(recipient.state, State::Delivered | State::Failed | State::Cancelled)
}

/// What is to be told of the ends of an item.
fn ends(view: &ItemView) -> Vec<Telling> {
    let untold = view.recipients.iter().filter(|recipient| !recipient.end_told);
    let notices = untold.filter_map(|recipient| match recipient.state {
        State::Failed => Some((Notice::Failure, recipient)),
        State::Delivered => Some((Notice::Success, recipient)),
        _ => None,
    });
    tellings(&view.sender, notices)
}

/// By what there is to tell, and by whether somebody wants to hear it.
fn tellings<'a>(sender: &ReversePath, notices: impl Iterator<Item = (Notice, &'a RecipientView)>) -> Vec<Telling> {
    let mut tellings: Vec<Telling> = Vec::new();
    for (notice, recipient) in notices {
        let aloud = *sender != ReversePath::Null && wants(recipient, notice);
        let action = Action::of(notice, recipient);
        let same = |telling: &&mut Telling| (telling.action, telling.aloud) == (action, aloud);
        match tellings.iter_mut().find(same) {
            Some(telling) => telling.positions.push(recipient.position),
            None => tellings.push(Telling { notice, action, positions: vec![recipient.position], aloud }),
        }
    }
    tellings
}

/// RFC 3461 4.1 and 5.2: failures and delays unless said otherwise, successes only when asked for, and only where no
/// other server has taken that duty over.
fn wants(recipient: &RecipientView, notice: Notice) -> bool {
    let taken_over = recipient.history.last().is_some_and(|last| last.outcome.is_told_elsewhere());
    match (recipient.recipient.notify, notice) {
        (Notify::Never, _) | (Notify::Default, Notice::Success) => false,
        (Notify::Default, Notice::Failure | Notice::Delay) => true,
        (Notify::On { failure, .. }, Notice::Failure) => failure,
        (Notify::On { delay, .. }, Notice::Delay) => delay,
        (Notify::On { success, .. }, Notice::Success) => success && !taken_over,
    }
}

async fn tell(core: &Core, queue: &Queue, view: &ItemView, telling: Telling) -> Result<(), StoreError> {
    let Telling { notice, positions, aloud, .. } = telling;
    let message = match notice {
        _ if aloud => compose(core, queue, view, &positions, notice).await?,
        Notice::Failure if is_double_bounce(view) => for_postmaster(core, queue, view, &positions).await?,
        _ => None,
    };
    let is_told = message.is_some();
    let recipients = positions.len();
    let report = OutboundCommand::Report { item: view.item, notice, positions, message: message.map(Box::new) };
    match queue.tell(&report).await {
        OutboundReply::Reported if notice == Notice::Failure && is_double_bounce(view) => {
            metric::double_bounced(is_told);
            tracing::warn!(group = %queue.group(), mail = view.trace_id, is_told, "a report could not be delivered");
            Ok(())
        }
        OutboundReply::Reported if is_told => {
            metric::reported(notice);
            tracing::info!(group = %queue.group(), mail = view.trace_id, ?notice, recipients, "the sender was told");
            Ok(())
        }
        // Somebody else was faster, or an earlier try of this was.
        OutboundReply::Reported | OutboundReply::NoItem => Ok(()),
        OutboundReply::WindowFull(group) => {
            Err(StoreError::Unavailable(format!("too much mail is on its way to group {group}")))
        }
        other => Err(StoreError::Internal(format!("a report was answered with {other:?}"))),
    }
}

/// Where the sender is.
enum Sender {
    /// At addresses of ours.
    Ours(Destinations),
    /// Somewhere else.
    Elsewhere(Address),
    /// Nowhere any more.
    Gone,
}

async fn find(core: &Core, sender: &ReversePath, queued: UnixMillis) -> Result<Sender, StoreError> {
    // A literal's host has no mailboxes of ours, and no destination of the queue.
    let ReversePath::Address(address) = sender else { return Ok(Sender::Gone) };
    let restored = if Srs::is_rewritten(address) { restore(core, address, queued).await? } else { None };
    let address = restored.as_ref().unwrap_or(address);
    let is_enough = |found: &Resolution| matches!(found, Resolution::Local(_) | Resolution::Foreign);
    match core.client.resolve(DirectoryQuery::Resolve(address.clone()), is_enough).await? {
        Resolution::Local(found) => Ok(Sender::Ours(found)),
        Resolution::Foreign => Ok(Sender::Elsewhere(address.clone())),
        Resolution::TooMany(at) => {
            tracing::error!(sender = %address, %at, "a sender leads to too many to be told");
            Ok(Sender::Gone)
        }
        Resolution::Unknown | Resolution::Suspended => Ok(Sender::Gone),
    }
}

/// The sender that an address was made of, where we made it. Its age counted when its mail was queued: how long we have
/// tried since is no reason not to tell.
async fn restore(core: &Core, address: &Address, queued: UnixMillis) -> Result<Option<Address>, StoreError> {
    match core.client.look_up(DirectoryQuery::Cluster).await? {
        DirectoryAnswer::Cluster(Some(cluster)) => Ok(Srs::new(&cluster.login_key).restore(address, queued).ok()),
        other => Err(StoreError::Internal(format!("not the cluster: {other:?}"))),
    }
}

/// The message that tells; `None` when there is nobody to be told.
async fn compose(
    core: &Core,
    queue: &Queue,
    view: &ItemView,
    positions: &[u32],
    notice: Notice,
) -> Result<Option<Acceptance>, StoreError> {
    let sender = find(core, &view.sender, view.queued).await?;
    let tenant = match &sender {
        Sender::Ours(found) => tenant_of(found).unwrap_or(TENANT),
        Sender::Elsewhere(_) => TENANT,
        Sender::Gone => {
            tracing::warn!(mail = view.trace_id, sender = %view.sender, "a sender who is gone cannot be told");
            return Ok(None);
        }
    };
    let Some(report) = Report::new(view, positions, notice, &core.names, core.now()) else { return Ok(None) };
    let (message, written) = write(core, queue, (view.item, tenant), &report).await?;
    Ok(Some(match sender {
        Sender::Ours(found) => to_ours(message, found, &view.sender, &written),
        Sender::Elsewhere(address) => {
            Acceptance { fan_out: Vec::new(), outbound: vec![outbound(message, address, Origin::Report, &written)] }
        }
        Sender::Gone => return Ok(None),
    }))
}

async fn write(
    core: &Core,
    queue: &Queue,
    (item, tenant): (u64, TenantId),
    report: &Report<'_>,
) -> Result<(NewMessage, Written), StoreError> {
    let original = original(core, queue, item).await?;
    let mut sink = core.client.store().put(tenant, Vec::new(), None).await?;
    let written = report.write(original.as_deref(), &mut *sink).await?;
    Ok((sink.finish().await?.message, written))
}

/// Whether this is a report of ours. What others sent with a null sender, or what came in for somebody here and went on,
/// is nothing to tell the postmaster: so the notice cannot cause another, wherever the postmaster's mail goes.
fn is_double_bounce(view: &ItemView) -> bool {
    view.sender == ReversePath::Null && view.origin == Origin::Report
}

/// The notice of a report that could not be delivered, for the postmaster's mailbox; `None` where the policy is to drop it.
async fn for_postmaster(
    core: &Core,
    queue: &Queue,
    view: &ItemView,
    positions: &[u32],
) -> Result<Option<Acceptance>, StoreError> {
    let policy = DirectoryQuery::Policy(DOUBLE_BOUNCE.to_owned(), Scope::Cluster);
    match core.client.look_up(policy).await? {
        DirectoryAnswer::Policy(Some((value, _))) if value == "postmaster" => {}
        DirectoryAnswer::Policy(_) => return Ok(None),
        other => return Err(StoreError::Internal(format!("policy {DOUBLE_BOUNCE} was answered with {other:?}"))),
    }
    let is_enough = |found: &Resolution| matches!(found, Resolution::Local(_));
    let found = match core.client.resolve(DirectoryQuery::ResolvePostmaster, is_enough).await? {
        Resolution::Local(found) => found,
        _ => Destinations::default(),
    };
    let postmaster = Address::parse(&format!("postmaster@{}", core.names.hostname));
    let (Some(tenant), Ok(postmaster)) = (tenant_of(&found), postmaster) else {
        tracing::warn!(mail = view.trace_id, "a report could not be delivered, and nobody is postmaster here");
        return Ok(None);
    };
    let to = (core.now(), &postmaster);
    let report = Report::to_postmaster(view, positions, Notice::Failure, &core.names, to);
    let (message, written) = write(core, queue, (view.item, tenant), &report).await?;
    Ok(Some(to_ours(message, found, &ReversePath::Address(postmaster), &written)))
}

/// Whose content a report to addresses of ours is.
fn tenant_of(found: &Destinations) -> Option<TenantId> {
    let of_account = found.accounts.first().map(|account| account.tenant);
    of_account.or_else(|| found.onward.first().map(|onward| onward.tenant))
}

/// The message that the report is about; none when it is damaged: the sender is told without it.
async fn original(core: &Core, queue: &Queue, item: u64) -> Result<Option<Box<dyn Content>>, StoreError> {
    match core.client.store().open_outbound(queue.group(), item).await {
        Ok(content) => Ok(Some(content)),
        Err(error @ (StoreError::NotFound | StoreError::Damaged(_))) => {
            tracing::error!(group = %queue.group(), item, %error, "a report has to do without its message");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The accounts by group, each with the fields that final delivery adds (RFC 5321 4.4).
fn targets(accounts: &[LocalRecipient], address: &ReversePath) -> Vec<FanOutTarget> {
    let to = match address {
        ReversePath::Address(address) => address.to_string(),
        other => other.to_string(),
    };
    let prefix = format!("Return-Path: <>\r\nDelivered-To: {to}\r\n").into_bytes();
    let mut targets: Vec<FanOutTarget> = Vec::new();
    for account in accounts {
        let to = DeliverTo {
            account: AccountRef { id: account.account, epoch: account.epoch },
            folder: None,
            prefix: Sealed::plain(PREFIX_FORMAT, prefix.clone()),
            prefix_size_bytes: prefix.len() as u64,
            repeat_key: None,
        };
        match targets.iter_mut().find(|target| target.group == account.group) {
            Some(target) => target.to.push(to),
            None => targets.push(FanOutTarget { group: account.group, to: vec![to] }),
        }
    }
    targets
}

/// The report in the mailboxes of a sender of ours, and on its way to where that one's mail is sent on.
fn to_ours(message: NewMessage, found: Destinations, sender: &ReversePath, written: &Written) -> Acceptance {
    let Destinations { accounts, mut onward } = found;
    // A sender is one person: one whose address leads to more places than a report can go to hears of it at the first.
    onward.truncate(ACCEPTED_OUTBOUND_MAX);
    let sent_on = onward.into_iter().map(|on| outbound(message.clone(), on.address, Origin::Forward(on.by), written));
    let outbound = sent_on.collect();
    let targets = targets(&accounts, sender);
    let fan_out =
        if targets.is_empty() { Vec::new() } else { vec![FanOut { message, sender: ReversePath::Null, targets }] };
    Acceptance { fan_out, outbound }
}

fn outbound(message: NewMessage, to: Address, origin: Origin, written: &Written) -> Outbound {
    let recipient = OutboundRecipient {
        destination: to.domain().as_str().to_owned(),
        address: to.into(),
        // Nobody is told of a report's own fate.
        notify: Notify::Never,
        original: None,
    };
    Outbound {
        message,
        sender: ReversePath::Null,
        recipients: vec![recipient],
        options: EnvelopeOptions {
            eight_bit: written.eight_bit,
            utf8: written.utf8,
            require_tls: written.require_tls,
            // We write it, in the name of a domain of ours.
            author_checked: true,
            ..EnvelopeOptions::default()
        },
        origin,
        message_id: Some(written.message_id.clone()),
        trace_id: uuid::Uuid::now_v7().simple().to_string(),
        hold_until: None,
        repeat_key: None,
    }
}

#[cfg(test)]
mod tests;
