//! SIGKILL in the middle of concurrent deliveries, many times over (promises P1, P2, P3).
//!
//! `SECURANET_KILL_ROUNDS` sets how often (default 30).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use securanet_tests::{dialogue::Dialogue, ledger::Ledger, server::Server};

const CLIENTS: u64 = 32;
const ACCOUNTS: [&str; 4] = ["ann", "bob", "cid", "dan"];

fn rounds() -> u64 {
    std::env::var("SECURANET_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(30)
}

/// Small ones ride in the log; every fourth has a part large enough to be a blob.
fn message(id: &str, number: u64) -> String {
    let line = format!("line of {id} with some text to be found again later\r\n");
    let lines = if number.is_multiple_of(4) { 700 } else { 20 };
    format!("From: s@remote.example\r\nSubject: {id}\r\nMessage-ID: <{id}>\r\n\r\n{}", line.repeat(lines))
}

/// A point in a round at which the server is killed: from a fixed seed, different each round.
fn moment(round: u64) -> Duration {
    let mixed = (round + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Duration::from_millis(20 + (mixed >> 32) % 350)
}

fn deliver_until_dead(
    server: &Server,
    ledger: &Ledger,
    client: u64,
    round: u64,
    numbers: &AtomicU64,
    stop: &AtomicBool,
) {
    let local = ACCOUNTS[usize::try_from(client).unwrap() % ACCOUNTS.len()];
    let Ok(mut smtp) = Dialogue::smtp(server.address("smtp"), "EHLO") else { return };
    while !stop.load(Ordering::Relaxed) {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let id = format!("kill-{round}-{number}@remote.example");
        ledger.attempt(&id);
        match smtp.deliver("s@remote.example", &[local], &message(&id, number)) {
            Ok(reply) if reply.starts_with("250") => ledger.acknowledge(&id),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

fn append_until_dead(
    server: &Server,
    ledger: &Ledger,
    client: u64,
    round: u64,
    numbers: &AtomicU64,
    stop: &AtomicBool,
) {
    let local = ACCOUNTS[usize::try_from(client).unwrap() % ACCOUNTS.len()];
    let Ok(mut imap) = Dialogue::imap(server.address("imap"), local) else { return };
    while !stop.load(Ordering::Relaxed) {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let id = format!("append-{round}-{number}@remote.example");
        ledger.attempt(&id);
        match imap.append("INBOX", message(&id, number).as_bytes()) {
            Ok(reply) if reply.starts_with("OK") => ledger.acknowledge(&id),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

type Load = fn(&Server, &Ledger, u64, u64, &AtomicU64, &AtomicBool);

fn kill_over_and_over(load: Load) {
    let mut server = Server::start(&ACCOUNTS).unwrap();
    let ledger = Ledger::default();
    let numbers = AtomicU64::new(0);
    for round in 0..rounds() {
        let stop = AtomicBool::new(false);
        let pid = server.process_id();
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (server, ledger, numbers, stop) = (&server, &ledger, &numbers, &stop);
                scope.spawn(move || load(server, ledger, client, round, numbers, stop));
            }
            thread::sleep(moment(round));
            let killed = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
            assert!(killed.success());
            stop.store(true, Ordering::Relaxed);
        });
        server.restart().unwrap();
        if round % 10 == 9 {
            ledger.check(&server, &ACCOUNTS);
        }
    }
    ledger.check(&server, &ACCOUNTS);
    assert!(ledger.count() as u64 > rounds(), "only {} were acknowledged: nothing was proved", ledger.count());
    println!("{} acknowledged of {} sent", ledger.count(), numbers.load(Ordering::Relaxed));
}

#[test]
fn p1_p2_p3_deliveries_survive_sigkill() {
    kill_over_and_over(deliver_until_dead);
}

#[test]
fn p1_p2_p3_appends_survive_sigkill() {
    kill_over_and_over(append_until_dead);
}
