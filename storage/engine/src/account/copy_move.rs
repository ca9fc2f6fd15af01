//! COPY (RFC 9051 6.4.7) and MOVE (RFC 6851): all messages or none.
//!
//! Within an account both only touch instances: no new email, no quota. A copy into the mailbox where a message
//! sits already is another instance of it; a move there gives it a new UID. Flags and internal date stay, the
//! saved date is that of the command (RFC 8514).

use securanet_model::{
    MailboxId, Uid,
    account::{AccountReply, Changed, UidMap, UidSet},
};

use super::{
    change::{Change, Step},
    instances::{self, Mailbox},
    keywords::Keywords,
    mailboxes,
    records::Instance,
};

/// COPY.
pub(super) fn copy_messages(
    change: &mut Change<'_, '_>,
    from: MailboxId,
    uids: &UidSet,
    to: MailboxId,
) -> Step<AccountReply> {
    let (_source, target) = (Mailbox::open(change, from)?, Mailbox::open(change, to)?);
    let found = instances::all(&change.tx.view(), change.keys, from, uids)?;
    place(change, found, target)
}

/// MOVE.
pub(super) fn move_messages(
    change: &mut Change<'_, '_>,
    from: MailboxId,
    uids: &UidSet,
    to: MailboxId,
) -> Step<AccountReply> {
    let mut source = Mailbox::open(change, from)?;
    Mailbox::open(change, to)?;
    let found = instances::all(&change.tx.view(), change.keys, from, uids)?;
    if found.is_empty() {
        return Ok(AccountReply::Uids(UidMap::default()));
    }
    source.take_out(change, &found)?;
    source.close(change);
    // Opened only now: it may be the same mailbox.
    let target = Mailbox::open(change, to)?;
    place(change, found, target)
}

fn place(change: &mut Change<'_, '_>, found: Vec<(Uid, Instance)>, mut target: Mailbox) -> Step<AccountReply> {
    if found.is_empty() {
        return Ok(AccountReply::Uids(UidMap::default()));
    }
    let row = mailboxes::row(change, target.id)?;
    let mut map = UidMap { uid_validity: Some(row.uid_validity), ..UidMap::default() };
    let mut keywords = Keywords::of(target.id);
    for (uid, instance) in found {
        let flags = keywords.spell(change, &instance.flags)?;
        map.from.push(uid);
        map.to.push(target.place(change, instance.email, instance.size_bytes, flags)?);
        change.log(Changed::EmailUpdated(instance.email));
    }
    keywords.close(change);
    target.close(change);
    Ok(AccountReply::Uids(map))
}
