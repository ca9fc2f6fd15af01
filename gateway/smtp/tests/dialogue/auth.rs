//! RFC 4954: logging in where mail is submitted.

use std::time::Duration;

use securanet_gateway::model::StoreError;
use tokio::io::BufReader;

use crate::{rfc3207::secured, server::Server};

/// `\0ann@example.org\0sesame`
pub(crate) const PLAIN: &str = "AGFubkBleGFtcGxlLm9yZwBzZXNhbWU=";
/// `\0ann@example.org\0wrong`
const WRONG: &str = "AGFubkBleGFtcGxlLm9yZwB3cm9uZw==";

/// Says EHLO; the answer is passed over.
pub(crate) const EHLO: &str = "
    S: 220 *
    C: EHLO [192.0.2.7]
    S: 250-mail.example.org
    S: 250-PIPELINING
    S: 250-SIZE 52428800
    S: 250-8BITMIME
    S: 250-SMTPUTF8
    S: 250-CHUNKING
    S: 250-ENHANCEDSTATUSCODES
    S: 250-DSN
    S: 250-FUTURERELEASE 2592000 *
    S: 250-DELIVERBY
    S: 250 AUTH SCRAM-SHA-256 PLAIN LOGIN
";

/// A dialogue behind EHLO.
async fn check(dialogue: &str) {
    Server::submission().check(&format!("{EHLO}{dialogue}")).await;
}

#[tokio::test]
async fn rfc_4954_4_1_plain_with_and_without_an_initial_response() {
    check(&format!("C: AUTH PLAIN {PLAIN}\nS: 235 2.7.0 *\nC: MAIL FROM:<ann@example.org>\nS: 250 2.1.0 *")).await;
    check(&format!("C: AUTH plain\nS: 334 \nC: {PLAIN}\nS: 235 2.7.0 *")).await;
}

#[tokio::test]
async fn the_old_login_mechanism() {
    let (user, password) = ("YW5uQGV4YW1wbGUub3Jn", "c2VzYW1l");
    let asked = "S: 334 VXNlcm5hbWU6";
    check(&format!("C: AUTH LOGIN\n{asked}\nC: {user}\nS: 334 UGFzc3dvcmQ6\nC: {password}\nS: 235 2.7.0 *")).await;
    check(&format!("C: AUTH LOGIN {user}\nS: 334 UGFzc3dvcmQ6\nC: {password}\nS: 235 2.7.0 *")).await;
}

#[tokio::test]
async fn rfc_7677_scram_asks_for_a_proof() {
    // n,,n=ann@example.org,r=abc; the proof is of nothing.
    let first = "biwsbj1hbm5AZXhhbXBsZS5vcmcscj1hYmM=";
    check(&format!("C: AUTH SCRAM-SHA-256 {first}\nS: 334 cj1hYm*\nC: Yz1iaXdzLHI9YWJjLHA9QUFBQQ==\nS: 5*")).await;
    check(&format!("C: AUTH SCRAM-SHA-256-PLUS {first}\nS: 504 5.5.4 *")).await;
}

#[tokio::test]
async fn rfc_4954_4_refusals_of_an_exchange() {
    check(&format!("C: AUTH PLAIN {WRONG}\nS: 535 5.7.8 *\nC: AUTH PLAIN {PLAIN}\nS: 235 2.7.0 *")).await;
    check("C: AUTH PLAIN\nS: 334 \nC: *\nS: 501 5.7.0 cancelled\nC: NOOP\nS: 250 *").await;
    check("C: AUTH PLAIN ???\nS: 501 5.5.2 *").await;
    check("C: AUTH PLAIN\nS: 334 \nC: ???\nS: 501 5.5.2 *").await;
    check("C: AUTH PLAIN =\nS: 334 *").await;
    check("C: AUTH KERBEROS_V4\nS: 504 5.5.4 *\nC: AUTH\nS: 501 5.5.4 *").await;
    let long = "A".repeat(12_288 - 2);
    check(&format!("C: AUTH PLAIN\nS: 334 \nC: {long}\nS: 501 5.5.2 *")).await;
    check(&format!("C: AUTH PLAIN\nS: 334 \nC: {long}AAAA\nS: 500 5.5.6 *\nC: NOOP\nS: 250 *")).await;
}

