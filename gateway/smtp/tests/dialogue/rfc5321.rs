//! RFC 5321 and its companions for pipelining (2920), size (1870) and status codes (2034, 3463).

use std::time::Duration;

use securanet_gateway::model::{Command, StoreError, delivery::QuotaRule};
use tokio::io::AsyncReadExt;

use crate::server::Server;

#[tokio::test(start_paused = true)]
async fn rfc_5321_d_1_a_typical_transaction() {
    let mut server = Server::smtp();
    let dialogue = "
        S: 220 mail.example.org ESMTP SecuraNET Mail
        C: EHLO mx.example.net
        S: 250-mail.example.org
        S: 250-PIPELINING
        S: 250-SIZE 52428800
        S: 250-8BITMIME
        S: 250-SMTPUTF8
        S: 250-CHUNKING
        S: 250 ENHANCEDSTATUSCODES
        C: MAIL FROM:<sender@example.net>
        S: 250 2.1.0 sender ok
        C: RCPT TO:<ann@example.org>
        S: 250 2.1.5 recipient ok
        C: RCPT TO:<nobody@example.org>
        S: 550 5.1.1 no such mailbox here
        C: DATA
        S: 354 end with CRLF.CRLF
        C: Subject: hello
        C: Message-ID: <1@example.net>
        C:
        C: ..a dot
        C: .
        S: 250 2.0.0 kept as *
        C: QUIT
        S: 221 2.0.0 bye
        S: EOF";
    server.check(dialogue).await;
    assert_eq!(server.store.contents(), [b"Subject: hello\r\nMessage-ID: <1@example.net>\r\n\r\n.a dot\r\n"]);
    let commands = server.store.commands();
    let [Command::Deliver(deliver)] = commands.as_slice() else { panic!("{commands:?}") };
    assert_eq!(deliver.quota, QuotaRule::Enforced);
    assert_eq!(deliver.to[0].prefix.bytes, b"Return-Path: <sender@example.net>\r\nDelivered-To: ann@example.org\r\n");
    assert!(deliver.to[0].repeat_key.is_some());
}

#[tokio::test(start_paused = true)]
async fn rfc_5321_4_4_the_trace_names_the_message_as_the_reply_does() {
    let mut server = Server::smtp();
    let mut client = server.connect();
    let before = "
        S: 220 *
        C: HELO [192.0.2.7]
        S: 250 mail.example.org
        C: MAIL FROM:<>
        C: RCPT TO:<ann@example.org>
        C: DATA
        S: 250 *
        S: 250 *
        S: 354 *
        C: .";
    client.hold(before).await;
    let reply = client.line().await;
    let id = reply.strip_prefix("250 2.0.0 kept as ").unwrap().to_owned();
    client.bye().await;
    let script = server.store.script();
    let [put] = script.puts.as_slice() else { panic!("{:?}", script.puts) };
    let start = "Received: from [192.0.2.7] ([192.0.2.7])\r\n\tby mail.example.org with SMTP\r\n\tid ";
    assert!(put.trace.starts_with(&format!("{start}{id}\r\n\tfor <ann@example.org>;\r\n\t")), "{}", put.trace);
    assert!(put.trace.ends_with(" +0000\r\n"));
    assert_eq!(put.content, b"");
}

#[tokio::test(start_paused = true)]
async fn rfc_5321_4_4_several_recipients_do_not_learn_of_each_other() {
    let mut server = Server::smtp();
    let dialogue = "
        S: 220 *
        C: HELO mx.example.net
        C: MAIL FROM:<>
        C: RCPT TO:<ann@example.org>
        C: RCPT TO:<bob@example.org>
        C: DATA
        S: 250 *
        S: 250 *
        S: 250 *
        S: 250 *
        S: 354 *
        C: .
        S: 250 2.0.0 *";
    server.check(dialogue).await;
    assert!(!server.store.script().puts[0].trace.contains("for "));
}

#[tokio::test(start_paused = true)]
async fn rfc_2920_replies_to_a_batch_leave_in_one_write() {
    let mut server = Server::smtp();
    let mut client = server.connect();
    client.expect("220 *", "").await;
    client.send(b"HELO a\r\nMAIL FROM:<>\r\nRCPT TO:<ann@example.org>\r\nRCPT TO:<x@y.z>\r\nNOOP\r\nDATA\r\n").await;
    let mut buffer = [0; 4096];
    let octets = client.io.read(&mut buffer).await.unwrap();
    let replies = std::str::from_utf8(&buffer[..octets]).unwrap();
    let codes: Vec<&str> = replies.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["250", "250", "250", "550", "250", "354"]);
}

