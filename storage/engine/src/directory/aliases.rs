//! Aliases: further addresses that lead to one account, one list, another alias, or outside.

use securanet_model::{
    Address,
    directory::{Alias, DirectoryRefusal, DirectoryReply},
    limits::ALIAS_DEPTH_MAX,
};

use super::{
    Outcome,
    addresses::{self, AddressRow, Reach},
    check,
    references::{self, Referrer},
};
use crate::{
    EngineError,
    keys::{Key, Table},
    tx::{ReadView, Tx},
};

pub(super) fn get(view: &ReadView<'_>, address: &Address) -> Result<Option<Alias>, EngineError> {
    view.get_record(&key(view, address))
}

/// What the chain of aliases that starts at this alias ends in; none when it ends nowhere.
pub(super) fn end_of(view: &ReadView<'_>, alias: &Address) -> Result<Option<AddressRow>, EngineError> {
    let mut address = alias.clone();
    for _ in 0..=ALIAS_DEPTH_MAX {
        let Some(alias) = get(view, &address)? else { return Ok(None) };
        match addresses::find(view, &alias.target)? {
            Some(found) if found.row == AddressRow::Alias => address = found.address,
            found => return Ok(found.map(|found| found.row)),
        }
    }
    Ok(None)
}

pub(super) fn create(tx: &mut Tx<'_>, alias: &Alias, reach: Reach) -> Outcome {
    if alias.target == alias.address {
        return Err(DirectoryRefusal::Loop(alias.address.clone()).into());
    }
    reach.check(&tx.view(), &alias.target)?;
    addresses::claim(tx, &alias.address, AddressRow::Alias)?;
    let key = key(&tx.view(), &alias.address);
    tx.put_record(key, alias);
    references::add(tx, &alias.target, &Referrer::Alias(alias.address.clone()));
    check::after_change(&tx.view(), &alias.address)?;
    Ok(DirectoryReply::Done)
}

pub(super) fn delete(tx: &mut Tx<'_>, address: &Address) -> Outcome {
    let Some(alias) = get(&tx.view(), address)? else {
        return Err(DirectoryRefusal::NotFound(format!("alias {address}")).into());
    };
    remove(tx, &alias);
    references::address_is_gone(tx, address)?;
    Ok(DirectoryReply::Done)
}

/// Removes the alias's rows and its reference to its target.
pub(super) fn remove(tx: &mut Tx<'_>, alias: &Alias) {
    references::remove(tx, &alias.target, &Referrer::Alias(alias.address.clone()));
    addresses::free(tx, &alias.address);
    let key = key(&tx.view(), &alias.address);
    tx.delete(key);
}

fn key(view: &ReadView<'_>, address: &Address) -> Key {
    view.key(Table::Alias).address(address)
}
