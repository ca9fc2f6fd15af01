//! Data directories that earlier releases left behind: this release opens each and finds everything.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, path::Path};

use securanet_tests::{
    dialogue::Dialogue,
    imap::status,
    release::{Left, Said, ask},
    server::{Server, address},
};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");

fn check_answers(server: &Server, left: &Left, accounts: &[&str]) {
    for &account in accounts {
        let of_account: Vec<&Said> = left.said.iter().filter(|said| said.account == account).collect();
        let questions: Vec<&str> = of_account.iter().map(|said| said.question.as_str()).collect();
        assert!(!questions.is_empty(), "nothing was asked of {account}");
        for (today, then) in ask(server, account, &questions).unwrap().iter().zip(of_account) {
            assert_eq!(today, then, "{account}, {}", then.question);
        }
    }
}

fn check_directory(server: &Server, left: &Left) {
    let accounts = server.cli(&["account", "list"], "").unwrap();
    for (local, known) in [("ann", true), ("bob", true), ("cid", true), ("dan", false)] {
        assert_eq!(accounts.contains(&address(local)), known, "{accounts}");
    }
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    smtp.expect("MAIL FROM:<s@remote.example>", "250").unwrap();
    let catch_all = "whoever@xn--bcher-kva.example".to_owned();
    for (to, reply) in [
        (address("sales"), "250"),
        (address("team"), "250"),
        (address("postmaster"), "250"),
        (catch_all, "250"),
        (address("cid"), "550 5.2.1"),
        (address("dan"), "550 5.1.1"),
        ("x@elsewhere.example".to_owned(), "550 5.7.1"),
    ] {
        smtp.expect(&format!("RCPT TO:<{to}>"), reply).unwrap();
    }
    smtp.expect("RSET", "250").unwrap();
    // A quota, and what is said beyond it.
    smtp.expect("MAIL FROM:<s@remote.example> SIZE=11000000", "250").unwrap();
    smtp.expect(&format!("RCPT TO:<{}>", address("bob")), "552 5.2.2").unwrap();
    let mut imap = Dialogue::connect(server.address("imap")).unwrap();
    imap.line().unwrap();
    imap.imap_ok(&format!("LOGIN {} {:?}", address("ann"), left.device_password)).unwrap();
}

/// Life goes on: mail comes in behind what was there, and stays when this release crashes.
fn check_life(server: &mut Server) {
    let uid_next = |server: &Server, local: &str| {
        let mut imap = Dialogue::imap(server.address("imap"), local).unwrap();
        status(&imap.imap_ok("STATUS INBOX (UIDNEXT)").unwrap(), "UIDNEXT")
    };
    let before = uid_next(server, "ann");
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    let message = "Subject: today\r\nMessage-ID: <today@remote.example>\r\n\r\nstill here\r\n";
    assert!(smtp.deliver("s@remote.example", &["sales"], message).unwrap().starts_with("250"));
    assert_eq!(uid_next(server, "ann"), before + 1);
    server.kill();
    server.restart().unwrap();
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    let uid = u32::try_from(before).unwrap();
    assert!(imap.fetch_message(uid).unwrap().ends_with(message.as_bytes()));
}

#[test]
fn what_earlier_releases_left_is_found_by_this_one() {
    let mut folders: Vec<_> = fs::read_dir(FIXTURES).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.contains(&Path::new(FIXTURES).join("release-1")));
    for folder in folders {
        let left = Left::read(&folder).unwrap();
        let messages: usize = left.said.iter().map(|said| said.answer.join("").matches("BODY[]").count()).sum();
        assert!(messages >= 12, "{}: only {messages} messages", folder.display());
        let mut server = Server::start_on(&left.archive()).unwrap();
        check_answers(&server, &left, &["ann", "bob"]);
        check_directory(&server, &left);
        assert!(server.cli(&["scrub"], "").unwrap().contains(" 0 findings"));
        check_life(&mut server);
        check_answers(&server, &left, &["bob"]);
    }
}
