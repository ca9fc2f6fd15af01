//! Mail for groups that other nodes lead, and content that was put where no leader is.

use std::{sync::Arc, time::Duration};

use securanet_model::{
    Answer, Command, Freshness, GroupId, Query, ReplicaId, Reply, ReversePath,
    delivery::{FanOut, FanOutTarget, QueueAnswer, QueueCommand, QueueQuery, QueueReply},
};

use crate::{
    gate::{durable, put},
    nodes::Cluster,
    support::*,
};

/// Makes a node lead a group.
pub(crate) async fn lead(cluster: &Cluster, group: u32, node: usize) {
    let leader = cluster.leader(group).await;
    let to = ReplicaId::new(Cluster::replica(node));
    cluster.nodes[&leader].groups.transfer_leader(GroupId::new(group), to).await.unwrap();
    assert_eq!(cluster.leader(group).await, node);
}

fn fan_out(number: u64, targets: &[(u32, u64)]) -> Command {
    let targets =
        targets.iter().map(|&(group, id)| FanOutTarget { group: GroupId::new(group), to: vec![deliver_to(id)] });
    let message = message(number, &[blob(number)]);
    let item = FanOut { message, sender: ReversePath::Null, targets: targets.collect() };
    Command::Queue(QueueCommand::FanOut(item))
}

/// Waits until the queue of group 1 has nothing to deliver.
async fn worked_off(cluster: &Cluster) {
    let settled = async {
        loop {
            let leader = cluster.leader(1).await;
            let depth = Query::Queue(QueueQuery::Depth);
            match cluster.nodes[&leader].groups.query(GroupId::new(1), depth, Freshness::Now).await {
                Ok((Answer::Queue(QueueAnswer::Depth { pending: 0, .. }), _)) => return,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(crate::nodes::PATIENCE, settled).await.expect("the queue was worked off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_from_a_node_whose_clock_is_a_little_ahead_is_taken_at_once() {
    const AHEAD_MILLIS: u64 = 450;
    const LETTERS: u32 = 20;
    let cluster = Cluster::start(3, 3, |settings| {
        let ahead_millis = if settings.replica.get() == 1 { AHEAD_MILLIS } else { 0 };
        settings.clock = Arc::new(move || now().plus_millis(ahead_millis));
    });
    let cluster = cluster.await;
    cluster.write(2, 1, provision(12)).await;
    lead(&cluster, 1, 0).await;
    lead(&cluster, 2, 1).await;
    let begun = std::time::Instant::now();
    for n in 100..100 + u64::from(LETTERS) {
        put(cluster.blobs(0), n, 1000);
        cluster.write(1, n, fan_out(n, &[(2, 12)])).await;
        worked_off(&cluster).await;
    }
    // One that asks for too much is refused until the other clock has come that far.
    let refused = Duration::from_millis(AHEAD_MILLIS) * LETTERS;
    assert!(begun.elapsed() < refused / 2, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_for_groups_that_other_nodes_lead_is_in_each_of_them_once_also_when_the_queue_moves() {
    let mut cluster = Cluster::three().await;
    for (group, id) in [(1, 11), (2, 12)] {
        cluster.write(group, u64::from(group), provision(id)).await;
    }
    lead(&cluster, 1, 0).await;
    lead(&cluster, 2, 1).await;
    let mut numbers = Vec::new();
    for n in 100..130 {
        if n == 115 {
            // In mid delivery: the next leader of the queue goes on with what is pending.
            cluster.kill(0);
        }
        let leader = cluster.leader(1).await;
        put(cluster.blobs(leader), n, 30_000);
        let replies = cluster.write(1, n, fan_out(n, &[(1, 11), (2, 12)])).await;
        assert!(matches!(replies[0], Reply::Queue(QueueReply::Queued(_))), "{replies:?}");
        numbers.push(n);
    }
    worked_off(&cluster).await;
    for (group, id) in [(1, 11), (2, 12)] {
        let mut found = cluster.inbox(group, id).await;
        found.sort_unstable();
        assert_eq!(found, numbers, "group {group}");
    }
    cluster.restart(0).await;
    cluster.check_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_that_was_put_at_another_node_is_got_before_the_entry_is_proposed() {
    let cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    let leader = cluster.leader(1).await;
    put(cluster.blobs((leader + 1) % 3), 10, 200_000);
    run(&cluster.nodes[&leader].groups, execute(1, 10, vec![deliver(7, 10, &[blob(10)])])).await.unwrap();
    assert!(durable(&cluster, leader, 10, 200_000));
    let nowhere = run(&cluster.nodes[&leader].groups, execute(1, 11, vec![deliver(7, 11, &[blob(11)])])).await;
    assert_eq!(nowhere, Err(securanet_model::StoreError::NotFound));
}
