//! The cluster as an operator thinks of it: its nodes, its groups, and what may be lost.
//!
//! Each store says how it is ([`crate::report`]); whether a member answers and how far it is, the leaders know. What one
//! that leads says of a group goes before what others say. Here it is put together; nobody is asked here.

use std::collections::{BTreeMap, BTreeSet};

use securanet_admin::{ClusterNode, OutboundStatus, ReplicaStatus, ShardStatus, Survives};
use securanet_gateway::model::{
    GroupId, UnixMillis,
    limits::COMMIT_TIMEOUT_MILLIS,
    nodes::{Node, NodeState},
    outbound::OutboundDepth,
    report::{GroupReport, MemberReport, NodeReport},
};
use securanet_raft::{clock_told, is_wrong_clock, placement::NEAR_ENTRIES};

use crate::{
    cluster::reports::Reports,
    report::due_seconds,
    survival::{Survival, Voters, survival},
};

/// Outbound work is taken up within seconds; what has been due for longer nobody works off.
const DUE_SECONDS_MAX: u64 = 300;

/// The nodes and groups, and what the cluster survives.
pub(crate) struct Overview {
    pub(crate) nodes: Vec<ClusterNode>,
    pub(crate) survives: Survives,
    pub(crate) groups: Vec<ShardStatus>,
    /// What an operator must hear of, worst first.
    pub(crate) problems: Vec<String>,
}

impl Overview {
    /// From what the stores say (`own` is the one that is asked, if it is a store), and the directory's nodes.
    pub(crate) fn of(own: Option<&str>, reports: &Reports, nodes: &[Node]) -> Self {
        let seen = Seen::new(own, reports);
        let sites = nodes.iter().map(|node| (node.facts.name.to_string(), node.facts.site.to_string())).collect();
        let voters: Vec<Voters> = seen.groups.values().map(|group| seen.voters(group)).collect();
        let groups = seen.groups.values().map(|group| seen.shard(group)).collect();
        Self {
            problems: seen.problems(nodes, &sites),
            nodes: nodes.iter().map(|node| seen.line(node)).collect(),
            survives: survives(survival(&voters, &sites)),
            groups,
        }
    }
}

/// What was said.
struct Seen<'r> {
    own: Option<&'r str>,
    reports: &'r Reports,
    /// By group: who leads it before who does not, and this node before others.
    groups: BTreeMap<GroupId, Told<'r>>,
}

/// A group, as the one says who knows best.
#[derive(Clone, Copy)]
struct Told<'r> {
    by: &'r str,
    group: &'r GroupReport,
}

impl<'r> Seen<'r> {
    fn new(own: Option<&'r str>, reports: &'r Reports) -> Self {
        let mut groups: BTreeMap<GroupId, Told<'r>> = BTreeMap::new();
        for (by, report) in reports {
            for group in report.iter().flat_map(|report| &report.groups) {
                let rank =
                    |told: &Told<'_>| (told.group.is_led(), told.group.leads, told.group.term, Some(told.by) == own);
                let told = Told { by, group };
                let best = groups.entry(group.group).or_insert(told);
                if rank(best) < rank(&told) {
                    *best = told;
                }
            }
        }
        Self { own, reports, groups }
    }

