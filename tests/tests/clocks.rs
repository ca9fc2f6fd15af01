//! Wall clocks that are wrong or jump (libfaketime; clocks that only count stay right): mail goes on, or is refused for now
//! with a reason that an operator finds; nothing acknowledged is lost; dates and retries stay sane. Design section 5.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread::{self, sleep},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use securanet_tests::{
    cluster::{
        node::Role,
        sites::{Place, Plan, Sites},
    },
    dialogue::Dialogue,
    ledger::Ledger,
    server::{Options, PASSWORD, Server, address, must},
    wall::WallClock,
};
use serde_json::Value;

/// Longer than anything here takes on a machine that compiles beside it.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nobody answers there, and nobody remembers that.
const NOBODY: &str = "[delivery.worker]\nunreachable_seconds = 0\n[[delivery.routing.routes]]\nname = \"nobody\"\n\
                      recipient_domains = [\"remote.example\"]\nhosts = [\"[127.0.0.1]:1\"]\n";

fn start(clock: &WallClock) -> Server {
    let options = Options { config: NOBODY.to_owned(), wrapper: clock.wrapper(), ..Options::default() };
    Server::start_with(options, &["ann", "bob"]).unwrap()
}

fn message(id: &str) -> String {
    format!("From: s@remote.example\r\nSubject: {id}\r\nMessage-ID: <{id}>\r\n\r\nbody of {id}\r\n")
}

/// Seconds since 1970, by the machine's own clock.
fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// How far the last message's internal date is from the machine's clock, in seconds.
fn last_date_offset(server: &Server, local: &str) -> i64 {
    let mut imap = Dialogue::imap(server.address("imap"), local).unwrap();
    imap.imap_ok("EXAMINE INBOX").unwrap();
    let row = imap.imap_ok("FETCH * (INTERNALDATE)").unwrap().join(" ");
    let date = row.split_once("INTERNALDATE \"").unwrap().1.split('"').next().unwrap().trim().replacen('-', " ", 2);
    let mut command = Command::new("date");
    command.args(["--date", &date, "+%s"]);
    must(command, "").unwrap().trim().parse::<i64>().unwrap() - now()
}

fn assert_near(found: i64, expected: i64, what: &str) {
    assert!((found - expected).abs() < 30, "{what}: {found} s from the machine's clock, not {expected} s");
}

fn submit(server: &Server, id: &str) {
    let mut smtp = Dialogue::smtp(server.address("submission"), "EHLO").unwrap();
    let secret = STANDARD.encode(format!("\0{}\0{PASSWORD}", address("ann")));
    smtp.expect(&format!("AUTH PLAIN {secret}"), "235").unwrap();
    smtp.expect(&format!("MAIL FROM:<{}>", address("ann")), "250").unwrap();
    smtp.expect("RCPT TO:<r@remote.example>", "250").unwrap();
    smtp.expect("DATA", "354").unwrap();
    let text = message(id).replace("s@remote.example", &address("ann"));
    let reply = smtp.send_data(text.as_bytes()).unwrap();
    assert!(reply.starts_with("250"), "{reply}");
}

/// How often a message was tried, and when it is due, in seconds from the machine's clock.
fn tried(server: &Server, id: &str) -> (u64, i64) {
    let text = server.cli(&["trace", &format!("<{id}>"), "--json"], "").unwrap();
    let recipient = &serde_json::from_str::<Vec<Value>>(&text).unwrap()[0]["recipients"][0];
    let due = recipient["due_unix_millis"].as_i64().unwrap_or(0) / 1000 - now();
    (recipient["attempts"].as_u64().unwrap(), due)
}

fn await_tried(server: &Server, id: &str, times: u64) -> i64 {
    let start = Instant::now();
    loop {
        match tried(server, id) {
            (found, due) if found == times && due > -1_000_000 => return due,
            other => assert!(start.elapsed() < PATIENCE, "{id}: {other:?}, not {times} tries\n{}", server.log()),
        }
        sleep(Duration::from_millis(100));
    }
}

/// A metric's largest value over its labels.
fn metric(server: &Server, name: &str) -> f64 {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "40", &format!("http://{}/metrics", server.address("admin"))]);
    let text = must(command, "").unwrap();
    let values =
        text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next()?.parse().ok());
    values.fold(f64::MIN, f64::max)
}

