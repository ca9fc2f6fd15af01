//! STARTTLS, what is demanded of it, and logins under it.

use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;

use super::{
    rude::{Identity, Rude},
    *,
};
use crate::{
    dns::TlsaRecord,
    route::{Login, TlsDemand},
};

const MAIL: &str = "C~ MAIL\nS: 250 ok\nC~ RCPT\nS: 250 ok\nC: DATA\nS: 354 go on\nCONTENT\nS: 250 ok";
pub(super) const HELLO: &str = "S: 220 mx.test\nC~ EHLO\nS: 250-mx.test\nS: 250 STARTTLS\nC: STARTTLS";

/// STARTTLS that goes well; the server forgets its capabilities (RFC 3207 4.2) and so must the client.
fn secured() -> String {
    format!("{HELLO}\nS: 220 go\nTLS\nC~ EHLO\nS: 250 mx.test\n{MAIL}")
}

fn plain() -> String {
    format!("S: 220 mx.test\nC~ EHLO\nS: 250-mx.test\nS: 250 STARTTLS\n{MAIL}")
}

fn demanding(address: SocketAddr, tls: TlsDemand) -> Hop {
    Hop { tls, ..hop(address) }
}

fn verified(name: &str) -> TlsDemand {
    TlsDemand::Verified(vec![name.to_owned()])
}

/// A client that trusts the identity's authority.
pub(super) fn trusting(identity: &Identity) -> (Client, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), identity.authority.pem()).unwrap();
    let roots = Some(file.path().to_owned());
    (Client::new(ClientSettings { roots, ..settings() }).unwrap(), file)
}

#[tokio::test]
async fn rfc_3207_4_2_under_tls_everything_begins_anew() {
    let server = Rude::start(&[&secured()]).await;
    let mut session = Session::open(&hop(server.address), &client()).await.unwrap();
    assert!(!session.capabilities().start_tls, "what was offered before is forgotten");
    let sent = send(&mut session, &["bob@example.net"]).await;
    let Verdict::Settled(told) = &sent.verdicts[0] else { panic!("settled") };
    let tls = told.tls.as_deref().unwrap();
    assert!(tls.starts_with("TLSv1.3 TLS_") && tls.ends_with("certificate not checked"), "{tls}");
    drop(session);
    server.done().await;
}

#[tokio::test]
async fn rfc_7435_3_where_tls_is_opportunistic_its_failure_ends_in_plaintext_on_a_new_connection() {
    let failures = [
        ("S: 454 4.7.0 not now", "454 4.7.0 not now"),
        ("S: 502 what?", "502 what?"),
        ("CLOSE", "closed"),
        ("S: 220 go\nR: this is no TLS, sorry\nHANG", "handshake"),
        ("S: 220 go\nCLOSE", "handshake"),
        ("S: 220 go\nTLS\nCLOSE", "closed"),
        // CVE-2021-38371: octets behind the answer would be read as if they came under TLS.
        ("R: 220 go\\r\\n250 forged\\r\\n\nHANG", "plaintext behind"),
    ];
    for (failure, why) in failures {
        let server = Rude::start(&[&format!("{HELLO}\n{failure}"), &plain()]).await;
        let mut session = Session::open(&hop(server.address), &client()).await.unwrap();
        assert!(
            session.tls().starts_with("none (failed: ") && session.tls().contains(why),
            "{failure}: {}",
            session.tls()
        );
        assert_eq!(all_told(&send(&mut session, &["bob@example.net"]).await), ["delivered 2.0.0 remote"], "{failure}");
        drop(session);
        server.done().await;
    }
}

