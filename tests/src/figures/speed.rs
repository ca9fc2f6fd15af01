//! How long a commit takes, and what a message costs.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;

use super::{NODES, Row, Text, deliver, millis, names, one_site, share, sites, smtp, three_sites};
use crate::cluster::{
    node::Role,
    sites::{Place, Sites},
};

/// Messages for each node and distance.
const MESSAGES: usize = 200;
/// Connections in all when the rate is measured.
const CONNECTIONS: usize = 12;
/// Clock ticks of `/proc/PID/stat` in a second (proc_pid_stat(5); 100 on every Linux that we meet).
const TICKS_PER_SECOND: f64 = 100.0;

/// How long the answer to the final dot takes, one message after the other, where the group is led and elsewhere.
///
/// # Errors
/// When the cluster does not do what it should.
pub fn latency(text: &mut Text) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for round_trip in [0, 20, 80].map(Duration::from_millis) {
        let sites = three_sites(1, round_trip)?;
        let mut by_node = Vec::new();
        for (node, _) in NODES {
            let mut connection = smtp(sites.node(node)?)?;
            let mut took = Vec::new();
            for number in 0..MESSAGES {
                let message = text.message(&format!("{}-{node}-{number}", round_trip.as_millis()), 4096);
                took.push(deliver(&mut connection, &names(1), &message)?);
            }
            by_node.push((share(&mut took, 0.5), share(&mut took, 0.99)));
        }
        by_node.sort_unstable();
        let at = |(p50, p99): (Duration, Duration)| format!("{}, {}", millis(p50), millis(p99));
        let away = millis(round_trip);
        let wanted = format!("p50 at most {}", millis(round_trip + Duration::from_millis(10)));
        rows.push(Row::new(
            format!("commit at {away} between sites, where the group is led: p50, p99"),
            at(by_node[0]),
            wanted,
        ));
        rows.push(Row::new("the same at the furthest other site (it asks the leader): p50, p99", at(by_node[2]), ""));
    }
    Ok(rows)
}

/// What all nodes take in together under load, and the CPU that costs, of three nodes and of one.
///
/// # Errors
/// When the cluster does not do what it should.
pub fn rate(text: &mut Text, seconds: u64) -> anyhow::Result<Vec<Row>> {
    let one = sites(vec![Place::new("a", "north", Role::Both)], 12, Duration::ZERO)?;
    let (one_rate, one_cost) = load(&one, text, seconds)?;
    drop(one);
    let told = |rate: f64, cost: f64| format!("{rate:.0}/s, {cost:.2} CPU s per 1,000");
    let mut rows = vec![Row::new("4 KiB messages taken in, one node", told(one_rate, one_cost), "")];
    // What goes to another site is packed as well.
    for (place, make) in
        [("one site", one_site as fn(usize) -> _), ("three sites", |accounts| three_sites(accounts, Duration::ZERO))]
    {
        let three = make(12)?;
        let (rate, cost) = load(&three, text, seconds)?;
        let (what, ratio) = (format!("the same, three nodes on the same machine, in {place}"), cost / one_cost);
        rows.push(Row::new(what, told(rate, cost), ""));
        rows.push(Row::new(
            format!("CPU of three nodes in {place} to that of one"),
            format!("{ratio:.2}"),
            "at most 3.5",
        ));
    }
    Ok(rows)
}

fn load(sites: &Sites, text: &mut Text, seconds: u64) -> anyhow::Result<(f64, f64)> {
    let accounts = names(12);
    let messages: Vec<String> = (0..1000).map(|number| text.message(&format!("r{number}"), 4096)).collect();
    let nodes: Vec<_> = sites.nodes().collect();
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let (cpu, start) = (cpu_seconds(sites)?, Instant::now());
    thread::scope(|scope| {
        let sender = |number: usize| {
            let (nodes, messages, accounts, stop, count) = (&nodes, &messages, &accounts, &stop, &count);
            move || -> anyhow::Result<()> {
                let mut connection = smtp(nodes[number % nodes.len()])?;
                for round in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    // A Message-ID of its own: repeats are suppressed.
                    let id = format!("<{number}.{round}@");
                    let message = messages[(number * 37 + round) % messages.len()].replacen('<', &id, 1);
                    let to = &accounts[(number + round) % accounts.len()];
                    deliver(&mut connection, std::slice::from_ref(to), &message)?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }
        };
        let senders: Vec<_> = (0..CONNECTIONS).map(|number| scope.spawn(sender(number))).collect();
        thread::sleep(Duration::from_secs(seconds));
        stop.store(true, Ordering::Relaxed);
        senders.into_iter().try_for_each(|sender| sender.join().unwrap_or_else(|_| anyhow::bail!("a sender died")))
    })?;
    let (count, took) = (count.load(Ordering::Relaxed) as f64, start.elapsed().as_secs_f64());
    Ok((count / took, (cpu_seconds(sites)? - cpu) * 1000.0 / count))
}

/// What the processes of all nodes have used, in user and kernel mode.
fn cpu_seconds(sites: &Sites) -> anyhow::Result<f64> {
    let mut ticks = 0.0;
    for node in sites.nodes() {
        let process = node.process_id().context("a node does not run")?;
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        // After the name, which ends with a parenthesis: fields 14 and 15.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        for field in [11, 12] {
            ticks += fields.get(field).context("fields of stat")?.parse::<f64>()?;
        }
    }
    Ok(ticks / TICKS_PER_SECOND)
}
