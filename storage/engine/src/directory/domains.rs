//! Domains of ours.

use std::ops::ControlFlow;

use securanet_kv::Direction;
use securanet_model::{
    Address, DomainId, DomainName, TenantId,
    directory::{DirectoryRefusal, DirectoryReply, Domain, Quota},
    policy::Scope,
    sending::ANY_LOCAL_PART,
};

use super::{Failure, Outcome, addresses, cluster, dkim, policies, references, relays};
use crate::{
    EngineError,
    keys::{Key, Table},
    tx::{ReadView, Tx},
};

/// A domain by its name.
pub(super) fn get(view: &ReadView<'_>, name: &DomainName) -> Result<Option<Domain>, EngineError> {
    let Some(id) = view.get_record(&name_key(view, name))? else { return Ok(None) };
    by_id(view, id)
}

/// A domain by its id.
pub(super) fn by_id(view: &ReadView<'_>, id: DomainId) -> Result<Option<Domain>, EngineError> {
    view.get_record(&view.key(Table::Domain).u32(id.get()))
}

pub(super) fn create(tx: &mut Tx<'_>, tenant: TenantId, name: &DomainName) -> Outcome {
    if get(&tx.view(), name)?.is_some() {
        return Err(DirectoryRefusal::Exists(name.to_string()).into());
    }
    let id = DomainId::new(cluster::next_domain(tx)?);
    let domain = Domain { id, tenant, name: name.clone(), catch_all: None, quota: Quota::default() };
    let key = name_key(&tx.view(), name);
    tx.put_record(key, &id);
    store(tx, &domain);
    Ok(DirectoryReply::Domain(domain))
}

pub(super) fn update(
    tx: &mut Tx<'_>,
    name: &DomainName,
    catch_all: Option<&Option<Address>>,
    quota: Option<Quota>,
) -> Outcome {
    let mut domain = must_exist(tx, name)?;
    domain.quota = quota.unwrap_or(domain.quota);
    if let Some(catch_all) = catch_all {
        if let Some(target) = catch_all {
            addresses::must_lead_somewhere(&tx.view(), target)?;
        }
        replace_catch_all(tx, &mut domain, catch_all.clone());
    }
    store(tx, &domain);
    Ok(DirectoryReply::Domain(domain))
}

pub(super) fn delete(tx: &mut Tx<'_>, name: &DomainName) -> Outcome {
    let mut domain = must_exist(tx, name)?;
    let addresses = count_addresses(&tx.view(), name)?;
    if addresses > 0 {
        return Err(DirectoryRefusal::NotEmpty { name: name.clone(), addresses }.into());
    }
    replace_catch_all(tx, &mut domain, None);
    policies::forget(tx, Scope::Domain(domain.id));
    // Only grants for each of its addresses can still name it.
    if let Ok(any) = Address::new(ANY_LOCAL_PART, name.clone()) {
        references::address_is_gone(tx, &any)?;
    }
    relays::lose_domain(tx, name)?;
    dkim::forget(tx, domain.id)?;
    let key = name_key(&tx.view(), name);
    tx.delete(key);
    let key = tx.key(Table::Domain).u32(domain.id.get());
    tx.delete(key);
    Ok(DirectoryReply::Done)
}

/// Takes the catch-all away because its address is gone.
pub(super) fn lose_catch_all(tx: &mut Tx<'_>, id: DomainId) -> Result<(), EngineError> {
    if let Some(mut domain) = by_id(&tx.view(), id)? {
        replace_catch_all(tx, &mut domain, None);
        store(tx, &domain);
    }
    Ok(())
}

fn replace_catch_all(tx: &mut Tx<'_>, domain: &mut Domain, catch_all: Option<Address>) {
    let who = references::Referrer::CatchAll(domain.id);
    if let Some(old) = &domain.catch_all {
        references::remove(tx, old, &who);
    }
    if let Some(new) = &catch_all {
        references::add(tx, new, &who);
    }
    domain.catch_all = catch_all;
}

fn count_addresses(view: &ReadView<'_>, name: &DomainName) -> Result<u64, EngineError> {
    let mut count = 0;
    view.visit(&view.key(Table::Address).text(name.as_str()).range(), Direction::Forward, |_, _| {
        count += 1;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(count)
}

fn must_exist(tx: &Tx<'_>, name: &DomainName) -> Result<Domain, Failure> {
    get(&tx.view(), name)?.ok_or_else(|| DirectoryRefusal::NotFound(format!("domain {name}")).into())
}

fn store(tx: &mut Tx<'_>, domain: &Domain) {
    let key = tx.key(Table::Domain).u32(domain.id.get());
    tx.put_record(key, domain);
}

fn name_key(view: &ReadView<'_>, name: &DomainName) -> Key {
    view.key(Table::DomainByName).octets(name.as_str().as_bytes())
}
