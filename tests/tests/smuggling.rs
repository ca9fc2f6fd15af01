//! Published ways to smuggle a second message into one (2023: SMTP smuggling), on listeners that normalise bare
//! newlines and on those that reject them. Whatever the reply: never is there a message that nobody announced.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use securanet_tests::{
    dialogue::Dialogue,
    server::{Server, address},
};

/// What is not CRLF.CRLF and was taken for it by some server.
const ENDS: [&[u8]; 19] = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r.\n",
    b"\n.\r",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\0\r\n.\0\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n.\n\r\n",
    b"\n\n.\r\n",
    b"\r\n\x2e\x0b\r\n",
    b"\r\n\xc0\xae\r\n",
    b"\n.\n.\r\n",
    b"\r\n. \r\n",
];

struct Outcome {
    /// Everything the server said after 354.
    said: String,
}

/// Sends a message with an end in the middle of it and a second transaction behind it, all at once.
fn attempt(server: &Server, listener: &str, end: &[u8]) -> Outcome {
    let mut data = Vec::new();
    data.extend(b"Subject: cover\r\nMessage-ID: <cover@x.example>\r\n\r\nvisible");
    data.extend(end);
    data.extend(b"MAIL FROM:<admin@test.example>\r\n");
    data.extend(format!("RCPT TO:<{}>\r\nDATA\r\n", address("bob")).as_bytes());
    data.extend(b"Subject: smuggled\r\n\r\nsmuggled\r\n.\r\nQUIT\r\n");
    let mut stream = TcpStream::connect(server.address(listener)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let dialogue = format!("EHLO x.example\r\nMAIL FROM:<s@x.example>\r\nRCPT TO:<{}>\r\nDATA\r\n", address("ann"));
    stream.write_all(dialogue.as_bytes()).unwrap();
    stream.write_all(&data).ok();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).ok();
    let said = String::from_utf8_lossy(&said).into_owned();
    let (_, after) = said.split_once("354").unwrap_or_else(|| panic!("no 354: {said}"));
    Outcome { said: after.to_owned() }
}

fn subjects(server: &Server, local: &str) -> Vec<String> {
    let mut imap = Dialogue::imap(server.address("imap"), local).unwrap();
    imap.imap_ok("EXAMINE INBOX").unwrap();
    let lines = imap.imap_ok("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])").unwrap();
    lines.iter().filter_map(|line| Some(line.split_once("Subject: ")?.1.split("\r\n").next()?.to_owned())).collect()
}

fn smuggle(listener: &str) {
    let server = Server::start(&["ann", "bob", "admin"]).unwrap();
    for end in ENDS {
        let shown = end.escape_ascii().to_string();
        let outcome = attempt(&server, listener, end);
        let replies: Vec<&str> = outcome.said.lines().skip(1).collect();
        let accepted = replies.iter().filter(|line| line.starts_with("250")).count();
        assert!(accepted <= 1, "{listener}: {shown}: {replies:?}");
        assert!(
            !replies.iter().any(|line| line.starts_with("354")),
            "{listener}: {shown} opened a second DATA: {replies:?}"
        );
        let bare_return = end.windows(2).any(|pair| pair[0] == b'\r' && pair[1] != b'\n') || end.ends_with(b"\r");
        let bare_newline = end.iter().enumerate().any(|(at, &byte)| byte == b'\n' && (at == 0 || end[at - 1] != b'\r'));
        if end.contains(&0) {
            assert!(
                replies[0].starts_with("554 5.6.0") || replies[0].starts_with("550 5.6.11"),
                "{shown}: {replies:?}"
            );
        } else if bare_return || bare_newline && listener == "strict" {
            assert!(replies[0].starts_with("550 5.6.11"), "{listener}: {shown}: {replies:?}");
        } else {
            assert!(replies[0].starts_with("250"), "{listener}: {shown}: {replies:?}");
        }
    }
    assert_eq!(subjects(&server, "bob"), [] as [&str; 0], "{listener}: a message that nobody announced");
    assert!(subjects(&server, "ann").iter().all(|subject| subject == "cover"));
}

#[test]
fn nothing_is_smuggled_where_bare_newlines_are_normalised() {
    smuggle("smtp");
}

#[test]
fn nothing_is_smuggled_where_bare_newlines_are_rejected() {
    smuggle("strict");
}

#[test]
fn lone_dots_that_normalising_makes_are_content_and_stay_it() {
    let server = Server::start(&["ann"]).unwrap();
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    smtp.expect("MAIL FROM:<s@x.example>", "250").unwrap();
    smtp.expect(&format!("RCPT TO:<{}>", address("ann")), "250").unwrap();
    smtp.expect("DATA", "354").unwrap();
    smtp.send(b"Subject: dots\r\n\r\none\n.\ntwo\n..three\r\n..four\r\n.\r\n").unwrap();
    let reply = smtp.reply().unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    let kept = imap.fetch_message(1).unwrap();
    let body = kept.windows(4).position(|window| window == b"\r\n\r\n").map(|at| &kept[at + 4..]).unwrap();
    assert!(body.starts_with(b"one\r\n.\r\ntwo\r\n") && body.ends_with(b"\r\n.four\r\n"), "{}", body.escape_ascii());
    // POP3 stuffs the dots again: the client sees the same bytes.
    let mut pop3 = Dialogue::pop3(server.address("pop3"), "ann").unwrap();
    pop3.pop3_ok("RETR 1").unwrap();
    assert_eq!(pop3.pop3_body().unwrap(), kept);
}
