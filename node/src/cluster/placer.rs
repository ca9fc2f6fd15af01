//! Who is where: looks at the groups that this node leads, and does the next step of each that is not as it should be.
//!
//! What should be is decided in [`securanet_raft::placement`]; here is what it is decided from, and the doing.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use securanet_gateway::model::{
    GroupId, ReplicaId, StoreError,
    directory::{DirectoryAnswer, DirectoryQuery},
    nodes::{Node, NodeState, home_site},
};
use securanet_raft::{
    GroupStatus, Groups,
    placement::{self, GONE_AFTER, Heard, Member, Step, Store, StoreState, View},
};

use super::member::as_it_is;

/// How often all groups are looked at. Less than [`placement`]'s idea of silence.
const LOOK: Duration = Duration::from_secs(1);

/// Looks again and again, for as long as it is polled.
pub(crate) async fn place(groups: Groups) {
    let mut placer = Placer { groups, heard: BTreeMap::new(), refused: BTreeMap::new() };
    loop {
        tokio::time::sleep(LOOK).await;
        let Ok(DirectoryAnswer::Nodes(nodes)) = as_it_is(&placer.groups, DirectoryQuery::Nodes).await else { continue };
        placer.look(&nodes).await;
    }
}

struct Placer {
    groups: Groups,
    heard: BTreeMap<GroupId, Heard>,
    /// Why the last step of a group was not done: told once.
    refused: BTreeMap<GroupId, String>,
}

impl Placer {
    async fn look(&mut self, nodes: &[Node]) {
        let stores: Vec<Store> = nodes.iter().filter_map(store).collect();
        let active = stores.iter().filter(|store| store.state == StoreState::Active);
        let sites: Vec<String> = active.map(|store| store.site.clone()).collect();
        for status in self.groups.status() {
            let home = home_site(status.group, sites.iter().map(String::as_str)).map(str::to_owned);
            let heard = self.heard.entry(status.group).or_default();
            // Nobody is asked how it is before there is something to do: at first all are taken for whole.
            let whole = status.members.iter().map(|member| (ReplicaId::new(member.replica), Some(false))).collect();
            let Some(members) = heard.look(&status, &whole, Instant::now()) else { continue };
            let leader = ReplicaId::new(status.replica);
            let view = View { leader, members, stores: stores.clone(), home, gone_after: GONE_AFTER };
            if placement::plan(&view).is_some() {
                self.step(&status, view).await;
            }
        }
    }

    async fn step(&mut self, status: &GroupStatus, mut view: View) {
        let group = status.group;
        let Ok(hollow) = self.groups.member_states(group).await else { return };
        let lacks = |member: &Member| hollow.get(&member.replica).copied().flatten();
        view.members.iter_mut().for_each(|member| member.hollow = lacks(member));
        let Some(step) = placement::plan(&view) else { return };
        match self.take(group, &step).await {
            Ok(()) => {
                self.refused.remove(&group);
                tracing::info!(%group, ?step, "the members of a group have changed");
            }
            Err(error) => {
                let why = error.to_string();
                if self.refused.insert(group, why.clone()).as_ref() != Some(&why) {
                    tracing::warn!(%group, ?step, why, "the members of a group should change, and do not");
                }
            }
        }
    }

    async fn take(&self, group: GroupId, step: &Step) -> Result<(), StoreError> {
        match step {
            Step::AddLearner { replica, node } => self.groups.add_learner(group, *replica, node).await,
            Step::Promote(replica) => self.groups.promote(group, *replica).await,
            Step::Demote(replica) => self.groups.demote(group, *replica).await,
            Step::Remove(replica) => self.groups.remove_replica(group, *replica).await,
            Step::HandOver(replica) => self.groups.transfer_leader(group, *replica).await,
        }
    }
}

/// A node as a place for replicas.
fn store(node: &Node) -> Option<Store> {
    let state = match node.state {
        NodeState::Active => StoreState::Active,
        NodeState::Draining => StoreState::Draining,
        NodeState::Removed => StoreState::Removed,
    };
    let (name, site) = (node.facts.name.to_string(), node.facts.site.to_string());
    Some(Store { node: name, replica: node.replica?, site, state })
}
