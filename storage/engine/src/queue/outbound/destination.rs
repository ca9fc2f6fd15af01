//! What was found about a destination: it answers, or it does not.
//!
//! One that answers makes those due at once that wait because it could not be reached, a thousand a command, oldest
//! items first; such an attempt stands outside the schedule ([`super::schedule`]). As long as there are more the
//! probe's timer is due again, so that another worker goes on when this one ends.

use std::ops::ControlFlow;

use securanet_kv::Direction;
use securanet_model::{
    UnixMillis,
    outbound::{OutboundReply, Place, State},
};

use super::{PLACES_MAX, change::Change, inconsistent, rows::read_place};
use crate::{EngineError, tx::Tx};

pub(super) fn found(
    tx: &mut Tx<'_>,
    clock: UnixMillis,
    destination: &str,
    alive: bool,
) -> Result<OutboundReply, EngineError> {
    let mut change = Change::open(tx, clock)?;
    if change.destination(destination)?.row.open == 0 {
        return Ok(OutboundReply::Done { more: false });
    }
    let more = if alive { found_living(&mut change, destination)? } else { found_dead(&mut change, destination)? };
    change.close()?;
    Ok(OutboundReply::Done { more })
}

fn found_dead(change: &mut Change<'_, '_>, destination: &str) -> Result<bool, EngineError> {
    let clock = change.clock;
    let row = &mut change.destination(destination)?.row;
    row.failing_since.get_or_insert(clock);
    // None: set anew, half an hour from now, if anything waits for it.
    row.probe_at = None;
    Ok(false)
}

fn found_living(change: &mut Change<'_, '_>, destination: &str) -> Result<bool, EngineError> {
    let clock = change.clock;
    for place in unreached(change, destination)? {
        let row = change.recipient(place)?;
        let mut row = row.ok_or_else(|| inconsistent("a recipient that is none could not be reached"))?;
        let State::Waiting { due } = row.state else { return Err(inconsistent("who was unreached does not wait")) };
        row.resume = row.resume.or(Some(due));
        change.wait(place, &mut row, due.min(clock))?;
    }
    let row = &mut change.destination(destination)?.row;
    row.failing_since = None;
    row.probe_at = Some(clock);
    Ok(row.unreached > 0)
}

fn unreached(change: &Change<'_, '_>, destination: &str) -> Result<Vec<Place>, EngineError> {
    let mut places = Vec::new();
    change.tx.view().visit(&change.keys.unreached_all(destination).range(), Direction::Forward, |mut fields, _| {
        fields.text()?;
        places.push(read_place(&mut fields)?);
        Ok(if places.len() < PLACES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(places)
}
