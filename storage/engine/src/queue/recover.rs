//! A queue that was rebuilt from what one replica had: nothing that its lost tail numbered is numbered so again.
//!
//! A target group may have applied deliveries under sequences that this queue does not know of: another delivery under such
//! a sequence would be answered as applied, and lost. What is pending here and was settled there is refused as a key below
//! the target's watermark; the worker knows what that means.

use securanet_model::{GroupId, UnixMillis};

use super::{Target, counters, outbound, store_counters};
use crate::{EngineError, keys::Table, recover::JUMP, tx::Tx};

pub(crate) fn recover(tx: &mut Tx<'_>, clock: UnixMillis, shards: u32) -> Result<(), EngineError> {
    let mut counters = counters(&tx.view())?;
    counters.next_item = counters.next_item.saturating_add(JUMP);
    store_counters(tx, &counters);
    // Also towards groups that it has never sent anything to, as far as is known here.
    for group in (1..=shards).map(GroupId::new) {
        let key = tx.key(Table::QueueTarget).u32(group.get());
        let Target { next, settled_below } = tx.get_record(&key)?.unwrap_or(Target { next: 1, settled_below: 1 });
        let jumped = next.saturating_add(JUMP);
        // With nothing pending the watermark is the next sequence.
        let settled_below = if settled_below == next { jumped } else { settled_below };
        tx.put_record(key, &Target { next: jumped, settled_below });
    }
    outbound::recover(tx, clock)
}
