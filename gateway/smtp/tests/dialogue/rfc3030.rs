//! RFC 3030: CHUNKING.

use crate::server::Server;

const START: &str = "
    S: 220 *
    C: HELO a
    C: MAIL FROM:<>
    C: RCPT TO:<ann@example.org>
    S: 250 *
    S: 250 *
    S: 250 *";

/// Begins a transaction, sends octets as they are, then holds what the dialogue says.
async fn check(server: &mut Server, sent: &[u8], dialogue: &str) {
    let mut client = server.connect();
    client.hold(START).await;
    client.send(sent).await;
    client.hold(dialogue).await;
    client.bye().await;
}

#[tokio::test(start_paused = true)]
async fn rfc_3030_4_1_a_message_in_one_chunk() {
    let mut server = Server::smtp();
    check(&mut server, b"BDAT 9 LAST\r\na\r\n.\r\nb\r\n", "S: 250 2.0.0 kept as *\nC: NOOP\nS: 250 2.0.0 ok").await;
    assert_eq!(server.store.contents(), [b"a\r\n.\r\nb\r\n"]);
}

#[tokio::test(start_paused = true)]
async fn rfc_3030_4_2_pipelined_chunks_each_have_a_reply() {
    let mut server = Server::smtp();
    let sent = b"BDAT 4\r\na\r\nbBDAT 0\r\nBDAT 3\r\nc\r\nBDAT 0 LAST\r\nRSET\r\n";
    let replies = "
        S: 250 2.0.0 4 octets taken
        S: 250 2.0.0 0 octets taken
        S: 250 2.0.0 3 octets taken
        S: 250 2.0.0 kept as *
        S: 250 2.0.0 ok";
    check(&mut server, sent, replies).await;
    assert_eq!(server.store.contents(), [b"a\r\nbc\r\n"]);
    assert_eq!(server.store.script().executed.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn rfc_3030_2_what_a_message_does_not_end_with_is_not_added() {
    let mut server = Server::smtp();
    check(&mut server, b"BDAT 1 LAST\r\na", "S: 250 2.0.0 *").await;
    assert_eq!(server.store.contents(), [b"a"]);
}

#[tokio::test(start_paused = true)]
async fn rfc_3030_2_a_chunk_out_of_order_is_passed_over() {
    let mut server = Server::smtp();
    let before_mail = "
        S: 220 *
        C: BDAT 6
        C: QUIT
        S: 503 5.5.1 *
        C: HELO a
        S: 250 *
        C: BDAT 6 LAST
        C: QUIT
        S: 503 5.5.1 *
        C: MAIL FROM:<>
        S: 250 *
        C: BDAT 6
        C: QUIT
        S: 503 5.5.1 RCPT comes first
        C: NOOP
        S: 250 *";
    server.check(before_mail).await;
    let mixed = "
        S: 250 2.0.0 *
        C: DATA
        S: 503 5.5.1 *
        C: RCPT TO:<bob@example.org>
        S: 503 5.5.1 *
        C: MAIL FROM:<>
        S: 503 5.5.1 *
        C: RSET
        S: 250 *
        C: BDAT 6
        C: QUIT
        S: 503 5.5.1 MAIL comes first";
    check(&mut server, b"BDAT 3\r\na\r\n", mixed).await;
    assert!(server.store.script().executed.is_empty());
}

#[tokio::test(start_paused = true)]
async fn rfc_3030_2_after_a_failed_chunk_the_others_are_passed_over() {
    let mut server = Server::smtp();
    server.settings.message_size_bytes_max = 10;
    let sent = b"BDAT 6\r\nQUIT\r\nBDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n";
    let replies = "
        S: 250 2.0.0 6 octets taken
        S: 552 5.3.4 *
        S: 552 5.3.4 *
        S: 250 2.0.0 ok";
    check(&mut server, sent, replies).await;
    assert!(server.store.script().executed.is_empty());
}

#[tokio::test(start_paused = true)]
async fn rfc_3030_2_a_chunk_larger_than_we_pass_over_ends_the_session() {
    let mut server = Server::smtp();
    server.settings.message_size_bytes_max = 10;
    check(&mut server, b"BDAT 99999999\r\nQUIT\r\nQUIT\r\n", "S: 552 5.3.4 *\nS: EOF").await;
    server.check("S: 220 *\nC: BDAT 99999999\nC: QUIT\nS: 503 5.5.1 *\nS: EOF").await;
}

#[tokio::test(start_paused = true)]
async fn rfc_3030_2_a_size_that_cannot_be_read_ends_the_session() {
    let mut server = Server::smtp();
    check(&mut server, b"BDAT six\r\nRSET\r\n", "S: 501 5.5.4 *\nS: EOF").await;
}

#[tokio::test(start_paused = true)]
async fn rfc_3030_2_a_store_that_refuses_is_told_with_the_first_chunk() {
    let mut server = Server::smtp();
    server.store.script().put_fails = Some(securanet_gateway::model::StoreError::Busy);
    let replies = "S: 451 4.3.2 *\nS: 451 4.3.2 *\nC: NOOP\nS: 250 2.0.0 ok";
    check(&mut server, b"BDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\n", replies).await;
}
