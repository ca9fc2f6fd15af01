//! The worker: takes what is due from all groups' outbound queues and sees that each recipient is tried and settled.
//!
//! One for a process, over all shard groups. Each group has a task that looks and takes ([`group`]), one that commits
//! intents ([`intending`]) and one that commits outcomes ([`settling`]); one task opens connections, as many as the [`scheduler`] allows; each connection is a task
//! ([`attempt`]). All of them are owned by [`Worker::run`] and joined there.
//!
//! # What is promised
//!
//! - A recipient is taken under a lease and its final dot is passed under it ([`lease`]): after the lease's end nobody
//!   here passes one any more, so another worker may begin.
//! - The intent to pass the final dot is committed before the dot is written. What is not known afterwards is said to be
//!   uncertain, and the queue waits before it repeats.
//! - Each outcome is told to the queue until it is committed. What is dropped instead ends its lease, and is made due
//!   again by that.
//! - Faults of our own count as no retry.
//! - A task that dies of a fault in our code is begun again ([`revival`]), and counted.
//!
//! # How it stops
//!
//! It takes nothing more, breaks off what has not passed its final dot, waits [`DRAIN_PATIENCE`] for the answers to those
//! that have, says of all else that it was not tried, and commits that.

mod attempt;
mod bounce;
mod content;
mod destination;
mod gate;
mod group;
mod intending;
mod lease;
mod letter;
mod local;
mod onward;
mod probe;
mod queue;
mod revival;
mod schedule;
mod scheduler;
mod sending;
mod settings;
mod settling;
#[cfg(test)]
mod tests;
mod timers;
mod uplink;
mod wire;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use securanet_gateway::{
    client::StoreClient,
    clock,
    connection::Shutdown,
    model::{
        GroupId, UnixMillis,
        directory::{DirectoryAnswer, DirectoryQuery},
        outbound::{ItemView, Origin, Taken, WorkerId},
    },
};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};

pub use self::settings::WorkerSettings;
use self::{
    destination::{Load, SessionEnd},
    group::{Handle, Lines},
    intending::Intender,
    lease::Lease,
    letter::{Heads, Letter, TLS_REPORT_PREFIX, Verdict},
    queue::Queue,
    schedule::Schedules,
    scheduler::{Offered, Scheduler},
    settling::Settler,
    uplink::{Change, Sign, Uplink},
    wire::{Internet, Wire},
};
use crate::{
    client::Client,
    dkim::Signer,
    metric,
    report::ReportNames,
    route::{ROUTE_PREFIX, Router},
};

/// Answers to final dots are waited for so long when the node stops; what is open then is uncertain.
const DRAIN_PATIENCE: Duration = Duration::from_secs(20);
/// Facts are committed within this time when the node stops, or repeated after the leases' end.
const SETTLE_PATIENCE: Duration = Duration::from_secs(10);
/// What is due in a group that another site prefers is left to it for so long; longer than its worker needs to take it.
const LEFT_FOR: Duration = Duration::from_secs(2);
/// Between two questions for the cluster's facts while the directory does not answer.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Delivers outbound mail.
pub struct Worker {
    parts: Parts,
}

/// What a worker is made of.
struct Parts {
    client: StoreClient,
    wire: Arc<dyn Wire>,
    settings: WorkerSettings,
    names: ReportNames,
    clock: Clock,
    prefers: Preference,
}

/// Which groups' mail is to leave from here first.
type Preference = Arc<dyn Fn(GroupId) -> bool + Send + Sync>;

/// The wall clock: the queue's times are of the world.
type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// What all tasks of a worker share.
pub(crate) struct Core {
    client: StoreClient,
    wire: Arc<dyn Wire>,
    settings: WorkerSettings,
    names: ReportNames,
    clock: Clock,
    prefers: Preference,
    worker: WorkerId,
    scheduler: Mutex<Scheduler<Letter, Verdict>>,
    uplink: Mutex<Uplink>,
    schedules: Schedules,
    heads: Heads,
    signer: Signer,
    shutdown: Shutdown,
    /// A connection may be opened that could not be before.
    work: Notify,
    /// Memory has room that it did not have: counts how often.
    room: watch::Sender<u64>,
}

impl Worker {
    /// A worker over this store; `router` finds hosts, `client` speaks to them, `names` stand in reports.
    #[must_use]
    pub fn new(
        store: StoreClient,
        router: Router,
        client: Client,
        names: ReportNames,
        settings: WorkerSettings,
    ) -> Self {
        let wire = Arc::new(Internet::new(router, client));
        Self {
            parts: Parts {
                client: store,
                wire,
                settings,
                names,
                clock: Arc::new(clock::now),
                prefers: Arc::new(|_| true),
            },
        }
    }

