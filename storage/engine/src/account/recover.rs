//! Accounts of a shard that was rebuilt from what one replica had.
//!
//! UIDs that its lost tail gave out may be given out again, for other messages; so every mailbox gets a new UIDVALIDITY, and
//! clients forget what they know (RFC 9051 2.3.1.1). Ids of emails and mailboxes are for ever (RFC 8474), so they jump, and
//! so does the account's mod-sequence: the change log begins anew with it.

use securanet_kv::{Direction, KeyRange};
use securanet_model::{
    AccountId, MailboxId, ModSeq, UnixMillis,
    account::{AccountRefusal, Changed},
};

use super::{
    change::{Change, Step, Stop},
    records::{AccountRow, MailboxRow},
    tables::AccountKeys,
};
use crate::{
    EngineError,
    keys::{Space, Table},
    recover::{JUMP, JUMP_SMALL},
    tx::{ReadView, Tx},
};

/// Recovers the accounts from the first to the last; how many mailboxes have a new UIDVALIDITY.
pub(crate) fn recover(
    tx: &mut Tx<'_>,
    stamp: UnixMillis,
    (first, last): (AccountId, AccountId),
) -> Result<u64, EngineError> {
    let mut accounts = Vec::new();
    tx.view().visit_records(&range(tx.view().space(), first, Some(last)), Direction::Forward, |mut fields, row| {
        accounts.push((AccountId::new(fields.u64()?), row));
        Ok(std::ops::ControlFlow::Continue(()))
    })?;
    let mut mailboxes = 0;
    for (account, row) in accounts {
        mailboxes += match recover_one(tx, stamp, account, row) {
            Ok(mailboxes) => mailboxes,
            Err(Stop::Engine(error)) => return Err(error),
            Err(Stop::Refused(refusal)) => {
                return Err(EngineError::Inconsistent(format!("account {account} cannot be recovered: {refusal:?}")));
            }
        };
    }
    Ok(mailboxes)
}

/// The ids of accounts, ascending, from `first` on.
pub(crate) fn ids(view: &ReadView<'_>, first: AccountId, rows_max: usize) -> Result<Vec<AccountId>, EngineError> {
    let rows = view.scan(&range(view.space(), first, None), Direction::Forward, rows_max)?;
    rows.iter().map(|(key, _)| Ok(AccountId::new(crate::keys::Fields::of(key)?.u64()?))).collect()
}

fn range(space: Space, first: AccountId, last: Option<AccountId>) -> KeyRange {
    let key = |account: u64| space.key(Table::AccountState).u64(account);
    let behind = last.and_then(|last| last.get().checked_add(1));
    match behind {
        Some(behind) => key(first.get()).to(key(behind)),
        None => KeyRange { start: key(first.get()).into(), end: space.key(Table::AccountState).range().end },
    }
}

fn recover_one(tx: &mut Tx<'_>, stamp: UnixMillis, account: AccountId, row: AccountRow) -> Step<u64> {
    let keys = AccountKeys::new(tx.view().space(), account);
    let mut rows: Vec<(MailboxId, MailboxRow)> = Vec::new();
    tx.view().visit_records(&keys.table(Table::Mailbox).range(), Direction::Forward, |mut fields, row| {
        fields.u64()?;
        rows.push((MailboxId::new(fields.u32()?), row));
        Ok(std::ops::ControlFlow::Continue(()))
    })?;
    let mut change = Change::begin(tx, stamp, keys, row);
    change.tx.delete_range(keys.changes_after(change.row.changes_floor));
    change.row.changes = 0;
    change.row.changes_floor = ModSeq::new(change.modseq.get().saturating_add(JUMP));
    change.modseq = change.row.changes_floor.next();
    change.row.last_email = change.row.last_email.saturating_add(JUMP);
    let used_up = AccountRefusal::TooMany(u64::from(u32::MAX));
    change.row.last_mailbox = change.row.last_mailbox.checked_add(JUMP_SMALL).ok_or(used_up)?;
    let mailboxes = rows.len() as u64;
    for (mailbox, mut row) in rows {
        row.uid_validity = change.next_uid_validity()?;
        change.tx.put_record(keys.mailbox(Table::Mailbox, mailbox), &row);
        change.log(Changed::MailboxUpdated(mailbox));
    }
    change.mark();
    change.close()?;
    Ok(mailboxes)
}
