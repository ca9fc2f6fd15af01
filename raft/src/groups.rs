//! All groups of a node: opens them, sends requests and questions to the right one, keeps house, shuts down.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use futures::future::{join_all, try_join_all};
use parking_lot::Mutex;
use securanet_model::{
    Answer, BlobId, Execute, Freshness, GroupId, Query, ReplicaId, Reply, StoreError,
    request::{Topic, Totals},
};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    GroupStatus, RaftError, Settings, Stores,
    clock_alarm::ClockAlarm,
    clocks::Clocks,
    fan_out::FanOut,
    gate::Gate,
    group::Group,
    heartbeat,
    hollow::keep_filled,
    log::LogStore,
    metric::Gauges,
    network::{Network, Pace, ReplicationService},
    router::Router,
    runtime,
    state::{Effects, Replica, flush::Flusher},
    watches::Watches,
};

/// How often the house is kept: flush and purge when due, gauges.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Shutting down waits this long for requests that are on their way; a commit that takes longer has no quorum.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);
/// What openraft's own tasks get to end.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// All groups of a node. Clones are the same groups.
#[derive(Clone)]
pub struct Groups(Arc<Inner>);

struct Inner {
    settings: Settings,
    router: Arc<Router>,
    log: LogStore,
    watches: Arc<Watches>,
    flusher: Flusher,
    clock_alarm: ClockAlarm,
    gauges: Gauges,
    /// Set when shutting down begins: nothing new is begun.
    draining: watch::Sender<bool>,
    tasks: Mutex<JoinSet<()>>,
}

impl Groups {
    /// Opens all groups of the settings and starts them; new ones get the settings' voters. They replay in the
    /// background: see [`Groups::ready`].
    ///
    /// # Errors
    /// [`RaftError`] names what does not fit: settings, another replica's directory, groups that would be lost,
    /// damaged rows, the disk.
    pub async fn open(settings: Settings, stores: &Stores) -> Result<Self, RaftError> {
        settings.check()?;
        let log = LogStore::open(stores.log.clone(), settings.log_cache_bytes_max, settings.fatal.clone())?;
        log.identify(settings.replica.get(), &settings.groups)?;
        let watches = Arc::new(Watches::new(settings.watch_topics_max));
        let unflushed_bytes = Arc::new(AtomicU64::new(0));
        let pace = Pace::new(settings.bulk_bytes_per_second);
        let clocks = Clocks::new(settings.clock.clone());
        let network = Network::new(&settings.node, settings.peers.clone(), clocks, pace);
        let gate = Gate::new(network.clone(), stores.blobs.clone(), settings.clock.clone(), settings.fatal.clone());
        let (mut starting, mut replicas, mut wakes) = (Vec::new(), Vec::new(), Vec::new());
        for &id in &settings.groups {
            let fan_out = Arc::new(Notify::new());
            let effects = Effects {
                watches: watches.clone(),
                fan_out: fan_out.clone(),
                unflushed_bytes: unflushed_bytes.clone(),
                fatal: settings.fatal.clone(),
            };
            let replica = Arc::new(Replica::open(id, stores.state.clone(), effects)?);
            starting.push(Group::start(&settings, &network, &gate, (log.group(id)?, log.fenced(id)?), replica.clone()));
            replicas.push(replica);
            wakes.push((id, fan_out));
        }
        // Together, so that their first votes and entries share fsyncs.
        let started = try_join_all(starting).await?;
        let groups = started.into_iter().map(|group| (group.id(), Arc::new(group))).collect();
        let flusher = Flusher::new(stores.state.clone(), replicas, unflushed_bytes, settings.fatal.clone());
        let router = Router { groups, blobs: stores.blobs.clone(), clock: settings.clock.clone(), network, gate };
        let inner = Inner {
            settings,
            router: Arc::new(router),
            log,
            watches,
            flusher,
            clock_alarm: ClockAlarm::default(),
            gauges: Gauges::default(),
            draining: watch::Sender::new(false),
            tasks: Mutex::default(),
        };
        let groups = Self(Arc::new(inner));
        groups.spawn_tasks(wakes);
        Ok(groups)
    }

