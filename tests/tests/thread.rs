//! The thread through everything: a stranger's server hands a message over, and a person reads it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use securanet_tests::{
    dialogue::Dialogue,
    server::{Server, address},
};

const MESSAGE: &str = "From: Stranger <s@remote.example>\r\nTo: ann@test.example\r\nSubject: hello\r\n\
                       Message-ID: <thread-1@remote.example>\r\n\r\nIt works.\r\n..dots stay\r\n";

#[test]
fn a_message_goes_in_by_smtp_and_comes_out_by_imap_and_pop3_after_a_crash_too() {
    let mut server = Server::start(&["ann", "bob"]).unwrap();
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    let reply = smtp.deliver("s@remote.example", &["ann"], &MESSAGE.replace("\r\n..", "\r\n...")).unwrap();
    assert!(reply.starts_with("250 2."), "{reply}");

    for crashed in [false, true] {
        let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
        let selected = imap.imap_ok("SELECT INBOX").unwrap();
        assert!(selected.contains(&"* 1 EXISTS".to_owned()), "after a crash: {crashed}: {selected:?}");
        let fetched = imap.imap_ok("FETCH 1 (UID FLAGS ENVELOPE BODY.PEEK[TEXT])").unwrap().join("\n");
        for part in ["UID 1", "\"hello\"", "<thread-1@remote.example>", "It works.\r\n..dots stay\r\n"] {
            assert!(fetched.contains(part), "{part:?} is not in {fetched}");
        }
        let header = imap.imap_ok("FETCH 1 BODY.PEEK[HEADER]").unwrap().join("\n");
        for field in
            ["Return-Path: <s@remote.example>", "Delivered-To: ann@test.example", "Received: from client.example"]
        {
            assert!(header.contains(field), "{field:?} is not in {header}");
        }
        let mut pop3 = Dialogue::pop3(server.address("pop3"), "ann").unwrap();
        pop3.pop3_ok("RETR 1").unwrap();
        let body = String::from_utf8(pop3.pop3_body().unwrap()).unwrap();
        assert!(body.ends_with("\r\n\r\nIt works.\r\n..dots stay\r\n"), "{body:?}");
        pop3.pop3_ok("QUIT").unwrap();
        server.kill();
        server.restart().unwrap();
    }
}

#[test]
fn mail_for_accounts_of_several_shards_is_one_commit_and_reaches_each_once() {
    let names: Vec<String> = (0..12).map(|n| format!("member{n}")).collect();
    let locals: Vec<&str> = names.iter().map(String::as_str).collect();
    let server = Server::start(&locals).unwrap();
    let mut group = vec!["group".to_owned(), "set".to_owned(), address("team")];
    group.extend(locals.iter().map(|local| address(local)));
    let words: Vec<&str> = group.iter().map(String::as_str).collect();
    server.cli(&words, "").unwrap();

    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    let reply = smtp.deliver("s@remote.example", &["team", "member3"], MESSAGE).unwrap();
    assert!(reply.starts_with("250 2."), "{reply}");
    for local in locals {
        let mut imap = Dialogue::imap(server.address("imap"), local).unwrap();
        let start = std::time::Instant::now();
        loop {
            let counted = imap.imap_ok("STATUS INBOX (MESSAGES)").unwrap().join("");
            if counted.contains("MESSAGES 1") {
                break;
            }
            assert!(counted.contains("MESSAGES 0") && start.elapsed().as_secs() < 20, "{local}: {counted}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    let status = server.cli(&["status", "--json"], "").unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let pending: u64 =
        status["groups"].as_array().unwrap().iter().map(|group| group["pending"].as_u64().unwrap()).sum();
    assert_eq!(pending, 0, "{status}");
    assert_eq!(status["problems"], serde_json::json!([]));
}
