//! The keys that sign the mail of our domains.
//!
//! Invariants: a key's domain exists; of each algorithm at most one key of a domain is active.

use std::ops::ControlFlow;

use securanet_kv::Direction;
use securanet_model::{
    DomainId, DomainName, UnixMillis,
    directory::{DirectoryRefusal, DirectoryReply, Domain},
    dkim::{
        DKIM_KEYS_PER_DOMAIN_MAX, DKIM_PRIVATE_KEY_OCTETS_MAX, DkimAlgorithm, DkimKey, DkimState, PrivateKey, Selector,
    },
};

use super::{Failure, Outcome, domains};
use crate::{
    EngineError,
    keys::{Key, Table},
    tx::{ReadView, Tx},
};

/// The keys of a domain, by selector; none where the domain is not ours.
pub(super) fn of(view: &ReadView<'_>, name: &DomainName) -> Result<Vec<DkimKey>, EngineError> {
    match domains::get(view, name)? {
        Some(domain) => of_domain(view, domain.id),
        None => Ok(Vec::new()),
    }
}

fn of_domain(view: &ReadView<'_>, domain: DomainId) -> Result<Vec<DkimKey>, EngineError> {
    let mut keys = Vec::new();
    view.visit_records(&view.key(Table::DkimKey).u32(domain.get()).range(), Direction::Forward, |_, key| {
        keys.push(key);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(keys)
}

/// Adds a key, which does not sign yet.
pub(super) fn put(
    tx: &mut Tx<'_>,
    clock: UnixMillis,
    name: &DomainName,
    selector: &Selector,
    (algorithm, private): (DkimAlgorithm, &PrivateKey),
) -> Outcome {
    let domain = domain(tx, name)?;
    let keys = of_domain(&tx.view(), domain.id)?;
    if keys.iter().any(|key| key.selector == *selector) {
        return Err(DirectoryRefusal::Exists(format!("key {selector} of {name}")).into());
    }
    if keys.len() >= DKIM_KEYS_PER_DOMAIN_MAX {
        let what = "keys of one domain".to_owned();
        return Err(DirectoryRefusal::TooMany { what, limit: DKIM_KEYS_PER_DOMAIN_MAX as u64 }.into());
    }
    if !(1..=DKIM_PRIVATE_KEY_OCTETS_MAX).contains(&private.pkcs8().len()) {
        return Err(DirectoryRefusal::Invalid("a private key is too long or empty".to_owned()).into());
    }
    let key = DkimKey {
        domain: domain.name,
        selector: selector.clone(),
        algorithm,
        private: private.clone(),
        state: DkimState::Published,
        created: clock,
    };
    store(tx, domain.id, &key);
    Ok(DirectoryReply::Done)
}

/// Changes a key's state; the active one of its algorithm makes room.
pub(super) fn set_state(tx: &mut Tx<'_>, name: &DomainName, selector: &Selector, state: DkimState) -> Outcome {
    let domain = domain(tx, name)?;
    let keys = of_domain(&tx.view(), domain.id)?;
    let mut key = find(&keys, name, selector)?.clone();
    if state == DkimState::Active {
        let active = |other: &&DkimKey| other.state == DkimState::Active && other.algorithm == key.algorithm;
        for other in keys.iter().filter(active) {
            store(tx, domain.id, &DkimKey { state: DkimState::Retired, ..other.clone() });
        }
    }
    key.state = state;
    store(tx, domain.id, &key);
    Ok(DirectoryReply::Done)
}

/// Forgets a key.
pub(super) fn delete(tx: &mut Tx<'_>, name: &DomainName, selector: &Selector) -> Outcome {
    let domain = domain(tx, name)?;
    let keys = of_domain(&tx.view(), domain.id)?;
    find(&keys, name, selector)?;
    let row = row(&tx.view(), domain.id, selector);
    tx.delete(row);
    Ok(DirectoryReply::Done)
}

/// Forgets all keys of a domain.
pub(super) fn forget(tx: &mut Tx<'_>, domain: DomainId) -> Result<(), EngineError> {
    for key in of_domain(&tx.view(), domain)? {
        let row = row(&tx.view(), domain, &key.selector);
        tx.delete(row);
    }
    Ok(())
}

fn find<'k>(keys: &'k [DkimKey], name: &DomainName, selector: &Selector) -> Result<&'k DkimKey, Failure> {
    let found = keys.iter().find(|key| key.selector == *selector);
    found.ok_or_else(|| DirectoryRefusal::NotFound(format!("key {selector} of {name}")).into())
}

fn domain(tx: &Tx<'_>, name: &DomainName) -> Result<Domain, Failure> {
    domains::get(&tx.view(), name)?.ok_or_else(|| DirectoryRefusal::NotFound(format!("domain {name}")).into())
}

fn store(tx: &mut Tx<'_>, domain: DomainId, key: &DkimKey) {
    let row = row(&tx.view(), domain, &key.selector);
    tx.put_record(row, key);
}

fn row(view: &ReadView<'_>, domain: DomainId, selector: &Selector) -> Key {
    view.key(Table::DkimKey).u32(domain.get()).octets(selector.as_str().as_bytes())
}
