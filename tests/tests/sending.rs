//! What is submitted leaves: to a server without manners, through refusals, deferrals, drops at each stage, restarts and
//! SIGKILL, and under an operator's hand.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    thread::sleep,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use securanet_tests::{
    dialogue::Dialogue,
    rude::{Manner, Rude, Stage},
    server::{Options, PASSWORD, Server, address},
};
use serde_json::Value;

/// Longer than anything here takes on a machine that compiles beside it.
const PATIENCE: Duration = Duration::from_secs(90);

/// A server that sends mail for rude.example to this remote, and gives up on silence soon.
fn config(remote: &Rude) -> String {
    let port = remote.address().port();
    let short = ["greeting", "hello", "mail", "recipient", "data", "block", "final_dot"]
        .map(|stage| format!("{stage}_seconds = 3\n"))
        .concat();
    format!(
        "[delivery.worker]\nunreachable_seconds = 0\n[delivery.client.timeouts]\n{short}\
         [[delivery.routing.routes]]\nname = \"rude\"\nrecipient_domains = [\"rude.example\"]\n\
         hosts = [\"[127.0.0.1]:{port}\"]\n"
    )
}

fn start(remote: &Rude) -> Server {
    Server::start_with(Options { config: config(remote), ..Options::default() }, &["ann"]).unwrap()
}

/// Logs in as ann and submits a small message; gives its Message-ID.
fn submit(server: &Server, id: &str, to: &[&str]) -> String {
    submit_lines(server, id, to, 1)
}

fn submit_lines(server: &Server, id: &str, to: &[&str], lines: usize) -> String {
    let mut smtp = log_in(server.address("submission")).unwrap();
    submit_in(&mut smtp, id, to, lines).unwrap()
}

fn log_in(to: SocketAddr) -> anyhow::Result<Dialogue> {
    let mut smtp = Dialogue::smtp(to, "EHLO")?;
    let secret = STANDARD.encode(format!("\0{}\0{PASSWORD}", address("ann")));
    smtp.expect(&format!("AUTH PLAIN {secret}"), "235")?;
    Ok(smtp)
}

fn submit_in(smtp: &mut Dialogue, id: &str, to: &[&str], lines: usize) -> anyhow::Result<String> {
    smtp.expect(&format!("MAIL FROM:<{}>", address("ann")), "250")?;
    for to in to {
        smtp.expect(&format!("RCPT TO:<{to}>"), "250")?;
    }
    smtp.expect("DATA", "354")?;
    let header = format!("From: {}\r\nTo: you\r\nSubject: {id}\r\nMessage-ID: <{id}@test.example>\r\n", address("ann"));
    let text = "Hello.\r\n".repeat(lines);
    let reply = smtp.send_data(format!("{header}\r\n{text}.a dot\r\n").as_bytes())?;
    anyhow::ensure!(reply.starts_with("250"), "{reply}");
    Ok(format!("<{id}@test.example>"))
}

fn retry_after(server: &Server, times: &str) {
    server.cli(&["policy", "set", "queue.retry_after", times], "").unwrap();
}

fn queue(server: &Server, words: &[&str]) -> Vec<Value> {
    let text = server.cli(&[&["queue", "list", "--json"], words].concat(), "").unwrap();
    serde_json::from_str(&text).unwrap()
}

fn trace(server: &Server, id: &str) -> Value {
    let text = server.cli(&["trace", id, "--json"], "").unwrap();
    serde_json::from_str::<Vec<Value>>(&text).unwrap().remove(0)
}

/// The one recipient of a message, once its state is this.
fn await_state(server: &Server, id: &str, state: &str) -> Value {
    let start = Instant::now();
    loop {
        let recipient = trace(server, id)["recipients"][0].clone();
        if recipient["state"] == state {
            return recipient;
        }
        assert!(start.elapsed() < PATIENCE, "{id} is not {state}: {recipient:#}\n{}", server.log());
        sleep(Duration::from_millis(100));
    }
}

/// The messages in ann's INBOX.
fn inbox(server: &Server) -> Vec<String> {
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    imap.imap_ok("EXAMINE INBOX").unwrap();
    let found = imap.imap_ok("UID SEARCH ALL").unwrap().join(" ");
    let uids = found.split_whitespace().filter_map(|word| word.parse().ok());
    uids.map(|uid| String::from_utf8_lossy(&imap.fetch_message(uid).unwrap()).into_owned()).collect()
}

