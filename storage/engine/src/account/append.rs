//! APPEND of one or several messages (RFC 9051 6.3.12, RFC 3502): all or none, the quota included;
//! and the import of one message, which may be tried again.

use securanet_model::{
    KeyedHash, MailboxId,
    account::{AccountReply, AppendMessage, UidMap},
    content::Sealed,
};

use super::{
    change::{Change, Step},
    emails::{self, Incoming},
    instances::Mailbox,
    keywords::{self, Keywords},
    mailboxes, repeats,
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
    emails::check_quota(change, &messages.iter().map(incoming).collect::<Vec<_>>())?;
    let row = mailboxes::row(change, mailbox.id)?;
    let mut map = UidMap { uid_validity: Some(row.uid_validity), ..UidMap::default() };
    let mut keywords = Keywords::of(mailbox.id);
    for each in messages {
        keywords::check(&each.flags)?;
        let flags = keywords.spell(change, &each.flags)?;
        let email = emails::create(change, incoming(each))?;
        map.to.push(mailbox.place(change, email, incoming(each).size_bytes(), flags)?);
    }
    keywords.close(change);
    mailbox.close(change);
    Ok(AccountReply::Uids(map))
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
