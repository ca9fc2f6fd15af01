//! Policies by scope.

use securanet_model::{
    AccountId, DomainId,
    policy::{PolicyError, Scope},
};

use super::*;

fn set(key: &str, scope: Scope, value: Option<&str>) -> DirectoryCommand {
    DirectoryCommand::SetPolicy { key: key.to_owned(), scope, value: value.map(str::to_owned) }
}

fn effective(office: &Office, key: &str, scope: Scope) -> Option<(String, Option<Scope>)> {
    match office.ask(DirectoryQuery::Policy(key.to_owned(), scope)) {
        DirectoryAnswer::Policy(policy) => policy,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_narrowest_scope_wins() {
    let mut office = Office::new();
    let ann = office.account("ann@example.org");
    let (account, domain) = (Scope::Account(ann.id), Scope::Domain(ann.domain));
    let key = "smtp.over_quota_reply";
    assert_eq!(effective(&office, key, account), Some(("452".to_owned(), None)), "the catalogue's default");
    for scope in [Scope::Cluster, domain, account] {
        office.done(set(key, scope, Some("552")));
        assert_eq!(effective(&office, key, account), Some(("552".to_owned(), Some(scope))));
        assert_eq!(effective(&office, key, scope), Some(("552".to_owned(), Some(scope))));
    }
    assert_eq!(effective(&office, "smtp.none", account), None);
    office.done(set(key, account, None));
    assert_eq!(effective(&office, key, account), Some(("552".to_owned(), Some(domain))));
    let expected = [(key.to_owned(), Scope::Cluster, "552".to_owned()), (key.to_owned(), domain, "552".to_owned())];
    assert_eq!(office.ask(DirectoryQuery::Policies), DirectoryAnswer::Policies(expected.to_vec()));
}

#[test]
fn what_is_not_in_the_catalogue_cannot_be_set() {
    let mut office = Office::new();
    let cases = [
        (set("smtp.none", Scope::Cluster, Some("1")), PolicyError::Unknown("smtp.none".to_owned())),
        (
            set("login.scram", Scope::Account(AccountId::new(1)), Some("true")),
            PolicyError::Scope("login.scram".to_owned()),
        ),
    ];
    for (command, error) in cases {
        assert_eq!(office.refused(command), DirectoryRefusal::Policy(error));
    }
    let value = office.refused(set("login.scram", Scope::Cluster, Some("maybe")));
    assert!(matches!(value, DirectoryRefusal::Policy(PolicyError::Value { .. })));
    let domain = office.refused(set("login.scram", Scope::Domain(DomainId::new(9)), Some("true")));
    assert_eq!(domain, DirectoryRefusal::NotFound("domain 9".to_owned()));
}

#[test]
fn a_policy_goes_with_its_domain_or_account() {
    let mut office = Office::new();
    let ann = office.account("ann@example.org");
    office.done(set("account.app_passwords", Scope::Account(ann.id), Some("false")));
    office.done(set("account.app_passwords", Scope::Domain(ann.domain), Some("false")));
    office.done(DirectoryCommand::DeleteAccount { account: ann.id });
    office.done(DirectoryCommand::DeleteDomain { name: name("example.org") });
    assert_eq!(office.ask(DirectoryQuery::Policies), DirectoryAnswer::Policies(Vec::new()));
}
