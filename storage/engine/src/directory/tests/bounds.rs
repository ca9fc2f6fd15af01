//! How many an address may lead to, and what is said past that.

use securanet_model::limits::{ALIAS_DEPTH_MAX, GROUP_MEMBERS_MAX};

use super::*;

/// Runs a command without looking at every invariant behind it: there are many.
fn quiet(office: &mut Office, command: DirectoryCommand) -> DirectoryReply {
    match office.group.run(Command::Directory(command)) {
        Reply::Directory(reply) => reply,
        other => panic!("{other:?}"),
    }
}

fn many(count: usize, of: impl Fn(usize) -> String) -> Vec<Address> {
    (0..count).map(|n| address(&of(n))).collect()
}

fn put(list: &str, members: Vec<Address>) -> DirectoryCommand {
    DirectoryCommand::PutListAnywhere(List { address: address(list), owner: None, members })
}

fn is_too_many(reply: &DirectoryReply) -> bool {
    let DirectoryReply::Refused(DirectoryRefusal::TooMany { limit, .. }) = reply else { return false };
    *limit == GROUP_MEMBERS_MAX as u64
}

fn resolved(office: &Office, text: &str) -> Resolution {
    match office.ask(DirectoryQuery::Resolve(address(text))) {
        DirectoryAnswer::Resolution(resolution) => resolution,
        other => panic!("{other:?}"),
    }
}

#[test]
fn aliases_on_the_way_take_no_members_place() {
    let (mut office, behind_aliases) = (Office::new(), 20);
    let ann = office.account("ann@example.org");
    let mut members = many(GROUP_MEMBERS_MAX - behind_aliases, |n| format!("ann+{n}@example.org"));
    for n in 0..behind_aliases {
        office.alias(&format!("a{n}.0@example.org"), &format!("x{n}@else.example"));
        for level in 1..ALIAS_DEPTH_MAX - 1 {
            office.alias(&format!("a{n}.{level}@example.org"), &format!("a{n}.{}@example.org", level - 1));
        }
        members.push(address(&format!("a{n}.{}@example.org", ALIAS_DEPTH_MAX - 2)));
    }
    assert_eq!(quiet(&mut office, put("all@example.org", members)), DirectoryReply::Done);
    let Resolution::Local(found) = resolved(&office, "all@example.org") else { panic!("it leads somewhere") };
    assert_eq!((found.accounts[0].account, found.accounts.len()), (ann.id, 1));
    assert_eq!(found.onward.len(), behind_aliases, "the last of them too");
}

#[test]
fn past_the_bound_nobody_is_left_out_in_silence() {
    let mut office = Office::new();
    let mut members = many(GROUP_MEMBERS_MAX - 2, |n| format!("x{n}@else.example"));
    members.push(address("late@home.example"));
    assert_eq!(quiet(&mut office, put("all@example.org", members)), DirectoryReply::Done);
    office.alias("postmaster@example.org", "all@example.org");
    office.account("ann@example.org");
    office.list("two@example.org", &["one@more.example", "two@more.example"]);
    office.list("three@example.org", &["two@example.org", "three@more.example"]);
    // Nothing that a command could look at names both lists: the members' domain becomes ours, with a catch-all.
    office.domain("home.example");
    office.catch_all("home.example", Some("two@example.org"));
    let Resolution::Local(found) = resolved(&office, "all@example.org") else { panic!("there is room for two") };
    assert_eq!(found.onward.len(), GROUP_MEMBERS_MAX);
    office.catch_all("home.example", Some("three@example.org"));
    let at_three = Resolution::TooMany(address("three@example.org"));
    assert_eq!(resolved(&office, "all@example.org"), at_three);
    assert_eq!(resolved(&office, "postmaster@example.org"), at_three, "not somebody else's in silence");
    assert_eq!(office.ask(DirectoryQuery::ResolvePostmaster), DirectoryAnswer::Resolution(at_three));
    office.catch_all("home.example", None);
    assert!(matches!(resolved(&office, "all@example.org"), Resolution::Local(_)), "put right, it leads on");
}

#[test]
fn a_chain_of_catch_alls_is_too_deep_and_says_so() {
    let mut office = Office::new();
    let end = ALIAS_DEPTH_MAX + 1;
    for n in 0..end {
        office.alias(&format!("a{n}@example.org"), &format!("x@d{n}.example"));
    }
    office.account("ann@example.org");
    for n in 0..end {
        office.domain(&format!("d{n}.example"));
        let next = if n + 1 == end { "ann@example.org".to_owned() } else { format!("a{}@example.org", n + 1) };
        office.catch_all(&format!("d{n}.example"), Some(&next));
    }
    assert_eq!(office.resolve("a1@example.org"), "ann@example.org");
    assert_eq!(resolved(&office, "a0@example.org"), Resolution::TooMany(address("a16@example.org")));
}

#[test]
fn a_list_does_not_grow_past_what_those_who_forward_to_it_may_lead_to() {
    let mut office = Office::new();
    let ann = office.account("ann@example.org");
    for list in ["one@example.org", "two@example.org"] {
        let members = many(GROUP_MEMBERS_MAX / 2 - 2, |n| format!("{}{n}@else.example", &list[..3]));
        assert_eq!(quiet(&mut office, put(list, members)), DirectoryReply::Done);
    }
    assert_eq!(quiet(&mut office, forward(&ann, &["one@example.org", "two@example.org"], true)), DirectoryReply::Done);
    let grown = put("two@example.org", many(GROUP_MEMBERS_MAX / 2 + 1, |n| format!("two{n}@else.example")));
    assert!(is_too_many(&quiet(&mut office, grown.clone())), "whoever writes to ann would reach too many");
    quiet(&mut office, DirectoryCommand::SetForwarding { account: ann.id, forwarding: None });
    assert_eq!(quiet(&mut office, grown), DirectoryReply::Done);
}
