//! A sender's repeat of a message that is in the queue already: we died, or the link did, between commit and 250.
//!
//! The row says when the message was taken in and as which item; within [`SUPPRESSION_MILLIS`] of that a second one is
//! counted and answered with the same item, which the trace keeps for longer than that. As with the repeats of
//! accounts, rows stand by day, whole days are collected with one range, and a look-up asks four days.

use securanet_model::{
    KeyedHash, UnixMillis,
    limits::SUPPRESSION_MILLIS,
    outbound::{Place, State},
};
use serde::{Deserialize, Serialize};

use super::{change::Change, rows::Keys};
use crate::{
    EngineError,
    keys::{Key, Table},
};

const DAY_MILLIS: u64 = 24 * 3600 * 1000;
/// Days before today in which a message may have come that is still in the window.
const DAYS_BACK: u32 = SUPPRESSION_MILLIS.div_ceil(DAY_MILLIS) as u32;

/// A row of [`Table::OutboundRepeat`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Repeat {
    at: UnixMillis,
    item: u64,
}

impl Keys {
    fn repeats(self, day: u32) -> Key {
        self.0.key(Table::OutboundRepeat).u32(day)
    }

    fn repeat(self, day: u32, key: &KeyedHash) -> Key {
        self.repeats(day).octets(&key.0)
    }
}

impl Change<'_, '_> {
    /// The item that this message came to within the window before now. Counts the repeat.
    pub(super) fn repeated(&mut self, key: &KeyedHash) -> Result<Option<u64>, EngineError> {
        let today = day(self.clock);
        for day in today.saturating_sub(DAYS_BACK)..=today {
            let row: Option<Repeat> = self.tx.get_record(&self.keys.repeat(day, key))?;
            if let Some(row) = row.filter(|row| self.clock.millis_since(row.at) < SUPPRESSION_MILLIS)
                && !self.has_failed(row.item)?
            {
                self.counters.repeats = self.counters.repeats.saturating_add(1);
                return Ok(Some(row.item));
            }
        }
        Ok(None)
    }

    /// Whether somebody did not get an item: who sends it again after a bounce, or after an operator gave it up, means it.
    fn has_failed(&self, item: u64) -> Result<bool, EngineError> {
        for position in 0.. {
            match self.recipient(Place { item, position })? {
                None => break,
                Some(recipient) if matches!(recipient.state, State::Failed | State::Cancelled) => return Ok(true),
                Some(_) => {}
            }
        }
        Ok(false)
    }

    /// The message came now, as this item. Once a day, removes the days that no look-up asks any more.
    pub(super) fn remember(&mut self, key: &KeyedHash, item: u64) {
        let today = day(self.clock);
        let first = today.saturating_sub(DAYS_BACK);
        if self.counters.repeats_from_day < first {
            self.tx.delete_range(self.keys.repeats(self.counters.repeats_from_day).to(self.keys.repeats(first)));
            self.counters.repeats_from_day = first;
        }
        self.tx.put_record(self.keys.repeat(today, key), &Repeat { at: self.clock, item });
    }
}

fn day(at: UnixMillis) -> u32 {
    u32::try_from(at.get() / DAY_MILLIS).unwrap_or(u32::MAX)
}
