//! Every node answers and commits for its own gateways, whoever leads.

use std::time::{Duration, Instant};

use securanet_model::{GroupId, Query, StoreError};

use crate::{nodes::Cluster, support::*};

const GROUP: GroupId = GroupId::new(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_at_any_replica_has_what_was_acknowledged_before_it() {
    let cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    // So that followers hear of a commit later than who asked for it.
    cluster.links.all(|quality| quality.delay = Duration::from_millis(20));
    let leader = cluster.leader(1).await;
    let mut expected = Vec::new();
    for n in 10..18 {
        run(&cluster.nodes[&leader].groups, execute(1, n, vec![deliver(7, n, &[])])).await.unwrap();
        expected.push(n);
        for node in cluster.nodes.values() {
            assert_eq!(inbox_numbers(&node.groups, 1, 7).await, expected);
        }
    }
    // Many at the same time share round trips.
    let follower = &cluster.nodes[&((leader + 1) % 3)].groups;
    let one = {
        let started = Instant::now();
        follower.query(GROUP, Query::Totals, None).await.unwrap();
        started.elapsed()
    };
    let (before, started) = (cluster.links.bytes().values().sum::<u64>(), Instant::now());
    let reads = (0..500).map(|_| follower.query(GROUP, Query::Totals, None));
    for read in futures::future::join_all(reads).await {
        read.unwrap();
    }
    let (all, crossed) = (started.elapsed(), cluster.links.bytes().values().sum::<u64>() - before);
    println!("at 40 ms: one read {one:?}, 500 at the same time {all:?}, {crossed} octets on all links");
    assert!(all < Duration::from_millis(400), "{all:?}");
    assert!(crossed < 20_000, "{crossed} octets: each asked by itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_cut_off_answers_nothing_old_and_says_why() {
    let cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    let leader = cluster.leader(1).await;
    let away = (leader + 1) % 3;
    cluster.links.around(cluster.name(away), |quality| quality.cut = true);
    for n in 10..15 {
        run(&cluster.nodes[&leader].groups, execute(1, n, vec![deliver(7, n, &[])])).await.unwrap();
    }
    let started = Instant::now();
    let refused = cluster.nodes[&away].groups.query(GROUP, Query::Totals, None).await.unwrap_err();
    let took = started.elapsed();
    println!("after {took:?}: {refused}");
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(6), "{took:?}");
    // One that began while it was away is answered when it is back, with everything.
    let groups = cluster.nodes[&away].groups.clone();
    let waiting = tokio::spawn(async move { inbox_numbers(&groups, 1, 7).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished(), "it answered while it was cut off");
    cluster.links.all(|quality| quality.cut = false);
    assert_eq!(waiting.await.unwrap(), (10..15).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_outlive_the_leader_and_an_isolated_one_answers_none() {
    let mut cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    let old = cluster.leader(1).await;
    cluster.write(1, 10, deliver(7, 10, &[])).await;
    // It does not know yet that it is alone.
    cluster.links.around(cluster.name(old), |quality| quality.cut = true);
    let lonely = cluster.nodes[&old].groups.clone();
    let lonely = tokio::spawn(async move { lonely.query(GROUP, Query::Totals, None).await });
    let started = Instant::now();
    for node in (0..3).filter(|node| *node != old) {
        assert_eq!(inbox_numbers(&cluster.nodes[&node].groups, 1, 7).await, [10]);
    }
    println!("{:?} until others answered", started.elapsed());
    let lonely = lonely.await.unwrap();
    assert!(matches!(lonely, Err(StoreError::Unavailable(_))), "{lonely:?}");
    cluster.links.all(|quality| quality.cut = false);
    cluster.check_equal().await;
    let old = cluster.leader(1).await;
    cluster.kill(old);
    for node in cluster.nodes.values() {
        assert_eq!(inbox_numbers(&node.groups, 1, 7).await, [10]);
    }
}