    fn spawn_tasks(&self, wakes: Vec<(GroupId, Arc<Notify>)>) {
        let inner = &self.0;
        let mut tasks = inner.tasks.lock();
        let beats = watch::Sender::new(());
        for group in inner.router.groups.values() {
            tasks.spawn(heartbeat::follow(group.clone(), beats.subscribe()));
            let recovering = group.clone();
            tasks.spawn(async move { recovering.recover().await });
            tasks.spawn(keep_filled(group.clone(), inner.draining.subscribe()));
            let (batcher, raft, stamping) = (group.batcher.clone(), group.raft.clone(), group.clone());
            tasks.spawn(batcher.run(raft, move || stamping.stamp()));
        }
        for (group, wake) in wakes.into_iter().filter(|(group, _)| *group != GroupId::DIRECTORY) {
            let worker = FanOut::new(group, inner.router.clone(), &inner.settings, wake, inner.draining.subscribe());
            tasks.spawn(worker.run());
        }
        tasks.spawn(heartbeat::beat(Duration::from_millis(inner.settings.timing.heartbeat_millis), beats));
        tasks.spawn(keep_house(Arc::downgrade(inner), inner.draining.subscribe()));
    }

    /// Ends when all groups have a leader and have applied what they acknowledged before this start.
    pub async fn ready(&self) {
        join_all(self.0.router.groups.values().map(|group| group.wait_ready())).await;
    }

    /// Whether [`Groups::ready`] would end at once. Until then no blob may be collected: the state does not yet
    /// name all that it will.
    #[must_use]
    pub fn replayed(&self) -> bool {
        self.0.router.groups.values().all(|group| group.is_ready())
    }

    /// What other nodes ask of these groups; whoever listens for them serves it.
    #[must_use]
    pub fn replication(&self) -> ReplicationService {
        ReplicationService::new(self.0.router.clone())
    }

    /// Commits a request; gives its replies, one per command, and the index at which it was applied.
    ///
    /// Whether this node leads the group does not matter: if not, whoever leads commits it, also one that is elected
    /// meanwhile. Waits until the request's deadline, at most [`securanet_model::limits::COMMIT_TIMEOUT_MILLIS`]. The
    /// same request may be sent again until then: it is applied once.
    ///
    /// # Errors
    /// [`StoreError::NoGroup`]; [`StoreError::NotFound`] when it names a blob that neither this node nor a member of the
    /// group has; [`StoreError::Busy`] when too much waits; [`StoreError::Draining`]; [`StoreError::Unavailable`] when
    /// it is not known to be committed (it may be, later), and for a deadline too far away.
    pub async fn execute(&self, request: Execute) -> Result<(Vec<Reply>, u64), StoreError> {
        if *self.0.draining.borrow() {
            return Err(StoreError::Draining);
        }
        self.0.router.execute(request).await
    }

    /// Adds a replica on another node to a group; it gets all entries and has no vote. Nothing happens when it is there
    /// already.
    ///
    /// # Errors
    /// [`StoreError::NotLeader`]: ask that node. [`StoreError::Unavailable`] says why it cannot be done, or not now.
    pub async fn add_learner(&self, group: GroupId, replica: ReplicaId, node: &str) -> Result<(), StoreError> {
        self.0.router.group(group)?.add_learner(replica, node).await
    }

    /// Gives a learner a vote, once it has caught up and lacks no blobs.
    ///
    /// # Errors
    /// Those of [`Groups::add_learner`].
    pub async fn promote(&self, group: GroupId, replica: ReplicaId) -> Result<(), StoreError> {
        self.0.router.group(group)?.promote(replica).await
    }

    /// Makes a voter a learner again.
    ///
    /// # Errors
    /// Those of [`Groups::add_learner`].
    pub async fn demote(&self, group: GroupId, replica: ReplicaId) -> Result<(), StoreError> {
        self.0.router.group(group)?.demote(replica).await
    }

    /// Takes a replica out of a group, whether its node lives or not.
    ///
    /// # Errors
    /// Those of [`Groups::add_learner`].
    pub async fn remove_replica(&self, group: GroupId, replica: ReplicaId) -> Result<(), StoreError> {
        self.0.router.group(group)?.remove(replica).await
    }

    /// Hands the leadership of a group to another voter, and waits until that one leads.
    ///
    /// # Errors
    /// Those of [`Groups::add_learner`].
    pub async fn transfer_leader(&self, group: GroupId, to: ReplicaId) -> Result<(), StoreError> {
        self.0.router.group(group)?.hand_over(to).await
    }

