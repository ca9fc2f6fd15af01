//! Locks, and the many ways in which a session ends.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::{client::Server, two_messages};

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

#[tokio::test(start_paused = true)]
async fn a_suspension_ends_the_session_within_a_second_and_it_deletes_nothing() {
    let store = two_messages();
    let mut client = Server::new(&store).log_in().await;
    client.talk("C: DELE 1\nS: +OK *").await;
    store.suspend();
    let ended = timeout(Duration::from_secs(1), client.talk("S: -ERR [AUTH] the account has changed*\nS: (closed)"));
    ended.await.unwrap();
    assert_eq!(store.uids(), [3, 8]);
}