    /// What a node says of itself.
    fn report(&self, node: &str) -> Option<&'r NodeReport> {
        self.reports.get(node)?.as_ref()
    }

    /// What a node says of its replica of a group.
    fn replica(&self, node: &str, group: GroupId) -> Option<&'r GroupReport> {
        self.report(node)?.groups.iter().find(|report| report.group == group)
    }

    /// Whether a node answers: this one, now, and all leaders that wait for it.
    fn answers(&self, node: &str) -> Option<bool> {
        let answered = self.reports.get(node)?.is_some();
        let leaders = self.groups.values().filter(|told| told.group.leads);
        // Whoever has just begun to lead has waited for nobody yet: one leader that hears nothing is enough.
        let unheard =
            leaders.flat_map(|told| &told.group.members).any(|member| member.node == node && !member.is_heard());
        Some(answered && !unheard)
    }

    /// Who votes in a group, and who of them would do in its stead: nobody where it has no leader.
    fn voters(&self, told: &Told<'_>) -> Voters {
        let group = told.group;
        let voting = || group.members.iter().filter(|member| member.voter);
        let whole = voting().filter(|member| {
            let lacks = self.replica(&member.node, group.group).is_none_or(|replica| replica.hollow);
            let lags = member.lag.is_some_and(|lag| lag > NEAR_ENTRIES);
            group.is_led() && !lacks && !lags && self.answers(&member.node) == Some(true)
        });
        let names = |members: &mut dyn Iterator<Item = &MemberReport>| -> BTreeSet<String> {
            members.map(|member| member.node.clone()).collect()
        };
        Voters { group: group.group.get(), nodes: names(&mut voting()), whole: names(&mut whole.into_iter()) }
    }

    fn line(&self, node: &Node) -> ClusterNode {
        let name = node.facts.name.to_string();
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
        let report = self.report(&name);
        let leads = self.groups.values().filter(|told| told.group.is_led() && told.by == name);
        ClusterNode {
            site: node.facts.site.to_string(),
            roles: roles.to_owned(),
            state: state.to_owned(),
            answers: self.answers(&name),
            leads: leads.map(|told| told.group.group.get()).collect(),
            votes: self.votes(&name),
            disk_free_bytes: report.map(|report| report.disk_free_bytes),
            disk_reserve_bytes: report.map(|report| report.disk_reserve_bytes),
            blobs_awaited: report.map(|report| report.blobs_awaited),
            blobs_awaited_bytes: report.map(|report| report.blobs_awaited_bytes),
            name,
        }
    }

    /// In how many groups a node votes.
    fn votes(&self, node: &str) -> u64 {
        let votes = |told: &&Told<'_>| told.group.members.iter().any(|member| member.node == node && member.voter);
        self.groups.values().filter(votes).count() as u64
    }

    fn shard(&self, told: &Told<'_>) -> ShardStatus {
        let group = told.group;
        let names = |voter: bool| {
            let members = group.members.iter().filter(move |member| member.voter == voter);
            members.map(|member| member.node.clone()).collect::<Vec<_>>()
        };
        let leader = group.is_led().then_some(told.by);
        let lacks = |member: &&MemberReport| self.replica(&member.node, group.group).is_some_and(|own| own.hollow);
        let replica = |member: &MemberReport| ReplicaStatus {
            node: member.node.clone(),
            votes: member.voter,
            lag_entries: member.lag,
            silent_millis: member.silent_millis,
            hollow: self.replica(&member.node, group.group).map(|own| own.hollow),
            blobs_lacking: self.replica(&member.node, group.group).map(|own| own.hollow_blobs),
        };
        ShardStatus {
            group: group.group.get(),
            leads: group.is_led() && Some(told.by) == self.own,
            leader: leader.map(str::to_owned),
            voters: names(true),
            learners: names(false),
            lag_entries: group.members.iter().filter(|member| member.voter).filter_map(|member| member.lag).max(),
            hollow: group.members.iter().filter(lacks).map(|member| member.node.clone()).collect(),
            replicas: group.members.iter().map(replica).collect(),
            term: group.term,
            last_log_index: group.last.map_or(0, |last| last.index),
            applied_index: group.applied.unwrap_or(0),
            accounts: group.totals.accounts,
            messages: group.totals.messages,
            bytes: group.totals.bytes,
            pending: group.pending,
            held: group.held,
            repeats_suppressed: group.totals.repeats_suppressed,
            outbound: outbound(&group.outbound),
        }
    }

    fn problems(&self, nodes: &[Node], sites: &BTreeMap<String, String>) -> Vec<String> {
        let at = |name: &str| sites.get(name).map(|site| format!(" at site {site}")).unwrap_or_default();
        let silent = self.reports.keys().filter(|name| self.answers(name) == Some(false));
        let mut problems: Vec<String> = silent.map(|name| format!("node {name}{} does not answer", at(name))).collect();
        problems.extend(self.groups.values().filter_map(|told| self.standstill(told)));
        for (name, report) in self.reports.iter().filter_map(|(name, report)| Some((name, report.as_ref()?))) {
            let elsewhere = Some(name.as_str()) != self.own;
            if elsewhere && report.disk_free_bytes < report.disk_reserve_bytes {
                problems.push(format!("node {name}: the disk is below its reserve: it takes no mail in"));
            }
            problems.extend(report.groups.iter().flat_map(|group| trouble_of(name, group)));
        }
        problems.extend(self.wrong_clocks());
        problems.extend(self.groups.values().flat_map(|told| lags(told.group)));
        let draining = nodes.iter().filter(|node| node.state == NodeState::Draining);
        let draining = draining.map(|node| (&node.facts.name, self.votes(node.facts.name.as_str())));
        let draining = draining.filter(|(_, votes)| *votes > 0);
        problems.extend(draining.map(|(name, votes)| format!("node {name} drains, and still votes in {votes} groups")));
        problems
    }

    /// Nodes whose clocks are not those of most others, as leaders say.
    fn wrong_clocks(&self) -> impl Iterator<Item = String> {
        let mut wrong: BTreeMap<&str, i64> = BTreeMap::new();
        let led = self.groups.values().filter(|told| told.group.leads);
        for member in led.flat_map(|told| &told.group.members) {
            let off = member.clock_off_millis.filter(|off| is_wrong_clock(*off));
            wrong.extend(off.map(|off| (member.node.as_str(), off)));
        }
        let told =
            |(node, off)| format!("node {node}: its clock is {}: it leads no group; set the clock", clock_told(off));
        wrong.into_iter().map(told)
    }

    /// Why a group does not go on, if so.
    fn standstill(&self, told: &Told<'_>) -> Option<String> {
        let group = told.group;
        if !group.is_led() {
            return Some(format!("group {} has no leader: it takes no changes", group.group));
        }
        let due = due_seconds(&group.outbound).filter(|due| *due > DUE_SECONDS_MAX)?;
        Some(format!(
            "group {}: mail for the world has been due for {due} s and nobody takes it up: is there a node that delivers?",
            group.group
        ))
    }
}

