//! A leader whose clock is wrong stamps nothing, and the right ones go on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use securanet_model::{GroupId, ReplicaId, StoreError, UnixMillis};

use crate::{
    membership::until_done,
    nodes::{Cluster, Node},
    support::*,
};

const GROUP: GroupId = GroupId::new(1);
const TEN_MINUTES_MILLIS: u64 = 600_000;

/// How far the clock of each node is ahead.
type Set = Arc<[AtomicU64; 3]>;

/// Three nodes; the clock of the first one is so far ahead.
async fn three(first_ahead_millis: u64) -> (Cluster, Set) {
    let set = Set::default();
    set[0].store(first_ahead_millis, Ordering::SeqCst);
    let clocks = set.clone();
    let cluster = Cluster::start(3, 3, move |settings| {
        let (clocks, node) = (clocks.clone(), settings.replica.get() as usize - 1);
        settings.clock = Arc::new(move || UnixMillis::new(now().get() + clocks[node].load(Ordering::SeqCst)));
    });
    (cluster.await, set)
}

/// How far a node's clock is from the others', as it finds where it leads.
fn own_off(node: &Node) -> Option<i64> {
    let status = node.groups.status().swap_remove(1);
    status.members.iter().find(|member| member.replica == status.replica)?.clock_off_millis
}

/// How far the group's clock is ahead of what is right.
fn ahead_of_right(cluster: &Cluster, set: &Set) -> u64 {
    let nodes = cluster.nodes.iter().map(|(&node, running)| {
        running.groups.status()[1].clock_ahead_millis.saturating_add(set[node].load(Ordering::SeqCst))
    });
    nodes.min().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_clock_jumps_stamps_nothing_from_then_on_and_another_one_goes_on() {
    let (cluster, set) = three(0).await;
    cluster.write(1, 1, provision(7)).await;
    let wrong = cluster.leader(1).await;
    let groups = cluster.nodes[&wrong].groups.clone();
    cluster.until("the clocks have been compared", |cluster| own_off(&cluster.nodes[&wrong]).is_some()).await;
    set[wrong].store(TEN_MINUTES_MILLIS, Ordering::SeqCst);
    let deadline = UnixMillis::new(now().get() + TEN_MINUTES_MILLIS + 20_000);
    let request = securanet_model::Execute { deadline, ..execute(1, 2, vec![deliver(7, 2, &[])]) };
    let tried = tokio::time::timeout(Duration::from_secs(1), run(&groups, request.clone())).await;
    assert!(tried.is_err() || tried.as_ref().is_ok_and(Result::is_err), "{tried:?}");
    cluster.until("it finds that", |cluster| own_off(&cluster.nodes[&wrong]) > Some(590_000)).await;
    assert!(ahead_of_right(&cluster, &set) < 500, "{:?}", cluster.status());
    // Whoever places it does this.
    let right = (wrong + 1) % 3;
    until_done(|| groups.transfer_leader(GROUP, ReplicaId::new(Cluster::replica(right)))).await;
    cluster.write(1, 3, deliver(7, 3, &[])).await;
    assert!(ahead_of_right(&cluster, &set) < 500, "{:?}", cluster.status());
    // It gets nothing back until its clock is right.
    let leader = cluster.nodes[&right].groups.clone();
    let sees = |off: std::ops::Range<i64>| {
        let status = leader.status().swap_remove(1);
        status.members[wrong].clock_off_millis.is_some_and(|seen| off.contains(&seen))
    };
    cluster.until("the leader sees it", |_| sees(590_000..600_001)).await;
    let refused = leader.transfer_leader(GROUP, ReplicaId::new(Cluster::replica(wrong))).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
    assert!(refused.to_string().contains("s ahead of the others': set it"), "{refused}");
    set[wrong].store(0, Ordering::SeqCst);
    cluster.until("the leader sees that it is right", |_| sees(-100..101)).await;
    until_done(|| leader.transfer_leader(GROUP, ReplicaId::new(Cluster::replica(wrong)))).await;
    cluster.write(1, 4, deliver(7, 4, &[])).await;
    let inbox = cluster.inbox(1, 7).await;
    assert_eq!(inbox.iter().filter(|number| **number != 2).copied().collect::<Vec<_>>(), [3, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_whose_deadline_passes_because_the_clock_is_set_is_not_tried_on() {
    let (mut cluster, set) = three(0).await;
    cluster.write(1, 1, provision(7)).await;
    let leader = cluster.leader(1).await;
    let left = (leader + 1) % 3;
    cluster.kill(leader);
    cluster.kill((leader + 2) % 3);
    let groups = cluster.nodes[&left].groups.clone();
    let deadline = UnixMillis::new(now().get() + 29_000);
    let request = securanet_model::Execute { deadline, ..execute(1, 2, vec![deliver(7, 2, &[])]) };
    let tried = tokio::spawn(async move { run(&groups, request).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!tried.is_finished());
    set[left].store(TEN_MINUTES_MILLIS, Ordering::SeqCst);
    let refused = tokio::time::timeout(Duration::from_secs(15), tried).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_elected_with_a_wrong_clock_hears_the_others_before_it_stamps() {
    // The first voter begins the groups, and is elected first.
    let (cluster, set) = three(TEN_MINUTES_MILLIS).await;
    let deadline = UnixMillis::new(now().get() + TEN_MINUTES_MILLIS + 20_000);
    let request = securanet_model::Execute { deadline, ..execute(1, 1, vec![provision(7)]) };
    let groups = cluster.nodes[&0].groups.clone();
    assert_eq!(cluster.leader(1).await, 0);
    let tried = tokio::time::timeout(Duration::from_secs(1), run(&groups, request.clone())).await;
    assert!(tried.is_err() || tried.as_ref().is_ok_and(Result::is_err), "{tried:?}");
    assert!(own_off(&cluster.nodes[&0]) > Some(590_000), "{:?}", cluster.status());
    until_done(|| groups.transfer_leader(GROUP, ReplicaId::new(Cluster::replica(1)))).await;
    cluster.write(1, 2, provision(8)).await;
    assert!(ahead_of_right(&cluster, &set) < 500, "{:?}", cluster.status());
    cluster.check_equal().await;
}
