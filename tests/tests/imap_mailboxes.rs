//! Mailboxes: names, trees, listings, subscriptions, counters and quotas.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use securanet_tests::{
    dialogue::Dialogue,
    imap::{Row, code, code_number, status},
    server::{Server, address},
};

fn start() -> (Server, Dialogue) {
    let server = Server::start(&["ann"]).unwrap();
    let imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    (server, imap)
}

fn message(number: u32) -> Vec<u8> {
    format!("Subject: number {number}\r\nMessage-ID: <b{number}@x.example>\r\n\r\nbody {number}\r\n").into()
}

/// Names of a listing.
fn names(lines: &[String]) -> BTreeSet<String> {
    let name = |line: &String| {
        let rest = line.strip_prefix("* LIST ").or_else(|| line.strip_prefix("* LSUB "))?;
        let name = rest.split_once(") \"/\" ")?.1;
        Some(name.split(" (").next()?.trim_matches('"').to_owned())
    };
    lines.iter().filter_map(name).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn line_of<'a>(lines: &'a [String], name: &str) -> &'a str {
    lines
        .iter()
        .find(|line| names(std::slice::from_ref(line)).contains(name))
        .unwrap_or_else(|| panic!("{name}: {lines:?}"))
}

#[test]
fn rfc_9051_6_3_6_rename_of_inbox_moves_its_mail_and_of_a_tree_its_children() {
    let (_server, mut imap) = start();
    for number in 1..=3 {
        imap.append("INBOX", &message(number)).unwrap();
    }
    imap.imap_ok("CREATE INBOX/Below").unwrap();
    let before = code_number(&imap.imap_ok("SELECT INBOX").unwrap(), "UIDNEXT");
    imap.imap_ok("UNSELECT").unwrap();
    imap.imap_ok("RENAME INBOX Old/2025").unwrap();
    let lines = imap.imap_ok("LIST \"\" *").unwrap();
    let all = names(&lines);
    assert!(
        all.is_superset(&set(&["INBOX", "INBOX/Below", "Old", "Old/2025"])) && !all.contains("Old/2025/Below"),
        "{all:?}"
    );
    assert_eq!(status(&imap.imap_ok("STATUS INBOX (MESSAGES)").unwrap(), "MESSAGES"), 0);
    assert_eq!(status(&imap.imap_ok("STATUS Old/2025 (MESSAGES)").unwrap(), "MESSAGES"), 3);
    let after = code_number(&imap.imap_ok("SELECT INBOX").unwrap(), "UIDNEXT");
    assert!(after >= before, "P3: UIDNEXT of INBOX went back from {before} to {after}");
    imap.imap_ok("UNSELECT").unwrap();

    for name in ["Tree", "Tree/a", "Tree/a/b", "Treetop"] {
        imap.imap_ok(&format!("CREATE {name}")).unwrap();
    }
    let mut other = imap;
    other.append("Tree/a/b", &message(9)).unwrap();
    let id = other.imap_ok("STATUS Tree/a/b (MAILBOXID UIDVALIDITY)").unwrap().join("");
    other.imap_ok("RENAME Tree Wood/pine").unwrap();
    let all = names(&other.imap_ok("LIST \"\" *").unwrap());
    assert!(all.is_superset(&set(&["Wood", "Wood/pine", "Wood/pine/a", "Wood/pine/a/b", "Treetop"])), "{all:?}");
    assert!(!all.contains("Tree") && !all.contains("Tree/a"), "{all:?}");
    assert_eq!(status(&other.imap_ok("STATUS Wood/pine/a/b (MESSAGES)").unwrap(), "MESSAGES"), 1);
    let same = other.imap_ok("STATUS Wood/pine/a/b (MAILBOXID UIDVALIDITY)").unwrap().join("");
    assert_eq!(id.replace("Tree/a/b", ""), same.replace("Wood/pine/a/b", ""), "a renamed mailbox stays the same");
    for (command, because) in [
        ("RENAME Wood/pine Wood/pine/a/c", "below itself"),
        ("RENAME Wood/pine Treetop", "onto an existing one"),
        ("RENAME Nowhere X", "what does not exist"),
        ("CREATE INBOX", "INBOX again"),
        ("CREATE Treetop", "an existing one"),
        ("DELETE INBOX", "INBOX"),
        ("DELETE Nowhere", "what does not exist"),
    ] {
        let (_, tagged) = other.imap_say(command).unwrap();
        assert!(tagged.starts_with("NO"), "{because}: {tagged}");
    }
    let (_, tagged) = other.imap_say("CREATE Treetop").unwrap();
    assert!(tagged.contains("[ALREADYEXISTS]"), "{tagged}");
    let (_, tagged) = other.imap_say("SELECT Nowhere").unwrap();
    assert!(tagged.contains("[NONEXISTENT]"), "{tagged}");
}

