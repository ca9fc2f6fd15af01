//! Grants of sending: as whom an account may send besides its own addresses.
//!
//! A grant names an address of ours, or with the local part `*` each address of a domain of ours. It goes with what
//! it names (through [`references`]), so that nobody sends as whoever is given a freed address later.

use std::ops::ControlFlow;

use securanet_kv::Direction;
use securanet_model::{
    AccountId, Address,
    directory::{DirectoryRefusal, DirectoryReply},
    sending::{ANY_LOCAL_PART, GRANTS_PER_ACCOUNT_MAX, Grant, GrantKind, SenderRight},
};

use super::{
    Outcome, accounts,
    addresses::{self, AddressRow},
    lists,
    references::{self, Referrer},
};
use crate::{
    EngineError,
    keys::{Key, Table},
    tx::{ReadView, Tx},
};

/// All grants of an account, by kind, domain and local part.
pub(super) fn of(view: &ReadView<'_>, account: AccountId) -> Result<Vec<Grant>, EngineError> {
    let mut grants = Vec::new();
    view.visit_records(&view.key(Table::SendingGrant).u64(account.get()).range(), Direction::Forward, |_, grant| {
        grants.push(grant);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(grants)
}

pub(super) fn add(tx: &mut Tx<'_>, grant: &Grant) -> Outcome {
    accounts::must_exist(tx, grant.account)?;
    addresses::domain_of(&tx.view(), &grant.address)?;
    if grant.address.local() != ANY_LOCAL_PART {
        addresses::must_lead_somewhere(&tx.view(), &grant.address)?;
    }
    let there = of(&tx.view(), grant.account)?;
    let repeated = there.iter().any(|other| other.kind == grant.kind && other.address == grant.address);
    if !repeated && there.len() >= GRANTS_PER_ACCOUNT_MAX {
        let what = "grants of one account".to_owned();
        return Err(DirectoryRefusal::TooMany { what, limit: GRANTS_PER_ACCOUNT_MAX as u64 }.into());
    }
    let key = key(&tx.view(), grant);
    tx.put_record(key, grant);
    references::add(tx, &grant.address, &Referrer::Grant(grant.account, grant.kind));
    Ok(DirectoryReply::Done)
}

pub(super) fn revoke(tx: &mut Tx<'_>, grant: &Grant) -> Outcome {
    let there: Option<Grant> = tx.view().get_record(&key(&tx.view(), grant))?;
    if there.is_none() {
        return Err(DirectoryRefusal::NotFound(format!("grant to send as {}", grant.address)).into());
    }
    remove(tx, grant);
    Ok(DirectoryReply::Done)
}

/// Takes a grant away because what it names is gone.
pub(super) fn lose(tx: &mut Tx<'_>, account: AccountId, address: &Address, kind: GrantKind) {
    remove(tx, &Grant { account, address: address.clone(), kind });
}

/// Takes all grants of an account away.
pub(super) fn forget(tx: &mut Tx<'_>, account: AccountId) -> Result<(), EngineError> {
    for grant in of(&tx.view(), account)? {
        remove(tx, &grant);
    }
    Ok(())
}

/// Whether an account may send as an address: its own ones and their subaddresses, lists that it owns, and what was
/// granted.
pub(super) fn right(view: &ReadView<'_>, account: AccountId, address: &Address) -> Result<SenderRight, EngineError> {
    if accounts::by_address(view, address)?.is_some_and(|found| found.id == account)
        || owns_list(view, account, address)?
    {
        return Ok(SenderRight::Own);
    }
    let base = addresses::split_subaddress(address).map(|(base, _)| base);
    let covers = |grant: &Grant| grant.covers(address) || base.as_ref().is_some_and(|base| grant.covers(base));
    let kinds: Vec<_> = of(view, account)?.into_iter().filter(covers).map(|grant| grant.kind).collect();
    Ok(match kinds.iter().min() {
        Some(GrantKind::SendAs) => SenderRight::SendAs,
        Some(GrantKind::OnBehalf) => SenderRight::OnBehalf,
        None => SenderRight::Refused,
    })
}

fn owns_list(view: &ReadView<'_>, account: AccountId, address: &Address) -> Result<bool, EngineError> {
    let found = addresses::find(view, address)?.filter(|found| found.row == AddressRow::List);
    let Some(found) = found else { return Ok(false) };
    let Some(owner) = lists::get(view, &found.address)?.and_then(|list| list.owner) else { return Ok(false) };
    Ok(accounts::by_address(view, &owner)?.is_some_and(|owner| owner.id == account))
}

fn remove(tx: &mut Tx<'_>, grant: &Grant) {
    references::remove(tx, &grant.address, &Referrer::Grant(grant.account, grant.kind));
    let key = key(&tx.view(), grant);
    tx.delete(key);
}

fn key(view: &ReadView<'_>, grant: &Grant) -> Key {
    let key = view.key(Table::SendingGrant).u64(grant.account.get());
    key.u8(references::grant_kind(grant.kind)).address(&grant.address)
}
