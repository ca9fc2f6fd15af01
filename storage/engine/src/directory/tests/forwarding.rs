//! Forwarding of accounts, and aliases and lists that lead outside.

use securanet_model::{
    directory::{Onward, Page},
    limits::{ALIAS_DEPTH_MAX, FORWARDING_TARGETS_MAX},
};

use super::*;

fn forwarding_of(office: &Office, account: &Account) -> Option<Forwarding> {
    match office.ask(DirectoryQuery::Forwarding(account.id)) {
        DirectoryAnswer::Forwarding(forwarding) => forwarding,
        other => panic!("{other:?}"),
    }
}

fn onward(office: &Office, text: &str) -> Vec<Onward> {
    match office.ask(DirectoryQuery::Resolve(address(text))) {
        DirectoryAnswer::Resolution(Resolution::Local(found)) => found.onward,
        other => panic!("{other:?}"),
    }
}

/// ann forwards outside and keeps a copy, bob forwards to carl and outside and keeps none.
fn office() -> (Office, [Account; 3]) {
    let mut office = Office::new();
    let accounts = ["ann", "bob", "carl"].map(|local| office.account(&format!("{local}@example.org")));
    office.done(forward(&accounts[0], &["ann@home.example"], true));
    office.done(forward(&accounts[1], &["carl@example.org", "Bob@Home.Example", "bob@home.example"], false));
    (office, accounts)
}

#[test]
fn an_account_sends_on_with_or_without_a_copy() {
    let (mut office, [ann, bob, carl]) = office();
    assert_eq!(office.resolve("ann@example.org"), "ann@example.org ann>ann@home.example");
    assert_eq!(office.resolve("ann+work@example.org"), "ann@example.org/work ann>ann@home.example");
    assert_eq!(office.resolve("bob+work@example.org"), "carl@example.org bob>Bob@home.example");
    let [sent] = onward(&office, "ann@example.org").try_into().unwrap();
    assert_eq!((sent.group, sent.tenant, &sent.by), (ann.group, ann.tenant, &ann.address));
    assert!(!sent.through_list && sent.list_owner.is_none());
    assert_eq!(forwarding_of(&office, &bob).unwrap().to.len(), 2, "named twice is named once");
    office.suspend(&carl, AccountStatus::Suspended);
    assert_eq!(office.resolve("bob@example.org"), "bob>Bob@home.example");
    office.suspend(&bob, AccountStatus::Suspended);
    assert_eq!(office.resolve("bob@example.org"), "suspended", "who is suspended sends nothing on");
    office.done(DirectoryCommand::SetForwarding { account: ann.id, forwarding: None });
    assert_eq!((office.resolve("ann@example.org"), forwarding_of(&office, &ann)), ("ann@example.org".to_owned(), None));
}

#[test]
fn aliases_and_lists_lead_outside() {
    let (mut office, _) = office();
    office.alias("x@example.org", "x@else.example");
    office.alias("y@example.org", "ann@example.org");
    office.list("all@example.org", &["x@example.org", "y@example.org", "z@else.example", "carl@example.org"]);
    assert_eq!(office.resolve("x@example.org"), "x>x@else.example");
    assert_eq!(office.resolve("y@example.org"), "ann@example.org ann>ann@home.example");
    let all = "ann@example.org carl@example.org all>x@else.example all>ann@home.example all>z@else.example";
    assert_eq!(office.resolve("all@example.org"), all);
    assert_eq!(office.credentials("x@example.org"), None, "nobody logs in with an address that is not here");
}

#[test]
fn rfc_5321_3_9_2_a_lists_owner_is_the_sender_of_all_that_it_leads_to() {
    let (mut office, _) = office();
    let list = |office: &mut Office, list: &str, owner: Option<&str>, members: &[&str]| {
        let members = members.iter().map(|member| address(member)).collect();
        let list = List { address: address(list), owner: owner.map(address), members };
        office.run(DirectoryCommand::PutListAnywhere(list))
    };
    list(&mut office, "inner@example.org", None, &["ann@example.org"]);
    list(&mut office, "own@example.org", Some("bob@example.org"), &["carl@example.org", "o@else.example"]);
    list(&mut office, "all@example.org", Some("carl@example.org"), &["inner@example.org", "own@example.org"]);
    let DirectoryAnswer::Resolution(Resolution::Local(found)) =
        office.ask(DirectoryQuery::Resolve(address("all@example.org")))
    else {
        panic!("all leads somewhere")
    };
    let owner = |owner: &Option<Address>| owner.as_ref().map(|owner| owner.local().to_owned()).unwrap();
    let local: Vec<_> =
        found.accounts.iter().map(|to| format!("{} {}", to.address.local(), owner(&to.list_owner))).collect();
    let sent: Vec<_> =
        found.onward.iter().map(|to| format!("{} {} {}", to.address, to.by.local(), owner(&to.list_owner))).collect();
    assert_eq!(local, ["ann carl", "carl bob"], "the innermost list that has one");
    assert_eq!(sent, ["ann@home.example inner carl", "o@else.example own bob"]);
    assert!(found.onward.iter().all(|to| to.through_list));
    let outside = list(&mut office, "bad@example.org", Some("o@else.example"), &[]);
    assert_eq!(outside, DirectoryReply::Refused(DirectoryRefusal::Outside(address("o@else.example"))));
}

