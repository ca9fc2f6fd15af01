//! Distribution lists.

use std::collections::BTreeSet;

use securanet_model::{
    Address,
    directory::{DirectoryRefusal, DirectoryReply, List},
    limits::GROUP_MEMBERS_MAX,
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

pub(super) fn get(view: &ReadView<'_>, address: &Address) -> Result<Option<List>, EngineError> {
    view.get_record(&key(view, address))
}

/// Adds the list, or gives an existing one new members and a new owner. Members named twice count once.
pub(super) fn put(tx: &mut Tx<'_>, wanted: &List, reach: Reach) -> Outcome {
    let list = List { members: distinct(&wanted.members), ..wanted.clone() };
    if list.members.len() > GROUP_MEMBERS_MAX {
        let what = "members of one list".to_owned();
        return Err(DirectoryRefusal::TooMany { what, limit: GROUP_MEMBERS_MAX as u64 }.into());
    }
    let before = get(&tx.view(), &list.address)?;
    match &before {
        Some(before) => remove_references(tx, before),
        None => drop(addresses::claim(tx, &list.address, AddressRow::List)?),
    }
    for member in &list.members {
        reach.check(&tx.view(), member)?;
    }
    if let Some(owner) = &list.owner {
        addresses::must_lead_somewhere(&tx.view(), owner)?;
    }
    store(tx, &list);
    add_references(tx, &list);
    check::after_change(&tx.view(), &list.address)?;
    Ok(DirectoryReply::Done)
}

pub(super) fn delete(tx: &mut Tx<'_>, address: &Address) -> Outcome {
    let Some(list) = get(&tx.view(), address)? else {
        return Err(DirectoryRefusal::NotFound(format!("list {address}")).into());
    };
    remove_references(tx, &list);
    addresses::free(tx, address);
    let key = key(&tx.view(), address);
    tx.delete(key);
    references::address_is_gone(tx, address)?;
    Ok(DirectoryReply::Done)
}

/// Takes a member off because its address is gone.
pub(super) fn lose_member(tx: &mut Tx<'_>, address: &Address, member: &Address) -> Result<(), EngineError> {
    if let Some(mut list) = get(&tx.view(), address)? {
        list.members.retain(|other| other != member);
        references::remove(tx, member, &Referrer::Member(address.clone()));
        store(tx, &list);
    }
    Ok(())
}

/// Takes the owner away because its address is gone.
pub(super) fn lose_owner(tx: &mut Tx<'_>, address: &Address) -> Result<(), EngineError> {
    if let Some(mut list) = get(&tx.view(), address)?
        && let Some(owner) = list.owner.take()
    {
        references::remove(tx, &owner, &Referrer::Owner(address.clone()));
        store(tx, &list);
    }
    Ok(())
}

fn distinct(members: &[Address]) -> Vec<Address> {
    let mut seen = BTreeSet::new();
    members.iter().filter(|member| seen.insert(member.canonical())).cloned().collect()
}

fn add_references(tx: &mut Tx<'_>, list: &List) {
    for member in &list.members {
        references::add(tx, member, &Referrer::Member(list.address.clone()));
    }
    if let Some(owner) = &list.owner {
        references::add(tx, owner, &Referrer::Owner(list.address.clone()));
    }
}

fn remove_references(tx: &mut Tx<'_>, list: &List) {
    for member in &list.members {
        references::remove(tx, member, &Referrer::Member(list.address.clone()));
    }
    if let Some(owner) = &list.owner {
        references::remove(tx, owner, &Referrer::Owner(list.address.clone()));
    }
}

fn store(tx: &mut Tx<'_>, list: &List) {
    let key = key(&tx.view(), &list.address);
    tx.put_record(key, list);
}

fn key(view: &ReadView<'_>, address: &Address) -> Key {
    view.key(Table::List).address(address)
}
