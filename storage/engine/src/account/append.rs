//! APPEND of one or several messages (RFC 9051 6.3.12, RFC 3502): all or none, the quota included;
//! and the import of one message, which may be tried again. What was submitted a moment ago and is in Sent already is
//! not stored a second time ([`sent`]).

use securanet_model::{
    Flags, KeyedHash, MailboxId, Uid,
    account::{AccountReply, AppendMessage, Changed, UidMap, UidSet},
    content::Sealed,
};

use super::{
    change::{Change, Step},
    emails::{self, Incoming},
    instances::{self, Mailbox},
    keywords::{self, Keywords},
    mailboxes, repeats, sent,
};

/// APPEND.
pub(super) fn append(
    change: &mut Change<'_, '_>,
    mailbox: MailboxId,
    messages: &[AppendMessage],
) -> Step<AccountReply> {
    let mut mailbox = Mailbox::open(change, mailbox)?;
    if messages.is_empty() {
        return Ok(AccountReply::Uids(UidMap::default()));
    }
    let no_prefix = Sealed::plain(1, Vec::new());
    let incoming = |each| incoming(each, &no_prefix);
    let mut here = Vec::with_capacity(messages.len());
    for each in messages {
        here.push(sent::copy_of(change, mailbox.id, &each.message)?);
    }
    let new = messages.iter().zip(&here).filter(|(_, here)| here.is_none());
    emails::check_quota(change, &new.map(|(each, _)| incoming(each)).collect::<Vec<_>>())?;
    let row = mailboxes::row(change, mailbox.id)?;
    let mut map = UidMap { uid_validity: Some(row.uid_validity), ..UidMap::default() };
    let mut keywords = Keywords::of(mailbox.id);
    let mut changed = false;
    for (each, here) in messages.iter().zip(here) {
        keywords::check(&each.flags)?;
        if let Some(uid) = here {
            changed |= add_flags(change, &mut mailbox, &mut keywords, (uid, &each.flags))?;
            map.to.push(uid);
            continue;
        }
        changed = true;
        let flags = keywords.spell(change, &each.flags)?;
        let email = emails::create(change, incoming(each))?;
        map.to.push(mailbox.place(change, email, incoming(each).size_bytes(), flags)?);
    }
    if changed {
        keywords.close(change);
        mailbox.close(change);
    }
    Ok(AccountReply::Uids(map))
}

/// Gives a message that is there the flags that it lacks; whether it lacked any.
fn add_flags(
    change: &mut Change<'_, '_>,
    mailbox: &mut Mailbox,
    keywords: &mut Keywords,
    (uid, more): (Uid, &Flags),
) -> Step<bool> {
    let found = instances::all(&change.tx.view(), change.keys, mailbox.id, &UidSet::from_uids([uid]))?;
    let Some((_, before)) = found.into_iter().next() else { return Ok(false) };
    let flags = keywords.spell(change, &before.flags.clone().plus(more))?;
    if flags == before.flags {
        return Ok(false);
    }
    keywords::check(&flags)?;
    mailbox.flag(change, uid, &before, flags);
    change.log(Changed::EmailUpdated(before.email));
    Ok(true)
}

/// Imports a message once per key: what was imported or delivered under that key within the window is passed over.
pub(super) fn import(
    change: &mut Change<'_, '_>,
    mailbox: MailboxId,
    message: &AppendMessage,
    key: &KeyedHash,
) -> Step<AccountReply> {
    Mailbox::open(change, mailbox)?;
    if repeats::seen(&change.tx.view(), change.keys, change.stamp, key)? {
        return Ok(AccountReply::Uids(UidMap::default()));
    }
    repeats::remember(change.tx, change.keys, change.stamp, key)?;
    append(change, mailbox, std::slice::from_ref(message))
}

fn incoming<'m>(message: &'m AppendMessage, no_prefix: &'m Sealed) -> Incoming<'m> {
    Incoming { message: &message.message, prefix: no_prefix, prefix_size_bytes: 0 }
}
