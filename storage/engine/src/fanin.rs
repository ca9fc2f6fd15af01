//! The target end of the fan-out: each delivery key is applied at most once.
//!
//! | key's sequence | answer |
//! |---|---|
//! | below the watermark: settled at its queue | `KeyRefused` |
//! | `FANOUT_WINDOW_MAX` or more above the watermark | `KeyRefused` |
//! | applied before, nobody refused | `AlreadyApplied` |
//! | applied before, somebody refused | the same outcomes again |
//! | new | applied; the outcomes |
//!
//! The watermark is the highest `settled_below` that any key of the queue has shown. Keys below it are collected
//! by watermark, never by age, so a zombie's late delivery finds either its key or the watermark above it. The
//! outcomes of a delivery with refusals stay with its key: the queue must learn of them even when the first
//! answer was lost, or an acknowledged recipient would be settled as delivered (promise P2).

use securanet_kv::KeyRange;
use securanet_model::{
    UnixMillis,
    delivery::{Deliver, DeliverReply, Delivered, DeliveryKey},
    limits::FANOUT_WINDOW_MAX,
};
use serde::{Deserialize, Serialize};

use crate::{EngineError, account, keys::Table, tx::Tx};

/// Keys that may lie below the watermark before they are collected: one range deletion for many deliveries.
const COLLECT_EVERY_KEYS: u64 = 1024;

/// A row of [`Table::FanInSource`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Source {
    /// All sequences below are settled at the queue.
    settled_below: u64,
    /// The keys below are collected.
    collected_below: u64,
}

/// A row of [`Table::FanInKey`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum AppliedKey {
    /// Every recipient has it.
    Delivered,
    /// Some were refused.
    Outcomes(Vec<Delivered>),
}

/// Applies a delivery, keyed or not.
pub(crate) fn deliver(tx: &mut Tx<'_>, clock: UnixMillis, deliver: &Deliver) -> Result<DeliverReply, EngineError> {
    let Some(key) = deliver.key else {
        return account::deliver(tx, clock, deliver).map(DeliverReply::Outcomes);
    };
    let source_key = tx.key(Table::FanInSource).u32(key.queue.get());
    let stored: Option<Source> = tx.get_record(&source_key)?;
    let mut source = stored.unwrap_or(Source { settled_below: 1, collected_below: 1 });
    source.settled_below = source.settled_below.max(key.settled_below);
    if !in_window(&source, &key) {
        return Ok(DeliverReply::KeyRefused);
    }
    let row_key = tx.key(Table::FanInKey).u32(key.queue.get()).u64(key.sequence);
    if let Some(applied) = tx.get_record::<AppliedKey>(&row_key)? {
        return Ok(match applied {
            AppliedKey::Delivered => DeliverReply::AlreadyApplied,
            AppliedKey::Outcomes(outcomes) => DeliverReply::Outcomes(outcomes),
        });
    }
    let outcomes = account::deliver(tx, clock, deliver)?;
    tx.put_record(row_key, &applied_row(&outcomes));
    collect(tx, &key, &mut source);
    if stored != Some(source) {
        tx.put_record(source_key, &source);
    }
    Ok(DeliverReply::Outcomes(outcomes))
}

const fn in_window(source: &Source, key: &DeliveryKey) -> bool {
    key.sequence >= source.settled_below && key.sequence - source.settled_below < FANOUT_WINDOW_MAX
}

fn applied_row(outcomes: &[Delivered]) -> AppliedKey {
    if outcomes.iter().any(|outcome| matches!(outcome, Delivered::Refused(_))) {
        AppliedKey::Outcomes(outcomes.to_vec())
    } else {
        AppliedKey::Delivered
    }
}

/// Forgets the keys below the watermark, in bulk.
fn collect(tx: &mut Tx<'_>, key: &DeliveryKey, source: &mut Source) {
    if source.settled_below.saturating_sub(source.collected_below) < COLLECT_EVERY_KEYS {
        return;
    }
    let row = |sequence| tx.key(Table::FanInKey).u32(key.queue.get()).u64(sequence);
    let range: KeyRange = row(source.collected_below).to(row(source.settled_below));
    tx.delete_range(range);
    source.collected_below = source.settled_below;
}

#[cfg(test)]
mod tests;
