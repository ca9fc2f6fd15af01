//! The answers to questions about one account.

use std::ops::ControlFlow;

use securanet_kv::Direction;
use securanet_model::{
    BlobId, EmailId, MailboxId, ModSeq, Uid,
    account::{
        AccountAnswer, AccountQuery, AccountRef, AccountRefusal, Changes, Message, MessageContent, MessageState, UidSet,
    },
};

use super::{
    change::{Step, row_of},
    change_log, info, instances, maildrop, names,
    records::{Email, EmailContent, EmailHead, Instance, MailboxCounters},
    tables::AccountKeys,
    tombstones, usage,
};
use crate::{EngineError, keys::Table, tx::ReadView};

/// Rows of one answer of states or of the change log.
const STATES_MAX: u32 = 10_000;
/// Rows of one answer with summaries, which may be some kilobytes each.
const MESSAGES_MAX: u32 = 1_000;
/// Instances of one email that are told. Copying a message into its own mailbox again and again makes more.
const INSTANCES_MAX: usize = 10_000;

/// Answers a question.
pub(super) fn answer(view: &ReadView<'_>, account: AccountRef, query: &AccountQuery) -> Step<AccountAnswer> {
    let row = row_of(view, account)?;
    let keys = AccountKeys::new(view.space(), account.id);
    Ok(match query {
        AccountQuery::Mailboxes => AccountAnswer::Mailboxes(info::all(view, keys)?),
        AccountQuery::DanglingSubscriptions => AccountAnswer::Names(info::dangling_subscriptions(view, keys)?),
        AccountQuery::MailboxByName(name) => {
            let mailbox = names::find(view, keys, name)?.map(|mailbox| info::of(view, keys, mailbox)).transpose()?;
            AccountAnswer::Mailbox(mailbox.flatten().map(Box::new))
        }
        AccountQuery::MailboxById(mailbox) => AccountAnswer::Mailbox(info::of(view, keys, *mailbox)?.map(Box::new)),
        AccountQuery::States { mailbox, uids, rows_max } => {
            let found = first_instances(view, keys, *mailbox, uids, (*rows_max).clamp(1, STATES_MAX))?;
            AccountAnswer::States(found.into_iter().map(|(uid, instance)| state(uid, instance)).collect())
        }
        AccountQuery::Messages { mailbox, uids, with_summary, rows_max } => {
            let found = first_instances(view, keys, *mailbox, uids, (*rows_max).clamp(1, MESSAGES_MAX))?;
            let messages = found.into_iter().map(|(uid, each)| message(view, keys, uid, each, *with_summary));
            AccountAnswer::Messages(messages.collect::<Result<_, _>>()?)
        }
        AccountQuery::Changes { mailbox, since } => changes(view, keys, *mailbox, *since)?,
        AccountQuery::Quota => AccountAnswer::Quota(usage::of_account(&row)),
        AccountQuery::Instances(email) => {
            AccountAnswer::Instances(instances::of_email(view, keys, *email, INSTANCES_MAX)?)
        }
        AccountQuery::Content(email) => AccountAnswer::Content(content(view, keys, *email)?.map(Box::new)),
        AccountQuery::ChangeLog { since, rows_max } => {
            let rows_max = (*rows_max).clamp(1, STATES_MAX) as usize;
            AccountAnswer::ChangeLog(change_log::after(view, keys, &row, *since, rows_max)?)
        }
        AccountQuery::MaildropLock { now } => AccountAnswer::MaildropLock(maildrop::holder(view, keys, *now)?),
    })
}

