//! Taking: waiting and due to taken, under a living lease.
//!
//! What reached its RFC 2852 deadline is not given to a worker but ends here, as failed: nothing that is to be
//! returned waits beyond its deadline ([`super::schedule`]), so it is due then, and whoever wants it is its clock.
//!
//! A repeat of an attempt whose fate is not known is counted here, when it begins: until then a late outcome may
//! still make it needless.

use securanet_model::{
    UnixMillis,
    outbound::{OutboundReply, Place, State, Taken},
};

use super::{PLACES_MAX, change::Change, ends::Ending, lease};
use crate::{EngineError, tx::Tx};

pub(super) fn take(
    tx: &mut Tx<'_>,
    clock: UnixMillis,
    epoch: u64,
    places: &[Place],
) -> Result<OutboundReply, EngineError> {
    if places.len() > PLACES_MAX {
        return Ok(OutboundReply::OutOfBounds);
    }
    let mut change = Change::open(tx, clock)?;
    if lease::living(&change, epoch)?.is_none() {
        return Ok(OutboundReply::LeaseEnded);
    }
    let taken = places.iter().map(|place| take_one(&mut change, epoch, *place)).collect::<Result<_, _>>()?;
    change.close()?;
    Ok(OutboundReply::Taken(taken))
}

fn take_one(change: &mut Change<'_, '_>, epoch: u64, place: Place) -> Result<Option<Taken>, EngineError> {
    let Some(mut row) = change.recipient(place)? else { return Ok(None) };
    if !matches!(row.state, State::Waiting { due } if due <= change.clock) {
        return Ok(None);
    }
    if row.return_by.is_some_and(|by| by <= change.clock) {
        change.record_own(
            place,
            &mut row,
            (5, 4, 7),
            "it could not be delivered within the time that its sender set",
        )?;
        change.end(place, &mut row, Ending::Failed)?;
        return Ok(None);
    }
    if row.is_in_doubt() {
        change.counters.uncertain = change.counters.uncertain.saturating_add(1);
    }
    let attempt = row.begin();
    change.move_to(place, &mut row, State::Taken { epoch }, false)?;
    let out_of_turn = row.resume.is_some();
    Ok(Some(Taken { place, attempt, recipient: row.to, last: row.last, out_of_turn }))
}
