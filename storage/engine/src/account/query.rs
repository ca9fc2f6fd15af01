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
    records::{AccountRow, Email, EmailContent, EmailHead, Instance, MailboxCounters},
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
    match query {
        AccountQuery::States { mailbox, .. }
        | AccountQuery::Messages { mailbox, .. }
        | AccountQuery::Changes { mailbox, .. } => about_messages(view, keys, *mailbox, query),
        _ => Ok(about_account(view, keys, &row, query)?),
    }
}

fn about_messages(view: &ReadView<'_>, keys: AccountKeys, mailbox: MailboxId, query: &AccountQuery) -> Step<AccountAnswer> {
    let counters: Option<MailboxCounters> = view.get_record(&keys.mailbox(Table::MailboxCounters, mailbox))?;
    let counters = counters.ok_or(AccountRefusal::NoMailbox)?;
    Ok(match query {
        AccountQuery::Messages { uids, with_summary, rows_max, .. } => {
            let found = first_instances(view, keys, mailbox, uids, (*rows_max).clamp(1, MESSAGES_MAX))?;
            AccountAnswer::Messages(messages(view, keys, found, *with_summary)?)
        }
        AccountQuery::States { uids, rows_max, .. } => {
            let found = first_instances(view, keys, mailbox, uids, (*rows_max).clamp(1, STATES_MAX))?;
            AccountAnswer::States(found.into_iter().map(|(uid, instance)| state(uid, instance)).collect())
        }
        AccountQuery::Changes { since, .. } => changes(view, keys, mailbox, &counters, *since)?,
        _ => AccountAnswer::Refused(AccountRefusal::NoMailbox),
    })
}

fn about_account(
    view: &ReadView<'_>,
    keys: AccountKeys,
    row: &AccountRow,
    query: &AccountQuery,
) -> Result<AccountAnswer, EngineError> {
    todo_split(view, keys, row, query)
}

fn first_instances(
    view: &ReadView<'_>,
    keys: AccountKeys,
    mailbox: MailboxId,
    uids: &UidSet,
    rows_max: u32,
) -> Result<Vec<(Uid, Instance)>, EngineError> {
    let mut found = Vec::new();
    instances::visit(view, keys, mailbox, uids, |uid, instance| {
        found.push((uid, instance));
        Ok(if found.len() < rows_max as usize { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(found)
}