/// The first instances of a mailbox that are in `uids`.
fn first_instances(
    view: &ReadView<'_>,
    keys: AccountKeys,
    mailbox: MailboxId,
    uids: &UidSet,
    rows_max: u32,
) -> Step<Vec<(Uid, Instance)>> {
    if !view.contains(&keys.mailbox(Table::MailboxCounters, mailbox))? {
        return Err(AccountRefusal::NoMailbox.into());
    }
    let mut found = Vec::new();
    instances::visit(view, keys, mailbox, uids, |uid, instance| {
        found.push((uid, instance));
        Ok(if found.len() < rows_max as usize { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(found)
}

fn state(uid: Uid, instance: Instance) -> MessageState {
    MessageState { uid, modseq: instance.modseq, flags: instance.flags, email: instance.email }
}

fn message(
    view: &ReadView<'_>,
    keys: AccountKeys,
    uid: Uid,
    instance: Instance,
    with_summary: bool,
) -> Result<Message, EngineError> {
    let key = keys.email(Table::Email, instance.email);
    let (head, summary) = if with_summary {
        view.get_record::<Email>(&key)?.map(|email| (email.head, Some(email.summary)))
    } else {
        view.get_record::<EmailHead>(&key)?.map(|head| (head, None))
    }
    .ok_or_else(|| missing(keys, instance.email))?;
    Ok(Message {
        thread: head.thread,
        size_bytes: head.size_bytes,
        prefix_size_bytes: head.prefix_size_bytes,
        internal_date: head.internal_date,
        saved_date: instance.saved_date,
        summary,
        state: state(uid, instance),
    })
}

/// What changed in a mailbox after `since` (RFC 7162 3.1.4, 3.2.5).
fn changes(view: &ReadView<'_>, keys: AccountKeys, mailbox: MailboxId, since: ModSeq) -> Step<AccountAnswer> {
    let info = info::of(view, keys, mailbox)?.ok_or(AccountRefusal::NoMailbox)?;
    let mut messages = Vec::new();
    if since < info.highest_modseq {
        for uid in changed_uids(view, keys, mailbox, since)? {
            let instance = view.get_record(&keys.instance(mailbox, uid))?;
            messages.push(state(uid, instance.ok_or_else(|| no_instance(keys, mailbox, uid))?));
        }
    }
    let counters: MailboxCounters =
        view.get_record(&keys.mailbox(Table::MailboxCounters, mailbox))?.ok_or(AccountRefusal::NoMailbox)?;
    let vanished = tombstones::vanished(view, keys, mailbox, &counters, since)?;
    Ok(AccountAnswer::Changes(Box::new(Changes { mailbox: info, messages, vanished })))
}

/// The UIDs of instances that changed after `since`, ascending.
fn changed_uids(
    view: &ReadView<'_>,
    keys: AccountKeys,
    mailbox: MailboxId,
    since: ModSeq,
) -> Result<Vec<Uid>, EngineError> {
    let mut uids = Vec::new();
    let range = keys.after(Table::InstanceByModSeq, mailbox, since);
    view.visit(&range, Direction::Forward, |mut fields, _| {
        let (_account, _mailbox, _modseq) = (fields.u64()?, fields.u32()?, fields.u64()?);
        uids.push(Uid::new(fields.u32()?));
        Ok(ControlFlow::Continue(()))
    })?;
    uids.sort_unstable();
    Ok(uids)
}

fn content(view: &ReadView<'_>, keys: AccountKeys, email: EmailId) -> Result<Option<MessageContent>, EngineError> {
    let Some(head) = view.get_record::<EmailHead>(&keys.email(Table::Email, email))? else { return Ok(None) };
    let content: EmailContent =
        view.get_record(&keys.email(Table::EmailContent, email))?.ok_or_else(|| missing(keys, email))?;
    let blobs: Option<Vec<BlobId>> = match head.blobs {
        0 => Some(Vec::new()),
        _ => view.get_record(&keys.email(Table::EmailBlobs, email))?,
    };
    Ok(Some(MessageContent {
        prefix: content.prefix,
        prefix_size_bytes: head.prefix_size_bytes,
        recipe: content.recipe,
        size_bytes: head.size_bytes,
        blobs: blobs.ok_or_else(|| missing(keys, email))?,
    }))
}

fn missing(keys: AccountKeys, email: EmailId) -> EngineError {
    EngineError::Inconsistent(format!("account {}: email {email} lacks a row", keys.account()))
}

fn no_instance(keys: AccountKeys, mailbox: MailboxId, uid: Uid) -> EngineError {
    EngineError::Inconsistent(format!("account {}: mailbox {mailbox} lists UID {uid} without a row", keys.account()))
}
