//! POP3 over the real binary: the lock, the end of a session, and what stays the same over restarts.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use securanet_tests::{
    dialogue::Dialogue,
    imap::status,
    server::{PASSWORD, Server, address},
};

fn message(number: u32) -> String {
    format!(
        "From: s@x.example\r\nSubject: p{number}\r\nMessage-ID: <p{number}@x.example>\r\n\r\nline 1 of {number}\r\n.line 2\r\nline 3\r\n"
    )
}

fn server_with(messages: u32) -> Server {
    let server = Server::start(&["ann"]).unwrap();
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    for number in 1..=messages {
        assert!(imap.append("INBOX", message(number).as_bytes()).unwrap().starts_with("OK"));
    }
    server
}

fn login(server: &Server) -> Dialogue {
    Dialogue::pop3(server.address("pop3"), "ann").unwrap()
}

fn say(pop3: &mut Dialogue, command: &str) -> String {
    pop3.send(format!("{command}\r\n").as_bytes()).unwrap();
    pop3.line().unwrap()
}

fn list(pop3: &mut Dialogue, command: &str) -> Vec<String> {
    pop3.pop3_ok(command).unwrap();
    String::from_utf8(pop3.pop3_body().unwrap()).unwrap().lines().map(str::to_owned).collect()
}

fn count(server: &Server) -> u64 {
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    status(&imap.imap_ok("STATUS INBOX (MESSAGES)").unwrap(), "MESSAGES")
}

/// The answer to PASS of another session.
fn try_login(server: &Server) -> String {
    let mut pop3 = Dialogue::connect(server.address("pop3")).unwrap();
    pop3.line().unwrap();
    pop3.pop3_ok(&format!("USER {}", address("ann"))).unwrap();
    say(&mut pop3, &format!("PASS {PASSWORD}"))
}

#[test]
fn rfc_1939_8_the_maildrop_has_one_reader_and_a_dead_one_lets_go() {
    let mut server = server_with(1);
    let first = login(&server);
    let answer = try_login(&server);
    assert!(answer.starts_with("-ERR [IN-USE]"), "{answer}");
    // IMAP is not locked out, and neither is delivery.
    assert_eq!(count(&server), 1);
    // The session dies without a word.
    drop(first);
    let start = Instant::now();
    while !try_login(&server).starts_with("+OK") {
        assert!(start.elapsed() < Duration::from_secs(20), "a dead session keeps the lock");
        std::thread::sleep(Duration::from_millis(50));
    }
    // After a crash of the server the lock of its sessions runs out by time (two minutes: not waited for here).
    let _held = login_later(&server);
    server.kill();
    server.restart().unwrap();
    let answer = try_login(&server);
    assert!(answer.starts_with("+OK") || answer.starts_with("-ERR [IN-USE]"), "{answer}");
}

#[test]
fn rfc_1939_6_deletions_happen_at_quit_only() {
    let server = server_with(3);
    let mut pop3 = login(&server);
    pop3.pop3_ok("DELE 1").unwrap();
    assert!(say(&mut pop3, "RETR 1").starts_with("-ERR"));
    assert!(say(&mut pop3, "DELE 1").starts_with("-ERR"));
    assert!(say(&mut pop3, "STAT").starts_with("+OK 2 "));
    drop(pop3);
    assert_eq!(count(&server), 3, "no QUIT, no deletion");
    let mut pop3 = login_later(&server);
    pop3.pop3_ok("DELE 1").unwrap();
    pop3.pop3_ok("RSET").unwrap();
    pop3.pop3_ok("DELE 2").unwrap();
    pop3.pop3_ok("QUIT").unwrap();
    assert!(pop3.is_closed());
    assert_eq!(count(&server), 2);
    let mut pop3 = login_later(&server);
    assert_eq!(list(&mut pop3, "LIST").len(), 2);
    pop3.pop3_ok("RETR 2").unwrap();
    assert_eq!(pop3.pop3_body().unwrap(), message(3).as_bytes());
}

#[test]
fn rfc_1939_7_unique_ids_stay_over_restarts_and_are_the_email_ids() {
    let mut server = server_with(4);
    let before = list(&mut login(&server), "UIDL");
    assert_eq!(before.len(), 4);
    let one = say(&mut login_later(&server), "UIDL 3");
    assert_eq!(one, format!("+OK {}", before[2]));
    login_later(&server).pop3_ok("QUIT").unwrap();
    server.kill();
    server.restart().unwrap();
    // Something before them goes: the numbers change, the ids stay.
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    imap.imap_ok("STORE 1 +FLAGS (\\Deleted)").unwrap();
    imap.imap_ok("EXPUNGE").unwrap();
    let after = list(&mut login_later(&server), "UIDL");
    let ids = |rows: &[String]| rows.iter().map(|row| row.split(' ').nth(1).unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&after), ids(&before)[1..]);
    let lines = imap.imap_ok("FETCH 1:* (EMAILID)").unwrap();
    for (line, id) in lines.iter().zip(ids(&after)) {
        assert!(line.contains(&format!("EMAILID ({id})")), "{line} {id}");
    }
}

