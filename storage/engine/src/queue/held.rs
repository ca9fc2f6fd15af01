//! Held recipients: looked at, then released (held to pending) or discarded (held to gone).
//!
//! Both name the recipient by its whole key, account included: after a release that was refused again another
//! recipient may stand at the same position, and a key that an operator kept must not mean that one. So a repeat is
//! answered `NotHeld` and does nothing.

use std::ops::ControlFlow;

use securanet_kv::Direction;
use securanet_model::{
    AccountId, GroupId, UnixMillis,
    delivery::{FanOutTarget, HeldKey, HeldRecipient, HeldTo, QueueReply},
};

use super::{Held, Item, ItemState, counters, enter, inconsistent, settle, store_counters};
use crate::{
    EngineError,
    keys::{Fields, Key, Table},
    tx::{ReadView, Tx},
};

/// Most recipients of one answer.
const ROWS_MAX: u32 = 1000;

/// Held recipients behind `after`, in order of their keys.
pub(super) fn page(
    view: &ReadView<'_>,
    after: Option<HeldKey>,
    rows_max: u32,
) -> Result<Vec<HeldRecipient>, EngineError> {
    let rows_max = rows_max.clamp(1, ROWS_MAX) as usize;
    let mut range = view.key(Table::QueueHeld).range();
    if let Some(after) = after {
        range = range.after(&row_key(view, &after));
    }
    let mut rows = Vec::new();
    view.visit_records(&range, Direction::Forward, |fields, row: Held| {
        rows.push((key_of(fields, row.to.account.id)?, row));
        Ok(if rows.len() < rows_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    rows.into_iter().map(|(key, row)| recipient(view, key, row)).collect()
}

fn recipient(view: &ReadView<'_>, key: HeldKey, row: Held) -> Result<HeldRecipient, EngineError> {
    let item: Option<Item> = view.get_record(&view.key(Table::QueueItem).u64(key.item))?;
    let item = item.ok_or_else(|| inconsistent("a held recipient has no item"))?;
    let (refusal, since, queued) = (row.refusal, row.since, item.queued);
    Ok(HeldRecipient { key, refusal, since, queued, sender: item.sender, size_bytes: item.message.size_bytes })
}

/// Held to pending: with a sequence of its own, as if it had just been queued.
pub(super) fn release(
    tx: &mut Tx<'_>,
    clock: UnixMillis,
    key: &HeldKey,
    instead: Option<HeldTo>,
) -> Result<QueueReply, EngineError> {
    let Some(mut row) = take(tx, key)? else { return Ok(QueueReply::NotHeld) };
    let mut group = key.target;
    if let Some(instead) = instead {
        (group, row.to.account) = (instead.group, instead.account);
        // It recognises repeats to the account that it was made for.
        row.to.repeat_key = None;
    }
    let Some(sequence) = enter::add_delivery(tx, clock, key.item, &FanOutTarget { group, to: vec![row.to] })? else {
        return Ok(QueueReply::WindowFull(group));
    };
    leave(tx, key.item, 1)?;
    Ok(QueueReply::Released(sequence))
}

/// Held to gone.
pub(super) fn discard(tx: &mut Tx<'_>, key: &HeldKey) -> Result<QueueReply, EngineError> {
    if take(tx, key)?.is_none() {
        return Ok(QueueReply::NotHeld);
    }
    leave(tx, key.item, 0)?;
    Ok(QueueReply::Discarded)
}

/// Takes the row away, if it is the one that is meant.
fn take(tx: &mut Tx<'_>, key: &HeldKey) -> Result<Option<Held>, EngineError> {
    let row_key = row_key(&tx.view(), key);
    let row: Option<Held> = tx.get_record(&row_key)?;
    let row = row.filter(|row| row.to.account.id == key.account);
    if row.is_some() {
        tx.delete(row_key);
    }
    Ok(row)
}

/// Counts one held recipient less, and so many deliveries more.
fn leave(tx: &mut Tx<'_>, item: u64, deliveries: u32) -> Result<(), EngineError> {
    let less = || inconsistent("more recipients leave than are held");
    let mut counters = counters(&tx.view())?;
    counters.held = counters.held.checked_sub(1).ok_or_else(less)?;
    counters.pending += u64::from(deliveries);
    store_counters(tx, &counters);
    let state: Option<ItemState> = tx.get_record(&tx.key(Table::QueueItemState).u64(item))?;
    let mut state = state.ok_or_else(|| inconsistent("a held recipient has no item"))?;
    state.held = state.held.checked_sub(1).ok_or_else(less)?;
    state.open += deliveries;
    settle::store_state(tx, item, state)
}

fn row_key(view: &ReadView<'_>, key: &HeldKey) -> Key {
    view.key(Table::QueueHeld).u64(key.item).u32(key.target.get()).u32(key.position)
}

fn key_of(mut fields: Fields<'_>, account: AccountId) -> Result<HeldKey, EngineError> {
    let (item, target, position) = (fields.u64()?, GroupId::new(fields.u32()?), fields.u32()?);
    Ok(HeldKey { item, target, position, account })
}
