//! What is pending, and how much.
//!
//! Target groups take turns: a group that does not answer has up to a window's worth of deliveries here, and they
//! must not stand before those of the groups that do. Within a target the oldest comes first.

use std::{collections::VecDeque, ops::ControlFlow};

use securanet_kv::Direction;
use securanet_model::{
    GroupId,
    delivery::{Deliver, DeliveryKey, PendingDelivery, QueueAnswer, QuotaRule},
};

use super::{Item, Pending, Target, counters, inconsistent};
use crate::{
    EngineError,
    keys::{Key, Table},
    tx::ReadView,
};

/// Most deliveries of one answer.
const ROWS_MAX: u32 = 1000;
/// An answer ends with the delivery that reaches this many octets: what a worker holds in memory at a time.
const ANSWER_OCTETS: usize = 8 * 1024 * 1024;

/// Unsettled deliveries, the targets taking turns, oldest first per target.
pub(super) fn pending(view: &ReadView<'_>, rows_max: u32) -> Result<Vec<PendingDelivery>, EngineError> {
    let targets = targets(view)?;
    let rows_max = rows_max.clamp(1, ROWS_MAX) as usize;
    let share = rows_max.div_ceil(targets.len().max(1));
    let mut queues = VecDeque::with_capacity(targets.len());
    for (group, target) in targets {
        queues.push_back(oldest(view, group, target, share)?);
    }
    let mut deliveries = Vec::new();
    let mut octets = 0;
    while deliveries.len() < rows_max && octets < ANSWER_OCTETS {
        let Some(mut queue) = queues.pop_front() else { break };
        let Some((target, key, row)) = queue.pop_front() else { continue };
        let delivery = delivery(view, target, key, row)?;
        octets += size_bytes(&delivery.deliver);
        deliveries.push(delivery);
        queues.push_back(queue);
    }
    Ok(deliveries)
}

/// How much is pending and held, and since when the oldest is pending.
pub(super) fn depth(view: &ReadView<'_>) -> Result<QueueAnswer, EngineError> {
    let counters = counters(view)?;
    let mut oldest = None;
    for (group, target) in targets(view)? {
        let first: Option<Pending> = view.get_record(&row_key(view, group, target.settled_below))?;
        let queued = first.map(|pending| pending.queued);
        oldest = [oldest, queued].into_iter().flatten().min();
    }
    Ok(QueueAnswer::Depth { pending: counters.pending, held: counters.held, oldest })
}

/// The targets that have unsettled deliveries.
fn targets(view: &ReadView<'_>) -> Result<Vec<(GroupId, Target)>, EngineError> {
    let mut targets = Vec::new();
    view.visit_records(&view.key(Table::QueueTarget).range(), Direction::Forward, |mut fields, target: Target| {
        if target.settled_below < target.next {
            targets.push((GroupId::new(fields.u32()?), target));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(targets)
}

type Row = (GroupId, DeliveryKey, Pending);

fn oldest(view: &ReadView<'_>, group: GroupId, target: Target, rows: usize) -> Result<VecDeque<Row>, EngineError> {
    let range = row_key(view, group, target.settled_below).to(row_key(view, group, target.next));
    let queue = view.space().group;
    let mut found = VecDeque::new();
    view.visit_records(&range, Direction::Forward, |mut fields, row: Pending| {
        fields.u32()?;
        let key = DeliveryKey { queue, sequence: fields.u64()?, settled_below: target.settled_below };
        found.push_back((group, key, row));
        Ok(if found.len() < rows { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(found)
}

fn delivery(
    view: &ReadView<'_>,
    target: GroupId,
    key: DeliveryKey,
    row: Pending,
) -> Result<PendingDelivery, EngineError> {
    let item: Option<Item> = view.get_record(&view.key(Table::QueueItem).u64(row.item))?;
    let message = item.ok_or_else(|| inconsistent("a delivery has no item"))?.message;
    // What was acknowledged is not lost to a quota: room was checked at RCPT.
    let deliver = Deliver { key: Some(key), message, to: row.to, quota: QuotaRule::Admitted };
    Ok(PendingDelivery { target, deliver, queued: row.queued })
}

fn size_bytes(deliver: &Deliver) -> usize {
    let prefixes: usize = deliver.to.iter().map(|to| to.prefix.bytes.len() + size_of_val(to)).sum();
    deliver.message.recipe.bytes.len() + deliver.message.summary.bytes.len() + prefixes
}

fn row_key(view: &ReadView<'_>, group: GroupId, sequence: u64) -> Key {
    view.key(Table::QueuePending).u32(group.get()).u64(sequence)
}
