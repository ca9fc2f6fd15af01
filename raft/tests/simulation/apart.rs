//! Each run has a process of its own: what a process keeps for itself (tokio draws the seed of each runtime from a
//! counter) would let the second run of a seed differ from the first.
//!
//! The process is this test binary once more, told by an environment variable what to run; it prints what came of it.

use std::{
    env,
    fmt::Write,
    process::{Command, Stdio},
};

use crate::{
    run::{Outcome, run_here},
    trace::Hearing,
};

const RUN: &str = "SECURANET_SIM_RUN";
/// The test that is run in the other process.
const TEST: &str = "a_run_in_this_process_keeps_every_promise";

/// Runs a seed, in a process of its own.
pub(crate) fn run(seed: u64, hearing: Hearing) -> Outcome {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", TEST, "--nocapture"]).env(RUN, format!("{seed} {}", hearing as u8));
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let mut outcome = Outcome { seed, ..Outcome::default() };
    for line in text.lines() {
        let Some((kind, rest)) = line.split_once(": ") else { continue };
        match kind {
            "broken" => outcome.broken.push(rest.to_owned()),
            "event" if hearing == Hearing::Kept => outcome.kept.push(rest.to_owned()),
            "event" => println!("{rest}"),
            "hash" => outcome.hash = rest.to_owned(),
            "events" => outcome.events = rest.parse().unwrap(),
            "millis" => outcome.millis = rest.parse().unwrap(),
            "count" => {
                let (times, what) = rest.split_once(' ').unwrap();
                outcome.counts.insert(what.to_owned(), times.parse().unwrap());
            }
            _ => {}
        }
    }
    if !output.status.success() && outcome.broken.is_empty() || outcome.hash.is_empty() {
        let told = String::from_utf8_lossy(&output.stderr);
        outcome.broken.push(format!("the process ended with {}: {text}{told}", output.status));
    }
    outcome
}

/// Runs what this process was told to, and prints what came of it; without a word the first seed.
pub(crate) fn told() -> Outcome {
    let told = env::var(RUN).unwrap_or_else(|_| "0 0".to_owned());
    let (seed, hearing) = told.split_once(' ').unwrap();
    let hearing = match hearing {
        "0" => Hearing::Ours,
        "1" => Hearing::All,
        "2" => Hearing::Kept,
        _ => Hearing::Printed,
    };
    let outcome = run_here(seed.parse().unwrap(), hearing);
    let mut text = String::from("\n");
    outcome.kept.iter().for_each(|event| writeln!(text, "event: {}", event.replace('\n', " ")).unwrap());
    outcome.counts.iter().for_each(|(what, times)| writeln!(text, "count: {times} {what}").unwrap());
    outcome.broken.iter().for_each(|broken| writeln!(text, "broken: {}", broken.replace('\n', " ")).unwrap());
    let Outcome { hash, events, millis, .. } = &outcome;
    writeln!(text, "events: {events}\nmillis: {millis}\nhash: {hash}").unwrap();
    print!("{text}");
    outcome
}
