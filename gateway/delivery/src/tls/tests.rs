//! What the DNS says of TLS, or cannot say: which hosts are left, and what is counted for TLS reports.

use std::{sync::Arc, time::Duration};

use crate::{
    dns::{
        Dns, DnsSettings,
        tests::{
            server::{Answer, Server},
            settings,
            signer::Signer,
        },
    },
    route::{Hop, RouteFailure, Router, TlsDemand},
    tls::policy::Policies,
    tls_report::Tally,
};

/// A signed world.
struct World {
    _server: Server,
    _anchor: tempfile::NamedTempFile,
    router: Router,
    tally: Arc<Tally>,
}

const DANE: &str = "[[routes]]\nname = \"dane\"\nrecipient_domains = [\"*\"]\ntls = \"dane\"";
const VERIFIED: &str = "[[routes]]\nname = \"pkix\"\nrecipient_domains = [\"*\"]\ntls = \"verified\"";

fn good() -> String {
    format!("TLSA 3 1 1 {}", "0".repeat(64))
}

/// PKIX-EE: nothing for SMTP.
fn useless() -> String {
    format!("TLSA 1 1 1 {}", "0".repeat(64))
}

impl World {
    /// `mx` is the answer for the mail hosts of far.test, a.far.test and b.far.test; `tlsa` that for the first.
    async fn new(routes: &str, mx: Answer, tlsa: Answer, address: Answer) -> Self {
        let server = Server::start().await;
        let (signer, anchor) = Signer::new();
        server.signs(signer);
        for (question, answer) in [
            ("far.test MX", mx),
            ("a.far.test A", address),
            ("b.far.test A", Answer::records(&["A 192.0.2.2"])),
            ("_25._tcp.a.far.test TLSA", tlsa),
            ("unsigned.test NS", Answer::records(&["NS ns.unsigned.test."])),
            ("mx.unsigned.test A", Answer::records(&["A 192.0.2.3"])),
        ] {
            server.says(question, answer);
        }
        let trust_anchor = Some(anchor.path().to_owned());
        let timeout = Duration::from_secs(2);
        let dns = DnsSettings { dnssec: true, trust_anchor, timeout, ..settings(&[&server]) };
        let tally = Arc::new(Tally::default());
        let policies = Policies::new(true).with_tally(Some(tally.clone()));
        let router = Router::new(toml::from_str(routes).unwrap(), Dns::new(&dns).unwrap(), policies).unwrap();
        Self { _server: server, _anchor: anchor, router, tally }
    }

    /// `policy result host`, each as often as it was counted.
    fn counted(&self) -> Vec<String> {
        let mut all = Vec::new();
        for policy in self.tally.take().into_iter().flat_map(|counts| counts.policies) {
            assert_eq!(policy.successes, 0);
            for (failure, count) in policy.details {
                let host = failure.host.unwrap_or_default();
                let told = format!("{} {} {host}", policy.policy.kind.name(), failure.result.name());
                all.extend((0..count).map(|_| told.trim_end().to_owned()));
            }
        }
        all.sort();
        all
    }
}

fn names(found: &Result<Vec<Hop>, RouteFailure>) -> Vec<&str> {
    found.iter().flatten().map(|hop| hop.name.as_str()).collect()
}

fn records(records: &[&str]) -> Answer {
    Answer::records(records)
}