/// What is wrong with a replica: the worst, and its clock whatever else there is.
fn trouble_of(node: &str, group: &GroupReport) -> impl Iterator<Item = String> {
    let id = group.group;
    let trouble = if let Some(why) = &group.stopped {
        Some(format!("group {id} has stopped on node {node}: {why}"))
    } else if group.hollow {
        let blobs = group.hollow_blobs;
        Some(format!("group {id} lacks {blobs} message parts on node {node}: they are being fetched from other nodes"))
    } else if !group.replayed && group.leader.is_some() {
        Some(format!("group {id} is still replaying its log on node {node}"))
    } else {
        None
    };
    let behind = (group.clock_ahead_millis >= COMMIT_TIMEOUT_MILLIS).then(|| {
        let behind = group.clock_ahead_millis / 1000;
        format!("group {id} takes no changes from node {node}: its clock is {behind} s behind; set the clock")
    });
    trouble.into_iter().chain(behind)
}

/// Voters that are no survivors because they are too far behind.
fn lags(group: &GroupReport) -> impl Iterator<Item = String> {
    let lagging = group.members.iter().filter(|member| member.voter);
    let lagging = lagging.filter_map(|member| Some((member, member.lag.filter(|lag| *lag > NEAR_ENTRIES)?)));
    lagging.map(|(member, lag)| format!("group {}: node {} is {lag} entries behind", group.group, member.node))
}

fn outbound(depth: &OutboundDepth) -> OutboundStatus {
    OutboundStatus {
        items: depth.items,
        waiting: depth.waiting,
        taken: depth.taken,
        held: depth.held,
        delivered: depth.delivered,
        failed: depth.failed,
        uncertain: depth.uncertain,
        oldest_unix_millis: depth.oldest.map(UnixMillis::get),
        oldest_due_seconds: due_seconds(depth),
    }
}

fn survives(found: Survival) -> Survives {
    let stands = found.stopped.is_empty();
    let any = (stands && found.nodes.is_empty(), stands && found.sites.is_empty());
    let told = |what: &str, lost: BTreeMap<String, Vec<u32>>| {
        let what = what.to_owned();
        lost.into_iter().map(move |(name, groups)| format!("{what} {name}: groups {} would stop", numbers(&groups)))
    };
    let stopped = (!stands).then(|| format!("anything more: groups {} have no majority", numbers(&found.stopped)));
    let not = stopped.into_iter().chain(told("node", found.nodes)).chain(told("site", found.sites)).collect();
    Survives { any_node: any.0, any_site: any.1, not }
}

fn numbers(groups: &[u32]) -> String {
    groups.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
