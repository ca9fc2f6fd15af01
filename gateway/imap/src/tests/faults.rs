//! Stores that cannot, clients that go, nodes that stop: what a session says then.

use securanet_gateway::model::StoreError;

use super::{Server, client::same};

const MESSAGE: &str = "Subject: x\r\n\r\nHello\r\n";

#[tokio::test]
async fn rfc_5530_3_a_store_that_cannot_commit_is_said_and_the_session_goes_on() {
    let server = Server::new();
    server.store.deliver(MESSAGE);
    let mut client = server.inbox().await;
    server.store.faults.lock().commits = Some(StoreError::Draining);
    let said = "NO [UNAVAILABLE] Service is temporarily unavailable, try again";
    client.check("STORE 1 +FLAGS (\\Seen)", &[said]).await;
    client.check("CREATE x", &[said]).await;
    client.check("APPEND INBOX {3+}\r\na\r\n", &[said]).await;
    client.check("COPY 1 Trash", &[said]).await;
    client.check("FETCH 1 FLAGS", &["* 1 FETCH (FLAGS (\\Recent))", "OK Fetched"]).await;
    server.store.faults.lock().commits = None;
    client.check("STORE 1 +FLAGS (\\Seen)", &["* 1 FETCH (FLAGS (\\Seen \\Recent))", "OK Stored"]).await;
}

#[tokio::test]
async fn a_full_disk_does_not_keep_mail_from_being_read() {
    let server = Server::new();
    server.store.deliver(MESSAGE);
    let mut client = server.inbox().await;
    server.store.faults.lock().commits = Some(StoreError::DiskFull { reserve_bytes: 1 });
    let answer = client.ok("FETCH 1 (FLAGS BODY[TEXT])").await;
    assert!(answer.contains("FLAGS (\\Recent)") && answer.contains("Hello"), "{answer}");
}

#[tokio::test]
async fn a_store_that_fails_in_the_middle_of_a_literal_ends_the_connection() {
    let server = Server::new();
    server.store.deliver(&format!("Subject: x\r\n\r\n{}", "0123456789\r\n".repeat(10_000)));
    let mut client = server.inbox().await;
    server.store.faults.lock().reads_end = Some(50_000);
    client.begin("FETCH 1 BODY.PEEK[]").await;
    let mut received = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut client.io, &mut received).await.unwrap();
    let text = String::from_utf8_lossy(&received);
    assert!(text.starts_with("* 1 FETCH (BODY[] {120046}\r\n"), "{}", &text[..60]);
    assert!(received.len() < 60_000 && !text.contains("BYE") && !text.contains("a3 "), "nothing is put behind it");
}

#[tokio::test]
async fn damaged_content_is_said_where_no_size_was_told_yet() {
    let server = Server::new();
    server.store.deliver(MESSAGE);
    let mut client = server.inbox().await;
    server.store.faults.lock().reads_end = Some(0);
    client.check("SEARCH BODY hello", &["NO [CORRUPTION] Stored data is damaged, an operator has been told"]).await;
}

#[tokio::test]
async fn draining_ends_a_session_that_idles_and_lets_a_command_finish() {
    let server = Server::new();
    let mut idle = server.inbox().await;
    idle.begin("IDLE").await;
    assert_eq!(idle.line().await, "+ idling");
    let mut busy = server.login().await;
    busy.begin("APPEND INBOX {9}").await;
    assert_eq!(busy.line().await, "+ OK");
    server.drain.begin();
    assert!(idle.line().await.starts_with("* BYE [UNAVAILABLE]"));
    busy.send("a: b\r\n\r\nx\r\n").await;
    same(&busy.answer().await, &["OK [APPENDUID 1000 1] Appended"], "APPEND while draining");
    assert!(busy.line().await.starts_with("* BYE [UNAVAILABLE]"));
}

#[tokio::test]
async fn a_client_that_goes_in_the_middle_of_a_message_leaves_nothing() {
    let server = Server::new();
    let mut client = server.login().await;
    client.begin("APPEND INBOX {1000}").await;
    assert_eq!(client.line().await, "+ OK");
    client.send("Subject: half").await;
    drop(client);
    let mut other = server.login().await;
    other.check("STATUS INBOX (MESSAGES)", &["* STATUS INBOX (MESSAGES 0)", "OK..."]).await;
    assert_eq!(server.store.commits(), 0);
}
