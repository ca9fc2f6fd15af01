//! Policies that were set, by scope; the narrowest one wins.

use std::ops::ControlFlow;

use securanet_kv::Direction;
use securanet_model::{
    AccountId, DomainId,
    directory::{Account, DirectoryRefusal, DirectoryReply},
    policy::{self, PolicyError, Scope},
    record,
};

use super::{Outcome, accounts, domains};
use crate::{
    EngineError,
    keys::{Fields, Key, Table},
    tx::{ReadView, Tx},
};

/// Sets a policy, or with no value goes back to the wider scope's.
pub(super) fn set(tx: &mut Tx<'_>, key: &str, scope: Scope, value: Option<&str>) -> Outcome {
    let known = policy::find(key).ok_or_else(|| refused(PolicyError::Unknown(key.to_owned())))?;
    // A value is taken away from a scope that may have none without complaint: the catalogue may have changed.
    if let Some(value) = value {
        known.check(scope, value).map_err(refused)?;
    }
    must_exist(&tx.view(), scope)?;
    let row = row_key(&tx.view(), scope, key);
    match value {
        Some(value) => tx.put_record(row, value),
        None => tx.delete(row),
    }
    Ok(DirectoryReply::Done)
}

/// Takes all policies of a scope away.
pub(super) fn forget(tx: &mut Tx<'_>, scope: Scope) {
    for policy in policy::CATALOGUE {
        let key = row_key(&tx.view(), scope, policy.key);
        tx.delete(key);
    }
}

/// The value that holds for a scope and the scope that set it; an unknown policy has none.
pub(super) fn effective(
    view: &ReadView<'_>,
    key: &str,
    scope: Scope,
) -> Result<Option<(String, Option<Scope>)>, EngineError> {
    let Some(known) = policy::find(key) else { return Ok(None) };
    for scope in widening(view, scope)? {
        if let Some(value) = view.get_record(&row_key(view, scope, key))? {
            return Ok(Some((value, Some(scope))));
        }
    }
    Ok(Some((known.default.to_owned(), None)))
}

/// Whether a boolean policy holds for an account.
pub(super) fn is_true(view: &ReadView<'_>, key: &str, account: &Account) -> Result<bool, EngineError> {
    for scope in [Scope::Account(account.id), Scope::Domain(account.domain), Scope::Cluster] {
        if let Some(value) = view.get_record::<String>(&row_key(view, scope, key))? {
            return Ok(value == "true");
        }
    }
    Ok(policy::find(key).is_some_and(|policy| policy.default == "true"))
}

/// All that were set: key, scope, value; sorted by scope, then key.
pub(super) fn all(view: &ReadView<'_>) -> Result<Vec<(String, Scope, String)>, EngineError> {
    let mut rows = Vec::new();
    view.visit(&view.key(Table::Policy).range(), Direction::Forward, |fields, value| {
        let (scope, key) = parse(fields)?;
        rows.push((key, scope, record::decode(value)?));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(rows)
}

/// The scope and the wider ones, narrowest first.
fn widening(view: &ReadView<'_>, scope: Scope) -> Result<Vec<Scope>, EngineError> {
    Ok(match scope {
        Scope::Cluster => vec![scope],
        Scope::Domain(_) => vec![scope, Scope::Cluster],
        Scope::Account(id) => {
            let domain = accounts::get(view, id)?.map(|account| Scope::Domain(account.domain));
            [Some(scope), domain, Some(Scope::Cluster)].into_iter().flatten().collect()
        }
    })
}

fn must_exist(view: &ReadView<'_>, scope: Scope) -> Result<(), super::Failure> {
    let (exists, what) = match scope {
        Scope::Cluster => (true, String::new()),
        Scope::Domain(id) => (domains::by_id(view, id)?.is_some(), format!("domain {id}")),
        Scope::Account(id) => (accounts::get(view, id)?.is_some(), format!("account {id}")),
    };
    if exists { Ok(()) } else { Err(DirectoryRefusal::NotFound(what).into()) }
}

fn refused(error: PolicyError) -> DirectoryRefusal {
    DirectoryRefusal::Policy(error)
}

fn row_key(view: &ReadView<'_>, scope: Scope, key: &str) -> Key {
    let (kind, id) = match scope {
        Scope::Cluster => (0, 0),
        Scope::Domain(id) => (1, u64::from(id.get())),
        Scope::Account(id) => (2, id.get()),
    };
    view.key(Table::Policy).u8(kind).u64(id).octets(key.as_bytes())
}

fn parse(mut fields: Fields<'_>) -> Result<(Scope, String), EngineError> {
    let damaged = || EngineError::Inconsistent("a policy's key is damaged".to_owned());
    let (kind, id) = (fields.u8()?, fields.u64()?);
    let scope = match kind {
        0 => Scope::Cluster,
        1 => Scope::Domain(DomainId::new(u32::try_from(id).map_err(|_| damaged())?)),
        2 => Scope::Account(AccountId::new(id)),
        _ => return Err(damaged()),
    };
    let key = String::from_utf8(fields.rest().to_vec()).map_err(|_| damaged())?;
    Ok((scope, key))
}
