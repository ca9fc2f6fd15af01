//! Nodes in sites: content crosses each link between sites once, and is passed on inside them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use securanet_model::{GroupId, ReplicaId};

use crate::{
    fan_out::lead,
    gate::{durable, put},
    membership::until_done,
    nodes::{Cluster, PATIENCE},
    support::*,
};

const SIZE: usize = 1_000_000;
/// What heartbeats and entries may take beside content.
const BESIDE: u64 = 400_000;

/// What has crossed between sites since then, in octets.
fn crossed(cluster: &Cluster, before: &BTreeMap<(usize, usize), u64>) -> BTreeMap<(usize, usize), u64> {
    let since = |(pair, octets)| (pair, octets - before.get(&pair).copied().unwrap_or_default());
    let crossed = cluster.between_sites().into_iter().map(since).collect();
    println!("between sites: {crossed:?}");
    crossed
}

/// Puts a blob at a node and has it named there.
async fn send(cluster: &Cluster, node: usize, number: u64, size: usize) {
    put(cluster.blobs(node), number, size);
    run(&cluster.nodes[&node].groups, execute(1, number, vec![deliver(7, number, &[blob(number)])])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_crosses_each_link_between_sites_once_and_is_passed_on_inside_them() {
    const BLOBS: u64 = 8;
    let cluster = Cluster::in_sites(&[0, 0, 1, 1, 2], 5, |_| {}).await;
    cluster.write(1, 1, provision(7)).await;
    let leader = cluster.leader(1).await;
    let before = cluster.between_sites();
    for n in 10..10 + BLOBS {
        send(&cluster, leader, n, SIZE).await;
    }
    cluster.check_equal().await;
    let crossed = crossed(&cluster, &before);
    let copies = BLOBS * SIZE as u64;
    for n in 10..10 + BLOBS {
        assert!((0..5).all(|node| durable(&cluster, node, n, SIZE)), "blob {n}");
    }
    assert!(crossed.values().all(|&octets| octets < copies + BESIDE), "a link carried it more than once");
    assert!(crossed.values().sum::<u64>() < 2 * copies + 2 * BESIDE, "a site got it from both others");
    assert!(crossed.values().sum::<u64>() > 2 * copies, "it went past the links: this measures nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_that_a_site_has_does_not_cross_a_link_again() {
    let cluster = Cluster::in_sites(&[0, 1, 1], 3, |_| {}).await;
    cluster.write(1, 1, provision(7)).await;
    lead(&cluster, 1, 0).await;
    let before = cluster.between_sites();
    for n in 10..18 {
        put(cluster.blobs(1), n, SIZE);
        send(&cluster, 0, n, SIZE).await;
    }
    cluster.check_equal().await;
    let crossed = crossed(&cluster, &before)[&(0, 1)];
    assert!((10..18).all(|n| durable(&cluster, 2, n, SIZE)));
    assert!(crossed < BESIDE, "{crossed} octets for content that the site had");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_for_two_leaders_of_a_site_is_got_from_another_one_once() {
    const BLOBS: u64 = 6;
    let cluster = Cluster::in_sites(&[0, 0, 1], 3, |_| {}).await;
    for (group, id) in [(1, 11), (2, 12)] {
        cluster.write(group, u64::from(group), provision(id)).await;
    }
    lead(&cluster, 1, 0).await;
    lead(&cluster, 2, 1).await;
    let before = cluster.between_sites();
    let groups = &cluster.nodes[&2].groups;
    for n in 10..10 + BLOBS {
        put(cluster.blobs(2), n, SIZE);
        let (one, other) = tokio::join!(
            run(groups, execute(1, n, vec![deliver(11, n, &[blob(n)])])),
            run(groups, execute(2, 100 + n, vec![deliver(12, n, &[blob(n)])]))
        );
        assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
    }
    let crossed = crossed(&cluster, &before)[&(0, 1)];
    assert!((10..10 + BLOBS).all(|n| (0..2).all(|node| durable(&cluster, node, n, SIZE))));
    assert!(crossed < BLOBS * SIZE as u64 + BESIDE, "{crossed} octets: each of the leaders got it for itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_puller_of_a_site_dies_the_others_get_the_content_themselves() {
    const LARGE: usize = 6_000_000;
    let mut cluster = Cluster::in_sites(&[0, 0, 1, 1, 2], 5, |_| {}).await;
    cluster.write(1, 1, provision(7)).await;
    lead(&cluster, 1, 0).await;
    // From now on a majority needs one of site 1.
    cluster.kill(4);
    put(cluster.blobs(0), 10, LARGE);
    let pulled = |cluster: &Cluster, node: usize| {
        cluster.links.bytes()[&(cluster.name(node).to_owned(), cluster.name(0).to_owned())]
    };
    let slow = |cluster: &Cluster, most| {
        for node in [2, 3] {
            cluster.links.between(cluster.name(node), cluster.name(0), |quality| quality.bytes_per_second = most);
        }
    };
    slow(&cluster, Some(1_000_000));
    let before = [2, 3].map(|node| pulled(&cluster, node));
    let groups = cluster.nodes[&0].groups.clone();
    let mail = tokio::spawn(async move { run(&groups, execute(1, 10, vec![deliver(7, 10, &[blob(10)])])).await });
    let came = |cluster: &Cluster| [2, 3].map(|node| pulled(cluster, node) - before[node - 2]);
    cluster.until("somebody pulls", |cluster| came(cluster).iter().any(|&octets| octets > 3_500_000)).await;
    let came = came(&cluster);
    let (puller, other) = if came[0] > came[1] { (2, 3) } else { (3, 2) };
    println!("node {puller} pulls: {came:?}");
    assert!(came[other - 2] < BESIDE, "both pull: {came:?}");
    cluster.kill(puller);
    slow(&cluster, None);
    let committed = tokio::time::timeout(PATIENCE, mail).await.unwrap().unwrap();
    assert!(committed.is_ok(), "{committed:?}");
    cluster.until("it is passed over", |cluster| durable(cluster, other, 10, LARGE)).await;
    cluster.restart(puller).await;
    cluster.restart(4).await;
    cluster.check_equal().await;
    assert!((0..5).all(|node| durable(&cluster, node, 10, LARGE)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_near_node_that_is_silent_is_waited_for_once_and_then_asked_last() {
    let cluster = Cluster::in_sites(&[0, 1, 1], 3, |_| {}).await;
    cluster.write(1, 1, provision(7)).await;
    lead(&cluster, 1, 0).await;
    cluster.check_equal().await;
    cluster.links.between("node-1", "node-2", |quality| quality.delay = Duration::from_secs(60));
    let started = Instant::now();
    for n in 10..26 {
        send(&cluster, 0, n, 50_000).await;
        cluster.until("node 1 has it", |cluster| durable(cluster, 1, n, 50_000)).await;
    }
    let took = started.elapsed();
    println!("16 blobs beside a silent node: {took:?}");
    assert!(took > Duration::from_secs(1), "nobody was asked that is silent: this tests nothing");
    assert!(took < Duration::from_secs(10), "{took:?}: it is waited for again and again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_pull_for_each_other_do_not_wait_for_each_other() {
    const BLOBS: u64 = 100;
    let cluster = Cluster::in_sites(&[0, 1, 1], 3, |_| {}).await;
    cluster.write(1, 1, provision(7)).await;
    lead(&cluster, 1, 0).await;
    // So that all of them are at both gates before the first one comes.
    cluster.links.all(|quality| quality.delay = Duration::from_millis(20));
    let before = cluster.between_sites();
    for n in 10..10 + BLOBS {
        put(cluster.blobs(0), n, 60_000);
    }
    let mail = (10..10 + BLOBS).map(|n| deliver(7, n, &[blob(n)])).collect();
    run(&cluster.nodes[&0].groups, execute(1, 10, mail)).await.unwrap();
    cluster.check_equal().await;
    assert!((10..10 + BLOBS).all(|n| (1..3).all(|node| durable(&cluster, node, n, 60_000))));
    let crossed = crossed(&cluster, &before)[&(0, 1)];
    assert!(crossed < BLOBS * 60_000 + BESIDE, "{crossed} octets: more than once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_store_is_filled_from_its_own_site_and_a_new_site_once() {
    const BLOBS: u64 = 10;
    const GROUP: GroupId = GroupId::new(1);
    let cluster = Cluster::in_sites(&[0, 1, 1, 2, 2], 2, |settings| {
        settings.retention.bytes = 0;
        settings.retention.age = Duration::ZERO;
        // So that both of a new site are filled at the same time.
        settings.bulk_bytes_per_second = 4_000_000;
    })
    .await;
    cluster.write(1, 1, provision(7)).await;
    lead(&cluster, 1, 0).await;
    for n in 10..10 + BLOBS {
        send(&cluster, 0, n, SIZE).await;
    }
    for node in 0..2 {
        cluster.until("all is applied", |cluster| cluster.nodes[&node].groups.status()[1].applied > Some(10)).await;
        cluster.purge(node, 1).await;
    }
    let copies = BLOBS * SIZE as u64;
    for new in [&[2][..], &[3, 4]] {
        let before = cluster.between_sites();
        for &node in new {
            let id = ReplicaId::new(Cluster::replica(node));
            until_done(|| async { cluster.nodes[&0].groups.add_learner(GROUP, id, cluster.name(node)).await }).await;
        }
        let filled = |cluster: &Cluster| {
            let status = |node: &usize| cluster.nodes[node].groups.status()[1].clone();
            new.iter().map(status).all(|status| status.applied > Some(10) && !status.hollow)
        };
        cluster.until("they are filled", filled).await;
        assert!((10..10 + BLOBS).all(|n| new.iter().all(|&node| durable(&cluster, node, n, SIZE))), "{new:?}");
        let crossed = crossed(&cluster, &before).values().sum::<u64>();
        let wanted = if new.len() == 1 { 0 } else { copies };
        assert!((wanted..wanted + BESIDE).contains(&crossed), "{new:?}: {crossed} octets");
    }
}
