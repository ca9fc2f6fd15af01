//! Who gets mail for an address.
//!
//! In this order, the first that there is decides:
//!
//! 1. the address itself: account, alias or list;
//! 2. its base: `user+folder` is `user`, and the folder goes with it where policy allows;
//! 3. the domain's catch-all;
//! 4. for `postmaster` and `abuse` (RFC 5321 4.5.1, RFC 2142), the cluster's postmaster.
//!
//! The cluster's postmaster is whoever `postmaster@` the oldest domain leads to, and where that is nobody the
//! oldest active account. Mail for `postmaster` and `abuse` reaches it also when what decided is suspended: these
//! two are accepted as long as the cluster has one active account.
//!
//! A folder goes through aliases (an alias is another address of its account) but not through lists.

use std::{collections::BTreeSet, ops::ControlFlow};

use securanet_kv::Direction;
use securanet_model::{
    AccountId, Address,
    directory::{Account, AccountStatus, Domain, LocalRecipient, Resolution},
    limits::{ALIAS_DEPTH_MAX, GROUP_MEMBERS_MAX},
};

use super::{
    accounts,
    addresses::{self, AddressRow, Found},
    check, domains, policies,
};
use crate::{EngineError, keys::Table, tx::ReadView};

/// Local parts that are always accepted for a domain of ours.
const ALWAYS_ACCEPTED: [&str; 2] = ["postmaster", "abuse"];

/// Who gets mail for an address.
pub(super) fn resolve(view: &ReadView<'_>, address: &Address) -> Result<Resolution, EngineError> {
    let Some(domain) = domains::get(view, address.domain())? else { return Ok(Resolution::Foreign) };
    let own = resolve_own(view, &domain, address)?;
    let accepted = matches!(own, Resolution::Local(_));
    if accepted || !ALWAYS_ACCEPTED.contains(&address.local_canonical().as_str()) {
        return Ok(own);
    }
    match postmaster(view)? {
        local @ Resolution::Local(_) => Ok(local),
        _ => Ok(own),
    }
}

/// Who gets mail for `postmaster` without a domain.
pub(super) fn postmaster(view: &ReadView<'_>) -> Result<Resolution, EngineError> {
    if let Some(domain) = oldest_domain(view)?
        && let Ok(address) = Address::new(ALWAYS_ACCEPTED[0], domain.name.clone())
        && let local @ Resolution::Local(_) = resolve_own(view, &domain, &address)?
    {
        return Ok(local);
    }
    match accounts::oldest_active(view)? {
        Some(account) => Ok(Resolution::Local(vec![recipient(view, account, None)?])),
        None => Ok(Resolution::Unknown),
    }
}

fn resolve_own(view: &ReadView<'_>, domain: &Domain, address: &Address) -> Result<Resolution, EngineError> {
    let mut found = addresses::find(view, address)?;
    if let (None, Some(catch_all)) = (&found, &domain.catch_all) {
        found = addresses::find(view, catch_all)?;
    }
    let Some(found) = found else { return Ok(Resolution::Unknown) };
    let mut walk = Walk::new(view);
    walk.follow(found, None, 0)?;
    walk.resolution()
}

fn oldest_domain(view: &ReadView<'_>) -> Result<Option<Domain>, EngineError> {
    let mut oldest = None;
    view.visit_records(&view.key(Table::Domain).range(), Direction::Forward, |_, domain: Domain| {
        oldest = Some(domain);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(oldest)
}

/// Collects the accounts that an address leads to, each once, in the order of the lists.
struct Walk<'a> {
    view: &'a ReadView<'a>,
    seen: BTreeSet<String>,
    accounts: Vec<(AccountId, Option<String>)>,
    steps: usize,
}

impl<'a> Walk<'a> {
    const fn new(view: &'a ReadView<'a>) -> Self {
        Self { view, seen: BTreeSet::new(), accounts: Vec::new(), steps: 0 }
    }

    /// Follows an address; its own subaddress goes before the one that came through aliases. The bounds hold by
    /// the checks at writing; they are here so that damaged state cannot keep a query going.
    fn follow(&mut self, found: Found, folder: Option<String>, depth: usize) -> Result<(), EngineError> {
        self.steps += 1;
        let within = depth <= ALIAS_DEPTH_MAX && self.steps <= GROUP_MEMBERS_MAX + ALIAS_DEPTH_MAX;
        if !within || !self.seen.insert(found.address.canonical()) {
            return Ok(());
        }
        let folder = found.folder.or(folder);
        if let AddressRow::Account(id) = found.row {
            self.accounts.push((id, folder));
            return Ok(());
        }
        let folder = if found.row == AddressRow::Alias { folder } else { None };
        for target in check::next(self.view, &found.address, found.row)? {
            if let Some(target) = addresses::find(self.view, &target)? {
                self.follow(target, folder.clone(), depth + 1)?;
            }
        }
        Ok(())
    }

    fn resolution(self) -> Result<Resolution, EngineError> {
        let mut active = Vec::new();
        let mut suspended = false;
        for (id, folder) in self.accounts {
            match accounts::get(self.view, id)? {
                Some(account) if account.status == AccountStatus::Active => {
                    active.push(recipient(self.view, account, folder)?);
                }
                Some(_) => suspended = true,
                None => return Err(EngineError::Inconsistent(format!("account {id} has an address but no row"))),
            }
        }
        Ok(match (active.is_empty(), suspended) {
            (false, _) => Resolution::Local(active),
            (true, true) => Resolution::Suspended,
            (true, false) => Resolution::Unknown,
        })
    }
}

fn recipient(view: &ReadView<'_>, account: Account, folder: Option<String>) -> Result<LocalRecipient, EngineError> {
    let folder = match folder {
        Some(folder) if policies::is_true(view, "smtp.subaddress_folder", &account)? => Some(folder),
        _ => None,
    };
    Ok(LocalRecipient {
        account: account.id,
        tenant: account.tenant,
        domain: account.domain,
        group: account.group,
        epoch: account.epoch,
        address: account.address,
        folder,
    })
}