#[tokio::test(start_paused = true)]
async fn rfc_2920_a_message_and_the_next_transaction_may_come_together() {
    let mut server = Server::smtp();
    let dialogue = "
        S: 220 *
        C: HELO a
        C: MAIL FROM:<>
        C: RCPT TO:<ann@example.org>
        C: DATA
        C: one
        C: .
        C: MAIL FROM:<>
        C: RCPT TO:<bob@example.org>
        C: DATA
        C: two
        C: .
        C: QUIT
        S: 250 *
        S: 250 2.1.0 *
        S: 250 2.1.5 *
        S: 354 *
        S: 250 2.0.0 *
        S: 250 2.1.0 *
        S: 250 2.1.5 *
        S: 354 *
        S: 250 2.0.0 *
        S: 221 *
        S: EOF";
    server.check(dialogue).await;
    assert_eq!(server.store.contents(), [b"one\r\n", b"two\r\n"]);
}

#[tokio::test(start_paused = true)]
async fn rfc_5321_4_1_4_commands_have_an_order() {
    let mut server = Server::smtp();
    let dialogue = "
        S: 220 *
        C: MAIL FROM:<>
        S: 503 5.5.1 *
        C: RCPT TO:<ann@example.org>
        S: 503 5.5.1 *
        C: DATA
        S: 503 5.5.1 *
        C: EHLO a
        S: 250-*
        S: 250-*
        S: 250-*
        S: 250-*
        S: 250-*
        S: 250-*
        S: 250 *
        C: RCPT TO:<ann@example.org>
        S: 503 5.5.1 *
        C: MAIL FROM:<>
        S: 250 *
        C: MAIL FROM:<>
        S: 503 5.5.1 *
        C: DATA
        S: 503 5.5.1 RCPT comes first
        C: RCPT TO:<x@y.z>
        S: 550 5.7.1 *
        C: DATA
        S: 554 5.5.1 no valid recipients
        C: STARTTLS
        S: 503 5.5.1 *
        C: RSET
        S: 250 2.0.0 ok
        C: RCPT TO:<ann@example.org>
        S: 503 5.5.1 *
        C: MAIL FROM:<>
        S: 250 *
        C: RCPT TO:<ann@example.org>
        S: 250 *
        C: HELO b
        S: 250 mail.example.org
        C: DATA
        S: 503 5.5.1 MAIL comes first";
    server.check(dialogue).await;
    assert!(server.store.script().executed.is_empty());
}

#[tokio::test(start_paused = true)]
async fn rfc_5321_4_5_1_and_7_3_commands_that_are_always_there() {
    let dialogue = "
        S: 220 *
        C: NOOP anything
        S: 250 2.0.0 ok
        C: HELP
        S: 214 2.0.0 *
        C: VRFY ann
        S: 252 2.0.0 *
        C: EXPN all
        S: 252 2.0.0 *
        C: RSET
        S: 250 2.0.0 ok
        C: AUTH PLAIN
        S: 500 5.5.1 *
        C: STARTTLS
        S: 502 5.5.1 *
        C: LHLO a
        S: 500 5.5.1 this is SMTP: say EHLO
        C: QUIT
        S: 221 2.0.0 bye
        S: EOF";
    Server::smtp().check(dialogue).await;
}

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

#[tokio::test(start_paused = true)]
async fn data_that_was_sent_although_data_was_refused_is_no_command() {
    let mut server = Server::smtp();
    let eager = "
        S: 220 *
        C: HELO a
        C: MAIL FROM:<>
        C: DATA
        C: VRFY ann
        C: .
        S: 250 *
        S: 250 *
        S: 503 5.5.1 *
        S: EOF";
    server.check(eager).await;
    server.store.script().put_fails = Some(StoreError::Busy);
    let busy = "
        S: 220 *
        C: HELO a
        C: MAIL FROM:<>
        C: RCPT TO:<ann@example.org>
        C: DATA
        C: VRFY ann
        C: .
        S: 250 *
        S: 250 *
        S: 250 *
        S: 451 4.3.2 *
        S: EOF";
    server.check(busy).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_in_the_middle_of_a_message_leaves_nothing() {
    let mut server = Server::smtp();
    let dialogue = "
        S: 220 *
        C: HELO a
        C: MAIL FROM:<>
        C: RCPT TO:<ann@example.org>
        C: DATA
        S: 250 *
        S: 250 *
        S: 250 *
        S: 354 *
        C: no end";
    server.check(dialogue).await;
    assert!(server.store.script().puts.is_empty());
    assert!(server.store.script().executed.is_empty());
}
