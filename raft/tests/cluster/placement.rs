//! Placement's steps bring a real group where it belongs: it grows, replaces who is gone, and lets who drains go.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use securanet_model::{GroupId, ReplicaId, StoreError};
use securanet_raft::placement::{Heard, Step, Store, StoreState, View, plan};

use crate::{
    nodes::{Cluster, PATIENCE},
    support::*,
};

const GROUP: GroupId = GroupId::new(1);

/// What runs beside every leader: looks, and does the next step.
struct Placer {
    stores: Vec<Store>,
    gone_after: Duration,
    heard: HashMap<usize, Heard>,
    done: Vec<Step>,
}

impl Placer {
    fn new(cluster: &Cluster, sites: &[&str]) -> Self {
        let store = |(node, site): (usize, &&str)| Store {
            node: cluster.name(node).to_owned(),
            replica: ReplicaId::new(Cluster::replica(node)),
            site: (*site).to_owned(),
            state: StoreState::Active,
        };
        let stores = sites.iter().enumerate().map(store).collect();
        Self { stores, gone_after: Duration::from_secs(6), heard: HashMap::new(), done: Vec::new() }
    }

    /// One look at the node that leads; what was done, or is refused for now.
    async fn look(&mut self, cluster: &Cluster) -> Option<Result<Step, StoreError>> {
        let leader = cluster.leader(1).await;
        let groups = &cluster.nodes[&leader].groups;
        let status = groups.status().swap_remove(1);
        let hollow = groups.member_states(GROUP).await.ok()?;
        let members = self.heard.entry(leader).or_default().look(&status, &hollow, Instant::now())?;
        let view = View {
            leader: ReplicaId::new(status.replica),
            members,
            stores: self.stores.clone(),
            home: None,
            gone_after: self.gone_after,
        };
        let step = plan(&view)?;
        let done = match &step {
            Step::AddLearner { replica, node } => groups.add_learner(GROUP, *replica, node).await,
            Step::Promote(replica) => groups.promote(GROUP, *replica).await,
            Step::Demote(replica) => groups.demote(GROUP, *replica).await,
            Step::Remove(replica) => groups.remove_replica(GROUP, *replica).await,
            Step::HandOver(replica) => groups.transfer_leader(GROUP, *replica).await,
        };
        Some(done.map(|()| step))
    }

    /// Places until the group is so.
    async fn until(&mut self, cluster: &Cluster, voters: &[u64], learners: &[u64]) {
        let started = Instant::now();
        loop {
            match self.look(cluster).await {
                Some(Ok(step)) => {
                    println!("{:?} {step:?}", started.elapsed());
                    self.done.push(step);
                    continue;
                }
                Some(Err(error)) => println!("{:?} {error}", started.elapsed()),
                None => {}
            }
            let leader = cluster.leader(1).await;
            let members = cluster.nodes[&leader].groups.status().swap_remove(1).members;
            let those = |voter| members.iter().filter(|m| m.voter == voter).map(|m| m.replica).collect::<Vec<_>>();
            if (those(true), those(false)) == (voters.to_vec(), learners.to_vec()) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{:?} {members:?}", self.done);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_grows_from_its_founder_replaces_who_is_gone_and_relieves_who_drains() {
    let mut cluster = Cluster::start(4, 1, |_| {}).await;
    cluster.write(1, 1, provision(7)).await;
    let mut placer = Placer::new(&cluster, &["x", "y", "z", "z"]);
    placer.until(&cluster, &[1, 2, 3], &[4]).await;
    for n in 10..20 {
        cluster.write(1, n, deliver(7, n, &[])).await;
    }
    // What the leader knows of the others.
    let leader = cluster.leader(1).await;
    let groups = cluster.nodes[&leader].groups.clone();
    assert!(groups.is_leader(GROUP) && !cluster.nodes[&3].groups.is_leader(GROUP));
    let is_known = |silent_below: u64| {
        let status = groups.status().swap_remove(1);
        status.committed == status.last_log
            && status.members.len() == 4
            && status.members.iter().all(|member| {
                member.matched == status.last_log && member.silent_millis.is_some_and(|silent| silent < silent_below)
            })
    };
    cluster.until("all are near and heard", |_| is_known(1000)).await;
    let elsewhere = cluster.nodes[&3].groups.status().swap_remove(1).members;
    assert!(elsewhere.iter().all(|member| member.matched.is_none() && member.silent_millis.is_none()));
    assert_eq!(elsewhere.iter().filter(|member| member.leader).count(), 1);
    let refused = cluster.nodes[&3].groups.member_states(GROUP).await;
    assert_eq!(refused, Err(StoreError::NotLeader { leader: Some(cluster.name(leader).to_owned()) }));
    // One of site z is lost: the other one there takes its vote. The leader stays out of it.
    cluster.kill(2);
    let silent = |cluster: &Cluster| {
        let leader = cluster.nodes.values().find(|node| node.groups.is_leader(GROUP));
        leader.is_some_and(|leader| leader.groups.status()[1].members[2].silent_millis > Some(2000))
    };
    cluster.until("its silence is seen", silent).await;
    placer.until(&cluster, &[1, 2, 4], &[3]).await;
    let leader = cluster.leader(1).await;
    let hollow = cluster.nodes[&leader].groups.member_states(GROUP).await.unwrap();
    assert_eq!(hollow[&ReplicaId::new(3)], None, "nobody can ask it");
    assert_eq!(hollow[&ReplicaId::new(4)], Some(false));
    // It comes back without its disk: as somebody else.
    placer.stores[2].replica = ReplicaId::new(13);
    placer.done.clear();
    placer.until(&cluster, &[1, 2, 4], &[13]).await;
    // The leader drains.
    let leaving = cluster.leader(1).await;
    placer.stores[2].state = StoreState::Removed;
    placer.stores[leaving].state = StoreState::Draining;
    let stay: Vec<_> = [1, 2, 4].into_iter().filter(|replica| *replica != Cluster::replica(leaving)).collect();
    placer.until(&cluster, &stay, &[Cluster::replica(leaving)]).await;
    assert_ne!(cluster.leader(1).await, leaving);
    assert_eq!(cluster.inbox(1, 7).await, (10..20).collect::<Vec<_>>());
}