#[test]
fn rfc_9051_6_3_5_delete_of_a_parent_keeps_or_refuses_but_never_orphans() {
    let (_server, mut imap) = start();
    imap.imap_ok("CREATE P/c").unwrap();
    imap.append("P/c", &message(1)).unwrap();
    let (_, tagged) = imap.imap_say("DELETE P").unwrap();
    // RFC 9051: NO [HASCHILDREN], or the name stays as \NonExistent or \Noselect. Never are children lost.
    let lines = imap.imap_ok("LIST \"\" P*").unwrap();
    assert!(names(&lines).contains("P/c"), "{tagged} {lines:?}");
    assert_eq!(status(&imap.imap_ok("STATUS P/c (MESSAGES)").unwrap(), "MESSAGES"), 1);
    if tagged.starts_with("NO") {
        assert!(tagged.contains("[HASCHILDREN]"), "{tagged}");
    }
    imap.imap_ok("DELETE P/c").unwrap();
    imap.imap_say("DELETE P").unwrap();
    assert!(names(&imap.imap_ok("LIST \"\" P*").unwrap()).is_empty());
    // A name that comes again is another mailbox: UIDVALIDITY differs.
    imap.imap_ok("CREATE Again").unwrap();
    let first = status(&imap.imap_ok("STATUS Again (UIDVALIDITY)").unwrap(), "UIDVALIDITY");
    imap.imap_ok("DELETE Again").unwrap();
    imap.imap_ok("CREATE Again").unwrap();
    let second = status(&imap.imap_ok("STATUS Again (UIDVALIDITY)").unwrap(), "UIDVALIDITY");
    assert!(second > first, "UIDVALIDITY {second} after {first}");
}

#[test]
fn subscriptions_outlive_their_mailboxes_and_are_listed_by_both_commands() {
    let (_server, mut imap) = start();
    for line in imap.imap_ok("LSUB \"\" *").unwrap() {
        let name = line.rsplit(' ').next().unwrap().to_owned();
        imap.imap_ok(&format!("UNSUBSCRIBE {name}")).unwrap();
    }
    assert!(names(&imap.imap_ok("LSUB \"\" *").unwrap()).is_empty());
    imap.imap_ok("CREATE News/rust").unwrap();
    imap.imap_ok("CREATE News/go").unwrap();
    imap.imap_ok("SUBSCRIBE News/rust").unwrap();
    imap.imap_ok("SUBSCRIBE INBOX").unwrap();
    assert_eq!(names(&imap.imap_ok("LSUB \"\" *").unwrap()), set(&["INBOX", "News/rust"]));
    // RFC 3501 6.3.9: `%` shows the parent of a subscribed name, as \Noselect.
    let lines = imap.imap_ok("LSUB \"\" %").unwrap();
    assert!(line_of(&lines, "News").contains("\\Noselect"), "{lines:?}");
    assert_eq!(names(&imap.imap_ok("LIST (SUBSCRIBED) \"\" *").unwrap()), set(&["INBOX", "News/rust"]));
    let lines = imap.imap_ok("LIST (SUBSCRIBED RECURSIVEMATCH) \"\" %").unwrap();
    assert!(line_of(&lines, "News").contains("CHILDINFO"), "{lines:?}");
    imap.imap_ok("DELETE News/rust").unwrap();
    let lines = imap.imap_ok("LIST (SUBSCRIBED) \"\" *").unwrap();
    assert!(line_of(&lines, "News/rust").contains("\\NonExistent"), "RFC 5258 3.1: {lines:?}");
    imap.imap_ok("UNSUBSCRIBE News/rust").unwrap();
    assert_eq!(names(&imap.imap_ok("LSUB \"\" *").unwrap()), set(&["INBOX"]));
}

