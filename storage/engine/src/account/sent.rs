//! Copies in Sent: what the account submitted is kept in its mailbox of that use, and a client's own upload of the
//! same message finds it there.
//!
//! Many clients append to Sent what they have just submitted. For [`WINDOW_MILLIS`] after a copy was kept, an APPEND
//! to its mailbox of a message with the same Message-ID is answered with the copy's UID and stores nothing; flags
//! that the copy lacks are added to it. A copy that is gone from that mailbox is not found any more.
//!
//! The mailbox is the one with the special use `\Sent`; without one the one that is called so; without that it is
//! made. What is remembered of copies is bounded: [`REMEMBERED_MAX`] an account, the oldest go first, and what is
//! out of the window goes with the next copy.

use std::ops::ControlFlow;

use securanet_kv::Direction;
use securanet_model::{
    Flags, KeyedHash, MailboxId, MailboxName, SpecialUse, SystemFlags, Uid, UnixMillis,
    account::{AccountReply, UidMap},
    content::{NewMessage, Sealed},
};

use super::{
    change::{Change, Step},
    emails::{self, Incoming},
    instances::Mailbox,
    mailboxes, names,
    records::{MailboxRow, SentCopy},
    repeats,
};
use crate::{EngineError, keys::Table};

/// So long after the copy an upload of the same message is answered with it.
pub(super) const WINDOW_MILLIS: u64 = 10 * 60 * 1000;
/// Copies that are remembered of an account: what a busy one submits within the window.
pub(super) const REMEMBERED_MAX: usize = 256;

/// Keeps what was submitted, once per key.
pub(super) fn keep(change: &mut Change<'_, '_>, message: &NewMessage, key: &KeyedHash) -> Step<AccountReply> {
    if repeats::seen(&change.tx.view(), change.keys, change.stamp, key)? {
        return Ok(AccountReply::Uids(UidMap::default()));
    }
    repeats::remember(change.tx, change.keys, change.stamp, key)?;
    let no_prefix = Sealed::plain(1, Vec::new());
    let incoming = Incoming { message, prefix: &no_prefix, prefix_size_bytes: 0 };
    emails::check_quota(change, &[incoming])?;
    let mailbox = mailbox(change)?;
    let mut mailbox = Mailbox::open(change, mailbox)?;
    let row = mailboxes::row(change, mailbox.id)?;
    let email = emails::create(change, incoming)?;
    let uid = mailbox.place(change, email, incoming.size_bytes(), Flags::new(SystemFlags::SEEN, []))?;
    if let Some(own) = message.thread_keys.first() {
        forget_some(change)?;
        let copy = SentCopy { mailbox: mailbox.id, uid, at: change.stamp };
        change.tx.put_record(change.keys.sent_copy(own), &copy);
    }
    mailbox.close(change);
    Ok(AccountReply::Uids(UidMap { uid_validity: Some(row.uid_validity), from: Vec::new(), to: vec![uid] }))
}

/// The copy that an upload of this message to this mailbox finds.
pub(super) fn copy_of(
    change: &Change<'_, '_>,
    mailbox: MailboxId,
    message: &NewMessage,
) -> Result<Option<Uid>, EngineError> {
    // Its own key comes first; that of a message without a Message-ID is its content's, which no other has.
    let Some(own) = message.thread_keys.first() else { return Ok(None) };
    let copy: Option<SentCopy> = change.tx.get_record(&change.keys.sent_copy(own))?;
    let Some(copy) = copy.filter(|copy| copy.mailbox == mailbox && !is_over(copy, change.stamp)) else {
        return Ok(None);
    };
    let is_there = change.tx.contains(&change.keys.instance(mailbox, copy.uid))?;
    Ok(is_there.then_some(copy.uid))
}

fn is_over(copy: &SentCopy, now: UnixMillis) -> bool {
    now.millis_since(copy.at) >= WINDOW_MILLIS
}

fn mailbox(change: &mut Change<'_, '_>) -> Step<MailboxId> {
    if let Some(mailbox) = of_the_use(change)? {
        return Ok(mailbox);
    }
    let text = SpecialUse::Sent.default_name();
    let name = MailboxName::parse(text).map_err(|error| EngineError::Inconsistent(format!("{text}: {error}")))?;
    match names::find(&change.tx.view(), change.keys, &name)? {
        Some(mailbox) => Ok(mailbox),
        None => mailboxes::make(change, &name, Some(SpecialUse::Sent)),
    }
}

/// Accounts are made with it, so it is mostly among the first few.
fn of_the_use(change: &Change<'_, '_>) -> Result<Option<MailboxId>, EngineError> {
    let mut found = None;
    if !mailboxes::has_use(&change.row, SpecialUse::Sent) {
        return Ok(found);
    }
    let all = change.keys.table(Table::Mailbox).range();
    change.tx.view().visit_records(&all, Direction::Forward, |mut fields, row: MailboxRow| {
        let (_account, mailbox) = (fields.u64()?, fields.u32()?);
        if row.special_use != Some(SpecialUse::Sent) {
            return Ok(ControlFlow::Continue(()));
        }
        found = Some(MailboxId::new(mailbox));
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

/// Makes room for one more: forgets what is out of the window, and the oldest where there are too many.
fn forget_some(change: &mut Change<'_, '_>) -> Result<(), EngineError> {
    let mut left: Vec<(UnixMillis, KeyedHash)> = Vec::new();
    let mut over = Vec::new();
    let all = change.keys.table(Table::SentCopy).range();
    change.tx.view().visit_records(&all, Direction::Forward, |mut fields, copy: SentCopy| {
        fields.u64()?;
        let key = KeyedHash(fields.array()?);
        if is_over(&copy, change.stamp) {
            over.push(key)
        } else {
            left.push((copy.at, key))
        }
        Ok(ControlFlow::Continue(()))
    })?;
    left.sort_unstable_by_key(|(at, key)| (*at, key.0));
    let too_many = (left.len() + 1).saturating_sub(REMEMBERED_MAX);
    over.extend(left.into_iter().take(too_many).map(|(_, key)| key));
    over.iter().for_each(|key| change.tx.delete(change.keys.sent_copy(key)));
    Ok(())
}
