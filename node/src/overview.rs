//! The cluster as an operator thinks of it: its nodes, what they do, and what may be lost.
//!
//! Whether a node answers is known to leaders only, so a node says it of those that it leads a group with.

use std::collections::{BTreeMap, BTreeSet};

use securanet_admin::{ClusterNode, Survives};
use securanet_gateway::model::nodes::{Node, NodeState};
use securanet_raft::GroupStatus;

use crate::survival::{Survival, Voters, survival};

/// A node that has not answered for so long does not count.
const SILENT_MILLIS: u64 = 3_000;

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
            // Whoever has just begun to lead has waited for nobody yet: one leader that hears nothing is enough.
            answers.entry(member.node.clone()).and_modify(|known| *known &= heard).or_insert(heard);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use securanet_gateway::model::{GroupId, ReplicaId, UnixMillis, nodes::NodeFacts};
    use securanet_raft::MemberStatus;

    use super::*;

    const NAMES: [&str; 3] = ["a", "b", "c"];

    /// A group of three as `a` sees it; it leads, and has not heard the others for so long.
    fn group(id: u32, silent_millis: [u64; 3]) -> GroupStatus {
        let member = |(at, silent): (usize, &u64)| MemberStatus {
            replica: at as u64 + 1,
            node: NAMES[at].to_owned(),
            voter: true,
            leader: at == 0,
            matched: Some(10),
            silent_millis: Some(*silent),
        };
        GroupStatus {
            group: GroupId::new(id),
            replica: 1,
            leader: Some(1),
            is_leader: true,
            term: 1,
            voters: BTreeSet::from([1, 2, 3]),
            members: silent_millis.iter().enumerate().map(member).collect(),
            replayed: true,
            last_log: Some(10),
            committed: Some(10),
            applied: Some(10),
            flushed: None,
            purged: None,
            log_bytes: 0,
            waiting_requests: 0,
            proposals_in_flight: 0,
            clock_ahead_millis: 0,
            hollow: false,
            stopped: None,
        }
    }

    fn nodes() -> Vec<Node> {
        let node = |name: &&str| {
            let facts = NodeFacts {
                name: name.parse().expect("a name"),
                site: name.parse().expect("a name"),
                store: true,
                gateway: true,
                address: None,
            };
            Node { facts, state: NodeState::Active, replica: Some(ReplicaId::new(1)), joined: UnixMillis::new(0) }
        };
        NAMES.iter().map(node).collect()
    }

    #[test]
    fn a_node_that_one_leader_does_not_hear_is_told_first_and_counts_no_more() {
        let well = Overview::of(&[group(1, [0, 100, 100]), group(2, [0, 100, 100])], &nodes());
        assert_eq!((well.problems(), well.survives.any_node, well.survives.any_site), (vec![], true, true));
        assert_eq!((well.nodes[0].leads.as_slice(), well.nodes[1].votes), (&[1, 2][..], 2));
        // The second group is led anew, and has waited for nobody yet.
        let lost = Overview::of(&[group(1, [0, 6_000, 100]), group(2, [0, 100, 100])], &nodes());
        assert_eq!(lost.problems(), ["node b at site b does not answer"]);
        assert!(!lost.survives.any_node && !lost.survives.any_site);
        assert_eq!(lost.survives.not[0], "node a: groups 1, 2 would stop");
    }

    #[test]
    fn who_leads_nothing_does_not_judge() {
        let mut follows = group(1, [0, 6_000, 6_000]);
        (follows.is_leader, follows.leader) = (false, Some(2));
        let told = Overview::of(&[follows], &nodes());
        assert!(told.nodes.iter().all(|node| node.answers.is_none()) && told.survives.any_node);
    }
}
