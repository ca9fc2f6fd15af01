//! POP3 dialogues, named by RFC and section.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod client;
mod store;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use securanet_gateway::tls::{CertificateFiles, TlsSettings};
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsConnector, rustls};

use crate::{
    client::{Client, Server},
    store::ScriptedStore,
};

const ONE: &[u8] = b"Subject: one\r\n\r\n.hidden\r\nline two\r\n";
const TWO: &[u8] = b"Subject: two\r\n\r\nno line end";

fn two_messages() -> Arc<ScriptedStore> {
    ScriptedStore::new(&[(3, 0xa, ONE), (8, 0xb, TWO)])
}

#[tokio::test]
async fn rfc_1939_section_4_user_and_pass_open_the_maildrop() {
    let server = Server::new(&two_messages());
    server
        .connect()
        .talk(
            "S: +OK SecuraNET Mail POP3 ready
             C: STAT
             S: -ERR log in first
             C: PASS sesame
             S: -ERR USER first
             C: user ann@example.org
             S: +OK *
             C: pass wrong
             S: -ERR [AUTH] wrong user name or password
             C: PASS sesame
             S: -ERR USER first
             C: USER ann@example.org
             S: +OK *
             C: PASS sesame
             S: +OK 2 messages (62 octets)
             C: USER ann@example.org
             S: -ERR logged in already
             C: QUIT
             S: +OK *
             S: (closed)",
        )
        .await;
}

#[tokio::test]
async fn rfc_1939_section_4_quit_before_login_changes_nothing() {
    let server = Server::new(&two_messages());
    server.connect().talk("S: +OK *\nC: QUIT\nS: +OK goodbye\nS: (closed)").await;
}

#[tokio::test]
async fn rfc_1939_section_5_stat_and_list_count_what_is_not_marked() {
    let server = Server::new(&two_messages());
    server
        .log_in()
        .await
        .talk(
            "C: STAT
             S: +OK 2 62
             C: LIST
             S: +OK 2 messages (62 octets)
             S: 1 35
             S: 2 27
             S: .
             C: LIST 2
             S: +OK 2 27
             C: LIST 3
             S: -ERR no such message
             C: DELE 1
             S: +OK marked
             C: STAT
             S: +OK 1 27
             C: LIST
             S: +OK 1 messages (27 octets)
             S: 2 27
             S: .
             C: LIST 1
             S: -ERR the message is deleted
             C: DELE 1
             S: -ERR the message is deleted
             C: RETR 1
             S: -ERR the message is deleted
             C: NOOP
             S: +OK *
             C: RSET
             S: +OK *
             C: STAT
             S: +OK 2 62
             C: QUIT
             S: +OK *",
        )
        .await;
}

#[tokio::test]
async fn rfc_1939_section_5_an_empty_maildrop_is_a_maildrop() {
    let server = Server::new(&ScriptedStore::new(&[]));
    server
        .log_in()
        .await
        .talk(
            "C: STAT\nS: +OK 0 0\nC: LIST\nS: +OK *\nS: .\nC: UIDL\nS: +OK *\nS: .\nC: RETR 1\nS: -ERR no such message",
        )
        .await;
}

#[tokio::test]
async fn rfc_1939_section_5_retr_gives_every_octet_and_announces_them_exactly() {
    let server = Server::new(&two_messages());
    let mut client = server.log_in().await;
    client
        .talk(
            "C: RETR 1
             S: +OK 35 octets
             S: Subject: one
             S: 
             S: ..hidden
             S: line two
             S: .
             C: RETR 2
             S: +OK 27 octets
             S: Subject: two
             S: 
             S: no line end
             S: .",
        )
        .await;
}

#[tokio::test]
async fn rfc_1939_section_5_a_large_message_is_streamed_without_loss() {
    let mut large = b"Subject: large\r\n\r\n".to_vec();
    for number in 0..60_000_u32 {
        let line = format!("{}{number}\r\n", if number % 7 == 0 { "." } else { "\u{e9}" });
        large.extend_from_slice(line.as_bytes());
    }
    let store = ScriptedStore::new(&[(1, 1, &large)]);
    let mut client = Server::new(&store).log_in().await;
    client.talk(&format!("C: RETR 1\nS: +OK {} octets", large.len())).await;
    assert!(client.body().await == large);
    client.talk("C: NOOP\nS: +OK *").await;
}

