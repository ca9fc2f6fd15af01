//! An operator's word: hold, release, retry now, cancel, fail, reroute.
//!
//! It takes a recipient away from a worker as long as the final dot has not been allowed; afterwards nobody can, and
//! the word is refused. A word is younger than the attempt that it interrupts: of that attempt's outcome only a
//! delivery still counts.

use securanet_model::{
    UnixMillis,
    outbound::{Action, OutboundReply, Place, State},
};

use super::{
    PLACES_MAX,
    change::Change,
    ends::Ending,
    enter::is_destination,
    rows::{Recipient, less},
};
use crate::{EngineError, tx::Tx};

pub(super) fn operate(
    tx: &mut Tx<'_>,
    clock: UnixMillis,
    places: &[Place],
    action: &Action,
) -> Result<OutboundReply, EngineError> {
    let is_bounded = !matches!(action, Action::Reroute(destination) if !is_destination(destination));
    if places.len() > PLACES_MAX || !is_bounded {
        return Ok(OutboundReply::OutOfBounds);
    }
    let mut change = Change::open(tx, clock)?;
    let done = places.iter().map(|place| operate_one(&mut change, *place, action)).collect::<Result<_, _>>()?;
    change.close()?;
    Ok(OutboundReply::Operated(done))
}

/// Whether the state allowed it.
fn operate_one(change: &mut Change<'_, '_>, place: Place, action: &Action) -> Result<bool, EngineError> {
    let Some(mut row) = change.recipient(place)? else { return Ok(false) };
    let now = change.clock;
    match (row.state, action) {
        (State::Sending { .. } | State::Delivered | State::Failed | State::Cancelled, _) => return Ok(false),
        (State::Held, Action::Hold) => {}
        (State::Waiting { .. } | State::Taken { .. }, Action::Hold) => {
            interrupt(&mut row);
            change.move_to(place, &mut row, State::Held, false)?;
        }
        (State::Held, Action::Release) => change.wait(place, &mut row, now)?,
        (State::Waiting { due }, Action::RetryNow) if due <= now => {}
        (State::Waiting { due }, Action::RetryNow) => {
            row.resume = row.resume.or(Some(due));
            row.deciding = None;
            change.wait(place, &mut row, now)?;
        }
        (State::Waiting { .. } | State::Taken { .. }, Action::Release) | (_, Action::RetryNow) => return Ok(false),
        (_, Action::Cancel) => {
            interrupt(&mut row);
            change.end(place, &mut row, Ending::Cancelled)?;
        }
        (_, Action::Fail) => {
            interrupt(&mut row);
            change.record_own(place, &mut row, (5, 0, 0), "an operator of this system ended the attempts")?;
            change.end(place, &mut row, Ending::Failed)?;
        }
        (_, Action::Reroute(destination)) => reroute(change, place, &mut row, destination)?,
    }
    Ok(true)
}

/// What an attempt that is under way brings does not decide any more, and no earlier time is gone back to.
fn interrupt(row: &mut Recipient) {
    row.deciding = None;
    row.resume = None;
}

fn reroute(
    change: &mut Change<'_, '_>,
    place: Place,
    row: &mut Recipient,
    destination: &str,
) -> Result<(), EngineError> {
    interrupt(row);
    change.leave(place, row)?;
    let old = &mut change.destination(&row.to.destination)?.row;
    old.open = less(old.open)?;
    destination.clone_into(&mut row.to.destination);
    let new = &mut change.destination(destination)?.row;
    new.open = new.open.saturating_add(1);
    row.state = State::Waiting { due: change.clock };
    row.unreached = false;
    change.enter(place, row)?;
    change.store(place, row);
    Ok(())
}
