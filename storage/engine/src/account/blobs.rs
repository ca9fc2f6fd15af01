//! Which blobs the group names: the two questions that collection and scrub ask.

use std::ops::ControlFlow;

use securanet_kv::{Direction, KeyRange};
use securanet_model::{BlobId, TenantId};

use crate::{EngineError, keys::Table, reachability::blob_key, tx::ReadView};

/// Rows that one page may have.
const ROWS_MAX: u32 = 10_000;

/// For each blob, whether anything of the group names it.
pub(super) fn reachable(view: &ReadView<'_>, blobs: &[BlobId]) -> Result<Vec<bool>, EngineError> {
    let named = |blob| Ok(!view.scan(&blob_key(view.space(), blob).range(), Direction::Forward, 1)?.is_empty());
    blobs.iter().map(named).collect()
}

/// Distinct blobs in order, after `after`. A blob has as many rows as it has owners, so each step is a seek past
/// all rows of the last one.
pub(super) fn page(view: &ReadView<'_>, after: Option<BlobId>, rows_max: u32) -> Result<Vec<BlobId>, EngineError> {
    let mut rest = view.key(Table::BlobReachability).range();
    let mut found = Vec::new();
    let mut last = after;
    while found.len() < rows_max.clamp(1, ROWS_MAX) as usize {
        if let Some(last) = last {
            let Some(start) = blob_key(view.space(), &last).range().end else { break };
            rest = KeyRange { start, end: rest.end };
        }
        last = None;
        view.visit(&rest, Direction::Forward, |mut fields, _| {
            last = Some(BlobId { tenant: TenantId::new(fields.u32()?), hash: fields.array()? });
            Ok(ControlFlow::Break(()))
        })?;
        match last {
            Some(blob) => found.push(blob),
            None => break,
        }
    }
    Ok(found)
}
