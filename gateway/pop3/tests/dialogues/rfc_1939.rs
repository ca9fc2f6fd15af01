//! RFC 1939: the protocol as everybody knows it.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::{sleep, timeout};

use crate::{ONE, TWO, client::Server, store::ScriptedStore, two_messages};

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