fn await_true(what: &str, server: &Server, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}\n{}", server.log());
        sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_clock_that_is_wrong_from_the_start_stops_no_mail() {
    for offset in [600, -600] {
        let clock = WallClock::new(offset).unwrap();
        let mut server = start(&clock);
        for restarted in [false, true] {
            let id = format!("wrong-{restarted}@client.example");
            let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
            let reply = smtp.deliver("s@remote.example", &["bob"], &message(&id)).unwrap();
            assert!(reply.starts_with("250"), "{reply}");
            assert_near(last_date_offset(&server, "bob"), offset, "internal date");
            let mut imap = Dialogue::imap(server.address("imap"), "bob").unwrap();
            assert!(imap.append("INBOX", message("appended").as_bytes()).unwrap().starts_with("OK"));
            imap.imap_ok("SELECT INBOX").unwrap();
            imap.imap_ok("STORE 1 +FLAGS (\\Flagged)").unwrap();
            let mut pop3 = Dialogue::pop3(server.address("pop3"), "bob").unwrap();
            pop3.pop3_ok("DELE 1").unwrap();
            pop3.pop3_ok("QUIT").unwrap();
            let queued = format!("queued-{restarted}@client.example");
            submit(&server, &queued);
            assert_near(await_tried(&server, &queued, 1), offset + 900, "first retry");
            server.restart().unwrap();
        }
        assert!(!server.log().contains("clock is behind"), "nothing is wrong with it by itself");
    }
}

/// What senders were told.
#[derive(Default)]
struct Told {
    kept: AtomicU64,
    refused: AtomicU64,
}

impl Told {
    fn take(&self) -> (u64, u64) {
        (self.kept.swap(0, Ordering::SeqCst), self.refused.swap(0, Ordering::SeqCst))
    }

    /// What they are told in a second, once those are answered that were on their way.
    fn in_a_second(&self) -> (u64, u64) {
        sleep(Duration::from_secs(2));
        self.take();
        sleep(Duration::from_secs(1));
        self.take()
    }

    fn send(&self, server: &Server, ledger: &Ledger, sender: u64, stop: &AtomicBool) {
        let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
        let local = if sender.is_multiple_of(2) { "ann" } else { "bob" };
        for number in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let id = format!("jump-{sender}-{number}@client.example");
            ledger.attempt(&id);
            let reply = smtp.deliver("s@remote.example", &[local], &message(&id)).unwrap();
            if reply.starts_with("250") {
                ledger.acknowledge(&id);
                self.kept.fetch_add(1, Ordering::SeqCst);
            } else {
                assert!(reply.starts_with("451 4.3.0 cannot keep mail now"), "{reply}");
                self.refused.fetch_add(1, Ordering::SeqCst);
            }
            sleep(Duration::from_millis(10));
        }
    }
}

fn assert_kept(told: &Told, what: &str) {
    let (kept, refused) = told.in_a_second();
    assert!(kept > 0 && refused == 0, "{what}: {kept} kept, {refused} refused");
}

fn assert_refused(told: &Told, what: &str) {
    let (kept, refused) = told.in_a_second();
    assert!(kept == 0 && refused > 0, "{what}: {kept} kept, {refused} refused");
}

const AHEAD: &str = "securanet_group_clock_ahead_seconds";
const ALARM: &str = "this node's clock is behind what it was: mail is refused for now (451)";

