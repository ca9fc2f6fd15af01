//! What holds in the directory after each command.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use securanet_kv::Direction;
use securanet_model::{
    AccountId, Address, DomainName,
    directory::{Account, Alias, Domain, Forwarding, List},
    dkim::{DkimKey, DkimState},
    limits::{ALIAS_DEPTH_MAX, GROUP_MEMBERS_MAX},
    record,
    sending::{ANY_LOCAL_PART, Grant},
    sts::StsPolicyRow,
    tls_report::TlsReport,
};
use serde::de::DeserializeOwned;

use super::super::{
    addresses::{self, AddressRow},
    references::{self, Referrer},
    sts,
};
use crate::{
    keys::{Fields, Table},
    tx::ReadView,
};

/// Panics, naming `after`, when something does not hold.
pub(super) fn check(view: &ReadView<'_>, after: &str) {
    let accounts: Vec<Account> = all(view, Table::Account);
    let aliases: Vec<Alias> = all(view, Table::Alias);
    let lists: Vec<List> = all(view, Table::List);
    let domains: Vec<Domain> = all(view, Table::Domain);
    every_address_is_one_thing(view, (&accounts, &aliases, &lists), after);
    let forwardings = forwardings(view);
    assert!(forwardings.keys().all(|id| accounts.iter().any(|account| account.id == *id)), "after {after}");
    every_name_leads_somewhere(view, (&aliases, &lists, &domains, &forwardings), after);
    ids_are_unique(view, &accounts, &domains, after);
    one_key_of_each_algorithm_signs(view, &domains, after);
    policies_of_strangers_are_counted_and_end(view, after);
    reports_are_counted_and_stand_by_their_time(view, after);
    let mut graph = graph(view, &aliases, &lists);
    for account in &accounts {
        let to = forwardings.get(&account.id).map(|forwarding| forwarding.to.as_slice()).unwrap_or_default();
        graph.insert(account.address.canonical(), to.iter().filter_map(|to| row_of(view, to)).collect());
    }
    for start in graph.keys() {
        let depth = depth(&graph, start, &mut Vec::new(), after);
        assert!(depth <= ALIAS_DEPTH_MAX, "{start} is {depth} deep after {after}");
    }
}

fn all<T: DeserializeOwned>(view: &ReadView<'_>, table: Table) -> Vec<T> {
    let rows = view.scan(&view.key(table).range(), Direction::Forward, usize::MAX).unwrap();
    rows.iter().map(|(_, value)| record::decode(value).unwrap()).collect()
}

fn policies_of_strangers_are_counted_and_end(view: &ReadView<'_>, after: &str) {
    let policies: Vec<StsPolicyRow> = all(view, Table::StsPolicy);
    let octets: u64 = policies.iter().map(|policy| policy.text.len() as u64).sum();
    assert_eq!(sts::counted(view).unwrap(), (policies.len() as u64, octets), "after {after}");
    let ends = policies.iter().filter(|policy| {
        let key = view.key(Table::StsPolicyByEnd).u64(policy.ends().get()).octets(policy.domain.as_str().as_bytes());
        view.contains(&key).unwrap()
    });
    assert_eq!((ends.count(), count(view, Table::StsPolicyByEnd)), (policies.len(), policies.len()), "after {after}");
}

fn reports_are_counted_and_stand_by_their_time(view: &ReadView<'_>, after: &str) {
    let reports: Vec<TlsReport> = all(view, Table::TlsReport);
    let days: Vec<u32> = all(view, Table::TlsDay);
    assert_eq!(days.iter().sum::<u32>() as usize, reports.len(), "after {after}");
    let due = reports.iter().filter_map(|report| Some((report.due?, report))).filter(|(due, report)| {
        let key = view.key(Table::TlsReportDue).u64(due.get()).u32(report.counts.day);
        view.contains(&key.octets(report.counts.domain.as_str().as_bytes())).unwrap()
    });
    let wanted = reports.iter().filter(|report| report.due.is_some()).count();
    assert_eq!((due.count(), count(view, Table::TlsReportDue)), (wanted, wanted), "after {after}");
}

fn count(view: &ReadView<'_>, table: Table) -> usize {
    view.scan(&view.key(table).range(), Direction::Forward, usize::MAX).unwrap().len()
}

fn every_address_is_one_thing(
    view: &ReadView<'_>,
    (accounts, aliases, lists): (&[Account], &[Alias], &[List]),
    after: &str,
) {
    let row = |address: &Address| addresses::exact(view, address).unwrap();
    accounts.iter().for_each(|account| {
        assert_eq!(row(&account.address), Some(AddressRow::Account(account.id)), "after {after}");
    });
    aliases.iter().for_each(|alias| assert_eq!(row(&alias.address), Some(AddressRow::Alias), "after {after}"));
    lists.iter().for_each(|list| assert_eq!(row(&list.address), Some(AddressRow::List), "after {after}"));
    let things = accounts.len() + aliases.len() + lists.len();
    assert_eq!(count(view, Table::Address), things, "an address row without its thing after {after}");
    assert_eq!(count(view, Table::Credentials), accounts.len(), "credentials without account after {after}");
}

