//! Messages: how they come in, are copied and moved, and what is known of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use securanet_tests::{
    dialogue::Dialogue,
    imap::{Row, code, code_number, numbers, status},
    server::{Server, address},
};

fn start() -> (Server, Dialogue) {
    let server = Server::start(&["ann", "bob"]).unwrap();
    let imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    (server, imap)
}

fn message(number: u32) -> String {
    format!(
        "From: s@x.example\r\nSubject: number {number}\r\nMessage-ID: <c{number}@x.example>\r\n\r\nbody {number}\r\n"
    )
}

/// Says everything at once, literals without waiting for a go-ahead, and reads the answer.
fn at_once(imap: &mut Dialogue, text: &str) -> (Vec<String>, String) {
    imap.send(format!("once {text}\r\n").as_bytes()).unwrap();
    imap.imap_until("once").unwrap()
}

fn literal(text: &str) -> String {
    format!("{{{}+}}\r\n{text}", text.len())
}

fn id(imap: &mut Dialogue, uid: u32, item: &str) -> String {
    let line = imap.imap_ok(&format!("UID FETCH {uid} ({item})")).unwrap().join(" ");
    line.split(&format!("{item} ("))
        .nth(1)
        .unwrap_or_else(|| panic!("no {item} in {line}"))
        .split(')')
        .next()
        .unwrap()
        .to_owned()
}

#[test]
fn rfc_4315_copy_and_move_map_old_uids_to_new_ones() {
    let (_server, mut imap) = start();
    for number in 1..=6 {
        imap.append("INBOX", message(number).as_bytes()).unwrap();
    }
    imap.append("Archive", message(99).as_bytes()).unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    imap.imap_ok("STORE 2 +FLAGS (\\Flagged $Own)").unwrap();
    let subject = |imap: &mut Dialogue, uid: u32| {
        let line =
            imap.imap_ok(&format!("UID FETCH {uid} (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")).unwrap().join(" ");
        line.split("Subject: ")
            .nth(1)
            .unwrap_or_else(|| panic!("UID {uid}: {line}"))
            .split("\r\n")
            .next()
            .unwrap()
            .to_owned()
    };
    let (_, tagged) = imap.imap_say("UID COPY 2,4:5 Archive").unwrap();
    let words = code(&tagged, "COPYUID").unwrap_or_else(|| panic!("{tagged}"));
    let (from, to) = (numbers(words[1]), numbers(words[2]));
    let validity = status(&imap.imap_ok("STATUS Archive (UIDVALIDITY)").unwrap(), "UIDVALIDITY");
    assert_eq!(words[0], validity.to_string());
    assert_eq!((&from[..], to.len()), (&[2, 4, 5][..], 3));
    let (lines, _) = imap.imap_say("MOVE 1,6 Archive").unwrap();
    let copied = lines
        .iter()
        .find_map(|line| code(line, "COPYUID"))
        .expect("RFC 6851 3.3: COPYUID untagged, before the expunges");
    let moved: Vec<(u32, u32)> = numbers(copied[1]).into_iter().zip(numbers(copied[2])).collect();
    assert_eq!(lines.iter().filter(|line| line.ends_with("EXPUNGE")).count(), 2, "{lines:?}");
    assert_eq!(Row::all(&imap.imap_ok("FETCH 1:* (UID)").unwrap()).len(), 4);
    imap.imap_ok("SELECT Archive").unwrap();
    for (old, new) in from.into_iter().zip(to).chain(moved) {
        assert_eq!(subject(&mut imap, new), format!("number {old}"));
    }
    let flags = Row::all(&imap.imap_ok("UID FETCH 2 (FLAGS)").unwrap()).remove(0).flags.unwrap();
    assert!(flags.contains("\\Flagged") && flags.contains("$Own"), "a copy keeps its flags: {flags:?}");
    let (_, tagged) = imap.imap_say("COPY 1 Nowhere").unwrap();
    assert!(tagged.starts_with("NO [TRYCREATE]"), "{tagged}");
    let (_, tagged) = imap.imap_say("UID MOVE 777 INBOX").unwrap();
    assert!(tagged.starts_with("OK") && !tagged.contains("COPYUID"), "nothing to move: {tagged}");
    let (_, tagged) = imap.imap_say("MOVE 1 Archive").unwrap();
    assert!(tagged.starts_with("OK") || tagged.starts_with("NO"), "onto itself: {tagged}");
    assert_eq!(status(&imap.imap_ok("STATUS Archive (MESSAGES)").unwrap(), "MESSAGES"), 6);
}

