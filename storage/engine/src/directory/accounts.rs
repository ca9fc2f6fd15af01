//! Accounts without their credentials: ids, shards, status, quota.

use std::ops::ControlFlow;

use securanet_kv::Direction;
use securanet_model::{
    AccountId, Address, Epoch, GroupId, UnixMillis,
    directory::{Account, AccountStatus, DirectoryRefusal, DirectoryReply, Quota, Verifiers},
    policy::Scope,
};

use super::{
    Failure, Outcome,
    addresses::{self, AddressRow},
    aliases, cluster, credentials, forwardings, grants, policies, references,
};
use crate::{
    EngineError,
    keys::Table,
    tx::{ReadView, Tx},
};

/// Octets of a display name: what fits a header line several times over.
const DISPLAY_NAME_OCTETS_MAX: usize = 256;

/// What `CreateAccount` and `CreateAccountIn` name.
pub(super) struct NewAccount<'c> {
    pub(super) address: &'c Address,
    pub(super) display_name: &'c str,
    pub(super) password: Option<&'c Verifiers>,
    pub(super) quota: Quota,
}

/// An account by id.
pub(super) fn get(view: &ReadView<'_>, id: AccountId) -> Result<Option<Account>, EngineError> {
    view.get_record(&view.key(Table::Account).u64(id.get()))
}

/// The one account that an address leads to: its own, an alias's, with or without subaddress. None for a list.
pub(super) fn by_address(view: &ReadView<'_>, address: &Address) -> Result<Option<Account>, EngineError> {
    let Some(found) = addresses::find(view, address)? else { return Ok(None) };
    behind(view, &found.address, found.row)
}

/// The one account behind an address row, through aliases.
pub(super) fn behind(view: &ReadView<'_>, address: &Address, row: AddressRow) -> Result<Option<Account>, EngineError> {
    match row {
        AddressRow::Account(id) => get(view, id),
        AddressRow::Alias => match aliases::end_of(view, address)? {
            Some(AddressRow::Account(id)) => get(view, id),
            _ => Ok(None),
        },
        AddressRow::List => Ok(None),
    }
}

/// The active account that is longest here, if any.
pub(super) fn oldest_active(view: &ReadView<'_>) -> Result<Option<Account>, EngineError> {
    let mut oldest = None;
    view.visit_records(&view.key(Table::Account).range(), Direction::Forward, |_, account: Account| {
        if account.status != AccountStatus::Active {
            return Ok(ControlFlow::Continue(()));
        }
        oldest = Some(account);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(oldest)
}

/// Makes an account in the shard that its id picks.
pub(super) fn create(
    tx: &mut Tx<'_>,
    clock: UnixMillis,
    new: &NewAccount<'_>,
    shard: impl FnOnce(AccountId) -> GroupId,
) -> Outcome {
    check_text("a display name", new.display_name, DISPLAY_NAME_OCTETS_MAX)?;
    let id = AccountId::new(cluster::next_account(tx)?);
    let domain = addresses::claim(tx, new.address, AddressRow::Account(id))?;
    let account = Account {
        id,
        tenant: domain.tenant,
        domain: domain.id,
        address: new.address.clone(),
        display_name: new.display_name.to_owned(),
        status: AccountStatus::Active,
        quota: new.quota,
        group: shard(id),
        epoch: Epoch::new(0),
        credential_version: 1,
        created: clock,
    };
    store(tx, &account);
    credentials::create(tx, id, new.password)?;
    Ok(DirectoryReply::Account(account))
}

pub(super) fn update(
    tx: &mut Tx<'_>,
    id: AccountId,
    display_name: Option<&str>,
    status: Option<AccountStatus>,
    quota: Option<Quota>,
) -> Outcome {
    let mut account = must_exist(tx, id)?;
    if let Some(name) = display_name {
        check_text("a display name", name, DISPLAY_NAME_OCTETS_MAX)?;
        name.clone_into(&mut account.display_name);
    }
    account.quota = quota.unwrap_or(account.quota);
    if let Some(status) = status.filter(|status| *status != account.status) {
        account.status = status;
        account.credential_version += 1;
    }
    store(tx, &account);
    Ok(DirectoryReply::Account(account))
}

pub(super) fn delete(tx: &mut Tx<'_>, id: AccountId) -> Outcome {
    let account = must_exist(tx, id)?;
    addresses::free(tx, &account.address);
    references::address_is_gone(tx, &account.address)?;
    policies::forget(tx, Scope::Account(id));
    grants::forget(tx, id)?;
    forwardings::forget(tx, id)?;
    credentials::forget(tx, id);
    let key = tx.key(Table::Account).u64(id.get());
    tx.delete(key);
    Ok(DirectoryReply::Done)
}

/// Ends the sessions and remembered logins of an account: its credentials changed.
pub(super) fn raise_credential_version(tx: &mut Tx<'_>, id: AccountId) -> Result<(), Failure> {
    let mut account = must_exist(tx, id)?;
    account.credential_version += 1;
    store(tx, &account);
    Ok(())
}

pub(super) fn must_exist(tx: &Tx<'_>, id: AccountId) -> Result<Account, Failure> {
    get(&tx.view(), id)?.ok_or_else(|| DirectoryRefusal::NotFound(format!("account {id}")).into())
}

/// Checks a text that people see: bounded, without control characters.
pub(super) fn check_text(what: &str, text: &str, octets_max: usize) -> Result<(), DirectoryRefusal> {
    if text.len() > octets_max || text.chars().any(char::is_control) {
        return Err(DirectoryRefusal::Invalid(format!(
            "{what} has at most {octets_max} octets and no control characters"
        )));
    }
    Ok(())
}

/// The one of all shards that a new account starts in: a hash of its id spreads neighbours over all of them. Where it is
/// afterwards stands in its row, never in this hash.
pub(super) fn first_shard(id: AccountId, shards: u32) -> GroupId {
    GroupId::new(u32::try_from(spread(id) % u64::from(shards.max(1))).unwrap_or(0) + 1)
}

/// The same of some shards.
pub(super) fn one_of(id: AccountId, shards: &[u32]) -> GroupId {
    let at = usize::try_from(spread(id) % (shards.len() as u64).max(1)).unwrap_or(0);
    GroupId::new(shards.get(at).copied().unwrap_or(1))
}

fn spread(id: AccountId) -> u64 {
    // SplitMix64's finaliser: every bit of the id reaches every bit of the hash.
    let mut hash = id.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

fn store(tx: &mut Tx<'_>, account: &Account) {
    let key = tx.key(Table::Account).u64(account.id.get());
    tx.put_record(key, account);
}
