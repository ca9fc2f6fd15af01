//! What else is due, and how deep the queue is: both from counters and the timeline, whatever the queue holds.

use std::{collections::VecDeque, ops::ControlFlow};

use securanet_model::{
    UnixMillis,
    outbound::{OutboundDepth, Timer},
};

use super::{
    ROWS_MAX, counters, forget,
    rows::{Counters, ItemState, Keys, NEVER},
    timeline::{Line, until_now},
};
use crate::{
    EngineError,
    keys::{Fields, Table},
    tx::ReadView,
};

/// Timers that are due, the kinds taking turns: reports that cannot be made do not stand before ended leases.
pub(super) fn timers(view: &ReadView<'_>, now: UnixMillis, rows_max: u32) -> Result<Vec<Timer>, EngineError> {
    let counters = counters(view)?;
    let rows_max = rows_max.clamp(1, ROWS_MAX) as usize;
    let kinds: [(Line, ReadTimer); 4] = [
        (Line::Lease, |mut who| Ok(Timer::Lease { epoch: who.u64()? })),
        (Line::End, |mut who| Ok(Timer::End { item: who.u64()? })),
        (Line::Delay, |mut who| Ok(Timer::Delay { item: who.u64()? })),
        (Line::Probe, probe),
    ];
    let mut turns = VecDeque::new();
    for kind in kinds {
        turns.push_back(of_line(view, &counters, kind, now, rows_max)?);
    }
    if counters.earliest[Line::Closed as usize] <= forget::horizon(now) {
        turns.push_back(VecDeque::from([Timer::Forget]));
    }
    let mut timers = Vec::new();
    while timers.len() < rows_max {
        let Some(mut kind) = turns.pop_front() else { break };
        let Some(timer) = kind.pop_front() else { continue };
        timers.push(timer);
        turns.push_back(kind);
    }
    Ok(timers)
}

/// Reads who a row of a line is about.
type ReadTimer = fn(Fields<'_>) -> Result<Timer, EngineError>;

fn probe(who: Fields<'_>) -> Result<Timer, EngineError> {
    let name = std::str::from_utf8(who.rest()).map_err(|_| super::inconsistent("a destination is no text"))?;
    Ok(Timer::Probe { destination: name.to_owned() })
}

fn of_line(
    view: &ReadView<'_>,
    counters: &Counters,
    (line, read): (Line, ReadTimer),
    now: UnixMillis,
    rows_max: usize,
) -> Result<VecDeque<Timer>, EngineError> {
    let mut timers = VecDeque::new();
    until_now(view, counters, line, (now, None), |_, who| {
        timers.push_back(read(who)?);
        Ok(if timers.len() < rows_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(timers)
}

/// Counts, and the earliest time at which anything is due.
pub(super) fn depth(view: &ReadView<'_>) -> Result<OutboundDepth, EngineError> {
    let counters = counters(view)?;
    let oldest: Option<ItemState> =
        view.get_record(&Keys(view.space()).item(Table::OutboundItemState, counters.oldest))?;
    let next_due = Line::ALL.into_iter().map(|line| {
        let earliest = counters.earliest[line as usize];
        if line == Line::Closed { earliest.plus_millis(forget::RETENTION_MILLIS) } else { earliest }
    });
    Ok(OutboundDepth {
        items: counters.items,
        waiting: counters.waiting,
        taken: counters.taken,
        held: counters.held,
        uncertain: counters.uncertain,
        delivered: counters.delivered,
        failed: counters.failed,
        taken_over: counters.taken_over,
        oldest: oldest.map(|state| state.queued),
        next_due: next_due.min().filter(|earliest| *earliest < NEVER),
        double_bounces: counters.double_bounces,
        repeats: counters.repeats,
    })
}