fn every_name_leads_somewhere(
    view: &ReadView<'_>,
    (aliases, lists, domains, forwardings): (&[Alias], &[List], &[Domain], &BTreeMap<AccountId, Forwarding>),
    after: &str,
) {
    let mut named: Vec<(Address, Referrer)> = Vec::new();
    for alias in aliases {
        named.push((alias.target.clone(), Referrer::Alias(alias.address.clone())));
    }
    for list in lists {
        named.extend(list.members.iter().map(|member| (member.clone(), Referrer::Member(list.address.clone()))));
        named.extend(list.owner.iter().map(|owner| (owner.clone(), Referrer::Owner(list.address.clone()))));
    }
    for (id, forwarding) in forwardings {
        assert!(!forwarding.to.is_empty(), "after {after}");
        named.extend(forwarding.to.iter().map(|to| (to.clone(), Referrer::Forwarding(*id))));
    }
    for domain in domains {
        named.extend(domain.catch_all.iter().map(|target| (target.clone(), Referrer::CatchAll(domain.id))));
    }
    let grants: Vec<Grant> = all(view, Table::SendingGrant);
    named.extend(grants.into_iter().map(|grant| (grant.address, Referrer::Grant(grant.account, grant.kind))));
    for (target, by) in &named {
        let found = match by {
            Referrer::Grant(..) if target.local() == ANY_LOCAL_PART => {
                assert!(domains.iter().any(|domain| domain.name == *target.domain()), "{target} after {after}");
                Some(target.clone())
            }
            _ => addresses::find(view, target).unwrap().map(|found| found.address),
        };
        let may_be_outside = matches!(by, Referrer::Alias(_) | Referrer::Member(_) | Referrer::Forwarding(_));
        assert!(found.is_some() || may_be_outside, "{by:?} names {target}, which leads nowhere, after {after}");
        let found = found.unwrap_or_else(|| target.clone());
        let references = references::to(view, &found).unwrap();
        let known = references.iter().any(|reference| reference.target == *target && reference.by == *by);
        assert!(known, "{target} does not know that {by:?} names it after {after}");
    }
    assert_eq!(count(view, Table::Referrer), named.len(), "a reference too many after {after}");
}

fn ids_are_unique(view: &ReadView<'_>, accounts: &[Account], domains: &[Domain], after: &str) {
    let mut names = BTreeSet::new();
    view.visit_records(&view.key(Table::DomainByName).range(), Direction::Forward, |fields: Fields<'_>, id| {
        let name = DomainName::parse(std::str::from_utf8(fields.rest()).unwrap()).unwrap();
        assert!(domains.iter().any(|domain| domain.id == id && domain.name == name), "{name} after {after}");
        names.insert(name);
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(names.len(), domains.len(), "a domain without its name after {after}");
    if let Some(counters) = view.scan(&view.key(Table::DirectoryCounters).range(), Direction::Forward, 1).unwrap().pop()
    {
        let (next_domain, next_account): (u32, u64) = record::decode(&counters.1).unwrap();
        assert!(domains.iter().all(|domain| domain.id.get() < next_domain), "after {after}");
        assert!(accounts.iter().all(|account| account.id.get() < next_account), "after {after}");
    }
}

fn one_key_of_each_algorithm_signs(view: &ReadView<'_>, domains: &[Domain], after: &str) {
    let mut active = BTreeSet::new();
    for key in all::<DkimKey>(view, Table::DkimKey) {
        assert!(domains.iter().any(|domain| domain.name == key.domain), "a key without domain after {after}");
        let signs = key.state == DkimState::Active;
        assert!(!signs || active.insert((key.domain, key.algorithm)), "two keys sign after {after}");
    }
}

fn row_of(view: &ReadView<'_>, target: &Address) -> Option<String> {
    addresses::find(view, target).unwrap().map(|found| found.address.canonical())
}

fn forwardings(view: &ReadView<'_>) -> BTreeMap<AccountId, Forwarding> {
    let mut forwardings = BTreeMap::new();
    view.visit_records(&view.key(Table::Forwarding).range(), Direction::Forward, |mut fields: Fields<'_>, row| {
        forwardings.insert(AccountId::new(fields.u64()?), row);
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    forwardings
}

type Graph = BTreeMap<String, Vec<String>>;

/// Where each alias and list leads, by the rows that their targets are found under.
fn graph(view: &ReadView<'_>, aliases: &[Alias], lists: &[List]) -> Graph {
    let row_of = |target: &Address| row_of(view, target);
    let mut graph = Graph::new();
    for alias in aliases {
        graph.insert(alias.address.canonical(), row_of(&alias.target).into_iter().collect());
    }
    for list in lists {
        assert!(list.members.len() <= GROUP_MEMBERS_MAX);
        graph.insert(list.address.canonical(), list.members.iter().filter_map(row_of).collect());
    }
    graph
}

fn depth(graph: &Graph, at: &str, path: &mut Vec<String>, after: &str) -> usize {
    assert!(!path.iter().any(|before| before == at), "{path:?} leads back to {at} after {after}");
    path.push(at.to_owned());
    let next = graph.get(at).map(Vec::as_slice).unwrap_or_default();
    let deepest = next.iter().map(|next| 1 + depth(graph, next, path, after)).max();
    path.pop();
    deepest.unwrap_or(0)
}
