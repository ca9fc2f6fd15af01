//! Forgetting: a closed item leaves the trace seven days after it was closed.
//!
//! Whole items go, oldest first, until their recipients are a thousand: what is deleted by one command is at most
//! what two thousand recipients have.

use std::ops::ControlFlow;

use securanet_kv::Direction;
use securanet_model::{
    UnixMillis,
    limits::RECIPIENTS_MAX,
    outbound::{OutboundReply, Place},
};

use super::{
    PLACES_MAX,
    attempts::HISTORY_ROWS_MAX,
    change::Change,
    inconsistent,
    rows::Item,
    timeline::{Line, until_now},
};
use crate::{
    EngineError,
    keys::{Fields, Table},
    tx::Tx,
};

/// A closed item is kept so long for the trace: a week.
pub(super) const RETENTION_MILLIS: u64 = 7 * 24 * 3600 * 1000;

pub(super) fn forget(tx: &mut Tx<'_>, clock: UnixMillis) -> Result<OutboundReply, EngineError> {
    let mut change = Change::open(tx, clock)?;
    let closed = closed_items(&change)?;
    let mut recipients = 0;
    let mut forgotten = 0;
    for (at, number) in &closed {
        if recipients >= PLACES_MAX || forgotten == PLACES_MAX {
            break;
        }
        recipients += forget_item(&mut change, *number)?;
        change.reset(Line::Closed, &number.to_be_bytes(), Some(*at), None);
        forgotten += 1;
    }
    change.close()?;
    Ok(OutboundReply::Done { more: forgotten < closed.len() })
}

/// The time until which closed items may be forgotten.
pub(super) const fn horizon(now: UnixMillis) -> UnixMillis {
    UnixMillis::new(now.get().saturating_sub(RETENTION_MILLIS))
}

/// The oldest items whose time has come, one more than a command may forget.
fn closed_items(change: &Change<'_, '_>) -> Result<Vec<(UnixMillis, u64)>, EngineError> {
    let mut closed = Vec::new();
    let until = (horizon(change.clock), None);
    until_now(&change.tx.view(), &change.counters, Line::Closed, until, |at, mut who| {
        closed.push((at, who.u64()?));
        Ok(if closed.len() > PLACES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(closed)
}

/// Removes all rows of an item and answers how many recipients it had.
fn forget_item(change: &mut Change<'_, '_>, number: u64) -> Result<usize, EngineError> {
    let key = change.keys.item(Table::OutboundItem, number);
    let item: Option<Item> = change.tx.get_record(&key)?;
    let item = item.ok_or_else(|| inconsistent("a closed item has no row"))?;
    change.tx.delete(key);
    if let Some(message_id) = &item.message_id {
        change.tx.delete(change.keys.message_id(message_id).u64(number));
    }
    let range = change.keys.item(Table::OutboundRecipient, number).range();
    let rows = change.tx.view().scan(&range, Direction::Forward, RECIPIENTS_MAX)?;
    for (key, _) in &rows {
        let mut fields = Fields::of(key)?;
        let place = Place { item: fields.u64()?, position: fields.u32()? };
        let range = change.keys.attempts(place).range();
        for (attempt, _) in change.tx.view().scan(&range, Direction::Forward, HISTORY_ROWS_MAX)? {
            change.tx.delete(attempt);
        }
        change.tx.delete(key.clone());
    }
    Ok(rows.len())
}