    /// Leaves the mail of all other groups to who prefers it, for two seconds after it has become due.
    #[must_use]
    pub fn prefers(mut self, prefers: impl Fn(GroupId) -> bool + Send + Sync + 'static) -> Self {
        self.parts.prefers = Arc::new(prefers);
        self
    }

    /// Works until the node drains, and stops as described in the module's card.
    pub async fn run(self, shutdown: Shutdown) {
        let core = Arc::new(Core::new(self.parts, shutdown));
        let Some(shards) = core.shards().await else { return };
        let mut groups = JoinSet::new();
        let mut settlers = JoinSet::new();
        for shard in 1..=shards {
            let handle = Arc::new(Handle::new(GroupId::new(shard)));
            let (facts, outcomes) = mpsc::channel(settling::LINE_MAX);
            let (intents, dots) = mpsc::channel(intending::LINE_MAX);
            let queue = Queue::new(core.client.clone(), handle.group);
            settlers.spawn(intending::run(core.clone(), Intender::new(queue.clone(), dots)));
            settlers.spawn(settling::run(core.clone(), Settler::new(handle.clone(), queue, outcomes)));
            groups.spawn(group::run(core.clone(), handle, Lines { facts, intents }));
        }
        tracing::info!(shards, "outbound mail is delivered");
        let sessions = core.clone().open_sessions().await;
        core.stop(groups, sessions, settlers).await;
    }
}

impl Core {
    fn new(parts: Parts, shutdown: Shutdown) -> Self {
        let Parts { client, wire, settings, names, clock, prefers } = parts;
        Self {
            scheduler: Mutex::new(Scheduler::new(settings.limits())),
            uplink: Mutex::new(Uplink::new(Instant::now())),
            schedules: Schedules::new(client.clone()),
            heads: Heads::default(),
            signer: Signer::new(client.clone()),
            worker: WorkerId(uuid::Uuid::new_v4().into_bytes()),
            client,
            wire,
            settings,
            names,
            clock,
            prefers,
            shutdown,
            work: Notify::new(),
            room: watch::Sender::new(0),
        }
    }

    fn now(&self) -> UnixMillis {
        (self.clock)()
    }

    /// How long what is due in a group is left to others.
    fn leaves_for(&self, group: GroupId) -> Duration {
        if (self.prefers)(group) { Duration::ZERO } else { LEFT_FOR }
    }

