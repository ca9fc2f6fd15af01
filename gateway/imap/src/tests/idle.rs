//! RFC 2177, RFC 9051 6.3.13: IDLE.

use std::time::Duration;

use super::{Server, client::same};

#[tokio::test(start_paused = true)]
async fn rfc_9051_6_3_13_idle_wakes_by_a_change_and_ends_by_done() {
    let server = Server::new();
    let mut client = server.inbox().await;
    client.begin("IDLE").await;
    assert_eq!(client.line().await, "+ idling");
    server.store.deliver("Subject: x\r\n\r\nx\r\n");
    assert_eq!(client.line().await, "* 1 EXISTS");
    assert_eq!(client.line().await, "* 1 RECENT");
    let mut other = server.inbox().await;
    other.ok("STORE 1 +FLAGS (\\Deleted)").await;
    assert_eq!(client.line().await, "* 1 FETCH (FLAGS (\\Deleted \\Recent))");
    other.ok("EXPUNGE").await;
    assert_eq!(client.line().await, "* 1 EXPUNGE");
    client.send("DONE\r\n").await;
    same(&client.answer().await, &["OK Idle is over"], "DONE");
}

#[tokio::test(start_paused = true)]
async fn idle_stays_up_for_twenty_nine_minutes_and_gives_signs_of_life() {
    let server = Server::new();
    let mut client = server.inbox().await;
    client.begin("IDLE").await;
    assert_eq!(client.line().await, "+ idling");
    let begin = tokio::time::Instant::now();
    let mut signs = 0;
    let last = loop {
        match client.line().await.as_str() {
            "* OK Still here" => signs += 1,
            other => break other.to_owned(),
        }
    };
    assert_eq!(last, "* BYE Inactive for too long");
    assert!(begin.elapsed() >= Duration::from_secs(29 * 60), "{:?}", begin.elapsed());
    assert!(signs >= 6, "{signs}");
}

#[tokio::test]
async fn rfc_2177_3_anything_but_done_is_bad_and_idle_needs_no_mailbox() {
    let server = Server::new();
    let mut client = server.login().await;
    client.begin("IDLE").await;
    assert_eq!(client.line().await, "+ idling");
    client.send("NOOP\r\n").await;
    same(&client.answer().await, &["BAD DONE expected"], "NOOP");
    client.begin("IDLE\r\nDONE").await;
    assert_eq!(client.line().await, "+ idling");
    same(&client.answer().await, &["OK Idle is over"], "pipelined DONE");
}
