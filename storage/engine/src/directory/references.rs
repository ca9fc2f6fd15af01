//! Who names an address: aliases as their target, lists as member or owner, domains as catch-all, grants of sending,
//! forwardings.
//!
//! One row per naming, under the address *as it was written*: a member `ann+work` is named there and not at
//! `ann`. When an address goes, what named it goes or loses it, so that nothing names an address that leads
//! nowhere, and nobody who is given a freed address later inherits its lists. `ann+work` goes with `ann` unless
//! it is an address of its own.
//!
//! Key: `domain text 0 | local part text 0 | kind u8 | who`; `who` is an address as in [`Table::Address`], the
//! domain's id, the account's id and the kind of its grant, or the id of the account that forwards.

use std::ops::ControlFlow;

use securanet_kv::Direction;
use securanet_model::{AccountId, Address, DomainId, DomainName, sending::GrantKind};

use super::{addresses, aliases, domains, forwardings, grants, lists};
use crate::{
    EngineError,
    keys::{Fields, Key, Table},
    tx::{ReadView, Tx},
};

/// Who names an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Referrer {
    /// The alias with this address, as its target.
    Alias(Address),
    /// The list with this address, as a member.
    Member(Address),
    /// The list with this address, as its owner.
    Owner(Address),
    /// This domain, as its catch-all.
    CatchAll(DomainId),
    /// This account's forwarding.
    Forwarding(AccountId),
    /// This account's grant to send as it; the local part `*` is named there as any other.
    Grant(AccountId, GrantKind),
}

/// An address as it was named, and by whom.
pub(super) struct Reference {
    pub(super) target: Address,
    pub(super) by: Referrer,
}

pub(super) fn add(tx: &mut Tx<'_>, target: &Address, by: &Referrer) {
    let key = key(tx, target, by);
    tx.put(key, Vec::new());
}

pub(super) fn remove(tx: &mut Tx<'_>, target: &Address, by: &Referrer) {
    let key = key(tx, target, by);
    tx.delete(key);
}

/// All that lead to an address: those that name it, and those that name a subaddress of it without a row of its
/// own.
pub(super) fn to(view: &ReadView<'_>, address: &Address) -> Result<Vec<Reference>, EngineError> {
    let domain = view.key(Table::Referrer).text(address.domain().as_str());
    let local = address.local_canonical();
    let mut references = collect(view, &domain.clone().text(&local))?;
    for reference in collect(view, &domain.octets(local.as_bytes()).u8(b'+'))? {
        if addresses::exact(view, &reference.target)?.is_none() && is_base_of(address, &reference.target) {
            references.push(reference);
        }
    }
    Ok(references)
}

/// Takes an address that has no row any more out of whatever named it. Aliases that led to it go too, and what
/// named those in turn.
pub(super) fn address_is_gone(tx: &mut Tx<'_>, address: &Address) -> Result<(), EngineError> {
    let mut gone = vec![address.clone()];
    while let Some(address) = gone.pop() {
        for Reference { target, by } in to(&tx.view(), &address)? {
            match by {
                Referrer::Alias(alias) => {
                    if let Some(alias) = aliases::get(&tx.view(), &alias)? {
                        aliases::remove(tx, &alias);
                        gone.push(alias.address);
                    }
                }
                Referrer::Member(list) => lists::lose_member(tx, &list, &target)?,
                Referrer::Owner(list) => lists::lose_owner(tx, &list)?,
                Referrer::CatchAll(domain) => domains::lose_catch_all(tx, domain)?,
                Referrer::Grant(account, kind) => grants::lose(tx, account, &target, kind),
                Referrer::Forwarding(account) => forwardings::lose(tx, account, &target)?,
            }
        }
    }
    Ok(())
}

fn is_base_of(address: &Address, target: &Address) -> bool {
    addresses::split_subaddress(target).is_some_and(|(base, _)| base == *address)
}

fn collect(view: &ReadView<'_>, prefix: &Key) -> Result<Vec<Reference>, EngineError> {
    let mut references = Vec::new();
    view.visit(&prefix.range(), Direction::Forward, |fields, _| {
        references.push(parse(fields)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(references)
}

fn parse(mut fields: Fields<'_>) -> Result<Reference, EngineError> {
    let domain = fields.text()?;
    let target = address(domain, fields.text()?)?;
    let kind = fields.u8()?;
    if kind == 4 {
        return Ok(Reference { target, by: Referrer::CatchAll(DomainId::new(fields.u32()?)) });
    }
    if kind == 5 {
        let account = AccountId::new(fields.u64()?);
        let kind = match fields.u8()? {
            1 => GrantKind::SendAs,
            2 => GrantKind::OnBehalf,
            _ => return Err(damaged("a grant is of no kind that there is")),
        };
        return Ok(Reference { target, by: Referrer::Grant(account, kind) });
    }
    if kind == 6 {
        return Ok(Reference { target, by: Referrer::Forwarding(AccountId::new(fields.u64()?)) });
    }
    let domain = fields.text()?;
    let local = std::str::from_utf8(fields.rest()).map_err(|_| damaged("a referrer is no text"))?;
    let who = address(domain, local)?;
    let by = match kind {
        1 => Referrer::Alias(who),
        2 => Referrer::Member(who),
        3 => Referrer::Owner(who),
        _ => return Err(damaged("a referrer is of no kind that there is")),
    };
    Ok(Reference { target, by })
}

fn address(domain: &str, local: &str) -> Result<Address, EngineError> {
    let parsed = DomainName::parse(domain).and_then(|domain| Address::new(local, domain));
    parsed.map_err(|error| damaged(&error.to_string()))
}

fn damaged(what: &str) -> EngineError {
    EngineError::Inconsistent(format!("referrer row: {what}"))
}

fn key(tx: &Tx<'_>, target: &Address, by: &Referrer) -> Key {
    let key = tx.key(Table::Referrer).text(target.domain().as_str()).text(&target.local_canonical());
    match by {
        Referrer::Alias(who) => key.u8(1).address(who),
        Referrer::Member(who) => key.u8(2).address(who),
        Referrer::Owner(who) => key.u8(3).address(who),
        Referrer::CatchAll(domain) => key.u8(4).u32(domain.get()),
        Referrer::Grant(account, kind) => key.u8(5).u64(account.get()).u8(grant_kind(*kind)),
        Referrer::Forwarding(account) => key.u8(6).u64(account.get()),
    }
}

/// A grant's kind as keys have it.
pub(super) const fn grant_kind(kind: GrantKind) -> u8 {
    match kind {
        GrantKind::SendAs => 1,
        GrantKind::OnBehalf => 2,
    }
}
