//! Several sessions on one mailbox: what each hears of the others, and that sequence numbers stay right.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use securanet_tests::{
    dialogue::Dialogue,
    imap::{Row, View, code, code_number, found, status},
    random::Random,
    server::Server,
};

fn message(number: u32) -> Vec<u8> {
    format!(
        "From: s@x.example\r\nSubject: number {number}\r\nMessage-ID: <m{number}@x.example>\r\n\r\nbody {number}\r\n"
    )
    .into()
}

fn server_with(messages: u32) -> Server {
    let server = Server::start(&["ann"]).unwrap();
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    for number in 1..=messages {
        let reply = imap.append("INBOX", &message(number)).unwrap();
        assert!(reply.starts_with("OK"), "{reply}");
    }
    server
}

fn selected(server: &Server) -> Dialogue {
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    imap
}

fn has(lines: &[String], part: &str) -> bool {
    lines.iter().any(|line| line.contains(part))
}

/// What is left of messages 1 to `count` after these EXPUNGE responses.
fn left(lines: &[String], count: u32) -> Vec<u32> {
    let mut view = View { uids: (1..=count).map(Some).collect() };
    view.hear(lines, true);
    view.uids.into_iter().flatten().collect()
}

#[test]
fn rfc_9051_7_5_1_an_expunge_elsewhere_waits_until_sequence_numbers_may_change() {
    let server = server_with(5);
    let (mut one, mut two) = (selected(&server), selected(&server));
    two.imap_ok("STORE 2,4 +FLAGS.SILENT (\\Deleted)").unwrap();
    assert_eq!(left(&two.imap_ok("EXPUNGE").unwrap(), 5), [1, 3, 5]);

    // Numbers in the other session still mean what they meant, and it hears of no expunge in these three.
    let lines = one.imap_ok("FETCH 3 (UID)").unwrap();
    assert_eq!(Row::all(&lines)[0].uid, Some(3), "{lines:?}");
    let lines = one.imap_ok("FETCH 5 (UID BODY.PEEK[TEXT])").unwrap();
    assert!(has(&lines, "body 5") && !has(&lines, "EXPUNGE"), "{lines:?}");
    let lines = one.imap_ok("STORE 5 +FLAGS (\\Flagged)").unwrap();
    assert!(has(&lines, "* 5 FETCH") && !has(&lines, "EXPUNGE"), "{lines:?}");
    let lines = one.imap_ok("SEARCH SUBJECT number").unwrap();
    assert!(!has(&lines, "EXPUNGE"), "{lines:?}");
    let hits = found(&lines);
    assert!([1, 3, 5].iter().all(|number| hits.contains(number)), "{hits:?}");

    // The expunged one stays fetchable, or the answer says why not (RFC 2180 4.1, RFC 5530).
    let (lines, tagged) = one.imap_say("FETCH 2 (UID FLAGS BODY.PEEK[])").unwrap();
    assert!(has(&lines, "body 2") || tagged.starts_with("NO [EXPUNGEISSUED]"), "{lines:?} {tagged}");
    // COPY may tell of expunges (only FETCH, STORE and SEARCH must not).
    let (mut lines, tagged) = one.imap_say("COPY 2 Archive").unwrap();
    assert!(tagged.starts_with("NO") || tagged.starts_with("OK"), "{tagged}");
    lines.extend(one.imap_ok("NOOP").unwrap());
    assert_eq!(left(&lines, 5), [1, 3, 5]);
    let rows = Row::all(&one.imap_ok("FETCH 1:* (UID FLAGS)").unwrap());
    assert_eq!(rows.iter().map(|row| row.uid.unwrap()).collect::<Vec<_>>(), [1, 3, 5]);
    assert!(rows[2].flags.as_ref().unwrap().contains("\\Flagged"));
}

#[test]
fn flags_and_new_mail_of_others_are_told_with_any_command() {
    let server = server_with(2);
    let (mut one, mut two) = (selected(&server), selected(&server));
    two.imap_ok("STORE 1 +FLAGS (\\Answered custom)").unwrap();
    let lines = one.imap_ok("NOOP").unwrap();
    let row = Row::all(&lines).remove(0);
    assert!(row.flags.unwrap().contains("custom"), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.starts_with("* FLAGS") && line.contains("custom")),
        "a new keyword: {lines:?}"
    );
    two.append("INBOX", &message(3)).unwrap();
    let lines = one.imap_ok("NOOP").unwrap();
    assert!(has(&lines, "* 3 EXISTS"), "{lines:?}");
    // Told once.
    let lines = one.imap_ok("NOOP").unwrap();
    assert!(!has(&lines, "EXISTS") && !has(&lines, "FETCH"), "{lines:?}");
    // STORE with .SILENT tells its own session nothing, the others everything.
    let lines = two.imap_ok("STORE 2 FLAGS.SILENT (\\Draft)").unwrap();
    assert!(Row::all(&lines).iter().all(|row| row.sequence != 2), "{lines:?}");
    assert!(has(&one.imap_ok("NOOP").unwrap(), "* 2 FETCH"));
}

