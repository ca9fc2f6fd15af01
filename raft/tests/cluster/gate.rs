//! Content is on the disk of a majority before the entry that names it is acknowledged.

use std::{sync::Arc, time::Duration};

use securanet_blob::{BlobStore, Lease};
use securanet_model::{BlobId, ReplicaId, StoreError};

use crate::{
    nodes::{Cluster, PATIENCE},
    support::*,
};

/// Octets that do not compress, so that links carry them.
fn content(number: u64, size_bytes: usize) -> Vec<u8> {
    let mut random = Random::new(number + 1);
    std::iter::repeat_with(|| random.next().to_le_bytes()[3]).take(size_bytes).collect()
}

pub(crate) fn put(store: &BlobStore, number: u64, size_bytes: usize) -> BlobId {
    let content = content(number, size_bytes);
    let lease = Lease { now: now(), until: now().plus_millis(60_000) };
    store.put(blob(number), &mut content.as_slice(), size_bytes as u64, lease).unwrap();
    store.sync().unwrap();
    blob(number)
}

/// What a power cut would leave of a blob on a node.
pub(crate) fn durable(cluster: &Cluster, node: usize, number: u64, size_bytes: usize) -> bool {
    let left = Arc::new(cluster.disks[node].peek().stores().blobs);
    match left.open(blob(number)) {
        Ok(mut open) => {
            let mut read = Vec::new();
            while (read.len() as u64) < open.size_bytes() {
                let at = read.len() as u64;
                read.extend(open.read(at..open.size_bytes().min(at + 1_000_000)).unwrap());
            }
            read == content(number, size_bytes)
        }
        Err(_) => false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blobs_are_durable_on_a_majority_when_the_entry_that_names_them_is_acknowledged() {
    const SIZE: usize = 3_000_000;
    let cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    let leader = cluster.leader(1).await;
    for n in 10..15 {
        put(cluster.blobs(leader), n, SIZE);
        run(&cluster.nodes[&leader].groups, execute(1, n, vec![deliver(7, n, &[blob(n)])])).await.unwrap();
        let holders = (0..3).filter(|&node| durable(&cluster, node, n, SIZE)).count();
        assert!(holders >= 2, "blob {n} is durable on {holders} of three nodes");
    }
    cluster.check_equal().await;
    for n in 10..15 {
        assert!(
            (0..3).all(|node| durable(&cluster, node, n, SIZE)),
            "blob {n} is missing on a replica that has its entry"
        );
    }
    // Known content crosses no link again.
    let before: u64 = cluster.links.bytes().values().sum();
    run(&cluster.nodes[&leader].groups, execute(1, 99, vec![deliver(7, 99, &[blob(10), blob(11)])])).await.unwrap();
    cluster.check_equal().await;
    let crossed: u64 = cluster.links.bytes().values().sum::<u64>() - before;
    assert!(crossed < 100_000, "{crossed} octets for content that everybody had");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_large_blob_stays_a_follower_and_holds_up_no_other_group() {
    let cluster = Cluster::three().await;
    for group in 1..=2 {
        cluster.write(group, u64::from(group), provision(7)).await;
    }
    let leader = cluster.leader(1).await;
    // Both ends of group 2 on the same nodes: it shares every connection.
    let other = cluster.leader(2).await;
    if other != leader {
        let to = ReplicaId::new(Cluster::replica(leader));
        cluster.nodes[&other].groups.transfer_leader(securanet_model::GroupId::new(2), to).await.unwrap();
    }
    let terms: Vec<_> = cluster.status().iter().flatten().map(|group| group.term).collect();
    put(cluster.blobs(leader), 10, 20_000_000);
    cluster.links.all(|quality| quality.delay = Duration::from_millis(20));
    // A node that gives nothing for a while: the blobs' connections carry at most this much.
    cluster.links.all(|quality| quality.bytes_per_second = Some(8_000_000));
    let groups = cluster.nodes[&leader].groups.clone();
    let large = tokio::spawn(async move {
        run(&groups, execute(1, 10, vec![deliver(7, 10, &[blob(10)])])).await.unwrap();
        std::time::Instant::now()
    });
    let mut small = Vec::new();
    for n in 100..110 {
        let started = std::time::Instant::now();
        cluster.write(2, n, deliver(7, n, &[])).await;
        small.push(started.elapsed());
    }
    let ended = std::time::Instant::now();
    small.sort();
    println!("small mail beside a large one: median {:?}, worst {:?}", small[5], small[9]);
    let large = tokio::time::timeout(PATIENCE, large).await.unwrap().unwrap();
    assert!(large > ended, "the large one was there first: this tests nothing");
    assert!(small[5] < Duration::from_millis(300), "{small:?}");
    let after: Vec<_> = cluster.status().iter().flatten().map(|group| group.term).collect();
    assert_eq!(terms, after, "somebody campaigned meanwhile");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_came_by_a_snapshot_is_hollow_until_it_has_all_blobs() {
    let mut cluster = Cluster::start(4, 3, |settings| {
        settings.retention.bytes = 0;
        settings.retention.age = Duration::ZERO;
        // So that filling takes a while.
        settings.bulk_bytes_per_second = 1_000_000;
    })
    .await;
    cluster.write(1, 1, provision(7)).await;
    let leader = cluster.leader(1).await;
    for n in 10..20 {
        put(cluster.blobs(leader), n, 500_000);
        cluster.write(1, n, deliver(7, n, &[blob(n)])).await;
    }
    for node in 0..3 {
        cluster.purge(node, 1).await;
    }
    let (id, new) = (securanet_model::GroupId::new(1), ReplicaId::new(Cluster::replica(3)));
    let leader = &cluster.nodes[&cluster.leader(1).await].groups;
    leader.add_learner(id, new, "node-3").await.unwrap();
    let status = |cluster: &Cluster| cluster.nodes[&3].groups.status()[1].clone();
    cluster.until("the snapshot arrived", |cluster| status(cluster).applied.is_some_and(|index| index > 10)).await;
    assert!(status(&cluster).hollow, "it cannot have 5 MB after a moment: {:?}", status(&cluster));
    loop {
        let refused = leader.promote(id, new).await.expect_err("it has not all blobs").to_string();
        if refused.contains("still lacks blobs") {
            break;
        }
        assert!(refused.contains("still catches up"), "{refused}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // It stays hollow over a restart.
    cluster.kill(3);
    cluster.open(3).await;
    assert!(status(&cluster).hollow, "a restart does not fill it");
    let groups = cluster.nodes[&3].groups.clone();
    let absent = (10..20).rev().map(blob).find(|blob| !cluster.blobs(3).contains(*blob).unwrap()).unwrap();
    let unreachable = groups.fetch(id, &[absent]).await;
    assert!(matches!(unreachable, Err(StoreError::Unavailable(_))), "{unreachable:?}");
    cluster.links.all(|quality| quality.cut = false);
    // Who reads waits for what is read, and not for all the rest.
    let wanted = [absent];
    crate::membership::until_done(|| groups.fetch(id, &wanted)).await;
    assert!(cluster.blobs(3).contains(absent).unwrap() && status(&cluster).hollow, "{:?}", status(&cluster));
    let nowhere = groups.fetch(id, &[blob(77)]).await;
    assert!(matches!(nowhere, Err(StoreError::Damaged(_))), "{nowhere:?}");
    cluster.until("the replica was filled", |cluster| !status(cluster).hollow).await;
    for n in 10..20 {
        assert!(durable(&cluster, 3, n, 500_000), "blob {n}");
    }
    let leader = &cluster.nodes[&cluster.leader(1).await].groups;
    crate::membership::until_done(|| leader.promote(id, new)).await;
}
