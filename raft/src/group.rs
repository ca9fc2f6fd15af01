//! One group on this node: its replica, its log, its batcher, and openraft over them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use openraft::{RaftMetrics, async_runtime::watch::WatchReceiver, errors::ForwardToLeader};
use parking_lot::Mutex;
use securanet_model::{
    Answer, Execute, Freshness, GroupId, Query, ReplicaId, Reply, StoreError, account::AccountQuery,
    delivery::QueueQuery, directory::DirectoryQuery, limits, outbound::OutboundQuery,
};
use tokio::{sync::watch, time::timeout};

use crate::{
    RaftError, Settings,
    batch::Batcher,
    gate::Gate,
    heard::Heard,
    log::GroupLog,
    network::{Arrivals, GroupNetwork, Network},
    read_index::Questions,
    retention::LogSituation,
    runtime,
    settings::Clock,
    state::{Replica, StateMachine},
    status::GroupStatus,
    types::{Member, TypeConfig},
};

/// openraft, of one group.
pub(crate) type GroupRaft = openraft::Raft<TypeConfig, StateMachine>;

/// openraft builds its "snapshot" (only how far the state is durable) and purges within milliseconds; if it takes
/// this long it is stuck, and the next flush tries again.
const PURGE_PATIENCE: Duration = Duration::from_secs(10);
/// A purge that has not happened after this long has been put off.
const PURGE_PUT_OFF: Duration = Duration::from_secs(1);
/// A query that may read more rows than this goes to a thread that may block.
const INLINE_ROWS_MAX: u32 = 100;

/// One group of this node.
pub(crate) struct Group {
    id: GroupId,
    replica_id: u64,
    pub(crate) raft: GroupRaft,
    pub(crate) replica: Arc<Replica>,
    log: GroupLog,
    pub(crate) batcher: Arc<Batcher>,
    clock: Clock,
    /// Whether everything that the log held at start is applied (and, on a leader, its first entry).
    ready: watch::Sender<bool>,
    slowest: Mutex<Slowest>,
    /// Since when this replica leads, while it does.
    leads_since: Mutex<Instant>,
    /// A snapshot that another node sends.
    pub(crate) arrivals: Arrivals,
    pub(crate) gate: Arc<Gate>,
    /// What readers here ask of the leader.
    pub(crate) questions: Arc<Questions>,
    /// What the leader's heartbeats told of how far the group is.
    pub(crate) heard: Heard,
    network: Network,
    /// What the log held when the group was started, which may have been acknowledged.
    last_at_start: Option<u64>,
    /// Blobs that the state names and that are not here, as far as they were counted.
    lacking: AtomicU64,
    /// Replicas that were given up.
    fenced: BTreeSet<u64>,
}

/// The slowest other voter, and since when it has not moved.
struct Slowest {
    matched: Option<u64>,
    since: Instant,
}

impl Group {
    /// Starts a group; a new one gets the voters of the settings, and the first of them begins it.
    pub(crate) async fn start(
        settings: &Settings,
        network: &Network,
        gate: &Arc<Gate>,
        (log, fenced): (GroupLog, BTreeSet<u64>),
        replica: Arc<Replica>,
    ) -> Result<Self, RaftError> {
        let (id, replica_id) = (replica.group(), settings.replica.get());
        let stopped = |message: String| RaftError::Stopped { group: id, message };
        check_together(&log, &replica)?;
        let config = Arc::new(settings.openraft(id)?);
        let machine = StateMachine::new(replica.clone());
        let last_at_start = log.ends().last.map(|id| id.index);
        let peers = GroupNetwork::new(network.clone(), replica_id, replica.clone());
        let raft = GroupRaft::new(replica_id, config, peers, log.clone(), machine).await;
        let raft = raft.map_err(|error| stopped(error.to_string()))?;
        if raft.is_initialized().await.map_err(|error| stopped(error.to_string()))? {
            // The only voter need not wait for a tick to be elected.
            if replica.voters().into_iter().eq([replica_id]) {
                raft.trigger().elect(false).await.map_err(|error| stopped(error.to_string()))?;
            }
        } else if settings.voters.first().is_some_and(|(first, _)| *first == settings.replica) {
            let member = |(replica, node): &(ReplicaId, String)| (replica.get(), Member { node: node.clone() });
            let members: BTreeMap<u64, Member> = settings.voters.iter().map(member).collect();
            raft.initialize(members).await.map_err(|error| stopped(error.to_string()))?;
        }
        Ok(Self {
            id,
            replica_id,
            raft,
            replica,
            log,
            batcher: Arc::new(Batcher::new(id, settings.batch)),
            clock: settings.clock.clone(),
            ready: watch::Sender::new(false),
            slowest: Mutex::new(Slowest { matched: None, since: Instant::now() }),
            leads_since: Mutex::new(Instant::now()),
            arrivals: Arrivals::default(),
            gate: gate.clone(),
            questions: Questions::new(),
            heard: Heard::default(),
            network: network.clone(),
            last_at_start,
            lacking: AtomicU64::new(0),
            fenced,
        })
    }