#[tokio::test]
async fn where_tls_is_demanded_nothing_goes_in_plaintext() {
    let cases = [
        "S: 220 mx.test\nC~ EHLO\nS: 250 mx.test".to_owned(),
        "S: 220 mx.test\nC~ EHLO\nS: 502 what?\nC~ HELO\nS: 250 mx.test".to_owned(),
        format!("{HELLO}\nS: 454 4.7.0 not now"),
        format!("{HELLO}\nS: 220 go\nR: this is no TLS, sorry\nHANG"),
        format!("{HELLO}\nR: 220 go\\r\\n250 forged\\r\\n\nHANG"),
    ];
    for script in cases {
        for demand in [TlsDemand::Encrypted, verified("mx.test")] {
            let server = Rude::start(&[&script]).await;
            let told = attempt(&demanding(server.address, demand)).await;
            assert!(told.starts_with("open: temporary tls 4.7."), "{script}: {told}");
            let heard = server.heard();
            assert!(!heard.iter().any(|line| line.starts_with("MAIL")), "{script}: {heard:?}");
        }
    }
}

#[tokio::test]
async fn rfc_6125_6_a_demanded_certificate_is_for_the_host_and_from_an_authority_that_we_trust() {
    let identity = Arc::new(Identity::new("mx.test"));
    let (trusting, _file) = trusting(&identity);
    let server = Rude::with_identity(&[&secured(), &secured(), &secured()], identity).await;
    let mut session = Session::open(&demanding(server.address, verified("mx.test")), &trusting).await.unwrap();
    assert!(session.tls().ends_with("certificate verified for mx.test"), "{}", session.tls());
    assert_eq!(all_told(&send(&mut session, &["bob@example.net"]).await), ["delivered 2.0.0 remote"]);
    drop(session);
    let other_name = Session::open(&demanding(server.address, verified("other.test")), &trusting).await;
    let failure = other_name.err().unwrap();
    assert_eq!((failure.stage, failure.outcome, failure.status), (Stage::Handshake, Outcome::TemporaryTls, (4, 7, 5)));
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let (stranger, ours) = (Arc::new(Identity::new("mx.test")), Identity::new("mx.test"));
    let (trusting, _file) = trusting(&ours);
    let server = Rude::with_identity(&[&secured()], stranger).await;
    let failure = Session::open(&demanding(server.address, verified("mx.test")), &trusting).await.err().unwrap();
    assert_eq!(failure.outcome, Outcome::TemporaryTls);
}

pub(super) fn record(usage: u8, selector: u8, matching: u8, certificate: &CertificateDer<'_>) -> TlsaRecord {
    use x509_parser::prelude::{FromDer, X509Certificate};
    let selected = match selector {
        0 => certificate.to_vec(),
        _ => X509Certificate::from_der(certificate).unwrap().1.public_key().raw.to_vec(),
    };
    let data = match matching {
        0 => selected,
        1 => digest::digest(&digest::SHA256, &selected).as_ref().to_vec(),
        _ => digest::digest(&digest::SHA512, &selected).as_ref().to_vec(),
    };
    TlsaRecord { usage, selector, matching, data }
}

