//! A group's outbound queue: messages for the world, each recipient with its own fate.
//!
//! An *item* is a message with its sender, stored once, and its *recipients*. Workers, in whatever gateway, hold a
//! *lease*, *take* recipients that are due, try, *intend* just before the final dot, and *settle* with what
//! happened. The queue alone says when something is due: it has no clock but the group's, which the entries' stamps
//! move.
//!
//! # The state table of a recipient
//!
//! Each recipient is in one state, and has exactly the index rows that stand here ([`moves`]).
//!
//! | state | index rows | what happens next | file |
//! |---|---|---|---|
//! | *(none)* | | `Accept` (or the message of a `Report`) commits item, recipients and deliveries to groups of ours together, or is refused whole: `WindowFull`, `OutOfBounds` | [`enter`] |
//! | waiting, not yet due | `OutboundWaiting`; `OutboundUnreached` too if its hosts could not be reached | time passes; `Destination` found living makes the unreached due; an operator | [`due`], [`destination`], [`operate`] |
//! | waiting, due | the same | `Take` under a living lease makes it taken; past its RFC 2852 deadline it fails instead | [`take`] |
//! | taken | `OutboundTaken` | `Intend` under the same living lease and attempt makes it sending; any outcome settles it; `TakeOver` of the ended lease makes it due at once; an operator may take it away | [`intend`], [`settle`], [`take_over`] |
//! | sending | `OutboundTaken` | an outcome settles it; `TakeOver` of the ended lease, or the outcome *uncertain*, makes it wait 11 minutes from the dot and marks it; an operator may do nothing | [`settle`], [`take_over`] |
//! | held | none | an operator releases, reroutes, cancels or fails it | [`operate`] |
//! | delivered | none | nothing; told if SUCCESS was asked | [`ends`], [`report`] |
//! | failed | none | told by `Report`, unless NEVER or a null sender; a late *delivered* makes it delivered | [`ends`], [`report`], [`settle`] |
//! | cancelled | none | nothing is told; a late *delivered* makes it delivered | [`operate`], [`settle`] |
//!
//! # Outcomes (`Settle`)
//!
//! | outcome | of the attempt that decides | of any other attempt without an outcome |
//! |---|---|---|
//! | delivered | delivered | delivered |
//! | permanent | failed | kept for the trace |
//! | temporary, no such domain | waiting until the [`schedule`]'s next time; failed when there is none | kept for the trace |
//! | not tried | waiting until it says; counts nothing | kept for the trace |
//! | uncertain | waiting until 11 minutes after the dot, marked; an outcome that comes later still counts | kept for the trace, marked |
//!
//! The attempt that decides is the last one that was begun, until it has an outcome or an operator spoke. An
//! attempt that has an outcome, or never began, is passed over: settling twice is settling once. The queue remembers
//! sixteen attempts without outcome of a recipient; each of them needed a lease that ended.
//!
//! # The state table of an item
//!
//! | state | rows | what happens next | file |
//! |---|---|---|---|
//! | open | `OutboundItem`, `OutboundItemState`, `OutboundContent`, its blobs' reachability, `OutboundRecipient`, `OutboundAttempt` | its last recipient ends and the last one that is to be told is told: closed, in that same change | [`change`] |
//! | closed | the same without state, content and reachability; a row of the timeline | kept for the trace for 7 days, then `Forget` | [`forget`] |
//!
//! # What is guaranteed
//!
//! The client is told 250 after `Accept` is committed. From then on:
//! - **Nothing is lost.** Each recipient has exactly one row and one state; only `Forget` removes it, seven days after
//!   everybody of the item ended and was told of. The content is there, and its blobs are reachable, until the last
//!   recipient has ended *and* the sender was told what it is to be told, because the report quotes it.
//! - **Nobody is given up silently.** Failing and the duty to tell are one change. Telling and the fact that it was
//!   told are one change ([`report`]).
//! - **One attempt at a time passes the dot.** A recipient is taken by one lease; the final dot needs that lease living
//!   at the commit of the intent, and the very attempt. Who lost either is told `false`.
//! - **A sender's repeat is taken in once** ([`repeats`]), for 72 hours, where the message has a key to know it by.
//! - **Repeats are marked.** A recipient is tried again without the outcome of an attempt that may have passed the dot
//!   only after 11 minutes, with `uncertain` counted on the recipient and, when the repeat begins, in the group.
//!   Nobody can close that window (RFC 1047).
//! - **Our faults cost nobody a retry.** Ended leases, *not tried* and operators count nothing.
//! - **Bounded.** A command changes at most 1,000 recipients and their items, destinations and senders (a submission
//!   brings its own; settlements are facts and all recorded). What it costs does not grow with the queue: a page of
//!   [`due`] costs what it shows, the depth reads two rows, a settlement a few; now and then, when the last recipient
//!   with the earliest delay notice goes, it looks at the recipients of that item.
//!
//! Not guaranteed: that a worker is there; that what a worker says is true; that a lease outlives a change of the
//! leader that takes longer than the lease. Leases run on the group's clock, which jumps over the time in which
//! nobody stamped: such a worker finds its lease ended, its taken recipients are due again, and its outcomes are
//! still recorded.