#[tokio::test]
async fn rfc_4954_4_auth_has_its_place_and_comes_once() {
    let in_place = format!(
        "C: AUTH PLAIN {PLAIN}
        S: 235 2.7.0 *
        C: AUTH PLAIN {PLAIN}
        S: 503 5.5.1 you have logged in already
        C: MAIL FROM:<ann@example.org>
        S: 250 *
        C: AUTH PLAIN {PLAIN}
        S: 503 5.5.1 *"
    );
    check(&in_place).await;
    Server::submission().check(&format!("S: 220 *\nC: AUTH PLAIN {PLAIN}\nS: 503 5.5.1 *")).await;
}

#[tokio::test]
async fn rfc_4954_6_nothing_is_sent_before_a_login() {
    check("C: MAIL FROM:<ann@example.org>\nS: 530 5.7.0 log in first\nC: RCPT TO:<ann@example.org>\nS: 503 *").await;
    check("C: VRFY ann\nS: 252 *\nC: RSET\nS: 250 *\nC: NOOP\nS: 250 *\nC: DATA\nS: 503 5.5.1 *").await;
}

#[tokio::test]
async fn rfc_4954_5_the_author_that_a_client_names_is_not_believed() {
    let mail = |auth: &str| format!("C: AUTH PLAIN {PLAIN}\nS: 235 *\nC: MAIL FROM:<ann@example.org> AUTH={auth}\nS: ");
    check(&(mail("<>") + "250 *")).await;
    check(&(mail("e+3Dmc2@example.com") + "250 *")).await;
    check(&(mail("a+") + "501 5.5.4 *")).await;
}

#[tokio::test]
async fn where_nobody_logs_in_auth_is_not_offered() {
    for mut server in [Server::smtp(), Server::lmtp()] {
        let hello = if server.settings.service == securanet_smtp::Service::Lmtp { "LHLO" } else { "HELO" };
        let mut client = server.connect();
        client.hold(&format!("S: 220 *\nC: {hello} a")).await;
        while client.line().await.starts_with("250-") {}
        client
            .hold(&format!("C: AUTH PLAIN {PLAIN}\nS: 502 5.5.1 *\nC: MAIL FROM:<a@b.c> AUTH=<>\nS: 555 5.5.4 *"))
            .await;
        client.bye().await;
    }
}

#[tokio::test]
async fn rfc_4954_4_no_password_is_asked_for_in_the_clear() {
    let (mut server, connector, _folder) = secured(Server::submission());
    server.trusted = false;
    let mut client = server.connect();
    let clear = "
        S: 220 *
        C: EHLO a
        S: 250-mail.example.org
        S: 250-PIPELINING
        S: 250-SIZE 52428800
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-CHUNKING
        S: 250-ENHANCEDSTATUSCODES
        S: 250-DSN
        S: 250-FUTURERELEASE *
        S: 250-DELIVERBY
        S: 250 STARTTLS
        C: AUTH PLAIN
        S: 538 5.7.11 *
        C: MAIL FROM:<ann@example.org>
        S: 530 5.7.0 begin TLS and log in first
        C: STARTTLS
        S: 220 *";
    client.hold(clear).await;
    let name = rustls::pki_types::ServerName::try_from("mail.example.org").unwrap();
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let mut tls = connector.connect(name, client.io.into_inner()).await.unwrap();
    let pump = tokio::spawn(async move {
        let _ = tokio::io::copy_bidirectional(&mut tls, &mut far).await;
    });
    client.io = BufReader::new(near);
    let secured = format!(
        "C: EHLO a
        S: 250-mail.example.org
        S: 250-PIPELINING
        S: 250-SIZE 52428800
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-CHUNKING
        S: 250-ENHANCEDSTATUSCODES
        S: 250-DSN
        S: 250-FUTURERELEASE *
        S: 250-DELIVERBY
        S: 250-REQUIRETLS
        S: 250 AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN
        C: AUTH PLAIN {PLAIN}
        S: 235 2.7.0 *
        C: MAIL FROM:<ann@example.org> REQUIRETLS
        S: 250 *
        C: RCPT TO:<world@elsewhere.example>
        S: 250 *
        C: DATA
        S: 354 *
        C: From: ann@example.org
        C:
        C: .
        S: 250 2.0.0 *
        C: QUIT
        S: 221 *
        S: EOF"
    );
    client.hold(&secured).await;
    drop(client);
    pump.await.unwrap();
    let script = server.store.script();
    assert!(script.puts[0].trace.contains(" with ESMTPSA\r\n\t(TLSv1.3 cipher TLS_"), "{}", script.puts[0].trace);
}

