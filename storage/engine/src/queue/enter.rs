//! Entering: *(none)* to pending.
//!
//! All or nothing: one full window refuses the whole item, so that its sender still has all of it and a client
//! is never told 250 for a part.

use securanet_model::{
    UnixMillis,
    delivery::{FanOut, FanOutTarget, QueueReply},
    limits::FANOUT_WINDOW_MAX,
};

use super::{Item, ItemState, Pending, Target, counters, inconsistent, store_counters};
use crate::{
    EngineError,
    keys::Table,
    reachability::{self, Owner},
    tx::Tx,
};

pub(super) fn fan_out(tx: &mut Tx<'_>, clock: UnixMillis, fan_out: &FanOut) -> Result<QueueReply, EngineError> {
    let mut counters = counters(&tx.view())?;
    let item = counters.next_item;
    for target in &fan_out.targets {
        if add_delivery(tx, clock, item, target)?.is_none() {
            return Ok(QueueReply::WindowFull(target.group));
        }
    }
    let open = u32::try_from(fan_out.targets.len()).map_err(|_| inconsistent("an item has too many targets"))?;
    counters.next_item += 1;
    counters.pending += u64::from(open);
    store_counters(tx, &counters);
    if open > 0 {
        store_item(tx, clock, item, fan_out, open);
    }
    Ok(QueueReply::Queued(item))
}

/// Gives the delivery the next sequence of its pair; none when the window is full.
pub(super) fn add_delivery(
    tx: &mut Tx<'_>,
    clock: UnixMillis,
    item: u64,
    to: &FanOutTarget,
) -> Result<Option<u64>, EngineError> {
    let target_key = tx.key(Table::QueueTarget).u32(to.group.get());
    let mut target: Target = tx.get_record(&target_key)?.unwrap_or(Target { next: 1, settled_below: 1 });
    if target.next.saturating_sub(target.settled_below) >= FANOUT_WINDOW_MAX {
        return Ok(None);
    }
    let sequence = target.next;
    let key = tx.key(Table::QueuePending).u32(to.group.get()).u64(sequence);
    tx.put_record(key, &Pending { item, queued: clock, to: to.to.clone() });
    target.next += 1;
    tx.put_record(target_key, &target);
    Ok(Some(sequence))
}

fn store_item(tx: &mut Tx<'_>, clock: UnixMillis, item: u64, fan_out: &FanOut, open: u32) {
    let row = Item { queued: clock, sender: fan_out.sender.clone(), message: fan_out.message.clone() };
    let key = tx.key(Table::QueueItem).u64(item);
    tx.put_record(key, &row);
    let key = tx.key(Table::QueueItemState).u64(item);
    tx.put_record(key, &ItemState { open, held: 0 });
    for blob in &fan_out.message.blobs {
        reachability::add(tx, &blob.id, Owner::QueueItem(item));
    }
}
