//! What operators can measure here. Labels: `group`, the number of the group; `member`, the node of one of its members;
//! `from`, `near` for what comes from nodes of the same site and `far` for what comes from others.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use metrics::{Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use parking_lot::Mutex;
use securanet_model::GroupId;

use crate::{GroupStatus, MemberStatus};

const COMMIT_SECONDS: &str = "securanet_commit_seconds";
const COMMIT_REQUESTS: &str = "securanet_commit_requests";
const LOG_SYNC_SECONDS: &str = "securanet_log_sync_seconds";
const LOG_SYNC_JOBS: &str = "securanet_log_sync_jobs";
const STATE_FLUSH_SECONDS: &str = "securanet_state_flush_seconds";
const TERM: &str = "securanet_group_term";
const LEADER: &str = "securanet_group_leader";
const LAST_LOG_INDEX: &str = "securanet_group_last_log_index";
const COMMITTED_INDEX: &str = "securanet_group_committed_index";
const APPLIED_INDEX: &str = "securanet_group_applied_index";
const FLUSHED_INDEX: &str = "securanet_group_flushed_index";
const LOG_BYTES: &str = "securanet_group_log_bytes";
const WAITING_REQUESTS: &str = "securanet_group_waiting_requests";
const CLOCK_AHEAD: &str = "securanet_group_clock_ahead_seconds";
const HOLLOW: &str = "securanet_group_hollow";
const HOLLOW_BLOBS: &str = "securanet_group_hollow_blobs";
const BLOBS_AWAITED: &str = "securanet_blobs_awaited";
const BLOB_BYTES_AWAITED: &str = "securanet_blobs_awaited_bytes";
const MEMBER_LAG: &str = "securanet_group_member_lag_entries";
const MEMBER_SILENT: &str = "securanet_group_member_silent_seconds";
const PEER_CLOCK: &str = "securanet_peer_clock_ahead_seconds";
const STOPPED: &str = "securanet_group_stopped";
const GATE_MISSING: &str = "securanet_gate_missing_blobs_total";
const BLOBS_FETCHED: &str = "securanet_blobs_fetched_total";
const BLOB_BYTES_FETCHED: &str = "securanet_blobs_fetched_bytes_total";
const BLOBS_PASSED_ON: &str = "securanet_blobs_passed_on_total";
const SNAPSHOTS_INSTALLED: &str = "securanet_group_snapshots_installed_total";
const LEADER_CHANGES: &str = "securanet_group_leader_changes_total";
const JOINT_CONFIGURATIONS: &str = "securanet_group_joint_configurations_total";
const REQUESTS_RECALLED: &str = "securanet_group_requests_recalled_total";
const REQUESTS_PASSED_ON: &str = "securanet_group_requests_passed_on_total";
const DELIVERIES_REPEATED: &str = "securanet_group_deliveries_repeated_total";
const INTENTS_FENCED: &str = "securanet_group_intents_fenced_total";

/// Tells the recorder what each metric means; called once, after the recorder is installed and before groups are
/// opened (they keep handles).
pub fn describe() {
    describe_histogram!(COMMIT_SECONDS, "from proposing requests to having applied them");
    describe_histogram!(COMMIT_REQUESTS, "requests that shared a log entry");
    describe_histogram!(LOG_SYNC_SECONDS, "writing and syncing the log of all groups once");
    describe_histogram!(LOG_SYNC_JOBS, "appends and votes that shared a sync of the log");
    describe_histogram!(STATE_FLUSH_SECONDS, "making the state of all groups durable");
    describe_gauge!(TERM, "current term");
    describe_gauge!(LEADER, "1 when this node leads the group");
    describe_gauge!(LAST_LOG_INDEX, "last entry of the log");
    describe_gauge!(COMMITTED_INDEX, "last entry known here to be committed");
    describe_gauge!(APPLIED_INDEX, "last entry applied to the state");
    describe_gauge!(FLUSHED_INDEX, "last entry whose effects are durable in the state");
    describe_gauge!(LOG_BYTES, "octets of the entries in the log");
    describe_gauge!(WAITING_REQUESTS, "requests that wait to be proposed");
    describe_gauge!(CLOCK_AHEAD, "how far the group's clock is ahead of this node's; beyond 30 s writes are refused");
    describe_counter!(GATE_MISSING, "blobs that an append from another node had to wait for");
    describe_counter!(BLOBS_FETCHED, "blobs got from other nodes");
    describe_counter!(BLOB_BYTES_FETCHED, "octets of blobs got from other nodes");
    describe_counter!(BLOBS_PASSED_ON, "blobs got from other nodes for a node of the same site, and given to it");
    describe_counter!(SNAPSHOTS_INSTALLED, "states that came from another node as a whole");
    describe_counter!(LEADER_CHANGES, "times that entries of another leader than before were applied here");
    describe_counter!(JOINT_CONFIGURATIONS, "changes of members that passed through two configurations at once");
    describe_counter!(
        REQUESTS_RECALLED,
        "requests that were applied before: they were answered as then, and nothing was done"
    );
    describe_counter!(REQUESTS_PASSED_ON, "tries of requests that this node passed on to the one that leads");
    describe_counter!(DELIVERIES_REPEATED, "deliveries between groups whose target had applied them before");
    describe_counter!(INTENTS_FENCED, "intents that came after their lease had ended, and were refused");
    describe_gauge!(HOLLOW, "1 while this replica lacks blobs that its state names: it is no survivor");
    describe_gauge!(HOLLOW_BLOBS, "blobs that this replica lacks, as far as it has counted them");
    describe_gauge!(BLOBS_AWAITED, "blobs that this node waits for: those of appends and of hollow replicas");
    describe_gauge!(BLOB_BYTES_AWAITED, "octets still to come of the blobs that are being fetched");
    describe_gauge!(MEMBER_LAG, "entries that a member lacks; on the leader's node, 0 elsewhere");
    describe_gauge!(MEMBER_SILENT, "since when a member has not answered; on the leader's node, 0 elsewhere");
    describe_gauge!(
        PEER_CLOCK,
        "how far another node's wall clock is ahead of this one's, at least; behind if negative; as heartbeats tell"
    );
    describe_gauge!(STOPPED, "1 when the group has stopped: an operator must look");
}

