//! A cluster in one thread, by seed: groups, queue and delivery over a simulated network, on disks in memory.
//!
//! See the chapter on the simulation in the manual (ADR 0026) for what it holds and how to use it.

#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic here is the failure")]

mod apart;
mod chance;
mod faults;
mod gateway;
mod inspect;
mod ledger;
mod node;
mod run;
#[path = "../support/mod.rs"]
mod support;
mod trace;
mod wire;
mod worker;
mod world;

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use apart::run;
use run::Outcome;
use trace::Hearing;

/// Seeds that are run twice.
const TWICE: Range<u64> = 0..50;
/// Seeds that are run unless `SECURANET_SIM_SEEDS=FROM..TO` says others.
const STANDARD: Range<u64> = 1000..1200;

/// What must have happened in so many runs, or they prove little.
const RARE: [&str; 12] = [
    "snapshot installed",
    "blob fetched at the gate",
    "duplicate suppressed",
    "lease fenced",
    "lease taken over",
    "uncertain repeat",
    "voter demoted",
    "learner promoted",
    "leader handed over",
    "unsynced tail lost",
    "register lost a race",
    "outcome unknown",
];

fn seeds() -> Range<u64> {
    let Ok(said) = std::env::var("SECURANET_SIM_SEEDS") else { return STANDARD };
    let range = said.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range.unwrap_or_else(|| panic!("SECURANET_SIM_SEEDS={said}: say FROM..TO"))
}

/// Runs seeds on all cores.
fn run_all(seeds: Range<u64>, each: impl Fn(u64) -> Outcome + Sync) -> Vec<Outcome> {
    let (next, outcomes) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = each(seed);
                    if !outcome.broken.is_empty() {
                        println!("seed {seed} breaks promises:\n  {}", outcome.broken.join("\n  "));
                    }
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

/// Where two more runs of a seed part.
fn first_difference(seed: u64) -> String {
    let (one, other) = (run(seed, Hearing::Kept).kept, run(seed, Hearing::Kept).kept);
    let Some(at) = one.iter().zip(&other).position(|(one, other)| one != other) else {
        return format!("two runs differed, two more do not, of {} and {} events", one.len(), other.len());
    };
    let (before, one, other) = (&one[at.saturating_sub(3)..at], &one[at], &other[at]);
    format!("the second run differs from the first at event {at}:\n  {one}\n  {other}\nafter {before:#?}")
}

#[test]
fn a_seed_gives_the_same_run_twice_to_the_last_octet_on_each_wire() {
    let outcomes = run_all(TWICE, |seed| {
        let (mut one, other) = (run(seed, Hearing::All), run(seed, Hearing::All));
        if (&one.hash, one.events) != (&other.hash, other.events) {
            one.broken.push(first_difference(seed));
        }
        one
    });
    assert!(outcomes.iter().all(|outcome| outcome.broken.is_empty()), "see above");
    let events: u64 = outcomes.iter().map(|outcome| outcome.events).sum();
    assert!(outcomes.iter().all(|outcome| outcome.events > 1000), "nothing happened");
    let distinct: std::collections::BTreeSet<_> = outcomes.iter().map(|outcome| &outcome.hash).collect();
    assert_eq!(distinct.len(), outcomes.len(), "seeds make no difference");
    println!("{} seeds, {events} events", outcomes.len());
}

#[test]
fn a_run_in_this_process_keeps_every_promise() {
    let outcome = apart::told();
    assert!(outcome.broken.is_empty(), "{:#?}", outcome.broken);
}

#[test]
fn every_seed_keeps_every_promise() {
    let (seeds, begun) = (seeds(), Instant::now());
    let hearing = if std::env::var_os("SECURANET_SIM_PRINT").is_some() { Hearing::Printed } else { Hearing::Ours };
    let outcomes = run_all(seeds.clone(), |seed| run(seed, hearing));
    let mut counts = BTreeMap::<&String, (u64, u64)>::new();
    for (what, times) in outcomes.iter().flat_map(|outcome| &outcome.counts) {
        let (all, runs) = counts.entry(what).or_default();
        *all += times;
        *runs += u64::from(*times > 0);
    }
    let millis: u64 = outcomes.iter().map(|outcome| outcome.millis).sum();
    let took = begun.elapsed().as_secs_f64();
    println!("{} seeds in {took:.0} s, {} s of theirs; what happened (times, runs):", outcomes.len(), millis / 1000);
    counts.iter().for_each(|(what, (all, runs))| println!("  {what}: {all}, {runs}"));
    let broken: Vec<u64> = outcomes.iter().filter(|run| !run.broken.is_empty()).map(|run| run.seed).collect();
    if let Some(seed) = broken.iter().min() {
        panic!(
            "{} of {} seeds break promises: {broken:?}; again: SECURANET_SIM_SEEDS={seed}..{} SECURANET_SIM_PRINT=1 \
             cargo nextest run -p securanet-raft --test simulation --no-capture every_seed",
            broken.len(),
            outcomes.len(),
            seed + 1
        );
    }
    if seeds.end - seeds.start >= STANDARD.end - STANDARD.start {
        let never: Vec<_> = RARE.iter().filter(|what| !counts.keys().any(|seen| seen == *what)).collect();
        assert!(never.is_empty(), "this never happened: {never:?}");
    }
}