    pub(crate) fn id(&self) -> GroupId {
        self.id
    }

    /// Waits until the group can answer for everything that it acknowledged before it was started; then sees to
    /// it that a leader alone has no ticks and that a new leader looks after the queue, until openraft stops.
    pub(crate) async fn recover(&self) {
        // Without an end of its own: replay takes as long as it takes, and shutting down ends it.
        if !self.replayed().await {
            return;
        }
        if let Err(error) = self.name_own_node().await {
            tracing::error!(group = %self.id, %error, "the node's new name is not in the group's membership");
        }
        self.ready.send_replace(true);
        // Ticks start elections and heartbeats. The only voter needs neither, and twenty ticks a second of nine
        // groups cost more than a percent of a core.
        let mut server = self.raft.server_metrics();
        let mut led = self.raft.is_leader();
        loop {
            self.raft.runtime_config().tick(!self.is_alone());
            let leads = self.raft.is_leader();
            if leads && !led {
                *self.leads_since.lock() = Instant::now();
                self.replica.effects().fan_out.notify_one();
            }
            led = leads;
            if server.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until the group has committed what the log held at start, and all of that is applied; false when openraft
    /// has stopped. Not what the log holds by now: under load that is always more than what is committed.
    async fn replayed(&self) -> bool {
        let at_start = self.last_at_start;
        let committed = self.raft.wait(None);
        let committed = committed.metrics(
            |metrics| {
                let committed = metrics.cluster_committed.map(|id| id.index);
                committed.is_some() && committed >= at_start
            },
            "what the log held at start is committed",
        );
        let Ok(metrics) = committed.await else { return false };
        let committed = metrics.cluster_committed.map(|id| id.index);
        let mut position = self.replica.watch_position();
        position.wait_for(|position| position.applied.map(|id| id.index) >= committed).await.is_ok()
    }

    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    pub(crate) fn replica_id(&self) -> u64 {
        self.replica_id
    }

    pub(crate) fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    pub(crate) async fn wait_ready(&self) {
        if !self.is_ready() {
            // The sender lives as long as we do.
            drop(self.ready.subscribe().wait_for(|ready| *ready).await);
        }
    }

    /// Commits a request that this replica leads; waits until its deadline, at most [`limits::COMMIT_TIMEOUT_MILLIS`].
    pub(crate) async fn execute(&self, request: Execute) -> Result<(Vec<Reply>, u64), StoreError> {
        let patience = self.patience(&request)?;
        let committed = timeout(patience, async {
            self.wait_ready().await;
            self.batcher.submit(request)?.await.unwrap_or_else(|_| Err(self.stopped()))
        });
        let late = || StoreError::Unavailable(format!("no commit in group {} within {patience:?}", self.id));
        committed.await.unwrap_or_else(|_| Err(late()))
    }

    /// How long a request waits for its commit.
    pub(crate) fn patience(&self, request: &Execute) -> Result<Duration, StoreError> {
        let now = (self.clock)();
        let left_millis = request.deadline.millis_since(now);
        if left_millis == 0 {
            let late_seconds = now.millis_since(request.deadline) / 1000;
            return Err(StoreError::Unavailable(format!(
                "the request's deadline passed {late_seconds} s ago: it waited, or the clock of the node it comes from is \
                 behind this node's"
            )));
        }
        if left_millis > limits::REQUEST_DEADLINE_MILLIS_MAX {
            return Err(StoreError::Unavailable(format!(
                "the request's deadline is {} s away, {} s are allowed: the clock of the node it comes from is ahead of this \
                 node's",
                left_millis / 1000,
                limits::REQUEST_DEADLINE_MILLIS_MAX / 1000
            )));
        }
        Ok(Duration::from_millis(left_millis.min(limits::COMMIT_TIMEOUT_MILLIS)))
    }

    /// Whether openraft has given the group up.
    pub(crate) fn has_stopped(&self) -> bool {
        self.raft.metrics().borrow_watched().running_state.is_err()
    }

    pub(crate) fn stopped(&self) -> StoreError {
        StoreError::Unavailable(format!("group {} has stopped", self.id))
    }

    /// Answers a query from the live state, once it is as new as asked for, and says how far it was.
    pub(crate) async fn query(&self, query: Query, freshness: Freshness) -> Result<(Answer, u64), StoreError> {
        self.catch_up(freshness).await?;
        if reads_much(&query) {
            let replica = self.replica.clone();
            let answered = runtime::spawn_blocking(move || answer(&replica, &query)).await;
            return answered.map_err(|error| StoreError::Internal(error.to_string()))?;
        }
        answer(&self.replica, &query)
    }

    /// Whether this replica leads and is the only voter.
    pub(crate) fn is_alone(&self) -> bool {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.state.is_leader() && metrics.membership_config.voter_ids().eq([self.replica_id])
    }

    /// How long this replica has led, while it does.
    pub(crate) fn leading_for(&self) -> Duration {
        self.leads_since.lock().elapsed()
    }

    /// Refuses what comes from a replica that was given up: it may have a longer log, or a greater term.
    pub(crate) fn check_not_fenced(&self, sender: u64) -> Result<(), String> {
        if self.fenced.contains(&sender) {
            let (group, own) = (self.id, self.replica_id);
            return Err(format!(
                "replica {sender} of group {group} was given up when replica {own} recovered the group: stop its node, it \
                 has no place in this cluster any more"
            ));
        }
        Ok(())
    }

    /// So many blobs are known to be missing here.
    pub(crate) fn lacks(&self, blobs: u64) {
        self.lacking.store(blobs, Ordering::Relaxed);
    }

    /// Blobs that are known to be missing here.
    pub(crate) fn lacking(&self) -> u64 {
        self.lacking.load(Ordering::Relaxed)
    }

    pub(crate) fn log_bytes(&self) -> u64 {
        self.log.ends().bytes
    }

    /// Lets openraft purge the log behind the flushed state, but for what the policy keeps.
    pub(crate) async fn purge(&self, settings: &Settings, node_log_bytes: u64) {
        let Some(flushed) = self.replica.flushed() else { return };
        let (slowest_voter, slowest_stalled) = self.slowest_voter();
        let situation =
            LogSituation { flushed: Some(flushed.index), slowest_voter, slowest_stalled, bytes: node_log_bytes };
        let Some(upto) = settings.retention.purge_upto(situation) else { return };
        if self.log.ends().purged.is_some_and(|purged| purged.index >= upto) {
            return;
        }
        // openraft purges no further than its last snapshot, so it first hears how far the state is durable.
        let purged = async {
            let mut snapshots = self.raft.watch_snapshot_progress();
            self.raft.trigger().snapshot().await?;
            // An error means that openraft has stopped; purging says so itself.
            let _ = snapshots.wait_until_ge(&Some(flushed)).await;
            self.raft.trigger().purge_log(upto).await?;
            // It may be put off while a follower reads there; then it comes by itself.
            let wait = self.raft.wait(Some(PURGE_PUT_OFF));
            let _ = wait.metrics(|metrics| metrics.purged.is_some_and(|id| id.index >= upto), "purged").await;
            Ok::<_, openraft::errors::Fatal<TypeConfig>>(())
        };
        match timeout(PURGE_PATIENCE, purged).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(group = %self.id, %error, "the log cannot be purged"),
            Err(_) => tracing::warn!(group = %self.id, "the log was not purged in time, the next flush tries again"),
        }
    }

    /// The last entry that the slowest other voter has (known to the leader only: a follower keeps nothing for
    /// others), and how long it has not moved.
    fn slowest_voter(&self) -> (Option<u64>, Duration) {
        let metrics = self.raft.metrics();
        let matched = slowest_matched(&metrics.borrow_watched(), self.replica_id);
        let mut slowest = self.slowest.lock();
        if slowest.matched != matched {
            *slowest = Slowest { matched, since: Instant::now() };
        }
        (matched, slowest.since.elapsed())
    }

    fn clock_ahead_millis(&self) -> u64 {
        let (view, space) = self.replica.view();
        match securanet_engine::clock(&*view, space) {
            Ok(Some(clock)) => clock.millis_since((self.clock)()),
            // Whoever applies or answers meets the error too, and stops.
            Ok(None) | Err(_) => 0,
        }
    }

    pub(crate) fn status(&self) -> GroupStatus {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let (ends, (waiting, in_flight)) = (self.log.ends(), self.batcher.depth());
        GroupStatus {
            group: self.id,
            replica: self.replica_id,
            leader: metrics.current_leader,
            is_leader: metrics.state.is_leader(),
            term: metrics.current_term,
            voters: metrics.membership_config.voter_ids().collect(),
            members: self.member_statuses(&metrics),
            committed: metrics.cluster_committed.map(|id| id.index),
            replayed: self.is_ready(),
            last_log: ends.last.map(|id| id.index),
            last_log_term: ends.last.map(|id| id.leader_id.term),
            applied: self.replica.applied().map(|id| id.index),
            flushed: self.replica.flushed().map(|id| id.index),
            purged: ends.purged.map(|id| id.index),
            log_bytes: ends.bytes,
            waiting_requests: waiting,
            proposals_in_flight: in_flight,
            clock_ahead_millis: self.clock_ahead_millis(),
            hollow: self.replica.is_hollow(),
            hollow_blobs: self.lacking(),
            stopped: metrics.running_state.err().map(|error| error.to_string()),
        }
    }
}

/// What whoever asked the wrong node is told.
pub(crate) fn not_leader(forward: &ForwardToLeader<TypeConfig>) -> StoreError {
    StoreError::NotLeader { leader: forward.leader_node.as_ref().map(|member| member.node.clone()) }
}

/// Whether log and state can belong together. openraft would begin anew, or leave out what is missing.
fn check_together(log: &GroupLog, replica: &Replica) -> Result<(), RaftError> {
    let inconsistent = |message: String| Err(RaftError::Log { group: log.group(), message });
    let (purged, applied) = (log.ends().purged, replica.applied());
    if purged > applied {
        let index = |id: Option<crate::types::LogId>| id.map_or("nothing".to_owned(), |id| id.index.to_string());
        let (purged, applied) = (index(purged), index(applied));
        return inconsistent(format!(
            "it is purged up to {purged}, but the state has {applied}: the state store is not its own"
        ));
    }
    if applied.is_some() && !log.has_voted() {
        return inconsistent(
            "the state has entries, but the log was never used: the log store is not its own".to_owned(),
        );
    }
    Ok(())
}

fn slowest_matched(metrics: &RaftMetrics<TypeConfig>, own: u64) -> Option<u64> {
    let replication = metrics.replication.as_ref()?;
    let others = metrics.membership_config.voter_ids().filter(|voter| *voter != own);
    others.map(|voter| replication.get(&voter).copied().flatten().map_or(0, |id| id.index)).min()
}

fn answer(replica: &Replica, query: &Query) -> Result<(Answer, u64), StoreError> {
    // Before the view is taken, which is then at least as far.
    let index = replica.applied().map_or(0, |id| id.index);
    let (view, space) = replica.view();
    let answered = securanet_engine::answer(&*view, space, query);
    let answer = answered.map_err(|error| RaftError::Engine { group: replica.group(), error })?;
    Ok((answer, index))
}

/// Whether answering may read so many rows that other tasks of the thread would notice.
fn reads_much(query: &Query) -> bool {
    match query {
        Query::Account(_, query) => match query {
            AccountQuery::States { rows_max, .. }
            | AccountQuery::Messages { rows_max, .. }
            | AccountQuery::ChangeLog { rows_max, .. } => *rows_max > INLINE_ROWS_MAX,
            AccountQuery::Changes { .. } => true,
            _ => false,
        },
        Query::Directory(query) => matches!(
            query,
            DirectoryQuery::Domains(_)
                | DirectoryQuery::Accounts(..)
                | DirectoryQuery::Aliases(_)
                | DirectoryQuery::Lists(_)
                | DirectoryQuery::Policies
                | DirectoryQuery::TlsReportsDue { .. }
                | DirectoryQuery::TlsReportDomains { .. }
        ),
        Query::Queue(query) => matches!(query, QueueQuery::Pending { .. } | QueueQuery::Held { .. }),
        Query::BlobsReachable(blobs) => blobs.len() > INLINE_ROWS_MAX as usize,
        Query::Blobs { .. } | Query::DomainUsage => true,
        Query::Outbound(query) => {
            !matches!(query, OutboundQuery::Content(_) | OutboundQuery::Envelope(_) | OutboundQuery::Depth)
        }
        Query::Totals => false,
    }
}
