//! A copy of a blob that is damaged is not taken: another holder is asked.

use securanet_blob::Verified;
use securanet_kv::{Direction, Durability, KeyRange, KeyValue, Read, WriteBatch};
use securanet_model::{ReplicaId, StoreError};

use crate::{
    gate::{durable, put},
    membership::until_done,
    nodes::Cluster,
    support::*,
};

const SIZE: usize = 2_500_000;
const GROUP: securanet_model::GroupId = securanet_model::GroupId::new(1);

/// Changes one octet in the last chunk of each blob of a node.
fn damage(cluster: &Cluster, node: usize) {
    let disk = &cluster.disks[node].blob;
    // Rows of content begin with 2.
    let chunks = disk.scan(&KeyRange::prefix([2]), Direction::Forward, usize::MAX).unwrap();
    let (key, mut row) = chunks.into_iter().next_back().unwrap();
    *row.last_mut().unwrap() ^= 1;
    let mut batch = WriteBatch::new();
    batch.put(key, row);
    disk.write(batch, Durability::Synced).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_copy_at_the_leader_is_passed_over_by_the_gate() {
    let mut cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    let leader = cluster.leader(1).await;
    let (near, away) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.kill(away);
    put(cluster.blobs(leader), 10, SIZE);
    run(&cluster.nodes[&leader].groups, execute(1, 10, vec![deliver(7, 10, &[blob(10)])])).await.unwrap();
    assert!(durable(&cluster, near, 10, SIZE) && !durable(&cluster, away, 10, SIZE));
    damage(&cluster, leader);
    let verified = cluster.blobs(leader).verify(blob(10), &|_| None).unwrap();
    assert!(matches!(verified, Verified::Damaged { .. }), "{verified:?}");
    cluster.restart(away).await;
    cluster.check_equal().await;
    assert!(durable(&cluster, away, 10, SIZE), "it has the entry and not its content");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_copy_where_a_request_was_taken_in_is_passed_over_by_the_leader() {
    let cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    let leader = cluster.leader(1).await;
    let (taker, other) = ((leader + 1) % 3, (leader + 2) % 3);
    put(cluster.blobs(taker), 10, SIZE);
    damage(&cluster, taker);
    // Nobody has a whole one: worth another try, for it may be repaired or somebody come back.
    let groups = &cluster.nodes[&taker].groups;
    let mut request = execute(1, 10, vec![deliver(7, 10, &[blob(10)])]);
    request.deadline = now().plus_millis(2000);
    let refused = run(groups, request).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unavailable(why) if why.contains("damaged")), "{refused}");
    assert!(!durable(&cluster, leader, 10, SIZE), "a damaged copy was taken");
    put(cluster.blobs(other), 10, SIZE);
    run(groups, execute(1, 11, vec![deliver(7, 11, &[blob(10)])])).await.unwrap();
    assert!(durable(&cluster, leader, 10, SIZE) && durable(&cluster, other, 10, SIZE));
    assert_eq!(cluster.inbox(1, 7).await, [11]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hollow_replica_is_filled_from_whoever_has_whole_copies() {
    let cluster = Cluster::start(4, 3, |settings| {
        settings.retention.bytes = 0;
        settings.retention.age = std::time::Duration::ZERO;
    })
    .await;
    cluster.write(1, 1, provision(7)).await;
    let leader = cluster.leader(1).await;
    put(cluster.blobs(leader), 10, SIZE);
    cluster.write(1, 10, deliver(7, 10, &[blob(10)])).await;
    cluster.check_equal_but(3).await;
    damage(&cluster, leader);
    for node in 0..3 {
        cluster.purge(node, 1).await;
    }
    let new = ReplicaId::new(Cluster::replica(3));
    until_done(|| async { cluster.nodes[&leader].groups.add_learner(GROUP, new, "node-3").await }).await;
    cluster
        .until("it is filled", |cluster| {
            let status = &cluster.nodes[&3].groups.status()[1];
            status.applied > Some(2) && !status.hollow
        })
        .await;
    assert!(durable(&cluster, 3, 10, SIZE));
}