fn await_inbox(server: &Server, count: usize) -> Vec<String> {
    let start = Instant::now();
    loop {
        let messages = inbox(server);
        if messages.len() >= count {
            return messages;
        }
        assert!(start.elapsed() < PATIENCE, "{} of {count} messages\n{}", messages.len(), server.log());
        sleep(Duration::from_millis(100));
    }
}

#[test]
fn what_is_submitted_arrives_once_and_the_trace_tells_it() {
    let remote = Rude::start(|_| Manner::Kind);
    let server = start(&remote);
    let id = submit(&server, "hello", &["bob@rude.example", "cid@rude.example"]);
    remote.await_taken(1, PATIENCE);
    let taken = remote.taken().remove(0);
    assert_eq!((taken.from.as_str(), taken.to.len()), ("<ann@test.example>", 2), "one transaction for both");
    assert!(taken.text.contains("\r\nHello.\r\n.a dot\r\n"), "{}", taken.text);
    let recipient = await_state(&server, &id, "delivered");
    let attempt = &recipient["history"][0];
    assert_eq!((&attempt["outcome"], &attempt["answer_is_remote"]), (&"delivered".into(), &true.into()));
    assert!(
        attempt["host"].as_str().unwrap().contains(&remote.address().to_string().replace("127.0.0.1", "[127.0.0.1]"))
    );
    let shown = server.cli(&["trace", &id], "").unwrap();
    assert!(shown.contains("to bob@rude.example") && shown.contains("taken"), "{shown}");
    assert_eq!(queue(&server, &[]), Vec::<Value>::new(), "nothing waits any more");
    assert_eq!(queue(&server, &["--ended"]).len(), 1);
    let status: Value = serde_json::from_str(&server.cli(&["status", "--json"], "").unwrap()).unwrap();
    let sent: u64 =
        status["groups"].as_array().unwrap().iter().filter_map(|g| g["outbound"]["delivered"].as_u64()).sum();
    assert_eq!(sent, 2);
    assert_eq!(remote.taken().len(), 1);
}

#[test]
fn rfc_5321_4_1_3_a_host_without_a_name_is_sent_to_where_policy_lets_it() {
    let remote = Rude::start(|_| Manner::Kind);
    let port = remote.address().port();
    let route =
        format!("[[delivery.routing.routes]]\nname = \"lab\"\nrecipient_domains = [\"[127.0.0.1]\"]\nport = {port}\n");
    let config = config(&remote) + &route;
    let server = Server::start_with(Options { config, ..Options::default() }, &["ann"]).unwrap();
    let mut smtp = Dialogue::smtp(server.address("submission"), "EHLO").unwrap();
    let secret = STANDARD.encode(format!("\0{}\0{PASSWORD}", address("ann")));
    smtp.expect(&format!("AUTH PLAIN {secret}"), "235").unwrap();
    smtp.expect(&format!("MAIL FROM:<{}>", address("ann")), "250").unwrap();
    smtp.expect("RCPT TO:<fax@[127.0.0.1]>", "550 5.1.2").unwrap();
    server.cli(&["policy", "set", "submission.address_literals", "send", "--account", &address("ann")], "").unwrap();
    let id = submit(&server, "numbered", &["fax@[127.0.0.1]"]);
    await_state(&server, &id, "delivered");
    let taken = remote.taken();
    assert_eq!((taken.len(), taken[0].to.clone()), (1, vec!["<fax@[127.0.0.1]>".to_owned()]));
    let shown = queue(&server, &["--ended", "--recipient", "Fax@[127.0.0.1]"]);
    assert_eq!(shown[0]["recipients"][0]["destination"], "[127.0.0.1]", "{shown:#?}");

    // Not an address that the route names, and none that the world has.
    let id = submit(&server, "barred", &["fax@[127.0.0.2]"]);
    let recipient = await_state(&server, &id, "failed");
    assert_eq!((&recipient["attempts"], remote.taken().len()), (&1.into(), 1));
    let bounce = await_inbox(&server, 1).remove(0);
    assert!(
        bounce.contains("Final-Recipient: rfc822; fax@[127.0.0.2]\r\n") && bounce.contains("Status: 5.1.2"),
        "{bounce}"
    );
    assert!(bounce.contains("the number of a computer"), "{bounce}");
}

