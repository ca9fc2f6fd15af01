//! DNS as it is and as it fails, against a server of our own on loopback.

pub(crate) mod server;
pub(crate) mod signer;

use std::time::Duration;

use hickory_resolver::proto::op::ResponseCode;
use securanet_gateway::model::DomainName;
use server::{Answer, Server};
use signer::Signer;

use super::*;

pub(crate) fn settings(servers: &[&Server]) -> DnsSettings {
    DnsSettings {
        servers: servers.iter().map(|server| server.address()).collect(),
        timeout: Duration::from_millis(400),
        control_names: vec![".".to_owned()],
        ..DnsSettings::default()
    }
}

fn domain(name: &str) -> DomainName {
    DomainName::parse(name).unwrap()
}

async fn with(answers: &[(&str, Answer)]) -> (Server, Dns) {
    let server = Server::start().await;
    server.says(". SOA", Answer::records(&["SOA a. b. 1 2 3 4 5"]));
    answers.iter().for_each(|(question, answer)| server.says(question, answer.clone()));
    let dns = Dns::new(&settings(&[&server])).unwrap();
    (server, dns)
}

fn hosts(found: &MailHosts) -> Vec<(u16, &str, Vec<String>)> {
    let addresses = |host: &MailHost| host.addresses.addresses.iter().map(ToString::to_string).collect();
    found.hosts.iter().map(|host| (host.preference, host.name.as_str(), addresses(host))).collect()
}

#[tokio::test]
async fn rfc_5321_5_1_mail_hosts_come_with_their_addresses() {
    let (_server, dns) = with(&[
        ("example.test MX", Answer::records(&["MX 20 B.example.test.", "MX 10 a.example.test.", "MX 30 gone.test."])),
        ("a.example.test A", Answer::records(&["A 192.0.2.1", "A 192.0.2.2"])),
        ("a.example.test AAAA", Answer::records(&["AAAA 2001:db8::1"])),
        ("b.example.test A", Answer::records(&["A 192.0.2.3"])),
    ])
    .await;
    let found = dns.mail_hosts(&domain("Example.TEST"), false).await.unwrap();
    let in_turn = ["2001:db8::1", "192.0.2.1", "192.0.2.2"].map(str::to_owned).to_vec();
    let second = vec!["192.0.2.3".to_owned()];
    let expected = vec![(10, "a.example.test", in_turn), (20, "b.example.test", second), (30, "gone.test", Vec::new())];
    assert_eq!(hosts(&found), expected);
    assert!(!found.implicit && !found.secure);
}

#[tokio::test]
async fn rfc_5321_5_1_a_domain_without_mx_is_its_own_host() {
    let (_server, dns) = with(&[("example.test A", Answer::records(&["A 192.0.2.1"]))]).await;
    let found = dns.mail_hosts(&domain("example.test"), false).await.unwrap();
    assert_eq!(hosts(&found), vec![(0, "example.test", vec!["192.0.2.1".to_owned()])]);
    assert!(found.implicit);
}

#[tokio::test]
async fn rfc_5891_a_name_of_any_script_is_asked_for_by_its_a_labels() {
    let (_server, dns) = with(&[("xn--bcher-kva.test A", Answer::records(&["A 192.0.2.1"]))]).await;
    let found = dns.mail_hosts(&domain("BÜCHER.test"), false).await.unwrap();
    assert_eq!(found.hosts[0].name, "xn--bcher-kva.test");
}

#[tokio::test]
async fn rfc_7505_3_null_mx_says_that_no_mail_is_taken() {
    let (_server, dns) = with(&[
        ("null.test MX", Answer::records(&["MX 0 ."])),
        ("null.test A", Answer::records(&["A 192.0.2.1"])),
        ("both.test MX", Answer::records(&["MX 0 .", "MX 10 mx.test."])),
        ("mx.test A", Answer::records(&["A 192.0.2.1"])),
    ])
    .await;
    assert_eq!(dns.mail_hosts(&domain("null.test"), false).await, Err(DnsFailure::NullMx("null.test".to_owned())));
    assert_eq!(dns.mail_hosts(&domain("both.test"), false).await.unwrap().hosts[0].name, "mx.test");
}

