//! Messages in mailboxes: an instance is an email under a UID, with flags and a saved date of its own.
//!
//! Each instance has three rows that come and go together: itself, its place in the mailbox's order of changes,
//! and its place in the email's list of instances. UIDs only ever grow ([`MailboxCounters::uid_next`]).

use std::ops::ControlFlow;

use securanet_kv::Direction;
use securanet_model::{
    EmailId, Flags, MailboxId, Uid,
    account::{AccountRefusal, UidSet},
};

use super::{
    change::{Change, Step},
    records::{Instance, MailboxCounters},
    tables::AccountKeys,
    tombstones,
};
use crate::{EngineError, keys::Table, tx::ReadView};

/// A mailbox while a command changes its messages.
pub(super) struct Mailbox {
    pub(super) id: MailboxId,
    pub(super) counters: MailboxCounters,
}

impl Mailbox {
    /// Opens a mailbox that exists.
    pub(super) fn open(change: &Change<'_, '_>, id: MailboxId) -> Step<Self> {
        let key = change.keys.mailbox(Table::MailboxCounters, id);
        let counters = change.tx.get_record(&key)?.ok_or(AccountRefusal::NoMailbox)?;
        Ok(Self { id, counters })
    }

    /// Writes the counters of a mailbox whose messages this command changed.
    pub(super) fn close(mut self, change: &mut Change<'_, '_>) {
        self.counters.highest_modseq = change.modseq;
        change.tx.put_record(change.keys.mailbox(Table::MailboxCounters, self.id), &self.counters);
    }

    /// Puts an email under the next UID.
    pub(super) fn place(
        &mut self,
        change: &mut Change<'_, '_>,
        email: EmailId,
        size_bytes: u64,
        flags: Flags,
    ) -> Step<Uid> {
        let uid = self.counters.uid_next;
        if uid.next() == uid {
            return Err(AccountRefusal::NoUidsLeft.into());
        }
        self.counters.uid_next = uid.next();
        let instance = Instance { email, modseq: change.modseq, saved_date: change.stamp, size_bytes, flags };
        self.counters.add(&instance);
        change.tx.put_record(change.keys.instance(self.id, uid), &instance);
        change.tx.put(change.keys.by_modseq(self.id, change.modseq, uid), Vec::new());
        change.tx.put(change.keys.email_instance(email, self.id, uid), Vec::new());
        Ok(uid)
    }

    /// Takes instances out and remembers their UIDs as expunged. Their emails are left to the caller.
    pub(super) fn take_out(
        &mut self,
        change: &mut Change<'_, '_>,
        gone: &[(Uid, Instance)],
    ) -> Result<(), EngineError> {
        for (uid, instance) in gone {
            self.counters.subtract(instance);
            change.tx.delete(change.keys.instance(self.id, *uid));
            change.tx.delete(change.keys.by_modseq(self.id, instance.modseq, *uid));
            change.tx.delete(change.keys.email_instance(instance.email, self.id, *uid));
        }
        tombstones::bury(change, self, gone.iter().map(|(uid, _)| *uid))
    }

    /// Gives an instance other flags; the mod-sequence is this command's.
    pub(super) fn flag(&mut self, change: &mut Change<'_, '_>, uid: Uid, before: &Instance, flags: Flags) {
        let after = Instance { modseq: change.modseq, flags, ..before.clone() };
        self.counters.subtract(before);
        self.counters.add(&after);
        change.tx.delete(change.keys.by_modseq(self.id, before.modseq, uid));
        change.tx.put(change.keys.by_modseq(self.id, after.modseq, uid), Vec::new());
        change.tx.put_record(change.keys.instance(self.id, uid), &after);
    }
}

/// Shows the instances of a mailbox that are in `uids`, ascending, until `each` breaks.
pub(super) fn visit(
    view: &ReadView<'_>,
    keys: AccountKeys,
    mailbox: MailboxId,
    uids: &UidSet,
    mut each: impl FnMut(Uid, Instance) -> Result<ControlFlow<()>, EngineError>,
) -> Result<(), EngineError> {
    let mut flow = ControlFlow::Continue(());
    for &range in uids.ranges() {
        view.visit_records(&keys.instances(mailbox, range), Direction::Forward, |mut fields, instance| {
            let (_account, _mailbox) = (fields.u64()?, fields.u32()?);
            flow = each(Uid::new(fields.u32()?), instance)?;
            Ok(flow)
        })?;
        if flow.is_break() {
            break;
        }
    }
    Ok(())
}

/// All instances of a mailbox that are in `uids`, ascending.
pub(super) fn all(
    view: &ReadView<'_>,
    keys: AccountKeys,
    mailbox: MailboxId,
    uids: &UidSet,
) -> Result<Vec<(Uid, Instance)>, EngineError> {
    let mut found = Vec::new();
    visit(view, keys, mailbox, uids, |uid, instance| {
        found.push((uid, instance));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// The mailboxes and UIDs in which an email sits, at most `rows_max`.
pub(super) fn of_email(
    view: &ReadView<'_>,
    keys: AccountKeys,
    email: EmailId,
    rows_max: usize,
) -> Result<Vec<(MailboxId, Uid)>, EngineError> {
    let mut found = Vec::new();
    view.visit(&keys.email(Table::EmailInstance, email).range(), Direction::Forward, |mut fields, _| {
        let (_account, _email) = (fields.u64()?, fields.u64()?);
        found.push((MailboxId::new(fields.u32()?), Uid::new(fields.u32()?)));
        Ok(if found.len() < rows_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use securanet_kv::memory::MemoryStore;
    use securanet_model::{
        AccountId, DomainId, Epoch, GroupId, ModSeq, TenantId, UnixMillis, account::AccountRef, directory::Quota,
    };

    use super::*;
    use crate::{
        account::{change::Stop, mailboxes::INBOX, provision},
        keys::Space,
        tx::Tx,
    };

    #[test]
    fn the_last_uid_is_never_given() {
        let store = MemoryStore::new();
        let mut tx = Tx::new(&store, Space { group: GroupId::new(1), generation: 0 });
        let account = AccountRef { id: AccountId::new(1), epoch: Epoch::new(0) };
        let of = (TenantId::new(0), DomainId::new(0));
        let stamp = UnixMillis::new(1_700_000_000_000);
        provision::provision(&mut tx, stamp, account, of, Quota::default()).unwrap();
        let mut change = Change::open(&mut tx, stamp, account).unwrap();
        let counters = MailboxCounters { uid_next: Uid::new(u32::MAX - 1), ..MailboxCounters::empty(ModSeq::new(1)) };
        let mut inbox = Mailbox { id: INBOX, counters };
        let last = inbox.place(&mut change, EmailId::new(1), 1, Flags::default()).unwrap();
        assert_eq!(last, Uid::new(u32::MAX - 1), "UIDNEXT is above all that were given");
        let one_more = inbox.place(&mut change, EmailId::new(2), 1, Flags::default());
        assert!(matches!(one_more, Err(Stop::Refused(AccountRefusal::NoUidsLeft))), "{one_more:?}");
    }
}
