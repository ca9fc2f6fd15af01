//! Two of three sites are gone for good, and the third goes on: `securanet group recover`, as an operator does it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use securanet_tests::{
    dialogue::Dialogue,
    server::{Options, Server, binary},
};
use serde_json::Value;

/// Longer than anything here takes on a machine that compiles beside it.
const PATIENCE: Duration = Duration::from_secs(120);

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        sleep(Duration::from_millis(100));
    }
}

fn status(asked: &Server) -> Value {
    serde_json::from_str(&asked.cli(&["status", "--json"], "").unwrap()).unwrap()
}

/// Whether exactly these nodes vote in all groups, as another one sees it.
fn vote(asked: &Server, nodes: &[&str]) -> bool {
    let voters = |group: &Value| {
        let mut voters: Vec<String> = serde_json::from_value(group["voters"].clone()).unwrap();
        voters.sort();
        voters
    };
    status(asked)["groups"].as_array().unwrap().iter().all(|group| voters(group) == nodes)
}

fn deliver(server: &Server, id: &str) {
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    // Enough to become a blob.
    let text = "a line to be found again\r\n".repeat(700);
    let message = format!("From: s@remote.example\r\nMessage-ID: <{id}>\r\nSubject: {id}\r\n\r\n{text}");
    let reply = smtp.deliver("s@remote.example", &["ann", "bob"], &message).unwrap();
    assert!(reply.starts_with("250"), "{reply}");
}

/// Waits until exactly these are in somebody's inbox: mail for several shards is acknowledged when it is safe in one of them,
/// and then handed on. Its UIDVALIDITY.
fn await_inbox(server: &Server, who: &str, subjects: &[&str]) -> u32 {
    wait_until(&format!("{subjects:?} are in the inbox of {who}"), || inbox(server, who).1 == subjects);
    inbox(server, who).0
}

/// The UIDVALIDITY of somebody's inbox, and the subjects in it, sorted: what several groups hand on at the same time comes in
/// any order.
fn inbox(server: &Server, who: &str) -> (u32, Vec<String>) {
    let mut imap = Dialogue::imap(server.address("imap"), who).unwrap();
    let selected = imap.imap_ok("SELECT INBOX").unwrap();
    let validity = selected.iter().find_map(|line| line.split_once("UIDVALIDITY ")?.1.split_once(']')).unwrap().0;
    let found = imap.imap_ok("UID SEARCH ALL").unwrap();
    let uids = found.iter().filter_map(|line| line.strip_prefix("* SEARCH")).flat_map(str::split_whitespace);
    let uids: Vec<u32> = uids.map(|uid| uid.parse().unwrap()).collect();
    let subject = |uid: &u32| {
        let text = String::from_utf8(imap.fetch_message(*uid).unwrap()).unwrap();
        assert_eq!(text.matches("a line to be found again").count(), 700);
        text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned()
    };
    let mut subjects: Vec<String> = uids.iter().map(subject).collect();
    subjects.sort();
    (validity.parse().unwrap(), subjects)
}

fn refused(node: &Server, words: &[&str]) -> String {
    let output = node.try_cli(words, "").unwrap();
    assert!(!output.status.success(), "{words:?} was not refused");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn one_of_three_sites_is_left_and_the_cluster_goes_on_from_it() {
    let mut a = Server::found("a", &["ann", "bob"]).unwrap();
    let (mut b, mut c) =
        (Server::member("b", Options::default()).unwrap(), Server::member("c", Options::default()).unwrap());
    a.let_in(&mut b).unwrap();
    a.let_in(&mut c).unwrap();
    wait_until("all three vote", || vote(&c, &["a", "b", "c"]) && status(&c)["survives"]["any_node"] == true);
    deliver(&a, "m-1");
    deliver(&b, "m-2");
    let before = await_inbox(&c, "ann", &["m-1", "m-2"]);
    // The groups that others lead are told with all that their leaders know.
    let told = status(&c);
    let known = |group: &Value| group["lag_entries"].is_u64() && group["replicas"][0]["hollow"] == false;
    assert!(told["groups"].as_array().unwrap().iter().all(known), "{told:#}");
    assert!(told["nodes"].as_array().unwrap().iter().all(|node| node["disk_free_bytes"].is_u64()), "{told:#}");

    a.kill();
    b.kill();
    wait_until("that is told first", || {
        let told = c.cli(&["status"], "").unwrap();
        let mut lines = told.lines();
        let first = ["!! node a at site a does not answer", "!! node b at site b does not answer"];
        first.iter().all(|line| lines.next() == Some(line)) && lines.next().unwrap().contains("has no leader")
    });
    assert!(c.cli(&["status"], "").unwrap().contains("survives the loss of any node: NO, of any site: NO"));
    assert!(refused(&c, &["group", "recover"]).contains("stop this node first"));
    c.kill();
    assert!(refused(&c, &["group", "recover"]).contains("--consent \"give up a b\""));
    assert!(refused(&c, &["group", "recover", "--consent", "give up a"]).contains("nothing was changed"));
    let told = c.cli(&["group", "recover", "--consent", "give up a b"], "").unwrap();
    assert!(told.contains("everything after entry") && told.contains("node a: no answer"), "{told}");
    assert!(refused(&c, &["group", "recover", "--consent", "give up a b"]).contains("nothing is to be recovered"));
    c.restart().unwrap();

    let (after, there) = inbox(&c, "ann");
    assert_eq!(there, ["m-1", "m-2"]);
    assert!(after > before, "{before} {after}");
    deliver(&c, "m-3");
    await_inbox(&c, "ann", &["m-1", "m-2", "m-3"]);
    await_inbox(&c, "bob", &["m-1", "m-2", "m-3"]);
    let nodes = status(&c)["nodes"].clone();
    let state =
        |name: &str| nodes.as_array().unwrap().iter().find(|node| node["name"] == name).unwrap()["state"].clone();
    assert_eq!([state("a"), state("b"), state("c")], ["removed", "removed", "active"]);

    // Who was given up comes back.
    a.begin().unwrap();
    wait_until("it is refused, and why", || c.log().contains("node a was removed from the cluster"));
    deliver(&c, "m-4");
    assert!(vote(&c, &["c"]));
    a.kill();

    // New stores make it whole again.
    let (mut d, mut e) =
        (Server::member("d", Options::default()).unwrap(), Server::member("e", Options::default()).unwrap());
    c.let_in(&mut d).unwrap();
    c.let_in(&mut e).unwrap();
    wait_until("all three vote", || vote(&c, &["c", "d", "e"]) && status(&c)["survives"]["any_node"] == true);
    let gateway = c.start_gateway("g", Options::default()).unwrap();
    wait_until("a gateway alone tells it too", || {
        let told = status(&gateway);
        told["survives"]["any_site"] == true
            && told["nodes"].as_array().unwrap().len() == 6
            && vote(&gateway, &["c", "d", "e"])
    });
    c.kill();
    wait_until("another one leads", || {
        status(&d)["groups"]
            .as_array()
            .unwrap()
            .iter()
            .all(|group| !group["leader"].is_null() && group["leader"] != "c")
    });
    deliver(&d, "m-5");
    await_inbox(&e, "bob", &["m-1", "m-2", "m-3", "m-4", "m-5"]);
}

#[test]
fn whoever_reads_the_status_may_have_enough_of_it() {
    let alone = Server::start(&[]).unwrap();
    let mut piped = Command::new("sh");
    // The reader is gone before the first line is written.
    piped.args(["-c", "(sleep 1; exec \"$0\" status --config \"$1\") | true"]);
    let output = piped.arg(binary()).arg(alone.config()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
