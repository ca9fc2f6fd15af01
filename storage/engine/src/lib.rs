//! Truth: `apply(state, stamp, commands) -> changes and replies`, `answer(state, query) -> answer`.
//!
//! Deterministic: no clock, no randomness, no sockets, no iteration over hash maps. The same log gives the same
//! bytes on each replica.
//!
//! This file only sorts commands and queries to their rooms: `requests` remembers replies, `directory` is
//! group 0, `account` the mailboxes of a shard, `queue` and `fanin` the two ends of the fan-out, `queue::outbound` the
//! mail for the world. A command runs inside a savepoint and a refused one is rolled back, so a refusal changes nothing whatever its room did.

mod account;
mod directory;
mod fanin;
#[cfg(test)]
mod frozen;
pub mod fuzz;
#[cfg(test)]
mod harness;
pub mod keys;
mod queue;
mod reachability;
mod recover;
mod requests;
mod tx;

use securanet_kv::{KvError, Read, WriteBatch};
use securanet_model::{
    AccountId, Answer, Command, GroupId, Query, Reply, UnixMillis,
    account::{AccountRefusal, AccountReply},
    delivery::{DeliverReply, Delivered, QueueReply},
    directory::DirectoryReply,
    outbound::OutboundReply,
    record::RecordError,
    request::{Execute, Proposal, Recover, Topic},
};

pub use crate::keys::Space;
use crate::tx::{ReadView, Tx};

/// Why the engine could not go on. The replica stops: skipping would let replicas differ.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The disk.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// A record of the state does not decode.
    #[error("state: {0}")]
    Record(#[from] RecordError),
    /// The state contradicts itself.
    #[error("state is inconsistent: {0}")]
    Inconsistent(String),
}

/// What applying a proposal gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// The changes; whoever applies adds its own applied row to the same batch.
    pub batch: WriteBatch,
    /// Replies by request, then by command.
    pub replies: Vec<Vec<Reply>>,
    /// What changed, for watches; sorted, distinct.
    pub touched: Vec<Topic>,
    /// How many of the requests had been applied before: they were answered as then.
    pub recalled: usize,
}

/// Applies one log entry to the state that `view` shows.
///
/// # Errors
/// [`EngineError`]; nothing is changed then.
pub fn apply(view: &dyn Read, space: Space, proposal: &Proposal) -> Result<Applied, EngineError> {
    let mut tx = Tx::new(view, space);
    let mut memory = requests::Memory::open(&tx, proposal.stamp)?;
    let mut replies = Vec::with_capacity(proposal.requests.len());
    for request in &proposal.requests {
        replies.push(apply_request(&mut tx, &mut memory, request)?);
    }
    let recalled = memory.recalled();
    memory.close(&mut tx, proposal.requests.len())?;
    let (batch, touched) = tx.finish();
    Ok(Applied { batch, replies, touched, recalled })
}

fn apply_request(tx: &mut Tx<'_>, memory: &mut requests::Memory, request: &Execute) -> Result<Vec<Reply>, EngineError> {
    if let Some(replies) = memory.recall(tx, request)? {
        return Ok(replies);
    }
    let mut replies = Vec::with_capacity(request.commands.len());
    for command in &request.commands {
        replies.push(if request.group != tx.view().space().group {
            Reply::WrongGroup
        } else if needs_those_before(command) && !replies.iter().all(is_done) {
            Reply::Account(AccountReply::Refused(AccountRefusal::NotSent))
        } else {
            apply_command(tx, memory.clock(), command)?
        });
    }
    memory.remember(tx, request, &replies);
    Ok(replies)
}

fn apply_command(tx: &mut Tx<'_>, clock: UnixMillis, command: &Command) -> Result<Reply, EngineError> {
    let savepoint = tx.savepoint();
    let reply = run_command(tx, clock, command)?;
    if changed_nothing(&reply) {
        tx.rollback(savepoint);
    } else {
        tx.release(savepoint);
    }
    Ok(reply)
}