#[test]
fn p7_four_retries_then_exactly_one_bounce_with_the_history() {
    let remote = Rude::start(|_| Manner::Say(Stage::Rcpt, "450 4.2.1 mailbox is busy, come again"));
    let server = start(&remote);
    retry_after(&server, "1s,1s,1s,1s");
    let id = submit(&server, "busy", &["bob@rude.example"]);
    let recipient = await_state(&server, &id, "failed");
    assert_eq!((&recipient["attempts"], recipient["history"].as_array().unwrap().len()), (&5.into(), 5));
    let bounce = await_inbox(&server, 1).remove(0);
    for part in ["Return-Path: <>", "Auto-Submitted: auto-replied", "Action: failed", "mailbox is busy, come again"] {
        assert!(bounce.contains(part), "no {part:?} in:\n{bounce}");
    }
    sleep(Duration::from_secs(3));
    assert_eq!((inbox(&server).len(), remote.transactions()), (1, 5));
}

#[test]
fn p7_a_refusal_is_bounced_at_once_with_the_remotes_words() {
    let remote = Rude::start(|_| Manner::Say(Stage::Rcpt, "550 5.1.1 no such person here"));
    let server = start(&remote);
    let id = submit(&server, "refused", &["bob@rude.example"]);
    let bounce = await_inbox(&server, 1).remove(0);
    assert!(
        bounce.contains("no such person here") && bounce.contains("Final-Recipient: rfc822; bob@rude.example"),
        "{bounce}"
    );
    let recipient = await_state(&server, &id, "failed");
    assert_eq!((&recipient["attempts"], &recipient["history"][0]["outcome"]), (&1.into(), &"refused".into()));
    sleep(Duration::from_secs(2));
    assert_eq!(inbox(&server).len(), 1);
}

#[test]
fn a_server_that_breaks_off_before_the_end_gets_the_message_once() {
    use Stage::{Body, Data, Dot, Greeting, Hello, Mail, Rcpt};
    // Longer than we wait.
    let long = Duration::from_secs(6);
    let manners = [
        Manner::Drop(Greeting),
        Manner::Drop(Hello),
        Manner::Drop(Mail),
        Manner::Drop(Rcpt),
        Manner::Drop(Data),
        Manner::Drop(Body),
        Manner::Hang(Greeting, long),
        Manner::Hang(Rcpt, long),
        Manner::Hang(Data, long),
        Manner::Garbage(Greeting),
        Manner::Garbage(Mail),
        Manner::Garbage(Data),
        Manner::Say(Greeting, "554 5.3.2 go away"),
        Manner::Say(Hello, "421 4.3.2 later"),
        Manner::Say(Mail, "451 4.3.0 later"),
        Manner::Say(Data, "451 4.3.0 later"),
        Manner::Say(Dot, "452 4.3.1 later"),
    ];
    let remote = Rude::start(|_| Manner::Kind);
    let server = start(&remote);
    retry_after(&server, "1s,2s,4s,8s");
    for (number, manner) in manners.into_iter().enumerate() {
        remote.await_idle(PATIENCE);
        let from = remote.connections();
        remote.behave(move |connection| if connection == from { manner } else { Manner::Kind });
        // So large that it cannot be on its way as a whole when the server breaks off.
        let lines = if manner == Manner::Drop(Body) { 1_000_000 } else { 1 };
        let id = submit_lines(&server, &format!("rude-{number}"), &["bob@rude.example"], lines);
        let recipient = await_state(&server, &id, "delivered");
        assert_eq!(recipient["uncertain"], 0, "{manner:?}");
        assert_eq!(remote.taken().len(), number + 1, "{manner:?} {recipient:#}");
    }
    assert_eq!(inbox(&server), Vec::<String>::new());
}