    /// How many shard groups there are; `None` when the node drains before the directory says so.
    async fn shards(&self) -> Option<u32> {
        loop {
            let asked = self.client.ask_directory(DirectoryQuery::Cluster);
            let answered = tokio::select! {
                answered = asked => answered,
                () = self.shutdown.draining() => return None,
            };
            match answered {
                Ok(DirectoryAnswer::Cluster(Some(cluster))) => return Some(cluster.shards),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "the directory does not answer yet"),
            }
            tokio::select! {
                () = sleep(ASK_AGAIN) => {}
                () = self.shutdown.draining() => return None,
            }
        }
    }

    /// Opens connections until the node drains; gives those that are open.
    async fn open_sessions(self: Arc<Self>) -> JoinSet<()> {
        let mut sessions = JoinSet::new();
        loop {
            while !self.shutdown.is_draining() {
                let Some((name, load)) = self.start() else { break };
                sessions.spawn(attempt::run(self.clone(), name, load));
            }
            metric::in_memory(self.scheduler.lock().in_hand());
            let wake_at = self.scheduler.lock().wake_at();
            tokio::select! {
                () = self.shutdown.draining() => return sessions,
                () = self.work.notified() => {}
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
                Some(ended) = sessions.join_next() => self.look_at(ended),
            }
        }
    }

    fn start(&self) -> Option<(Arc<str>, Load<Letter>)> {
        self.scheduler.lock().start(Instant::now())
    }

    /// A session ended; its letters have ended their leases if it panicked.
    fn look_at(&self, ended: Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended {
            metric::died("session");
            tracing::error!(%error, "a session has died; what it had becomes due again");
        }
    }

    async fn stop(
        self: Arc<Self>,
        mut groups: JoinSet<JoinSet<()>>,
        mut sessions: JoinSet<()>,
        mut settlers: JoinSet<()>,
    ) {
        let mut renewals = Vec::new();
        while let Some(ended) = groups.join_next().await {
            renewals.extend(ended.ok());
        }
        // What waits in memory is somebody else's to try, at once.
        let waiting = self.scheduler.lock().drain(|_| true);
        let (began, not_tried) = (Instant::now(), letter::not_tried(1, "the server is shutting down"));
        let give_back = async {
            for (_, load) in waiting {
                load.letter.settle_all(began, &not_tried).await;
            }
        };
        let open = async { while sessions.join_next().await.is_some() {} };
        if timeout(DRAIN_PATIENCE, async { tokio::join!(give_back, open) }).await.is_err() {
            tracing::warn!("answers to final dots are still missing: their recipients are uncertain");
        }
        sessions.shutdown().await;
        // With the last letter the last sender of facts is gone, and the settlers end with their line.
        let settled = async { while settlers.join_next().await.is_some() {} };
        if timeout(SETTLE_PATIENCE, settled).await.is_err() {
            tracing::warn!("outcomes could not be committed: their recipients are tried again or uncertain");
        }
        drop(renewals);
    }

    /// The destination that a recipient really waits for: a route's, where one fits now. An operator's word stands. TLS
    /// reports wait apart from all else.
    /// `claimed` is the one under which it was claimed.
    fn routed(&self, view: &ItemView, taken: &Taken, claimed: &Arc<str>) -> Arc<str> {
        let recipient = &taken.recipient;
        let by_operator = recipient.destination != recipient.address.host();
        let name = if by_operator {
            recipient.destination.clone()
        } else {
            self.wire.destination_of(&view.sender, &recipient.address)
        };
        let aside = view.origin == Origin::TlsReport && !name.starts_with(ROUTE_PREFIX);
        let name = if aside { format!("{TLS_REPORT_PREFIX}{name}") } else { name };
        if name == **claimed { claimed.clone() } else { Arc::from(name) }
    }

    fn recipients_max(&self) -> usize {
        self.settings.recipients_per_message_max
    }

    fn is_full(&self) -> bool {
        self.scheduler.lock().in_hand() >= self.settings.recipients_in_memory_max
    }

    /// Takes letters in; gives those that are to be told what was found at their destination not long ago.
    fn offer(&self, letters: Vec<(Arc<str>, Load<Letter>)>) -> Vec<(Letter, Verdict)> {
        let mut told = Vec::new();
        let now = Instant::now();
        let mut scheduler = self.scheduler.lock();
        for (name, load) in letters {
            let insists = load.letter.recipients.iter().any(|taken| taken.out_of_turn);
            match scheduler.offer(now, &name, load, insists) {
                Offered::Waits => {}
                Offered::Told(load, verdict) => told.push((load.letter, verdict)),
            }
        }
        drop(scheduler);
        self.work.notify_one();
        told
    }

    /// Recipients are settled, or were not taken: their memory is free.
    fn release(&self, handle: &Handle, destination: &Arc<str>, count: usize) {
        handle.released(count);
        if self.scheduler.lock().release(destination, count) {
            self.room.send_modify(|times| *times += 1);
        }
    }

    /// Drops what waits under a lease that has ended; how many recipients that were.
    fn drop_letters(&self, lease: &Arc<Lease>, group: GroupId) -> usize {
        let of_lease = |letter: &Letter| letter.handle.group == group && Arc::ptr_eq(&letter.lease, lease);
        let dropped = self.scheduler.lock().drain(of_lease);
        dropped.iter().map(|(_, load)| load.recipients).sum()
    }

    /// A connection has ended. What waited for the destination is told `verdict` where the end says so.
    async fn session_ended(&self, name: &Arc<str>, end: SessionEnd<Verdict>, verdict: &Verdict) {
        let now = Instant::now();
        let told = self.scheduler.lock().ended(now, name, end);
        self.work.notify_one();
        for load in told {
            load.letter.settle_all(now, verdict).await;
        }
    }

    /// Something that was seen of the world beyond our uplink.
    fn saw(&self, destination: &str, sign: Sign) {
        match self.uplink.lock().saw(Instant::now(), destination, sign) {
            Change::None => {}
            Change::Died => {
                metric::uplink_dead(true);
                tracing::error!(
                    "no destination answers: the uplink is taken for dead, failures count as no retry until one does"
                );
            }
            Change::Revived => {
                metric::uplink_dead(false);
                tracing::info!("a destination answers: the uplink is alive");
            }
        }
    }

    fn is_uplink_dead(&self) -> bool {
        self.uplink.lock().is_dead(Instant::now())
    }
}