#[tokio::test]
async fn rfc_7672_3_1_a_certificate_is_what_a_tlsa_record_says() {
    let identity = Arc::new(Identity::new("mx.test"));
    let other = Identity::new("mx.test");
    let (ours, theirs) = (identity.certificate.der(), other.certificate.der());
    let (anchor, their_anchor) = (identity.authority.der(), other.authority.der());
    let cases = [
        (vec![record(3, 1, 1, ours)], "mx.test", true),
        (vec![record(3, 0, 2, ours)], "mx.test", true),
        (vec![record(3, 0, 0, ours)], "mx.test", true),
        // RFC 7672 3.1.1: with usage 3 the name does not matter.
        (vec![record(3, 1, 1, ours)], "elsewhere.test", true),
        (vec![record(3, 1, 1, theirs)], "mx.test", false),
        (vec![record(3, 1, 1, theirs), record(3, 1, 1, ours)], "mx.test", true),
        (vec![record(2, 0, 1, anchor)], "mx.test", true),
        (vec![record(2, 1, 2, anchor)], "mx.test", true),
        (vec![record(2, 0, 0, anchor)], "mx.test", true),
        // With usage 2 it does.
        (vec![record(2, 0, 1, anchor)], "elsewhere.test", false),
        (vec![record(2, 0, 1, their_anchor)], "mx.test", false),
        (vec![record(2, 0, 0, their_anchor)], "mx.test", false),
        (vec![], "mx.test", false),
    ];
    let scripts: Vec<_> =
        cases.iter().map(|_| format!("{HELLO}\nS: 220 go\nTLS\nC~ EHLO\nS: 250 mx.test\nCLOSE")).collect();
    let scripts: Vec<_> = scripts.iter().map(String::as_str).collect();
    for (at, (records, name, taken)) in cases.into_iter().enumerate() {
        let server = Rude::with_identity(&scripts[..1], identity.clone()).await;
        let demand = TlsDemand::Dane { records: records.into(), names: vec![name.to_owned()] };
        let opened = Session::open(&demanding(server.address, demand), &client()).await;
        match opened {
            Ok(session) => assert!(taken && session.tls().ends_with("verified by DANE"), "case {at}"),
            Err(failure) => assert!(!taken && failure.outcome == Outcome::TemporaryTls, "case {at}: {failure:?}"),
        }
    }
}

#[tokio::test]
async fn rfc_8314_3_3_implicit_tls_begins_with_the_first_octet() {
    let identity = Arc::new(Identity::new("mx.test"));
    let (trusting, _file) = trusting(&identity);
    let server =
        Rude::with_identity(&[&format!("TLS\nS: 220 mx.test\nC~ EHLO\nS: 250 mx.test\n{MAIL}")], identity).await;
    let hop = Hop { implicit_tls: true, ..demanding(server.address, verified("mx.test")) };
    let mut session = Session::open(&hop, &trusting).await.unwrap();
    assert_eq!(all_told(&send(&mut session, &["bob@example.net"]).await), ["delivered 2.0.0 remote"]);
    drop(session);
    server.done().await;
}

#[tokio::test]
async fn rfc_8689_4_2_1_requiretls_is_passed_on_to_a_server_that_is_known_and_offers_it() {
    let identity = Arc::new(Identity::new("mx.test"));
    let (trusting, _file) = trusting(&identity);
    let script = format!("{HELLO}\nS: 220 go\nTLS\nC~ EHLO\nS: 250-mx.test\nS: 250 REQUIRETLS\n{MAIL}")
        .replace("C~ MAIL", "C: MAIL FROM:<ann@example.org> REQUIRETLS");
    let server = Rude::with_identity(&[&script], identity).await;
    let options = EnvelopeOptions { require_tls: true, ..EnvelopeOptions::default() };
    let mut session = Session::open(&hop(server.address).requiring_tls().unwrap(), &trusting).await.unwrap();
    let sent = send_with(&mut session, &["bob@example.net"], &options, 0, |accepted| vec![true; accepted.len()]).await;
    assert_eq!(all_told(&sent), ["delivered 2.0.0 remote"]);
    drop(session);
    server.done().await;
}

