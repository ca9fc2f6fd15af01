//! Settling: pending to settled, and the recipients that the target refused to held.
//!
//! A sequence that is not pending was settled before (or never given): the answer is the same and nothing
//! happens, so a worker that lost its answer may settle again.

use std::{collections::BTreeSet, ops::ControlFlow};

use securanet_kv::Direction;
use securanet_model::{GroupId, UnixMillis, account::AccountRefusal, delivery::QueueReply};

use super::{Held, Item, ItemState, Pending, Target, counters, inconsistent, store_counters};
use crate::{
    EngineError,
    keys::{Key, Table},
    reachability::{self, Owner},
    tx::Tx,
};

pub(super) fn settle(
    tx: &mut Tx<'_>,
    clock: UnixMillis,
    (group, sequence): (GroupId, u64),
    refused: &[(u32, AccountRefusal)],
) -> Result<QueueReply, EngineError> {
    let pending_key = tx.key(Table::QueuePending).u32(group.get()).u64(sequence);
    let Some(pending) = tx.get_record::<Pending>(&pending_key)? else { return Ok(QueueReply::Settled) };
    tx.delete(pending_key);
    let held = hold(tx, clock, group, &pending, refused)?;
    let mut counters = counters(&tx.view())?;
    counters.pending = counters.pending.checked_sub(1).ok_or_else(|| inconsistent("more settled than queued"))?;
    counters.held += u64::from(held);
    store_counters(tx, &counters);
    close_delivery(tx, pending.item, held)?;
    move_watermark(tx, group, sequence)?;
    Ok(QueueReply::Settled)
}

/// Moves refused recipients to the held table and tells how many; a position that is none, or twice, is passed
/// over.
fn hold(
    tx: &mut Tx<'_>,
    clock: UnixMillis,
    group: GroupId,
    pending: &Pending,
    refused: &[(u32, AccountRefusal)],
) -> Result<u32, EngineError> {
    let mut held = BTreeSet::new();
    for (position, refusal) in refused {
        let Some(to) = pending.to.get(*position as usize) else { continue };
        if held.insert(*position) {
            let key = free_key(tx, pending.item, group, *position)?;
            tx.put_record(key, &Held { to: to.clone(), refusal: refusal.clone(), since: clock });
        }
    }
    u32::try_from(held.len()).map_err(|_| inconsistent("more recipients are refused than there can be"))
}

/// The key of the position, or behind all of the item and the group when another recipient is held there: one that
/// was released alone stands at the first position of its new delivery.
fn free_key(tx: &Tx<'_>, item: u64, group: GroupId, position: u32) -> Result<Key, EngineError> {
    let of_group = || tx.key(Table::QueueHeld).u64(item).u32(group.get());
    let key = of_group().u32(position);
    if !tx.contains(&key)? {
        return Ok(key);
    }
    let mut last = position;
    tx.view().visit(&of_group().range(), Direction::Backward, |mut fields, _| {
        fields.u64()?;
        fields.u32()?;
        last = fields.u32()?;
        Ok(ControlFlow::Break(()))
    })?;
    Ok(of_group().u32(last.checked_add(1).ok_or_else(|| inconsistent("no position is left to hold somebody at"))?))
}

/// Takes one delivery off the item; the last one takes the item away, unless somebody is held.
fn close_delivery(tx: &mut Tx<'_>, item: u64, held: u32) -> Result<(), EngineError> {
    let state_key = tx.key(Table::QueueItemState).u64(item);
    let state: Option<ItemState> = tx.get_record(&state_key)?;
    let mut state = state.ok_or_else(|| inconsistent("a delivery has no item"))?;
    state.open = state.open.checked_sub(1).ok_or_else(|| inconsistent("an item has more deliveries than targets"))?;
    state.held += held;
    store_state(tx, item, state)
}

/// Keeps why the item is here, or takes it away when there is no reason left.
pub(super) fn store_state(tx: &mut Tx<'_>, item: u64, state: ItemState) -> Result<(), EngineError> {
    if state.open == 0 && state.held == 0 {
        return remove_item(tx, item);
    }
    let state_key = tx.key(Table::QueueItemState).u64(item);
    tx.put_record(state_key, &state);
    Ok(())
}

fn remove_item(tx: &mut Tx<'_>, item: u64) -> Result<(), EngineError> {
    let item_key = tx.key(Table::QueueItem).u64(item);
    let row: Option<Item> = tx.get_record(&item_key)?;
    let row = row.ok_or_else(|| inconsistent("an item has a state but no content"))?;
    for blob in &row.message.blobs {
        reachability::remove(tx, &blob.id, Owner::QueueItem(item));
    }
    tx.delete(item_key);
    let state_key = tx.key(Table::QueueItemState).u64(item);
    tx.delete(state_key);
    Ok(())
}

/// Moves the pair's watermark to the lowest unsettled sequence, when the settled one was it. The search begins
/// behind the settled sequence: before it there are only deleted rows.
fn move_watermark(tx: &mut Tx<'_>, group: GroupId, sequence: u64) -> Result<(), EngineError> {
    let target_key = tx.key(Table::QueueTarget).u32(group.get());
    let target: Option<Target> = tx.get_record(&target_key)?;
    let mut target = target.ok_or_else(|| inconsistent("a delivery has no target row"))?;
    if sequence != target.settled_below {
        return Ok(());
    }
    let row = |sequence| tx.key(Table::QueuePending).u32(group.get()).u64(sequence);
    let range = row(sequence + 1).to(row(target.next));
    let mut lowest = target.next;
    tx.view().visit(&range, Direction::Forward, |mut fields, _| {
        fields.u32()?;
        lowest = fields.u64()?;
        Ok(ControlFlow::Break(()))
    })?;
    target.settled_below = lowest;
    tx.put_record(target_key, &target);
    Ok(())
}
