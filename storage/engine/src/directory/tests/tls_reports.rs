//! Counts of TLS and the reports made of them: gathered from all gateways, sent once, and forgotten in time.

use securanet_model::{
    UnixMillis,
    request::Topic,
    tls_report::{
        DAY_MILLIS, TLS_DAYS_KEPT, TLS_TEXT_OCTETS_MAX, TlsCounts, TlsPolicy, TlsPolicyCounts, TlsPolicyKind,
        TlsReport, day_of,
    },
};

use super::*;
use crate::harness::START;

const BY: [u8; 16] = [7; 16];

fn counts(day: u32, domain: &str, successes: u64) -> TlsCounts {
    let policy = TlsPolicy { kind: TlsPolicyKind::NoPolicyFound, strings: Vec::new(), mx: Vec::new() };
    let policies = vec![TlsPolicyCounts { policy, successes, failures: 1, details: Vec::new() }];
    TlsCounts { day, domain: name(domain), policies }
}

fn report(office: &Office, day: u32, domain: &str) -> Option<TlsReport> {
    match office.ask(DirectoryQuery::TlsReport { day, domain: name(domain) }) {
        DirectoryAnswer::TlsReport(report) => report.map(|report| *report),
        other => panic!("{other:?}"),
    }
}

fn due(office: &Office) -> Vec<String> {
    match office.ask(DirectoryQuery::TlsReportsDue { now: office.group.clock, rows_max: 10 }) {
        DirectoryAnswer::TlsReportsDue(due) => due.iter().map(|(_, domain)| domain.to_string()).collect(),
        other => panic!("{other:?}"),
    }
}

fn take(day: u32, domain: &str, by: [u8; 16]) -> DirectoryCommand {
    DirectoryCommand::TakeTlsReport { day, domain: name(domain), by }
}

fn settle(day: u32, domain: &str, again_after: Option<u32>) -> DirectoryCommand {
    let done = vec!["mailto:a@far.example".to_owned()];
    DirectoryCommand::SettleTlsReport { day, domain: name(domain), by: BY, done, again_after }
}

/// Four hours after the end of a day.
fn four_hours_after(day: u32) -> UnixMillis {
    UnixMillis::new((u64::from(day) + 1) * DAY_MILLIS + 4 * 3_600_000)
}

#[test]
fn rfc_8460_4_1_a_report_is_due_in_the_four_hours_after_its_day_and_goes_out_once() {
    let mut office = Office::new();
    let day = day_of(START);
    office.done(DirectoryCommand::CountTls(vec![counts(day, "far.example", 2), counts(day, "near.example", 1)]));
    assert!(!office.group.touched.contains(&Topic::Directory), "nobody is woken for what is counted of strangers");
    office.group.clock = UnixMillis::new((u64::from(day) + 1) * DAY_MILLIS + 5 * 60_000 - 1);
    office.done(DirectoryCommand::CountTls(vec![counts(day, "far.example", 3)]));
    assert_eq!(due(&office), Vec::<String>::new(), "the last counts of a day come after it");
    office.refused(take(day, "far.example", BY));
    office.group.clock = four_hours_after(day);
    assert_eq!(due(&office).len(), 2);
    office.done(take(day, "far.example", BY));
    assert_eq!(due(&office), ["near.example"]);
    office.refused(take(day, "far.example", [8; 16]));
    let taken = report(&office, day, "far.example").unwrap();
    assert_eq!((taken.counts.policies[0].successes, taken.counts.policies[0].failures), (5, 2));
    office.done(settle(day, "far.example", None));
    office.group.clock = office.group.clock.plus_millis(DAY_MILLIS / 2);
    assert_eq!(due(&office), ["near.example"]);
    office.refused(settle(day, "far.example", None));
}

#[test]
fn who_dies_or_fails_leaves_a_report_to_the_next_one() {
    let mut office = Office::new();
    let day = day_of(START);
    office.done(DirectoryCommand::CountTls(vec![counts(day, "far.example", 2)]));
    office.group.clock = four_hours_after(day);
    office.done(take(day, "far.example", [8; 16]));
    office.group.clock = office.group.clock.plus_millis(600_000);
    assert_eq!(due(&office), ["far.example"], "who took it is given up after ten minutes");
    office.done(take(day, "far.example", BY));
    office.done(settle(day, "far.example", Some(60)));
    assert_eq!(due(&office), Vec::<String>::new());
    office.group.clock = office.group.clock.plus_millis(60_000);
    assert_eq!(due(&office), ["far.example"]);
    let left = report(&office, day, "far.example").unwrap();
    assert_eq!((left.done.len(), left.serial), (1, 0), "what has arrived is not sent again, under the same id");
}

#[test]
fn an_operator_has_a_report_sent_now_and_the_rest_of_the_day_follows() {
    let mut office = Office::new();
    let day = day_of(START);
    office.done(DirectoryCommand::CountTls(vec![counts(day, "far.example", 2)]));
    let domains = vec![name("far.example"), name("unknown.example")];
    office.done(DirectoryCommand::SendTlsReports { day, domains });
    assert_eq!(due(&office), ["far.example"]);
    office.done(take(day, "far.example", BY));
    office.done(settle(day, "far.example", None));
    office.done(DirectoryCommand::CountTls(vec![counts(day, "far.example", 1)]));
    office.group.clock = four_hours_after(day);
    assert_eq!(due(&office), ["far.example"]);
    assert_eq!(report(&office, day, "far.example").unwrap().serial, 1, "a second report has an id of its own");
}

#[test]
fn counts_are_bounded_and_forgotten() {
    let mut office = Office::new();
    let day = day_of(START);
    let mut long = counts(day, "far.example", 1);
    long.policies[0].policy.mx = vec!["x".repeat(TLS_TEXT_OCTETS_MAX + 1)];
    office.refused(DirectoryCommand::CountTls(vec![long]));
    let of_other_days = vec![counts(day - 2, "far.example", 1), counts(day + 2, "far.example", 1)];
    office.done(DirectoryCommand::CountTls(of_other_days));
    assert_eq!((report(&office, day - 2, "far.example"), report(&office, day + 2, "far.example")), (None, None));
    office.done(DirectoryCommand::CountTls(vec![counts(day, "far.example", 1)]));
    let later = day + TLS_DAYS_KEPT + 1;
    office.group.clock = UnixMillis::new(u64::from(later - 1) * DAY_MILLIS);
    office.done(DirectoryCommand::CountTls(vec![counts(later - 1, "near.example", 1)]));
    assert!(report(&office, day, "far.example").is_some(), "a week is kept");
    office.group.clock = UnixMillis::new(u64::from(later) * DAY_MILLIS);
    office.done(DirectoryCommand::CountTls(vec![counts(later, "near.example", 1)]));
    assert_eq!(report(&office, day, "far.example"), None);
}
