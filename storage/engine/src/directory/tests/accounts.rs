//! The cluster's beginning, domains and accounts.

use std::collections::BTreeSet;

use securanet_model::{
    AccountId, DomainId, Epoch,
    directory::{Cluster, Domain},
    request::Topic,
};

use super::*;

#[test]
fn nothing_happens_before_the_cluster_is_initialised() {
    let mut office = Office { group: Group::new(0) };
    assert_eq!(office.refused(create_account("ann@example.org")), DirectoryRefusal::NotInitialised);
    assert_eq!(office.ask(DirectoryQuery::Cluster), DirectoryAnswer::Cluster(None));
    assert_eq!(office.resolve("ann@example.org"), "foreign");
    assert_eq!(office.credentials("ann"), None);
}

#[test]
fn a_cluster_is_initialised_once() {
    let mut office = Office::new();
    office.done(initialise(1));
    assert_eq!(office.refused(initialise(9)), DirectoryRefusal::AlreadyInitialised);
    let DirectoryAnswer::Cluster(Some(Cluster { id, shards, .. })) = office.ask(DirectoryQuery::Cluster) else {
        panic!("no cluster")
    };
    assert_eq!((id, shards), ([1; 16], 4));
    let mut empty = Office { group: Group::new(0) };
    let none = DirectoryCommand::Initialise { cluster: [1; 16], content_key: [2; 32], login_key: [3; 32], shards: 0 };
    assert!(matches!(empty.refused(none), DirectoryRefusal::Invalid(_)));
}

#[test]
fn domains_come_change_and_go() {
    let mut office = Office::new();
    let create = |text: &str| DirectoryCommand::CreateDomain { tenant: TenantId::new(7), name: name(text) };
    let DirectoryReply::Domain(domain) = office.run(create("BÜCHER.example")) else { panic!("no domain") };
    assert_eq!(domain.name.as_str(), "xn--bcher-kva.example");
    assert_eq!(domain.tenant, TenantId::new(7));
    let exists = DirectoryRefusal::Exists("xn--bcher-kva.example".to_owned());
    assert_eq!(office.refused(create("xn--bcher-kva.EXAMPLE")), exists);
    let quota = Quota { bytes_max: Some(10), messages_max: None };
    let update = |name, quota| DirectoryCommand::UpdateDomain { name, catch_all: None, quota };
    office.done(update(domain.name.clone(), Some(quota)));
    let DirectoryAnswer::Domain(Some(Domain { quota: kept, .. })) =
        office.ask(DirectoryQuery::Domain(domain.name.clone()))
    else {
        panic!("no domain")
    };
    assert_eq!(kept, quota);
    let missing = DirectoryRefusal::NotFound("domain example.net".to_owned());
    assert_eq!(office.refused(update(name("example.net"), None)), missing);
    office.done(DirectoryCommand::DeleteDomain { name: domain.name.clone() });
    assert_eq!(office.resolve("ann@bücher.example"), "foreign");
    let DirectoryReply::Domain(again) = office.run(create("bücher.example")) else { panic!("no domain") };
    assert!(again.id > domain.id, "an id is never given twice");
}

#[test]
fn a_domain_with_addresses_stays() {
    let mut office = Office::new();
    let ann = office.account("ann@example.org");
    office.alias("info@example.org", "ann@example.org");
    let delete = || DirectoryCommand::DeleteDomain { name: name("example.org") };
    let not_empty = |addresses| DirectoryRefusal::NotEmpty { name: name("example.org"), addresses };
    assert_eq!(office.refused(delete()), not_empty(2));
    office.done(DirectoryCommand::DeleteAccount { account: ann.id });
    office.done(delete());
}

#[test]
fn an_account_gets_an_id_of_its_own_and_a_shard() {
    let mut office = Office::new();
    let ann = office.account("Ann@Example.ORG");
    assert_eq!((ann.id, ann.epoch, ann.domain), (AccountId::new(1), Epoch::new(0), DomainId::new(1)));
    assert_eq!((ann.tenant, ann.created), (TenantId::new(1), office.group.clock));
    assert_eq!(office.group.touched, [Topic::Directory]);
    assert_eq!(office.account_of("ANN@example.org").unwrap(), ann);
    office.done(DirectoryCommand::DeleteAccount { account: ann.id });
    let again = office.account("ann@example.org");
    assert!(again.id > ann.id, "a deleted account's mail must not come back with its address");
}

#[test]
fn accounts_spread_over_all_shards() {
    let mut office = Office::new();
    let shards: BTreeSet<u32> = (0..40).map(|n| office.account(&format!("user{n}@example.org")).group.get()).collect();
    assert_eq!(shards, BTreeSet::from([1, 2, 3, 4]));
}

#[test]
fn what_is_no_new_account_is_refused() {
    let mut office = Office::new();
    office.account("ann@example.org");
    let exists = DirectoryRefusal::Exists("ANN@example.org".to_owned());
    assert_eq!(office.refused(create_account("ANN@example.org")), exists);
    let foreign = DirectoryRefusal::ForeignDomain(name("example.net"));
    assert_eq!(office.refused(create_account("ann@example.net")), foreign);
    let long = DirectoryCommand::CreateAccount {
        address: address("bob@example.org"),
        display_name: "x".repeat(257),
        password: None,
        quota: Quota::default(),
    };
    assert!(matches!(office.refused(long), DirectoryRefusal::Invalid(_)));
    let bob = office.account("bob@example.org");
    assert_eq!(bob.id, AccountId::new(2), "a refused account uses up no id");
}

#[test]
fn an_account_changes_and_its_status_ends_sessions() {
    let mut office = Office::new();
    let ann = office.account("ann@example.org");
    let quota = Some(Quota { bytes_max: Some(1), messages_max: Some(2) });
    let display_name = Some("Ann Lee".to_owned());
    office.done(DirectoryCommand::UpdateAccount { account: ann.id, display_name, status: None, quota });
    let renamed = office.account_of("ann@example.org").unwrap();
    assert_eq!((renamed.display_name.as_str(), Some(renamed.quota)), ("Ann Lee", quota));
    assert_eq!(renamed.credential_version, ann.credential_version, "a name ends no session");
    office.suspend(&ann, AccountStatus::Suspended);
    let suspended = office.account_of("ann@example.org").unwrap();
    assert_eq!(suspended.credential_version, ann.credential_version + 1);
    office.suspend(&ann, AccountStatus::Suspended);
    let twice = office.account_of("ann@example.org").unwrap();
    assert_eq!(twice.credential_version, suspended.credential_version, "nothing changed, nobody is thrown out");
    let missing = DirectoryCommand::DeleteAccount { account: AccountId::new(99) };
    assert_eq!(office.refused(missing), DirectoryRefusal::NotFound("account 99".to_owned()));
}
