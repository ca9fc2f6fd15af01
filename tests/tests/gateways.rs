//! Gateways and their store in processes of their own: mail goes in and out, and each of them may die.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use securanet_tests::{
    dialogue::Dialogue,
    ledger::Ledger,
    rude::{Manner, Rude, Stage},
    server::{Options, PASSWORD, Server, address},
};

/// Longer than anything here takes on a machine that compiles beside it.
const PATIENCE: Duration = Duration::from_secs(90);
/// P4.
const TAKEOVER: Duration = Duration::from_secs(10);

/// Mail for rude.example goes to this remote.
fn sending_to(remote: &Rude) -> Options {
    let port = remote.address().port();
    let config = format!(
        "[delivery.worker]\nunreachable_seconds = 0\n[[delivery.routing.routes]]\nname = \"rude\"\n\
         recipient_domains = [\"rude.example\"]\nhosts = [\"[127.0.0.1]:{port}\"]\n"
    );
    Options { config, ..Options::default() }
}

fn not_delivering() -> Options {
    Options { config: "[delivery]\nenabled = false\n".to_owned(), ..Options::default() }
}

fn submit(gateway: &Server, id: &str) {
    let mut smtp = Dialogue::smtp(gateway.address("submission"), "EHLO").unwrap();
    let secret = STANDARD.encode(format!("\0{}\0{PASSWORD}", address("ann")));
    smtp.expect(&format!("AUTH PLAIN {secret}"), "235").unwrap();
    smtp.expect(&format!("MAIL FROM:<{}>", address("ann")), "250").unwrap();
    smtp.expect("RCPT TO:<bob@rude.example>", "250").unwrap();
    smtp.expect("DATA", "354").unwrap();
    let text = format!("From: {}\r\nSubject: {id}\r\nMessage-ID: <{id}>\r\n\r\nHello.\r\n", address("ann"));
    let reply = smtp.send_data(text.as_bytes()).unwrap();
    assert!(reply.starts_with("250"), "{reply}");
}

/// Small ones ride in the log; every fourth has a part large enough to be a blob.
fn message(id: &str, number: u64) -> String {
    let line = format!("line of {id} with some text to be found again later\r\n");
    let lines = if number.is_multiple_of(4) { 700 } else { 20 };
    format!("From: s@remote.example\r\nSubject: {id}\r\nMessage-ID: <{id}>\r\n\r\n{}", line.repeat(lines))
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn mail_comes_in_is_read_and_leaves_through_gateways_that_keep_nothing() {
    let remote = Rude::start(|_| Manner::Kind);
    let store = Server::start_store(&["ann"]).unwrap();
    let one = store.start_gateway("gateway-1", sending_to(&remote)).unwrap();
    let two = store.start_gateway("gateway-2", not_delivering()).unwrap();
    // Somebody watches at the other gateway.
    let mut watching = Dialogue::imap(two.address("imap"), "ann").unwrap();
    watching.imap_ok("SELECT INBOX").unwrap();
    watching.send(b"i IDLE\r\n").unwrap();
    assert!(watching.line().unwrap().starts_with('+'));
    let mut smtp = Dialogue::smtp(one.address("smtp"), "EHLO").unwrap();
    for (number, id) in ["small@remote.example", "large@remote.example"].into_iter().enumerate() {
        let text = message(id, 1 - number as u64);
        let reply = smtp.deliver("s@remote.example", &["ann"], &text).unwrap();
        assert!(reply.starts_with("250"), "{reply}");
    }
    wait_until("the other gateway tells its client", || watching.line().unwrap().contains("2 EXISTS"));
    let mut imap = Dialogue::imap(two.address("imap"), "ann").unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    for (uid, id) in [(1, "small@remote.example"), (2, "large@remote.example")] {
        let fetched = String::from_utf8(imap.fetch_message(uid).unwrap()).unwrap();
        assert!(fetched.ends_with(&message(id, 2 - u64::from(uid))), "{fetched}");
    }
    let reply = imap.append("INBOX", message("appended@remote.example", 4).as_bytes()).unwrap();
    assert!(reply.starts_with("OK"), "{reply}");
    submit(&two, "out@test.example");
    remote.await_taken(1, PATIENCE);
    assert!(remote.taken()[0].text.contains("Subject: out@test.example"));
    // Nothing of it is with the gateways.
    for gateway in [&one, &two] {
        let mut found: Vec<_> = std::fs::read_dir(gateway.folder()).unwrap().map(|f| f.unwrap().file_name()).collect();
        found.sort();
        let names: Vec<_> =
            found.iter().filter_map(|name| name.to_str()).filter(|name| !name.ends_with(".pem")).collect();
        assert_eq!(names, ["addresses.json", "admin-token", "cluster", "log", "node.toml"]);
    }
    // Operators may ask any of them.
    assert!(one.cli(&["account", "list"], "").unwrap().contains("ann@"));
    assert!(one.cli(&["status"], "").unwrap().contains("cluster"));
}

#[test]
fn an_account_that_is_suspended_is_out_at_every_gateway_within_seconds() {
    let store = Server::start_store(&["ann"]).unwrap();
    let gateway = store.start_gateway("gateway-1", not_delivering()).unwrap();
    let mut imap = Dialogue::imap(gateway.address("imap"), "ann").unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    let start = Instant::now();
    store.cli(&["account", "suspend", &address("ann")], "").unwrap();
    let told = start.elapsed();
    let bye = imap.line().unwrap();
    assert!(bye.starts_with("* BYE"), "{bye}");
    assert!(start.elapsed() - told < Duration::from_secs(2), "after {:?}", start.elapsed() - told);
    assert!(Dialogue::imap(gateway.address("imap"), "ann").is_err(), "a remembered password still opens the door");
}

#[test]
fn p4_another_gateway_takes_over_what_a_dead_one_was_delivering() {
    let remote = Rude::start(|_| Manner::Hang(Stage::Data, Duration::from_secs(300)));
    let store = Server::start_store(&["ann"]).unwrap();
    let mut one = store.start_gateway("gateway-1", sending_to(&remote)).unwrap();
    submit(&one, "taken-over@test.example");
    wait_until("the first one is at DATA", || remote.transactions() == 1);
    let _two = store.start_gateway("gateway-2", sending_to(&remote)).unwrap();
    // It has seen that somebody else has it.
    sleep(Duration::from_secs(3));
    assert_eq!(remote.transactions(), 1, "two gateways deliver the same");
    remote.behave(|_| Manner::Kind);
    let killed = Instant::now();
    one.kill();
    remote.await_taken(1, PATIENCE);
    let took = killed.elapsed();
    println!("taken over after {took:?}");
    assert!(took < TAKEOVER, "P4: taken over after {took:?}");
    sleep(Duration::from_secs(2));
    assert_eq!(remote.taken().len(), 1, "P2: it was delivered twice");
}

fn deliver_until_told(gateway: &Server, ledger: &Ledger, local: &str, numbers: &AtomicU64, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        // A gateway may hang up on one that has waited too long; it must let it in again.
        let mut smtp = Dialogue::smtp(gateway.address("smtp"), "EHLO").expect("the gateway lives");
        while !stop.load(Ordering::Relaxed) {
            let number = numbers.fetch_add(1, Ordering::Relaxed);
            let id = format!("restart-{number}@remote.example");
            ledger.attempt(&id);
            match smtp.deliver("s@remote.example", &[local], &message(&id, number)) {
                Ok(reply) if reply.starts_with("250") => ledger.acknowledge(&id),
                Ok(_) => {}
                Err(_) => break,
            }
        }
    }
}

