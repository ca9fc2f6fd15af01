//! Taking over: what an ended lease had taken goes back to waiting.
//!
//! Its worker may be dead, or slow and about to pass a final dot: the fence stops that one. So what was only taken is
//! due at once and counts nothing. What was sending may have been delivered: it waits [`schedule::DOUBT_MILLIS`] from
//! its final dot for an outcome, is then due again, and is marked uncertain; that too counts no failure, because
//! the fault was ours.

use std::ops::ControlFlow;

use securanet_kv::Direction;
use securanet_model::{
    UnixMillis,
    outbound::{OutboundReply, Outcome, Place, State},
};

use super::{
    PLACES_MAX, attempts,
    change::Change,
    inconsistent,
    rows::{Lease, read_place},
    schedule,
    timeline::Line,
};
use crate::{EngineError, tx::Tx};

pub(super) fn take_over(tx: &mut Tx<'_>, clock: UnixMillis, epoch: u64) -> Result<OutboundReply, EngineError> {
    let mut change = Change::open(tx, clock)?;
    let lease: Option<Lease> = change.tx.get_record(&change.keys.lease(epoch))?;
    let Some(lease) = lease.filter(|lease| lease.until <= clock) else {
        return Ok(OutboundReply::Done { more: false });
    };
    let (places, more) = taken_under(&change, epoch)?;
    for place in &places {
        take_over_one(&mut change, *place)?;
    }
    change.counters.taken_over = change.counters.taken_over.saturating_add(places.len() as u64);
    if !more {
        change.tx.delete(change.keys.lease(epoch));
        change.reset(Line::Lease, &epoch.to_be_bytes(), Some(lease.until), None);
    }
    change.close()?;
    Ok(OutboundReply::Done { more })
}

/// What the lease has, at most [`PLACES_MAX`], and whether there is more.
fn taken_under(change: &Change<'_, '_>, epoch: u64) -> Result<(Vec<Place>, bool), EngineError> {
    let mut places = Vec::new();
    change.tx.view().visit(&change.keys.taken_all(epoch).range(), Direction::Forward, |mut fields, _| {
        fields.u64()?;
        places.push(read_place(&mut fields)?);
        Ok(if places.len() > PLACES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    let more = places.len() > PLACES_MAX;
    places.truncate(PLACES_MAX);
    Ok((places, more))
}

fn take_over_one(change: &mut Change<'_, '_>, place: Place) -> Result<(), EngineError> {
    let row = change.recipient(place)?;
    let mut row = row.ok_or_else(|| inconsistent("a lease has a recipient that is none"))?;
    let due = match row.state {
        State::Sending { since, .. } => {
            let attempt = row.attempts;
            row.doubt(attempt);
            let lost = "the gateway ended after it had sent the message and before it knew the answer";
            change.record(place, &row, attempt, &attempts::own(change.clock, Outcome::Uncertain, (4, 4, 2), lost))?;
            since.plus_millis(schedule::DOUBT_MILLIS).max(change.clock)
        }
        _ => change.clock,
    };
    let due = schedule::limit(&row, due);
    change.wait(place, &mut row, due)
}
