//! Settling: an outcome is recorded, whatever lease there is, and says how it goes on.
//!
//! Facts are never refused. What an outcome decides depends on whose it is:
//! - *Delivered* ends the recipient whichever attempt it was of: a later attempt that has not passed its final dot
//!   finds that out when it intends. Even a recipient that had failed or was cancelled is delivered then.
//! - Any other outcome decides only if nothing happened since that attempt began: no later attempt, no word of an
//!   operator. Otherwise it is kept for the trace and changes nothing.
//! - An outcome for an attempt that has one, or never began, is passed over. So is a second *Uncertain*.

use securanet_model::{
    UnixMillis,
    outbound::{OutboundReply, Outcome, Place, Settlement, State},
};

use super::{
    change::Change,
    ends::{Ending, wants_delay},
    rows::Recipient,
    schedule::{self, Next},
};
use crate::{EngineError, tx::Tx};

pub(super) fn settle(
    tx: &mut Tx<'_>,
    clock: UnixMillis,
    settlements: &[Settlement],
) -> Result<OutboundReply, EngineError> {
    let mut change = Change::open(tx, clock)?;
    for settlement in settlements {
        settle_one(&mut change, settlement)?;
    }
    change.close()?;
    Ok(OutboundReply::Done { more: false })
}

fn settle_one(change: &mut Change<'_, '_>, settlement: &Settlement) -> Result<(), EngineError> {
    let (place, outcome) = (settlement.place, settlement.tried.outcome);
    let Some(mut row) = change.recipient(place)? else { return Ok(()) };
    let sent = match row.state {
        State::Sending { since, .. } => since,
        _ => change.clock,
    };
    let is_new = match outcome {
        Outcome::Uncertain => row.doubt(settlement.attempt),
        _ => row.finish(settlement.attempt),
    };
    if !is_new {
        return Ok(());
    }
    change.record(place, &row, settlement.attempt, &settlement.tried)?;
    let answered = settlement.tried.answer_is_remote || outcome.is_success();
    if answered && outcome != Outcome::TemporaryConnection && row.deciding == Some(settlement.attempt) {
        found_living(change, &row)?;
    }
    if outcome.is_success() {
        return deliver(change, place, &mut row, outcome);
    }
    if row.deciding != Some(settlement.attempt) {
        change.store(place, &row);
        return Ok(());
    }
    decide(change, &mut row, settlement, sent)
}

/// A late delivery counts whatever the state is.
fn deliver(
    change: &mut Change<'_, '_>,
    place: Place,
    row: &mut Recipient,
    outcome: Outcome,
) -> Result<(), EngineError> {
    let notifies = outcome.is_told_elsewhere();
    row.deciding = None;
    row.last = Some(outcome);
    match row.state {
        State::Delivered => {
            change.store(place, row);
            Ok(())
        }
        State::Failed | State::Cancelled => change.correct(place, row, notifies),
        _ => change.end(place, row, Ending::Delivered { notifies }),
    }
}

/// The outcome of the attempt that counts.
fn decide(
    change: &mut Change<'_, '_>,
    row: &mut Recipient,
    settlement: &Settlement,
    sent: UnixMillis,
) -> Result<(), EngineError> {
    let Settlement { place, ref tried, ref schedule, .. } = *settlement;
    if tried.outcome != Outcome::Uncertain {
        row.deciding = None;
    }
    if !matches!(tried.outcome, Outcome::NotTried { .. } | Outcome::Uncertain) {
        row.last = Some(tried.outcome);
    }
    let failures = row.failures.saturating_add(row.no_such_domain);
    match schedule::next(row, tried.outcome, schedule, change.clock, sent) {
        Next::Delivered { notifies } => change.end(place, row, Ending::Delivered { notifies }),
        Next::Failed => change.end(place, row, Ending::Failed),
        Next::Again(due) => {
            if row.failures.saturating_add(row.no_such_domain) > failures {
                warn(change, row, settlement)?;
            }
            if tried.outcome == Outcome::TemporaryConnection {
                let clock = change.clock;
                change.destination(&row.to.destination)?.row.failing_since.get_or_insert(clock);
                change.wait_unreached(place, row, due)
            } else {
                change.wait(place, row, due)
            }
        }
    }
}

/// Plans the delay notice, at a failure that counted.
fn warn(change: &mut Change<'_, '_>, row: &mut Recipient, settlement: &Settlement) -> Result<(), EngineError> {
    let item = &change.item_of(settlement.place)?.state;
    if row.delay_told || !wants_delay(item.has_sender, row.to.notify) {
        return Ok(());
    }
    let at = schedule::warn_at(settlement.tried.outcome, &settlement.schedule, item.queued, change.clock);
    at.map_or(Ok(()), |at| change.plan_delay(settlement.place, row, at))
}

/// The destination answered: if it could not be reached before, it is probed at once, for those that wait for that.
fn found_living(change: &mut Change<'_, '_>, row: &Recipient) -> Result<(), EngineError> {
    let clock = change.clock;
    let destination = &mut change.destination(&row.to.destination)?.row;
    if destination.failing_since.take().is_some() && destination.unreached > 0 {
        destination.probe_at = Some(clock);
    }
    Ok(())
}