/// The histograms of one group's commits, kept because they are used with each of them.
pub(crate) struct Commits {
    seconds: Histogram,
    requests: Histogram,
}

impl Commits {
    pub(crate) fn of(group: GroupId) -> Self {
        let label = group.to_string();
        Self {
            seconds: histogram!(COMMIT_SECONDS, "group" => label.clone()),
            requests: histogram!(COMMIT_REQUESTS, "group" => label),
        }
    }

    pub(crate) fn committed(&self, requests: usize, took: Duration) {
        self.seconds.record(took);
        #[allow(clippy::cast_precision_loss, reason = "a few hundred at most")]
        self.requests.record(requests as f64);
    }
}

/// The histograms of the syncing thread.
pub(crate) struct Syncs {
    seconds: Histogram,
    jobs: Histogram,
}

impl Syncs {
    pub(crate) fn new() -> Self {
        Self { seconds: histogram!(LOG_SYNC_SECONDS), jobs: histogram!(LOG_SYNC_JOBS) }
    }

    pub(crate) fn synced(&self, jobs: usize, took: Duration) {
        self.seconds.record(took);
        #[allow(clippy::cast_precision_loss, reason = "a handful")]
        self.jobs.record(jobs as f64);
    }
}

/// The counters of the gate.
pub(crate) struct Gated {
    missing: Counter,
    near: Fetched,
    far: Fetched,
    passed_on: Counter,
}

/// What came from nodes of one kind.
struct Fetched {
    blobs: Counter,
    bytes: Counter,
}

impl Fetched {
    fn from(nodes: &'static str) -> Self {
        Self { blobs: counter!(BLOBS_FETCHED, "from" => nodes), bytes: counter!(BLOB_BYTES_FETCHED, "from" => nodes) }
    }
}

impl Gated {
    pub(crate) fn new() -> Self {
        let (missing, passed_on) = (counter!(GATE_MISSING), counter!(BLOBS_PASSED_ON));
        Self { missing, near: Fetched::from("near"), far: Fetched::from("far"), passed_on }
    }

    /// An append waits for so many blobs.
    pub(crate) fn held(&self, missing: usize) {
        self.missing.increment(missing as u64);
    }

    /// A blob has come.
    pub(crate) fn fetched(&self, bytes: u64, is_near: bool) {
        let fetched = if is_near { &self.near } else { &self.far };
        fetched.blobs.increment(1);
        fetched.bytes.increment(bytes);
    }

    /// A blob has come for another node of the site.
    pub(crate) fn passed_on(&self) {
        self.passed_on.increment(1);
    }
}

/// The counters of what seldom happens to one group; kept, since applying looks at them.
pub(crate) struct Rare {
    snapshots_installed: Counter,
    leader_changes: Counter,
    joint_configurations: Counter,
    requests_recalled: Counter,
    intents_fenced: Counter,
}

