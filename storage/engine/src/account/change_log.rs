//! The account's change log: per mod-sequence, what changed. It becomes the states of JMAP (RFC 8620 5.2).
//!
//! At most [`CHANGES_PER_ACCOUNT_MAX`] entries. When there are more, the oldest rows go, a little more than
//! needed, so that the search for them happens once in [`SLACK`] changes; whoever asks from before what is left
//! is told that the log does not reach back (`cannotCalculateChanges`).

use std::{collections::BTreeSet, ops::ControlFlow};

use securanet_kv::Direction;
use securanet_model::{ModSeq, account::Changed, limits::CHANGES_PER_ACCOUNT_MAX};

use super::{records::AccountRow, tables::AccountKeys};
use crate::{
    EngineError,
    tx::{ReadView, Tx},
};

/// Entries that are trimmed beyond the bound, so that trimming is not part of every change.
const SLACK: u64 = 256;

/// Appends what `modseq` changed and trims the log.
pub(super) fn append(
    tx: &mut Tx<'_>,
    keys: AccountKeys,
    row: &mut AccountRow,
    modseq: ModSeq,
    changed: &BTreeSet<Changed>,
) -> Result<(), EngineError> {
    if changed.is_empty() {
        return Ok(());
    }
    tx.put_record(keys.changes(modseq), changed);
    row.changes += changed.len() as u64;
    if row.changes > CHANGES_PER_ACCOUNT_MAX {
        trim(tx, keys, row)?;
    }
    Ok(())
}

fn trim(tx: &mut Tx<'_>, keys: AccountKeys, row: &mut AccountRow) -> Result<(), EngineError> {
    let mut gone = Vec::new();
    tx.view().visit_records(
        &keys.changes_after(row.changes_floor),
        Direction::Forward,
        |mut fields, changed: Vec<Changed>| {
            fields.u64()?;
            row.changes_floor = ModSeq::new(fields.u64()?);
            row.changes = row.changes.saturating_sub(changed.len() as u64);
            gone.push(row.changes_floor);
            let enough = row.changes + SLACK <= CHANGES_PER_ACCOUNT_MAX;
            Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        },
    )?;
    gone.into_iter().for_each(|modseq| tx.delete(keys.changes(modseq)));
    Ok(())
}

/// What changed after `since`, in order; `None` when the log does not reach back so far.
///
/// A change is told whole, because the asker goes on from its mod-sequence: the last one may exceed `rows_max`
/// only when it is the first one too.
pub(super) fn after(
    view: &ReadView<'_>,
    keys: AccountKeys,
    row: &AccountRow,
    since: ModSeq,
    rows_max: usize,
) -> Result<Option<Vec<(ModSeq, Changed)>>, EngineError> {
    if since < row.changes_floor {
        return Ok(None);
    }
    let mut rows = Vec::new();
    view.visit_records(&keys.changes_after(since), Direction::Forward, |mut fields, changed: Vec<Changed>| {
        fields.u64()?;
        let modseq = ModSeq::new(fields.u64()?);
        if !rows.is_empty() && rows.len() + changed.len() > rows_max {
            return Ok(ControlFlow::Break(()));
        }
        rows.extend(changed.into_iter().map(|changed| (modseq, changed)));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(Some(rows))
}
