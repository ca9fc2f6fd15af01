//! Aliases and lists: what they may name, what goes when they go, and their bounds.

use securanet_model::limits::{ALIAS_DEPTH_MAX, GROUP_MEMBERS_MAX};

use super::*;

fn office() -> Office {
    let mut office = Office::new();
    office.account("ann@example.org");
    office.account("bob@example.org");
    office
}

#[test]
fn an_alias_needs_a_free_address_of_ours_and_a_target_that_is_there() {
    let mut office = office();
    office.alias("info@example.org", "ann@example.org");
    let cases = [
        ("INFO@example.org", "bob@example.org", DirectoryRefusal::Exists("INFO@example.org".to_owned())),
        ("bob@example.org", "ann@example.org", DirectoryRefusal::Exists("bob@example.org".to_owned())),
        ("x@example.net", "ann@example.org", DirectoryRefusal::ForeignDomain(name("example.net"))),
        ("x@example.org", "nobody@example.org", DirectoryRefusal::NotFound("nobody@example.org".to_owned())),
        ("x@example.org", "X@example.org", DirectoryRefusal::Loop(address("x@example.org"))),
    ];
    for (alias, target, refusal) in cases {
        assert_eq!(office.refused(create_alias(alias, target)), refusal, "{alias} -> {target}");
    }
}

#[test]
fn whatever_names_a_deleted_address_loses_it() {
    let mut office = office();
    office.alias("info@example.org", "ann@example.org");
    office.alias("hello@example.org", "info@example.org");
    office.alias("work@example.org", "ann+work@example.org");
    office.alias("other@example.org", "bob@example.org");
    let owner = Some(address("hello@example.org"));
    let members = ["ann@example.org", "bob@example.org", "hello@example.org", "ann+x@example.org"].map(address);
    office.done(DirectoryCommand::PutList(List {
        address: address("all@example.org"),
        owner,
        members: members.to_vec(),
    }));
    office.catch_all("example.org", Some("hello@example.org"));
    let ann = office.account_of("ann@example.org").unwrap();
    office.done(DirectoryCommand::DeleteAccount { account: ann.id });
    let all = office.list_of("all@example.org").unwrap();
    assert_eq!((all.members, all.owner), (vec![address("bob@example.org")], None));
    for gone in ["ann", "info", "hello", "work", "somebody"] {
        assert_eq!(office.resolve(&format!("{gone}@example.org")), "unknown", "{gone}");
    }
    assert_eq!(office.resolve("other@example.org"), "bob@example.org");
    office.account("ann@example.org");
    assert_eq!(office.resolve("all@example.org"), "bob@example.org", "the new owner of an address inherits no list");
}

#[test]
fn a_subaddress_with_a_row_of_its_own_outlives_its_base() {
    let mut office = office();
    office.alias("ann+shop@example.org", "bob@example.org");
    office.alias("shop@example.org", "ann+shop@example.org");
    let ann = office.account_of("ann@example.org").unwrap();
    office.done(DirectoryCommand::DeleteAccount { account: ann.id });
    assert_eq!(office.resolve("shop@example.org"), "bob@example.org");
    office.done(DirectoryCommand::DeleteAlias { address: address("ann+shop@example.org") });
    assert_eq!(office.resolve("shop@example.org"), "unknown");
}

#[test]
fn deleting_what_is_not_there_says_so() {
    let mut office = office();
    let alias = DirectoryCommand::DeleteAlias { address: address("ann@example.org") };
    assert_eq!(office.refused(alias), DirectoryRefusal::NotFound("alias ann@example.org".to_owned()));
    let list = DirectoryCommand::DeleteList { address: address("all@example.org") };
    assert_eq!(office.refused(list), DirectoryRefusal::NotFound("list all@example.org".to_owned()));
}

#[test]
fn a_list_is_replaced_and_its_members_count_once() {
    let mut office = office();
    office.list("all@example.org", &["ann@example.org", "ANN@example.org", "bob@example.org"]);
    assert_eq!(office.list_of("all@example.org").unwrap().members.len(), 2);
    office.list("all@example.org", &["bob@example.org"]);
    assert_eq!(office.resolve("all@example.org"), "bob@example.org");
    assert_eq!(
        office.refused(put_list("all@example.org", &["bob@example.org", "x@example.org"])),
        DirectoryRefusal::NotFound("x@example.org".to_owned())
    );
    assert_eq!(
        office.refused(put_list("ann@example.org", &["bob@example.org"])),
        DirectoryRefusal::Exists("ann@example.org".to_owned())
    );
    office.done(DirectoryCommand::DeleteList { address: address("all@example.org") });
    assert_eq!(office.resolve("all@example.org"), "unknown");
}

