//! Intending: taken to sending, just before the final dot. The last place where a worker can be stopped.
//!
//! Refused: under an ended lease, and for a recipient that is not taken under this lease by this attempt any more
//! (taken over, held, cancelled, rerouted, or delivered by an earlier attempt whose outcome came late). A worker
//! that lost the answer may ask again: what is sending under this lease and attempt is allowed again.

use securanet_model::{
    UnixMillis,
    outbound::{OutboundReply, Place, State},
};

use super::{PLACES_MAX, change::Change, lease};
use crate::{EngineError, tx::Tx};

pub(super) fn intend(
    tx: &mut Tx<'_>,
    clock: UnixMillis,
    epoch: u64,
    places: &[(Place, u32)],
) -> Result<OutboundReply, EngineError> {
    if places.len() > PLACES_MAX {
        return Ok(OutboundReply::OutOfBounds);
    }
    let mut change = Change::open(tx, clock)?;
    if lease::living(&change, epoch)?.is_none() {
        return Ok(OutboundReply::Intended(vec![false; places.len()]));
    }
    let intended = places.iter().map(|(place, attempt)| intend_one(&mut change, epoch, *place, *attempt));
    let intended = intended.collect::<Result<_, _>>()?;
    change.close()?;
    Ok(OutboundReply::Intended(intended))
}

fn intend_one(change: &mut Change<'_, '_>, epoch: u64, place: Place, attempt: u32) -> Result<bool, EngineError> {
    let Some(mut row) = change.recipient(place)?.filter(|row| row.attempts == attempt) else { return Ok(false) };
    match row.state {
        State::Taken { epoch: holder } if holder == epoch => {
            row.state = State::Sending { epoch, since: change.clock };
            change.store(place, &row);
            Ok(true)
        }
        State::Sending { epoch: holder, .. } => Ok(holder == epoch),
        _ => Ok(false),
    }
}