#[test]
fn rfc_5258_list_extended_selects_and_returns() {
    let (_server, mut imap) = start();
    for name in ["a", "a/b", "a/b/c", "d"] {
        imap.imap_ok(&format!("CREATE {name}")).unwrap();
    }
    assert_eq!(names(&imap.imap_ok("LIST \"\" a/%").unwrap()), set(&["a/b"]));
    assert_eq!(names(&imap.imap_ok("LIST a/ *").unwrap()), set(&["a/b", "a/b/c"]));
    assert_eq!(names(&imap.imap_ok("LIST \"\" (a d a/b/%)").unwrap()), set(&["a", "a/b/c", "d"]));
    let lines = imap.imap_ok("LIST \"\" (a d) RETURN (CHILDREN SUBSCRIBED)").unwrap();
    assert!(
        line_of(&lines, "a").contains("\\HasChildren") && line_of(&lines, "d").contains("\\HasNoChildren"),
        "{lines:?}"
    );
    let lines = imap.imap_ok("LIST \"\" inbox").unwrap();
    assert_eq!(names(&lines), set(&["INBOX"]));
    let lines = imap.imap_ok("LIST \"\" \"\"").unwrap();
    assert!(lines[0].contains("\\Noselect") && lines[0].contains("\"/\""), "{lines:?}");
    // RFC 5819: one command gives the counters of all.
    imap.append("a/b", &message(1)).unwrap();
    let lines = imap.imap_ok("LIST \"\" a/% RETURN (STATUS (MESSAGES UNSEEN SIZE))").unwrap();
    assert_eq!(
        (status(&lines, "MESSAGES"), status(&lines, "UNSEEN"), status(&lines, "SIZE")),
        (1, 1, message(1).len() as u64)
    );
}

#[test]
fn rfc_6154_special_use_is_listed_and_created_once() {
    let (_server, mut imap) = start();
    let lines = imap.imap_ok("LIST (SPECIAL-USE) \"\" *").unwrap();
    for usage in ["\\Sent", "\\Drafts", "\\Junk", "\\Trash", "\\Archive"] {
        assert_eq!(lines.iter().filter(|line| line.contains(usage)).count(), 1, "{usage}: {lines:?}");
    }
    assert!(lines.iter().all(|line| line.contains('\\')), "{lines:?}");
    let lines = imap.imap_ok("LIST \"\" % RETURN (SPECIAL-USE)").unwrap();
    assert!(line_of(&lines, "Sent").contains("\\Sent"), "{lines:?}");
    imap.imap_ok("DELETE Drafts").unwrap();
    imap.imap_ok("CREATE Entwurf (USE (\\Drafts))").unwrap();
    let lines = imap.imap_ok("LIST (SPECIAL-USE) \"\" *").unwrap();
    assert!(line_of(&lines, "Entwurf").contains("\\Drafts"), "{lines:?}");
    let (_, tagged) = imap.imap_say("CREATE Other (USE (\\Nonsense))").unwrap();
    assert!(tagged.starts_with("NO [USEATTR]"), "{tagged}");
    assert!(!names(&imap.imap_ok("LIST \"\" *").unwrap()).contains("Other"), "refused, and yet made");
}

#[test]
fn status_counts_what_is_there() {
    let (_server, mut imap) = start();
    imap.imap_ok("CREATE Count").unwrap();
    let mut size = 0;
    for number in 1..=7 {
        size += message(number).len() as u64;
        imap.append("Count", &message(number)).unwrap();
    }
    imap.imap_ok("SELECT Count").unwrap();
    imap.imap_ok("STORE 1:3 +FLAGS (\\Seen)").unwrap();
    imap.imap_ok("STORE 3:4 +FLAGS (\\Deleted)").unwrap();
    let check = |imap: &mut Dialogue, expected: [u64; 4], size: u64| {
        let lines = imap
            .imap_ok("STATUS Count (MESSAGES UNSEEN DELETED UIDNEXT UIDVALIDITY SIZE RECENT HIGHESTMODSEQ APPENDLIMIT MAILBOXID)")
            .unwrap();
        let counted = ["MESSAGES", "UNSEEN", "DELETED", "UIDNEXT"].map(|item| status(&lines, item));
        assert_eq!(counted, expected, "{lines:?}");
        assert_eq!(status(&lines, "SIZE"), size, "{lines:?}");
        assert!(lines.join("").contains("MAILBOXID (F"), "{lines:?}");
    };
    check(&mut imap, [7, 4, 2, 8], size);
    imap.imap_ok("EXPUNGE").unwrap();
    size -= (message(3).len() + message(4).len()) as u64;
    check(&mut imap, [5, 3, 0, 8], size);
    imap.imap_ok("MOVE 1 INBOX").unwrap();
    size -= message(1).len() as u64;
    check(&mut imap, [4, 3, 0, 8], size);
    let seen = Row::all(&imap.imap_ok("FETCH 1:* (FLAGS)").unwrap());
    assert_eq!(seen.iter().filter(|row| !row.flags.as_ref().unwrap().contains("\\Seen")).count(), 3);
}