#[tokio::test]
async fn rfc_8689_2_a_host_whose_name_nothing_proves_is_told_nothing_that_requires_tls() {
    let identity = Arc::new(Identity::new("mx.test"));
    let (trusting, _file) = trusting(&identity);
    let script = format!("{HELLO}\nS: 220 go\nTLS\nC~ EHLO\nS: 250-mx.test\nS: 250 REQUIRETLS\n");
    let bounce = format!("{script}{MAIL}").replace("C~ MAIL", "C: MAIL FROM:<>");
    let server = Rude::with_identity(&[&script, &bounce], identity).await;
    let unproven = Hop { name_is_sure: false, ..demanding(server.address, verified("mx.test")) };
    assert!(unproven.clone().requiring_tls().is_none());
    let options = EnvelopeOptions { require_tls: true, ..EnvelopeOptions::default() };
    let mut session = Session::open(&unproven, &trusting).await.unwrap();
    let sent = send_with(&mut session, &["bob@example.net"], &options, 0, |accepted| vec![true; accepted.len()]).await;
    assert_eq!(all_told(&sent), ["permanent 5.7.30"]);
    drop(session);
    // A bounce of such mail goes all the same, without the word (section 5).
    let mut session = Session::open(&unproven, &trusting).await.unwrap();
    let recipients = recipients(&["bob@example.net"]);
    let recipients: Vec<_> = recipients.iter().collect();
    let envelope = Envelope {
        sender: &ReversePath::Null,
        recipients: &recipients,
        options: &options,
        size_bytes: 0,
        eight_bit: false,
        utf8_header: false,
        now: UnixMillis::new(0),
    };
    let mut content = Bytes::from_static(MESSAGE.as_bytes());
    let sent = session.send(&envelope, &mut content, async |accepted: Vec<usize>| vec![true; accepted.len()]).await;
    assert_eq!(all_told(&sent), ["delivered 2.0.0 remote"]);
    drop(session);
    server.done().await;
}

fn with_login(hop: Hop, password: &str) -> Hop {
    let login = Login { user: "we".to_owned(), password: password.to_owned().into() };
    Hop { auth: Some(Arc::new(login)), ..hop }
}

#[tokio::test]
async fn rfc_4954_4_the_best_mechanism_that_is_offered_is_used() {
    let plain = "S: 250 AUTH LOGIN PLAIN\nC: AUTH PLAIN AHdlAHNlY3JldA==\nS: 235 ok";
    let login =
        "S: 250 AUTH LOGIN\nC: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: d2U=\nS: 334 UGFzc3dvcmQ6\nC: c2VjcmV0\nS: 235 ok";
    let scram = "S: 250 AUTH PLAIN SCRAM-SHA-256\nSCRAM secret";
    for exchange in [plain, login, scram] {
        let server =
            Rude::start(&[&format!("{HELLO}\nS: 220 go\nTLS\nC~ EHLO\nS: 250-mx.test\n{exchange}\n{MAIL}")]).await;
        let hop = with_login(demanding(server.address, TlsDemand::Encrypted), "secret");
        assert_eq!(attempt(&hop).await, "delivered 2.0.0 remote", "{exchange}");
        server.done().await;
    }
}

#[tokio::test]
async fn a_login_that_fails_is_our_fault_and_no_mail_is_bounced_for_it() {
    let cases = [
        ("S: 250 AUTH PLAIN\nC~ AUTH\nS: 535 5.7.8 wrong", "open: not tried 4.3.0"),
        ("S: 250 AUTH PLAIN\nC~ AUTH\nS: 454 4.7.0 later", "open: temporary answer 4.7.0 remote"),
        ("S: 250 AUTH GSSAPI", "open: not tried 4.3.0"),
        ("S: 250 HELP", "open: not tried 4.3.0"),
        // It does not know the password and says yes all the same.
        ("S: 250 AUTH SCRAM-SHA-256\nSCRAM guessed", "open: not tried 4.3.0"),
    ];
    for (exchange, expected) in cases {
        let server = Rude::start(&[&format!("{HELLO}\nS: 220 go\nTLS\nC~ EHLO\nS: 250-mx.test\n{exchange}")]).await;
        let hop = with_login(demanding(server.address, TlsDemand::Encrypted), "secret");
        assert_eq!(attempt(&hop).await, expected, "{exchange}");
    }
}

#[tokio::test]
async fn a_password_is_not_said_in_the_clear() {
    let server = Rude::start(&["S: 220 mx.test\nC~ EHLO\nS: 250-mx.test\nS: 250 AUTH PLAIN LOGIN"]).await;
    assert_eq!(attempt(&with_login(hop(server.address), "secret")).await, "open: not tried 4.3.0");
    assert!(!server.done().await.iter().any(|line| line.starts_with("AUTH")));
}
