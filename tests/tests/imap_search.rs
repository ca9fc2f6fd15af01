//! SEARCH over varied messages, held against what Python's email package makes of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;

use securanet_tests::server::{PASSWORD, Server, address, must};

#[test]
fn rfc_9051_6_4_4_each_search_key_finds_what_a_reference_finds() {
    let server = Server::start(&["ann"]).unwrap();
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python/search.py"));
    command.env("IMAP", server.port("imap").to_string()).env("USER", address("ann")).env("PASSWORD", PASSWORD);
    let told = must(command, "").unwrap();
    let questions: u32 = told.split_whitespace().next().unwrap().parse().unwrap();
    assert!(questions > 500, "{told}");
}