#[test]
fn rfc_1047_a_connection_closed_after_the_final_dot_is_uncertain_and_said_so() {
    let remote = Rude::start(|_| Manner::Drop(Stage::Dot));
    let server = start(&remote);
    retry_after(&server, "1s,1s,1s,1s");
    let id = submit(&server, "uncertain", &["bob@rude.example"]);
    let start = Instant::now();
    while trace(&server, &id)["recipients"][0]["uncertain"] != 1 {
        assert!(start.elapsed() < PATIENCE, "{:#}", trace(&server, &id));
        sleep(Duration::from_millis(100));
    }
    sleep(Duration::from_secs(5));
    assert_eq!(remote.taken().len(), 1, "it is not repeated within ten minutes");
    let recipient = await_state(&server, &id, "waiting");
    let waits =
        recipient["due_unix_millis"].as_u64().unwrap() - trace(&server, &id)["queued_unix_millis"].as_u64().unwrap();
    assert!((600_000..720_000).contains(&waits), "{waits}");
    assert!(server.cli(&["trace", &id], "").unwrap().contains("1 uncertain"));
}

#[test]
fn a_greylisting_server_gets_it_at_the_third_try() {
    let remote = Rude::start(|connection| match connection {
        0 | 1 => Manner::Say(Stage::Rcpt, "450 4.7.1 greylisted"),
        _ => Manner::Kind,
    });
    let server = start(&remote);
    retry_after(&server, "2s,2s,2s,2s");
    let id = submit(&server, "grey", &["bob@rude.example"]);
    let recipient = await_state(&server, &id, "delivered");
    assert_eq!((&recipient["attempts"], remote.taken().len()), (&3.into(), 1));
}

#[test]
fn retries_survive_a_restart_and_a_kill() {
    let remote = Rude::start(|_| Manner::Say(Stage::Rcpt, "450 4.2.1 later"));
    let mut server = start(&remote);
    retry_after(&server, "4s,4s,4s,1h");
    let id = submit(&server, "restart", &["bob@rude.example"]);
    let start = Instant::now();
    while remote.transactions() < 1 {
        assert!(start.elapsed() < PATIENCE);
        sleep(Duration::from_millis(20));
    }
    server.terminate().unwrap();
    server.restart().unwrap();
    while remote.transactions() < 2 {
        assert!(start.elapsed() < PATIENCE, "no retry after a restart: {:#}", trace(&server, &id));
        sleep(Duration::from_millis(20));
    }
    server.kill();
    server.restart().unwrap();
    remote.behave(|_| Manner::Kind);
    let recipient = await_state(&server, &id, "delivered");
    assert!(recipient["failures"].as_u64().unwrap() >= 1, "{recipient:#}");
    assert_eq!(remote.taken().len(), 1);
}

