//! Mail that addresses of ours send on: by accounts, aliases and lists, to a server outside, and what comes back.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use securanet_tests::{
    dialogue::Dialogue,
    rude::{Manner, Rude, Stage, Taken},
    server::{Options, Server, address},
};

/// Longer than anything here takes on a machine that compiles beside it.
const PATIENCE: Duration = Duration::from_secs(90);
/// In which something would have happened that must not.
const QUIET: Duration = Duration::from_secs(2);
const STRANGER: &str = "joe@rude.example";

/// A server of ann, bob and list owner olga that sends mail for rude.example to this remote.
fn start(remote: &Rude) -> Server {
    let config = format!(
        "[delivery.worker]\nunreachable_seconds = 0\n\
         [[delivery.routing.routes]]\nname = \"rude\"\nrecipient_domains = [\"rude.example\"]\n\
         hosts = [\"[127.0.0.1]:{}\"]\n",
        remote.address().port()
    );
    Server::start_with(Options { config, ..Options::default() }, &["ann", "bob", "olga"]).unwrap()
}

/// A stranger's message comes in; gives the reply to it.
fn send(server: &Server, from: &str, to: &str, id: &str, header: &str) -> String {
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    let message =
        format!("{header}From: {STRANGER}\r\nMessage-ID: <{id}@rude.example>\r\nSubject: {id}\r\n\r\nHello.\r\n");
    smtp.expect(&format!("MAIL FROM:<{from}>"), "250").unwrap();
    smtp.expect(&format!("RCPT TO:<{to}>"), "250").unwrap();
    smtp.expect("DATA", "354").unwrap();
    smtp.send_data(message.as_bytes()).unwrap()
}

fn inbox(server: &Server, local: &str) -> Vec<String> {
    let mut imap = Dialogue::imap(server.address("imap"), local).unwrap();
    imap.imap_ok("EXAMINE INBOX").unwrap();
    let found = imap.imap_ok("UID SEARCH ALL").unwrap().join(" ");
    let uids = found.split_whitespace().filter_map(|word| word.parse().ok());
    uids.map(|uid| String::from_utf8_lossy(&imap.fetch_message(uid).unwrap()).into_owned()).collect()
}

fn await_inbox(server: &Server, local: &str, count: usize) -> Vec<String> {
    let start = Instant::now();
    loop {
        let messages = inbox(server, local);
        if messages.len() >= count {
            return messages;
        }
        assert!(start.elapsed() < PATIENCE, "{} of {count} messages for {local}\n{}", messages.len(), server.log());
        sleep(Duration::from_millis(100));
    }
}

fn await_taken(remote: &Rude, count: usize) -> Vec<Taken> {
    remote.await_taken(count, PATIENCE);
    remote.taken()
}

/// The address in angle brackets.
fn inside(path: &str) -> &str {
    path.trim_start_matches('<').trim_end_matches('>')
}

#[test]
fn an_account_forwards_with_and_without_a_copy_and_a_bounce_finds_its_way_back() {
    let remote = Rude::start(|_| Manner::Kind);
    let server = start(&remote);
    let said = server.cli(&["forward", "set", &address("ann"), "--to", "ann@rude.example"], "").unwrap();
    assert!(said.contains("a copy is kept") && said.contains("note: mail leaves for ann@rude.example"), "{said}");
    server.cli(&["forward", "set", &address("bob"), "--to", "bob@rude.example", "--no-copy"], "").unwrap();
    let listed = server.cli(&["forward", "list"], "").unwrap();
    assert!(listed.contains("ann@rude.example") && listed.contains("bob@rude.example"), "{listed}");

    assert!(send(&server, STRANGER, &address("ann"), "copy", "").starts_with("250"));
    let taken = await_taken(&remote, 1).remove(0);
    assert_eq!(taken.to, ["<ann@rude.example>"]);
    assert!(
        taken.from.starts_with("<SRS0=") && taken.from.ends_with("=rude.example=joe@test.example>"),
        "{}",
        taken.from
    );
    assert!(taken.text.starts_with("Delivered-To: ann@test.example\r\n"), "{}", taken.text);
    let kept = await_inbox(&server, "ann", 1).remove(0);
    assert!(kept.starts_with(&format!("Return-Path: <{STRANGER}>\r\n")), "{kept}");

    assert!(send(&server, STRANGER, &address("bob"), "alone", "").starts_with("250"));
    assert_eq!(await_taken(&remote, 2)[1].to, ["<bob@rude.example>"]);
    assert_eq!(inbox(&server, "bob").len(), 0, "no copy is kept");

    // Somebody behind the remote bounces it.
    let back = inside(&taken.from);
    assert!(send(&server, "", back, "bounce", "").starts_with("250"));
    let bounce = await_taken(&remote, 3).remove(2);
    assert_eq!((bounce.from.as_str(), bounce.to), ("<>", vec![format!("<{STRANGER}>")]), "a null sender stays null");
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    smtp.expect("MAIL FROM:<spam@rude.example>", "250").unwrap();
    smtp.expect(&format!("RCPT TO:<{back}>"), "550 5.7.1").unwrap();
    smtp.expect("RSET", "250").unwrap();
    smtp.expect("MAIL FROM:<>", "250").unwrap();
    smtp.expect(&format!("RCPT TO:<{}>", back.replace("=joe@", "=jim@")), "550 5.1.1").unwrap();

    server.cli(&["forward", "remove", &address("bob")], "").unwrap();
    assert!(send(&server, STRANGER, &address("bob"), "here", "").starts_with("250"));
    await_inbox(&server, "bob", 1);
}

