//! Real processes in sites under load, while a nemesis kills, pauses and restarts them and cuts, stalls and slows the links
//! between them (promises P1, P2, P3). Afterwards nothing acknowledged is missing, nothing is there twice, every client's copy
//! of its mailboxes is right, and the stores find nothing wrong.
//!
//! `SECURANET_NEMESIS_STORES`, `_SECONDS` (default 45, and until each kind of fault was used), `_SEED` (default 1; 0 chooses one;
//! it is printed) and `_FAULTS` set how it runs: the manual's page on failures lists them. A seed decides what is done and when;
//! what the processes make of it differs from run to run.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    env,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use securanet_tests::{
    cluster::{
        branches::Branches,
        check::{PATIENCE, check},
        load::{Strength, World, routed_to, sink},
        nemesis::{KINDS, Kind, Nemesis},
        node::Role,
        replicas,
        sites::{Place, Plan, Sites},
    },
    dialogue::Dialogue,
    world::{apart, can_be_apart, is_apart},
};

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn seed() -> u64 {
    match number("SECURANET_NEMESIS_SEED") {
        Some(0) => {
            u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap() % 1_000_000
        }
        seed => seed.unwrap_or(1),
    }
}

/// Stores that serve clients too, each in a site of its own, and a gateway alone: with one store in each of the other sites,
/// with several beside the second one.
fn places(stores: usize) -> Vec<Place> {
    let sites = ["north", "south", "west", "east", "middle"];
    let mut places: Vec<Place> = ["a", "b", "c", "d", "e"]
        .iter()
        .zip(sites)
        .take(stores)
        .map(|(node, site)| Place::new(node, site, Role::Both))
        .collect();
    let gateways: &[(&str, &str)] = if stores == 1 { &[("x", "south"), ("y", "west")] } else { &[("x", "south")] };
    places.extend(gateways.iter().map(|(node, site)| Place::new(node, site, Role::Gateway)));
    if (3..5).contains(&stores) {
        places.push(Place::spare("s", "spare", Role::Store));
    }
    places
}

/// It takes long, and [`Kind::Replace`] comes the same ways: not in a run that is shorter than this.
const TAKES_LONG: (Kind, Duration) = (Kind::Join, Duration::from_secs(120));
/// From this length on a run must have reached all that seldom happens.
const LONG: Duration = Duration::from_secs(600);
const LIBFAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

fn faults(time: Duration) -> Vec<Kind> {
    let is_usual = |kind: &Kind| *kind != TAKES_LONG.0 || time >= TAKES_LONG.1;
    match env::var("SECURANET_NEMESIS_FAULTS") {
        Ok(names) => names.split(',').map(|name| Kind::parse(name).unwrap()).collect(),
        Err(_) => KINDS.into_iter().filter(is_usual).collect(),
    }
}

/// What this machine lets us do, of what was asked for.
fn possible(mut faults: Vec<Kind>) -> Vec<Kind> {
    let clocks = Path::new(LIBFAKETIME).exists();
    for (kind, possible, wants) in [
        (Kind::Full, is_apart(), "root, to mount a small disk"),
        (Kind::Skew, clocks, "libfaketime"),
        (Kind::SkewStore, clocks, "libfaketime"),
    ] {
        if faults.contains(&kind) && !possible {
            println!("SKIPPED: {kind:?}: it wants {wants}");
            faults.retain(|other| *other != kind);
        }
    }
    faults
}

#[test]
fn p1_p2_p3_nothing_acknowledged_is_lost_or_doubled_whatever_fails() {
    let name = "p1_p2_p3_nothing_acknowledged_is_lost_or_doubled_whatever_fails";
    if can_be_apart() { apart(name, rage) } else { rage() }
}