mod attempts;
mod change;
mod destination;
mod due;
mod ends;
mod enter;
mod forget;
mod intend;
mod lease;
mod moves;
mod operate;
mod repeats;
mod report;
mod rows;
mod schedule;
mod settle;
mod take;
mod take_over;
mod timeline;
mod timers;
mod trace;

use securanet_model::{
    UnixMillis,
    outbound::{OutboundAnswer, OutboundCommand, OutboundQuery, OutboundReply},
};

use self::rows::{Counters, Keys};
use crate::{
    EngineError,
    recover::JUMP,
    tx::{ReadView, Tx},
};

/// Recipients that one command may change, and those that one with more to do changes at a time: some megabytes of
/// rows, applied in some milliseconds on each replica.
const PLACES_MAX: usize = 1000;
/// Rows of a page.
const ROWS_MAX: u32 = 1000;

/// Applies a command. A refusal may leave changes behind in `tx`: whoever calls rolls back.
pub(crate) fn apply(
    tx: &mut Tx<'_>,
    clock: UnixMillis,
    command: &OutboundCommand,
) -> Result<OutboundReply, EngineError> {
    match command {
        OutboundCommand::Accept(acceptance) => enter::accept(tx, clock, acceptance),
        OutboundCommand::Lease { worker, epoch } => lease::lease(tx, clock, *worker, *epoch),
        OutboundCommand::Take { epoch, places } => take::take(tx, clock, *epoch, places),
        OutboundCommand::Intend { epoch, places } => intend::intend(tx, clock, *epoch, places),
        OutboundCommand::Settle(settlements) => settle::settle(tx, clock, settlements),
        OutboundCommand::TakeOver { epoch } => take_over::take_over(tx, clock, *epoch),
        OutboundCommand::Report { item, notice, positions, message } => {
            report::report(tx, clock, *item, (*notice, positions), message.as_deref())
        }
        OutboundCommand::Destination { destination, alive } => destination::found(tx, clock, destination, *alive),
        OutboundCommand::Operate { places, action } => operate::operate(tx, clock, places, action),
        OutboundCommand::Forget => forget::forget(tx, clock),
    }
}

/// The queue was rebuilt from what one replica had: workers may hold places and leases that it does not know of, and nothing
/// else may get their numbers.
pub(crate) fn recover(tx: &mut Tx<'_>, clock: UnixMillis) -> Result<(), EngineError> {
    let mut change = change::Change::open(tx, clock)?;
    let counters = &mut change.counters;
    counters.next_item = counters.next_item.saturating_add(JUMP);
    counters.next_epoch = counters.next_epoch.saturating_add(JUMP);
    if counters.items == 0 {
        counters.oldest = counters.next_item;
    }
    change.close()
}

/// Answers a query.
pub(crate) fn answer(view: &ReadView<'_>, query: &OutboundQuery) -> Result<OutboundAnswer, EngineError> {
    Ok(match query {
        OutboundQuery::Due { now, after, destinations_max, rows_max } => {
            let page = due::Page { now: *now, destinations_max: *destinations_max, rows_max: *rows_max };
            due::due(view, page, after.as_ref())?
        }
        OutboundQuery::Timers { now, rows_max } => OutboundAnswer::Timers(timers::timers(view, *now, *rows_max)?),
        OutboundQuery::Item(number) => OutboundAnswer::Item(trace::item(view, *number)?.map(Box::new)),
        OutboundQuery::Items { filter, before, rows_max } => trace::items(view, filter, *before, *rows_max)?,
        OutboundQuery::ByMessageId(id) => OutboundAnswer::Items(trace::by_message_id(view, id)?, None),
        OutboundQuery::Content(number) => OutboundAnswer::Content(trace::content(view, *number)?.map(Box::new)),
        OutboundQuery::Depth => OutboundAnswer::Depth(timers::depth(view)?),
        OutboundQuery::Envelope(number) => OutboundAnswer::Item(trace::envelope(view, *number)?.map(Box::new)),
    })
}

fn counters(view: &ReadView<'_>) -> Result<Counters, EngineError> {
    Ok(view.get_record(&Keys(view.space()).counters())?.unwrap_or_default())
}

fn inconsistent(what: &str) -> EngineError {
    EngineError::Inconsistent(format!("outbound queue: {what}"))
}

#[cfg(test)]
mod tests;
