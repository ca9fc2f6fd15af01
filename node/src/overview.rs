//! The cluster as an operator thinks of it: its nodes, what they do, and what may be lost.
//!
//! Whether a node answers is known to leaders only, so a node says it of those that it leads a group with.

use std::collections::{BTreeMap, BTreeSet};

use securanet_admin::{ClusterNode, Survives};
use securanet_gateway::model::nodes::{Node, NodeState};
use securanet_raft::GroupStatus;

use crate::survival::{Survival, Voters, survival};

/// A node that has not answered for so long does not count.
const SILENT_MILLIS: u64 = 5_000;

/// The nodes and what the cluster survives.
pub(crate) struct Overview {
    pub(crate) nodes: Vec<ClusterNode>,
    pub(crate) survives: Survives,
}

impl Overview {
    /// From what this node knows of its groups, and the directory's nodes.
    pub(crate) fn of(statuses: &[GroupStatus], nodes: &[Node]) -> Self {
        let answers = answers(statuses);
        let sites = nodes.iter().map(|node| (node.facts.name.to_string(), node.facts.site.to_string())).collect();
        let voters: Vec<Voters> = statuses.iter().map(|status| voters(status, &answers)).collect();
        Self {
            nodes: nodes.iter().map(|node| line(node, statuses, &answers)).collect(),
            survives: survives(survival(&voters, &sites)),
        }
    }

    /// What an operator must hear of first.
    pub(crate) fn problems(&self) -> Vec<String> {
        let silent = self.nodes.iter().filter(|node| node.answers == Some(false) && node.state != "removed");
        let silent = silent.map(|node| format!("node {} at site {} does not answer", node.name, node.site));
        let draining = self.nodes.iter().filter(|node| node.state == "draining" && node.votes > 0);
        let draining =
            draining.map(|node| format!("node {} drains, and still votes in {} groups", node.name, node.votes));
        silent.chain(draining).collect()
    }
}

/// Which nodes answer a leader here, and which do not.
fn answers(statuses: &[GroupStatus]) -> BTreeMap<String, bool> {
    let mut answers = BTreeMap::new();
    for status in statuses.iter().filter(|status| status.is_leader) {
        for member in &status.members {
            let heard = member.replica == status.replica || member.silent_millis.is_some_and(|ms| ms < SILENT_MILLIS);
            answers.entry(member.node.clone()).and_modify(|known| *known |= heard).or_insert(heard);
        }
    }
    answers
}

/// Who votes in a group, and who of them counts: nobody where the group has no leader.
fn voters(status: &GroupStatus, answers: &BTreeMap<String, bool>) -> Voters {
    let nodes: BTreeSet<String> =
        status.members.iter().filter(|member| member.voter).map(|member| member.node.clone()).collect();
    let own = status.members.iter().find(|member| member.replica == status.replica).map(|member| &member.node);
    let counts = |node: &&String| {
        let lacks = status.hollow && Some(*node) == own;
        status.leader.is_some() && !lacks && answers.get(*node).copied().unwrap_or(true)
    };
    let whole = nodes.iter().filter(counts).cloned().collect();
    Voters { group: status.group.get(), nodes, whole }
}

fn line(node: &Node, statuses: &[GroupStatus], answers: &BTreeMap<String, bool>) -> ClusterNode {
    let name = node.facts.name.to_string();
    let member_of = |leading: bool| {
        let name = &name;
        statuses.iter().filter(move |status| {
            status
                .members
                .iter()
                .any(|member| member.node == *name && if leading { member.leader } else { member.voter })
        })
    };
    let roles = match (node.facts.store, node.facts.gateway) {
        (true, true) => "store and gateway",
        (true, false) => "store",
        _ => "gateway",
    };
    let state = match node.state {
        NodeState::Active => "active",
        NodeState::Draining => "draining",
        NodeState::Removed => "removed",
    };
    ClusterNode {
        site: node.facts.site.to_string(),
        roles: roles.to_owned(),
        state: state.to_owned(),
        answers: answers.get(&name).copied(),
        leads: member_of(true).map(|status| status.group.get()).collect(),
        votes: member_of(false).count() as u64,
        name,
    }
}

fn survives(found: Survival) -> Survives {
    let any = (found.nodes.is_empty(), found.sites.is_empty());
    let told = |what: &str, lost: BTreeMap<String, Vec<u32>>| {
        let what = what.to_owned();
        lost.into_iter().map(move |(name, groups)| {
            let groups: Vec<String> = groups.iter().map(u32::to_string).collect();
            format!("{what} {name}: groups {} would stop", groups.join(", "))
        })
    };
    let not = told("node", found.nodes).chain(told("site", found.sites)).collect();
    Survives { any_node: any.0, any_site: any.1, not }
}
