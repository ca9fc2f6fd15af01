//! Leases: a worker's right to begin attempts and to pass final dots, for [`OUTBOUND_LEASE_MILLIS`] at a time.
//!
//! A lease has a number that is never given twice. It lives as long as the group's clock has not reached its end;
//! an ended one is never renewed, so whoever lost it cannot come back under the same number. It fences intents
//! only: outcomes are settled without one. Its row stays until [`super::take_over`] has found nothing taken under
//! it any more.

use securanet_model::{
    UnixMillis,
    limits::OUTBOUND_LEASE_MILLIS,
    outbound::{OutboundReply, WorkerId},
};

use super::{change::Change, rows::Lease, timeline::Line};
use crate::{EngineError, tx::Tx};

/// Grants a lease, or renews one of the same worker.
pub(super) fn lease(
    tx: &mut Tx<'_>,
    clock: UnixMillis,
    worker: WorkerId,
    epoch: Option<u64>,
) -> Result<OutboundReply, EngineError> {
    let mut change = Change::open(tx, clock)?;
    let until = clock.plus_millis(OUTBOUND_LEASE_MILLIS);
    let (epoch, before) = match epoch {
        None => {
            let epoch = change.counters.next_epoch;
            change.counters.next_epoch = epoch.saturating_add(1);
            (epoch, None)
        }
        Some(epoch) => match living(&change, epoch)?.filter(|lease| lease.worker == worker) {
            Some(lease) => (epoch, Some(lease.until)),
            None => return Ok(OutboundReply::LeaseEnded),
        },
    };
    change.tx.put_record(change.keys.lease(epoch), &Lease { worker, until });
    change.reset(Line::Lease, &epoch.to_be_bytes(), before, Some(until));
    change.close()?;
    Ok(OutboundReply::Leased { epoch, until })
}

/// The lease, if it lives.
pub(super) fn living(change: &Change<'_, '_>, epoch: u64) -> Result<Option<Lease>, EngineError> {
    let lease: Option<Lease> = change.tx.get_record(&change.keys.lease(epoch))?;
    Ok(lease.filter(|lease| lease.until > change.clock))
}