#[test]
fn the_commands_of_the_first_release_mean_what_they_meant() {
    let mut office = Office::new();
    let outside = DirectoryRefusal::Outside(address("x@else.example"));
    let alias = Alias { address: address("x@example.org"), target: address("x@else.example") };
    assert_eq!(office.refused(DirectoryCommand::CreateAlias(alias)), outside);
    let list = List { address: address("l@example.org"), owner: None, members: vec![address("x@else.example")] };
    assert_eq!(office.refused(DirectoryCommand::PutList(list)), outside);
}

#[test]
fn what_would_lead_back_is_refused() {
    let (mut office, [ann, bob, carl]) = office();
    let back = |account: &Account| DirectoryRefusal::Loop(account.address.clone());
    assert_eq!(office.refused(forward(&ann, &["ann@example.org"], true)), back(&ann));
    assert_eq!(office.refused(forward(&ann, &["ann+x@example.org"], true)), back(&ann));
    assert_eq!(office.refused(forward(&carl, &["bob@example.org"], true)), back(&carl));
    office.list("all@example.org", &["bob@example.org"]);
    office.alias("a@example.org", "all@example.org");
    assert_eq!(office.refused(forward(&carl, &["x@else.example", "a@example.org"], false)), back(&carl));
    assert_eq!(forwarding_of(&office, &carl), None);
    assert!(forwarding_of(&office, &bob).is_some());
}

#[test]
fn a_forwarding_has_bounds() {
    let (mut office, [ann, ..]) = office();
    let many: Vec<String> = (0..=FORWARDING_TARGETS_MAX).map(|n| format!("x{n}@else.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert!(matches!(office.refused(forward(&ann, &many, true)), DirectoryRefusal::TooMany { limit: 20, .. }));
    office.done(forward(&ann, &many[1..], true));
    assert!(matches!(office.refused(forward(&ann, &[], true)), DirectoryRefusal::Invalid(_)));
    let gone = DirectoryRefusal::NotFound("nobody@example.org".to_owned());
    assert_eq!(office.refused(forward(&ann, &["nobody@example.org"], true)), gone);
    let nobody = Account { id: securanet_model::AccountId::new(99), ..ann };
    assert!(matches!(office.refused(forward(&nobody, &["x@else.example"], true)), DirectoryRefusal::NotFound(_)));
    // A chain of forwardings is as deep as aliases may be.
    let chain: Vec<Account> = (0..=ALIAS_DEPTH_MAX).map(|n| office.account(&format!("c{n}@example.org"))).collect();
    for pair in chain.windows(2).rev() {
        office.done(forward(&pair[0], &[&pair[1].address.to_string()], false));
    }
    let last = &chain[ALIAS_DEPTH_MAX];
    assert_eq!(office.resolve("c0@example.org"), last.address.to_string());
    let end = office.account("end@example.org");
    let deeper = forward(last, &[&end.address.to_string()], false);
    assert!(matches!(office.refused(deeper), DirectoryRefusal::TooMany { limit: 16, .. }));
}

#[test]
fn what_goes_is_not_forwarded_to_any_more() {
    let (mut office, [_, bob, carl]) = office();
    office.done(DirectoryCommand::DeleteAccount { account: carl.id });
    assert_eq!(office.resolve("bob@example.org"), "bob>Bob@home.example");
    let dora = office.account("dora@example.org");
    office.done(forward(&bob, &["dora@example.org"], false));
    office.done(DirectoryCommand::DeleteAccount { account: dora.id });
    assert_eq!((forwarding_of(&office, &bob), office.resolve("bob@example.org")), (None, "bob@example.org".to_owned()));
    office.done(forward(&bob, &["x@else.example"], false));
    office.done(DirectoryCommand::DeleteAccount { account: bob.id });
    let again = office.account("bob@example.org");
    assert_eq!(forwarding_of(&office, &again), None, "whoever is given a freed address forwards nothing");
}

#[test]
fn a_domain_that_becomes_ours_later_breaks_nothing() {
    let (mut office, [_, bob, _]) = office();
    office.domain("home.example");
    assert_eq!(office.resolve("ann@example.org"), "ann@example.org", "nobody is there yet");
    office.catch_all("home.example", Some("carl@example.org"));
    assert_eq!(office.resolve("ann@example.org"), "ann@example.org carl@example.org");
    let there = office.account("bob@home.example");
    assert_eq!(office.resolve("bob@example.org"), "carl@example.org bob@home.example");
    let back = DirectoryRefusal::Loop(there.address.clone());
    assert_eq!(office.refused(forward(&there, &["bob@example.org"], true)), back);
    assert!(matches!(office.refused(create_alias("ann@home.example", "ann@example.org")), DirectoryRefusal::Loop(_)));
    office.done(DirectoryCommand::DeleteAccount { account: there.id });
    let left: Vec<String> = forwarding_of(&office, &bob).unwrap().to.iter().map(ToString::to_string).collect();
    assert_eq!(left, ["carl@example.org"]);
}

#[test]
fn forwardings_are_listed_a_page_at_a_time() {
    let (office, [ann, bob, _]) = office();
    let page = |after: Option<&Account>| {
        let after = after.map(|account| account.id.to_string());
        match office.ask(DirectoryQuery::Forwardings(Page { after, rows_max: 1 })) {
            DirectoryAnswer::Forwardings(rows) => rows.into_iter().map(|(account, _)| account.id).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((page(None), page(Some(&ann)), page(Some(&bob))), (vec![ann.id], vec![bob.id], vec![]));
}
