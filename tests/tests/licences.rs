//! Holds `deny.toml` with nothing but cargo: what we link has a licence that is allowed there, comes from the
//! registry named there, and is not forbidden there. `cargo deny check licenses bans sources` says the same where it
//! is installed.
//!
//! It asks `cargo tree`, not `cargo metadata`: the latter lists what a weak feature only mentions (`ring`, which
//! nothing builds). Only the host's dependencies count, so that the test downloads nothing that the build did not.

use std::{collections::BTreeSet, process::Command};

use anyhow::{Context, ensure};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A crate that we link, build with or test with.
struct Linked {
    name: String,
    licence: String,
}

fn linked() -> anyhow::Result<Vec<Linked>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let tree = Command::new(cargo)
        .current_dir(ROOT)
        .args(["tree", "--locked", "--workspace", "--prefix", "none", "--format", "{p}\t{l}"])
        .output()
        .context("cargo tree")?;
    ensure!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout)?;
    let lines: BTreeSet<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let of_line = |line: &str| {
        let (package, licence) = line.split_once('\t')?;
        // A crate that stands in the tree once more is marked behind its licence.
        let licence = licence.trim_end_matches("(*)").trim().to_owned();
        Some(Linked { name: package.split(' ').next()?.to_owned(), licence })
    };
    Ok(lines.into_iter().filter_map(of_line).collect())
}

/// A TOML file of the workspace.
fn toml_file(name: &str) -> anyhow::Result<toml::Table> {
    let text = std::fs::read_to_string(format!("{ROOT}/{name}")).with_context(|| name.to_owned())?;
    text.parse().with_context(|| name.to_owned())
}

/// The strings of a list in `deny.toml`.
fn rules(section: &str, key: &str) -> anyhow::Result<Vec<String>> {
    let file = toml_file("deny.toml")?;
    let list = file.get(section).and_then(|section| section.get(key)?.as_array());
    let text = |rule: &toml::Value| rule.as_str().or_else(|| rule.get("crate")?.as_str()).map(str::to_owned);
    let rules = list.and_then(|list| list.iter().map(text).collect());
    rules.with_context(|| format!("deny.toml: {section}.{key} is no list of texts or crates"))
}

/// An SPDX expression under reading: `OR` binds least, then `AND`, then parentheses; `/` is an old way of `OR`.
struct Expression<'e> {
    words: Vec<&'e str>,
    allowed: &'e [String],
}

impl<'e> Expression<'e> {
    fn is_allowed(text: &'e str, allowed: &'e [String]) -> bool {
        let spaced: Vec<&str> = text.split_inclusive(['(', ')', '/']).collect();
        let cut = spaced.into_iter().flat_map(|piece| match piece.char_indices().next_back() {
            Some((at, '(' | ')' | '/')) => vec![&piece[..at], &piece[at..]],
            _ => vec![piece],
        });
        let mut words: Vec<&str> = cut.flat_map(str::split_whitespace).collect();
        words.reverse();
        let mut expression = Self { words, allowed };
        let verdict = expression.any();
        verdict && expression.words.is_empty()
    }

    fn takes(&mut self, words: &[&str]) -> bool {
        let next = self.words.last().is_some_and(|word| words.contains(word));
        next && self.words.pop().is_some()
    }

    fn any(&mut self) -> bool {
        let mut verdict = self.all();
        while self.takes(&["OR", "/"]) {
            verdict |= self.all();
        }
        verdict
    }

    fn all(&mut self) -> bool {
        let mut verdict = self.one();
        while self.takes(&["AND"]) {
            verdict &= self.one();
        }
        verdict
    }

    fn one(&mut self) -> bool {
        if self.takes(&["("]) {
            let verdict = self.any();
            return self.takes(&[")"]) && verdict;
        }
        let Some(mut licence) = self.words.pop().map(str::to_owned) else { return false };
        if self.takes(&["WITH"]) {
            licence += " WITH ";
            licence += self.words.pop().unwrap_or_default();
        }
        self.allowed.contains(&licence)
    }
}

#[test]
fn every_crate_has_a_licence_that_is_allowed() {
    let (linked, allowed) = (linked().unwrap(), rules("licenses", "allow").unwrap());
    assert!(linked.len() > 100, "cargo tree told of {} crates only", linked.len());
    let refused = linked.iter().filter(|package| !Expression::is_allowed(&package.licence, &allowed));
    let refused: Vec<_> = refused.map(|package| format!("{}: {:?}", package.name, package.licence)).collect();
    assert_eq!(refused, Vec::<String>::new());
}

#[test]
fn every_allowed_licence_is_needed() {
    let (linked, allowed) = (linked().unwrap(), rules("licenses", "allow").unwrap());
    for without in &allowed {
        let others: Vec<String> = allowed.iter().filter(|licence| *licence != without).cloned().collect();
        let all_pass = linked.iter().all(|package| Expression::is_allowed(&package.licence, &others));
        assert!(!all_pass, "nothing needs {without}: take it out of deny.toml");
    }
}

#[test]
fn no_forbidden_crate_is_linked() {
    let forbidden = rules("bans", "deny").unwrap();
    assert!(!forbidden.is_empty());
    let linked: Vec<String> = linked().unwrap().into_iter().map(|package| package.name).collect();
    let found: Vec<_> = forbidden.iter().filter(|name| linked.contains(name)).collect();
    assert_eq!(found, Vec::<&String>::new());
}

#[test]
fn every_crate_comes_from_a_known_registry() {
    let registries = rules("sources", "allow-registry").unwrap();
    let lock = toml_file("Cargo.lock").unwrap();
    let packages = lock["package"].as_array().unwrap();
    // Our own crates have no source.
    let sources: BTreeSet<&str> = packages.iter().filter_map(|package| package.get("source")?.as_str()).collect();
    assert!(!sources.is_empty());
    let known = |source: &&str| source.strip_prefix("registry+").is_some_and(|url| registries.iter().any(|r| r == url));
    assert_eq!(sources.into_iter().filter(|source| !known(source)).collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    let allowed = ["MIT", "Apache-2.0", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
    let cases = [
        ("MIT", true),
        ("GPL-3.0-only", false),
        ("", false),
        ("GPL-2.0-only OR MIT", true),
        ("GPL-2.0-only/MIT", true),
        ("Apache-2.0 / GPL-2.0-only", true),
        ("MIT AND GPL-2.0-only", false),
        ("MIT AND ISC", true),
        ("MIT OR ISC AND GPL-2.0-only", true),
        ("(MIT OR ISC) AND GPL-2.0-only", false),
        ("GPL-2.0-only AND (MIT OR ISC) OR Apache-2.0", true),
        ("ISC AND (Apache-2.0 OR GPL-2.0-only)", true),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("MIT WITH LLVM-exception", false),
        ("(MIT", false),
        ("MIT MIT", false),
        ("MIT AND", false),
    ];
    for (text, verdict) in cases {
        assert_eq!(Expression::is_allowed(text, &allowed), verdict, "{text:?}");
    }
}
