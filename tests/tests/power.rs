//! Power cuts under load: what was acknowledged had been synced (promises P1, P2, P3).
//!
//! The data directory lies on a disk that forgets what was not durable (`securanet_tests::power`). Each round loads the
//! server, cuts the power at a random moment or at a random change on disk, and starts it on what is left; sometimes it goes
//! once more while it starts. `SECURANET_POWER_CUTS` sets how often (default 6), `SECURANET_POWER_LOAD_MILLIS` how long a
//! round may last, `SECURANET_POWER_SEED` which history.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use securanet_tests::{
    dialogue::Dialogue,
    ledger::Ledger,
    marks::{Counters, Flags, Marks},
    power::{Disk, Loss, NameRule, where_possible},
    random::Random,
    server::{Options, PASSWORD, Server, address},
};

const ACCOUNTS: [&str; 4] = ["ann", "bob", "cid", "dan"];
const SENDERS: u64 = 6;
/// dan's alone: what is put here is taken out again.
const WORK: &str = "Work";
/// On the disk there is less room than a node keeps free by default; nobody answers at the route's host.
const CONFIG: &str = "[store]\ndisk_reserve_bytes = 1048576\n[[delivery.routing.routes]]\nname = \"nobody\"\n\
                      recipient_domains = [\"remote.example\"]\nhosts = [\"[127.0.0.1]:1\"]\n";
const PATIENCE: Duration = Duration::from_secs(60);