#[tokio::test]
async fn rfc_1939_section_6_quit_deletes_what_is_marked_in_one_commit() {
    let store = two_messages();
    let mut client = Server::new(&store).log_in().await;
    let before = store.commits.load(Ordering::SeqCst);
    client.talk("C: DELE 2\nS: +OK *\nC: QUIT\nS: +OK 1 messages deleted, goodbye\nS: (closed)").await;
    assert_eq!(store.uids(), [3]);
    assert_eq!(store.commits.load(Ordering::SeqCst) - before, 1);
    assert!(!store.is_locked());
}

#[tokio::test]
async fn p1_ok_to_quit_is_written_only_after_the_commit() {
    let store = two_messages();
    let mut client = Server::new(&store).log_in().await;
    store.gate.forget_permits(usize::MAX >> 3);
    client.talk("C: DELE 1\nS: +OK *\nC: QUIT").await;
    let early = timeout(Duration::from_millis(200), client.line()).await;
    assert!(early.is_err(), "said before the commit: {early:?}");
    store.gate.add_permits(1);
    client.talk("S: +OK 1 messages deleted, goodbye").await;
    assert_eq!(store.uids(), [8]);
}

#[tokio::test]
async fn rfc_1939_section_6_a_deletion_that_cannot_be_committed_is_an_error() {
    let store = two_messages();
    let mut client = Server::new(&store).log_in().await;
    store.broken.store(true, Ordering::SeqCst);
    client.talk("C: DELE 1\nS: +OK *\nC: QUIT\nS: -ERR [SYS/TEMP] deletion not confirmed*\nS: (closed)").await;
    assert_eq!(store.uids(), [3, 8]);
}

