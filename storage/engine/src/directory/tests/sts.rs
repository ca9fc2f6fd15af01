//! MTA-STS policies of strangers: the one fetched last is kept, and none longer than it lives.

use securanet_model::{
    UnixMillis,
    request::Topic,
    sts::{STS_POLICY_OCTETS_MAX, StsPolicyRow},
};

use super::*;
use crate::harness::START;

fn policy(domain: &str, id: &str, fetched: UnixMillis) -> StsPolicyRow {
    let text = format!("policy {id} of {domain}");
    StsPolicyRow { domain: name(domain), id: id.to_owned(), text, fetched, max_age_seconds: 60 }
}

fn kept(office: &Office, domain: &str) -> Option<String> {
    match office.ask(DirectoryQuery::StsPolicy(name(domain))) {
        DirectoryAnswer::StsPolicy(policy) => policy.map(|policy| policy.id),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_policy_that_was_fetched_last_is_kept() {
    let mut office = Office::new();
    office.group.clock = START.plus_millis(10_000);
    office.done(DirectoryCommand::PutStsPolicy(policy("far.example", "b", START.plus_millis(2000))));
    assert!(!office.group.touched.contains(&Topic::Directory), "nobody is woken for what strangers publish");
    office.done(DirectoryCommand::PutStsPolicy(policy("far.example", "a", START.plus_millis(1000))));
    assert_eq!(kept(&office, "far.example").as_deref(), Some("b"), "a gateway that was slow");
    office.done(DirectoryCommand::PutStsPolicy(policy("far.example", "c", START.plus_millis(1_000_000))));
    office.done(DirectoryCommand::PutStsPolicy(policy("far.example", "d", START.plus_millis(10_000))));
    assert_eq!(kept(&office, "far.example").as_deref(), Some("d"), "a clock that was fast does not win for ever");
    assert_eq!(kept(&office, "other.example"), None);
}

#[test]
fn what_has_ended_is_forgotten_with_the_next_one() {
    let mut office = Office::new();
    office.done(DirectoryCommand::PutStsPolicy(policy("far.example", "1", START)));
    office.group.clock = START.plus_millis(59_999);
    office.done(DirectoryCommand::PutStsPolicy(policy("near.example", "1", office.group.clock)));
    assert!(kept(&office, "far.example").is_some());
    office.group.clock = START.plus_millis(60_000);
    office.done(DirectoryCommand::PutStsPolicy(policy("third.example", "1", office.group.clock)));
    assert_eq!((kept(&office, "far.example"), kept(&office, "near.example")), (None, Some("1".to_owned())));
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let mut office = Office::new();
    let good = policy("far.example", "1", START);
    for bad in [
        StsPolicyRow { id: String::new(), ..good.clone() },
        StsPolicyRow { id: "a b".to_owned(), ..good.clone() },
        StsPolicyRow { id: "1".repeat(33), ..good.clone() },
        StsPolicyRow { text: "x".repeat(STS_POLICY_OCTETS_MAX + 1), ..good.clone() },
        StsPolicyRow { max_age_seconds: u32::MAX, ..good.clone() },
    ] {
        let refusal = office.refused(DirectoryCommand::PutStsPolicy(bad));
        assert!(matches!(refusal, DirectoryRefusal::Invalid(_)), "{refusal:?}");
    }
}