    /// Hands on the leadership of all groups that this node leads, at the same time. Whoever stops a node does it before
    /// anything else: the others would wait for an election, and until then ask a node that listens no more. Groups that
    /// nobody can take over stay.
    pub async fn resign(&self) {
        let resigned = join_all(self.0.router.groups.values().map(|group| group.resign())).await;
        let left = resigned.into_iter().filter(|resigned| !resigned).count();
        if left > 0 {
            tracing::info!(
                groups = left,
                "nobody takes over these groups: they wait for this node, or for an election"
            );
        }
    }

    /// Answers from a state that is as new as is asked for, and says how far it was. Whether this node leads the group does
    /// not matter: where it must be known, the leader is asked how far its replica must be.
    ///
    /// # Errors
    /// [`StoreError::NoGroup`]; [`StoreError::Unavailable`] when for five seconds no leader can be asked, or the replica
    /// is not as far; [`StoreError::Damaged`] when the state does not decode.
    pub async fn query(&self, group: GroupId, query: Query, freshness: Freshness) -> Result<(Answer, u64), StoreError> {
        self.0.router.query(group, query, freshness).await
    }

    /// Gets those of these blobs that are not here from another member of the group: a replica that installed a snapshot
    /// reads bodies through until it has them all.
    ///
    /// # Errors
    /// [`StoreError::NoGroup`]; [`StoreError::Unavailable`] when a member that may have one cannot be asked;
    /// [`StoreError::Damaged`] when none has it.
    pub async fn fetch(&self, group: GroupId, blobs: &[BlobId]) -> Result<(), StoreError> {
        self.0.router.read_through(group, blobs).await
    }

    /// Wakes on each change of the topic that becomes visible from now on; the value is the index of the last one
    /// (0 before the first). It may wake too often, never too seldom.
    #[must_use]
    pub fn watch(&self, topic: Topic) -> watch::Receiver<u64> {
        self.0.watches.watch(topic)
    }

    /// Counts of each group, ascending by group.
    ///
    /// # Errors
    /// Those of [`Groups::query`].
    pub async fn totals(&self) -> Result<Vec<(GroupId, Totals)>, StoreError> {
        let mut totals = Vec::new();
        for group in self.0.router.groups.values() {
            match group.query(Query::Totals, Freshness::Now).await?.0 {
                Answer::Totals(sums) => totals.push((group.id(), sums)),
                Answer::WrongGroup => {}
                other => return Err(StoreError::Internal(format!("the engine answered out of turn: {other:?}"))),
            }
        }
        Ok(totals)
    }

    /// Each group as this node sees it, ascending by group.
    #[must_use]
    pub fn status(&self) -> Vec<GroupStatus> {
        self.0.router.groups.values().map(|group| group.status()).collect()
    }

    /// Blobs that this node waits for: those of appends at the gate and of hollow replicas as far as they have counted; and
    /// the octets that are still to come of those whose fetch has begun.
    #[must_use]
    pub fn awaited(&self) -> (u64, u64) {
        let (blobs, bytes) = self.0.router.gate.awaited();
        (blobs + self.0.router.groups.values().map(|group| group.lacking()).sum::<u64>(), bytes)
    }

    /// Whether this node leads a group, as far as it knows; false for one that is not here.
    #[must_use]
    pub fn is_leader(&self, group: GroupId) -> bool {
        self.0.router.leads(group)
    }

    /// Whether the members of a group lack blobs that their states name: all are asked, at most two seconds; none for one
    /// that does not answer.
    ///
    /// # Errors
    /// [`StoreError::NoGroup`]; [`StoreError::NotLeader`]: ask that node.
    pub async fn member_states(&self, group: GroupId) -> Result<BTreeMap<ReplicaId, Option<bool>>, StoreError> {
        let states = self.0.router.group(group)?.member_states().await?;
        Ok(states.into_iter().map(|(replica, hollow)| (ReplicaId::new(replica), hollow)).collect())
    }

