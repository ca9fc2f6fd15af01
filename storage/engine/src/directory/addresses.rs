//! What an address of ours is: the one row that makes it unique, and the rule of subaddresses.

use securanet_model::{
    AccountId, Address,
    directory::{DirectoryRefusal, Domain},
};
use serde::{Deserialize, Serialize};

use super::{Failure, domains};
use crate::{
    EngineError,
    keys::{Key, Table},
    tx::{ReadView, Tx},
};

/// Between the local part and a subaddress: `user+folder`.
const SUBADDRESS_SEPARATOR: char = '+';

/// A row of [`Table::Address`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum AddressRow {
    /// An account's main address.
    Account(AccountId),
    /// An alias; [`Table::Alias`] says where it leads.
    Alias,
    /// A list; [`Table::List`] says who is on it.
    List,
}

/// What an address was found to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    /// The address that has the row: the one asked for, or its base without subaddress.
    pub(super) address: Address,
    pub(super) row: AddressRow,
    /// The subaddress, when only the base has a row.
    pub(super) folder: Option<String>,
}

/// The row of exactly this address.
pub(super) fn exact(view: &ReadView<'_>, address: &Address) -> Result<Option<AddressRow>, EngineError> {
    view.get_record(&key(view, address))
}

/// The row of this address; where it has none, that of its base: `user+folder` is `user`.
pub(super) fn find(view: &ReadView<'_>, address: &Address) -> Result<Option<Found>, EngineError> {
    if let Some(row) = exact(view, address)? {
        return Ok(Some(Found { address: address.clone(), row, folder: None }));
    }
    let Some((base, folder)) = split_subaddress(address) else { return Ok(None) };
    let row = exact(view, &base)?;
    Ok(row.map(|row| Found { address: base, row, folder: (!folder.is_empty()).then_some(folder) }))
}

/// The base and the subaddress of `base+subaddress@domain`.
pub(super) fn split_subaddress(address: &Address) -> Option<(Address, String)> {
    let (base, folder) = address.local().split_once(SUBADDRESS_SEPARATOR)?;
    let base = Address::new(base, address.domain().clone()).ok()?;
    Some((base, folder.to_owned()))
}

/// The domain of an address, which must be ours, and the address not taken.
pub(super) fn claim(tx: &mut Tx<'_>, address: &Address, row: AddressRow) -> Result<Domain, Failure> {
    let domain = domain_of(&tx.view(), address)?;
    if exact(&tx.view(), address)?.is_some() {
        return Err(DirectoryRefusal::Exists(address.to_string()).into());
    }
    let key = key(&tx.view(), address);
    tx.put_record(key, &row);
    Ok(domain)
}

/// Frees an address.
pub(super) fn free(tx: &mut Tx<'_>, address: &Address) {
    let key = key(&tx.view(), address);
    tx.delete(key);
}

/// The domain of an address, which must be ours.
pub(super) fn domain_of(view: &ReadView<'_>, address: &Address) -> Result<Domain, Failure> {
    let domain = domains::get(view, address.domain())?;
    domain.ok_or_else(|| DirectoryRefusal::ForeignDomain(address.domain().clone()).into())
}

/// How far an alias or a list may lead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reach {
    /// To addresses of ours.
    Ours,
    /// Outside, too.
    Anywhere,
}

impl Reach {
    /// Checks that an alias or a list may lead to an address.
    pub(super) fn check(self, view: &ReadView<'_>, address: &Address) -> Result<(), Failure> {
        match self {
            Self::Ours => must_lead_somewhere(view, address),
            Self::Anywhere => must_lead_on(view, address),
        }
    }
}

/// Checks that mail may be sent on to an address: outside, or ours and there.
pub(super) fn must_lead_on(view: &ReadView<'_>, address: &Address) -> Result<(), Failure> {
    match must_lead_somewhere(view, address) {
        Err(Failure::Refused(DirectoryRefusal::Outside(_))) => Ok(()),
        checked => checked,
    }
}

/// Checks that an address may be an owner or a catch-all: ours, and there.
pub(super) fn must_lead_somewhere(view: &ReadView<'_>, address: &Address) -> Result<(), Failure> {
    if domains::get(view, address.domain())?.is_none() {
        return Err(DirectoryRefusal::Outside(address.clone()).into());
    }
    match find(view, address)? {
        Some(_) => Ok(()),
        None => Err(DirectoryRefusal::NotFound(address.to_string()).into()),
    }
}

fn key(view: &ReadView<'_>, address: &Address) -> Key {
    view.key(Table::Address).address(address)
}