#[test]
fn p1_p2_a_gateway_outlives_its_store_and_what_it_acknowledged_is_there_once() {
    const ACCOUNTS: [&str; 4] = ["ann", "bob", "cid", "dan"];
    let mut store = Server::start_store(&ACCOUNTS).unwrap();
    let gateway = store.start_gateway("gateway-1", not_delivering()).unwrap();
    let process = gateway.process_id();
    let (ledger, numbers) = (Ledger::default(), AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let rounds = std::env::var("SECURANET_STORE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    thread::scope(|scope| {
        for client in 0..16 {
            let (gateway, ledger, numbers, stop) = (&gateway, &ledger, &numbers, &stop);
            scope.spawn(move || deliver_until_told(gateway, ledger, ACCOUNTS[client % 4], numbers, stop));
        }
        for round in 0..rounds {
            let before = ledger.count();
            wait_until("mail flows", || ledger.count() >= before + 50);
            store.kill();
            sleep(Duration::from_millis(100 + 400 * (round % 3)));
            store.restart().unwrap();
        }
        let before = ledger.count();
        wait_until("mail flows again", || ledger.count() >= before + 50);
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(gateway.process_id(), process);
    assert!(
        gateway.log().matches("store lost").count() as u64 >= rounds,
        "it never missed its store:\n{}",
        gateway.log()
    );
    ledger.check_at(&gateway, &store, &ACCOUNTS);
    println!("{} acknowledged of {} sent", ledger.count(), numbers.load(Ordering::Relaxed));
}

#[test]
fn a_node_of_another_cluster_gets_nowhere_and_both_sides_say_why() {
    let ours = Server::start_store(&["ann"]).unwrap();
    let theirs = Server::start_store(&["ann"]).unwrap();
    let mut gateway = ours.start_gateway("gateway-1", not_delivering()).unwrap();
    Dialogue::imap(gateway.address("imap"), "ann").unwrap();
    // The other cluster's certificate under this one's name.
    let stranger = theirs.start_gateway("gateway-1", not_delivering()).unwrap();
    for file in ["certificate.pem", "key.pem", "authority.pem"] {
        let place = |of: &Server| of.folder().join("cluster").join(file);
        std::fs::copy(place(&stranger), place(&gateway)).unwrap();
    }
    gateway.restart().unwrap();
    wait_until("the gateway says why", || gateway.log().contains("it does not belong here"));
    wait_until("the store says why", || ours.log().contains("a peer was refused"));
    let mut smtp = Dialogue::smtp(gateway.address("smtp"), "EHLO").unwrap();
    let reply = smtp.say("MAIL FROM:<s@remote.example>").unwrap();
    assert!(reply.starts_with("451"), "{reply}");
    assert!(gateway.cli(&["status"], "").unwrap().contains("!! store 127.0.0.1"));
}