#[tokio::test]
async fn rfc_1939_section_6_a_session_without_quit_deletes_nothing_and_gives_the_lock_back() {
    let store = two_messages();
    let server = Server::new(&store);
    let mut client = server.log_in().await;
    client.talk("C: DELE 1\nS: +OK *").await;
    assert!(store.is_locked());
    drop(client);
    timeout(Duration::from_secs(5), async {
        while store.is_locked() {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(store.uids(), [3, 8]);
}

#[tokio::test(start_paused = true)]
async fn rfc_1939_section_3_autologout_after_ten_minutes_is_silent_and_deletes_nothing() {
    let store = two_messages();
    let mut client = Server::new(&store).log_in().await;
    client.talk("C: DELE 1\nS: +OK *").await;
    let began = tokio::time::Instant::now();
    assert_eq!(client.rest().await, "");
    assert_eq!(began.elapsed().as_secs(), 600);
    assert_eq!(store.uids(), [3, 8]);
}

#[tokio::test]
async fn rfc_2449_section_8_1_1_a_maildrop_has_one_session_at_a_time() {
    let store = two_messages();
    let server = Server::new(&store);
    let mut first = server.log_in().await;
    let mut second = server.connect();
    second
        .talk("S: +OK *\nC: USER ann@example.org\nS: +OK *\nC: PASS sesame\nS: -ERR [IN-USE] *\nC: STAT\nS: -ERR log in first")
        .await;
    first.talk("C: QUIT\nS: +OK *").await;
    second.talk("C: USER ann@example.org\nS: +OK *\nC: PASS sesame\nS: +OK 2 messages *").await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_session_loses_its_maildrop_to_the_next_one_and_then_deletes_nothing() {
    let store = two_messages();
    let server = Server::new(&store);
    let mut silent = server.log_in().await;
    silent.talk("C: DELE 1\nS: +OK *").await;
    sleep(Duration::from_secs(125)).await;
    let mut next = server.log_in().await;
    silent.talk("C: QUIT\nS: -ERR [IN-USE] *\nS: (closed)").await;
    assert_eq!(store.uids(), [3, 8]);
    next.talk("C: DELE 2\nS: +OK *\nC: QUIT\nS: +OK 1 *").await;
    assert_eq!(store.uids(), [3]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_session_keeps_its_maildrop_while_nobody_else_wants_it() {
    let store = two_messages();
    let server = Server::new(&store);
    let mut slow = server.log_in().await;
    for _ in 0..4 {
        sleep(Duration::from_secs(90)).await;
        slow.talk("C: NOOP\nS: +OK *").await;
        assert!(store.is_locked());
    }
    sleep(Duration::from_secs(300)).await;
    slow.talk("C: DELE 1\nS: +OK *\nC: QUIT\nS: +OK 1 *").await;
    assert_eq!(store.uids(), [8]);
}

#[tokio::test]
async fn rfc_1939_section_7_top() {
    let server = Server::new(&two_messages());
    server
        .log_in()
        .await
        .talk(
            "C: TOP 1 0
             S: +OK *
             S: Subject: one
             S: 
             S: .
             C: TOP 1 1
             S: +OK *
             S: Subject: one
             S: 
             S: ..hidden
             S: .
             C: TOP 2 99
             S: +OK *
             S: Subject: two
             S: 
             S: no line end
             S: .
             C: TOP 3 1
             S: -ERR no such message
             C: TOP 1
             S: -ERR TOP needs *",
        )
        .await;
}

#[tokio::test]
async fn rfc_1939_section_7_uidl_is_the_email_id_and_differs_for_copies() {
    let store = ScriptedStore::new(&[(3, 0xa, ONE), (8, 0xb, TWO), (9, 0xa, ONE)]);
    let mut client = Server::new(&store).log_in().await;
    client
        .talk(
            "C: UIDL
             S: +OK *
             S: 1 M1f-a
             S: 2 M1f-b
             S: 3 M1f-a-9
             S: .
             C: DELE 1
             S: +OK *
             C: UIDL 2
             S: +OK 2 M1f-b
             C: UIDL 1
             S: -ERR the message is deleted",
        )
        .await;
}

#[tokio::test]
async fn rfc_2449_section_5_capa_tells_what_can_be_done_now() {
    let store = two_messages();
    let server = Server::new(&store);
    let mut client = server.connect();
    client
        .talk(
            "S: +OK *
             C: CAPA
             S: +OK *
             S: TOP
             S: USER
             S: SASL SCRAM-SHA-256 PLAIN LOGIN
             S: RESP-CODES
             S: AUTH-RESP-CODE
             S: PIPELINING
             S: EXPIRE NEVER
             S: UIDL
             S: UTF8 USER
             S: IMPLEMENTATION SecuraNET-Mail
             S: .
             C: CAPA x
             S: -ERR no argument expected",
        )
        .await;
    server.log_in().await.talk("C: CAPA\nS: +OK *\nS: TOP\nS: USER\nS: SASL *").await;
}

#[tokio::test]
async fn rfc_2449_section_6_6_pipelined_commands_are_answered_in_order() {
    let store = two_messages();
    let mut client = Server::new(&store).connect();
    client.send(b"USER ann@example.org\r\nPASS sesame\r\nSTAT\r\nDELE 1\r\nRETR 2\r\nQUIT\r\n").await;
    client
        .talk(
            "S: +OK *
             S: +OK *
             S: +OK 2 messages *
             S: +OK 2 62
             S: +OK marked
             S: +OK 27 octets
             S: Subject: two
             S: 
             S: no line end
             S: .
             S: +OK 1 messages deleted, goodbye
             S: (closed)",
        )
        .await;
    assert_eq!(store.uids(), [8]);
}

#[tokio::test]
async fn rfc_2449_section_4_a_line_that_is_too_long_is_one_error() {
    let server = Server::new(&two_messages());
    let mut client = server.log_in().await;
    client.say(&format!("RETR {}", "1".repeat(300))).await;
    client
        .talk("S: -ERR line too long\nC: NOOP\nS: +OK *\nC: WHAT\nS: -ERR unknown command\nC: APOP a b\nS: -ERR *")
        .await;
}

#[tokio::test]
async fn rfc_2595_section_2_2_nothing_secret_is_taken_in_the_clear() {
    let store = two_messages();
    let mut server = Server::new(&store);
    server.trusted = false;
    let mut client = server.connect();
    client
        .talk(
            "S: +OK *
             C: USER ann@example.org
             S: -ERR begin TLS first
             C: PASS sesame
             S: -ERR begin TLS first
             C: AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZXNhbWU=
             S: -ERR begin TLS first
             C: STLS
             S: -ERR TLS cannot be begun here
             C: CAPA
             S: +OK *
             S: TOP
             S: RESP-CODES",
        )
        .await;
}

struct Certificate {
    tls: Arc<TlsSettings>,
    client: TlsConnector,
    _folder: tempfile::TempDir,
}

fn certificate() -> Certificate {
    let folder = tempfile::TempDir::new().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["mail.example.org".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("a.crt"), folder.path().join("a.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = TlsSettings::load("test", vec![CertificateFiles { certificate, key, names: Vec::new() }]).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Certificate { tls, client: TlsConnector::from(Arc::new(config)), _folder: folder }
}

#[tokio::test]
async fn rfc_2595_section_4_stls_begins_tls_and_forgets_what_was_said_before() {
    let store = two_messages();
    let certificate = certificate();
    let mut server = Server::new(&store);
    (server.trusted, server.tls) = (false, Some(certificate.tls.clone()));
    let mut clear = server.connect();
    clear.talk("S: +OK *\nC: CAPA\nS: +OK *\nS: TOP\nS: STLS").await;
    while clear.line().await != ".\r\n" {}
    clear.talk("C: STLS\nS: +OK begin TLS").await;
    let name = "mail.example.org".try_into().unwrap();
    let stream = certificate.client.connect(name, clear.0.into_inner()).await.unwrap();
    let mut client = Client(tokio::io::BufReader::new(stream));
    client
        .talk(
            "C: STLS
             S: -ERR *
             C: PASS sesame
             S: -ERR USER first
             C: CAPA
             S: +OK *
             S: TOP
             S: USER
             S: SASL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN
             S: RESP-CODES",
        )
        .await;
    while client.line().await != ".\r\n" {}
    client.talk("C: USER ann@example.org\nS: +OK *\nC: PASS sesame\nS: +OK 2 messages *\nC: QUIT\nS: +OK *").await;
}

#[tokio::test]
async fn rfc_2595_commands_behind_stls_are_never_read_as_if_they_came_under_tls() {
    let store = two_messages();
    let certificate = certificate();
    let mut server = Server::new(&store);
    (server.trusted, server.tls) = (false, Some(certificate.tls.clone()));
    let mut client = server.connect();
    client.talk("S: +OK *").await;
    client.send(b"STLS\r\nUSER ann@example.org\r\n").await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn rfc_5034_section_4_auth_plain_with_and_without_initial_response() {
    let server = Server::new(&two_messages());
    server
        .connect()
        .talk(
            "S: +OK *
             C: AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZXNhbWU=
             S: +OK 2 messages *
             C: AUTH PLAIN
             S: -ERR logged in already
             C: QUIT
             S: +OK *",
        )
        .await;
    server
        .connect()
        .talk(
            "S: +OK *
             C: auth plain
             S: + 
             C: AGFubkBleGFtcGxlLm9yZwBzZXNhbWU=
             S: +OK 2 messages *
             C: QUIT
             S: +OK *",
        )
        .await;
}

#[tokio::test]
async fn rfc_5034_section_4_exchanges_can_fail_in_each_way_and_be_begun_again() {
    let server = Server::new(&two_messages());
    server
        .connect()
        .talk(
            "S: +OK *
             C: AUTH
             S: +OK *
             S: SCRAM-SHA-256
             S: PLAIN
             S: LOGIN
             S: .
             C: AUTH CRAM-MD5
             S: -ERR no such mechanism
             C: AUTH PLAIN
             S: + 
             C: *
             S: -ERR cancelled
             C: AUTH PLAIN
             S: + 
             C: no base64
             S: -ERR not base64
             C: AUTH PLAIN AGFubkBleGFtcGxlLm9yZwB3cm9uZw==
             S: -ERR [AUTH] wrong user name or password
             C: AUTH SCRAM-SHA-256-PLUS
             S: -ERR *
             C: AUTH LOGIN
             S: + VXNlcm5hbWU6
             C: YW5uQGV4YW1wbGUub3Jn
             S: + UGFzc3dvcmQ6
             C: c2VzYW1l
             S: +OK 2 messages *",
        )
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_keeps_failing_is_sent_away() {
    let server = Server::new(&two_messages());
    let mut client = server.connect();
    client.talk("S: +OK *").await;
    for _ in 0..5 {
        client
            .talk("C: USER nobody@example.org\nS: +OK *\nC: PASS x\nS: -ERR [AUTH] wrong user name or password")
            .await;
    }
    client.talk("S: (closed)").await;
    let mut lost = server.connect();
    lost.talk("S: +OK *").await;
    for _ in 0..19 {
        lost.talk("C: EHLO x\nS: -ERR unknown command").await;
    }
    lost.talk("C: EHLO x\nS: -ERR too many errors\nS: (closed)").await;
}

#[tokio::test]
async fn rfc_6856_section_2_utf8_is_accepted_before_login_and_messages_come_raw_either_way() {
    let raw = "Subject: Gr\u{fc}\u{df}e\r\n\r\n\u{1f4ec}\r\n".as_bytes();
    let store = ScriptedStore::new(&[(1, 1, raw)]);
    let server = Server::new(&store);
    for utf8 in ["C: UTF8\nS: +OK *\n", ""] {
        let mut client = server.connect();
        client.talk(&format!("S: +OK *\n{utf8}C: USER ann@example.org\nS: +OK *\nC: PASS sesame\nS: +OK *")).await;
        client.talk(&format!("C: UTF8\nS: -ERR not in this state\nC: RETR 1\nS: +OK {} octets", raw.len())).await;
        assert_eq!(client.body().await, raw);
        client.talk("C: QUIT\nS: +OK *").await;
    }
}

#[tokio::test]
async fn rfc_2449_section_8_1_3_draining_says_sys_temp_and_deletes_nothing() {
    let store = two_messages();
    let server = Server::new(&store);
    let mut working = server.log_in().await;
    let mut idle = server.connect();
    working.talk("C: DELE 1\nS: +OK *").await;
    idle.talk("S: +OK *").await;
    server.drain.begin();
    working.talk("S: -ERR [SYS/TEMP] shutting down, try again\nS: (closed)").await;
    idle.talk("S: -ERR [SYS/TEMP] shutting down, try again\nS: (closed)").await;
    assert_eq!(store.uids(), [3, 8]);
}

#[tokio::test]
async fn a_quit_that_was_sent_before_draining_is_still_done() {
    let store = two_messages();
    let server = Server::new(&store);
    let mut client = server.log_in().await;
    client.talk("C: DELE 1\nS: +OK *").await;
    client.send(b"QUIT\r\n").await;
    server.drain.begin();
    client.talk("S: +OK 1 messages deleted, goodbye").await;
    assert_eq!(store.uids(), [8]);
}

#[tokio::test]
async fn a_suspension_ends_the_session_within_a_second_and_it_deletes_nothing() {
    let store = two_messages();
    let mut client = Server::new(&store).log_in().await;
    client.talk("C: DELE 1\nS: +OK *").await;
    store.suspend();
    let ended = timeout(Duration::from_secs(1), client.talk("S: -ERR [AUTH] the account has changed*\nS: (closed)"));
    ended.await.unwrap();
    assert_eq!(store.uids(), [3, 8]);
}

#[tokio::test]
async fn a_message_that_imap_expunged_meanwhile_is_an_error_and_not_the_end() {
    let store = two_messages();
    let mut client = Server::new(&store).log_in().await;
    store.messages.lock().remove(0);
    client.talk("C: RETR 1\nS: -ERR the message is gone\nC: RETR 2\nS: +OK 27 octets").await;
    client.body().await;
    client.talk("C: DELE 1\nS: +OK *\nC: QUIT\nS: +OK 0 messages deleted, goodbye").await;
    assert_eq!(store.uids(), [8]);
}

#[tokio::test]
async fn a_maildrop_longer_than_a_page_is_listed_whole() {
    let messages: Vec<(u32, u64, &[u8])> = (1..=2500).map(|number| (number * 2, u64::from(number), TWO)).collect();
    let mut client = Server::new(&ScriptedStore::new(&messages)).log_in().await;
    client.talk("C: STAT\nS: +OK 2500 67500\nC: UIDL 2500\nS: +OK 2500 M1f-9c4").await;
}
