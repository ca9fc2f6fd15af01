//! Who gets mail for an address.

use securanet_model::policy::Scope;

use super::*;

/// ann, bob and carl (suspended); info, an alias of ann; all, a list of everybody with a list inside.
fn office() -> Office {
    let mut office = Office::new();
    office.account("ann@example.org");
    office.account("bob@example.org");
    let carl = office.account("carl@example.org");
    office.suspend(&carl, AccountStatus::Suspended);
    office.domain("example.net");
    office.alias("info@example.org", "ann@example.org");
    office.alias("carl2@example.org", "carl@example.org");
    office.alias("filed@example.org", "bob+letters@example.org");
    office.list("sales@example.org", &["bob@example.org", "carl@example.org"]);
    office.list("all@example.org", &["ann@example.org", "sales@example.org", "info@example.org"]);
    office.list("empty@example.org", &[]);
    office.list("gone@example.org", &["carl@example.org"]);
    office
}

#[test]
fn mail_goes_where_the_address_leads() {
    let office = office();
    let cases = [
        ("ann@example.org", "ann@example.org"),
        ("ANN@EXAMPLE.org", "ann@example.org"),
        ("nobody@example.org", "unknown"),
        ("ann@example.net", "unknown"),
        ("ann@example.com", "foreign"),
        ("carl@example.org", "suspended"),
        ("carl2@example.org", "suspended"),
        ("info@example.org", "ann@example.org"),
        ("sales@example.org", "bob@example.org"),
        ("all@example.org", "ann@example.org bob@example.org"),
        ("empty@example.org", "unknown"),
        ("gone@example.org", "suspended"),
        ("ann+Work@example.org", "ann@example.org/Work"),
        ("ann+@example.org", "ann@example.org"),
        ("ann+a+b@example.org", "ann@example.org/a+b"),
        ("info+Work@example.org", "ann@example.org/Work"),
        ("filed@example.org", "bob@example.org/letters"),
        ("filed+more@example.org", "bob@example.org/letters"),
        ("all+Work@example.org", "ann@example.org bob@example.org"),
        ("nobody+Work@example.org", "unknown"),
        ("+Work@example.org", "unknown"),
        ("carl+Work@example.org", "suspended"),
    ];
    for (asked, expected) in cases {
        assert_eq!(office.resolve(asked), expected, "{asked}");
    }
}

#[test]
fn a_recipient_says_where_its_account_is() {
    let mut office = office();
    let dora = office.account("dora@example.net");
    let DirectoryAnswer::Resolution(Resolution::Local(recipients)) =
        office.ask(DirectoryQuery::Resolve(address("dora@example.net")))
    else {
        panic!("dora gets her mail")
    };
    let [recipient] = recipients.accounts.as_slice() else { panic!("{recipients:?}") };
    assert_eq!((recipient.account, recipient.tenant, recipient.domain), (dora.id, dora.tenant, dora.domain));
    assert_eq!((recipient.group, recipient.epoch), (dora.group, dora.epoch));
}

#[test]
fn an_address_with_a_plus_goes_before_its_base() {
    let mut office = office();
    office.account("ann+x@example.org");
    assert_eq!(office.resolve("ann+x@example.org"), "ann+x@example.org");
    assert_eq!(office.resolve("ann+y@example.org"), "ann@example.org/y");
}

#[test]
fn a_folder_is_wanted_only_where_policy_allows() {
    let mut office = office();
    let domain = office.account_of("ann@example.org").unwrap().domain;
    let set = |scope, value: Option<&str>| DirectoryCommand::SetPolicy {
        key: "smtp.subaddress_folder".to_owned(),
        scope,
        value: value.map(str::to_owned),
    };
    office.done(set(Scope::Domain(domain), Some("false")));
    assert_eq!(office.resolve("ann+Work@example.org"), "ann@example.org");
    let ann = office.account_of("ann@example.org").unwrap().id;
    office.done(set(Scope::Account(ann), Some("true")));
    assert_eq!(office.resolve("ann+Work@example.org"), "ann@example.org/Work");
    assert_eq!(office.resolve("bob+Work@example.org"), "bob@example.org");
    office.done(set(Scope::Domain(domain), None));
    assert_eq!(office.resolve("bob+Work@example.org"), "bob@example.org/Work");
}

#[test]
fn a_catch_all_gets_what_nobody_else_gets() {
    let mut office = office();
    assert!(matches!(office.catch_all("example.org", Some("bob@example.org")), DirectoryReply::Domain(_)));
    let cases = [
        ("nobody@example.org", "bob@example.org"),
        ("nobody+x@example.org", "bob@example.org"),
        ("ann+x@example.org", "ann@example.org/x"),
        ("carl@example.org", "suspended"),
        ("empty@example.org", "unknown"),
        ("nobody@example.net", "unknown"),
    ];
    for (asked, expected) in cases {
        assert_eq!(office.resolve(asked), expected, "{asked}");
    }
    let outside = DirectoryRefusal::Outside(address("x@example.com"));
    assert_eq!(office.catch_all("example.org", Some("x@example.com")), DirectoryReply::Refused(outside));
    let missing = DirectoryRefusal::NotFound("y@example.org".to_owned());
    assert_eq!(office.catch_all("example.org", Some("y@example.org")), DirectoryReply::Refused(missing));
    office.catch_all("example.org", None);
    assert_eq!(office.resolve("nobody@example.org"), "unknown");
}

#[test]
fn postmaster_and_abuse_are_accepted_for_each_domain_of_ours() {
    let mut office = office();
    let everyone = |office: &Office| {
        [
            office.resolve("postmaster@example.org"),
            office.resolve("ABUSE@example.org"),
            office.resolve("Postmaster@example.net"),
            office.resolution(DirectoryQuery::ResolvePostmaster),
        ]
    };
    assert_eq!(everyone(&office), ["ann@example.org"; 4], "the oldest active account");
    let ann = office.account_of("ann@example.org").unwrap();
    office.suspend(&ann, AccountStatus::Suspended);
    assert_eq!(everyone(&office), ["bob@example.org"; 4], "the next one");
    office.suspend(&ann, AccountStatus::Active);
    let dora = office.account("dora@example.net");
    office.catch_all("example.net", Some("dora@example.net"));
    assert_eq!(office.resolve("postmaster@example.net"), "dora@example.net", "the domain's own people go first");
    office.suspend(&dora, AccountStatus::Suspended);
    assert_eq!(office.resolve("postmaster@example.net"), "ann@example.org", "accepted all the same");
    office.alias("postmaster@example.org", "bob@example.org");
    assert_eq!(everyone(&office), ["bob@example.org"; 4], "the oldest domain's postmaster is the cluster's");
    assert_eq!(office.resolve("postmaster@example.com"), "foreign");
}

#[test]
fn nobody_is_postmaster_of_a_cluster_without_accounts() {
    let office = Office::new();
    assert_eq!(office.resolve("postmaster@example.org"), "unknown");
    assert_eq!(office.resolution(DirectoryQuery::ResolvePostmaster), "unknown");
}
