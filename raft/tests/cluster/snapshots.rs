//! A node that was away catches up, by the log or by a snapshot, and a snapshot that is cut off goes on.

use std::time::Duration;

use crate::{nodes::Cluster, support::*};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_catches_up_by_the_log() {
    let cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    let away = (cluster.leader(1).await + 1) % 3;
    cluster.links.around(cluster.name(away), |quality| quality.cut = true);
    for n in 10..110 {
        cluster.write(1, n, deliver(7, n, &[])).await;
    }
    cluster.links.around(cluster.name(away), |quality| quality.cut = false);
    cluster.check_equal().await;
}

/// Lets one node miss `messages` messages of which the others purge the log.
async fn away_until_purged(cluster: &mut Cluster, messages: u64) -> usize {
    cluster.write(1, 1, provision(7)).await;
    let away = (cluster.leader(1).await + 1) % 3;
    cluster.kill(away);
    for n in 0..messages {
        let many = (0..50).map(|m| deliver(7, 1000 + 50 * n + m, &[])).collect();
        cluster.execute(execute(1, 1000 + n, many)).await;
    }
    for &node in cluster.nodes.keys() {
        cluster.purge(node, 1).await;
    }
    away
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_log_is_purged_elsewhere_gets_a_snapshot_that_goes_on_after_each_cut() {
    let mut cluster = Cluster::start(3, 3, |settings| {
        // Nothing is kept for who lags.
        settings.retention.bytes = 0;
        settings.retention.age = Duration::ZERO;
    })
    .await;
    let away = away_until_purged(&mut cluster, 400).await;
    let size: usize = truth_bytes(&cluster);
    // Each connection of the links to it breaks after some chunks.
    cluster.open(away).await;
    let name = cluster.name(away).to_owned();
    cluster.links.around(&name, |quality| (quality.cut, quality.breaks_after) = (false, Some(1_500_000)));
    cluster.ready(away).await;
    let bytes: u64 = cluster.links.bytes().iter().filter(|((_, to), _)| *to == name).map(|(_, bytes)| *bytes).sum();
    println!("a state of {size} octets took {bytes} octets over links that break");
    assert!(size > 4_000_000, "{size} octets: too little to be cut off");
    assert!(bytes < 2 * size as u64, "it began anew each time: {bytes} octets for {size}");
    cluster.links.around(&name, |quality| quality.breaks_after = None);
    cluster.check_equal().await;
    cluster.kill(away);
    cluster.restart(away).await;
    cluster.check_equal().await;
}

fn truth_bytes(cluster: &Cluster) -> usize {
    let (&node, _) = cluster.nodes.first_key_value().unwrap();
    crate::nodes::truth(&cluster.disks[node]).iter().map(|(key, value)| key.len() + value.len()).sum()
}