#[tokio::test]
async fn each_absence_and_each_failure_has_its_class() {
    let (_server, dns) = with(&[
        ("gone.test MX", Answer::Code(ResponseCode::NXDomain)),
        ("gone.test A", Answer::Code(ResponseCode::NXDomain)),
        ("dangling.test MX", Answer::records(&["MX 10 gone.test.", "MX 20 192.0.2.1."])),
        ("failing.test MX", Answer::Code(ResponseCode::ServFail)),
        ("refused.test MX", Answer::Code(ResponseCode::Refused)),
        ("silent.test MX", Answer::Silence),
        ("halfway.test MX", Answer::records(&["MX 10 failing.test."])),
        ("failing.test A", Answer::Code(ResponseCode::ServFail)),
        ("failing.test AAAA", Answer::Code(ResponseCode::ServFail)),
        ("broken6.test A", Answer::records(&["A 192.0.2.1"])),
        ("broken6.test AAAA", Answer::Code(ResponseCode::ServFail)),
    ])
    .await;
    let ask = async |name: &str| dns.mail_hosts(&domain(name), false).await;
    assert_eq!(ask("gone.test").await, Err(DnsFailure::NoSuchDomain("gone.test".to_owned())));
    assert_eq!(ask("empty.test").await, Err(DnsFailure::NoMailHost("empty.test".to_owned())));
    assert_eq!(ask("dangling.test").await, Err(DnsFailure::NoMailHost("dangling.test".to_owned())));
    for name in ["failing.test", "refused.test", "silent.test", "halfway.test"] {
        let failure = ask(name).await.unwrap_err();
        assert!(matches!(failure, DnsFailure::Temporary { .. }), "{name}: {failure}");
    }
    // A server that cannot answer for AAAA is common, and no reason to lose mail.
    assert_eq!(ask("broken6.test").await.unwrap().hosts.len(), 1);
}

#[tokio::test]
async fn a_resolver_that_answers_nothing_is_our_fault() {
    let server = Server::start().await;
    server.is_dead();
    let dns = Dns::new(&settings(&[&server])).unwrap();
    let failure = dns.mail_hosts(&domain("example.test"), false).await.unwrap_err();
    assert!(matches!(failure, DnsFailure::ResolverDead(_)), "{failure}");
    // Nothing of it is remembered once it lives again.
    server.lives();
    server.says("example.test A", Answer::records(&["A 192.0.2.1"]));
    assert!(dns.mail_hosts(&domain("example.test"), false).await.is_ok());
}

#[tokio::test]
async fn a_resolver_whose_own_uplink_is_dead_or_that_refuses_us_is_our_fault() {
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        let server = Server::start().await;
        for question in [". SOA", "example.test MX"] {
            server.says(question, Answer::Code(code));
        }
        let dns = Dns::new(&settings(&[&server])).unwrap();
        let failure = dns.mail_hosts(&domain("example.test"), false).await.unwrap_err();
        assert!(matches!(failure, DnsFailure::ResolverDead(_)), "{code}: {failure}");
    }
}

#[tokio::test]
async fn a_server_for_some_zones_only_tells_their_failures() {
    let server = Server::start().await;
    server.says(". SOA", Answer::Code(ResponseCode::Refused));
    server.says("example.test MX", Answer::Code(ResponseCode::ServFail));
    let dns = Dns::new(&settings(&[&server])).unwrap();
    let failure = dns.mail_hosts(&domain("example.test"), false).await.unwrap_err();
    assert!(matches!(failure, DnsFailure::Temporary { .. }), "{failure}");
}

#[tokio::test]
async fn the_second_server_is_asked_when_the_first_is_dead_or_broken() {
    let (dead, broken, good) = (Server::start().await, Server::start().await, Server::start().await);
    dead.is_dead();
    broken.says("example.test A", Answer::Code(ResponseCode::ServFail));
    broken.says("example.test AAAA", Answer::Code(ResponseCode::ServFail));
    good.says("example.test A", Answer::records(&["A 192.0.2.1"]));
    for first in [&dead, &broken] {
        let dns = Dns::new(&settings(&[first, &good])).unwrap();
        assert_eq!(dns.addresses("example.test").await, Ok(vec!["192.0.2.1".parse().unwrap()]));
    }
}

#[tokio::test]
async fn rfc_1035_4_2_1_a_truncated_answer_is_asked_for_again_by_tcp() {
    let (server, dns) = with(&[("example.test A", Answer::records(&["A 192.0.2.1"]))]).await;
    server.truncates_udp();
    assert_eq!(dns.addresses("example.test").await, Ok(vec!["192.0.2.1".parse().unwrap()]));
}

#[tokio::test]
async fn answers_and_absences_are_remembered_and_a_fresh_question_passes_by_absences_only() {
    let (server, dns) = with(&[
        ("new.test MX", Answer::Code(ResponseCode::NXDomain)),
        ("old.test MX", Answer::records(&["MX 10 mx.test."])),
        ("mx.test A", Answer::records(&["A 192.0.2.1"])),
    ])
    .await;
    for _ in 0..3 {
        assert!(dns.mail_hosts(&domain("new.test"), false).await.is_err());
        assert!(dns.mail_hosts(&domain("old.test"), true).await.is_ok());
    }
    assert_eq!((server.asked("new.test MX"), server.asked("old.test MX")), (1, 1));
    server.says("new.test MX", Answer::records(&["MX 10 mx.test."]));
    assert!(dns.mail_hosts(&domain("new.test"), false).await.is_err(), "remembered");
    assert!(dns.mail_hosts(&domain("new.test"), true).await.is_ok(), "asked again");
    assert!(dns.mail_hosts(&domain("new.test"), false).await.is_ok(), "and remembered instead");
    assert_eq!(server.asked("new.test MX"), 2);
}

