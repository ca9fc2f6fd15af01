//! STORE (RFC 9051 6.4.6) with UNCHANGEDSINCE (RFC 7162 3.1.3).
//!
//! A message whose flags are already as wanted keeps its mod-sequence and is reported all the same. A message
//! changed after `unchanged_since` is left alone and named in MODIFIED.

use securanet_model::{
    Flags, MailboxId, ModSeq, Uid,
    account::{AccountReply, Changed, FlagChange, MessageState, UidSet},
};

use super::{
    change::{Change, Step},
    instances::{self, Mailbox},
    keywords::{self, Keywords},
    records::Instance,
};

/// What a STORE asks for.
pub(super) struct Store<'c> {
    pub(super) uids: &'c UidSet,
    pub(super) how: FlagChange,
    pub(super) flags: &'c Flags,
    pub(super) unchanged_since: Option<ModSeq>,
}

/// STORE.
pub(super) fn store(change: &mut Change<'_, '_>, mailbox: MailboxId, store: &Store<'_>) -> Step<AccountReply> {
    let mut mailbox = Mailbox::open(change, mailbox)?;
    let mut keywords = Keywords::of(mailbox.id);
    let (mut messages, mut modified, mut changed) = (Vec::new(), Vec::new(), false);
    for (uid, before) in instances::all(&change.tx.view(), change.keys, mailbox.id, store.uids)? {
        if store.unchanged_since.is_some_and(|since| before.modseq > since) {
            modified.push(uid);
            continue;
        }
        let flags = keywords.spell(change, &wanted(store, &before.flags))?;
        if flags == before.flags {
            messages.push(state(uid, &before, before.modseq, flags));
            continue;
        }
        keywords::check(&flags)?;
        mailbox.flag(change, uid, &before, flags.clone());
        change.log(Changed::EmailUpdated(before.email));
        messages.push(state(uid, &before, change.modseq, flags));
        changed = true;
    }
    if changed {
        keywords.close(change);
        mailbox.close(change);
    }
    Ok(AccountReply::Stored { messages, modified })
}

fn wanted(store: &Store<'_>, before: &Flags) -> Flags {
    match store.how {
        FlagChange::Replace => store.flags.clone(),
        FlagChange::Add => before.clone().plus(store.flags),
        FlagChange::Remove => before.clone().minus(store.flags),
    }
}

fn state(uid: Uid, instance: &Instance, modseq: ModSeq, flags: Flags) -> MessageState {
    MessageState { uid, modseq, flags, email: instance.email }
}