#[test]
fn a_clock_that_jumps_loses_nothing_and_operators_are_told() {
    let clock = WallClock::new(0).unwrap();
    let mut server = start(&clock);
    let (ledger, told, stop) = (Ledger::default(), Told::default(), AtomicBool::new(false));
    thread::scope(|scope| {
        let (server, ledger, told, stop) = (&server, &ledger, &told, &stop);
        for sender in 0..4 {
            scope.spawn(move || told.send(server, ledger, sender, stop));
        }
        assert_kept(told, "a right clock");
        clock.set(600).unwrap();
        assert_kept(told, "10 minutes ahead");
        assert_near(last_date_offset(server, "ann"), 600, "internal date");
        assert!(!server.log().contains(ALARM));

        // Back: the groups' clocks do not go with it.
        clock.set(0).unwrap();
        assert_refused(told, "10 minutes back");
        await_true("the alarm", server, || server.log().contains(ALARM));
        await_true("the metric", server, || metric(server, AHEAD) > 500.0);
        let status = server.cli(&["status"], "").unwrap();
        assert!(status.contains("takes no changes from node") && status.contains("set the clock"), "{status}");
        let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
        imap.imap_ok("SELECT INBOX").unwrap();
        imap.fetch_message(1).unwrap();
        let (_, refused) = imap.imap_say("STORE 1 +FLAGS (\\Flagged)").unwrap();
        assert!(refused.starts_with("NO [UNAVAILABLE]"), "{refused}");

        // Less behind than a request waits: that is no reason to refuse anything.
        clock.set(585).unwrap();
        assert_kept(told, "15 seconds behind");
        clock.set(1200).unwrap();
        assert_kept(told, "20 minutes ahead");
        imap.imap_ok("STORE 1 +FLAGS (\\Flagged)").unwrap();
        await_true("the metric", server, || metric(server, AHEAD) < 1.0);
        stop.store(true, Ordering::Relaxed);
    });
    ledger.check(&server, &["ann", "bob"]);

    // It starts with a clock that is behind, and waits for it.
    clock.set(0).unwrap();
    server.restart().unwrap();
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    let late = message("late@client.example");
    ledger.attempt("late@client.example");
    let reply = smtp.deliver("s@remote.example", &["ann"], &late).unwrap();
    assert!(reply.starts_with("451 4.3.0"), "{reply}");
    clock.set(1200).unwrap();
    let reply = smtp.deliver("s@remote.example", &["ann"], &late).unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    ledger.acknowledge("late@client.example");
    ledger.check(&server, &["ann", "bob"]);
}

#[test]
fn retries_keep_their_hours_when_the_clock_jumps() {
    let clock = WallClock::new(0).unwrap();
    let server = start(&clock);
    submit(&server, "hours@client.example");
    assert_near(await_tried(&server, "hours@client.example", 1), 900, "first retry");
    clock.set(600).unwrap();
    sleep(Duration::from_secs(3));
    assert_eq!(tried(&server, "hours@client.example").0, 1, "tried before its time");
    clock.set(960).unwrap();
    assert_near(await_tried(&server, "hours@client.example", 2), 960 + 7200, "second retry");
    clock.set(0).unwrap();
    sleep(Duration::from_secs(3));
    let (times, due) = tried(&server, "hours@client.example");
    assert_eq!(times, 2, "tried again and again");
    assert_near(due, 960 + 7200, "second retry");
}

/// Gateways' requests carry deadlines by their own clocks.
#[test]
fn a_gateway_with_a_wrong_clock_refuses_for_now_and_goes_on_when_it_is_right() {
    let store = Server::start_store(&["ann"]).unwrap();
    let clock = WallClock::new(0).unwrap();
    let options = Options { wrapper: clock.wrapper(), ..Options::default() };
    let gateway = store.start_gateway("gateway-1", options).unwrap();
    await_true("the gateway takes mail", &gateway, || {
        let mut smtp = Dialogue::smtp(gateway.address("smtp"), "EHLO").unwrap();
        smtp.say("MAIL FROM:<s@remote.example>").unwrap().starts_with("250")
    });
    let ledger = Ledger::default();
    for (round, offset) in [0, 600, 0, -600, 0].into_iter().enumerate() {
        clock.set(offset).unwrap();
        let id = format!("gateway-{round}@client.example");
        ledger.attempt(&id);
        let begun = Instant::now();
        let mut smtp = Dialogue::smtp(gateway.address("smtp"), "EHLO").unwrap();
        let reply = smtp.deliver("s@remote.example", &["ann"], &message(&id)).unwrap();
        if reply.starts_with("250") {
            ledger.acknowledge(&id);
        }
        assert!(
            reply.starts_with(if offset == 0 { "250" } else { "451 4.3.0" }),
            "{offset}: {reply}\n{}",
            gateway.log()
        );
        assert!(begun.elapsed() < Duration::from_secs(35), "{offset}: {:?}", begun.elapsed());
    }
    for told in ["the clock of the node it comes from is ahead", "the clock of the node it comes from is behind"] {
        assert!(gateway.log().contains(told), "{told}");
    }
    ledger.check_at(&gateway, &store, &["ann"]);
}