#[test]
fn rfc_3502_several_messages_come_in_all_or_not_at_all() {
    let (server, mut imap) = start();
    let messages = [message(1), message(2), message(3)];
    let date = "\"05-Mar-2021 10:11:12 +0200\"";
    let text = format!(
        "APPEND INBOX (\\Seen) {date} {} (\\Flagged key) {} {}",
        literal(&messages[0]),
        literal(&messages[1]),
        literal(&messages[2])
    );
    let (_, tagged) = at_once(&mut imap, &text);
    let words = code(&tagged, "APPENDUID").unwrap_or_else(|| panic!("{tagged}"));
    assert_eq!(numbers(words[1]), [1, 2, 3]);
    let lines = imap.imap_ok("SELECT INBOX").unwrap();
    assert_eq!(words[0], code_number(&lines, "UIDVALIDITY").to_string());
    let lines = imap.imap_ok("FETCH 1:3 (FLAGS INTERNALDATE)").unwrap();
    // The same moment; the zone is not kept.
    assert!(lines[0].contains("\\Seen") && lines[0].contains("5-Mar-2021 08:11:12 +0000"), "{lines:?}");
    assert!(lines[1].contains("\\Flagged") && lines[1].contains("key") && !lines[1].contains("2021"), "{lines:?}");

    let used = imap.imap_ok("STATUS INBOX (SIZE)").unwrap();
    let room = status(&used, "SIZE") + 2 * message(4).len() as u64 + 40;
    server.cli(&["account", "quota", &address("ann"), "--quota-bytes", &room.to_string()], "").unwrap();
    let text = format!("APPEND INBOX {} {} {}", literal(&message(4)), literal(&message(5)), literal(&message(6)));
    let (_, tagged) = at_once(&mut imap, &text);
    assert!(tagged.starts_with("NO [OVERQUOTA]"), "{tagged}");
    assert_eq!(status(&imap.imap_ok("STATUS INBOX (MESSAGES)").unwrap(), "MESSAGES"), 3, "two of the three came in");
    let (_, tagged) = at_once(&mut imap, &format!("APPEND Nowhere {}", literal(&message(7))));
    assert!(tagged.starts_with("NO [TRYCREATE]"), "{tagged}");
    let (_, tagged) = at_once(&mut imap, &format!("APPEND INBOX {}", literal("Subject: nul\0\r\n\r\nx\r\n")));
    assert!(!tagged.starts_with("OK"), "NUL: {tagged}");
    imap.imap_ok("NOOP").unwrap();
}

