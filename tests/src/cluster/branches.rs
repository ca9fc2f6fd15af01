//! What seldom happens: a nightmare that never reaches it has not tested it. Counted from the nodes' metrics; a process takes
//! its counts with it, so they are gathered before it is ended.

use super::sites::Sites;

/// What must have happened, and the counters that tell it.
const BRANCHES: [(&str, &str); 10] = [
    ("a group got another leader", "securanet_group_leader_changes_total"),
    ("members changed through two configurations at once", "securanet_group_joint_configurations_total"),
    ("a snapshot was installed", "securanet_group_snapshots_installed_total"),
    ("an append waited at the gate for a blob", "securanet_gate_missing_blobs_total"),
    ("a request was passed on to the leader", "securanet_group_requests_passed_on_total"),
    ("a request was tried again and had been applied", "securanet_group_requests_recalled_total"),
    ("a delivery between groups was repeated", "securanet_group_deliveries_repeated_total"),
    ("a sender's repeat was suppressed", "securanet_smtp_repeats_total"),
    ("an intent came after its lease had ended", "securanet_group_intents_fenced_total"),
    ("a dead worker's recipients were taken over", "securanet_outbound_takeovers_total"),
];

/// How often each happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Branches(Vec<(&'static str, u64)>);

impl Branches {
    /// Of all nodes, over all lives of their processes.
    pub fn of(sites: &Sites) -> Self {
        let counts: Vec<_> = sites.all_nodes().map(super::node::Node::counts).collect();
        let sum = |metric: &str| {
            let of_metric = |name: &String| name.split('{').next() == Some(metric);
            let all = counts.iter().flatten().filter(|(name, _)| of_metric(name));
            all.map(|(_, count)| *count).sum::<f64>()
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters are whole and positive")]
        Self(BRANCHES.map(|(what, metric)| (what, sum(metric) as u64)).to_vec())
    }

    /// What never happened.
    pub fn never(&self) -> Vec<&'static str> {
        self.0.iter().filter(|(_, count)| *count == 0).map(|(what, _)| *what).collect()
    }

    /// A line for each.
    pub fn table(&self) -> String {
        self.0.iter().map(|(what, count)| format!("{count:8}  {what}\n")).collect()
    }
}
