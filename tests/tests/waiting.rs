//! Mail for mailboxes of ours that waits in the queue: word of success, and not before its time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    process::Command,
    time::{Duration, Instant},
};

use securanet_tests::{
    dialogue::Dialogue,
    server::{PASSWORD, Server, address, must},
};

/// Submits with what the envelope may ask for, as Python's smtplib does. Prints the reply to RCPT.
const CLIENT: &str = r#"
import smtplib, ssl, sys
port, certificate, sender, recipient, password, mail, rcpt = sys.argv[1:]
with smtplib.SMTP_SSL("localhost", int(port), context=ssl.create_default_context(cafile=certificate)) as client:
    client.login(sender, password)
    message = f"From: {sender}\r\nTo: {recipient}\r\nSubject: waits\r\nMessage-ID: <{abs(hash(mail + rcpt))}@test.example>\r\n\r\ntext\r\n"
    client.sendmail(sender, [recipient], message, mail.split(), rcpt.split())
"#;

fn submit(server: &Server, to: &str, mail: &str, rcpt: &str) {
    let mut command = Command::new("python3");
    command.args(["-c", CLIENT, &server.port("submissions").to_string()]).arg(server.certificate());
    command.args([&address("ann"), to, PASSWORD, mail, rcpt]);
    must(command, "").unwrap();
}

/// The messages in an INBOX, oldest first.
fn inbox(server: &Server, local: &str) -> Vec<String> {
    let mut imap = Dialogue::imap(server.address("imap"), local).unwrap();
    let lines = imap.imap_ok("SELECT INBOX").unwrap();
    let exists = lines.iter().find_map(|line| line.strip_prefix("* ")?.strip_suffix(" EXISTS")?.parse::<u32>().ok());
    (1..=exists.unwrap()).map(|uid| String::from_utf8(imap.fetch_message(uid).unwrap()).unwrap()).collect()
}