/// Logs in as soon as the session before lets go.
fn login_later(server: &Server) -> Dialogue {
    let start = Instant::now();
    loop {
        match Dialogue::pop3(server.address("pop3"), "ann") {
            Ok(pop3) => return pop3,
            Err(error) => assert!(start.elapsed() < Duration::from_secs(20), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn rfc_2449_capabilities_hold() {
    let server = server_with(2);
    let mut pop3 = Dialogue::connect(server.address("pop3")).unwrap();
    pop3.line().unwrap();
    let capabilities = list(&mut pop3, "CAPA");
    for capability in
        ["TOP", "USER", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE", "EXPIRE NEVER", "UTF8", "STLS"]
    {
        let there = capabilities.iter().any(|line| line == capability || line.starts_with(&format!("{capability} ")));
        assert!(there, "{capability}: {capabilities:?}");
    }
    assert!(
        capabilities.iter().any(|line| line.starts_with("SASL ") && line.contains("SCRAM-SHA-256")),
        "{capabilities:?}"
    );
    // Pipelining: everything at once, answered in order.
    let all = format!(
        "USER {}\r\nPASS {PASSWORD}\r\nSTAT\r\nTOP 1 0\r\nTOP 2 2\r\nNOOP\r\nRETR 9\r\nXYZZY\r\nQUIT\r\n",
        address("ann")
    );
    pop3.send(all.as_bytes()).unwrap();
    assert!(pop3.line().unwrap().starts_with("+OK"));
    assert!(pop3.line().unwrap().starts_with("+OK"));
    let size = message(1).len() + message(2).len();
    assert_eq!(pop3.line().unwrap(), format!("+OK 2 {size}"));
    assert!(pop3.line().unwrap().starts_with("+OK"));
    let head = String::from_utf8(pop3.pop3_body().unwrap()).unwrap();
    assert!(head.ends_with("\r\n\r\n") && head.contains("Subject: p1"), "{head:?}");
    assert!(pop3.line().unwrap().starts_with("+OK"));
    let top = String::from_utf8(pop3.pop3_body().unwrap()).unwrap();
    assert!(top.ends_with("\r\n\r\nline 1 of 2\r\n.line 2\r\n"), "{top:?}");
    assert!(pop3.line().unwrap().starts_with("+OK"));
    assert!(pop3.line().unwrap().starts_with("-ERR"));
    assert!(pop3.line().unwrap().starts_with("-ERR"));
    assert!(pop3.line().unwrap().starts_with("+OK"));
    assert!(pop3.is_closed());
    // RFC 3206: whose fault it is.
    let mut pop3 = Dialogue::connect(server.address("pop3")).unwrap();
    pop3.line().unwrap();
    pop3.pop3_ok(&format!("USER {}", address("ann"))).unwrap();
    let answer = say(&mut pop3, "PASS wrong");
    assert!(answer.starts_with("-ERR [AUTH]"), "{answer}");
    // RFC 6856: the language of the mailbox is UTF-8 when asked for.
    pop3.pop3_ok("UTF8").unwrap();
}

#[test]
fn mail_that_comes_or_goes_during_a_session_does_not_change_its_numbers() {
    let server = server_with(2);
    let mut pop3 = login(&server);
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    imap.append("INBOX", message(3).as_bytes()).unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    imap.imap_ok("STORE 1 +FLAGS (\\Deleted)").unwrap();
    imap.imap_ok("EXPUNGE").unwrap();
    assert!(say(&mut pop3, "STAT").starts_with("+OK 2 "));
    assert!(say(&mut pop3, "RETR 3").starts_with("-ERR"));
    pop3.pop3_ok("RETR 2").unwrap();
    assert_eq!(pop3.pop3_body().unwrap(), message(2).as_bytes());
    pop3.pop3_ok("DELE 1").unwrap();
    pop3.pop3_ok("DELE 2").unwrap();
    pop3.send(b"QUIT\r\n").unwrap();
    pop3.line().unwrap();
    assert_eq!(count(&server), 1, "what came meanwhile stays");
}