#[tokio::test(start_paused = true)]
async fn rfc_3207_4_2_tls_makes_a_client_log_in_again() {
    let (mut server, connector, _folder) = secured(Server::submission());
    let mut client = server.connect();
    client
        .hold(&format!("S: 220 *\nC: HELO a\nS: 250 *\nC: AUTH PLAIN {PLAIN}\nS: 235 *\nC: STARTTLS\nS: 220 *"))
        .await;
    let name = rustls::pki_types::ServerName::try_from("mail.example.org").unwrap();
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let mut tls = connector.connect(name, client.io.into_inner()).await.unwrap();
    let pump = tokio::spawn(async move {
        let _ = tokio::io::copy_bidirectional(&mut tls, &mut far).await;
    });
    client.io = BufReader::new(near);
    client.hold("C: HELO a\nS: 250 *\nC: MAIL FROM:<ann@example.org>\nS: 530 5.7.0 *\nC: QUIT\nS: 221 *\nS: EOF").await;
    drop(client);
    pump.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_guesses_is_sent_away() {
    let guess = format!("C: AUTH PLAIN {WRONG}\nS: 535 5.7.8 *\n");
    check(&(guess.repeat(5) + "S: 421 4.7.0 *\nS: EOF")).await;
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_when_its_credentials_change() {
    let mut server = Server::submission();
    let mut client = server.connect();
    client.hold(&format!("{EHLO}C: AUTH PLAIN {PLAIN}\nS: 235 *\nC: NOOP\nS: 250 *")).await;
    server.store.change_password();
    client.hold("S: 421 4.7.0 your credentials have changed: log in again\nS: EOF").await;
    client.bye().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_in_flight_is_refused_when_credentials_change() {
    let mut server = Server::submission();
    let mut client = server.connect();
    let start = format!(
        "{EHLO}C: AUTH PLAIN {PLAIN}
        S: 235 *
        C: MAIL FROM:<ann@example.org>
        C: RCPT TO:<world@elsewhere.example>
        C: DATA
        S: 250 *
        S: 250 *
        S: 354 *
        C: Subject: a"
    );
    client.hold(&start).await;
    server.store.change_password();
    tokio::time::sleep(Duration::from_secs(2)).await;
    client.hold("C: .\nS: 421 4.7.0 *\nS: EOF").await;
    client.bye().await;
    assert!(server.store.commands().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_does_not_answer_lets_nobody_in_yet() {
    let mut server = Server::submission();
    server.store.script().directory_fails = Some(StoreError::Unavailable("no leader".to_owned()));
    server.check(&format!("{EHLO}C: AUTH PLAIN {PLAIN}\nS: 454 4.7.0 *\nC: MAIL FROM:<>\nS: 451 4.3.0 *")).await;
    server.store.script().directory_fails = Some(StoreError::Draining);
    server.check(&format!("{EHLO}C: AUTH PLAIN {PLAIN}\nS: 421 4.3.2 *\nS: EOF")).await;
}