#[tokio::test]
async fn rfc_8460_4_3_2_1_what_is_wrong_with_dane_before_there_is_a_session_is_counted() {
    let (both, one) = (["MX 10 a.far.test.", "MX 20 b.far.test."], ["MX 10 a.far.test."]);
    let unsigned = ["MX 10 mx.unsigned.test."];
    let (address, empty) = (["A 192.0.2.1"], [""; 0]);
    type Case<'a> = (&'a str, Answer, Answer, Answer, &'a [&'a str], &'a [&'a str]);
    let cases: Vec<Case<'_>> = vec![
        // Routes, MX, TLSA of a, address of a; which hosts are left, what is counted.
        ("", records(&both), records(&[&good()]), records(&address), &["a.far.test", "b.far.test"], &[]),
        (
            "",
            records(&both),
            Answer::forged(&[&good()]),
            records(&address),
            &["b.far.test"],
            &["tlsa dnssec-invalid a.far.test"],
        ),
        (
            "",
            records(&both),
            records(&[&good()]),
            Answer::forged(&address),
            &["b.far.test"],
            &["tlsa dnssec-invalid a.far.test"],
        ),
        ("", Answer::forged(&both), records(&[&good()]), records(&address), &[], &["tlsa dnssec-invalid"]),
        // A session with it will say that no record can be used.
        ("", records(&one), records(&[&useless()]), records(&address), &["a.far.test"], &[]),
        (
            DANE,
            records(&both),
            records(&[&good()]),
            records(&address),
            &["a.far.test"],
            &["tlsa dane-required b.far.test"],
        ),
        (DANE, records(&one), records(&empty), records(&address), &[], &["tlsa dane-required a.far.test"]),
        (DANE, records(&unsigned), records(&empty), records(&address), &[], &["tlsa dane-required mx.unsigned.test"]),
        (DANE, records(&one), records(&[&useless()]), records(&address), &[], &["tlsa tlsa-invalid a.far.test"]),
        // Where a route says something else, nobody's policy is applied.
        (VERIFIED, records(&one), Answer::forged(&[&good()]), records(&address), &["a.far.test"], &[]),
    ];
    for (at, (routes, mx, tlsa, address, left, counted)) in cases.into_iter().enumerate() {
        let world = World::new(routes, mx, tlsa, address).await;
        let found = world.router.route("far.test", false).await;
        assert_eq!(names(&found), left, "case {at}: {found:?}");
        assert_eq!(world.counted(), counted, "case {at}");
    }
}

#[tokio::test]
async fn sessions_under_dane_that_a_route_demands_are_counted_for_the_destination() {
    let world = World::new(DANE, records(&["MX 10 a.far.test."]), records(&[&good()]), records(&["A 192.0.2.1"])).await;
    let found = world.router.route("far.test", false).await.unwrap();
    assert!(matches!(&found[0].tls, TlsDemand::Dane { records, .. } if records.len() == 1));
    found[0].tls_subject.as_ref().unwrap().succeeded("a.far.test", (None, None));
    assert_eq!(world.tally.take()[0].policies[0].successes, 1);
}

#[tokio::test]
async fn rfc_8460_3_for_a_report_the_destinations_demands_are_neither_kept_to_nor_counted() {
    let both = ["MX 10 a.far.test.", "MX 20 b.far.test."];
    for tlsa in [records(&[&good()]), records(&[&useless()]), Answer::forged(&[&good()])] {
        let world = World::new("", records(&both), tlsa, records(&["A 192.0.2.1"])).await;
        let found = world.router.route_for_tls_report("far.test", false).await;
        assert_eq!(names(&found), ["a.far.test", "b.far.test"]);
        for hop in found.unwrap() {
            assert_eq!(hop.tls, TlsDemand::Opportunistic);
            assert!(hop.tls_subject.is_none());
        }
        assert_eq!(world.counted(), [""; 0]);
    }
    // The operator's own word stands.
    let world = World::new(VERIFIED, records(&both), records(&[&good()]), records(&["A 192.0.2.1"])).await;
    let found = world.router.route_for_tls_report("far.test", false).await.unwrap();
    assert!(found.iter().all(|hop| hop.tls == TlsDemand::Verified(vec![hop.name.clone()])));
}

#[tokio::test]
async fn rfc_8689_2_what_requires_tls_goes_only_to_hosts_that_are_proved_to_be_the_destinations() {
    let named = "[[routes]]\nname = \"named\"\nrecipient_domains = [\"*\"]\ncertificate_names = [\"x.test\"]";
    let smart = "[[routes]]\nname = \"smart\"\nrecipient_domains = [\"*\"]\nhosts = [\"[192.0.2.7]\"]";
    let cases = [
        ("", "far.test", true, "DNSSEC proves it"),
        ("", "unsigned.test", false, "the DNS alone says so"),
        ("", "mx.unsigned.test", true, "it is the domain itself"),
        (VERIFIED, "unsigned.test", false, "a certificate for a name that anybody may have chosen"),
        (named, "unsigned.test", true, "the operator named it"),
        (smart, "unsigned.test", true, "the operator named it"),
    ];
    for (routes, destination, expected, why) in cases {
        let mx = records(&["MX 10 a.far.test."]);
        let world = World::new(routes, mx.clone(), records(&[&good()]), records(&["A 192.0.2.1"])).await;
        world._server.says("unsigned.test MX", mx);
        let found = world.router.route(destination, false).await.unwrap();
        assert_eq!(found[0].clone().requiring_tls().is_some(), expected, "{routes} {destination}: {why}");
    }
}
