//! How an account comes into its shard and goes again.

use securanet_kv::Direction;
use securanet_model::{
    BlobId, DomainId, EmailId, MailboxName, ModSeq, SpecialUse, TenantId, UnixMillis,
    account::{AccountRef, AccountReply},
    directory::Quota,
    record,
    request::Topic,
};

use super::{
    change::{Change, Step, row_of},
    mailboxes,
    records::{AccountRow, Used},
    repeats,
    tables::{AccountKeys, OF_ONE_ACCOUNT},
    usage,
};
use crate::{
    EngineError,
    keys::{Fields, Table},
    reachability::{self, Owner},
    tx::Tx,
};

/// Makes the account with INBOX and a mailbox for each special use, all subscribed. When it is here already, only
/// the quota changes, so that whoever made it in the directory may try again until it is told.
pub(super) fn provision(
    tx: &mut Tx<'_>,
    stamp: UnixMillis,
    account: AccountRef,
    (tenant, domain): (TenantId, DomainId),
    quota: Quota,
) -> Step<AccountReply> {
    let keys = AccountKeys::new(tx.view().space(), account.id);
    if tx.contains(&keys.state())? {
        let row = row_of(&tx.view(), account)?;
        usage::set_quota(tx, keys.state(), row, quota);
        return Ok(AccountReply::Done);
    }
    let row = AccountRow {
        epoch: account.epoch,
        tenant,
        domain,
        quota,
        used: Used::default(),
        modseq: ModSeq::ZERO,
        last_mailbox: 0,
        last_email: 0,
        last_uid_validity: 0,
        retired_uid_validity: 0,
        mailboxes: 0,
        subscriptions: 0,
        special_uses: 0,
        changes: 0,
        changes_floor: ModSeq::ZERO,
    };
    let mut change = Change::begin(tx, stamp, keys, row);
    first_mailbox(&mut change, &MailboxName::inbox(), None)?;
    for special_use in SpecialUse::ALL {
        let name = MailboxName::parse(special_use.default_name())
            .map_err(|error| EngineError::Inconsistent(format!("{}: {error}", special_use.default_name())))?;
        first_mailbox(&mut change, &name, Some(special_use))?;
    }
    usage::account_came(change.tx, domain)?;
    change.close()?;
    Ok(AccountReply::Done)
}

fn first_mailbox(change: &mut Change<'_, '_>, name: &MailboxName, special_use: Option<SpecialUse>) -> Step<()> {
    mailboxes::make(change, name, special_use)?;
    mailboxes::subscribe(change, name, true)?;
    Ok(())
}

/// Removes everything of the account. Its tables go as ranges; only the blobs' reachability is sorted by blob, so
/// the emails that have blobs are walked.
pub(super) fn remove(tx: &mut Tx<'_>, stamp: UnixMillis, account: AccountRef) -> Step<AccountReply> {
    let row = row_of(&tx.view(), account)?;
    let keys = AccountKeys::new(tx.view().space(), account.id);
    remove_reachability(tx, keys)?;
    OF_ONE_ACCOUNT.iter().for_each(|&table| tx.delete_range(keys.table(table).range()));
    repeats::forget(tx, keys, stamp)?;
    usage::account_went(tx, row.domain, row.used)?;
    tx.touch(Topic::Account(account.id));
    Ok(AccountReply::Done)
}

fn remove_reachability(tx: &mut Tx<'_>, keys: AccountKeys) -> Result<(), EngineError> {
    // Pages, because the rows cannot be read and written at once; their size only bounds the memory.
    const PAGE_ROWS: usize = 1000;
    let mut rest = keys.table(Table::EmailBlobs).range();
    loop {
        let page = tx.view().scan(&rest, Direction::Forward, PAGE_ROWS)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        rest = rest.after(last);
        for (key, value) in page {
            let mut fields = Fields::of(&key)?;
            let owner = Owner::Email(keys.account(), EmailId::new((fields.u64()?, fields.u64()?).1));
            let blobs: Vec<BlobId> = record::decode(&value)?;
            blobs.iter().for_each(|blob| reachability::remove(tx, blob, owner));
        }
    }
}

/// Changes what the account may hold.
pub(super) fn set_quota(tx: &mut Tx<'_>, account: AccountRef, quota: Quota) -> Step<AccountReply> {
    let row = row_of(&tx.view(), account)?;
    let key = AccountKeys::new(tx.view().space(), account.id).state();
    usage::set_quota(tx, key, row, quota);
    Ok(AccountReply::Done)
}