#[test]
fn recent_is_told_to_one_session_only() {
    let server = server_with(2);
    let recent = |lines: &[String]| lines.iter().find(|line| line.ends_with("RECENT")).cloned();
    let mut reader = Dialogue::imap(server.address("imap"), "ann").unwrap();
    let lines = reader.imap_ok("EXAMINE INBOX").unwrap();
    assert_eq!(recent(&lines).as_deref(), Some("* 2 RECENT"), "EXAMINE looks and does not take");
    let mut one = Dialogue::imap(server.address("imap"), "ann").unwrap();
    assert_eq!(recent(&one.imap_ok("SELECT INBOX").unwrap()).as_deref(), Some("* 2 RECENT"));
    let mut two = Dialogue::imap(server.address("imap"), "ann").unwrap();
    assert_eq!(recent(&two.imap_ok("SELECT INBOX").unwrap()).as_deref(), Some("* 0 RECENT"));
    assert_eq!(found(&one.imap_ok("SEARCH RECENT").unwrap()), [1, 2]);
    assert_eq!(found(&two.imap_ok("SEARCH RECENT").unwrap()), [] as [u32; 0]);
    assert!(has(&one.imap_ok("FETCH 1 FLAGS").unwrap(), "\\Recent"));
    assert!(!has(&two.imap_ok("FETCH 1 FLAGS").unwrap(), "\\Recent"));
    reader.append("INBOX", &message(3)).unwrap();
    let told = [&mut one, &mut two].map(|imap| {
        imap.imap_ok("NOOP").unwrap();
        found(&imap.imap_ok("SEARCH RECENT").unwrap()).contains(&3)
    });
    assert_eq!(told.iter().filter(|told| **told).count(), 1, "recent in exactly one: {told:?}");
}

#[test]
fn idle_wakes_for_flags_expunges_and_mail() {
    let server = server_with(3);
    let (mut idle, mut other) = (selected(&server), selected(&server));
    idle.send(b"i1 IDLE\r\n").unwrap();
    assert!(idle.line().unwrap().starts_with('+'));
    let mut wakes = |idle: &mut Dialogue, command: &str, expected: &str| {
        let start = Instant::now();
        other.imap_ok(command).unwrap();
        loop {
            let line = idle.imap_line().unwrap();
            assert!(start.elapsed() < Duration::from_secs(5), "{line} after {:?}", start.elapsed());
            if line.contains(expected) {
                break;
            }
        }
    };
    wakes(&mut idle, "STORE 2 +FLAGS (\\Flagged)", "* 2 FETCH");
    wakes(&mut idle, "STORE 1 +FLAGS.SILENT (\\Deleted)", "* 1 FETCH");
    wakes(&mut idle, "EXPUNGE", "* 1 EXPUNGE");
    wakes(&mut idle, "COPY 1 INBOX", "* 3 EXISTS");
    wakes(&mut idle, "MOVE 2 Archive", "* 2 EXPUNGE");
    idle.send(b"DONE\r\n").unwrap();
    assert!(idle.imap_until("i1").unwrap().1.starts_with("OK"));
    let (one, two) = (idle.imap_ok("FETCH 1:* (UID)").unwrap(), other.imap_ok("FETCH 1:* (UID)").unwrap());
    assert_eq!(Row::all(&one), Row::all(&two));
}

#[test]
fn a_mailbox_deleted_or_renamed_by_another_session_does_not_confuse_its_readers() {
    let server = server_with(1);
    let mut one = selected(&server);
    one.imap_ok("CREATE Work").unwrap();
    one.imap_ok("COPY 1 Work").unwrap();
    let mut reader = Dialogue::imap(server.address("imap"), "ann").unwrap();
    reader.imap_ok("SELECT Work").unwrap();
    one.imap_ok("RENAME Work Done").unwrap();
    assert!(has(&reader.imap_ok("FETCH 1 (UID BODY.PEEK[TEXT])").unwrap(), "body 1"));
    one.imap_ok("DELETE Done").unwrap();
    // RFC 2180 3: the session ends, or each command says that there is nothing any more.
    let answer = reader.imap_say("NOOP");
    assert!(
        answer
            .as_ref()
            .map_or(true, |(lines, tagged)| has(lines, "BYE") || tagged.starts_with("NO") || has(lines, "EXPUNGE")),
        "{answer:?}"
    );
}