fn number_from(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// How long a round's load lasts at most; beyond 30 s the state is flushed and the log purged while it runs.
fn load_millis() -> usize {
    usize::try_from(number_from("SECURANET_POWER_LOAD_MILLIS").unwrap_or(900)).unwrap()
}

fn seed() -> u64 {
    let now = || u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let seed = number_from("SECURANET_POWER_SEED").unwrap_or_else(now);
    println!("SECURANET_POWER_SEED={seed}");
    seed
}

/// Small ones ride in the log; every fourth has a part large enough to be a blob.
fn message(id: &str) -> String {
    let number: u64 = id.split(['-', '@']).nth(1).and_then(|number| number.parse().ok()).expect("a number");
    let lines = if number.is_multiple_of(4) { 700 } else { 20 };
    let line = format!("line of {id} with some text to be found again later\r\n");
    format!("From: s@remote.example\r\nSubject: {id}\r\nMessage-ID: <{id}>\r\n\r\n{}", line.repeat(lines))
}

/// A server on such a disk. The server goes first when this is dropped.
struct Machine {
    server: Server,
    disk: Disk,
    random: Random,
    cuts: u64,
}

impl Machine {
    fn new(rule: NameRule, random: Random) -> Self {
        let disk = Disk::new(rule).unwrap();
        let data = Some(disk.path().join("node/data"));
        let server = Server::prepare(Options { config: CONFIG.to_owned(), data, ..Options::default() }).unwrap();
        Self { server, disk, random, cuts: 0 }
    }

    fn below(&mut self, bound: usize) -> u64 {
        self.random.below(bound) as u64
    }

    /// The power will go at one of the next changes.
    fn arm(&mut self, changes: usize) {
        let (change, loss) = (1 + self.below(changes), Loss::draw(&mut self.random));
        self.disk.cut_at_change(change, loss, self.random.clone());
    }

    /// The power goes, at the latest now; the process lives on for a moment, with a disk that answers with errors.
    fn cut(&mut self) {
        let loss = Loss::draw(&mut self.random);
        self.cut_with(loss);
    }

    fn cut_with(&mut self, loss: Loss) {
        let lost = self.disk.cut(loss, &mut self.random);
        self.cuts += 1;
        println!("cut {}: {lost:?}", self.cuts);
        thread::sleep(Duration::from_millis(self.below(80)));
        self.server.kill();
        self.disk.restore().unwrap();
    }

    /// Lets the load run for a while. Then the power goes: at once, or at one of the next changes, or while it shuts down.
    fn run_until_cut(&mut self) {
        let end = Instant::now() + Duration::from_millis(100 + self.below(load_millis()));
        let how = self.below(3);
        if how == 1 {
            self.arm(1000);
        }
        while self.disk.lost().is_none() && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
        if how == 2 {
            self.arm(100);
            let process = self.server.process_id().to_string();
            assert!(Command::new("kill").args(["-TERM", &process]).status().unwrap().success());
            while self.disk.lost().is_none() && self.server.is_running() {
                assert!(end.elapsed() < PATIENCE, "neither ended nor cut:\n{}", self.server.log());
                thread::sleep(Duration::from_millis(1));
            }
        }
        self.cut();
    }

    /// Starts it and cuts the power at one of this many changes, or when it is ready.
    fn cut_while_starting(&mut self, changes: usize) {
        self.arm(changes);
        self.server.begin().unwrap();
        let start = Instant::now();
        while self.disk.lost().is_none() && !self.server.is_ready() {
            assert!(start.elapsed() < PATIENCE, "neither up nor cut:\n{}", self.server.log());
            assert!(self.server.is_running(), "it ended by itself:\n{}", self.server.log());
            thread::sleep(Duration::from_millis(2));
        }
        self.cut();
    }
}

/// What clients know.
#[derive(Default)]
struct Known {
    ledger: Ledger,
    marks: Marks,
    numbers: AtomicU64,
    /// Message-IDs that wait in the queue: acknowledged.
    queued: Mutex<BTreeSet<String>>,
    work: Mutex<Work>,
}

/// What dan knows of his mailbox.
#[derive(Default)]
struct Work {
    there: BTreeSet<u32>,
    /// About to be expunged; nothing was acknowledged.
    leaving: Option<u32>,
    gone: BTreeSet<u32>,
    greatest: u32,
}

/// Where it listens: that lies on the disk too.
struct Ports {
    smtp: SocketAddr,
    submission: SocketAddr,
    imap: SocketAddr,
}

impl Ports {
    fn of(server: &Server) -> Self {
        let [smtp, submission, imap] = ["smtp", "submission", "imap"].map(|name| server.address(name));
        Self { smtp, submission, imap }
    }
}

type Ended = anyhow::Result<()>;

impl Known {
    fn next(&self, what: &str) -> String {
        format!("{what}-{}@client.example", self.numbers.fetch_add(1, Ordering::Relaxed))
    }

    fn deliver(&self, server: &Ports, client: u64, stop: &AtomicBool) -> Ended {
        let local = ACCOUNTS[usize::try_from(client)? % ACCOUNTS.len()];
        let mut smtp = Dialogue::smtp(server.smtp, "EHLO")?;
        while !stop.load(Ordering::Relaxed) {
            let id = self.next("mail");
            self.ledger.attempt(&id);
            if smtp.deliver("s@remote.example", &[local], &message(&id))?.starts_with("250") {
                self.ledger.acknowledge(&id);
            }
        }
        Ok(())
    }

    /// Sends mail to a host that does not answer: it waits in the queue.
    fn submit(&self, server: &Ports, stop: &AtomicBool) -> Ended {
        let mut smtp = Dialogue::smtp(server.submission, "EHLO")?;
        let secret = STANDARD.encode(format!("\0{}\0{PASSWORD}", address("dan")));
        smtp.expect(&format!("AUTH PLAIN {secret}"), "235")?;
        while !stop.load(Ordering::Relaxed) {
            let id = self.next("queued");
            smtp.expect(&format!("MAIL FROM:<{}>", address("dan")), "250")?;
            smtp.expect("RCPT TO:<r@remote.example>", "250")?;
            smtp.expect("DATA", "354")?;
            let text = message(&id).replace("s@remote.example", &address("dan"));
            if smtp.send_data(text.as_bytes())?.starts_with("250") {
                self.queued.lock().unwrap().insert(id);
            }
            thread::sleep(Duration::from_millis(15));
        }
        Ok(())
    }

    /// Reads mail and sets flags.
    fn read(&self, server: &Ports, local: &str, mut random: Random, stop: &AtomicBool) -> Ended {
        let mut imap = Dialogue::imap(server.imap, local)?;
        imap.imap_ok("SELECT INBOX")?;
        while !stop.load(Ordering::Relaxed) {
            self.marks.saw(local, Counters::ask(&mut imap, "INBOX")?);
            let found = imap.imap_ok("UID SEARCH ALL")?.join(" ");
            let uids: Vec<u32> = found.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            if uids.is_empty() {
                thread::sleep(Duration::from_millis(10));
                continue;
            }
            for _ in 0..5 {
                let uid = uids[random.below(uids.len())];
                let some = ["\\Answered", "\\Flagged", "\\Seen", "urgent"].into_iter().filter(|_| random.below(2) == 0);
                let flags: Flags = some.map(str::to_owned).collect();
                let list = flags.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
                self.marks.attempt(local, uid, flags);
                imap.imap_ok(&format!("UID STORE {uid} FLAGS.SILENT ({list})"))?;
                self.marks.acknowledge(local, uid);
            }
            assert_whole(&imap.fetch_message(uids[random.below(uids.len())])?);
        }
        Ok(())
    }

    /// Puts messages into a mailbox and takes them out again.
    fn churn(&self, server: &Ports, stop: &AtomicBool) -> Ended {
        let mut imap = Dialogue::imap(server.imap, "dan")?;
        imap.imap_ok(&format!("SELECT {WORK}"))?;
        while !stop.load(Ordering::Relaxed) {
            let reply = imap.append(WORK, message(&self.next("work")).as_bytes())?;
            let uid = reply.split_once("APPENDUID ").and_then(|(_, rest)| rest.split([' ', ']']).nth(1)?.parse().ok());
            let Some(uid) = uid else { continue };
            {
                let mut work = self.work.lock().unwrap();
                assert!(uid > work.greatest, "P3: UID {uid} was given after {}", work.greatest);
                work.greatest = uid;
                work.there.insert(uid);
                if uid.is_multiple_of(3) {
                    continue;
                }
                work.leaving = Some(uid);
            }
            imap.imap_ok(&format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)"))?;
            imap.imap_ok(&format!("UID EXPUNGE {uid}"))?;
            let mut work = self.work.lock().unwrap();
            work.leaving = None;
            work.there.remove(&uid);
            work.gone.insert(uid);
        }
        Ok(())
    }

    /// Loads the server until this has ended, which kills it.
    fn load(&self, machine: &mut Machine, until: impl FnOnce(&mut Machine)) {
        let (stop, ports) = (AtomicBool::new(false), Ports::of(&machine.server));
        thread::scope(|scope| {
            let (stop, server) = (&stop, &ports);
            for client in 0..SENDERS {
                scope.spawn(move || self.deliver(server, client, stop));
            }
            for (number, local) in ACCOUNTS.iter().enumerate().take(3) {
                let random = Random::new(machine.random.below(1 << 20) as u64 + number as u64);
                scope.spawn(move || self.read(server, local, random, stop));
            }
            scope.spawn(move || self.submit(server, stop));
            scope.spawn(move || self.churn(server, stop));
            until(machine);
            stop.store(true, Ordering::Relaxed);
        });
    }
}

/// A message that was read is one that was sent, whole.
fn assert_whole(message: &[u8]) {
    let text = String::from_utf8_lossy(message);
    let id = text.split_once("Message-ID: <").and_then(|(_, rest)| rest.split('>').next()).expect("a Message-ID");
    assert!(text.ends_with(&self::message(id)), "{id} is not as it was sent: {text}");
}

impl Known {
    /// Compares what is left with what is known, after a start.
    fn check(&self, server: &Server) {
        self.ledger.check(server, &ACCOUNTS);
        self.marks.check(server, &ACCOUNTS);
        self.check_work(server);
        let queue = server.cli(&["queue", "list", "--json", "--limit", "100000"], "").unwrap();
        let rows: Vec<serde_json::Value> = serde_json::from_str(&queue).unwrap();
        let ids: Vec<&str> = rows.iter().filter_map(|row| row["message_id"].as_str()).collect();
        let found: BTreeSet<&str> = ids.iter().map(|id| id.trim_matches(['<', '>'])).collect();
        assert_eq!(found.len(), ids.len(), "P2: a message is queued twice");
        let lost: Vec<String> =
            self.queued.lock().unwrap().iter().filter(|id| !found.contains(id.as_str())).cloned().collect();
        assert!(lost.is_empty(), "P1: acknowledged and not queued: {lost:?}");
    }

    fn check_work(&self, server: &Server) {
        let mut imap = Dialogue::imap(server.address("imap"), "dan").unwrap();
        let selected = imap.imap_ok(&format!("SELECT {WORK}")).unwrap().join(" ");
        let found = imap.imap_ok("UID SEARCH ALL").unwrap().join(" ");
        let found: BTreeSet<u32> = found.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let next = selected.split_once("[UIDNEXT ").and_then(|(_, rest)| rest.split(']').next()?.parse::<u32>().ok());
        let mut work = self.work.lock().unwrap();
        assert!(next.unwrap() > work.greatest, "P3: UIDNEXT is {next:?}, and UID {} was given", work.greatest);
        let back: Vec<_> = work.gone.intersection(&found).collect();
        assert!(back.is_empty(), "P1: expunged, and there again: {back:?}");
        let leaving = work.leaving.take();
        let lost: Vec<_> = work.there.iter().filter(|uid| Some(**uid) != leaving && !found.contains(uid)).collect();
        assert!(lost.is_empty(), "P1: appended and lost: {lost:?}");
        work.there = found;
    }
}

fn rounds() -> u64 {
    number_from("SECURANET_POWER_CUTS").unwrap_or(6)
}

/// Half of the rounds on each kind of disk; a disk's history goes on over its cuts.
#[test]
fn p1_p2_p3_what_was_acknowledged_survives_power_cuts() {
    where_possible("p1_p2_p3_what_was_acknowledged_survives_power_cuts", || {
        let seed = seed();
        for (rule, rounds) in [(NameRule::Strict, rounds().div_ceil(2)), (NameRule::Journal, rounds() / 2)] {
            let mut machine = Machine::new(rule, Random::new(seed));
            machine.server.restart().unwrap();
            machine.server.add_accounts(&ACCOUNTS).unwrap();
            let mut dan = Dialogue::imap(machine.server.address("imap"), "dan").unwrap();
            dan.imap_ok(&format!("CREATE {WORK}")).unwrap();
            let known = Known::default();
            for _ in 0..rounds {
                known.load(&mut machine, Machine::run_until_cut);
                while machine.below(3) == 0 {
                    machine.cut_while_starting(400);
                }
                machine.server.restart().unwrap();
                known.check(&machine.server);
            }
            let (acknowledged, flagged) = (known.ledger.count(), known.marks.count());
            let (queued, gone) = (known.queued.lock().unwrap().len(), known.work.lock().unwrap().gone.len());
            let (changes, syncs) = machine.disk.counts();
            println!(
                "{rule:?}: {} cuts; {acknowledged} delivered, {queued} queued, {flagged} flagged, {gone} expunged; \
                 {changes} changes on disk with {syncs} syncs",
                machine.cuts
            );
            assert!(rounds == 0 || acknowledged.min(flagged).min(queued).min(gone) > 0, "nothing was proved");
        }
    });
}

/// The first start makes everything: wherever it is cut off, the next one goes on or begins anew, and no account that was
/// acknowledged is lost.
#[test]
fn p1_the_founding_of_a_data_directory_survives_power_cuts() {
    where_possible("p1_the_founding_of_a_data_directory_survives_power_cuts", || {
        let mut random = Random::new(seed());
        for round in 0..rounds() {
            let rule = if round.is_multiple_of(2) { NameRule::Strict } else { NameRule::Journal };
            let mut machine = Machine::new(rule, Random::new(random.below(1 << 30) as u64));
            for _ in 0..random.below(3) {
                machine.cut_while_starting(300);
            }
            machine.server.restart().unwrap();
            machine.server.add_accounts(&["ann", "bob"]).unwrap();
            let mut smtp = Dialogue::smtp(machine.server.address("smtp"), "EHLO").unwrap();
            let ledger = Ledger::default();
            ledger.attempt("first-1@client.example");
            let reply = smtp.deliver("s@remote.example", &["ann"], &message("first-1@client.example")).unwrap();
            assert!(reply.starts_with("250"), "{reply}");
            ledger.acknowledge("first-1@client.example");
            machine.cut_with(if round.is_multiple_of(3) { Loss::ALL } else { Loss::draw(&mut random) });
            machine.server.restart().unwrap();
            ledger.check(&machine.server, &["ann", "bob"]);
        }
    });
}
