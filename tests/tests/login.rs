//! Logging in: every mechanism through every protocol, who is refused and how, and what it costs.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use securanet_tests::{
    dialogue::Dialogue,
    server::{Options, PASSWORD, Server, address, must},
};

/// Two listeners that trust no network.
const FAR: &str = "[[listener]]\nname = \"far-imap\"\nprotocol = \"imap\"\naddress = \"127.0.0.1:0\"\n\n\
                   [[listener]]\nname = \"far-pop3\"\nprotocol = \"pop3\"\naddress = \"127.0.0.1:0\"\n";

fn start() -> Server {
    Server::start_with(Options { config: FAR.to_owned(), ..Options::default() }, &["ann", "bob"]).unwrap()
}

fn python(server: &Server, part: &str, password: &str) -> String {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python/login.py")).arg(part);
    for listener in ["imap", "imaps", "pop3", "pop3s", "far-imap", "far-pop3"] {
        command.env(listener.to_uppercase().replace('-', "_"), server.port(listener).to_string());
    }
    command.env("CA", server.certificate()).env("USER", address("ann")).env("PASSWORD", password);
    must(command, "").unwrap()
}

/// The sum of a counter over its labels.
fn counter(server: &Server, name: &str) -> u64 {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "40", &format!("http://{}/metrics", server.address("admin"))]);
    let text = must(command, "").unwrap();
    let lines = text.lines().filter(|line| line.starts_with(name));
    let values = lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter")]
    let sum = values.sum::<f64>() as u64;
    sum
}

#[test]
fn every_mechanism_logs_in_through_every_protocol() {
    let server = start();
    assert_eq!(python(&server, "everything", PASSWORD), "mechanisms fine\n");
    assert_eq!(python(&server, "forms", PASSWORD), "forms fine\n");
    assert_eq!(python(&server, "privacy", PASSWORD), "privacy fine\n");
}

#[test]
fn who_is_refused_learns_nothing() {
    let server = start();
    assert_eq!(python(&server, "wrong", PASSWORD), "refusals fine\n");
}

#[test]
fn an_app_password_logs_in_until_it_is_removed_and_sessions_of_it_end() {
    let server = start();
    let told = server.cli(&["password", "app-add", &address("ann"), "phone"], "").unwrap();
    let secret = told
        .lines()
        .next()
        .and_then(|line| line.split_whitespace().last())
        .unwrap_or_else(|| panic!("{told}"))
        .to_owned();
    let mut imap = Dialogue::connect(server.address("imap")).unwrap();
    imap.line().unwrap();
    imap.imap_ok(&format!("LOGIN {} {secret:?}", address("ann"))).unwrap();
    let listed = server.cli(&["password", "app-list", &address("ann")], "").unwrap();
    assert!(listed.contains("phone") && !listed.contains(&secret), "{listed}");
    let id = listed
        .lines()
        .find(|line| line.contains("phone"))
        .and_then(|line| line.split_whitespace().find(|word| word.parse::<u32>().is_ok()))
        .unwrap_or_else(|| panic!("{listed}"));
    server.cli(&["password", "app-remove", &address("ann"), id], "").unwrap();
    let start = Instant::now();
    assert!(imap.line().unwrap().starts_with("* BYE"));
    assert!(start.elapsed() < Duration::from_secs(2));
    let mut imap = Dialogue::connect(server.address("imap")).unwrap();
    imap.line().unwrap();
    let (_, tagged) = imap.imap_say(&format!("LOGIN {} {secret:?}", address("ann"))).unwrap();
    assert!(tagged.starts_with("NO [AUTHENTICATIONFAILED]"), "{tagged}");
    Dialogue::imap(server.address("imap"), "ann").expect("the password itself still logs in");
}

#[test]
fn ten_connections_at_once_cost_about_one_computation() {
    let server = start();
    let before = counter(&server, "securanet_login_hashes_total");
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| Dialogue::imap(server.address("imap"), "ann").unwrap());
        }
    });
    Dialogue::pop3(server.address("pop3"), "ann").unwrap();
    let computed = counter(&server, "securanet_login_hashes_total") - before;
    assert!((1..=2).contains(&computed), "{computed} computations for eleven logins of one client");
}

#[test]
fn wrong_passwords_are_slowed_down_and_right_ones_of_others_are_not_stopped() {
    let server = start();
    let attempt = |password: &str| {
        let mut imap = Dialogue::connect(server.address("imap")).unwrap();
        imap.line().unwrap();
        let start = Instant::now();
        let (_, tagged) = imap.imap_say(&format!("LOGIN {} {password:?}", address("bob"))).unwrap();
        assert!(tagged.starts_with("NO"), "{tagged}");
        (start.elapsed(), tagged)
    };
    let first = attempt("wrong 0").0;
    let mut slowest = first;
    let mut refused = false;
    for number in 1..8 {
        let (took, tagged) = attempt(&format!("wrong {number}"));
        slowest = slowest.max(took);
        // RFC 5530: a temporary refusal, without a computation.
        refused |= !tagged.contains("[AUTHENTICATIONFAILED]");
        if refused {
            break;
        }
    }
    assert!(refused || slowest > first + Duration::from_millis(500), "eight guesses in a row: {first:?}, {slowest:?}");
}
