//! Every `fuzz_*` function of a crate has a target in `tests/fuzz` and a seeded test that feeds it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The crates that read foreign octets, and where they are.
const ROOMS: &[(&str, &str)] = &[
    ("securanet_smtp", "gateway/smtp"),
    ("securanet_imap", "gateway/imap"),
    ("securanet_pop3", "gateway/pop3"),
    ("securanet_delivery", "gateway/delivery"),
    ("securanet_gateway", "gateway/core"),
    ("securanet_blob", "storage/blob"),
    ("securanet_engine", "storage/engine"),
    ("securanet_raft", "raft"),
    ("securanet_wire", "storage/wire"),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn text(folders: &[PathBuf]) -> String {
    let mut files = Vec::new();
    folders.iter().for_each(|folder| sources(folder, &mut files));
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect()
}

/// The names that begin with `fuzz_` behind `before`.
fn names(text: &str, before: &str) -> BTreeSet<String> {
    let behind = text.split(before).skip(1);
    let name = |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    behind.map(name).filter(|name| name.starts_with("fuzz_")).collect()
}

#[test]
fn every_fuzz_function_has_a_target_and_a_seeded_test() {
    let targets = text(&[Path::new(ROOT).join("tests/fuzz/targets")]);
    let mut functions = 0;
    for (name, folder) in ROOMS {
        let room = Path::new(ROOT).join(folder);
        let face = fs::read_to_string(room.join("src/fuzz.rs")).unwrap();
        let all = text(&[room.join("src"), room.join("tests")]);
        for function in names(&face, "\npub fn ") {
            functions += 1;
            let path = format!("{name}::fuzz::{function}");
            assert!(targets.contains(&format!("{path}(")), "{path} has no target in tests/fuzz");
            // Handed to a loop of mutations, or called by one.
            let uses = all.matches(function.as_str()).count() - all.matches(&format!("fn {function}(")).count();
            assert!(uses > 0, "{path} is fed by no test");
        }
    }
    assert!(functions >= 20, "only {functions} fuzz functions were found");
}

#[test]
fn every_target_is_listed() {
    let manifest = fs::read_to_string(format!("{ROOT}/tests/fuzz/Cargo.toml")).unwrap();
    let readme = fs::read_to_string(format!("{ROOT}/tests/fuzz/README.md")).unwrap();
    let mut files = Vec::new();
    sources(&Path::new(ROOT).join("tests/fuzz/targets"), &mut files);
    assert!(!files.is_empty());
    for file in files {
        let name = file.file_stem().and_then(|stem| stem.to_str()).unwrap();
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is no target of Cargo.toml");
        assert!(readme.contains(&format!("| `{name}` |")), "{name} is not in the README");
    }
}