#[test]
fn a_certificate_of_which_a_third_is_left_is_renewed() {
    let store = Server::start_store(&["ann"]).unwrap();
    let clock = WallClock::new(0).unwrap();
    let options = Options { wrapper: clock.wrapper(), ..Options::default() };
    let mut gateway = store.start_gateway("gateway-1", options).unwrap();
    let certificate = gateway.folder().join("cluster/certificate.pem");
    let first = std::fs::read_to_string(&certificate).unwrap();
    let renewed = "the node has a new certificate in its cluster";
    // It holds for 90 days.
    for (days, new) in [(55, false), (65, true)] {
        clock.set(days * 86_400).unwrap();
        gateway.restart().unwrap();
        let there = |gateway: &Server| gateway.log().contains(renewed);
        if new {
            await_true("the certificate is renewed", &gateway, || there(&gateway));
        } else {
            std::thread::sleep(Duration::from_secs(3));
        }
        assert_eq!(there(&gateway), new, "after {days} days");
        assert_eq!(std::fs::read_to_string(&certificate).unwrap() != first, new, "after {days} days");
    }
    // The new one is good.
    clock.set(0).unwrap();
    gateway.restart().unwrap();
    Dialogue::imap(gateway.address("imap"), "ann").unwrap();
}

#[test]
fn a_store_whose_clock_jumps_leads_nothing_until_it_is_set_and_the_others_keep_the_time() {
    let place = |(node, site): (&str, &str)| Place::new(node, site, Role::Both);
    let sites = Sites::start(&Plan {
        places: [("a", "east"), ("b", "west"), ("c", "south")].map(place).to_vec(),
        accounts: vec!["ann".to_owned()],
        config: String::new(),
        seed: 1,
        small_disks: Vec::new(),
        clocks: true,
    })
    .unwrap();
    let status = |asked: &str| {
        let said = sites.node(asked).unwrap().cli(&["status", "--json"], "").unwrap();
        serde_json::from_str::<serde_json::Value>(&said).unwrap()
    };
    let led_by = |node: &str| {
        let of = |group: &&serde_json::Value| group["leader"] == node;
        status("b")["groups"].as_array().unwrap().iter().filter(of).count()
    };
    let wait = |what: &str, holds: &dyn Fn() -> bool| {
        let start = Instant::now();
        while !holds() {
            assert!(start.elapsed() < PATIENCE, "not in time: {what}: {:#}", status("b")["problems"]);
            sleep(Duration::from_millis(100));
        }
    };
    wait("each store leads the groups of its site", &|| ["a", "b", "c"].iter().all(|node| led_by(node) >= 2));

    sites.clock("a").unwrap().set(600).unwrap();
    let jumped = Instant::now();
    wait("it leads nothing", &|| led_by("a") == 0);
    println!("its groups are led elsewhere after {:.1?}", jumped.elapsed());
    let log = |node: &str| sites.node(node).unwrap().log();
    wait("it says so itself", &|| log("a").contains("it writes nothing and hands over what it leads; set the clock"));
    wait("the others say so", &|| status("c")["problems"].to_string().contains("node a: its clock is "));
    let told = status("c")["problems"].to_string();
    assert!(told.contains("s ahead of the others'"), "{told}");
    let mut smtp = Dialogue::smtp(sites.node("b").unwrap().address("smtp").unwrap(), "EHLO").unwrap();
    for number in 0..10 {
        let reply = smtp.deliver("s@remote.example", &["ann"], &message(&format!("right-{number}"))).unwrap();
        assert!(reply.starts_with("250"), "{reply}");
    }
    // Groups that keep the time of a clock that was ahead are told once that one is right again.
    assert!(!told.contains("takes no changes from node b") && !told.contains("takes no changes from node c"), "{told}");

    sites.clock("a").unwrap().set(0).unwrap();
    wait("it has its groups back", &|| led_by("a") >= 2);
    wait("nothing is wrong any more", &|| status("b")["problems"].as_array().is_some_and(Vec::is_empty));
    for node in ["a", "b", "c"] {
        let mut imap = Dialogue::imap(sites.node(node).unwrap().address("imap").unwrap(), "ann").unwrap();
        let selected = imap.imap_ok("SELECT INBOX").unwrap();
        assert!(selected.iter().any(|line| line == "* 10 EXISTS"), "{node}: {selected:?}");
    }
}