/// One client in the crowd: what it does next, and what it believes.
struct Client {
    imap: Dialogue,
    view: View,
}

impl Client {
    fn new(server: &Server) -> Self {
        let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
        let mut view = View::default();
        view.hear(&imap.imap_ok("SELECT INBOX").unwrap(), false);
        view.hear(&imap.imap_ok("FETCH 1:* (UID)").unwrap(), false);
        Self { imap, view }
    }

    fn say(&mut self, command: &str, expunges: bool) {
        let (lines, tagged) = self.imap.imap_say(command).unwrap();
        assert!(!tagged.starts_with("BAD"), "{command}: {tagged}");
        self.view.hear(&lines, expunges);
    }

    fn act(&mut self, random: &mut Random, numbers: &mut u32) {
        let count = self.view.uids.len();
        let place = random.below(count.max(1)) + 1;
        match random.below(10) {
            _ if count < 3 => self.append(numbers),
            0 | 1 => self.append(numbers),
            2 | 3 => self.say(&format!("STORE {place} +FLAGS (\\Deleted \\Seen)"), false),
            4 => self.say("EXPUNGE", true),
            5 => self.say(&format!("MOVE {place} Archive"), true),
            6 => self.say(&format!("FETCH {place}:* (UID FLAGS)"), false),
            7 => self.say("SEARCH RETURN (ALL) UNDELETED", false),
            8 => self.say("NOOP", true),
            _ => self.say(&format!("UID STORE {place}:* -FLAGS (\\Deleted)"), true),
        }
    }

    fn append(&mut self, numbers: &mut u32) {
        *numbers += 1;
        // Raw, because the untagged lines count here.
        let text = message(*numbers);
        self.imap.send(format!("app APPEND INBOX {{{}+}}\r\n", text.len()).as_bytes()).unwrap();
        self.imap.send(&[&text[..], b"\r\n"].concat()).unwrap();
        let (lines, tagged) = self.imap.imap_until("app").unwrap();
        assert!(tagged.starts_with("OK"), "{tagged}");
        self.view.hear(&lines, true);
    }
}

#[test]
fn three_sessions_that_do_whatever_they_like_agree_in_the_end() {
    let server = server_with(10);
    for seed in 1..=3_u64 {
        let mut random = Random::new(seed);
        let mut numbers = 1000;
        let mut clients: Vec<Client> = (0..3).map(|_| Client::new(&server)).collect();
        for _ in 0..120 {
            let who = random.below(clients.len());
            clients[who].act(&mut random, &mut numbers);
        }
        let fresh = Client::new(&server);
        for client in &mut clients {
            client.say("NOOP", true);
            client.say("FETCH 1:* (UID)", false);
            assert_eq!(client.view.uids, fresh.view.uids, "seed {seed}");
        }
    }
}

#[test]
fn p3_uids_ascend_and_never_come_again_over_restarts_and_kills() {
    let mut server = server_with(3);
    let mut highest = 0;
    let mut validity = None;
    let mut modseq = 0;
    for round in 0..4 {
        let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
        let lines = imap.imap_ok("SELECT INBOX (CONDSTORE)").unwrap();
        let same = code_number(&lines, "UIDVALIDITY");
        assert_eq!(*validity.get_or_insert(same), same);
        let next = code_number(&lines, "UIDNEXT");
        assert!(next > highest, "UIDNEXT {next} after UID {highest}");
        let now = code_number(&lines, "HIGHESTMODSEQ");
        assert!(now >= modseq, "HIGHESTMODSEQ {now} after {modseq}");
        let reply = imap.append("INBOX", &message(round + 10)).unwrap();
        let uid: u64 = code(&reply, "APPENDUID").unwrap()[1].parse().unwrap();
        assert!(uid >= next, "{reply} after UIDNEXT {next}");
        highest = uid;
        // The newest goes: its UID must not come again.
        imap.imap_ok(&format!("UID STORE {uid} +FLAGS (\\Deleted)")).unwrap();
        imap.imap_ok(&format!("UID EXPUNGE {uid}")).unwrap();
        modseq = status(&imap.imap_ok("STATUS INBOX (HIGHESTMODSEQ)").unwrap(), "HIGHESTMODSEQ");
        if round % 2 == 0 {
            server.kill();
        } else {
            server.terminate().unwrap();
        }
        server.restart().unwrap();
    }
}
