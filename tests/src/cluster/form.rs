//! Forming a cluster, as an operator does it: the first store founds it, the others get their certificates from there.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

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

/// Starts all nodes, the first place's first, and makes the accounts.
pub(super) fn form(sites: &Sites, places: &[Place], accounts: &[String]) -> anyhow::Result<()> {
    let first = sites.node(&places.first().context("a cluster has nodes")?.node)?;
    ensure!(first.role.is_store(), "the first node is a store");
    first.write_config(&sites.node_file(first, ""))?;
    first.start()?;
    first.cli(&["domain", "add", DOMAIN], "")?;
    for account in accounts {
        first.cli(&["account", "add", &address(account)], &format!("{PASSWORD}\n"))?;
    }
    // Which cluster it is, it knows only now.
    for node in sites.nodes() {
        let folder = node.folder().display().to_string();
        first.cli(&["cluster", "certificate", "--node", &node.name, "--directory", &folder], "")?;
        node.write_config(&sites.node_file(node, &section(sites, node)))?;
    }
    first.terminate()?;
    sites.nodes().try_for_each(Node::launch)?;
    sites.nodes().try_for_each(|node| node.await_ready(super::node::START_PATIENCE))?;
    accounts.first().map_or(Ok(()), |account| sites.gateways().try_for_each(|node| await_service(node, account)))
}

/// A node's part of the cluster.
fn section(sites: &Sites, node: &Node) -> String {
    let name = &node.name;
    let place = match sites.port(name) {
        Some(port) => format!("address = \"127.0.0.1:{port}\""),
        None => {
            let ways = sites.stores().filter_map(|store| sites.way(name, &store.name));
            format!("stores = [{}]", ways.map(|way| format!("\"{way}\"")).collect::<Vec<_>>().join(", "))
        }
    };
    format!(
        "[cluster]\n{place}\ncertificate_file = \"{name}-certificate.pem\"\nkey_file = \"{name}-key.pem\"\n\
         authority_file = \"cluster-authority.pem\"\n"
    )
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