fn run_command(tx: &mut Tx<'_>, clock: UnixMillis, command: &Command) -> Result<Reply, EngineError> {
    let in_directory = tx.view().space().group == GroupId::DIRECTORY;
    Ok(match command {
        Command::Directory(command) if in_directory => Reply::Directory(directory::apply(tx, clock, command)?),
        Command::Account(account, command) if !in_directory => {
            Reply::Account(account::apply(tx, clock, *account, command)?)
        }
        Command::Deliver(deliver) if !in_directory => Reply::Deliver(fanin::deliver(tx, clock, deliver)?),
        Command::Queue(command) if !in_directory => Reply::Queue(queue::apply(tx, clock, command)?),
        Command::Outbound(command) if !in_directory => Reply::Outbound(queue::outbound::apply(tx, clock, command)?),
        Command::Recover(command) if in_directory == matches!(command, Recover::Directory { .. }) => {
            recover::apply(tx, clock, command)?
        }
        Command::Directory(_)
        | Command::Account(..)
        | Command::Deliver(_)
        | Command::Queue(_)
        | Command::Outbound(_)
        | Command::Recover(_) => Reply::WrongGroup,
    })
}

const fn needs_those_before(command: &Command) -> bool {
    matches!(command, Command::Account(_, command) if account::needs_those_before(command))
}

/// Whether the reply says that all of the command was done, for each of its recipients.
fn is_done(reply: &Reply) -> bool {
    match reply {
        Reply::Deliver(DeliverReply::Outcomes(outcomes)) => {
            !outcomes.iter().any(|outcome| matches!(outcome, Delivered::Refused(_)))
        }
        other => !changed_nothing(other),
    }
}

/// Whether the reply says that the command was refused as a whole.
const fn changed_nothing(reply: &Reply) -> bool {
    matches!(
        reply,
        Reply::Directory(DirectoryReply::Refused(_))
            | Reply::Account(AccountReply::Refused(_))
            | Reply::Deliver(DeliverReply::KeyRefused)
            | Reply::Queue(QueueReply::WindowFull(_) | QueueReply::NotHeld)
            | Reply::Outbound(
                OutboundReply::WindowFull(_)
                    | OutboundReply::LeaseEnded
                    | OutboundReply::NoItem
                    | OutboundReply::OutOfBounds
            )
            | Reply::Unknown
            | Reply::WrongGroup
    )
}

/// The clock of the group whose state `view` shows: the latest stamp of its entries; `None` before the first.
///
/// # Errors
/// [`EngineError`].
pub fn clock(view: &dyn Read, space: Space) -> Result<Option<UnixMillis>, EngineError> {
    requests::clock(&ReadView::new(view, space))
}

/// The accounts of a shard from `first` on, ascending, at most `rows_max`.
///
/// # Errors
/// [`EngineError`].
pub fn accounts(
    view: &dyn Read,
    space: Space,
    first: AccountId,
    rows_max: usize,
) -> Result<Vec<AccountId>, EngineError> {
    account::ids(&ReadView::new(view, space), first, rows_max)
}

/// Answers a query from the state that `view` shows.
///
/// # Errors
/// [`EngineError`].
pub fn answer(view: &dyn Read, space: Space, query: &Query) -> Result<Answer, EngineError> {
    let view = &ReadView::new(view, space);
    let in_directory = space.group == GroupId::DIRECTORY;
    Ok(match query {
        Query::Directory(query) if in_directory => Answer::Directory(directory::answer(view, query)?),
        Query::Account(account, query) if !in_directory => Answer::Account(account::answer(view, *account, query)?),
        Query::Queue(query) if !in_directory => Answer::Queue(queue::answer(view, query)?),
        Query::Outbound(query) if !in_directory => Answer::Outbound(queue::outbound::answer(view, query)?),
        Query::DomainUsage => Answer::DomainUsage(account::domain_usage(view)?),
        Query::BlobsReachable(blobs) => Answer::BlobsReachable(account::blobs_reachable(view, blobs)?),
        Query::Blobs { after, rows_max } => Answer::Blobs(account::blobs(view, *after, *rows_max)?),
        Query::Totals => Answer::Totals(account::totals(view)?),
        Query::Directory(_) | Query::Account(..) | Query::Queue(_) | Query::Outbound(_) => Answer::WrongGroup,
    })
}