    /// Whether anything of this node names these blobs: a state, one being staged, or an unpurged log entry. In
    /// the same order. May block on the disk.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] before [`Groups::replayed`]; [`StoreError::Damaged`].
    pub fn reachable(&self, blobs: &[BlobId]) -> Result<Vec<bool>, StoreError> {
        if !self.replayed() {
            return Err(StoreError::Unavailable("not all groups have replayed their logs".to_owned()));
        }
        // The log before the state: an entry is purged only when the state it made is there.
        let pins = self.0.log.pins();
        let mut reachable: Vec<bool> = blobs.iter().map(|blob| pins.contains(blob)).collect();
        let query = Query::BlobsReachable(blobs.to_vec());
        for group in self.0.router.groups.values() {
            let (view, spaces) = group.replica.all_views();
            for space in spaces {
                let error = |error| RaftError::Engine { group: group.id(), error };
                match securanet_engine::answer(&*view, space, &query).map_err(error)? {
                    Answer::BlobsReachable(named) if named.len() == blobs.len() => {
                        reachable.iter_mut().zip(named).for_each(|(reachable, named)| *reachable |= named);
                    }
                    Answer::WrongGroup => {}
                    other => return Err(StoreError::Internal(format!("the engine answered out of turn: {other:?}"))),
                }
            }
        }
        Ok(reachable)
    }

    /// Makes all that is applied durable in the state, and purges the logs behind it. Before blobs that lost
    /// their last name are deleted, the loss of that name must be durable: this makes it so.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the disk fails; the process ends then.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.0.flush_and_purge().await.map_err(StoreError::from)
    }

    /// Takes no more requests, lets those on their way end, makes the state durable and stops. Afterwards the
    /// next start has nothing to replay.
    ///
    /// # Errors
    /// [`RaftError`] when the state could not be made durable; the log still has everything.
    pub async fn shutdown(&self) -> Result<(), RaftError> {
        let inner = &self.0;
        inner.draining.send_replace(true);
        let groups = || inner.router.groups.values();
        groups().for_each(|group| group.batcher.close());
        if timeout(DRAIN_PATIENCE, join_all(groups().map(|group| group.batcher.drained()))).await.is_err() {
            tracing::warn!("requests are still not committed: shutting down without them");
        }
        let flushed = inner.flush_and_purge().await;
        for stopped in join_all(groups().map(|group| timeout(STOP_PATIENCE, group.raft.shutdown()))).await {
            match stopped {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "a group did not end well"),
                Err(_) => tracing::warn!("a group did not end in time"),
            }
        }
        let mut tasks = std::mem::take(&mut *inner.tasks.lock());
        if timeout(STOP_PATIENCE, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!("tasks of groups did not end in time");
            tasks.shutdown().await;
        }
        let log = inner.clone();
        let closed = runtime::spawn_blocking(move || log.log.close()).await;
        closed.map_err(|error| RaftError::Settings(format!("closing the log was cancelled: {error}")))?;
        flushed
    }
}

impl Inner {
    async fn flush_and_purge(&self) -> Result<(), RaftError> {
        self.flusher.flush().await?;
        self.purge().await;
        Ok(())
    }

    async fn purge(&self) {
        let groups = || self.router.groups.values();
        let log_bytes = groups().map(|group| group.log_bytes()).sum();
        join_all(groups().map(|group| group.purge(&self.settings, log_bytes))).await;
    }

    async fn keep_house_once(self: &Arc<Self>) {
        // Purges of the round before.
        let inner = self.clone();
        if let Ok(Err(error)) = runtime::spawn_blocking(move || inner.log.drop_dead()).await {
            tracing::error!(%error, "the log cannot be flushed");
        }
        match self.flusher.flush_if_due(self.settings.flush, Instant::now()).await {
            Ok(true) => self.purge().await,
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the state cannot be made durable"),
        }
        for group in self.router.groups.values() {
            group.arrivals.tidy();
            group.replica.tidy_snapshot();
        }
        let statuses: Vec<GroupStatus> = self.router.groups.values().map(|group| group.status()).collect();
        statuses.iter().for_each(|status| self.gauges.publish(status));
        crate::metric::awaited(Groups(self.clone()).awaited());
        crate::metric::clocks(&self.router.network.clocks().all());
        let apart = self.router.groups.values().find_map(|group| group.clock_apart());
        self.clock_alarm.look(apart, &statuses, Instant::now());
    }
}

/// Flushes and purges when due. Ends with the groups.
async fn keep_house(inner: std::sync::Weak<Inner>, mut draining: watch::Receiver<bool>) {
    let mut tick = interval(HOUSEKEEPING);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = draining.wait_for(|draining| *draining) => return,
        }
        let Some(inner) = inner.upgrade() else { return };
        inner.keep_house_once().await;
    }
}