#[tokio::test]
async fn rfc_9520_3_2_a_failure_is_remembered_for_a_moment() {
    let (server, dns) = with(&[("failing.test MX", Answer::Code(ResponseCode::ServFail))]).await;
    let first = dns.mail_hosts(&domain("failing.test"), false).await;
    let asked = server.asked("failing.test MX");
    assert_eq!(dns.mail_hosts(&domain("failing.test"), false).await, first);
    assert_eq!(server.asked("failing.test MX"), asked, "the same is not asked again at once");
    assert_eq!(dns.mail_hosts(&domain("failing.test"), true).await, first);
    assert!(server.asked("failing.test MX") > asked);
}

#[tokio::test]
async fn aliases_of_mail_hosts_are_followed_and_known() {
    let (_server, dns) = with(&[
        ("example.test MX", Answer::records(&["MX 10 alias.test."])),
        ("alias.test A", Answer::records(&["CNAME real.test.", "real.test. A 192.0.2.1"])),
        ("alias.test AAAA", Answer::records(&["CNAME real.test."])),
        ("real.test A", Answer::records(&["A 192.0.2.1"])),
    ])
    .await;
    let found = dns.mail_hosts(&domain("example.test"), false).await.unwrap();
    assert_eq!(found.hosts[0].addresses.canonical, "real.test");
}

#[tokio::test]
async fn rfc_7672_2_2_tlsa_records_that_nothing_proves_are_none() {
    let (_server, dns) = with(&[("_25._tcp.mx.test TLSA", Answer::records(&["TLSA 3 1 1 00ff"]))]).await;
    assert_eq!(dns.tlsa("mx.test", 25).await, Ok(Vec::new()));
    assert_eq!(dns.tlsa("other.test", 25).await, Ok(Vec::new()));
}

#[tokio::test]
async fn text_records_come_whole() {
    let (_server, dns) = with(&[("_mta-sts.test TXT", Answer::records(&["TXT \"v=STSv1;\" \" id=1\""]))]).await;
    assert_eq!(dns.texts("_mta-sts.test").await, Ok(vec![b"v=STSv1; id=1".to_vec()]));
}

#[tokio::test]
async fn rfc_4035_5_what_is_signed_is_secure_and_what_is_forged_is_temporary() {
    let server = Server::start().await;
    let (signer, anchor) = Signer::new();
    server.signs(signer);
    for (question, answer) in [
        ("signed.test MX", Answer::records(&["MX 10 mx.signed.test."])),
        ("mx.signed.test A", Answer::records(&["A 192.0.2.1"])),
        ("_25._tcp.mx.signed.test TLSA", Answer::records(&["TLSA 3 1 1 00ff"])),
        ("implicit.test A", Answer::records(&["A 192.0.2.1"])),
        ("forged.test MX", Answer::forged(&["MX 10 mx.signed.test."])),
        ("half.test MX", Answer::records(&["MX 10 mx.unsigned.test."])),
        ("unsigned.test NS", Answer::records(&["NS ns.unsigned.test."])),
        ("unsigned.test MX", Answer::records(&["MX 10 mx.signed.test."])),
        ("mx.unsigned.test A", Answer::records(&["A 192.0.2.1"])),
        ("_25._tcp.mx.unsigned.test TLSA", Answer::records(&["TLSA 3 1 1 00ff"])),
    ] {
        server.says(question, answer);
    }
    let trust_anchor = Some(anchor.path().to_owned());
    let settings = DnsSettings { dnssec: true, trust_anchor, timeout: Duration::from_secs(2), ..settings(&[&server]) };
    let dns = Dns::new(&settings).unwrap();
    let ask = async |name: &str| {
        let found = dns.mail_hosts(&domain(name), false).await?;
        Ok((found.secure, found.hosts[0].addresses.secure))
    };
    assert_eq!(ask("signed.test").await, Ok((true, true)));
    assert_eq!(ask("implicit.test").await, Ok((true, true)));
    assert_eq!(ask("half.test").await, Ok((true, false)));
    assert_eq!(ask("unsigned.test").await, Ok((false, true)));
    let forged: Result<_, DnsFailure> = ask("forged.test").await;
    assert!(matches!(forged, Err(DnsFailure::Temporary { .. })), "{forged:?}");
    assert_eq!(dns.tlsa("mx.signed.test", 25).await.unwrap().len(), 1);
    assert_eq!(dns.tlsa("mx.unsigned.test", 25).await, Ok(Vec::new()));
}

#[test]
fn a_trust_anchor_that_is_none_is_refused_with_its_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let settings = DnsSettings {
        servers: vec!["127.0.0.1:1".parse().unwrap()],
        dnssec: true,
        trust_anchor: Some(file.path().to_owned()),
        ..DnsSettings::default()
    };
    let told = Dns::new(&settings).err().unwrap().to_string();
    assert!(told.contains(&*file.path().to_string_lossy()), "{told}");
}