#[test]
fn rfc_7888_literals_are_bounded_and_a_refused_one_is_no_command() {
    let (server, mut imap) = start();
    // Announced with APPENDLIMIT, refused before it is sent (RFC 7889).
    let capability = imap.imap_ok("CAPABILITY").unwrap().join(" ");
    let limit: u64 = capability.split("APPENDLIMIT=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let reply = imap.imap_say(&format!("APPEND INBOX {{{}}}", limit + 1)).unwrap().1;
    assert!(reply.starts_with("NO [TOOBIG]"), "{reply}");
    imap.imap_ok("NOOP").unwrap();
    // A literal in a place where a name stands; both kinds.
    imap.imap_ok("CREATE {4+}\r\nname").unwrap();
    imap.send(b"sync STATUS {4}\r\n").unwrap();
    assert!(imap.line().unwrap().starts_with('+'));
    imap.send(b"name (MESSAGES)\r\n").unwrap();
    assert!(imap.imap_until("sync").unwrap().1.starts_with("OK"));
    // A literal for nobody is passed over: its content must never be a command.
    let evil = "evil DELETE name\r\n";
    let (_, tagged) = at_once(&mut imap, &format!("APPEND Nowhere {}", literal(evil)));
    assert!(tagged.starts_with("NO"), "{tagged}");
    let (lines, tagged) = at_once(&mut imap, &format!("NONSENSE {}", literal(evil)));
    assert!(tagged.starts_with("BAD") && !lines.join(" ").contains("evil"), "{lines:?} {tagged}");
    assert_eq!(status(&imap.imap_ok("STATUS name (MESSAGES)").unwrap(), "MESSAGES"), 0);
    // One that is much too large for a name ends in NO or BAD, or the connection does; the server lives.
    let mut rude = Dialogue::imap(server.address("imap"), "ann").unwrap();
    rude.send(b"r1 CREATE {9999999999+}\r\n").unwrap();
    let line = rude.line().unwrap();
    assert!(line.starts_with("* BYE") || line.starts_with("r1 NO") || line.starts_with("r1 BAD"), "{line}");
    imap.imap_ok("NOOP").unwrap();
}

#[test]
fn rfc_8474_ids_stay_with_copies_and_threads() {
    let (server, mut imap) = start();
    let thread = |id: &str, references: &str| {
        format!(
            "From: a@x.example\r\nSubject: talk\r\nMessage-ID: <{id}@x.example>\r\n{references}\r\nbody of {id}\r\n"
        )
    };
    imap.append("INBOX", thread("root", "").as_bytes()).unwrap();
    imap.append(
        "INBOX",
        thread("reply", "References: <root@x.example>\r\nIn-Reply-To: <root@x.example>\r\n").as_bytes(),
    )
    .unwrap();
    imap.append("INBOX", thread("last", "References: <root@x.example>\r\n <reply@x.example>\r\n").as_bytes()).unwrap();
    imap.append("INBOX", thread("other", "").as_bytes()).unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    let threads = [1, 2, 3, 4].map(|uid| id(&mut imap, uid, "THREADID"));
    assert!(threads[0].starts_with('T') && threads[0] == threads[1] && threads[1] == threads[2], "{threads:?}");
    assert_ne!(threads[0], threads[3]);
    let emails = [1, 2, 3, 4].map(|uid| id(&mut imap, uid, "EMAILID"));
    assert!(emails[0].starts_with('M') && emails[0] != emails[1], "{emails:?}");
    imap.imap_ok("COPY 2 Archive").unwrap();
    imap.imap_ok("MOVE 3 Archive").unwrap();
    let lines = imap.imap_ok("SELECT Archive").unwrap();
    assert!(lines.iter().any(|line| code(line, "MAILBOXID").is_some()), "{lines:?}");
    assert_eq!((id(&mut imap, 1, "EMAILID"), id(&mut imap, 2, "EMAILID")), (emails[1].clone(), emails[2].clone()));
    assert_eq!(id(&mut imap, 2, "THREADID"), threads[0]);
    let lines = imap.imap_ok(&format!("SEARCH EMAILID {}", emails[2])).unwrap();
    assert_eq!(securanet_tests::imap::found(&lines), [2]);
    let lines = imap.imap_ok(&format!("SEARCH THREADID {}", threads[0])).unwrap();
    assert_eq!(securanet_tests::imap::found(&lines), [1, 2]);
    // POP3 says the same id (UIDL), after a restart too.
    let mut server = server;
    server.kill();
    server.restart().unwrap();
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    assert_eq!(id(&mut imap, 1, "EMAILID"), emails[0]);
    let (_, tagged) = imap.imap_say("FETCH 1 (EMAILID THREADID)").unwrap();
    assert!(tagged.starts_with("OK"), "{tagged}");
}

#[test]
fn rfc_8514_and_8970_saved_dates_and_previews_are_known() {
    let (_server, mut imap) = start();
    let html = "Subject: html\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=iso-8859-1\r\n\
                Content-Transfer-Encoding: quoted-printable\r\n\r\n<html><style>p{color:red}</style><p>Gr=FC=DFe &amp; K=FCsse</p></html>\r\n";
    let text = format!("APPEND INBOX \"05-Mar-2001 10:11:12 +0000\" {}", literal(html));
    assert!(at_once(&mut imap, &text).1.starts_with("OK"));
    imap.imap_ok("SELECT INBOX").unwrap();
    let line = imap.imap_ok("FETCH 1 (PREVIEW)").unwrap().join(" ");
    assert!(line.contains("Grüße & Küsse") && !line.contains("color"), "{line}");
    assert!(imap.imap_ok("FETCH 1 (PREVIEW (LAZY))").unwrap().join(" ").contains("PREVIEW "));
    let line = imap.imap_ok("FETCH 1 (SAVEDATE INTERNALDATE)").unwrap().join(" ");
    assert!(
        line.contains("5-Mar-2001 10:11:12 +0000") && line.contains("SAVEDATE \"") && line.matches("2001").count() == 1,
        "{line}"
    );
    let saved =
        |imap: &mut Dialogue, key: &str| securanet_tests::imap::found(&imap.imap_ok(&format!("SEARCH {key}")).unwrap());
    assert_eq!(saved(&mut imap, "SAVEDSINCE 1-Jan-2020"), [1]);
    assert_eq!(saved(&mut imap, "SAVEDBEFORE 1-Jan-2020"), [] as [u32; 0]);
    assert_eq!(saved(&mut imap, "SAVEDATESUPPORTED"), [1]);
    assert_eq!(saved(&mut imap, "BEFORE 1-Jan-2020"), [1]);
}

#[test]
fn rfc_9051_6_4_6_flags_of_a_mailbox_opened_by_examine_stay() {
    let (_server, mut imap) = start();
    imap.append("INBOX", message(1).as_bytes()).unwrap();
    let (lines, tagged) = imap.imap_say("EXAMINE INBOX").unwrap();
    assert!(tagged.starts_with("OK [READ-ONLY]"), "{lines:?} {tagged}");
    for command in ["STORE 1 +FLAGS (\\Deleted)", "EXPUNGE", "MOVE 1 Archive"] {
        let (_, tagged) = imap.imap_say(command).unwrap();
        assert!(tagged.starts_with("NO"), "{command}: {tagged}");
    }
    imap.imap_ok("FETCH 1 (BODY[])").unwrap();
    let row = Row::all(&imap.imap_ok("FETCH 1 (FLAGS)").unwrap()).remove(0);
    assert!(row.flags.unwrap().is_empty(), "reading set \\Seen although the mailbox is read-only");
    imap.imap_ok("SELECT INBOX").unwrap();
    imap.imap_ok("STORE 1 +FLAGS (\\Deleted)").unwrap();
    imap.imap_ok("UNSELECT").unwrap();
    assert_eq!(status(&imap.imap_ok("STATUS INBOX (MESSAGES)").unwrap(), "MESSAGES"), 1, "UNSELECT expunges nothing");
    let lines = imap.imap_ok("SELECT INBOX").unwrap();
    assert!(lines.iter().any(|line| line.starts_with("* OK [PERMANENTFLAGS") && line.contains("\\*")), "{lines:?}");
    imap.imap_ok("CLOSE").unwrap();
    assert_eq!(status(&imap.imap_ok("STATUS INBOX (MESSAGES)").unwrap(), "MESSAGES"), 0, "CLOSE does");
}
