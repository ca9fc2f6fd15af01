//! What it takes to bring a node back.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{PATIENCE, Row, Text, deliver, names, octets, since, smtp, three_sites};
use crate::cluster::sites::Sites;

/// Brings a node back that missed this many messages of 4 KiB, and then one that has lost its disk.
///
/// # Errors
/// When it does not come back.
pub fn bring_back(text: &mut Text, messages: usize) -> anyhow::Result<Vec<Row>> {
    let sites = three_sites(6, Duration::from_millis(20))?;
    let away = sites.node("c")?;
    away.kill()?;
    let mut connection = smtp(sites.node("a")?)?;
    let mut mail = 0;
    for number in 0..messages {
        let message = text.message(&format!("b{number}"), 4096);
        mail += message.len();
        deliver(&mut connection, &names(6)[number % 6..=number % 6], &message)?;
    }
    let absent = measured(&sites, || away.start())?;
    away.kill()?;
    fs::remove_dir_all(away.folder().join("data")).context("the data directory")?;
    let token = sites.node("a")?.cli(&["node", "replace", "c"], "")?;
    away.cli(&["join", "--token", token.trim()], "")?;
    let lost = measured(&sites, || away.start())?;
    let megabytes = mail as f64 / 1e6;
    Ok(vec![
        Row::new(format!("a node that missed {messages} messages ({megabytes:.1} MB) is back"), absent, ""),
        Row::new("a node that lost its disk is back, with all that and before", lost, ""),
    ])
}

/// Starts the node; how long it took until it had everything and voted, and what went over its links.
fn measured(sites: &Sites, start: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<String> {
    let (before, began) = (octets(sites), Instant::now());
    start()?;
    while !is_back(sites) {
        ensure!(began.elapsed() < PATIENCE, "it has not everything after {PATIENCE:?}");
        thread::sleep(Duration::from_millis(200));
    }
    let took = began.elapsed().as_secs_f64();
    let went: u64 =
        since(sites, &before).iter().filter(|(link, _)| link.contains("west")).map(|(_, octets)| octets).sum();
    Ok(format!("{took:.1} s, {:.1} MB over its two links", went as f64 / 1e6))
}

/// Whether the leaders of all groups say that the replica at the node that was away votes, answers, and lacks nothing.
fn is_back(sites: &Sites) -> bool {
    let is_whole = || -> anyhow::Result<bool> {
        let status: Value = serde_json::from_str(&sites.node("a")?.cli(&["status", "--json"], "")?)?;
        let groups = status["groups"].as_array().context("groups")?;
        let has_all = |replica: &Value| {
            replica["node"] == "c"
                && replica["votes"] == true
                && replica["lag_entries"] == 0
                && replica["hollow"] == false
                && replica["silent_millis"].as_u64().is_some_and(|silent| silent < 1000)
        };
        let replicas =
            |group: &Value| group["replicas"].as_array().is_some_and(|replicas| replicas.iter().any(has_all));
        Ok(groups.iter().all(replicas))
    };
    is_whole().unwrap_or(false)
}
