//! Holds the arrows between the rooms: which crate may name which, and which outside crates each room is without.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Which of our crates each of them may name. What is not listed is forbidden.
const ARROWS: &[(&str, &[&str])] = &[
    ("securanet-model", &[]),
    ("securanet-kv", &[]),
    ("securanet-engine", &["securanet-model", "securanet-kv"]),
    ("securanet-blob", &["securanet-model", "securanet-kv"]),
    ("securanet-wire", &["securanet-model"]),
    ("securanet-raft", &["securanet-model", "securanet-kv", "securanet-engine", "securanet-blob", "securanet-wire"]),
    ("securanet-gateway", &["securanet-model", "securanet-wire"]),
    ("securanet-smtp", &["securanet-gateway"]),
    ("securanet-imap", &["securanet-gateway"]),
    ("securanet-pop3", &["securanet-gateway"]),
    ("securanet-delivery", &["securanet-gateway"]),
    ("securanet-admin", &["securanet-gateway"]),
    ("securanet-tests", &["securanet-model", "securanet-kv", "securanet-engine", "securanet-blob", "securanet-raft"]),
];

/// Outside crates that exactly one room may name.
const ONLY_IN: &[(&str, &str)] =
    &[("openraft", "securanet-raft"), ("rocksdb", "securanet-kv"), ("hickory-resolver", "securanet-delivery")];

/// Rooms that are values and functions: no runtime, no sockets, no randomness, no clock.
const PURE: &[&str] = &["securanet-model", "securanet-kv", "securanet-engine"];
const IMPURE_CRATES: &[&str] =
    &["tokio", "rand", "getrandom", "jiff", "chrono", "time", "socket2", "mio", "hyper", "tonic"];

type Arrows = BTreeMap<String, BTreeSet<String>>;

/// Direct dependencies (not for tests only) of each of our crates.
fn direct_dependencies() -> Arrows {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec();
    let metadata = metadata.unwrap_or_else(|error| panic!("cargo metadata: {error}"));
    let named = |package: &cargo_metadata::Package| {
        let normal = package.dependencies.iter().filter(|d| d.kind != DependencyKind::Development);
        normal.map(|dependency| dependency.name.clone()).collect()
    };
    metadata.packages.iter().map(|package| (package.name.to_string(), named(package))).collect()
}

fn violations(found: &Arrows) -> Vec<String> {
    let ours: BTreeSet<&String> = found.keys().collect();
    let mut violations = Vec::new();
    for (name, dependencies) in found.iter().filter(|(name, _)| *name != "securanet") {
        let Some((_, allowed)) = ARROWS.iter().find(|(room, _)| room == name) else {
            violations.push(format!("{name} has no line in ARROWS"));
            continue;
        };
        let forbidden = dependencies.iter().filter(|d| ours.contains(d) && !allowed.contains(&d.as_str()));
        violations.extend(forbidden.map(|dependency| format!("{name} must not name {dependency}")));
    }
    for (outside, room) in ONLY_IN {
        let wrong = found.iter().filter(|(name, dependencies)| name != room && dependencies.contains(*outside));
        violations.extend(wrong.map(|(name, _)| format!("only {room} names {outside}, not {name}")));
    }
    for room in PURE {
        let impure = IMPURE_CRATES.iter().filter(|outside| found[*room].contains(**outside));
        violations.extend(impure.map(|outside| format!("{room} is pure and must not name {outside}")));
    }
    violations
}

#[test]
fn no_crate_names_one_that_it_must_not_know() {
    let found = direct_dependencies();
    assert!(found.len() >= ARROWS.len(), "the workspace lists {} crates", found.len());
    assert_eq!(violations(&found), Vec::<String>::new());
}

#[test]
fn a_forbidden_arrow_would_be_seen() {
    let mut found = direct_dependencies();
    found.get_mut("securanet-imap").expect("imap").insert("securanet-kv".to_owned());
    found.get_mut("securanet-engine").expect("engine").insert("tokio".to_owned());
    assert_eq!(violations(&found).len(), 2);
}

/// An engine that iterates a hash map answers differently on two replicas; one that reads a clock does too.
#[test]
fn the_engine_names_no_hash_map_and_no_clock() {
    let mut found = Vec::new();
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../storage/engine/src"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the engine's sources") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = std::fs::read_to_string(&path).expect("source");
            let words = ["HashMap", "HashSet", "SystemTime", "Instant::now", "thread_rng"];
            let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
            found.extend(code.filter(|line| words.iter().any(|word| line.contains(word))).map(str::to_owned));
        }
    }
    assert_eq!(found, Vec::<String>::new());
}
