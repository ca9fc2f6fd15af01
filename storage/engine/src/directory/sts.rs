//! MTA-STS policies of foreign domains (RFC 8461 5.1): kept until they end, so that neither a restart nor another
//! gateway forgets what an attacker would want forgotten.
//!
//! Strangers decide what stands here, so it is bounded in rows and octets; when it is full, what ends first goes.
//! Invariants: the counters count the rows and their texts; each row stands once by its end.

use std::ops::ControlFlow;

use securanet_kv::Direction;
use securanet_model::{
    DomainName, UnixMillis,
    directory::{DirectoryRefusal, DirectoryReply},
    sts::{STS_MAX_AGE_SECONDS, STS_OCTETS_MAX, STS_POLICIES_MAX, STS_POLICY_OCTETS_MAX, StsPolicyRow},
};

use super::Outcome;
use crate::{
    EngineError,
    keys::{Key, Table},
    tx::{ReadView, Tx},
};

/// Ended policies that one command forgets.
const FORGOTTEN_MAX: usize = 100;

/// The policy of a domain that was fetched last.
pub(super) fn get(view: &ReadView<'_>, domain: &DomainName) -> Result<Option<StsPolicyRow>, EngineError> {
    view.get_record(&row(view, domain))
}

/// How many there are, and octets of their texts.
pub(super) fn counted(view: &ReadView<'_>) -> Result<(u64, u64), EngineError> {
    Ok(view.get_record(&view.key(Table::StsCounters))?.unwrap_or_default())
}

/// Keeps a policy, unless a later one is there.
pub(super) fn put(tx: &mut Tx<'_>, clock: UnixMillis, policy: &StsPolicyRow) -> Outcome {
    let is_id = (1..=32).contains(&policy.id.len()) && policy.id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_id {
        return Err(DirectoryRefusal::Invalid("the id of a policy is 1 to 32 letters and digits".to_owned()).into());
    }
    if policy.text.len() > STS_POLICY_OCTETS_MAX || policy.max_age_seconds > STS_MAX_AGE_SECONDS {
        return Err(DirectoryRefusal::Invalid("a policy is too long or lives too long".to_owned()).into());
    }
    // A gateway whose clock is fast must not make a policy that no other one can replace.
    let policy = StsPolicyRow { fetched: policy.fetched.min(clock), ..policy.clone() };
    let before = get(&tx.view(), &policy.domain)?;
    if before.as_ref().is_some_and(|before| before.fetched > policy.fetched) {
        return Ok(DirectoryReply::Done);
    }
    if let Some(before) = before {
        remove(tx, &before)?;
    }
    forget_ended(tx, clock)?;
    add(tx, &policy)?;
    make_room(tx, (STS_POLICIES_MAX, STS_OCTETS_MAX))?;
    Ok(DirectoryReply::Done)
}

fn add(tx: &mut Tx<'_>, policy: &StsPolicyRow) -> Result<(), EngineError> {
    let (row, end) = (row(&tx.view(), &policy.domain), end(&tx.view(), policy));
    tx.put_record(row, policy);
    tx.put(end, Vec::new());
    let (rows, octets) = counted(&tx.view())?;
    tx.put_record(tx.key(Table::StsCounters), &(rows + 1, octets + policy.text.len() as u64));
    Ok(())
}

fn remove(tx: &mut Tx<'_>, policy: &StsPolicyRow) -> Result<(), EngineError> {
    let (row, end) = (row(&tx.view(), &policy.domain), end(&tx.view(), policy));
    tx.delete(row);
    tx.delete(end);
    let (rows, octets) = counted(&tx.view())?;
    let left = (rows.saturating_sub(1), octets.saturating_sub(policy.text.len() as u64));
    tx.put_record(tx.key(Table::StsCounters), &left);
    Ok(())
}

fn forget_ended(tx: &mut Tx<'_>, clock: UnixMillis) -> Result<(), EngineError> {
    for (ends, domain) in first(&tx.view(), FORGOTTEN_MAX)? {
        if ends > clock {
            break;
        }
        remove_of(tx, &domain)?;
    }
    Ok(())
}

/// Removes what ends first until the rest is within the bounds.
fn make_room(tx: &mut Tx<'_>, (rows_max, octets_max): (u64, u64)) -> Result<(), EngineError> {
    loop {
        let (rows, octets) = counted(&tx.view())?;
        if rows <= rows_max && octets <= octets_max {
            return Ok(());
        }
        let Some((_, domain)) = first(&tx.view(), 1)?.pop() else { return Ok(()) };
        remove_of(tx, &domain)?;
    }
}

fn remove_of(tx: &mut Tx<'_>, domain: &DomainName) -> Result<(), EngineError> {
    let missing = || EngineError::Inconsistent(format!("the policy of {domain} ends and is not there"));
    let policy = get(&tx.view(), domain)?.ok_or_else(missing)?;
    remove(tx, &policy)
}

/// What ends first.
fn first(view: &ReadView<'_>, count: usize) -> Result<Vec<(UnixMillis, DomainName)>, EngineError> {
    let mut found = Vec::new();
    view.visit(&view.key(Table::StsPolicyByEnd).range(), Direction::Forward, |mut fields, _| {
        let ends = UnixMillis::new(fields.u64()?);
        let text = std::str::from_utf8(fields.rest()).ok();
        let domain = text.and_then(|text| DomainName::parse(text).ok());
        let domain = domain.ok_or_else(|| EngineError::Inconsistent("a policy of no domain ends".to_owned()))?;
        found.push((ends, domain));
        Ok(if found.len() < count { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(found)
}

fn row(view: &ReadView<'_>, domain: &DomainName) -> Key {
    view.key(Table::StsPolicy).octets(domain.as_str().as_bytes())
}

fn end(view: &ReadView<'_>, policy: &StsPolicyRow) -> Key {
    view.key(Table::StsPolicyByEnd).u64(policy.ends().get()).octets(policy.domain.as_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::{Group, START};

    fn policy(domain: &str, max_age_seconds: u32) -> StsPolicyRow {
        let domain = DomainName::parse(domain).unwrap();
        StsPolicyRow { domain, id: "1".to_owned(), text: "x".repeat(10), fetched: START, max_age_seconds }
    }

    #[test]
    fn when_there_are_too_many_those_that_end_first_go() {
        let group = Group::new(0);
        for bounds in [(2, 1000), (1000, 25)] {
            let mut tx = Tx::new(&group.store, group.space);
            for (domain, age) in [("b.example", 20), ("a.example", 10), ("c.example", 30)] {
                add(&mut tx, &policy(domain, age)).unwrap();
            }
            make_room(&mut tx, bounds).unwrap();
            let left = |domain: &str| get(&tx.view(), &policy(domain, 0).domain).unwrap().is_some();
            assert_eq!((left("a.example"), left("b.example"), left("c.example")), (false, true, true));
            assert_eq!(counted(&tx.view()).unwrap(), (2, 20));
        }
    }
}
