//! Reporting: the sender is told, in the commit that takes the telling message in.
//!
//! Either all of these recipients are to be told this now, or nothing happens: two workers that made the same report
//! at the same time do not both send it, and a delay notice is not sent about somebody who was just delivered.
//! A report without a message means that nobody could be told (the sender's address is no more); it is told, too.

use securanet_model::{
    UnixMillis,
    limits::RECIPIENTS_MAX,
    outbound::{Acceptance, Notice, OutboundReply, Place, State},
};

use super::{change::Change, enter};
use crate::{EngineError, tx::Tx};

pub(super) fn report(
    tx: &mut Tx<'_>,
    clock: UnixMillis,
    item: u64,
    (notice, positions): (Notice, &[u32]),
    message: Option<&Acceptance>,
) -> Result<OutboundReply, EngineError> {
    if positions.len() > RECIPIENTS_MAX {
        return Ok(OutboundReply::OutOfBounds);
    }
    let mut change = Change::open(tx, clock)?;
    if positions.is_empty() || change.item(item)?.is_none() {
        return Ok(OutboundReply::NoItem);
    }
    for position in positions {
        if !tell_one(&mut change, Place { item, position: *position }, notice)? {
            return Ok(OutboundReply::NoItem);
        }
    }
    if let Some(message) = message {
        match enter::take_in(&mut change, message)? {
            OutboundReply::Accepted(_) => {}
            refusal => return Ok(refusal),
        }
    }
    change.close()?;
    Ok(OutboundReply::Reported)
}

/// Marks one recipient as told; false when that is not to be told of it now.
fn tell_one(change: &mut Change<'_, '_>, place: Place, notice: Notice) -> Result<bool, EngineError> {
    let Some(mut row) = change.recipient(place)? else { return Ok(false) };
    match (notice, row.state) {
        (Notice::Failure, State::Failed) | (Notice::Success, State::Delivered) if !row.end_told => {
            row.end_told = true;
            let state = &mut change.item_of(place)?.state;
            state.untold = state.untold.saturating_sub(1);
        }
        (Notice::Delay, _) if !row.has_ended() && row.delay_due.is_some() => {
            row.delay_told = true;
            change.forget_delay(place, &mut row)?;
        }
        _ => return Ok(false),
    }
    change.store(place, &row);
    Ok(true)
}
