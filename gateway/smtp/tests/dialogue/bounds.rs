//! Bounds of a session: errors, time (RFC 5321 4.5.3), size (RFC 1870), loops, and draining.

use std::time::Duration;

use crate::server::Server;

#[tokio::test(start_paused = true)]
async fn rfc_5321_4_5_3_1_4_a_line_too_long_is_refused_and_the_next_is_read() {
    let mut server = Server::smtp();
    let (long, longer) = ("x".repeat(600), "x".repeat(20_000));
    let dialogue = format!(
        "
        S: 220 *
        C: NOOP {long}
        S: 500 5.5.2 *
        C: NOOP {longer}
        S: 500 5.5.2 *
        C: NOOP
        S: 250 2.0.0 ok"
    );
    server.check(&dialogue).await;
}

#[tokio::test(start_paused = true)]
async fn rfc_5321_2_3_8_a_command_ends_with_crlf() {
    let mut server = Server::smtp();
    let mut client = server.connect();
    client.expect("220 *", "").await;
    client.send(b"HELO a\nNOOP\r\n").await;
    client.hold("S: 500 5.5.2 lines end with CRLF\nS: 250 2.0.0 ok").await;
    client.bye().await;
}

#[tokio::test(start_paused = true)]
async fn too_many_errors_end_a_session() {
    let mut server = Server::smtp();
    server.settings.errors_max = 2;
    let dialogue = "
        S: 220 *
        C: WHAT
        S: 500 5.5.1 *
        C: EHLO
        S: 501 5.5.4 *
        C: MAIL FROM:<>
        S: 503 5.5.1 *
        S: 421 4.7.0 too many errors
        S: EOF";
    server.check(dialogue).await;
}

#[tokio::test(start_paused = true)]
async fn too_many_refused_recipients_end_a_session() {
    let mut server = Server::smtp();
    server.settings.refused_recipients_max = 1;
    let dialogue = "
        S: 220 *
        C: HELO a
        S: 250 *
        C: MAIL FROM:<>
        S: 250 *
        C: RCPT TO:<x@example.org>
        S: 550 5.1.1 *
        C: RCPT TO:<y@example.org>
        S: 550 5.1.1 *
        S: 421 4.7.0 too many refused recipients
        S: EOF";
    server.check(dialogue).await;
}

#[tokio::test(start_paused = true)]
async fn too_many_commands_without_a_message_end_a_session() {
    let mut server = Server::smtp();
    server.settings.commands_max = 2;
    let dialogue = "
        S: 220 *
        C: NOOP
        C: NOOP
        C: NOOP
        S: 250 *
        S: 250 *
        S: 250 *
        S: 421 4.7.0 too many commands without a message
        S: EOF";
    server.check(dialogue).await;
}

#[tokio::test(start_paused = true)]
async fn a_browser_is_sent_away_at_once() {
    let dialogue = "
        S: 220 *
        C: POST / HTTP/1.1
        C: Host: mail.example.org
        C:
        C: HELO a
        S: 554 5.5.1 *
        S: EOF";
    Server::smtp().check(dialogue).await;
}

#[tokio::test(start_paused = true)]
async fn rfc_5321_4_5_3_2_7_a_silent_client_is_sent_away_after_five_minutes() {
    let mut server = Server::smtp();
    let mut client = server.connect();
    client.expect("220 *", "").await;
    let begun = tokio::time::Instant::now();
    client.hold("S: 421 4.4.2 *\nS: EOF").await;
    assert_eq!(begun.elapsed().as_secs(), 300);
}

#[tokio::test(start_paused = true)]
async fn rfc_5321_4_5_3_2_a_message_that_stops_or_trickles_keeps_nothing() {
    let start = "
        S: 220 *
        C: HELO a
        C: MAIL FROM:<>
        C: RCPT TO:<ann@example.org>
        C: DATA
        S: 250 *
        S: 250 *
        S: 250 *
        S: 354 *
        C: begun";
    let mut server = Server::smtp();
    server.check(&format!("{start}\nS: 421 4.4.2 *\nS: EOF")).await;
    let mut client = server.connect();
    client.hold(start).await;
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(2 * 3600) {
        tokio::time::sleep(Duration::from_secs(60)).await;
        client.send(b".").await;
    }
    client.hold("S: 421 4.4.2 *\nS: EOF").await;
    assert!(server.store.script().executed.is_empty());
}

