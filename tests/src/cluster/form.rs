//! Forming a cluster, as an operator does it: the first store founds it, each other node comes in with a token from there.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{
    node::Node,
    sites::{Place, Sites},
};
use crate::{
    dialogue::Dialogue,
    server::{DOMAIN, PASSWORD, address},
};

/// Until all gateways serve.
const PATIENCE: Duration = Duration::from_secs(60);
/// One member after the other, in each group.
const VOTES_PATIENCE: Duration = Duration::from_secs(180);

/// Starts all nodes, the first place's first, and makes the accounts.
pub(super) fn form(sites: &Sites, places: &[Place], accounts: &[String]) -> anyhow::Result<()> {
    let first = sites.node(&places.first().context("a cluster has nodes")?.node)?;
    ensure!(first.role.is_store(), "the first node is a store");
    for node in sites.all_nodes() {
        node.write_config(&sites.node_file(node, &section(sites, node)))?;
    }
    first.cli(&["found"], "")?;
    first.start()?;
    for place in places[1..].iter().filter(|place| !place.is_spare) {
        let node = sites.node(&place.node)?;
        let token = first.cli(&["node", "token"], "")?;
        node.cli(&["join", "--token", token.trim()], "")?;
        node.start()?;
    }
    await_votes(sites)?;
    first.cli(&["domain", "add", DOMAIN], "")?;
    for account in accounts {
        first.cli(&["account", "add", &address(account)], &format!("{PASSWORD}\n"))?;
    }
    accounts.first().map_or(Ok(()), |account| sites.gateways().try_for_each(|node| await_service(node, account)))
}

/// Waits until as many stores as may vote do, in each group: until then a store that dies may take the cluster with it. Stores say it in
/// their logs when they have given somebody a vote.
fn await_votes(sites: &Sites) -> anyhow::Result<()> {
    let first = sites.stores().next().context("a store")?;
    let status: Value = serde_json::from_str(&first.cli(&["status", "--json"], "")?)?;
    let groups = status["groups"].as_array().context("groups")?.len();
    let stores = sites.stores().count();
    // An odd number votes; two stores both do.
    let voters = if stores > 2 && stores.is_multiple_of(2) { stores - 1 } else { stores };
    let wanted = groups * (voters - 1);
    let start = Instant::now();
    loop {
        let votes = |log: String| {
            log.lines().filter(|line| line.contains("have changed") && line.contains("step=Promote")).count()
        };
        let given: usize = sites.stores().map(|store| votes(store.log())).sum();
        if given >= wanted {
            return Ok(());
        }
        ensure!(start.elapsed() < VOTES_PATIENCE, "{given} of {wanted} votes were given:\n{}", first.log());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A node's part of the cluster: other nodes are where its links begin.
pub(super) fn section(sites: &Sites, node: &Node) -> String {
    let name = &node.name;
    let ways: Vec<(&str, String)> = sites
        .all_nodes()
        .filter(|store| store.role.is_store() && store.name != *name)
        .filter_map(|store| Some((store.name.as_str(), sites.way(name, &store.name)?.to_string())))
        .collect();
    let reach: Vec<String> = ways.iter().map(|(store, way)| format!("{store} = \"{way}\"")).collect();
    let place = match sites.port(name) {
        Some(port) => format!("address = \"127.0.0.1:{port}\""),
        None => {
            let members = ways.iter().filter(|(store, _)| sites.node(store).is_ok_and(Node::is_member));
            let stores: Vec<String> = members.map(|(_, way)| format!("\"{way}\"")).collect();
            format!("directory = \"cluster\"\nstores = [{}]", stores.join(", "))
        }
    };
    format!("[cluster]\nnode = \"{name}\"\nsite = \"{}\"\n{place}\nreach = {{ {} }}\n", node.site, reach.join(", "))
}

/// Waits until somebody can log in at a gateway.
fn await_service(node: &Node, account: &str) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let imap = node.address("imap").context("it listens").and_then(|to| Dialogue::imap(to, account));
        match imap {
            Ok(_) => return Ok(()),
            Err(error) if start.elapsed() > PATIENCE => {
                return Err(error.context(format!("{} does not serve:\n{}", node.name, node.log())));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
