//! What a node sets for its groups: who it is, how long things take, and all bounds.

use std::{sync::Arc, time::Duration};

use openraft::{Config, SnapshotPolicy};
use securanet_model::{GroupId, ReplicaId, UnixMillis};

use crate::{FatalHook, NoPeers, Peers, RaftError, RetentionPolicy, abort_process, state::flush::FlushPolicy};

/// Reads the wall clock. Leaders stamp entries with it; nothing below the engine has another one.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// Settings of all groups of a node.
#[derive(Clone)]
pub struct Settings {
    /// This node's name, as memberships give it.
    pub node: String,
    /// The replica id of this node in its groups. Never changes for a directory.
    pub replica: ReplicaId,
    /// The voters of groups that are new: their replica ids and nodes, the same on every node of a cluster. The first of
    /// them begins such a group. Empty for a node that is added to groups which exist.
    pub voters: Vec<(ReplicaId, String)>,
    /// How other nodes are reached.
    pub peers: Arc<dyn Peers>,
    /// Octets per second that snapshots and other bulk traffic take at most, all together.
    pub bulk_bytes_per_second: u64,
    /// The groups of this node, group 0 among them.
    pub groups: Vec<GroupId>,
    /// Heartbeats and elections.
    pub timing: Timing,
    /// How requests are gathered.
    pub batch: BatchBounds,
    /// When the state is made durable.
    pub flush: FlushPolicy,
    /// How long the log is kept for lagging voters.
    pub retention: RetentionPolicy,
    /// Recent log entries that each group keeps in memory, in octets.
    pub log_cache_bytes_max: usize,
    /// Topics watched at the same time, before watchers share one (they are then woken too often, never too seldom).
    pub watch_topics_max: usize,
    /// Fan-out deliveries that one group has under way to each other group at the same time.
    pub fan_out_per_target_max: usize,
    /// The wall clock.
    pub clock: Clock,
    /// What happens when the disk fails.
    pub fatal: FatalHook,
}

impl Settings {
    /// For a node alone: group 0 and `shards` shards, replica 1 of each.
    #[must_use]
    pub fn alone(node: impl Into<String>, shards: u32, clock: Clock) -> Self {
        let node = node.into();
        Self {
            voters: vec![(ReplicaId::new(1), node.clone())],
            peers: Arc::new(NoPeers),
            bulk_bytes_per_second: 50 << 20,
            node,
            replica: ReplicaId::new(1),
            groups: (0..=shards).map(GroupId::new).collect(),
            timing: Timing::default(),
            batch: BatchBounds::default(),
            flush: FlushPolicy { bytes: 32 << 20, age: Duration::from_secs(30) },
            retention: RetentionPolicy::default(),
            log_cache_bytes_max: 1 << 20,
            watch_topics_max: 100_000,
            fan_out_per_target_max: 8,
            clock,
            fatal: abort_process(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), RaftError> {
        let wrong = |what: &str| Err(RaftError::Settings(what.to_owned()));
        let mut groups = self.groups.clone();
        groups.sort_unstable();
        groups.dedup();
        if groups.len() != self.groups.len() || !groups.contains(&GroupId::DIRECTORY) {
            return wrong("groups must be distinct, and group 0 among them");
        }
        let mut voters: Vec<_> = self.voters.iter().map(|(replica, _)| *replica).collect();
        voters.sort_unstable();
        voters.dedup();
        let own = |(replica, node): &(ReplicaId, String)| *replica != self.replica || *node == self.node;
        if voters.len() != self.voters.len() || !self.voters.iter().all(own) {
            return wrong("voters must be distinct, and this node's replica must be this node's");
        }
        if self.batch.proposals_in_flight == 0 || self.batch.requests_max == 0 || self.fan_out_per_target_max == 0 {
            return wrong("a bound of 0 lets nothing through");
        }
        Ok(())
    }

    /// What openraft is told for one group.
    pub(crate) fn openraft(&self, group: GroupId) -> Result<Config, RaftError> {
        let config = Config {
            cluster_name: format!("group-{group}"),
            heartbeat_interval: self.timing.heartbeat_millis,
            // We say when: see `heartbeat`.
            enable_heartbeat: false,
            election_timeout_min: self.timing.election_millis.start,
            election_timeout_max: self.timing.election_millis.end,
            quorum_loss_probe_interval: Some(self.timing.probe_millis),
            enable_pre_vote: Some(true),
            // A leader that restarts has lost what it had not applied durably: it must be elected again.
            enable_leader_restore: Some(false),
            // We say when: after a flush. See `Groups`.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            purge_batch_size: 1,
            ..Config::default()
        };
        config.validate().map_err(|error| RaftError::Settings(error.to_string()))
    }
}

/// Heartbeats and elections, for round trips of up to 120 ms; the same on every node of a cluster, because the
/// upper election timeout is also the leader's lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Timing {
    /// A leader's heartbeat, in milliseconds.
    pub heartbeat_millis: u64,
    /// A follower campaigns after a random time in this range (behind the lease), in milliseconds.
    pub election_millis: std::ops::Range<u64>,
    /// A leader without quorum probes this often, in milliseconds.
    pub probe_millis: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self { heartbeat_millis: 250, election_millis: 600..900, probe_millis: 2500 }
    }
}

/// How a group's requests are gathered into proposals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchBounds {
    /// Proposals under way at the same time. Measured with `examples/commit_rate`; see [`BatchBounds::default`].
    pub proposals_in_flight: usize,
    /// Requests in one proposal.
    pub requests_max: usize,
    /// Octets of one proposal (a larger request goes alone).
    pub bytes_max: usize,
    /// Requests that wait; beyond it [`securanet_model::StoreError::Busy`].
    pub waiting_requests_max: usize,
    /// Octets that wait; beyond it [`securanet_model::StoreError::Busy`].
    pub waiting_bytes_max: usize,
}

impl Default for BatchBounds {
    fn default() -> Self {
        Self {
            proposals_in_flight: 2,
            requests_max: 512,
            bytes_max: 1 << 20,
            waiting_requests_max: 10_000,
            waiting_bytes_max: 16 << 20,
        }
    }
}
