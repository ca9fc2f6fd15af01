//! Reports about TLS, as the first release with them wrote them.

use securanet_model::{
    Command, DomainName,
    directory::DirectoryCommand,
    tls_report::{TlsCounts, TlsFailure, TlsPolicy, TlsPolicyCounts, TlsPolicyKind, TlsResult, day_of},
};

use super::check;
use crate::harness::START;

/// A report with everything in it, one that was sent, one that is tried again.
fn commands() -> Vec<Command> {
    let (day, by) = (day_of(START), [9; 16]);
    let domain = |text: &str| DomainName::parse(text).unwrap();
    let failure = TlsFailure {
        result: TlsResult::CertificateExpired,
        sending: Some("192.0.2.1".parse().unwrap()),
        host: Some("mx.a.example".to_owned()),
        receiving: Some("2001:db8::1".parse().unwrap()),
        reason: Some("expired".to_owned()),
    };
    let policy = TlsPolicy {
        kind: TlsPolicyKind::Sts,
        strings: vec!["version: STSv1".to_owned()],
        mx: vec!["mx.a.example".to_owned()],
    };
    let counts = |text: &str| TlsCounts {
        day,
        domain: domain(text),
        policies: vec![TlsPolicyCounts {
            policy: policy.clone(),
            successes: 300,
            failures: 2,
            details: vec![(failure.clone(), 2)],
        }],
    };
    let take = |text: &str| DirectoryCommand::TakeTlsReport { day, domain: domain(text), by };
    let settle = |text: &str, again_after| {
        let done = vec!["mailto:x@a.example".to_owned()];
        DirectoryCommand::SettleTlsReport { day, domain: domain(text), by, done, again_after }
    };
    let commands = vec![
        DirectoryCommand::Initialise { cluster: [1; 16], content_key: [2; 32], login_key: [3; 32], shards: 2 },
        DirectoryCommand::CountTls(vec![counts("a.example"), counts("b.example"), counts("c.example")]),
        DirectoryCommand::SendTlsReports { day, domains: vec![domain("b.example"), domain("c.example")] },
        take("b.example"),
        settle("b.example", None),
        take("c.example"),
        settle("c.example", Some(900)),
    ];
    commands.into_iter().map(Command::Directory).collect()
}

#[test]
fn reports_about_tls_are_what_the_first_release_with_them_wrote() {
    check(0, commands(), include_str!("tls_reports.txt"));
}
