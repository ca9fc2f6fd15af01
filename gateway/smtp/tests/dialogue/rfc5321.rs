//! RFC 5321 and pipelining (RFC 2920): transactions, their order, their replies and traces.

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
        S: 250-ENHANCEDSTATUSCODES
        S: 250 DSN
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
        S: 503 5.5.1 *
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
