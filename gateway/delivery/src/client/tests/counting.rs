//! What of a session is counted for TLS reports (RFC 8460 4.3), and as what.

use std::sync::Arc;

use rcgen::date_time_ymd;
use securanet_gateway::model::{
    DomainName,
    tls_report::{TlsPolicyKind, TlsResult},
};

use super::{
    rude::{Identity, Rude},
    tls::{HELLO, record, trusting},
    *,
};
use crate::{
    route::TlsDemand,
    tls_report::{Subject, Tally},
};

/// The second connection of who does without TLS.
const PLAIN: &str = "S: 220 mx.test\nC~ EHLO\nS: 250 mx.test\nC: QUIT\nS: 221 bye";

fn secured() -> String {
    format!("{HELLO}\nS: 220 go\nTLS\nC~ EHLO\nS: 250 mx.test\nC: QUIT\nS: 221 bye")
}

/// What one session with a server is counted as: `success`, or the result and its reason.
async fn counted(client: &Client, server: &Rude, demand: TlsDemand, flaw: Option<TlsResult>) -> Vec<String> {
    let tally = Arc::new(Tally::default());
    let subject = Subject::new(&tally, &DomainName::parse("example.net").unwrap(), TlsPolicyKind::Tlsa);
    let subject = match flaw {
        Some(flaw) => subject.with_flaw(flaw, "flawed"),
        None => subject,
    };
    let hop = Hop { tls: demand, tls_subject: Some(Arc::new(subject)), ..hop(server.address) };
    if let Ok(session) = Session::open(&hop, client).await {
        session.quit().await;
    }
    let mut all = Vec::new();
    for counts in tally.take().into_iter().flat_map(|counts| counts.policies) {
        all.extend((0..counts.successes).map(|_| "success".to_owned()));
        assert_eq!(counts.failures, counts.details.iter().map(|(_, count)| count).sum::<u64>());
        for (failure, count) in counts.details {
            assert_eq!(failure.host.as_deref(), Some("mx.test"));
            assert!(failure.receiving.is_some() && failure.sending.is_some(), "{failure:?}");
            let told = format!("{}: {}", failure.result.name(), failure.reason.unwrap_or_default());
            all.extend((0..count).map(|_| told.clone()));
        }
    }
    all
}

fn tested() -> TlsDemand {
    TlsDemand::Tested(vec!["mx.test".to_owned()])
}

#[tokio::test]
async fn rfc_8460_4_3_1_each_way_in_which_a_session_has_no_tls_is_counted_once() {
    let failures = [
        ("S: 220 mx.test\nC~ EHLO\nS: 250 mx.test", "starttls-not-supported: not offered"),
        ("S: 220 mx.test\nC~ EHLO\nS: 502 what?\nC~ HELO\nS: 250 mx.test", "starttls-not-supported: not offered"),
        (&format!("{HELLO}\nS: 454 4.7.0 not now"), "starttls-not-supported: 454 4.7.0 not now"),
        (&format!("{HELLO}\nCLOSE"), "validation-failure: starting TLS"),
        (&format!("{HELLO}\nR: 220 go\\r\\n250 forged\\r\\n\nHANG"), "validation-failure: the server sent plaintext"),
        (&format!("{HELLO}\nS: 220 go\nR: this is no TLS, sorry\nHANG"), "validation-failure: "),
        (&format!("{HELLO}\nS: 220 go\nCLOSE"), "validation-failure: "),
    ];
    for (script, expected) in failures {
        for demand in [TlsDemand::Opportunistic, TlsDemand::Encrypted] {
            let server = Rude::start(&[script, PLAIN]).await;
            let told = counted(&client(), &server, demand.clone(), None).await;
            let [told] = told.as_slice() else { panic!("{script}, {demand:?}: {told:?}") };
            assert!(told.starts_with(expected), "{script}, {demand:?}: {told}");
        }
    }
}

#[tokio::test]
async fn rfc_8460_4_3_1_what_is_wrong_with_a_certificate_is_counted_whether_it_is_demanded_or_tested() {
    let long_ago = |parameters: &mut rcgen::CertificateParams| {
        parameters.not_before = date_time_ymd(2001, 1, 1);
        parameters.not_after = date_time_ymd(2002, 1, 1);
    };
    let of_clients = |parameters: &mut rcgen::CertificateParams| {
        parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    };
    let cases = [
        (Identity::new("mx.test"), true, "success"),
        (Identity::new("other.test"), true, "certificate-host-mismatch: "),
        (Identity::with("mx.test", long_ago), true, "certificate-expired: "),
        (Identity::with("mx.test", of_clients), true, "certificate-not-trusted: "),
        (Identity::new("mx.test"), false, "certificate-not-trusted: "),
    ];
    for (at, (identity, known, expected)) in cases.into_iter().enumerate() {
        let stranger = Identity::new("mx.test");
        let (client, _file) = trusting(if known { &identity } else { &stranger });
        let identity = Arc::new(identity);
        for demand in [TlsDemand::Verified(vec!["mx.test".to_owned()]), tested()] {
            let server = Rude::with_identity(&[&secured()], identity.clone()).await;
            let told = counted(&client, &server, demand.clone(), None).await;
            let [told] = told.as_slice() else { panic!("case {at}, {demand:?}: {told:?}") };
            assert!(told.starts_with(expected), "case {at}, {demand:?}: {told}");
        }
    }
}

#[tokio::test]
async fn rfc_8460_4_3_2_1_sessions_under_dane_are_counted() {
    let (identity, other) = (Arc::new(Identity::new("mx.test")), Identity::new("mx.test"));
    let elsewhere = Arc::new(Identity::new("elsewhere.test"));
    let (ours, theirs) = (identity.certificate.der(), other.certificate.der());
    let dane = |records: Vec<_>| TlsDemand::Dane { records: records.into(), names: vec!["mx.test".to_owned()] };
    let cases = [
        (&identity, dane(vec![record(3, 1, 1, ours)]), None, "success"),
        (&identity, dane(vec![record(2, 0, 1, identity.authority.der())]), None, "success"),
        (&identity, dane(vec![record(3, 1, 1, theirs)]), None, "certificate-not-trusted: "),
        (&elsewhere, dane(vec![record(2, 0, 1, elsewhere.authority.der())]), None, "certificate-host-mismatch: "),
        // None of the records can be used: TLS all the same, and a failure.
        (&identity, TlsDemand::Encrypted, Some(TlsResult::TlsaInvalid), "tlsa-invalid: flawed"),
    ];
    for (at, (identity, demand, flaw, expected)) in cases.into_iter().enumerate() {
        let server = Rude::with_identity(&[&secured()], identity.clone()).await;
        let told = counted(&client(), &server, demand, flaw).await;
        let [told] = told.as_slice() else { panic!("case {at}: {told:?}") };
        assert!(told.starts_with(expected), "case {at}: {told}");
        if at == 2 {
            assert!(told.ends_with("no TLSA record fits it"), "{told}");
        }
    }
}
