//! The cluster's fixed facts, written once.

use securanet_model::directory::{Cluster, DirectoryRefusal, DirectoryReply};
use serde::{Deserialize, Serialize};

use super::{Failure, Outcome};
use crate::{
    EngineError,
    keys::Table,
    recover::{JUMP, JUMP_SMALL},
    tx::{ReadView, Tx},
};

/// Shards of one cluster: the design wants 8 to 64; this leaves room and keeps a typing error out.
const SHARDS_MAX: u32 = 1024;

/// The row of [`Table::DirectoryCounters`]: the ids to give out next. They never go back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Counters {
    domain: u32,
    account: u64,
}

/// The facts, once there are any.
pub(super) fn get(view: &ReadView<'_>) -> Result<Option<Cluster>, EngineError> {
    view.get_record(&view.key(Table::Cluster))
}

/// Writes the facts; the same ones again are no error, so that a repeated `init` is none.
pub(super) fn initialise(tx: &mut Tx<'_>, facts: ([u8; 16], [u8; 32], [u8; 32], u32)) -> Outcome {
    let (id, content_key, login_key, shards) = facts;
    if shards == 0 || shards > SHARDS_MAX {
        return Err(DirectoryRefusal::Invalid(format!("a cluster has 1 to {SHARDS_MAX} shards")).into());
    }
    let wanted = Cluster { id, content_key, login_key, shards };
    match get(&tx.view())? {
        Some(present) if present == wanted => Ok(DirectoryReply::Done),
        Some(_) => Err(DirectoryRefusal::AlreadyInitialised.into()),
        None => {
            let key = tx.key(Table::Cluster);
            tx.put_record(key, &wanted);
            let key = tx.key(Table::DirectoryCounters);
            tx.put_record(key, &Counters { domain: 1, account: 1 });
            Ok(DirectoryReply::Done)
        }
    }
}

/// The next domain's id.
pub(super) fn next_domain(tx: &mut Tx<'_>) -> Result<u32, Failure> {
    let mut counters = counters(tx)?;
    let id = counters.domain;
    counters.domain = id.checked_add(1).ok_or_else(|| used_up("domain ids"))?;
    let key = tx.key(Table::DirectoryCounters);
    tx.put_record(key, &counters);
    Ok(id)
}

/// The next account's id.
pub(super) fn next_account(tx: &mut Tx<'_>) -> Result<u64, Failure> {
    let mut counters = counters(tx)?;
    let id = counters.account;
    counters.account = id.checked_add(1).ok_or_else(|| used_up("account ids"))?;
    let key = tx.key(Table::DirectoryCounters);
    tx.put_record(key, &counters);
    Ok(id)
}

/// Ids jump: some that were given out may not be known here.
pub(super) fn jump(tx: &mut Tx<'_>) -> Result<(), EngineError> {
    let key = tx.key(Table::DirectoryCounters);
    let Some(Counters { domain, account }) = tx.get_record(&key)? else { return Ok(()) };
    let counters = Counters { domain: domain.saturating_add(JUMP_SMALL), account: account.saturating_add(JUMP) };
    tx.put_record(key, &counters);
    Ok(())
}

fn counters(tx: &Tx<'_>) -> Result<Counters, Failure> {
    let counters = tx.get_record(&tx.key(Table::DirectoryCounters))?;
    Ok(counters.ok_or_else(|| EngineError::Inconsistent("the directory has no counters".to_owned()))?)
}

fn used_up(what: &str) -> Failure {
    DirectoryRefusal::Invalid(format!("this cluster has no {what} left")).into()
}