fn rage() {
    let seed = seed();
    println!("SECURANET_NEMESIS_SEED={seed}");
    let time = Duration::from_secs(number("SECURANET_NEMESIS_SECONDS").unwrap_or(45));
    let faults = possible(faults(time));
    let accounts = ["ann", "bob", "cid", "dan", "eve"].map(str::to_owned);
    let sink = sink();
    let stores = usize::try_from(number("SECURANET_NEMESIS_STORES").unwrap_or(3)).unwrap();
    let plan = Plan {
        places: places(stores),
        accounts: accounts.to_vec(),
        config: routed_to(&sink),
        seed,
        small_disks: if faults.contains(&Kind::Full) { vec!["b".to_owned()] } else { Vec::new() },
        clocks: faults.contains(&Kind::Skew) || faults.contains(&Kind::SkewStore),
    };
    let sites = Sites::start(&plan).unwrap();
    let world = World::new(&sites, &accounts, sink);
    let mut nemesis = Nemesis::new(&sites, seed, &faults);
    let strength = Strength { senders: 2, submitters: 2, pause_millis: 60 };
    let (raged, copies) = world.load(strength, seed, || nemesis.rage(time, &world.sent, || !world.broken().is_empty()));
    raged.unwrap();
    sites.recover().unwrap();
    let outcome = check(&world, copies, PATIENCE).unwrap();
    let branches = Branches::of(&sites);
    let of_people = |count: &AtomicU64| count.load(Ordering::SeqCst);
    println!(
        "{outcome:?}\n{:?}\n{} sessions of IMAP, {} interrupted, {} commands\n{}",
        nemesis.counts(),
        of_people(&world.sessions),
        of_people(&world.interrupted),
        of_people(&world.commands),
        branches.table(),
    );
    for ((from, to), octets) in sites.octets() {
        println!("{from} to {to}: {octets:?}");
    }
    let (groups, rows) = replicas::compare(&sites).unwrap();
    println!("{groups} groups are the same at all {} stores, {rows} rows", sites.stores().count());
    for (what, counts, least) in
        [("sent", outcome.sent, 100), ("submitted", outcome.submitted, 10), ("appended", outcome.appended, 20)]
    {
        assert!(counts.0 > least, "only {} were {what} and acknowledged: nothing was proved", counts.0);
    }
    for (what, length) in [("directory", outcome.chains.aliases), ("mailbox", outcome.chains.flags)] {
        assert!(length.versions > 10 && length.reads > 20, "the history of the {what} is short: {length:?}");
    }
    let must = time >= LONG && stores >= 3 && env::var("SECURANET_NEMESIS_FAULTS").is_err();
    assert!(!must || branches.never().is_empty(), "a long run, and never: {:?}", branches.never());
}

/// The checks are worth something: what is done behind their back is noticed.
#[test]
fn a_message_that_is_lost_or_doubled_is_noticed() {
    let sink = sink();
    let accounts = ["ann".to_owned()];
    let places = vec![Place::new("a", "north", Role::Both)];
    let plan = Plan { places, accounts: accounts.to_vec(), config: routed_to(&sink), seed: 1, ..Plan::default() };
    let sites = Sites::start(&plan).unwrap();
    let world = World::new(&sites, &accounts, sink);
    let strength = Strength { senders: 2, submitters: 1, pause_millis: 60 };
    let ((), copies) = world.load(strength, 1, || sleep(Duration::from_secs(3)));
    let outcome = check(&world, copies, PATIENCE).unwrap();
    assert!(outcome.sent.0 > 10 && outcome.submitted.0 > 3 && outcome.appended.0 > 3, "{outcome:?}");

    let noticed = || format!("{:#}", check(&world, Vec::new(), Duration::from_secs(1)).unwrap_err());
    let to = sites.node("a").unwrap().address("imap").unwrap();
    let mut imap = Dialogue::imap(to, "ann").unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    let flagged = imap.imap_ok("UID SEARCH RETURN (MIN) ALL").unwrap().join(" ");
    let uid = flagged.split("MIN ").nth(1).unwrap().trim().to_owned();
    imap.imap_ok(&format!("UID COPY {uid} INBOX")).unwrap();
    assert!(noticed().contains("P2"), "{}", noticed());
    imap.imap_ok(&format!("UID MOVE {uid} Archive")).unwrap();
    assert!(noticed().contains("in Archive as UID"), "{}", noticed());
    imap.imap_ok("SELECT Archive").unwrap();
    imap.imap_ok("STORE * +FLAGS (\\Deleted)").unwrap();
    imap.imap_ok("EXPUNGE").unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    imap.imap_ok("STORE * +FLAGS (\\Deleted)").unwrap();
    imap.imap_ok("EXPUNGE").unwrap();
    assert!(noticed().contains("P1"), "{}", noticed());
}