/// A point at which the server is killed: from a fixed seed, different each round.
fn moment(round: u64) -> Duration {
    let mixed = (round + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    Duration::from_millis((mixed >> 32) % 400)
}

/// Message-IDs of what was submitted: what was acknowledged, and what was under way when the server was gone.
#[derive(Default)]
struct Submitted {
    acknowledged: Vec<String>,
    under_way: Vec<String>,
}

/// Submits some messages, one after another, or until the server is gone.
fn submit_some(to: SocketAddr, name: &str) -> Submitted {
    const MESSAGES: u32 = 8;
    let mut submitted = Submitted::default();
    let Ok(mut smtp) = log_in(to) else { return submitted };
    for number in 0..MESSAGES {
        let id = format!("{name}-{number}");
        match submit_in(&mut smtp, &id, &["bob@rude.example"], 1) {
            Ok(id) => submitted.acknowledged.push(id),
            Err(_) => {
                submitted.under_way.push(format!("<{id}@test.example>"));
                break;
            }
        }
    }
    submitted
}

#[test]
fn p2_sigkill_between_any_two_steps_loses_nothing_and_repeats_only_what_is_uncertain() {
    const ROUNDS: u64 = 12;
    const SUBMITTERS: u64 = 6;
    let remote = Rude::start(|_| Manner::Slow(Duration::from_millis(60)));
    let mut server = start(&remote);
    retry_after(&server, "1s,1s,1s,1s");
    let mut all = Submitted::default();
    for round in 0..ROUNDS {
        let to = server.address("submission");
        let submitters: Vec<_> = (0..SUBMITTERS)
            .map(|submitter| std::thread::spawn(move || submit_some(to, &format!("kill-{round}-{submitter}"))))
            .collect();
        sleep(moment(round));
        server.kill();
        for submitter in submitters {
            let submitted = submitter.join().unwrap();
            all.acknowledged.extend(submitted.acknowledged);
            all.under_way.extend(submitted.under_way);
        }
        server.restart().unwrap();
    }
    assert!(all.acknowledged.len() > 20, "only {} messages were acknowledged", all.acknowledged.len());
    // What is uncertain waits for eleven minutes; an operator who does not want to wait says so.
    let start = Instant::now();
    while queue(&server, &[]).iter().any(|item| item["recipients"][0]["uncertain"] == 0) {
        assert!(start.elapsed() < PATIENCE, "{:#?}", queue(&server, &[]));
        sleep(Duration::from_millis(200));
    }
    let start = Instant::now();
    while !queue(&server, &[]).is_empty() {
        server.cli(&["queue", "retry", "--all"], "").unwrap();
        assert!(start.elapsed() < PATIENCE, "{:#?}", queue(&server, &[]));
        sleep(Duration::from_millis(500));
    }
    let mut arrived = BTreeMap::<String, u64>::new();
    for taken in remote.taken() {
        let line = taken.text.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap().to_owned();
        *arrived.entry(line).or_default() += 1;
    }
    let mut repeated = 0;
    for (ids, at_least) in [(&all.acknowledged, 1), (&all.under_way, 0)] {
        for id in ids {
            let count = arrived.get(id).copied().unwrap_or(0);
            assert!(count >= at_least, "{id} was acknowledged and did not arrive: {:#}", trace(&server, id));
            if count > 1 {
                let uncertain = trace(&server, id)["recipients"][0]["uncertain"].as_u64().unwrap();
                assert!(count <= 1 + uncertain, "{id} arrived {count} times: {:#}", trace(&server, id));
                repeated += 1;
            }
        }
    }
    println!("{} acknowledged, {} under way, {repeated} repeated", all.acknowledged.len(), all.under_way.len());
}

#[test]
fn an_operator_holds_releases_reroutes_and_cancels() {
    let remote = Rude::start(|_| Manner::Say(Stage::Rcpt, "450 4.2.1 later"));
    let server = start(&remote);
    retry_after(&server, "1h,1h,1h,1h");
    let first = submit(&server, "first", &["bob@rude.example"]);
    let second = submit(&server, "second", &["cid@rude.example"]);
    await_state(&server, &first, "waiting");
    let id = |message: &str| trace(&server, message)["id"].as_str().unwrap().to_owned();
    let start = Instant::now();
    while [&first, &second].iter().any(|message| trace(&server, message)["recipients"][0]["failures"] == 0) {
        assert!(start.elapsed() < PATIENCE);
        sleep(Duration::from_millis(50));
    }
    let said = server.cli(&["queue", "hold", "--destination", "rude.example"], "").unwrap();
    assert!(said.contains("2 recipients"), "{said}");
    assert_eq!(queue(&server, &["--recipient", "bob@rude.example"])[0]["recipients"][0]["state"], "held");

    remote.await_idle(PATIENCE);
    remote.behave(|_| Manner::Kind);
    server.cli(&["queue", "retry", "--all"], "").unwrap();
    assert_eq!(remote.taken().len(), 0, "what is held stays until it is released");
    server.cli(&["queue", "release", &id(&first)], "").unwrap();
    await_state(&server, &first, "delivered");
    server.cli(&["queue", "cancel", &id(&second)], "").unwrap();
    await_state(&server, &second, "cancelled");
    let third = {
        remote.await_idle(PATIENCE);
        remote.behave(|_| Manner::Say(Stage::Rcpt, "450 4.2.1 later"));
        submit(&server, "third", &["dan@rude.example"])
    };
    let start = Instant::now();
    while trace(&server, &third)["recipients"][0]["failures"] == 0 {
        assert!(start.elapsed() < PATIENCE);
        sleep(Duration::from_millis(50));
    }
    remote.await_idle(PATIENCE);
    remote.behave(|_| Manner::Kind);
    server.cli(&["queue", "reroute", &id(&third), "--to", "route:rude"], "").unwrap();
    assert_eq!(await_state(&server, &third, "delivered")["destination"], "route:rude");
    assert_eq!((remote.taken().len(), inbox(&server).len()), (2, 0), "a cancelled message is told to nobody");
    let none = server.try_cli(&["queue", "hold"], "").unwrap();
    assert!(!none.status.success(), "nothing says what is meant");
}
