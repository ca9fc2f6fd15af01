//! CONDSTORE and QRESYNC (RFC 7162): a client that was away and comes back has what a new one would have.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};

use securanet_tests::{
    dialogue::Dialogue,
    imap::{Row, code, code_number, numbers, status},
    random::Random,
    server::Server,
};

fn message(number: u32) -> Vec<u8> {
    format!("From: s@x.example\r\nSubject: number {number}\r\nMessage-ID: <q{number}@x.example>\r\n\r\nbody\r\n").into()
}

fn login(server: &Server) -> Dialogue {
    Dialogue::imap(server.address("imap"), "ann").unwrap()
}

/// What a client keeps on its disk of a mailbox.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Cache {
    validity: u64,
    modseq: u64,
    messages: BTreeMap<u32, (u64, BTreeSet<String>)>,
}

impl Cache {
    /// A new client: everything is fetched.
    fn fresh(server: &Server) -> Self {
        let mut imap = login(server);
        let lines = imap.imap_ok("SELECT INBOX (CONDSTORE)").unwrap();
        let mut cache = Self {
            validity: code_number(&lines, "UIDVALIDITY"),
            modseq: code_number(&lines, "HIGHESTMODSEQ"),
            ..Self::default()
        };
        cache.hear(&imap.imap_ok("UID FETCH 1:* (UID FLAGS MODSEQ)").unwrap());
        cache
    }

    fn hear(&mut self, lines: &[String]) {
        for line in lines {
            if let Some(row) = Row::parse(line) {
                let uid = row.uid.unwrap_or_else(|| panic!("no UID with QRESYNC: {line}"));
                let modseq = row.modseq.unwrap_or_else(|| panic!("no MODSEQ: {line}"));
                if let (Some(before), Some(flags)) = (self.messages.get(&uid), row.flags.as_ref()) {
                    assert!(modseq >= before.0, "MODSEQ of UID {uid} went back: {line}");
                    assert!(modseq > before.0 || *flags == before.1, "changed without a new MODSEQ: {line}");
                }
                self.messages.insert(uid, (modseq, row.flags.expect(line)));
            } else if let Some(vanished) = line.strip_prefix("* VANISHED ") {
                for uid in numbers(vanished.trim_start_matches("(EARLIER) ")) {
                    self.messages.remove(&uid);
                }
            }
            assert!(!line.ends_with(" EXPUNGE"), "EXPUNGE although QRESYNC is on: {line}");
        }
    }

    /// Comes back after some time; `known`: it also says which UIDs it knows.
    fn resynchronise(&mut self, server: &Server, known: bool) {
        let mut imap = login(server);
        imap.imap_ok("ENABLE QRESYNC").unwrap();
        let mut arguments = format!("{} {}", self.validity, self.modseq);
        if known && let (Some(first), Some(last)) = (self.messages.keys().next(), self.messages.keys().last()) {
            arguments += &format!(" {first}:{last}");
        }
        let lines = imap.imap_ok(&format!("SELECT INBOX (QRESYNC ({arguments}))")).unwrap();
        assert_eq!(code_number(&lines, "UIDVALIDITY"), self.validity);
        let modseq = code_number(&lines, "HIGHESTMODSEQ");
        assert!(modseq >= self.modseq, "P3: HIGHESTMODSEQ {modseq} after {}", self.modseq);
        self.modseq = modseq;
        self.hear(&lines);
        if known {
            // It asked about what it knew; the new ones come by UID (RFC 7162 3.2.5).
            let after = self.messages.keys().last().map_or(1, |last| last + 1);
            let rows = imap.imap_ok(&format!("UID FETCH {after}:* (UID FLAGS MODSEQ)")).unwrap();
            self.hear(&rows);
        }
    }
}

