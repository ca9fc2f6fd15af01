//! Forming a cluster as an operator does it: founded, joined, drained, a disk lost, and what is refused on the way.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    thread::{self, sleep},
    time::{Duration, Instant},
};

use securanet_tests::{
    dialogue::Dialogue,
    server::{Options, Server},
};

/// Longer than anything here takes on a machine that compiles beside it.
const PATIENCE: Duration = Duration::from_secs(120);

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        sleep(Duration::from_millis(100));
    }
}

/// Whether a node votes in all groups, as another one sees it; none when in some.
fn votes(asked: &Server, node: &str) -> Option<bool> {
    let status = asked.cli(&["status", "--json"], "").unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let groups = status["groups"].as_array().unwrap();
    let votes = |group: &&serde_json::Value| group["voters"].as_array().unwrap().iter().any(|voter| voter == node);
    match groups.iter().filter(votes).count() {
        0 => Some(false),
        some => (some == groups.len()).then_some(true),
    }
}

/// Whether a node leads a group, as another one sees it.
fn leads(asked: &Server, node: &str, group: usize) -> bool {
    let status = asked.cli(&["status", "--json"], "").unwrap();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    status["groups"][group]["leader"] == node
}

fn deliver(server: &Server, id: &str) {
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    // Some lines more for each third, so that a part of it becomes a blob.
    let lines = if id.ends_with('3') { 700 } else { 2 };
    let text = "a line to be found again\r\n".repeat(lines);
    let message = format!("From: s@remote.example\r\nMessage-ID: <{id}>\r\nSubject: {id}\r\n\r\n{text}");
    let reply = smtp.deliver("s@remote.example", &["ann"], &message).unwrap();
    assert!(reply.starts_with("250"), "{reply}");
}

/// The subjects in ann's inbox.
fn subjects(server: &Server) -> Vec<String> {
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    let found = imap.imap_ok("UID SEARCH ALL").unwrap();
    let uids = found.iter().filter_map(|line| line.strip_prefix("* SEARCH")).flat_map(str::split_whitespace);
    let uids: Vec<u32> = uids.map(|uid| uid.parse().unwrap()).collect();
    let subject = |uid: &u32| {
        let text = String::from_utf8(imap.fetch_message(*uid).unwrap()).unwrap();
        text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned()
    };
    uids.iter().map(subject).collect()
}

