//! Expunged UIDs, remembered by mod-sequence for QRESYNC (RFC 7162 3.2.10).
//!
//! One row for each change that expunged, with all its UIDs as ranges. A mailbox remembers at most
//! [`TOMBSTONES_PER_MAILBOX_MAX`] UIDs; beyond that whole rows are forgotten, oldest first and a little more than
//! needed, and the mailbox's horizon moves to the last one forgotten. Since that is the mod-sequence of a whole
//! change, all expunges after the horizon are known exactly. Who asks from before it is told of every UID that is
//! not there, which RFC 7162 allows and which is never wrong.

use std::ops::ControlFlow;

use securanet_kv::Direction;
use securanet_model::{MailboxId, ModSeq, Uid, account::UidSet, limits::TOMBSTONES_PER_MAILBOX_MAX};

use super::{change::Change, instances, instances::Mailbox, records::MailboxCounters, tables::AccountKeys};
use crate::{EngineError, keys::Table, tx::ReadView};

/// UIDs that are forgotten beyond the bound, so that trimming is not part of every expunge.
const SLACK: u64 = 256;

/// Remembers UIDs that this change expunged.
pub(super) fn bury(
    change: &mut Change<'_, '_>,
    mailbox: &mut Mailbox,
    uids: impl ExactSizeIterator<Item = Uid>,
) -> Result<(), EngineError> {
    mailbox.counters.tombstones += uids.len() as u64;
    let uids = UidSet::from_uids(uids);
    if uids.is_empty() {
        return Ok(());
    }
    change.tx.put_record(change.keys.tombstones(mailbox.id, change.modseq), &uids);
    if mailbox.counters.tombstones > TOMBSTONES_PER_MAILBOX_MAX {
        trim(change, mailbox)?;
    }
    Ok(())
}

fn trim(change: &mut Change<'_, '_>, mailbox: &mut Mailbox) -> Result<(), EngineError> {
    let counters = &mut mailbox.counters;
    let mut gone = Vec::new();
    // Starting behind the horizon passes over what was deleted before and may still lie on the disk.
    let range = change.keys.after(Table::Tombstones, mailbox.id, counters.horizon);
    change.tx.view().visit_records(&range, Direction::Forward, |mut fields, uids: UidSet| {
        let (_account, _mailbox) = (fields.u64()?, fields.u32()?);
        counters.horizon = ModSeq::new(fields.u64()?);
        counters.tombstones = counters.tombstones.saturating_sub(length(&uids));
        gone.push(counters.horizon);
        let enough = counters.tombstones + SLACK <= TOMBSTONES_PER_MAILBOX_MAX;
        Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    for modseq in gone {
        change.tx.delete(change.keys.tombstones(mailbox.id, modseq));
    }
    Ok(())
}

fn length(uids: &UidSet) -> u64 {
    uids.ranges().iter().map(|(first, last)| u64::from(last.get() - first.get()) + 1).sum()
}

/// The UIDs expunged after `since`; before the horizon, every UID that was given and is not there.
pub(super) fn vanished(
    view: &ReadView<'_>,
    keys: AccountKeys,
    mailbox: MailboxId,
    counters: &MailboxCounters,
    since: ModSeq,
) -> Result<UidSet, EngineError> {
    if since < counters.horizon {
        return missing(view, keys, mailbox, counters);
    }
    let mut ranges = Vec::new();
    let range = keys.after(Table::Tombstones, mailbox, since);
    view.visit_records(&range, Direction::Forward, |_, uids: UidSet| {
        ranges.extend_from_slice(uids.ranges());
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(UidSet::from_ranges(ranges))
}

/// Every UID below `uid_next` that is not there.
fn missing(
    view: &ReadView<'_>,
    keys: AccountKeys,
    mailbox: MailboxId,
    counters: &MailboxCounters,
) -> Result<UidSet, EngineError> {
    let mut gaps = Vec::new();
    let mut next = Uid::FIRST;
    instances::visit(view, keys, mailbox, &UidSet::all(), |uid, _| {
        if next < uid {
            gaps.push((next, Uid::new(uid.get() - 1)));
        }
        next = uid.next();
        Ok(ControlFlow::Continue(()))
    })?;
    if next < counters.uid_next {
        gaps.push((next, Uid::new(counters.uid_next.get() - 1)));
    }
    Ok(UidSet::from_ranges(gaps))
}
