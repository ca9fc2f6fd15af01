//! Bounds on how aliases, lists and forwardings lead to each other, checked when one of them changes.
//!
//! What changed is one address; the check looks down from it (does it lead back to itself, how deep) and up (who
//! leads to it: their depth and their number of members grow with it). Queries may then walk freely, but for catch-alls
//! on the way ([`super::resolve`]), which are nobody's reference.

use std::collections::{BTreeMap, BTreeSet};

use securanet_model::{
    Address,
    directory::DirectoryRefusal,
    limits::{ALIAS_DEPTH_MAX, GROUP_MEMBERS_MAX},
};

use super::{
    Failure, accounts,
    addresses::{self, AddressRow},
    aliases, forwardings, lists,
    references::{self, Referrer},
};
use crate::{EngineError, tx::ReadView};

/// Aliases, lists and forwardings that may lead, directly or not, to one that is changed.
const ABOVE_MAX: usize = 1000;

/// Members looked at in one check, over all lists above: keeps one command from holding the group for long.
const MEMBERS_CHECKED_MAX: usize = 200_000;

/// What [`ALIAS_DEPTH_MAX`] counts.
const LEVELS: &str = "levels of aliases, lists and forwardings";

/// Where an address leads in one step: an alias's target, a list's members, what an account forwards to.
pub(super) fn next(view: &ReadView<'_>, address: &Address, row: AddressRow) -> Result<Vec<Address>, EngineError> {
    Ok(match row {
        AddressRow::Account(id) => forwardings::get(view, id)?.map(|forwarding| forwarding.to).unwrap_or_default(),
        AddressRow::Alias => aliases::get(view, address)?.map(|alias| alias.target).into_iter().collect(),
        AddressRow::List => lists::get(view, address)?.map(|list| list.members).unwrap_or_default(),
    })
}

/// Checks the bounds around an alias, a list or an account's forwarding that was just written.
pub(super) fn after_change(view: &ReadView<'_>, changed: &Address) -> Result<(), Failure> {
    let below = Below { view, changed, depths: BTreeMap::new() }.depth(changed, ALIAS_DEPTH_MAX)?;
    let Above { depth, lists, accounts } = Above::of(view, changed)?;
    if depth + below > ALIAS_DEPTH_MAX {
        return Err(too_many(LEVELS, ALIAS_DEPTH_MAX));
    }
    let mut checked = 0;
    for spreads in std::iter::once(changed).chain(&lists).chain(&accounts) {
        checked += members(view, spreads)?;
        if checked > MEMBERS_CHECKED_MAX {
            return Err(too_many("members in the lists that this one is on", MEMBERS_CHECKED_MAX));
        }
    }
    Ok(())
}

/// How far it is from an address to the farthest account.
struct Below<'a> {
    view: &'a ReadView<'a>,
    changed: &'a Address,
    depths: BTreeMap<String, usize>,
}

impl Below<'_> {
    fn depth(&mut self, address: &Address, levels_left: usize) -> Result<usize, Failure> {
        let Some(found) = addresses::find(self.view, address)? else { return Ok(0) };
        let name = found.address.canonical();
        if let Some(&depth) = self.depths.get(&name) {
            return Ok(depth);
        }
        let mut depth = 0;
        for target in next(self.view, &found.address, found.row)? {
            let target_row = addresses::find(self.view, &target)?;
            if target_row.is_some_and(|found| found.address == *self.changed) {
                return Err(DirectoryRefusal::Loop(self.changed.clone()).into());
            }
            if levels_left == 0 {
                return Err(too_many(LEVELS, ALIAS_DEPTH_MAX));
            }
            depth = depth.max(1 + self.depth(&target, levels_left - 1)?);
        }
        self.depths.insert(name, depth);
        Ok(depth)
    }
}

/// What leads to an address.
struct Above {
    /// How many aliases, lists and forwardings stand above each other over it.
    depth: usize,
    lists: Vec<Address>,
    /// Those who forward.
    accounts: Vec<Address>,
}

impl Above {
    fn of(view: &ReadView<'_>, address: &Address) -> Result<Self, Failure> {
        let mut depths: BTreeMap<String, usize> = BTreeMap::new();
        let (mut lists, mut forwarding) = (BTreeMap::new(), BTreeMap::new());
        let mut level = vec![address.clone()];
        let mut depth = 0;
        // A level deeper than the bound is refused by the caller, so there is no need to look further.
        while !level.is_empty() && depth <= ALIAS_DEPTH_MAX {
            let mut next_level = BTreeMap::new();
            for address in &level {
                for reference in references::to(view, address)? {
                    let above = match &reference.by {
                        Referrer::Alias(above) => above.clone(),
                        Referrer::Member(above) => {
                            lists.insert(above.canonical(), above.clone());
                            above.clone()
                        }
                        Referrer::Forwarding(account) => {
                            let Some(account) = accounts::get(view, *account)? else { continue };
                            forwarding.insert(account.address.canonical(), account.address.clone());
                            account.address
                        }
                        Referrer::Owner(_) | Referrer::CatchAll(_) | Referrer::Grant(..) => continue,
                    };
                    depths.insert(above.canonical(), depth + 1);
                    next_level.insert(above.canonical(), above);
                }
            }
            if depths.len() > ABOVE_MAX {
                return Err(too_many("aliases, lists and forwardings that lead here", ABOVE_MAX));
            }
            level = next_level.into_values().collect();
            depth += 1;
        }
        let depth = depths.values().copied().max().unwrap_or(0);
        Ok(Self { depth, lists: lists.into_values().collect(), accounts: forwarding.into_values().collect() })
    }
}

/// How many members a list or a forwarding names, those of nested lists and what members forward to included; each
/// nested list counts once.
fn members(view: &ReadView<'_>, list: &Address) -> Result<usize, Failure> {
    let mut seen = BTreeSet::new();
    let mut open = vec![list.clone()];
    let mut members = 0;
    while let Some(address) = open.pop() {
        let Some(found) = addresses::find(view, &address)? else { continue };
        if !seen.insert(found.address.canonical()) {
            continue;
        }
        let targets = next(view, &found.address, found.row)?;
        if found.row != AddressRow::Alias {
            members += targets.len();
        }
        if members > GROUP_MEMBERS_MAX {
            return Err(too_many(
                "members of one list, those of nested lists and what members forward to included",
                GROUP_MEMBERS_MAX,
            ));
        }
        open.extend(targets);
    }
    Ok(members)
}

fn too_many(what: &str, limit: usize) -> Failure {
    DirectoryRefusal::TooMany { what: what.to_owned(), limit: limit as u64 }.into()
}
