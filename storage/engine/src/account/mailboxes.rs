//! CREATE, DELETE, SUBSCRIBE (RFC 9051 6.3.4, 6.3.5, 6.3.7, 6.3.8). RENAME has a file of its own.
//!
//! Invariants: the parent of a mailbox exists, so a name without a mailbox has nothing below it; INBOX is mailbox
//! 1 and always there; a special use has at most one mailbox. Ids and UIDVALIDITYs are never given twice, so a
//! name that is deleted and made again is a new mailbox to every client.

use securanet_model::{
    MailboxId, MailboxName, SpecialUse,
    account::{AccountRefusal, AccountReply, Changed, UidSet},
    limits::MAILBOXES_MAX,
};

use super::{
    change::{Change, Step},
    emails, instances, names,
    records::{AccountRow, MailboxCounters, MailboxRow},
};
use crate::{EngineError, keys::Table};

/// The mailbox that every account has from its beginning.
pub(super) const INBOX: MailboxId = MailboxId::new(1);

/// CREATE, with the parents that are missing.
pub(super) fn create(
    change: &mut Change<'_, '_>,
    name: &MailboxName,
    special_use: Option<SpecialUse>,
) -> Step<MailboxId> {
    if names::find(&change.tx.view(), change.keys, name)?.is_some() {
        return Err(AccountRefusal::MailboxExists.into());
    }
    if special_use.is_some_and(|special_use| has_use(&change.row, special_use)) {
        return Err(AccountRefusal::SpecialUseTaken.into());
    }
    create_parents(change, name)?;
    make(change, name, special_use)
}

/// Makes the missing parents of a name, the topmost first.
pub(super) fn create_parents(change: &mut Change<'_, '_>, name: &MailboxName) -> Step<()> {
    let mut missing = Vec::new();
    let mut parent = name.parent();
    while let Some(name) = parent {
        if names::find(&change.tx.view(), change.keys, &name)?.is_some() {
            break;
        }
        parent = name.parent();
        missing.push(name);
    }
    missing.iter().rev().try_for_each(|name| make(change, name, None).map(|_| ()))
}

/// Makes one mailbox whose name is free and whose parent exists.
pub(super) fn make(
    change: &mut Change<'_, '_>,
    name: &MailboxName,
    special_use: Option<SpecialUse>,
) -> Step<MailboxId> {
    if change.row.mailboxes as usize >= MAILBOXES_MAX {
        return Err(AccountRefusal::TooMany(MAILBOXES_MAX as u64).into());
    }
    let mailbox = change.next_mailbox()?;
    let row = MailboxRow { name: name.clone(), special_use, uid_validity: change.next_uid_validity()? };
    change.tx.put_record(change.keys.mailbox(Table::Mailbox, mailbox), &row);
    let counters = MailboxCounters::empty(change.modseq);
    change.tx.put_record(change.keys.mailbox(Table::MailboxCounters, mailbox), &counters);
    names::add(change.tx, change.keys, name, mailbox);
    change.row.mailboxes += 1;
    change.row.special_uses |= special_use.map_or(0, bit);
    change.log(Changed::MailboxCreated(mailbox));
    Ok(mailbox)
}

/// DELETE, with all messages that sit nowhere else.
pub(super) fn delete(change: &mut Change<'_, '_>, name: &MailboxName) -> Step<AccountReply> {
    if name.is_inbox() {
        return Err(AccountRefusal::Inbox.into());
    }
    let mailbox = names::find(&change.tx.view(), change.keys, name)?.ok_or(AccountRefusal::NoMailbox)?;
    if !names::below(&change.tx.view(), change.keys, name)?.is_empty() {
        return Err(AccountRefusal::HasChildren.into());
    }
    let row = row(change, mailbox)?;
    delete_messages(change, mailbox)?;
    for table in [Table::Mailbox, Table::MailboxCounters, Table::MailboxKeywords] {
        change.tx.delete(change.keys.mailbox(table, mailbox));
    }
    names::remove(change.tx, change.keys, name);
    change.row.mailboxes -= 1;
    change.row.special_uses &= !row.special_use.map_or(0, bit);
    change.row.retired_uid_validity = change.row.retired_uid_validity.max(row.uid_validity.get());
    change.log(Changed::MailboxDestroyed(mailbox));
    Ok(AccountReply::Done)
}

fn delete_messages(change: &mut Change<'_, '_>, mailbox: MailboxId) -> Result<(), EngineError> {
    let gone = instances::all(&change.tx.view(), change.keys, mailbox, &UidSet::all())?;
    for (uid, instance) in &gone {
        change.tx.delete(change.keys.email_instance(instance.email, mailbox, *uid));
    }
    for table in [Table::Instance, Table::InstanceByModSeq, Table::Tombstones] {
        change.tx.delete_range(change.keys.mailbox(table, mailbox).range());
    }
    emails::after_taking_out(change, gone.into_iter().map(|(_, instance)| instance.email))
}

/// SUBSCRIBE and UNSUBSCRIBE. The name need not exist, and deleting a mailbox does not unsubscribe its name.
pub(super) fn subscribe(change: &mut Change<'_, '_>, name: &MailboxName, subscribed: bool) -> Step<AccountReply> {
    let key = change.keys.subscription(name);
    if change.tx.contains(&key)? == subscribed {
        return Ok(AccountReply::Done);
    }
    if subscribed {
        // As many as there may be mailboxes: names without a mailbox cost space too.
        if change.row.subscriptions as usize >= MAILBOXES_MAX {
            return Err(AccountRefusal::TooMany(MAILBOXES_MAX as u64).into());
        }
        change.tx.put(key, Vec::new());
        change.row.subscriptions += 1;
    } else {
        change.tx.delete(key);
        change.row.subscriptions -= 1;
    }
    match names::find(&change.tx.view(), change.keys, name)? {
        Some(mailbox) => change.log(Changed::MailboxUpdated(mailbox)),
        None => change.mark(),
    }
    Ok(AccountReply::Done)
}

/// The row of a mailbox that a name or a counter row speaks of.
pub(super) fn row(change: &Change<'_, '_>, mailbox: MailboxId) -> Result<MailboxRow, EngineError> {
    let row = change.tx.get_record(&change.keys.mailbox(Table::Mailbox, mailbox))?;
    row.ok_or_else(|| {
        EngineError::Inconsistent(format!("account {}: mailbox {mailbox} has no row", change.keys.account()))
    })
}

/// Whether a mailbox of the account has the special use.
pub(super) fn has_use(row: &AccountRow, special_use: SpecialUse) -> bool {
    row.special_uses & bit(special_use) != 0
}

fn bit(special_use: SpecialUse) -> u8 {
    SpecialUse::ALL.iter().position(|&each| each == special_use).map_or(0, |position| 1 << position)
}