/// One of those who change the mailbox.
fn act(imap: &mut Dialogue, random: &mut Random, counter: &mut u32) {
    let line = imap.imap_ok("UID SEARCH RETURN (ALL) ALL").unwrap().join(" ");
    let set =
        line.split("ALL ").nth(1).map(|rest| rest.split([' ', ')']).next().unwrap().to_owned()).unwrap_or_default();
    let uids = numbers(&set);
    if uids.len() < 4 || random.below(4) == 0 {
        *counter += 1;
        assert!(imap.append("INBOX", &message(*counter)).unwrap().starts_with("OK"));
        return;
    }
    let uid = uids[random.below(uids.len())];
    let flag = ["\\Seen", "\\Flagged", "\\Answered", "$Work", "custom"][random.below(5)];
    let command = match random.below(7) {
        0 | 1 => format!("UID STORE {uid} +FLAGS ({flag})"),
        2 => format!("UID STORE {uid}:* -FLAGS ({flag})"),
        3 => format!("UID MOVE {uid} Archive"),
        4 => format!("UID COPY {uid} INBOX"),
        5 => {
            imap.imap_ok(&format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)")).unwrap();
            format!("UID EXPUNGE {uid}")
        }
        _ => format!("UID FETCH {uid} BODY[TEXT]"),
    };
    let (_, tagged) = imap.imap_say(&command).unwrap();
    assert!(tagged.starts_with("OK") || tagged.starts_with("NO"), "{command}: {tagged}");
}

#[test]
fn rfc_7162_3_2_5_whoever_was_away_ends_with_what_a_new_client_sees() {
    let mut server = Server::start(&["ann"]).unwrap();
    let mut random = Random::new(0);
    let mut counter = 0;
    let mut caches: Vec<Cache> = vec![Cache::fresh(&server); 3];
    for round in 0..24 {
        if round == 12 {
            server.kill();
            server.restart().unwrap();
        }
        let mut actors = [login(&server), login(&server)];
        for imap in &mut actors {
            imap.imap_ok("SELECT INBOX").unwrap();
        }
        for _ in 0..=random.below(14) {
            act(&mut actors[random.below(2)], &mut random, &mut counter);
        }
        let fresh = Cache::fresh(&server);
        for (number, cache) in caches.iter_mut().enumerate() {
            // The first comes every time, the others when they like.
            if number == 0 || random.below(4) == 0 || round == 23 {
                cache.resynchronise(&server, number == 1);
                assert_eq!(*cache, fresh, "client {number} in round {round}");
            }
        }
    }
    let uids: Vec<u32> = caches[0].messages.keys().copied().collect();
    assert!(uids.len() > 3 && counter > 20, "the history was too quiet: {uids:?}");
}

#[test]
fn rfc_7162_3_1_3_unchangedsince_stores_only_what_nobody_else_has_touched() {
    let server = Server::start(&["ann"]).unwrap();
    let (mut one, mut two) = (login(&server), login(&server));
    for number in 1..=4 {
        one.append("INBOX", &message(number)).unwrap();
    }
    let lines = one.imap_ok("SELECT INBOX (CONDSTORE)").unwrap();
    let known = code_number(&lines, "HIGHESTMODSEQ");
    two.imap_ok("SELECT INBOX").unwrap();
    two.imap_ok("UID STORE 2 +FLAGS (\\Flagged)").unwrap();
    let (lines, tagged) = one.imap_say(&format!("UID STORE 1:4 (UNCHANGEDSINCE {known}) +FLAGS (\\Seen)")).unwrap();
    assert!(tagged.starts_with("OK"), "{tagged}");
    assert_eq!(code(&tagged, "MODIFIED"), Some(vec!["2"]), "{tagged}");
    let changed: Vec<Row> =
        Row::all(&lines).into_iter().filter(|row| row.flags.as_ref().unwrap().contains("\\Seen")).collect();
    assert_eq!(changed.iter().map(|row| row.sequence).collect::<Vec<_>>(), [1, 3, 4], "{lines:?}");
    assert!(changed.iter().all(|row| row.modseq.unwrap() > known), "{lines:?}");
    let (_, tagged) = one.imap_say("STORE 1:* (UNCHANGEDSINCE 0) +FLAGS (\\Answered)").unwrap();
    assert_eq!(code(&tagged, "MODIFIED").map(|words| numbers(words[0])), Some(vec![1, 2, 3, 4]), "{tagged}");

    // Two race for each of many changes with what both believe: exactly one wins each time.
    two.imap_ok("FETCH 1 (MODSEQ)").unwrap();
    for round in 0..10 {
        let line = one.imap_ok("FETCH 1 (MODSEQ)").unwrap();
        let now = Row::all(&line).last().unwrap().modseq.unwrap();
        let answers: Vec<String> = std::thread::scope(|scope| {
            let race = move |imap: &mut Dialogue, name: &str| {
                imap.imap_say(&format!("STORE 1 (UNCHANGEDSINCE {now}) FLAGS.SILENT ({name}{round})")).unwrap().1
            };
            let one = &mut one;
            let first = scope.spawn(move || race(one, "one"));
            let second = race(&mut two, "two");
            vec![first.join().unwrap(), second]
        });
        let lost = answers.iter().filter(|tagged| tagged.contains("[MODIFIED 1]")).count();
        assert_eq!(lost, 1, "{answers:?}");
    }
}

