//! A majority is lost for good, and what one replica has becomes the group.

use std::{collections::BTreeSet, time::Duration};

use securanet_model::{
    Answer, Command, Freshness, GroupId, Query, ReplicaId, StoreError, UidValidity,
    account::{AccountAnswer, AccountQuery},
    request::Recover,
};
use securanet_raft::recover::{Consent, Holding, recover, survey};

use crate::{
    membership::until_done,
    nodes::{Cluster, SHARDS},
    support::*,
};

fn groups() -> impl Iterator<Item = GroupId> {
    (0..=SHARDS).map(GroupId::new)
}

/// Recovers all groups on a node that does not run; the others are given up.
fn recover_on(cluster: &Cluster, node: usize) -> Vec<Holding> {
    let stores = cluster.disks[node].stores();
    let held = survey(&stores, groups()).unwrap();
    let lost = |holding: &Holding| -> BTreeSet<String> {
        let others = holding.members.iter().filter(|(_, name, _)| name != cluster.name(node));
        others.map(|(_, name, _)| name.clone()).collect()
    };
    let consent = |holding: &Holding| Consent { group: holding.group, lost: lost(holding), give_up_blobs: false };
    let consents: Vec<Consent> = held.iter().map(consent).collect();
    recover(&stores, &consents, SHARDS, now()).unwrap();
    held
}

async fn uid_validities(cluster: &Cluster, node: usize, group: u32, id: u64) -> Vec<UidValidity> {
    let query = Query::Account(account(id), AccountQuery::Mailboxes);
    match cluster.nodes[&node].groups.query(GroupId::new(group), query, Freshness::Now).await.unwrap().0 {
        Answer::Account(AccountAnswer::Mailboxes(mailboxes)) => {
            mailboxes.into_iter().map(|mailbox| mailbox.uid_validity).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_goes_on_and_others_come_in() {
    let mut cluster = Cluster::start(4, 3, |_| {}).await;
    for group in 1..=SHARDS {
        cluster.write(group, u64::from(group), provision(7)).await;
    }
    let mut numbers: Vec<u64> = (10..30).collect();
    for n in &numbers {
        cluster.write(1, *n, deliver(7, *n, &[])).await;
    }
    let last = |cluster: &Cluster, node: usize| cluster.nodes[&node].groups.status()[1].last_log;
    cluster
        .until("all have it", |cluster| last(cluster, 0) == last(cluster, 2) && last(cluster, 1) == last(cluster, 2))
        .await;
    let before = uid_validities(&cluster, 0, 1, 7).await;
    (0..3).for_each(|node| cluster.kill(node));
    let held = recover_on(&cluster, 2);
    assert_eq!(held[1].voters().len(), 3);
    assert!(held[1].last.unwrap().index > 20 && held[1].last_heard.is_some(), "{held:?}");
    cluster.open(2).await;
    cluster.links.around(cluster.name(2), |quality| quality.cut = false);
    cluster.ready(2).await;
    assert_eq!(cluster.leader(1).await, 2);
    assert_eq!(cluster.inbox(1, 7).await, numbers);
    let after = uid_validities(&cluster, 2, 1, 7).await;
    assert!(after.iter().all(|new| before.iter().all(|old| new > old)), "{before:?} {after:?}");
    cluster.write(1, 50, deliver(7, 50, &[])).await;
    numbers.push(50);
    // It is done once: what is recovered has a majority of its own.
    let status = &cluster.nodes[&2].groups.status()[1];
    assert_eq!(status.voters, BTreeSet::from([Cluster::replica(2)]));

    let (new, leader) = (ReplicaId::new(Cluster::replica(3)), cluster.nodes[&2].groups.clone());
    for group in groups() {
        until_done(|| leader.add_learner(group, new, "node-3")).await;
        until_done(|| leader.promote(group, new)).await;
    }
    cluster.write(1, 51, deliver(7, 51, &[])).await;
    numbers.push(51);
    assert_eq!(cluster.inbox(1, 7).await, numbers);
    cluster.check_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_given_up_returns_with_a_longer_log_and_changes_nothing() {
    let mut cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    cluster.write(1, 10, deliver(7, 10, &[])).await;
    let last = |cluster: &Cluster, node: usize| cluster.nodes[&node].groups.status()[1].last_log;
    cluster
        .until("it has that", |cluster| last(cluster, 0) == last(cluster, 2) && last(cluster, 1) == last(cluster, 2))
        .await;
    // What the others acknowledge without it is what will be lost.
    cluster.links.around(cluster.name(2), |quality| quality.cut = true);
    for n in 20..40 {
        cluster.write(1, n, deliver(7, n, &[])).await;
    }
    (0..3).for_each(|node| cluster.kill(node));
    recover_on(&cluster, 2);
    cluster.open(2).await;
    cluster.links.around(cluster.name(2), |quality| quality.cut = false);
    cluster.ready(2).await;
    assert_eq!(cluster.inbox(1, 7).await, [10]);
    let term = |cluster: &Cluster| cluster.nodes[&2].groups.status()[1].term;
    let recovered = term(&cluster);

    cluster.open(0).await;
    cluster.links.around(cluster.name(0), |quality| quality.cut = false);
    // Long enough for some elections.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let status = cluster.nodes[&2].groups.status();
    assert!(status.iter().all(|group| group.is_leader && group.voters == BTreeSet::from([3])), "{status:?}");
    assert_eq!(term(&cluster), recovered, "its votes are not even heard");
    assert!(cluster.nodes[&0].groups.status().iter().all(|group| !group.is_leader));
    cluster.write(1, 50, deliver(7, 50, &[])).await;
    assert_eq!(inbox_numbers(&cluster.nodes[&2].groups, 1, 7).await, [10, 50]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_recovers_a_running_group_by_a_request() {
    let cluster = Cluster::three().await;
    let command = Command::Recover(Recover::Queues { shards: SHARDS });
    let leader = cluster.leader(1).await;
    let refused = run(&cluster.nodes[&leader].groups, execute(1, 1, vec![command])).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Internal(why) if why.contains("group recover")), "{refused}");
}
