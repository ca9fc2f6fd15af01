//! Every node answers and commits for its own gateways, whoever leads.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use securanet_model::{Freshness, GroupId, Query, StoreError};
use securanet_wire::{
    outcome_from_wire,
    replication::{forward_to_wire, proto::replication_client::ReplicationClient},
};
use tokio::task::JoinSet;

use crate::{
    gate::{durable, put},
    nodes::Cluster,
    support::*,
};

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
        // At once, before the others can have heard of it by themselves.
        let read = cluster.nodes.values().map(|node| inbox_numbers(&node.groups, 1, 7));
        for found in futures::future::join_all(read).await {
            assert_eq!(found, expected);
        }
    }
    // Many at the same time share round trips.
    let follower = &cluster.nodes[&((leader + 1) % 3)].groups;
    let one = {
        let started = Instant::now();
        follower.query(GROUP, Query::Totals, Freshness::Now).await.unwrap();
        started.elapsed()
    };
    let (before, started) = (cluster.links.bytes().values().sum::<u64>(), Instant::now());
    let reads = (0..500).map(|_| follower.query(GROUP, Query::Totals, Freshness::Now));
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
    let refused = cluster.nodes[&away].groups.query(GROUP, Query::Totals, Freshness::Now).await.unwrap_err();
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
    let lonely = tokio::spawn(async move { lonely.query(GROUP, Query::Totals, Freshness::Now).await });
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

/// What writers at all nodes were answered.
#[derive(Default)]
struct Ledger {
    acknowledged: Mutex<Vec<(u64, Instant)>>,
    refused: Mutex<Vec<(u64, StoreError)>>,
    stop: AtomicBool,
}

