//! How long nothing is acknowledged after a node or a site is lost (promise P5).

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{NODES, Row, Text, deliver, names, share, smtp, three_sites};
use crate::cluster::sites::Sites;

/// As many accounts are written to at each node at the same time, so that most groups have one.
const ACCOUNTS: usize = 9;
/// Between two messages of a writer.
const PAUSE: Duration = Duration::from_millis(20);
/// Before and after the loss.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(10);

/// How a node, or its site, is lost.
#[derive(Clone, Copy)]
enum Loss {
    Node,
    Site,
}

/// Loses nodes (SIGKILL) and sites (all their links are cut) that lead, again and again.
///
/// # Errors
/// When the cluster does not come back.
pub fn outages(text: &mut Text, rounds: usize) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for round_trip in [20, 80].map(Duration::from_millis) {
        let sites = three_sites(ACCOUNTS, round_trip)?;
        for (loss, name) in [(Loss::Node, "node"), (Loss::Site, "site")] {
            let mut gaps = Vec::new();
            for round in 0..rounds {
                gaps.push(lose(&sites, loss, text, round)?);
                eprintln!("{name} at {round_trip:?}, round {round}: {:?}", gaps[round]);
            }
            let figure =
                format!("{:.1} s, {:.1} s", share(&mut gaps, 0.5).as_secs_f64(), share(&mut gaps, 1.0).as_secs_f64());
            let what = format!(
                "without service after the loss of a {name}, {} ms between sites: median, worst of {rounds}",
                round_trip.as_millis()
            );
            rows.push(Row::new(what, figure, "at most 3 s"));
        }
    }
    Ok(rows)
}

/// Loses the node that leads most groups; the longest time in which a writer at another node was acknowledged nothing.
fn lose(sites: &Sites, loss: Loss, text: &mut Text, round: usize) -> anyhow::Result<Duration> {
    let lost = leader_of_most(sites)?;
    let others: Vec<_> = NODES.iter().map(|(node, _)| *node).filter(|node| *node != lost).collect();
    let message = text.message("outage", 1024);
    let (stop, gaps) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    thread::scope(|scope| -> anyhow::Result<()> {
        for (node, account) in
            others.iter().flat_map(|node| names(ACCOUNTS).into_iter().map(move |account| (*node, account)))
        {
            let (stop, gaps, message) = (&stop, &gaps, &message);
            scope.spawn(move || {
                let gap = write(sites, node, &account, message, round, stop);
                gaps.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(gap);
            });
        }
        thread::sleep(BEFORE);
        let node = sites.node(&lost)?;
        match loss {
            Loss::Node => node.kill()?,
            Loss::Site => cut(sites, &lost)?,
        }
        thread::sleep(AFTER);
        stop.store(true, Ordering::Relaxed);
        Ok(())
    })?;
    match loss {
        Loss::Node => sites.node(&lost)?.start()?,
        Loss::Site => sites.heal(),
    }
    await_whole(sites)?;
    let gaps = gaps.into_inner().unwrap_or_default();
    ensure!(gaps.len() == others.len() * ACCOUNTS, "a writer died");
    Ok(gaps.into_iter().max().unwrap_or_default())
}

fn cut(sites: &Sites, node: &str) -> anyhow::Result<()> {
    for (other, _) in NODES.iter().filter(|(other, _)| *other != node) {
        sites.between(node, other)?.iter().for_each(|wire| wire.cut());
    }
    Ok(())
}

/// Writes to one account until it is told to stop; the longest time without an acknowledgement.
fn write(sites: &Sites, node: &str, account: &str, message: &str, round: usize, stop: &AtomicBool) -> Duration {
    let to = [account.to_owned()];
    let (mut connection, mut last, mut longest) = (None, Instant::now(), Duration::ZERO);
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let connected = connection.take().map_or_else(|| sites.node(node).and_then(smtp), Ok);
        let message = message.replacen("<outage", &format!("<{node}.{account}.{round}.{number}"), 1);
        if let Ok(mut smtp) = connected
            && deliver(&mut smtp, &to, &message).is_ok()
        {
            longest = longest.max(last.elapsed());
            last = Instant::now();
            connection = Some(smtp);
        }
        thread::sleep(PAUSE);
    }
    longest.max(last.elapsed())
}

fn status(sites: &Sites, node: &str) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&sites.node(node)?.cli(&["status", "--json"], "")?)?)
}

fn leader_of_most(sites: &Sites) -> anyhow::Result<String> {
    let status = status(sites, "a")?;
    let groups = status["groups"].as_array().context("groups")?;
    let leads = |node: &str| groups.iter().filter(|group| group["leader"] == node).count();
    let most = NODES.iter().map(|(node, _)| *node).max_by_key(|node| leads(node));
    most.map(str::to_owned).context("nobody leads")
}

/// Waits until each node says that any node may be lost.
fn await_whole(sites: &Sites) -> anyhow::Result<()> {
    let start = Instant::now();
    for (node, _) in NODES {
        loop {
            let whole = status(sites, node).is_ok_and(|status| {
                status["survives"]["any_node"] == true && status["problems"].as_array().is_some_and(Vec::is_empty)
            });
            if whole {
                break;
            }
            ensure!(start.elapsed() < super::PATIENCE, "{node} does not say that any node may be lost");
            thread::sleep(Duration::from_millis(200));
        }
    }
    Ok(())
}