#[test]
fn a_refusal_of_what_was_sent_on_is_told_to_who_wrote_it() {
    let remote = Rude::start(|connection| match connection {
        0 => Manner::Say(Stage::Rcpt, "550 5.1.1 nobody"),
        _ => Manner::Kind,
    });
    let server = start(&remote);
    let said = server.cli(&["alias", "add", &address("away"), "away@rude.example"], "").unwrap();
    assert!(said.contains("note: mail leaves for away@rude.example"), "{said}");
    assert!(send(&server, STRANGER, &address("away"), "refused", "").starts_with("250"));
    let report = await_taken(&remote, 1).remove(0);
    assert_eq!((report.from.as_str(), report.to), ("<>", vec![format!("<{STRANGER}>")]));
    assert!(report.text.contains("Action: failed") && report.text.contains("nobody"), "{}", report.text);
    // A bounce that cannot be sent on makes no other.
    remote.await_idle(PATIENCE);
    remote.behave(|_| Manner::Say(Stage::Rcpt, "550 5.1.1 nobody"));
    let before = remote.transactions();
    assert!(send(&server, "", &address("away"), "null", "").starts_with("250"));
    let start = Instant::now();
    while remote.transactions() == before {
        assert!(start.elapsed() < PATIENCE, "{}", server.log());
        sleep(Duration::from_millis(50));
    }
    sleep(QUIET);
    assert_eq!((remote.transactions(), remote.taken().len()), (before + 1, 1));
}

#[test]
fn rfc_5321_3_9_2_a_groups_bounces_go_to_its_owner() {
    let remote = Rude::start(|_| Manner::Say(Stage::Rcpt, "550 5.1.1 nobody"));
    let server = start(&remote);
    let set = ["group", "set", &address("all"), &address("bob"), "far@rude.example", "--owner", &address("olga")];
    server.cli(&set, "").unwrap();
    assert!(send(&server, STRANGER, &address("all"), "post", "").starts_with("250"));
    let copy = await_inbox(&server, "bob", 1).remove(0);
    assert!(copy.starts_with("Return-Path: <olga@test.example>\r\nDelivered-To: all@test.example\r\n"), "{copy}");
    let bounce = await_inbox(&server, "olga", 1).remove(0);
    assert!(bounce.contains("Final-Recipient: rfc822; far@rude.example"), "{bounce}");
    sleep(QUIET);
    assert_eq!(remote.transactions(), 1, "who wrote it hears nothing");
}

#[test]
fn a_loop_between_two_servers_ends() {
    let remote = Rude::start(|_| Manner::Kind);
    let server = start(&remote);
    server.cli(&["forward", "set", &address("ann"), "--to", "ann@rude.example"], "").unwrap();
    server.cli(&["forward", "set", &address("bob"), "--to", "bob@rude.example", "--no-copy"], "").unwrap();
    for local in ["ann", "bob"] {
        assert!(send(&server, STRANGER, &address(local), "round", "").starts_with("250"));
    }
    let taken = await_taken(&remote, 2);
    for message in &taken {
        // The remote sends it back as it got it. Which of them left first is nobody's promise.
        let answer = if message.to[0].contains("ann@") { "250" } else { "554 5.4.6" };
        let to = inside(&message.to[0]).replace("rude.example", "test.example");
        let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
        smtp.expect(&format!("MAIL FROM:{}", message.from), "250").unwrap();
        smtp.expect(&format!("RCPT TO:<{to}>"), "250").unwrap();
        smtp.expect("DATA", "354").unwrap();
        let reply = smtp.send_data(message.text.as_bytes()).unwrap();
        assert!(reply.starts_with(answer), "{to}: {reply}");
    }
    sleep(QUIET);
    assert_eq!(
        (remote.taken().len(), inbox(&server, "ann").len()),
        (2, 2),
        "the copy is kept, and nothing leaves again"
    );
}

#[test]
fn a_senders_repeat_leaves_once() {
    let remote = Rude::start(|_| Manner::Kind);
    let server = start(&remote);
    server.cli(&["forward", "set", &address("ann"), "--to", "ann@rude.example"], "").unwrap();
    // The stranger never saw our 250, and sends again.
    for _ in 0..3 {
        assert!(send(&server, STRANGER, &address("ann"), "again", "").starts_with("250"));
    }
    assert!(send(&server, STRANGER, &address("ann"), "other", "").starts_with("250"));
    await_taken(&remote, 2);
    sleep(QUIET);
    assert_eq!((remote.taken().len(), inbox(&server, "ann").len()), (2, 2));
    let items = server.cli(&["trace", "<again@rude.example>", "--json"], "").unwrap();
    assert_eq!(serde_json::from_str::<Vec<serde_json::Value>>(&items).unwrap().len(), 1, "{items}");
}
