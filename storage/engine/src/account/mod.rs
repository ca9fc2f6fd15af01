//! Accounts: their mailboxes, their messages, and what is delivered into them.
//!
//! A message (an *email*) is stored once per account; it sits in mailboxes as *instances*, each with a UID, flags
//! and a saved date of its own. All numbers that clients keep come from the account's own counters: mailbox ids,
//! email ids, UIDVALIDITY, and one MODSEQ for the whole account, of which each command that changes anything
//! takes the next. None of them ever goes back or is given twice (promise P3), because the counters live in the
//! account's row and only grow, and a deleted mailbox's numbers are not used again.
//!
//! [`tables`] lists the rows, [`records`] what is in them. A command opens the account as a [`change::Change`],
//! works on it, and closes it; a refused one is rolled back as a whole by the dispatch.
//!
//! Work is bounded by what a command names: messages for STORE, COPY, MOVE and EXPUNGE, a mailbox for DELETE and
//! RENAME of INBOX, the emails with blobs for the removal of an account. What grows with time (change log,
//! tombstones, repeat rows) has its bound and its collection in its own file.
//!
//! Not here: who may do it (gateways), what a message says (the store's front), what else names a blob (queue).

mod append;
mod blobs;
mod change;
mod change_log;
mod copy_move;
mod deliver;
mod emails;
mod expunge;
mod flags;
mod info;
mod instances;
mod keywords;
mod mailboxes;
mod maildrop;
mod names;
mod provision;
mod query;
mod records;
mod recover;
mod rename;
mod repeats;
mod sent;
mod tables;
mod threads;
mod tombstones;
mod usage;

use securanet_model::{
    BlobId, UnixMillis,
    account::{AccountAnswer, AccountCommand, AccountQuery, AccountRef, AccountReply},
    delivery::{Deliver, Delivered},
    request::{DomainUsage, Totals},
};

use self::change::{Change, Step, Stop};
pub(crate) use self::recover::{ids, recover};
use crate::{
    EngineError,
    tx::{ReadView, Tx},
};

/// Changes an account. A refused command may have written to `tx`: the caller rolls it back.
pub(crate) fn apply(
    tx: &mut Tx<'_>,
    stamp: UnixMillis,
    account: AccountRef,
    command: &AccountCommand,
) -> Result<AccountReply, EngineError> {
    let done = match command {
        AccountCommand::Provision { tenant, domain, quota } => {
            provision::provision(tx, stamp, account, (*tenant, *domain), *quota)
        }
        AccountCommand::Remove => provision::remove(tx, stamp, account),
        AccountCommand::SetQuota(quota) => provision::set_quota(tx, account, *quota),
        AccountCommand::LockMaildrop { session, until } => maildrop::lock(tx, stamp, account, *session, *until),
        AccountCommand::UnlockMaildrop { session } => maildrop::unlock(tx, account, *session),
        AccountCommand::CreateMailbox { name, special_use } => change(tx, stamp, account, |change| {
            Ok(AccountReply::Created(mailboxes::create(change, name, *special_use)?))
        }),
        AccountCommand::DeleteMailbox { name } => change(tx, stamp, account, |change| mailboxes::delete(change, name)),
        AccountCommand::RenameMailbox { from, to } => {
            change(tx, stamp, account, |change| rename::rename(change, from, to))
        }
        AccountCommand::Subscribe { name, subscribed } => {
            change(tx, stamp, account, |change| mailboxes::subscribe(change, name, *subscribed))
        }
        AccountCommand::Append { mailbox, messages } => {
            change(tx, stamp, account, |change| append::append(change, *mailbox, messages))
        }
        AccountCommand::Import { mailbox, message, key } => {
            change(tx, stamp, account, |change| append::import(change, *mailbox, message, key))
        }
        AccountCommand::KeepSent { message, key } => {
            change(tx, stamp, account, |change| sent::keep(change, message, key))
        }
        AccountCommand::StoreFlags { mailbox, uids, change: how, flags, unchanged_since } => {
            let store = flags::Store { uids, how: *how, flags, unchanged_since: *unchanged_since };
            change(tx, stamp, account, |change| flags::store(change, *mailbox, &store))
        }
        AccountCommand::Copy { mailbox, uids, to } => {
            change(tx, stamp, account, |change| copy_move::copy_messages(change, *mailbox, uids, *to))
        }
        AccountCommand::Move { mailbox, uids, to } => {
            change(tx, stamp, account, |change| copy_move::move_messages(change, *mailbox, uids, *to))
        }
        AccountCommand::Expunge { mailbox, uids, deleted_only } => {
            change(tx, stamp, account, |change| expunge::expunge(change, *mailbox, uids, *deleted_only))
        }
    };
    match done {
        Ok(reply) => Ok(reply),
        Err(Stop::Refused(refusal)) => Ok(AccountReply::Refused(refusal)),
        Err(Stop::Engine(error)) => Err(error),
    }
}

/// Does the work of a command that takes a mod-sequence.
fn change(
    tx: &mut Tx<'_>,
    stamp: UnixMillis,
    account: AccountRef,
    work: impl FnOnce(&mut Change<'_, '_>) -> Step<AccountReply>,
) -> Step<AccountReply> {
    let mut change = Change::open(tx, stamp, account)?;
    let reply = work(&mut change)?;
    change.close()?;
    Ok(reply)
}

/// Whether the command is done only if all before it in its request were.
pub(crate) const fn needs_those_before(command: &AccountCommand) -> bool {
    matches!(command, AccountCommand::KeepSent { .. })
}

/// Delivers a message to accounts of this group; one outcome per recipient, in order.
pub(crate) fn deliver(tx: &mut Tx<'_>, stamp: UnixMillis, deliver: &Deliver) -> Result<Vec<Delivered>, EngineError> {
    deliver::deliver(tx, stamp, deliver)
}

/// Answers a question about an account.
pub(crate) fn answer(
    view: &ReadView<'_>,
    account: AccountRef,
    query: &AccountQuery,
) -> Result<AccountAnswer, EngineError> {
    match query::answer(view, account, query) {
        Ok(answer) => Ok(answer),
        Err(Stop::Refused(refusal)) => Ok(AccountAnswer::Refused(refusal)),
        Err(Stop::Engine(error)) => Err(error),
    }
}

/// What this group's accounts use, by domain, ascending.
pub(crate) fn domain_usage(view: &ReadView<'_>) -> Result<Vec<DomainUsage>, EngineError> {
    usage::by_domain(view)
}

/// For each blob, whether anything of this group names it.
pub(crate) fn blobs_reachable(view: &ReadView<'_>, blobs: &[BlobId]) -> Result<Vec<bool>, EngineError> {
    blobs::reachable(view, blobs)
}

/// The blobs that this group names, ascending, at most `rows_max` (1 to 10,000).
pub(crate) fn blobs(view: &ReadView<'_>, after: Option<BlobId>, rows_max: u32) -> Result<Vec<BlobId>, EngineError> {
    blobs::page(view, after, rows_max)
}

/// Sums over the group.
pub(crate) fn totals(view: &ReadView<'_>) -> Result<Totals, EngineError> {
    usage::totals(view)
}
