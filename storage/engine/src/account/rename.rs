//! RENAME (RFC 9051 6.3.6).
//!
//! Children move with their parent. INBOX is never renamed: its messages move into a new mailbox, under new UIDs,
//! and its children stay.
//!
//! A renamed mailbox keeps its id, its UIDs and, where that is safe, its UIDVALIDITY. It is not safe when some
//! former mailbox of the new name may have had a greater one: to a client that knows a mailbox by its name,
//! UIDVALIDITY would then go back (promise P3). Former names are not kept, they have no bound; the account keeps
//! the greatest UIDVALIDITY that any name ever lost, and a mailbox below that gets a fresh one.

use securanet_model::{
    MailboxId, MailboxName, UidValidity,
    account::{AccountRefusal, AccountReply, Changed, UidSet},
};

use super::{
    change::{Change, Step},
    copy_move,
    mailboxes::{self, INBOX},
    names,
};
use crate::keys::Table;

/// RENAME.
pub(super) fn rename(change: &mut Change<'_, '_>, from: &MailboxName, to: &MailboxName) -> Step<AccountReply> {
    let mailbox = names::find(&change.tx.view(), change.keys, from)?.ok_or(AccountRefusal::NoMailbox)?;
    if to.is_inbox() {
        return Err(AccountRefusal::Inbox.into());
    }
    if names::find(&change.tx.view(), change.keys, to)?.is_some() {
        return Err(AccountRefusal::MailboxExists.into());
    }
    if from.is_inbox() {
        let new = mailboxes::create(change, to, None)?;
        copy_move::move_messages(change, INBOX, &UidSet::all(), new)?;
        return Ok(AccountReply::Done);
    }
    if to.is_below(from) {
        return Err(AccountRefusal::BelowItself.into());
    }
    let mut renamed = vec![(from.clone(), to.clone(), mailbox)];
    for (below, mailbox) in names::below(&change.tx.view(), change.keys, from)? {
        let new = moved(&below, from, to)?;
        renamed.push((below, new, mailbox));
    }
    mailboxes::create_parents(change, to)?;
    give_names(change, &renamed)?;
    Ok(AccountReply::Done)
}

/// The name of a child of `from` once `from` is `to`.
fn moved(child: &MailboxName, from: &MailboxName, to: &MailboxName) -> Step<MailboxName> {
    let rest = child.as_str().get(from.as_str().len()..).unwrap_or_default();
    let name = MailboxName::parse(&format!("{to}{rest}"));
    Ok(name.map_err(|_| AccountRefusal::TooMany(MailboxName::OCTETS_MAX as u64))?)
}

fn give_names(change: &mut Change<'_, '_>, renamed: &[(MailboxName, MailboxName, MailboxId)]) -> Step<()> {
    let lost_before = change.row.retired_uid_validity;
    for (from, to, mailbox) in renamed {
        let mut row = mailboxes::row(change, *mailbox)?;
        change.row.retired_uid_validity = change.row.retired_uid_validity.max(row.uid_validity.get());
        // Equal means that this very mailbox lost a name before: under whatever name, its UIDs are the same.
        if row.uid_validity < UidValidity::new(lost_before) {
            row.uid_validity = change.next_uid_validity()?;
        }
        row.name = to.clone();
        names::remove(change.tx, change.keys, from);
        names::add(change.tx, change.keys, to, *mailbox);
        change.tx.put_record(change.keys.mailbox(Table::Mailbox, *mailbox), &row);
        change.log(Changed::MailboxUpdated(*mailbox));
    }
    Ok(())
}