fn wait_for(server: &Server, local: &str, count: usize) -> Vec<String> {
    let began = Instant::now();
    loop {
        let found = inbox(server, local);
        if found.len() >= count {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(40), "{local} has {} messages: {}", found.len(), server.log());
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn rfc_3461_word_of_success_comes_from_mailboxes_here() {
    let server = Server::start(&["ann", "bob"]).unwrap();
    let (ann, bob) = (address("ann"), address("bob"));
    submit(&server, &bob, "RET=HDRS ENVID=QQ314159", &format!("NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;{bob}"));
    let report = wait_for(&server, "ann", 1).remove(0);
    for line in [
        "Content-Type: multipart/report; report-type=delivery-status;",
        "Original-Envelope-Id: QQ314159",
        &format!("Final-Recipient: rfc822; {bob}"),
        "Action: delivered",
        "Status: 2.0.0",
        "was delivered to this recipient.",
        "Subject: Delivered: waits",
        "Auto-Submitted: auto-replied",
    ] {
        assert!(report.replace("\r\n", " ").contains(line), "{line}: {report}");
    }
    assert!(!report.contains("Remote-MTA"), "{report}");
    let message = wait_for(&server, "bob", 1).remove(0);
    let start = format!("Return-Path: <{ann}>\r\nDelivered-To: {bob}\r\nReceived: from ");
    assert!(message.starts_with(&start) && message.ends_with("\r\n\r\ntext\r\n"), "{message}");
    // Without SUCCESS nothing waits and nothing is told.
    submit(&server, &bob, "", "NOTIFY=FAILURE");
    submit(&server, &bob, "", "NOTIFY=NEVER");
    assert_eq!(inbox(&server, "bob").len(), 3, "put there before the reply");
    assert_eq!(inbox(&server, "ann").len(), 1);
}

#[test]
fn a_stranger_who_asks_is_told_and_nobody_else() {
    let server = Server::start(&["ann", "bob"]).unwrap();
    let (ann, bob) = (address("ann"), address("bob"));
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    let mut send = |from: &str, number: u32, recipients: &[String]| {
        smtp.expect(&format!("MAIL FROM:<{from}>"), "250").unwrap();
        recipients.iter().for_each(|recipient| drop(smtp.expect(&format!("RCPT TO:{recipient}"), "250").unwrap()));
        smtp.expect("DATA", "354").unwrap();
        let message =
            format!("From: x@y.example\r\nSubject: {number}\r\nMessage-ID: <{number}@y.example>\r\n\r\ntext\r\n.");
        smtp.expect(&message, "250").unwrap();
    };
    let asks = |to: &str| format!("<{to}> NOTIFY=SUCCESS");
    send("joe@stranger.invalid", 1, &[asks(&bob), format!("<{ann}>")]);
    assert_eq!(inbox(&server, "ann").len(), 1, "who did not ask is served at once");
    wait_for(&server, "bob", 1);
    // A repeat of the stranger, who never saw the reply.
    send("joe@stranger.invalid", 1, &[asks(&bob), format!("<{ann}>")]);
    send("", 2, &[asks(&bob)]);
    assert_eq!(wait_for(&server, "bob", 2).len(), 2, "a null sender's mail goes in at once, a repeat never");
    let began = Instant::now();
    let reports = loop {
        let text = server.cli(&["queue", "list", "--json", "--ended"], "").unwrap();
        let items: serde_json::Value = serde_json::from_str(&text).unwrap();
        let items = items.as_array().unwrap().clone();
        let reports: Vec<_> = items.into_iter().filter(|item| item["origin"] == "report").collect();
        if !reports.is_empty() {
            break reports;
        }
        assert!(began.elapsed() < Duration::from_secs(40), "{text}");
        std::thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(reports.len(), 1, "the repeat is nothing new: {reports:?}");
    assert!(reports.iter().all(|item| item["sender"] == "<>"), "{reports:?}");
    assert!(reports.iter().all(|item| item["recipients"][0]["address"] == "joe@stranger.invalid"), "{reports:?}");
    assert_eq!((inbox(&server, "ann").len(), inbox(&server, "bob").len()), (1, 2));
}

#[test]
fn mail_that_went_into_a_mailbox_at_once_is_found_there() {
    let server = Server::start(&["ann", "bob"]).unwrap();
    let (ann, bob) = (address("ann"), address("bob"));
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    let message = "From: x@y.example\r\nMessage-ID: <here@y.example>\r\n\r\ntext\r\n";
    smtp.deliver("s@y.example", &["ann"], message).unwrap();
    for id in ["here@y.example", "<here@y.example>"] {
        let told = server.cli(&["trace", id, "--to", &ann], "").unwrap();
        for part in [&format!("in INBOX of {ann}, UID 1,"), "from <s@y.example> to ", "received from "] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
    let nowhere = server.cli(&["trace", "here@y.example", "--to", &bob], "").unwrap_err().to_string();
    assert!(nowhere.contains("ask the log"), "{nowhere}");
}

#[test]
fn rfc_4865_what_is_held_comes_not_before_its_time_and_survives_a_crash() {
    let mut server = Server::start(&["ann", "bob"]).unwrap();
    let bob = address("bob");
    let began = Instant::now();
    submit(&server, &bob, "HOLDFOR=8", "");
    assert_eq!(inbox(&server, "bob").len(), 0);
    server.kill();
    server.restart().unwrap();
    while began.elapsed() < Duration::from_secs(7) {
        assert_eq!(inbox(&server, "bob").len(), 0, "after {:?}", began.elapsed());
        std::thread::sleep(Duration::from_millis(200));
    }
    wait_for(&server, "bob", 1);
    assert!(began.elapsed() >= Duration::from_secs(8));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!((inbox(&server, "bob").len(), inbox(&server, "ann").len()), (1, 0), "once, and nobody is told");
}
