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
//! A folder goes through aliases (an alias is another address of its account) but not through lists and forwardings.
//!
//! What leads outside is an [`Onward`]. Who sends it on is the innermost list on the way to it; where there is none,
//! the last alias or account that leads there. An account that keeps no copy is left out; a suspended one sends
//! nothing on.
//!
//! What an address leads to has bounds: [`GROUP_MEMBERS_MAX`] accounts and addresses outside, [`ALIAS_DEPTH_MAX`]
//! levels. An alias on the way is no member: ten thousand of them may be on one list. Writing keeps these bounds
//! ([`super::check`]), but does not look at catch-alls: a member outside whose domain has become ours since leads
//! where its catch-all leads. Past a bound nothing is left out: the answer says at which address it was
//! ([`Resolution::TooMany`]), so nobody is told that mail was taken for members who get none.

use std::{collections::BTreeSet, ops::ControlFlow};

use securanet_kv::Direction;
use securanet_model::{
    AccountId, Address, GroupId, TenantId,
    directory::{Account, AccountStatus, Destinations, Domain, LocalRecipient, Onward, Resolution},
    limits::{ALIAS_DEPTH_MAX, GROUP_MEMBERS_MAX},
};

use super::{
    accounts,
    addresses::{self, AddressRow, Found},
    aliases, cluster, domains, forwardings, lists, policies,
};
use crate::{EngineError, keys::Table, tx::ReadView};

/// Addresses that one answer looks at. Writing allows a list as many edges as it may have members, each to the end of
/// a chain of aliases; what is more is damage, and must not keep a query going.
const STEPS_MAX: usize = GROUP_MEMBERS_MAX * (ALIAS_DEPTH_MAX + 1);

/// Local parts that are always accepted for a domain of ours.
const ALWAYS_ACCEPTED: [&str; 2] = ["postmaster", "abuse"];

/// Who gets mail for an address.
pub(super) fn resolve(view: &ReadView<'_>, address: &Address) -> Result<Resolution, EngineError> {
    let Some(domain) = domains::get(view, address.domain())? else { return Ok(Resolution::Foreign) };
    let own = resolve_own(view, &domain, address)?;
    let nobody = matches!(own, Resolution::Unknown | Resolution::Suspended);
    if !nobody || !ALWAYS_ACCEPTED.contains(&address.local_canonical().as_str()) {
        return Ok(own);
    }
    match postmaster(view)? {
        found @ (Resolution::Local(_) | Resolution::TooMany(_)) => Ok(found),
        _ => Ok(own),
    }
}

/// Who gets mail for `postmaster` without a domain.
pub(super) fn postmaster(view: &ReadView<'_>) -> Result<Resolution, EngineError> {
    if let Some(domain) = oldest_domain(view)?
        && let Ok(address) = Address::new(ALWAYS_ACCEPTED[0], domain.name.clone())
        && let found @ (Resolution::Local(_) | Resolution::TooMany(_)) = resolve_own(view, &domain, &address)?
    {
        return Ok(found);
    }
    match accounts::oldest_active(view)? {
        Some(account) => Ok(Resolution::Local(vec![recipient(view, account, None, None)?].into())),
        None => Ok(Resolution::Unknown),
    }
}

fn resolve_own(view: &ReadView<'_>, domain: &Domain, address: &Address) -> Result<Resolution, EngineError> {
    let mut found = addresses::find(view, address)?;
    if let (None, Some(catch_all)) = (&found, &domain.catch_all) {
        found = addresses::find(view, catch_all)?;
    }
    let Some(found) = found else { return Ok(Resolution::Unknown) };
    let (mut walk, start) = (Walk::new(view), found.address.clone());
    match walk.follow(found, Path { at: Some(start), ..Path::default() }) {
        Ok(()) => Ok(walk.resolution()),
        Err(Stop::TooMany(at)) => Ok(Resolution::TooMany(at)),
        Err(Stop::Engine(error)) => Err(error),
    }
}

fn oldest_domain(view: &ReadView<'_>) -> Result<Option<Domain>, EngineError> {
    let mut oldest = None;
    view.visit_records(&view.key(Table::Domain).range(), Direction::Forward, |_, domain: Domain| {
        oldest = Some(domain);
        Ok(ControlFlow::Break(()))
    })?;
    Ok(oldest)
}

/// Why a walk ended before its end.
enum Stop {
    /// Past a bound, with what this address leads to.
    TooMany(Address),
    Engine(EngineError),
}

impl From<EngineError> for Stop {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// How a walk came to an address.
#[derive(Clone, Default)]
struct Path {
    depth: usize,
    /// The list, alias or account that led here; at the beginning, the address itself.
    at: Option<Address>,
    /// A subaddress that came through aliases.
    folder: Option<String>,
    /// Who sends on from here: the last list, or without one the last alias or account.
    by: Option<Sender>,
    through_list: bool,
    /// The owner of the last list that has one.
    list_owner: Option<Address>,
}

/// An address of ours that sends mail on, and which group keeps it meanwhile.
#[derive(Clone)]
struct Sender {
    address: Address,
    tenant: TenantId,
    group: GroupId,
}

/// Collects the accounts and the addresses outside that an address leads to, each once, in the order of the lists.
struct Walk<'a> {
    view: &'a ReadView<'a>,
    seen: BTreeSet<String>,
    found: Destinations,
    suspended: bool,
    steps: usize,
}

