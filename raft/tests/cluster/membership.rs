//! Replicas are added, promoted and removed, and leadership is handed over.

use std::time::{Duration, Instant};

use securanet_model::{GroupId, ReplicaId, StoreError};

use crate::{
    nodes::{Cluster, PATIENCE, SHARDS},
    support::*,
};

const GROUP: GroupId = GroupId::new(1);

/// Tries until it is done; what is refused "now" may be possible soon.
pub(crate) async fn until_done<F: Future<Output = Result<(), StoreError>>>(what: impl Fn() -> F) {
    let started = Instant::now();
    loop {
        match what().await {
            Ok(()) => return,
            Err(error) => assert!(started.elapsed() < PATIENCE, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_at_once_and_nothing_is_lost() {
    let cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    let mut numbers = Vec::new();
    for round in 0..3 {
        let old = cluster.leader(1).await;
        let new = (old + 1) % 3;
        let started = Instant::now();
        cluster.nodes[&old].groups.transfer_leader(GROUP, ReplicaId::new(Cluster::replica(new))).await.unwrap();
        let took = started.elapsed();
        println!("handed over in {took:?}");
        assert!(took < Duration::from_secs(1), "{took:?}: that was an election after a timeout");
        assert_eq!(cluster.leader(1).await, new);
        for n in 0..5 {
            numbers.push(100 * (round + 1) + n);
            cluster.write(1, 100 * (round + 1) + n, deliver(7, 100 * (round + 1) + n, &[])).await;
        }
    }
    assert_eq!(cluster.inbox(1, 7).await, numbers);
    let leader = cluster.leader(1).await;
    let follower = &cluster.nodes[&((leader + 1) % 3)].groups;
    let expected = StoreError::NotLeader { leader: Some(cluster.name(leader).to_owned()) };
    assert_eq!(follower.transfer_leader(GROUP, ReplicaId::new(1)).await, Err(expected));
    let stranger = cluster.nodes[&leader].groups.transfer_leader(GROUP, ReplicaId::new(77)).await.unwrap_err();
    assert!(stranger.to_string().contains("has no vote"), "{stranger}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_to_stop_leaves_its_groups_to_others_without_an_election_after_a_timeout() {
    let cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    let old = cluster.leader(1).await;
    let started = Instant::now();
    cluster.nodes[&old].groups.resign().await;
    let took = started.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert!(cluster.nodes[&old].groups.status().iter().all(|status| !status.is_leader));
    assert_ne!(cluster.leader(1).await, old);
    cluster.write(1, 2, deliver(7, 2, &[])).await;
    assert_eq!(cluster.inbox(1, 7).await, [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_hands_over_to_a_node_that_is_away() {
    let cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    let leader = cluster.leader(1).await;
    let away = (leader + 1) % 3;
    cluster.links.around(cluster.name(away), |quality| quality.cut = true);
    let to = ReplicaId::new(Cluster::replica(away));
    let refused = cluster.nodes[&leader].groups.transfer_leader(GROUP, to).await.unwrap_err();
    assert!(refused.to_string().contains("cannot be asked"), "{refused}");
    assert_eq!(cluster.leader(1).await, leader, "and it goes on leading");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fourth_node_replaces_one_that_is_lost() {
    let mut cluster = Cluster::start(4, 3, |_| {}).await;
    for group in 1..=SHARDS {
        cluster.write(group, u64::from(group), provision(7)).await;
    }
    for n in 10..40 {
        cluster.write(1, n, deliver(7, n, &[])).await;
    }
    let lost = (cluster.leader(1).await + 1) % 3;
    cluster.kill(lost);
    let new = ReplicaId::new(Cluster::replica(3));
    let gone = ReplicaId::new(Cluster::replica(lost));
    for group in 0..=SHARDS {
        let id = GroupId::new(group);
        // Who leads may change meanwhile; who is asked says so.
        until_done(|| async {
            cluster.nodes[&cluster.leader(group).await].groups.add_learner(id, new, "node-3").await
        })
        .await;
        until_done(|| async { cluster.nodes[&cluster.leader(group).await].groups.promote(id, new).await }).await;
        until_done(|| async { cluster.nodes[&cluster.leader(group).await].groups.remove_replica(id, gone).await })
            .await;
    }
    cluster.check_equal().await;
    // Now it takes the new one to have a majority.
    let other = (0..3).find(|node| *node != lost).unwrap();
    cluster.kill(other);
    for n in 40..50 {
        cluster.write(1, n, deliver(7, n, &[])).await;
    }
    assert_eq!(cluster.inbox(1, 7).await, (10..50).collect::<Vec<_>>());
    let leader = &cluster.nodes[&cluster.leader(1).await].groups;
    let taken = leader.add_learner(GROUP, ReplicaId::new(9), "node-3").await.unwrap_err();
    assert!(taken.to_string().contains("has replica 4 of it already"), "{taken}");
}