fn refused(node: &Server, words: &[&str]) -> String {
    let output = node.try_cli(words, "").unwrap();
    assert!(!output.status.success(), "{words:?} was not refused");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_cluster_is_formed_and_its_nodes_come_and_go() {
    let mut a = Server::found("a", &["ann"]).unwrap();
    deliver(&a, "m-1");
    // A gateway that comes in knows of this store only.
    let gateway = a.start_gateway("g", Options::default()).unwrap();
    let (mut b, mut c) =
        (Server::member("b", Options::default()).unwrap(), Server::member("c", Options::default()).unwrap());
    assert!(b.restart().unwrap_err().to_string().contains("securanet join"), "it neither founded nor joined");
    a.let_in(&mut b).unwrap();
    // The second one lets the third in.
    b.let_in(&mut c).unwrap();
    for (at, server) in [&a, &b, &c].into_iter().enumerate() {
        deliver(server, &format!("m-{}", at + 2));
    }
    for server in [&a, &b, &c] {
        assert_eq!(subjects(server), ["m-1", "m-2", "m-3", "m-4"]);
    }
    let all = |server: &Server| ["a", "b", "c"].iter().all(|node| votes(server, node) == Some(true));
    wait_until("all three vote", || all(&a) && all(&c));
    let told = b.cli(&["status"], "").unwrap();
    assert!(told.contains("survives the loss of any node: yes, of any site: yes"), "{told}");

    // Another one leads a group for a while; only whoever leads it can hand it on.
    let servers = [("a", &a), ("b", &b), ("c", &c)];
    let (leader, others): (Vec<_>, Vec<_>) = servers.into_iter().partition(|(name, _)| leads(&b, name, 3));
    let ((old, there), (new, elsewhere)) = (leader[0], others[0]);
    let why = refused(elsewhere, &["node", "lead", new, "3"]);
    assert!(why.contains(&format!("does not lead group 3: node {old} does")), "{why}");
    assert!(refused(there, &["node", "lead", "nobody", "3"]).contains("there is no store nobody"));
    there.cli(&["node", "lead", new, "3"], "").unwrap();
    assert!(leads(elsewhere, new, 3) && !leads(there, old, 3));

    // What a replica holds can be looked at while its node is stopped.
    assert!(refused(&b, &["digest"]).contains("the node must not run"));

    // One that is stopped in order hands on what it leads, before it drains.
    let stopped = thread::scope(|scope| {
        let stopping = scope.spawn(|| a.terminate().unwrap());
        let mut longest = Duration::ZERO;
        while !stopping.is_finished() || longest.is_zero() {
            let start = Instant::now();
            deliver(&b, "m-again");
            longest = longest.max(start.elapsed());
        }
        longest
    });
    println!("longest delivery while a node was stopped: {stopped:?}");
    assert!(stopped < Duration::from_secs(6), "{stopped:?}");
    let digests: serde_json::Value = serde_json::from_str(&a.cli(&["digest", "--json"], "").unwrap()).unwrap();
    assert!(digests.as_array().is_some_and(|groups| groups.len() == 9), "{digests}");
    assert!(digests[0]["tables"].as_array().is_some_and(|tables| tables.len() > 3), "{digests}");
    a.restart().unwrap();
    let so_far = subjects(&b).len();

    // Any of them may be lost, also the one that the gateway came in by: it has heard of the others.
    a.kill();
    deliver(&gateway, "m-5");
    deliver(&c, "m-6");
    assert_eq!(subjects(&gateway).len(), so_far + 2);
    a.restart().unwrap();
    wait_until("it has caught up", || subjects(&a).len() == so_far + 2);

    // One loses its disk and comes back under its name.
    b.kill();
    fs::remove_dir_all(b.folder().join("data")).unwrap();
    deliver(&a, "m-7");
    let token = a.cli(&["node", "replace", "b"], "").unwrap();
    let without = a.cli(&["node", "token"], "").unwrap();
    assert!(refused(&b, &["join", "--token", without.trim()]).contains("there is a node b already"));
    b.cli(&["join", "--token", token.trim()], "").unwrap();
    b.restart().unwrap();
    wait_until("it has everything again", || {
        Dialogue::imap(b.address("imap"), "ann").is_ok() && subjects(&b).len() == so_far + 3
    });
    wait_until("it votes again", || all(&a));

    // One is taken out: first its work, then itself.
    assert!(refused(&a, &["node", "remove", "c"]).contains("node drain c"));
    a.cli(&["node", "drain", "c"], "").unwrap();
    wait_until("it has no votes", || votes(&a, "c") == Some(false));
    // Its clients are served until it is stopped.
    deliver(&c, "m-drained");
    assert_eq!(subjects(&c).len(), so_far + 4);
    a.cli(&["node", "remove", "c"], "").unwrap();
    assert!(a.cli(&["node", "list"], "").unwrap().contains("removed"));
    c.restart().ok();
    wait_until("it is let in no more", || {
        [&a, &b].iter().any(|server| server.log().contains("node c was removed from the cluster"))
    });
    deliver(&b, "m-8");
    assert_eq!(subjects(&a).len(), so_far + 5);
}

#[test]
fn who_may_not_come_in_is_told_why() {
    let a = Server::found("a", &["ann"]).unwrap();
    let token = a.cli(&["node", "token"], "").unwrap();
    let mut b = Server::member("b", Options::default()).unwrap();
    assert!(refused(&b, &["join", "--token", "x"]).contains("begins with securanet-join-1"));
    let cut = &token.trim()[..60];
    assert!(refused(&b, &["join", "--token", cut]).contains("not complete"));
    b.cli(&["join", "--token", token.trim()], "").unwrap();
    assert!(refused(&b, &["join", "--token", token.trim()]).contains("is of node b of a cluster already"));
    assert!(refused(&b, &["found"]).contains("nothing was changed"));
    b.restart().unwrap();
    let c = Server::member("c", Options::default()).unwrap();
    assert!(refused(&c, &["join", "--token", token.trim()]).contains("used already"));
    // Of another cluster at the same address.
    let other = Server::found("z", &["ann"]).unwrap();
    let foreign = other.cli(&["node", "token"], "").unwrap();
    let (secrets, _) = foreign.trim().rsplit_once(".127").unwrap();
    let (_, here) = token.trim().rsplit_once(".127").unwrap();
    assert!(refused(&c, &["join", "--token", &format!("{secrets}.127{here}")]).contains("made by another cluster"));
    // A node that has mail of its own.
    let mut alone = Server::start(&["bob"]).unwrap();
    alone.terminate().unwrap();
    let data = c.folder().join("data");
    fs::remove_dir_all(&data).unwrap();
    fs::rename(alone.folder().join("data"), &data).unwrap();
    let token = a.cli(&["node", "token"], "").unwrap();
    assert!(refused(&c, &["join", "--token", token.trim()]).contains("holds the mail of a node alone"));
}

#[test]
fn a_node_alone_becomes_the_first_of_a_cluster_with_all_its_mail() {
    let mut a = Server::start(&["ann"]).unwrap();
    deliver(&a, "m-1");
    deliver(&a, "m-3");
    a.found_on("a").unwrap();
    assert_eq!(subjects(&a), ["m-1", "m-3"]);
    let (mut b, mut c) =
        (Server::member("b", Options::default()).unwrap(), Server::member("c", Options::default()).unwrap());
    a.let_in(&mut b).unwrap();
    a.let_in(&mut c).unwrap();
    wait_until("all have votes", || ["a", "b", "c"].iter().all(|node| votes(&a, node) == Some(true)));
    a.kill();
    deliver(&b, "m-4");
    assert_eq!(subjects(&c), ["m-1", "m-3", "m-4"]);
    let mut imap = Dialogue::imap(c.address("imap"), "ann").unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    let large = String::from_utf8(imap.fetch_message(2).unwrap()).unwrap();
    assert_eq!(large.matches("a line to be found again").count(), 700, "its blob is here too");
}