#[test]
fn loops_are_refused_wherever_they_would_close() {
    let mut office = office();
    office.list("a@example.org", &["ann@example.org"]);
    office.list("b@example.org", &["a@example.org"]);
    office.alias("c@example.org", "b@example.org");
    for members in [["c@example.org"], ["b@example.org"], ["a@example.org"], ["a+x@example.org"], ["c+x@example.org"]] {
        let refusal = office.refused(put_list("a@example.org", &members));
        assert_eq!(refusal, DirectoryRefusal::Loop(address("a@example.org")), "{members:?}");
    }
}

#[test]
fn a_subaddress_cannot_smuggle_a_loop_in() {
    let mut office = office();
    office.list("b@example.org", &["ann+x@example.org"]);
    let refusal = office.refused(create_alias("ann+x@example.org", "b@example.org"));
    assert_eq!(refusal, DirectoryRefusal::Loop(address("ann+x@example.org")));
    office.alias("ann+x@example.org", "bob@example.org");
    assert_eq!(office.resolve("b@example.org"), "bob@example.org", "the address itself goes before its base");
}

#[test]
fn chains_are_bounded_from_both_ends() {
    let mut office = office();
    office.alias("a0@example.org", "ann@example.org");
    for level in 1..ALIAS_DEPTH_MAX {
        office.alias(&format!("a{level}@example.org"), &format!("a{}@example.org", level - 1));
    }
    let last = ALIAS_DEPTH_MAX - 1;
    assert_eq!(office.resolve(&format!("a{last}@example.org")), "ann@example.org");
    let too_deep =
        |refusal| matches!(refusal, DirectoryRefusal::TooMany { limit, .. } if limit == ALIAS_DEPTH_MAX as u64);
    assert!(too_deep(office.refused(create_alias("top@example.org", &format!("a{last}@example.org")))));
    office.list("low@example.org", &["bob@example.org"]);
    office.list("middle@example.org", &["low@example.org"]);
    assert!(too_deep(office.refused(put_list("low@example.org", &[&format!("a{}@example.org", last - 1)]))));
    office.list("low@example.org", &[&format!("a{}@example.org", last - 2)]);
}

#[test]
fn members_are_bounded_with_those_of_nested_lists() {
    let mut office = Office { group: Group::new(0) };
    let mut quiet = |command| match office.group.run(Command::Directory(command)) {
        Reply::Directory(reply) => reply,
        other => panic!("{other:?}"),
    };
    quiet(initialise(1));
    quiet(DirectoryCommand::CreateDomain { tenant: TenantId::new(1), name: name("example.org") });
    quiet(create_account("ann@example.org"));
    let members = |count: usize, prefix: &str| -> Vec<Address> {
        (0..count).map(|n| address(&format!("ann+{prefix}{n}@example.org"))).collect()
    };
    let put = |list: &str, members| DirectoryCommand::PutList(List { address: address(list), owner: None, members });
    let too_many = |reply: &DirectoryReply| matches!(reply, DirectoryReply::Refused(DirectoryRefusal::TooMany { limit, .. }) if *limit == GROUP_MEMBERS_MAX as u64);
    assert!(too_many(&quiet(put("big@example.org", members(GROUP_MEMBERS_MAX + 1, "a")))));
    assert_eq!(quiet(put("big@example.org", members(GROUP_MEMBERS_MAX - 10, "a"))), DirectoryReply::Done);
    assert_eq!(quiet(put("small@example.org", members(5, "b"))), DirectoryReply::Done);
    let both = vec![address("big@example.org"), address("small@example.org")];
    assert_eq!(quiet(put("both@example.org", both)), DirectoryReply::Done);
    assert!(too_many(&quiet(put("small@example.org", members(9, "b")))), "a list above would grow too large");
    assert_eq!(office.resolve("both@example.org"), "ann@example.org/a0");
}