impl Rare {
    pub(crate) fn of(group: GroupId) -> Self {
        let counter = |name: &'static str| counter!(name, "group" => group.to_string());
        Self {
            snapshots_installed: counter(SNAPSHOTS_INSTALLED),
            leader_changes: counter(LEADER_CHANGES),
            joint_configurations: counter(JOINT_CONFIGURATIONS),
            requests_recalled: counter(REQUESTS_RECALLED),
            intents_fenced: counter(INTENTS_FENCED),
        }
    }

    /// A state has come as a whole.
    pub(crate) fn snapshot_installed(&self) {
        self.snapshots_installed.increment(1);
    }

    /// An entry of another leader than the one before it.
    pub(crate) fn leader_changed(&self) {
        self.leader_changes.increment(1);
    }

    /// A membership of two configurations.
    pub(crate) fn joint_configuration(&self) {
        self.joint_configurations.increment(1);
    }

    /// So many requests of an entry were applied before, and so many intents refused.
    pub(crate) fn applied(&self, recalled: usize, fenced: usize) {
        self.requests_recalled.increment(recalled as u64);
        self.intents_fenced.increment(fenced as u64);
    }
}

/// A request is passed on to the node that leads its group.
pub(crate) fn request_passed_on(group: GroupId) {
    counter!(REQUESTS_PASSED_ON, "group" => group.to_string()).increment(1);
}

/// A delivery of this queue was applied by an earlier try.
pub(crate) fn delivery_repeated(queue: GroupId) {
    counter!(DELIVERIES_REPEATED, "group" => queue.to_string()).increment(1);
}

pub(crate) fn state_flushed(took: Duration) {
    histogram!(STATE_FLUSH_SECONDS).record(took);
}

/// The gauges of all groups.
#[derive(Default)]
pub(crate) struct Gauges {
    /// The members that something was said of: when they are gone, or this node does not lead any more, nothing is.
    told: Mutex<BTreeMap<GroupId, BTreeSet<String>>>,
}

/// What this node waits for: blobs, and octets.
pub(crate) fn awaited((blobs, bytes): (u64, u64)) {
    gauge!(BLOBS_AWAITED).set(float(blobs));
    gauge!(BLOB_BYTES_AWAITED).set(float(bytes));
}

/// How far the clocks of other nodes are ahead of this one's, in milliseconds.
#[allow(clippy::cast_precision_loss, reason = "gauges are floats")]
pub(crate) fn clocks(ahead_millis: &[(String, i64)]) {
    for (node, ahead) in ahead_millis {
        gauge!(PEER_CLOCK, "node" => node.clone()).set(*ahead as f64 / 1000.0);
    }
}

impl Gauges {
    /// Sets those of a group.
    pub(crate) fn publish(&self, status: &GroupStatus) {
        let label = status.group.to_string();
        let set = |name: &'static str, value: u64| gauge!(name, "group" => label.clone()).set(float(value));
        set(TERM, status.term);
        set(LEADER, u64::from(status.is_leader));
        set(LAST_LOG_INDEX, status.last_log.unwrap_or_default());
        set(COMMITTED_INDEX, status.committed.unwrap_or_default());
        set(APPLIED_INDEX, status.applied.unwrap_or_default());
        set(FLUSHED_INDEX, status.flushed.unwrap_or_default());
        set(LOG_BYTES, status.log_bytes);
        set(WAITING_REQUESTS, status.waiting_requests as u64);
        set(CLOCK_AHEAD, status.clock_ahead_millis / 1000);
        set(HOLLOW, u64::from(status.hollow));
        set(HOLLOW_BLOBS, status.hollow_blobs);
        set(STOPPED, u64::from(status.stopped.is_some()));
        self.publish_members(status, &label);
    }

    fn publish_members(&self, status: &GroupStatus, label: &str) {
        let set = |name: &'static str, member: &str, value: f64| {
            gauge!(name, "group" => label.to_owned(), "member" => member.to_owned()).set(value);
        };
        let known = |member: &&MemberStatus| status.is_leader && !member.leader;
        let mut told = self.told.lock();
        let told = told.entry(status.group).or_default();
        let mut gone = std::mem::take(told);
        for member in status.members.iter().filter(known) {
            let lag = status.last_log.unwrap_or_default().saturating_sub(member.matched.unwrap_or_default());
            set(MEMBER_LAG, &member.node, float(lag));
            set(MEMBER_SILENT, &member.node, float(member.silent_millis.unwrap_or_default()) / 1000.0);
            gone.remove(&member.node);
            told.insert(member.node.clone());
        }
        for member in gone {
            set(MEMBER_LAG, &member, 0.0);
            set(MEMBER_SILENT, &member, 0.0);
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "gauges are floats")]
const fn float(value: u64) -> f64 {
    value as f64
}
