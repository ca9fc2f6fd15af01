//! What operators can measure here. Labels: `group`, the number of the group.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use securanet_model::GroupId;

use crate::GroupStatus;

const COMMIT_SECONDS: &str = "securanet_commit_seconds";
const COMMIT_REQUESTS: &str = "securanet_commit_requests";
const LOG_SYNC_SECONDS: &str = "securanet_log_sync_seconds";
const LOG_SYNC_JOBS: &str = "securanet_log_sync_jobs";
const STATE_FLUSH_SECONDS: &str = "securanet_state_flush_seconds";
const TERM: &str = "securanet_group_term";
const LEADER: &str = "securanet_group_leader";
const LAST_LOG_INDEX: &str = "securanet_group_last_log_index";
const APPLIED_INDEX: &str = "securanet_group_applied_index";
const FLUSHED_INDEX: &str = "securanet_group_flushed_index";
const LOG_BYTES: &str = "securanet_group_log_bytes";
const WAITING_REQUESTS: &str = "securanet_group_waiting_requests";
const CLOCK_AHEAD: &str = "securanet_group_clock_ahead_seconds";
const STOPPED: &str = "securanet_group_stopped";
const GATE_MISSING: &str = "securanet_gate_missing_blobs_total";
const BLOBS_FETCHED: &str = "securanet_blobs_fetched_total";
const BLOB_BYTES_FETCHED: &str = "securanet_blobs_fetched_bytes_total";

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
    describe_gauge!(APPLIED_INDEX, "last entry applied to the state");
    describe_gauge!(FLUSHED_INDEX, "last entry whose effects are durable in the state");
    describe_gauge!(LOG_BYTES, "octets of the entries in the log");
    describe_gauge!(WAITING_REQUESTS, "requests that wait to be proposed");
    describe_gauge!(CLOCK_AHEAD, "how far the group's clock is ahead of this node's; beyond 30 s writes are refused");
    describe_counter!(GATE_MISSING, "blobs that an append from another node had to wait for");
    describe_counter!(BLOBS_FETCHED, "blobs got from other nodes");
    describe_counter!(BLOB_BYTES_FETCHED, "octets of blobs got from other nodes");
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
    fetched: Counter,
    fetched_bytes: Counter,
}

impl Gated {
    pub(crate) fn new() -> Self {
        let (missing, fetched) = (counter!(GATE_MISSING), counter!(BLOBS_FETCHED));
        Self { missing, fetched, fetched_bytes: counter!(BLOB_BYTES_FETCHED) }
    }

    /// An append waits for so many blobs.
    pub(crate) fn held(&self, missing: usize) {
        self.missing.increment(missing as u64);
    }

    /// A blob has come.
    pub(crate) fn fetched(&self, bytes: u64) {
        self.fetched.increment(1);
        self.fetched_bytes.increment(bytes);
    }
}

pub(crate) fn state_flushed(took: Duration) {
    histogram!(STATE_FLUSH_SECONDS).record(took);
}

/// Sets the gauges of a group.
pub(crate) fn publish(status: &GroupStatus) {
    let label = status.group.to_string();
    #[allow(clippy::cast_precision_loss, reason = "gauges are floats")]
    let set = |name: &'static str, value: u64| gauge!(name, "group" => label.clone()).set(value as f64);
    set(TERM, status.term);
    set(LEADER, u64::from(status.is_leader));
    set(LAST_LOG_INDEX, status.last_log.unwrap_or_default());
    set(APPLIED_INDEX, status.applied.unwrap_or_default());
    set(FLUSHED_INDEX, status.flushed.unwrap_or_default());
    set(LOG_BYTES, status.log_bytes);
    set(WAITING_REQUESTS, status.waiting_requests as u64);
    set(CLOCK_AHEAD, status.clock_ahead_millis / 1000);
    set(STOPPED, u64::from(status.stopped.is_some()));
}
