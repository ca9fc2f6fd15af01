//! What is to happen when: one index by time for everything that time moves.
//!
//! Each line is read from its earliest time on, which the counters hold. That is not for the order but for the
//! cost: a row that was removed stays on the disk as a marker until it is compacted away, and a reader that began
//! at the line's beginning would pass all markers of the past each time.

use std::ops::ControlFlow;

use securanet_kv::{Direction, KeyRange};
use securanet_model::UnixMillis;

use super::{
    change::Change,
    rows::{Class, Counters, Keys, NEVER},
};
use crate::{
    EngineError,
    keys::{Fields, Key, Table},
    tx::ReadView,
};

/// How many lines there are.
pub(super) const LINES: usize = 7;

/// A line of the timeline. The numbers are written to disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Line {
    /// Destinations by the earliest due time of their letters (who: the destination).
    Letters = 0,
    /// Destinations by the earliest due time of their bulk (who: the destination).
    Bulk = 1,
    /// Items whose sender is to be told of ends (who: the item).
    End = 2,
    /// Items whose sender is to be told of a delay (who: the item).
    Delay = 3,
    /// Destinations to be probed (who: the destination).
    Probe = 4,
    /// Leases by their end (who: the epoch).
    Lease = 5,
    /// Closed items by the time at which they were closed (who: the item).
    Closed = 6,
}

impl Line {
    pub(super) const ALL: [Self; LINES] =
        [Self::Letters, Self::Bulk, Self::End, Self::Delay, Self::Probe, Self::Lease, Self::Closed];

    /// The line of the destinations that have something of a class.
    pub(super) const fn of(class: Class) -> Self {
        match class {
            Class::Letter => Self::Letters,
            Class::Bulk => Self::Bulk,
        }
    }
}

impl Keys {
    /// The beginning of what a line has at a time.
    pub(super) fn line(self, line: Line, at: UnixMillis) -> Key {
        self.0.key(Table::OutboundTimeline).u8(line as u8).u64(at.get())
    }
}

impl Change<'_, '_> {
    /// Moves `who` on its line, or on it, or off it.
    pub(super) fn reset(&mut self, line: Line, who: &[u8], from: Option<UnixMillis>, to: Option<UnixMillis>) {
        if from == to {
            return;
        }
        let at = line as usize;
        if let Some(time) = from {
            self.tx.delete(self.keys.line(line, time).octets(who));
            self.stale[at] |= self.counters.earliest[at] == time;
        }
        if let Some(time) = to {
            self.tx.put(self.keys.line(line, time).octets(who), Vec::new());
            self.counters.earliest[at] = self.counters.earliest[at].min(time);
            if time <= self.clock && line != Line::Closed {
                self.touch();
            }
        }
    }

    /// Looks up the earliest time of each line whose earliest row was removed. No row stands before the old one.
    pub(super) fn refresh_lines(&mut self) -> Result<(), EngineError> {
        for line in Line::ALL {
            let at = line as usize;
            if !self.stale[at] {
                continue;
            }
            let mut earliest = NEVER;
            let range = rest(self.keys, line, self.counters.earliest[at]);
            self.tx.view().visit(&range, Direction::Forward, |mut fields, _| {
                fields.u8()?;
                earliest = UnixMillis::new(fields.u64()?);
                Ok(ControlFlow::Break(()))
            })?;
            self.counters.earliest[at] = earliest;
        }
        Ok(())
    }
}

/// Shows what a line has up to `now`, oldest first, until `each` breaks. `after` is the last one seen.
pub(super) fn until_now(
    view: &ReadView<'_>,
    counters: &Counters,
    line: Line,
    (now, after): (UnixMillis, Option<&(UnixMillis, String)>),
    mut each: impl FnMut(UnixMillis, Fields<'_>) -> Result<ControlFlow<()>, EngineError>,
) -> Result<(), EngineError> {
    let keys = Keys(view.space());
    let mut range = rest(keys, line, counters.earliest[line as usize]);
    if let Some((at, who)) = after {
        range = range.after(&keys.line(line, *at).octets(who.as_bytes()));
    }
    if counters.earliest[line as usize] > now || range.end.as_ref().is_some_and(|end| *end <= range.start) {
        return Ok(());
    }
    view.visit(&range, Direction::Forward, |mut fields, _| {
        fields.u8()?;
        let at = UnixMillis::new(fields.u64()?);
        if at > now { Ok(ControlFlow::Break(())) } else { each(at, fields) }
    })
}

/// A line from a time on.
fn rest(keys: Keys, line: Line, from: UnixMillis) -> KeyRange {
    let end = keys.0.key(Table::OutboundTimeline).u8(line as u8).range().end;
    KeyRange { start: keys.line(line, from).into(), end }
}