#[test]
fn rfc_7162_3_2_6_fetch_tells_what_changed_and_vanished() {
    let server = Server::start(&["ann"]).unwrap();
    let mut imap = login(&server);
    for number in 1..=6 {
        imap.append("INBOX", &message(number)).unwrap();
    }
    imap.imap_ok("ENABLE QRESYNC").unwrap();
    let known = code_number(&imap.imap_ok("SELECT INBOX").unwrap(), "HIGHESTMODSEQ");
    let mut other = login(&server);
    other.imap_ok("SELECT INBOX").unwrap();
    other.imap_ok("UID STORE 2,5 +FLAGS (\\Deleted)").unwrap();
    other.imap_ok("UID STORE 4 +FLAGS (\\Flagged)").unwrap();
    other.imap_ok("EXPUNGE").unwrap();
    let lines = imap.imap_ok(&format!("UID FETCH 1:* (FLAGS) (CHANGEDSINCE {known} VANISHED)")).unwrap();
    let vanished: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("* VANISHED (EARLIER) ")).collect();
    assert_eq!(vanished.iter().flat_map(|set| numbers(set)).collect::<Vec<_>>(), [2, 5], "{lines:?}");
    let changed: BTreeSet<u32> = Row::all(&lines).iter().map(|row| row.uid.unwrap()).collect();
    assert_eq!(changed, BTreeSet::from([4]), "{lines:?}");
    assert!(Row::all(&lines).iter().all(|row| row.modseq.unwrap() > known));

    // Its own expunges come as VANISHED without EARLIER, and the tagged answer says how far that is.
    imap.imap_ok("UID STORE 1 +FLAGS (\\Deleted)").unwrap();
    let (lines, tagged) = imap.imap_say("UID EXPUNGE 1").unwrap();
    assert!(lines.contains(&"* VANISHED 1".to_owned()), "{lines:?}");
    let told: u64 = code(&tagged, "HIGHESTMODSEQ").unwrap()[0].parse().unwrap();
    let lines = other.imap_ok("STATUS INBOX (HIGHESTMODSEQ MESSAGES)").unwrap();
    assert_eq!(status(&lines, "HIGHESTMODSEQ"), told);

    // SEARCH by MODSEQ.
    let lines = imap.imap_ok(&format!("UID SEARCH MODSEQ {}", known + 1)).unwrap();
    let line = lines.iter().find(|line| line.starts_with("* SEARCH") || line.starts_with("* ESEARCH")).unwrap();
    assert!(line.contains('4') && line.contains("MODSEQ"), "{lines:?}");
}

#[test]
fn rfc_7162_3_1_6_modseq_comes_once_condstore_is_on() {
    let server = Server::start(&["ann"]).unwrap();
    let mut imap = login(&server);
    imap.append("INBOX", &message(1)).unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    let plain = imap.imap_ok("STORE 1 +FLAGS (\\Seen)").unwrap();
    assert!(!plain.join("").contains("MODSEQ"), "{plain:?}");
    let lines = imap.imap_ok("ENABLE CONDSTORE").unwrap();
    assert!(lines.iter().any(|line| line == "* ENABLED CONDSTORE"), "{lines:?}");
    let row = Row::all(&imap.imap_ok("STORE 1 -FLAGS (\\Seen)").unwrap()).remove(0);
    assert!(row.modseq.is_some());
    // Nothing changed, nothing counted.
    imap.imap_ok("STORE 1 -FLAGS (\\Seen)").unwrap();
    let same = Row::all(&imap.imap_ok("FETCH 1 (MODSEQ)").unwrap()).remove(0);
    assert_eq!(same.modseq, row.modseq);
    // Another UIDVALIDITY: the server tells nothing earlier.
    let mut stranger = login(&server);
    stranger.imap_ok("ENABLE QRESYNC").unwrap();
    let lines = stranger.imap_ok("SELECT INBOX (QRESYNC (12345 1))").unwrap();
    assert!(!lines.join("").contains("VANISHED"), "{lines:?}");
    let (_, tagged) = login(&server).imap_say("SELECT INBOX (QRESYNC (1 1))").unwrap();
    assert!(tagged.starts_with("BAD"), "QRESYNC was not enabled: {tagged}");
}
