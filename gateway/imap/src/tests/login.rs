//! RFC 9051 6.1 and 6.2: greeting, login, limits before it.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Server, client::same};
use crate::ImapSettings;

#[tokio::test]
async fn rfc_9051_7_1_1_the_greeting_has_capabilities_and_no_mechanism_without_privacy() {
    let server = Server::new();
    let greeting = server.connect(false).line().await;
    assert!(greeting.starts_with("* OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR"), "{greeting}");
    assert!(greeting.contains(" LOGINDISABLED") && !greeting.contains("AUTH="), "{greeting}");
    let trusted = server.connect(true).line().await;
    assert!(!trusted.contains("LOGINDISABLED") && trusted.contains(" AUTH=PLAIN AUTH=LOGIN"), "{trusted}");
    assert!(!trusted.contains("STARTTLS"), "no certificate: {trusted}");
}

#[tokio::test]
async fn rfc_9051_6_2_3_login() {
    let server = Server::new();
    let mut client = server.connect(true);
    client.line().await;
    client.check("SELECT INBOX", &["BAD Log in first"]).await;
    client.check("LOGIN ann@example.org wrong", &["NO [AUTHENTICATIONFAILED]..."]).await;
    client.check("LOGIN {15+}\r\nann@example.org {6+}\r\nsesame", &["OK [CAPABILITY IMAP4rev1..."]).await;
    client.check("LOGIN ann@example.org sesame", &["BAD You have logged in already"]).await;
    client.check("LOGOUT", &["* BYE Logging out", "OK Logged out"]).await;
    assert_eq!(client.line().await, "");
}

#[tokio::test]
async fn rfc_9051_11_1_no_password_is_looked_at_without_privacy() {
    let server = Server::new();
    let mut client = server.connect(false);
    client.line().await;
    client.check("LOGIN ann@example.org sesame", &["NO [PRIVACYREQUIRED] Use TLS to log in"]).await;
    client.check("AUTHENTICATE PLAIN", &["NO [PRIVACYREQUIRED] Use TLS to log in"]).await;
    client.check("STARTTLS", &["NO No certificate here"]).await;
}

#[tokio::test]
async fn rfc_9051_6_2_2_authenticate_with_and_without_an_initial_response() {
    let server = Server::new();
    let plain = STANDARD.encode("\0ann@example.org\0sesame");
    let mut client = server.connect(true);
    client.line().await;
    client.check(&format!("AUTHENTICATE PLAIN {plain}"), &["OK [CAPABILITY..."]).await;

    let mut client = server.connect(true);
    client.line().await;
    client.begin("AUTHENTICATE LOGIN").await;
    assert!(client.line().await.starts_with("+ "));
    client.send(format!("{}\r\n", STANDARD.encode("ann@example.org"))).await;
    assert!(client.line().await.starts_with("+ "));
    client.send(format!("{}\r\n", STANDARD.encode("sesame"))).await;
    same(&client.answer().await, &["OK [CAPABILITY..."], "AUTHENTICATE LOGIN");
}

#[tokio::test]
async fn rfc_9051_6_2_2_a_star_cancels_and_rubbish_is_bad() {
    let server = Server::new();
    let mut client = server.connect(true);
    client.line().await;
    client.begin("AUTHENTICATE PLAIN").await;
    assert_eq!(client.line().await, "+ ");
    client.send("*\r\n").await;
    same(&client.answer().await, &["BAD Authentication cancelled"], "*");
    client.check("AUTHENTICATE PLAIN !!!", &["BAD..."]).await;
    client.check("AUTHENTICATE CRAM-MD5", &["NO [CANNOT] No such mechanism"]).await;
    client.check("LOGIN ann@example.org sesame", &["OK..."]).await;
}

#[tokio::test(start_paused = true)]
async fn too_many_failed_logins_end_the_connection() {
    let server = Server::with(ImapSettings { failed_logins_max: 2, ..ImapSettings::default() });
    let mut client = server.connect(true);
    client.line().await;
    client.check("LOGIN ann@example.org a", &["NO..."]).await;
    client.check("LOGIN ann@example.org b", &["NO..."]).await;
    assert_eq!(client.line().await, "* BYE Too many failed logins");
}

#[tokio::test]
async fn too_many_bad_commands_end_the_connection() {
    let server = Server::with(ImapSettings { bad_commands_max: 3, ..ImapSettings::default() });
    let mut client = server.connect(true);
    client.line().await;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    for tag in ["GET", "Host:", "*"] {
        let line = client.line().await;
        assert!(line.starts_with(&format!("{tag} BAD ")), "{line}");
    }
    assert_eq!(client.line().await, "* BYE Too many bad commands");
}

#[tokio::test(start_paused = true)]
async fn rfc_9051_5_4_who_does_not_log_in_is_sent_away_and_who_has_may_be_silent_for_thirty_minutes() {
    let server = Server::new();
    let mut stranger = server.connect(true);
    stranger.line().await;
    assert_eq!(stranger.line().await, "* BYE No login in time");
    let mut client = server.login().await;
    tokio::time::sleep(Duration::from_secs(29 * 60)).await;
    client.ok("NOOP").await;
    assert_eq!(client.line().await, "* BYE Inactive for too long");
}

#[tokio::test]
async fn draining_says_bye() {
    let server = Server::new();
    let mut client = server.login().await;
    server.drain.begin();
    assert!(client.line().await.starts_with("* BYE [UNAVAILABLE]"));
    assert_eq!(client.line().await, "");
}

#[tokio::test]
async fn a_suspended_account_loses_its_open_sessions() {
    let server = Server::new();
    let mut client = server.inbox().await;
    server.store.suspend();
    assert!(client.line().await.starts_with("* BYE [UNAVAILABLE]"));
}

#[tokio::test]
async fn rfc_9051_6_1_capability_noop_and_id() {
    let server = Server::new();
    let mut client = server.login().await;
    let answer = client.ok("CAPABILITY").await;
    for capability in ["UIDPLUS", "QRESYNC", "COMPRESS=DEFLATE", "APPENDLIMIT=52428800", "QUOTA=RES-STORAGE", "MOVE"] {
        assert!(answer.contains(capability), "{capability}: {answer}");
    }
    client.check("NOOP", &["OK Done"]).await;
    let answer = client.ok("ID (\"name\" \"test\" \"version\" NIL)").await;
    assert!(answer.starts_with("* ID (\"name\" \"SecuraNET Mail\""), "{answer}");
}

#[tokio::test]
async fn a_stranger_cannot_make_us_hold_much() {
    let server = Server::new();
    let mut client = server.connect(true);
    client.line().await;
    client.check("LOGIN {5000}", &["BAD [TOOBIG]..."]).await;
    client.send(format!("x NOOP {}\r\n", "a".repeat(20_000))).await;
    assert_eq!(client.line().await, "x BAD Command is too long");
    client.check("NOOP", &["OK Done"]).await;
    client.begin("LOGIN {3}").await;
    assert_eq!(client.line().await, "+ OK");
    client.send(format!("abc {}\r\n", "a".repeat(20_000))).await;
    same(&client.answer().await, &["BAD Command is too long"], "a long line behind a literal");
    client.check("NOOP", &["OK Done"]).await;
    client.begin("LOGIN {99999999+}").await;
    client.send("a").await;
    assert!(client.line().await.starts_with("* BYE [TOOBIG]"));
}
