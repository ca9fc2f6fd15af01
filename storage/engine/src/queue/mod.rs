//! A group's part of the queue: mail for accounts of several groups, kept here until each group has answered.
//!
//! An *item* is a message with its sender, stored once. For each group among its recipients it has one
//! *delivery* with a sequence of its own: counted per pair (this group, target group), from 1, without gaps. A
//! worker reads the unsettled deliveries, has the target group apply each under its key at most once
//! ([`crate::fanin`]), and settles the sequence with whatever the target answered.
//!
//! # The state table of a delivery
//!
//! | state | rows | what happens next | file |
//! |---|---|---|---|
//! | *(none)* | no item | `FanOut` commits item and deliveries together, or is refused whole: `WindowFull` | [`enter`] |
//! | pending | `QueueItem`, `QueueItemState`, `QueuePending` | shown by `Pending` again and again until settled | [`pending`] |
//! | settled | the `QueuePending` row is gone | nothing: the target's answer is final, "over quota" too | [`settle`] |
//! | held | `QueueHeld`, one row per refused recipient; the item stays | shown by `Held` until an operator decides | [`settle`] |
//! | released | its `QueueHeld` row is gone, a `QueuePending` row with a new sequence is there | it is pending | [`held`] |
//! | discarded | its `QueueHeld` row is gone | nothing: the operator gave it up | [`held`] |
//!
//! An item is removed, and its blobs are named no more, in the change that settles its last delivery, unless a
//! recipient is held: then it stays with all its rows, until the last one is released and settled, or discarded.
//!
//! # What is guaranteed
//!
//! The client is told 250 after `FanOut` is committed. From then on each recipient is in exactly one of: a
//! pending delivery, a mailbox (or its repeat), a held row (promise P2). It cannot be in none: a pending row is
//! deleted only by `Settle`, which carries the refusals of the target's own answer, and a held row only together
//! with the pending row that takes its place, or because an operator said `Discard`. It cannot be in a mailbox
//! twice: the target applies a key once. Whoever executes `Deliver` twice, late, or after another worker took
//! over does no harm; whoever settles twice is answered `Settled`.
//!
//! The watermark of a pair, `settled_below`, is the lowest unsettled sequence, or the next one to be given. It
//! only grows; it travels in each key, so that the target can forget the keys below. No sequence is given that is
//! [`FANOUT_WINDOW_MAX`] or more above it, so the target remembers at most that many keys of a pair above the
//! watermark.
//!
//! [`FANOUT_WINDOW_MAX`]: securanet_model::limits::FANOUT_WINDOW_MAX

mod enter;
mod held;
pub(crate) mod outbound;
mod pending;
mod recover;
mod settle;

use securanet_model::{
    ReversePath, UnixMillis,
    account::AccountRefusal,
    content::NewMessage,
    delivery::{DeliverTo, QueueAnswer, QueueCommand, QueueQuery, QueueReply},
};
use serde::{Deserialize, Serialize};

use crate::{
    EngineError,
    keys::Table,
    tx::{ReadView, Tx},
};

/// The row of [`Table::QueueCounters`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Counters {
    /// The number of the next item; never given twice.
    next_item: u64,
    /// Unsettled deliveries.
    pending: u64,
    /// Held recipients.
    held: u64,
}

/// A row of [`Table::QueueItem`]: what never changes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Item {
    queued: UnixMillis,
    sender: ReversePath,
    message: NewMessage,
}

/// A row of [`Table::QueueItemState`]: why the item is still here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct ItemState {
    /// Unsettled deliveries.
    open: u32,
    /// Held recipients.
    held: u32,
}

/// A row of [`Table::QueueTarget`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Target {
    /// The next sequence.
    next: u64,
    /// All sequences below are settled; this one is not, or is the next.
    settled_below: u64,
}

/// A row of [`Table::QueuePending`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Pending {
    item: u64,
    /// When it became pending: the depth is told without reading items.
    queued: UnixMillis,
    to: Vec<DeliverTo>,
}

/// A row of [`Table::QueueHeld`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Held {
    to: DeliverTo,
    refusal: AccountRefusal,
    since: UnixMillis,
}

/// Applies a command. A refusal (`WindowFull`) may leave changes behind in `tx`: whoever calls rolls back.
pub(crate) fn apply(tx: &mut Tx<'_>, clock: UnixMillis, command: &QueueCommand) -> Result<QueueReply, EngineError> {
    match command {
        QueueCommand::FanOut(fan_out) => enter::fan_out(tx, clock, fan_out),
        QueueCommand::Settle { target, sequence, refused } => settle::settle(tx, clock, (*target, *sequence), refused),
        QueueCommand::Release { held, to } => held::release(tx, clock, held, *to),
        QueueCommand::Discard(held) => held::discard(tx, held),
    }
}

pub(crate) use self::recover::recover;

/// Answers a query.
pub(crate) fn answer(view: &ReadView<'_>, query: &QueueQuery) -> Result<QueueAnswer, EngineError> {
    match query {
        QueueQuery::Pending { rows_max } => pending::pending(view, *rows_max).map(QueueAnswer::Pending),
        QueueQuery::Depth => pending::depth(view),
        QueueQuery::Held { after, rows_max } => held::page(view, *after, *rows_max).map(QueueAnswer::Held),
    }
}

fn counters(view: &ReadView<'_>) -> Result<Counters, EngineError> {
    let counters = view.get_record(&view.key(Table::QueueCounters))?;
    Ok(counters.unwrap_or(Counters { next_item: 1, pending: 0, held: 0 }))
}

fn store_counters(tx: &mut Tx<'_>, counters: &Counters) {
    let key = tx.key(Table::QueueCounters);
    tx.put_record(key, counters);
}

fn inconsistent(what: &str) -> EngineError {
    EngineError::Inconsistent(format!("queue: {what}"))
}

#[cfg(test)]
mod tests;