impl<'a> Walk<'a> {
    fn new(view: &'a ReadView<'a>) -> Self {
        Self { view, seen: BTreeSet::new(), found: Destinations::default(), suspended: false, steps: 0 }
    }

    /// Follows an address; its own subaddress goes before the one that came through aliases.
    fn follow(&mut self, found: Found, path: Path) -> Result<(), Stop> {
        if !self.is_new(&found.address, &path)? {
            return Ok(());
        }
        let folder = found.folder.clone().or_else(|| path.folder.clone());
        let path = Path { folder, ..path };
        match found.row {
            AddressRow::Account(id) => self.account(id, path),
            AddressRow::Alias => self.alias(&found, path),
            AddressRow::List => self.list(&found, path),
        }
    }

    /// Whether the walk has not been at an address; an error where it has no room for it.
    fn is_new(&mut self, address: &Address, path: &Path) -> Result<bool, Stop> {
        self.steps += 1;
        if !self.seen.insert(address.canonical()) {
            return Ok(false);
        }
        let places = self.found.accounts.len() + self.found.onward.len();
        if path.depth > ALIAS_DEPTH_MAX || self.steps > STEPS_MAX || places >= GROUP_MEMBERS_MAX {
            return Err(Stop::TooMany(path.at.clone().unwrap_or_else(|| address.clone())));
        }
        Ok(true)
    }

    fn account(&mut self, id: AccountId, path: Path) -> Result<(), Stop> {
        let account = accounts::get(self.view, id)?;
        let account =
            account.ok_or_else(|| EngineError::Inconsistent(format!("account {id} has an address but no row")))?;
        if account.status != AccountStatus::Active {
            self.suspended = true;
            return Ok(());
        }
        let forwarding = forwardings::get(self.view, id)?;
        if forwarding.as_ref().is_none_or(|forwarding| forwarding.keep) {
            let folder = path.folder.clone();
            let local = recipient(self.view, account.clone(), folder, path.list_owner.clone())?;
            self.found.accounts.push(local);
        }
        let Some(forwarding) = forwarding else { return Ok(()) };
        // A list stays the one that sends on: its members' forwardings leave with its mail, and its owner's name.
        let at = Some(account.address.clone());
        let own = Sender { address: account.address, tenant: account.tenant, group: account.group };
        let by = if path.through_list { path.by.clone() } else { Some(own) };
        let path = Path { folder: None, at, by, ..path };
        self.all(&forwarding.to, &path)
    }

    fn alias(&mut self, found: &Found, path: Path) -> Result<(), Stop> {
        let Some(alias) = aliases::get(self.view, &found.address)? else { return Ok(()) };
        let by = if path.through_list { path.by.clone() } else { self.sender(&found.address)? };
        self.all(&[alias.target], &Path { at: Some(alias.address), by, ..path })
    }

    fn list(&mut self, found: &Found, path: Path) -> Result<(), Stop> {
        let Some(list) = lists::get(self.view, &found.address)? else { return Ok(()) };
        let by = self.sender(&found.address)?;
        let list_owner = list.owner.or(path.list_owner);
        let at = Some(list.address);
        self.all(&list.members, &Path { depth: path.depth, folder: None, at, by, through_list: true, list_owner })
    }

    fn all(&mut self, targets: &[Address], path: &Path) -> Result<(), Stop> {
        let path = Path { depth: path.depth + 1, ..path.clone() };
        for target in targets {
            if let Some(found) = addresses::find(self.view, target)? {
                self.follow(found, path.clone())?;
                continue;
            }
            match domains::get(self.view, target.domain())? {
                None => self.send_on(target, &path)?,
                // It was outside when it was named; its domain has become ours since.
                Some(domain) => {
                    let catch_all = domain.catch_all.map(|address| addresses::find(self.view, &address)).transpose()?;
                    if let Some(found) = catch_all.flatten() {
                        self.follow(found, path.clone())?;
                    }
                }
            }
        }
        Ok(())
    }

    fn send_on(&mut self, target: &Address, path: &Path) -> Result<(), Stop> {
        if !self.is_new(target, path)? {
            return Ok(());
        }
        let Some(by) = path.by.clone() else { return Ok(()) };
        self.found.onward.push(Onward {
            address: target.clone(),
            by: by.address,
            tenant: by.tenant,
            group: by.group,
            through_list: path.list_owner.is_some(),
            list_owner: path.list_owner.clone(),
        });
        Ok(())
    }

    /// An alias or a list as one that sends on. It has no shard: its address picks one.
    fn sender(&self, address: &Address) -> Result<Option<Sender>, EngineError> {
        let (domain, cluster) = (domains::get(self.view, address.domain())?, cluster::get(self.view)?);
        let (Some(domain), Some(cluster)) = (domain, cluster) else { return Ok(None) };
        // FNV-1a: the same on each replica and in each release.
        let hash = address
            .canonical()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3));
        let group = accounts::first_shard(AccountId::new(hash), cluster.shards);
        Ok(Some(Sender { address: address.clone(), tenant: domain.tenant, group }))
    }

    fn resolution(self) -> Resolution {
        let nobody = self.found.accounts.is_empty() && self.found.onward.is_empty();
        match (nobody, self.suspended) {
            (false, _) => Resolution::Local(self.found),
            (true, true) => Resolution::Suspended,
            (true, false) => Resolution::Unknown,
        }
    }
}

fn recipient(
    view: &ReadView<'_>,
    account: Account,
    folder: Option<String>,
    list_owner: Option<Address>,
) -> Result<LocalRecipient, EngineError> {
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
        list_owner,
    })
}