#[tokio::test(start_paused = true)]
async fn rfc_5321_3_8_a_draining_server_says_421_when_idle_and_at_mail() {
    let mut server = Server::smtp();
    let mut client = server.connect();
    client.hold("S: 220 *\nC: HELO a\nS: 250 *").await;
    server.drain.begin();
    client.hold("S: 421 4.3.2 *\nS: EOF").await;
    client.bye().await;
    // The greeting and a batch were on their way already.
    server.check("C: HELO a\nC: MAIL FROM:<>\nC: NOOP\nS: 220 *\nS: 250 *\nS: 421 4.3.2 *\nS: EOF").await;
}

#[tokio::test(start_paused = true)]
async fn rfc_5321_3_8_a_message_on_its_way_is_finished_while_draining() {
    let mut server = Server::smtp();
    let mut client = server.connect();
    let transaction = "
        S: 220 *
        C: HELO a
        C: MAIL FROM:<>
        C: RCPT TO:<ann@example.org>
        S: 250 *
        S: 250 *
        S: 250 *";
    client.hold(transaction).await;
    server.drain.begin();
    client.hold("C: DATA\nS: 354 *\nC: text\nC: .\nS: 250 2.0.0 *\nS: 421 4.3.2 *\nS: EOF").await;
    client.bye().await;
    assert_eq!(server.store.contents(), [b"text\r\n"]);
}

#[tokio::test(start_paused = true)]
async fn rfc_5321_3_8_who_dawdles_in_a_message_is_cut_off_while_draining() {
    let mut server = Server::smtp();
    let mut client = server.connect();
    client.hold("S: 220 *\nC: HELO a\nC: MAIL FROM:<>\nS: 250 *\nS: 250 *").await;
    server.drain.begin();
    let begun = tokio::time::Instant::now();
    client.hold("S: 421 4.3.2 *\nS: EOF").await;
    assert!(begun.elapsed() <= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn rfc_1870_6_1_a_size_too_large_is_refused_at_mail() {
    let mut server = Server::smtp();
    server.settings.message_size_bytes_max = 1000;
    let dialogue = "
        S: 220 *
        C: EHLO a
        S: 250-mail.example.org
        S: 250-PIPELINING
        S: 250-SIZE 1000
        S: 250-*
        S: 250-*
        S: 250-*
        S: 250-*
        S: 250 *
        C: MAIL FROM:<> SIZE=1001
        S: 552 5.3.4 *
        C: MAIL FROM:<> SIZE=1000
        S: 250 2.1.0 *";
    server.check(dialogue).await;
}

#[tokio::test(start_paused = true)]
async fn rfc_1870_6_3_a_message_that_grows_too_large_is_refused_at_its_end() {
    let mut server = Server::smtp();
    server.settings.message_size_bytes_max = 1000;
    let start = "
        S: 220 *
        C: HELO a
        C: MAIL FROM:<> SIZE=10
        C: RCPT TO:<ann@example.org>
        C: DATA
        S: 250 *
        S: 250 *
        S: 250 *
        S: 354 *";
    let line = |octets: usize| "x".repeat(octets - 2);
    let fits = format!("{start}\nC: {}\nC: .\nS: 250 2.0.0 *\nC: NOOP\nS: 250 2.0.0 ok", line(1000));
    server.check(&fits).await;
    let large = format!("{start}\nC: {}\nC: .\nC: NOOP\nS: 552 5.3.4 *\nS: 250 2.0.0 ok", line(1001));
    server.check(&large).await;
    // Far more than the limit is not even passed over: the session ends, and what follows is no command.
    let endless = format!("{start}\nC: {}\nC: {}\nC: .\nC: NOOP\nS: 552 5.3.4 *\nS: EOF", line(1500), line(30_000));
    server.check(&endless).await;
    assert_eq!(server.store.script().executed.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn rfc_5321_6_3_a_message_that_goes_in_circles_is_refused() {
    let mut server = Server::smtp();
    let message = |received: usize| "C: Received: from a by b; Tue, 15 Nov 1994 08:12:31 +0000\n".repeat(received);
    let dialogue = |received: usize, reply: &str| {
        format!(
            "
            S: 220 *
            C: HELO a
            C: MAIL FROM:<>
            C: RCPT TO:<ann@example.org>
            C: DATA
            S: 250 *
            S: 250 *
            S: 250 *
            S: 354 *
            {}
            C: .
            S: {reply}",
            message(received)
        )
    };
    server.check(&dialogue(101, "554 5.4.6 *")).await;
    assert!(server.store.script().executed.is_empty());
    server.check(&dialogue(100, "250 2.0.0 *")).await;
}
