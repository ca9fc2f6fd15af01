//! Retries of requests: what a request was answered is remembered until its deadline, and a repeat gets it again.
//!
//! One row per request, keyed by `deadline | id`: the deadline is part of a request and the same on each try
//! ([`Execute::deadline`]), so the one point lookup that every delivery pays finds it, and the rows of all
//! requests past their deadline stand together at the table's beginning. They are collected by deleting that
//! range once in [`COLLECT_EVERY_MILLIS`], whatever their number: no scan, no row-by-row deletion. A request
//! whose deadline lies behind the group's clock is answered [`Reply::Unknown`] unseen, so that a collected row
//! is never missed.
//!
//! A deadline further away than [`REQUEST_DEADLINE_MILLIS_MAX`] (a gateway whose clock is wrong) would hold its
//! row for as long as that clock is wrong. Such a row is also noted in a second table by the time at which it is
//! forgotten, that maximum after its first try, and collected from there, a bounded number per entry.
//!
//! The group's clock is the maximum of all stamps so far; it is stored, so it never goes back, whatever clock
//! the next leader has.

use std::ops::ControlFlow;

use securanet_kv::Direction;
use securanet_model::{Reply, UnixMillis, limits::REQUEST_DEADLINE_MILLIS_MAX, request::Execute};
use serde::{Deserialize, Serialize};

use crate::{
    EngineError,
    keys::{Key, Table},
    tx::{ReadView, Tx},
};

/// Expired rows are collected when the clock has moved this far since the last time: each collection leaves a
/// range marker on the disk, and ten seconds' rows of a busy group are a few megabytes.
const COLLECT_EVERY_MILLIS: u64 = 10_000;

/// Rows with a too distant deadline that one entry collects at least; twice its requests if these are more, so
/// that collecting always outruns remembering.
const FAR_ROWS_PER_ENTRY: usize = 256;

/// The row of [`Table::Clock`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct ClockRow {
    clock: UnixMillis,
    /// Requests with deadlines before this are collected.
    collected_below: UnixMillis,
    /// No row of [`Table::RequestsFar`] is to be forgotten before this.
    far_next: UnixMillis,
}

const FAR_NEVER: UnixMillis = UnixMillis::new(u64::MAX);

/// The group's clock: the latest stamp of its entries; `None` before the first.
pub(crate) fn clock(view: &ReadView<'_>) -> Result<Option<UnixMillis>, EngineError> {
    let row: Option<ClockRow> = view.get_record(&view.key(Table::Clock))?;
    Ok(row.map(|row| row.clock))
}

/// The memory of requests while one entry is applied.
pub(crate) struct Memory {
    stored: Option<ClockRow>,
    row: ClockRow,
    recalled: usize,
}

impl Memory {
    /// Moves the group's clock to the entry's stamp, if that is later.
    pub(crate) fn open(tx: &Tx<'_>, stamp: UnixMillis) -> Result<Self, EngineError> {
        let stored: Option<ClockRow> = tx.get_record(&tx.key(Table::Clock))?;
        let mut row =
            stored.unwrap_or(ClockRow { clock: stamp, collected_below: UnixMillis::new(0), far_next: FAR_NEVER });
        row.clock = row.clock.max(stamp);
        Ok(Self { stored, row, recalled: 0 })
    }

    /// The group's clock: what every command of this entry takes for now.
    pub(crate) const fn clock(&self) -> UnixMillis {
        self.row.clock
    }

    /// The replies that the request was given already, or cannot be given any more; `None`: apply it now.
    pub(crate) fn recall(&mut self, tx: &Tx<'_>, request: &Execute) -> Result<Option<Vec<Reply>>, EngineError> {
        if request.deadline < self.row.clock {
            return Ok(Some(vec![Reply::Unknown; request.commands.len()]));
        }
        let replies = tx.get_record(&row_key(tx, request))?;
        self.recalled += usize::from(replies.is_some());
        Ok(replies)
    }

    /// How many requests were recalled, those left out that came too late to be known.
    pub(crate) const fn recalled(&self) -> usize {
        self.recalled
    }

    /// Remembers the replies of a request that was applied now.
    pub(crate) fn remember(&mut self, tx: &mut Tx<'_>, request: &Execute, replies: &[Reply]) {
        let key = row_key(tx, request);
        tx.put_record(key, replies);
        let forget = self.row.clock.plus_millis(REQUEST_DEADLINE_MILLIS_MAX);
        if request.deadline > forget {
            let key = tx.key(Table::RequestsFar).u64(forget.get()).u64(request.deadline.get());
            let key = key.octets(request.request.bytes());
            tx.put(key, Vec::new());
            self.row.far_next = self.row.far_next.min(forget);
        }
    }

    /// Collects what is due and stores the clock.
    pub(crate) fn close(mut self, tx: &mut Tx<'_>, requests: usize) -> Result<(), EngineError> {
        let clock = self.row.clock;
        if clock.millis_since(self.row.collected_below) >= COLLECT_EVERY_MILLIS {
            let from = tx.key(Table::Requests).u64(self.row.collected_below.get());
            let range = from.to(tx.key(Table::Requests).u64(clock.get()));
            tx.delete_range(range);
            self.row.collected_below = clock;
        }
        if clock >= self.row.far_next {
            self.row.far_next = collect_far(tx, clock, FAR_ROWS_PER_ENTRY.max(2 * requests))?;
        }
        if self.stored != Some(self.row) {
            let key = tx.key(Table::Clock);
            tx.put_record(key, &self.row);
        }
        Ok(())
    }
}

fn row_key(tx: &Tx<'_>, request: &Execute) -> Key {
    tx.key(Table::Requests).u64(request.deadline.get()).octets(request.request.bytes())
}

/// Forgets requests with distant deadlines whose time has come; answers when the next one's comes.
fn collect_far(tx: &mut Tx<'_>, clock: UnixMillis, rows_max: usize) -> Result<UnixMillis, EngineError> {
    let mut due = Vec::new();
    let mut next = FAR_NEVER;
    let range = tx.key(Table::RequestsFar).range();
    tx.view().visit(&range, Direction::Forward, |mut fields, _| {
        let forget = UnixMillis::new(fields.u64()?);
        if forget > clock || due.len() == rows_max {
            next = forget;
            return Ok(ControlFlow::Break(()));
        }
        due.push((forget, fields.rest().to_vec()));
        Ok(ControlFlow::Continue(()))
    })?;
    for (forget, deadline_and_id) in due {
        let key = tx.key(Table::RequestsFar).u64(forget.get()).octets(&deadline_and_id);
        tx.delete(key);
        let key = tx.key(Table::Requests).octets(&deadline_and_id);
        tx.delete(key);
    }
    Ok(next)
}

#[cfg(test)]
mod tests;