/// Writes one message after another at a node, until it loses power.
async fn write_at(cluster: &Cluster, node: usize, first: u64, ledger: Arc<Ledger>, writers: &mut JoinSet<()>) {
    let (groups, disks) = (cluster.nodes[&node].groups.clone(), cluster.disks[node].clone());
    writers.spawn(async move {
        let mut number = first;
        while !ledger.stop.load(Ordering::SeqCst) {
            let answer = run(&groups, execute(1, number, vec![deliver(7, number, &[])])).await;
            let lives = disks.before_crash(|| match answer {
                Ok(_) => ledger.acknowledged.lock().unwrap().push((number, Instant::now())),
                Err(error) => ledger.refused.lock().unwrap().push((number, error)),
            });
            if !lives {
                return;
            }
            number += 1;
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_at_all_nodes_outlive_the_leader_and_each_is_applied_once() {
    let mut cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    let (ledger, mut writers) = (Arc::<Ledger>::default(), JoinSet::new());
    for node in 0..3 {
        write_at(&cluster, node, 10_000 * (node as u64 + 1), ledger.clone(), &mut writers).await;
    }
    // Power, then only the answers: the second one keeps its connections and says nothing any more.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let killed = cluster.leader(1).await;
    cluster.kill(killed);
    tokio::time::sleep(Duration::from_secs(5)).await;
    cluster.restart(killed).await;
    write_at(&cluster, killed, 40_000, ledger.clone(), &mut writers).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let stalled = cluster.leader(1).await;
    cluster.links.around(cluster.name(stalled), |quality| quality.delay = Duration::from_secs(3600));
    tokio::time::sleep(Duration::from_secs(6)).await;
    cluster.links.around(cluster.name(stalled), |quality| (quality.delay, quality.cut) = (Duration::ZERO, true));
    cluster.links.around(cluster.name(stalled), |quality| quality.cut = false);
    tokio::time::sleep(Duration::from_secs(2)).await;
    ledger.stop.store(true, Ordering::SeqCst);
    while writers.join_next().await.is_some() {}
    cluster.check_equal().await;
    let refused = ledger.refused.lock().unwrap().clone();
    assert!(refused.is_empty(), "a request was given up: {refused:?}");
    let mut acknowledged = ledger.acknowledged.lock().unwrap().clone();
    acknowledged.sort_by_key(|(_, at)| *at);
    let gap = acknowledged.windows(2).map(|two| two[1].1 - two[0].1).max().unwrap();
    println!("{} writes acknowledged, longest time without one {gap:?}", acknowledged.len());
    let found = cluster.inbox(1, 7).await;
    let distinct: BTreeSet<_> = found.iter().copied().collect();
    assert_eq!(found.len(), distinct.len(), "a message is there twice");
    for (number, _) in &acknowledged {
        assert!(distinct.contains(number), "message {number} was acknowledged, and is lost");
    }
    // Who lost power may have had one more on its way.
    assert!(found.len() <= acknowledged.len() + 1, "{} of {}", found.len(), acknowledged.len());
    assert!(gap < Duration::from_secs(5), "{gap:?} without service");
}

/// Lets the logs of nodes wait for their disks.
fn stall(cluster: &Cluster, nodes: &[usize], stalled: bool) {
    for node in nodes {
        cluster.disks[*node].log.stalled.store(stalled, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_lost_is_given_again() {
    let cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    let leader = cluster.leader(1).await;
    let followers: Vec<_> = (0..3).filter(|node| *node != leader).collect();
    let asker = cluster.nodes[&followers[0]].groups.clone();
    let (from, to) = (cluster.name(followers[0]), cluster.name(leader));
    // The leader has the request, and cannot commit it yet.
    stall(&cluster, &followers, true);
    let asked = tokio::spawn(async move { run(&asker, execute(1, 10, vec![deliver(7, 10, &[])])).await });
    let is_proposed = |cluster: &Cluster| cluster.nodes[&leader].groups.status()[1].proposals_in_flight > 0;
    cluster.until("the request is proposed", is_proposed).await;
    cluster.links.between(from, to, |quality| quality.delay = Duration::from_secs(3600));
    stall(&cluster, &followers, false);
    cluster.until("it is applied", |cluster| !is_proposed(cluster)).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!asked.is_finished(), "the answer was not lost: this tests nothing");
    cluster.links.between(from, to, |quality| quality.delay = Duration::ZERO);
    asked.await.unwrap().unwrap();
    assert_eq!(cluster.inbox(1, 7).await, [10], "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_commit_is_waited_for_and_applied_once() {
    let cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    let leader = cluster.leader(1).await;
    let followers: Vec<_> = (0..3).filter(|node| *node != leader).collect();
    // Longer than a leader may be silent: it lives, and no majority can write.
    let stall = |stalled| stall(&cluster, &followers, stalled);
    stall(true);
    let started = Instant::now();
    let mut writers = JoinSet::new();
    for node in 0..3 {
        let groups = cluster.nodes[&node].groups.clone();
        let number = 10 + node as u64;
        writers.spawn(async move { run(&groups, execute(1, number, vec![deliver(7, number, &[])])).await });
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(writers.try_join_next().is_none(), "acknowledged without a majority");
    stall(false);
    while let Some(answer) = writers.join_next().await {
        answer.unwrap().unwrap();
    }
    println!("after {:?}", started.elapsed());
    let mut found = cluster.inbox(1, 7).await;
    found.sort_unstable();
    assert_eq!(found, [10, 11, 12]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_gets_content_from_the_node_that_took_it_in() {
    const SIZE: usize = 300_000;
    let cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    for node in 0..3 {
        let number = 10 + node as u64;
        put(cluster.blobs(node), number, SIZE);
        let groups = &cluster.nodes[&node].groups;
        run(groups, execute(1, number, vec![deliver(7, number, &[blob(number)])])).await.unwrap();
        let leader = cluster.leader(1).await;
        assert!(durable(&cluster, leader, number, SIZE), "blob {number} is not at the leader");
        let nowhere = run(groups, execute(1, 50 + number, vec![deliver(7, 50, &[blob(50)])])).await;
        assert_eq!(nowhere, Err(StoreError::NotFound), "node {node}");
    }
    assert_eq!(cluster.inbox(1, 7).await, [10, 11, 12]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_was_passed_on_is_not_passed_on_again() {
    let cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    let leader = cluster.leader(1).await;
    let mut follower =
        ReplicationClient::connect(format!("http://{}", cluster.address((leader + 1) % 3))).await.unwrap();
    let request = execute(1, 2, vec![deliver(7, 2, &[])]);
    let reply = follower.execute(forward_to_wire("stranger", &request)).await.unwrap().into_inner();
    let expected = StoreError::NotLeader { leader: Some(cluster.name(leader).to_owned()) };
    assert_eq!(outcome_from_wire(&reply).unwrap(), Err(expected));
    assert!(cluster.inbox(1, 7).await.is_empty());
}
