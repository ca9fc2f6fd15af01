//! Replicas of a group are byte-equal: after the load all nodes are stopped, the stores run for a moment without gateways, so
//! that nothing is written any more, until all have applied the same; then they are stopped, and what is on their disks is
//! compared (`securanet digest`).

use std::{
    collections::{BTreeMap, BTreeSet},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::{
    http::Api,
    node::{Node, START_PATIENCE},
    sites::Sites,
};

/// For stores without load to agree; an election takes some seconds, a snapshot more.
const PATIENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(300);
/// So often in a row nothing must have moved: nodes tell it each second.
const LOOKS: usize = 8;
const GAUGES: [&str; 2] = ["securanet_group_last_log_index{", "securanet_group_applied_index{"];

/// Compares the replicas of all groups; how many groups and rows there were. All nodes are stopped afterwards.
///
/// # Errors
/// When stores do not agree, or a replica differs from another one.
pub fn compare(sites: &Sites) -> anyhow::Result<(usize, u64)> {
    sites.nodes().try_for_each(Node::terminate)?;
    for store in sites.stores() {
        store.write_config(&sites.quiet_file(store))?;
        store.launch()?;
    }
    sites.stores().try_for_each(|store| store.await_ready(START_PATIENCE))?;
    await_rest(sites)?;
    sites.stores().try_for_each(Node::terminate)?;
    let mut groups = BTreeMap::<u64, Vec<(&str, Value)>>::new();
    for store in sites.stores() {
        let digests: Vec<Value> = serde_json::from_str(&store.cli(&["digest", "--json"], "")?)?;
        for digest in digests {
            groups.entry(digest["group"].as_u64().context("a group")?).or_default().push((&store.name, digest));
        }
    }
    let stores = sites.stores().count();
    let mut rows = 0;
    for (group, replicas) in &groups {
        ensure!(
            replicas.len() == stores,
            "group {group} has {} replicas, and there are {stores} stores",
            replicas.len()
        );
        let (name, first) = &replicas[0];
        rows += first["rows"].as_u64().unwrap_or_default();
        for (other, digest) in &replicas[1..] {
            let different = differing_tables(first, digest);
            ensure!(
                first["digest"] == digest["digest"] && different.is_empty(),
                "group {group} differs between {name} (applied {}) and {other} (applied {}): tables {different:?}",
                first["applied_index"],
                digest["applied_index"]
            );
        }
    }
    ensure!(groups.len() > 1 && rows > 0, "there is nothing to compare: {groups:?}");
    Ok((groups.len(), rows))
}

/// The tables that differ.
fn differing_tables(one: &Value, other: &Value) -> Vec<u64> {
    let tables = |digest: &Value| -> BTreeMap<u64, Value> {
        let tables = digest["tables"].as_array().into_iter().flatten();
        tables.filter_map(|table| Some((table["table"].as_u64()?, table.clone()))).collect()
    };
    let (one, other) = (tables(one), tables(other));
    let all: BTreeSet<&u64> = one.keys().chain(other.keys()).collect();
    all.into_iter().filter(|table| one.get(table) != other.get(table)).copied().collect()
}

/// Waits until all stores have applied the same in all groups, and nothing moves any more.
fn await_rest(sites: &Sites) -> anyhow::Result<()> {
    let start = Instant::now();
    let (mut before, mut same) = (BTreeSet::new(), 0);
    loop {
        let applied: anyhow::Result<BTreeSet<Vec<String>>> = sites.stores().map(positions).collect();
        match applied {
            Ok(applied) if applied.len() == 1 && applied == before => same += 1,
            Ok(applied) => (before, same) = (applied, 0),
            Err(error) if start.elapsed() > PATIENCE => return Err(error),
            Err(_) => same = 0,
        }
        if same == LOOKS {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            bail!("the stores have not applied the same after {PATIENCE:?} without load: {before:?}");
        }
        sleep(PAUSE);
    }
}

/// The last entry of each group's log and the last one applied, as the store itself counts them: its status may tell what the
/// leader says.
fn positions(store: &Node) -> anyhow::Result<Vec<String>> {
    let (status, text) = Api::of(store, PATIENCE)?.ask("GET", "/metrics", None)?;
    let told = |line: &&str| GAUGES.iter().any(|gauge| line.starts_with(gauge));
    let mut positions: Vec<String> = text.lines().filter(told).map(str::to_owned).collect();
    positions.sort();
    ensure!(!positions.is_empty(), "{} answered {status} and tells nothing of its groups", store.name);
    Ok(positions)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_that_differ_are_named() {
        let table = |table: u64, digest: &str| json!({ "table": table, "rows": 1, "digest": digest });
        let replica = |tables: &[Value]| json!({ "group": 1, "tables": tables });
        let one = replica(&[table(1, "a"), table(2, "b"), table(3, "c")]);
        assert_eq!(differing_tables(&one, &one), [0; 0]);
        assert_eq!(differing_tables(&one, &replica(&[table(1, "a"), table(2, "x"), table(4, "d")])), [2, 3, 4]);
    }
}