#[test]
fn rfc_9755_names_are_utf8_when_enabled_and_modified_utf7_otherwise() {
    let (server, mut old) = start();
    let mut new = Dialogue::imap(server.address("imap"), "ann").unwrap();
    let lines = new.imap_ok("ENABLE UTF8=ACCEPT").unwrap();
    assert!(lines.contains(&"* ENABLED UTF8=ACCEPT".to_owned()), "{lines:?}");
    new.imap_ok("CREATE \"Entwürfe/日本 & Co\"").unwrap();
    let lines = old.imap_ok("LIST \"\" Entw*").unwrap();
    assert_eq!(names(&lines), set(&["Entw&APw-rfe", "Entw&APw-rfe/&ZeVnLA- &- Co"]), "{lines:?}");
    old.imap_ok("CREATE \"Gel&APY-scht\"").unwrap();
    assert_eq!(names(&new.imap_ok("LIST \"\" Gel*").unwrap()), set(&["Gelöscht"]));
    // A message with a UTF-8 header goes in as it is (RFC 9755 4) and comes out so where UTF-8 is enabled.
    let text = "Subject: Grüße\r\nFrom: jürgen@x.example\r\n\r\nbody\r\n";
    new.send(format!("u1 APPEND \"Gelöscht\" UTF8 (~{{{}+}}\r\n{text})\r\n", text.len()).as_bytes()).unwrap();
    let (_, tagged) = new.imap_until("u1").unwrap();
    assert!(tagged.starts_with("OK"), "{tagged}");
    new.imap_ok("SELECT \"Gelöscht\"").unwrap();
    assert!(new.imap_ok("FETCH 1 (ENVELOPE)").unwrap().join("").contains("Grüße"));
    assert_eq!(new.fetch_message(1).unwrap(), text.as_bytes());
    // Needlessly encoded (RFC 3501 5.1.3): refused, or brought to the one form; never a twin of `xa`.
    let (_, tagged) = old.imap_say("CREATE \"x&AGE-\"").unwrap();
    let listed = names(&old.imap_ok("LIST \"\" x*").unwrap());
    assert!(listed.is_empty() || listed == set(&["xa"]), "{tagged} {listed:?}");
    for name in ["\"bad&name\"", "a//b", "\"a*b\"", "\"ctrl\u{1}\""] {
        let (_, tagged) = old.imap_say(&format!("CREATE {name}")).unwrap();
        assert!(!tagged.starts_with("OK"), "{name} was made: {tagged}");
    }
}

#[test]
fn rfc_9208_quota_is_told_and_bounds_what_comes_in() {
    let (server, mut imap) = start();
    server.cli(&["account", "quota", &address("ann"), "--quota-bytes", "10240", "--quota-messages", "5"], "").unwrap();
    imap.append("INBOX", &message(1)).unwrap();
    let lines = imap.imap_ok("GETQUOTAROOT INBOX").unwrap();
    let quota = lines.iter().find(|line| line.starts_with("* QUOTA ")).expect("QUOTA");
    assert!(quota.contains("MESSAGE 1 5") && quota.contains("STORAGE 1 10"), "{lines:?}");
    let root = lines.iter().find_map(|line| line.strip_prefix("* QUOTAROOT INBOX ")).expect("QUOTAROOT").to_owned();
    assert!(imap.imap_ok(&format!("GETQUOTA {root}")).unwrap().contains(quota));
    let (_, tagged) = imap.imap_say(&format!("SETQUOTA {root} (STORAGE 99999)")).unwrap();
    assert!(!tagged.starts_with("OK"), "a user raised his own quota: {tagged}");
    imap.imap_ok("SELECT INBOX").unwrap();
    for _ in 0..4 {
        imap.imap_say("COPY 1 Archive").unwrap();
    }
    // A copy is counted like a message, or not at all: never more than the limit by APPEND.
    let mut refused = None;
    for number in 2..=8 {
        let reply = imap.append("INBOX", &message(number)).unwrap();
        if !reply.starts_with("OK") {
            refused = Some(reply);
            break;
        }
    }
    assert!(refused.expect("the quota of messages bounds").starts_with("NO [OVERQUOTA]"));
    imap.imap_ok("STORE 1:* +FLAGS (\\Deleted)").unwrap();
    imap.imap_ok("EXPUNGE").unwrap();
    imap.imap_ok("SELECT Archive").unwrap();
    imap.imap_ok("STORE 1:* +FLAGS (\\Deleted)").unwrap();
    imap.imap_ok("EXPUNGE").unwrap();
    let reply = imap.append("INBOX", &message(20)).unwrap();
    assert!(code(&reply, "APPENDUID").is_some(), "room again: {reply}");
}
