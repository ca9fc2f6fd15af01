//! The one thread that writes the log: it gathers whatever all groups have waiting into one batch, syncs once,
//! and then completes everybody in order.
//!
//! A plain thread, because it spends its life in fdatasync; while it is there, work for the next round gathers by
//! itself, so that one sync serves more the busier the node is. What waits is bounded by who feeds it: a leader
//! has a fixed number of proposals in flight, a follower what its leader has in flight.
//!
//! A failed write ends the process ([`FatalHook`]). Where the hook returns (tests do that), nothing is written
//! any more and everybody gets the error.

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use openraft::storage::IOFlushed;
use parking_lot::{Condvar, Mutex};
use securanet_kv::{Durability, KeyValue, KvError, WriteBatch};
use tokio::sync::oneshot;

use crate::{FatalHook, log::tail::Tail, metric::Syncs, runtime, types::TypeConfig};

/// One round writes at most this much (or one job, if it is larger): what comes first shall not wait for
/// megabytes that came later.
const ROUND_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Something to write.
pub(super) struct Job {
    pub(super) batch: WriteBatch,
    /// Octets of the batch.
    pub(super) bytes: usize,
    pub(super) then: Then,
}

/// Who is told.
pub(super) enum Then {
    /// The entries up to this index are durable: openraft is told.
    Appended { tail: Arc<Tail>, last: u64, flushed: IOFlushed<TypeConfig> },
    /// It is durable: whoever waits is told.
    Durable(oneshot::Sender<io::Result<()>>),
    /// It may as well become durable with whatever is synced next: a lost purge is repeated.
    Eventually,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    /// None in a simulation, and when it has ended.
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    waiting: Condvar,
    disk: Mutex<Disk>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
    /// In a simulation: whether a task is at it.
    is_served: bool,
}

impl Writer {
    pub(super) fn spawn(kv: Arc<dyn KeyValue>, fatal: FatalHook) -> io::Result<Self> {
        let disk = Mutex::new(Disk { kv, fatal, syncs: Syncs::new(), failed: None });
        let shared = Arc::new(Shared { queue: Mutex::default(), waiting: Condvar::new(), disk });
        let theirs = shared.clone();
        let thread = if runtime::is_simulated() {
            None
        } else {
            Some(thread::Builder::new().name("log-sync".to_owned()).spawn(move || run(&theirs))?)
        };
        Ok(Self { shared, thread: Mutex::new(thread) })
    }

    /// Queues a job; jobs are done in the order of the calls.
    pub(super) fn submit(&self, job: Job) {
        let mut queue = self.shared.queue.lock();
        if queue.closed {
            drop(queue);
            return complete(job.then, Err("the log is closed"));
        }
        queue.jobs.push_back(job);
        if runtime::is_simulated() {
            if !std::mem::replace(&mut queue.is_served, true) {
                tokio::spawn(run_simulated(self.shared.clone()));
            }
            return;
        }
        self.shared.waiting.notify_one();
    }

    /// Does what is queued, then ends the thread and waits for it.
    pub(super) fn close(&self) {
        self.shared.queue.lock().closed = true;
        self.shared.waiting.notify_one();
        if runtime::is_simulated() {
            return run(&self.shared);
        }
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that syncs the log has panicked");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

fn run(shared: &Shared) {
    while let Some(round) = next_round(shared) {
        shared.disk.lock().write(round);
    }
    shared.disk.lock().end();
}

/// A thread's work in a simulation: as long as something waits, and each sync takes its time. What a round has written
/// when the power goes may be there afterwards, or not.
async fn run_simulated(shared: Arc<Shared>) {
    loop {
        let round = {
            let mut queue = shared.queue.lock();
            queue.is_served = !queue.jobs.is_empty();
            if !queue.is_served {
                return;
            }
            take_round(&mut queue)
        };
        let begun = shared.disk.lock().write_unsynced(round);
        runtime::simulated_disk().await;
        shared.disk.lock().write(begun);
    }
}

/// What is written and synced together.
struct Round {
    batch: WriteBatch,
    durability: Durability,
    then: Vec<Then>,
}

/// Where the rounds go.
struct Disk {
    kv: Arc<dyn KeyValue>,
    fatal: FatalHook,
    syncs: Syncs,
    failed: Option<KvError>,
}

impl Disk {
    /// Writes a round, syncs it, and tells whoever waits.
    fn write(&mut self, Round { batch, durability, then }: Round) {
        let outcome = match &self.failed {
            Some(error) => Err(error.clone()),
            None => write(&*self.kv, batch, durability),
        };
        if let Ok(Some(took)) = outcome {
            self.syncs.synced(then.len(), took);
        }
        if let (Err(error), None) = (&outcome, &self.failed) {
            (self.fatal)(error);
            self.failed = Some(error.clone());
        }
        let outcome = outcome.map_err(|error| error.to_string());
        then.into_iter().for_each(|then| complete(then, outcome.as_ref().map(drop).map_err(String::as_str)));
    }

    /// Writes a round without syncing it; what is left of it is the sync.
    fn write_unsynced(&mut self, round: Round) -> Round {
        if let (None, Err(error)) = (&self.failed, self.kv.write(round.batch, Durability::Buffered)) {
            (self.fatal)(&error);
            self.failed = Some(error);
        }
        Round { batch: WriteBatch::new(), ..round }
    }

    /// What may become durable eventually does so now: nothing comes behind it any more.
    fn end(&mut self) {
        if self.failed.is_none()
            && let Err(error) = self.kv.sync()
        {
            (self.fatal)(&error);
        }
    }
}

/// Waits for jobs and takes a round of them; none when the log is closed and nothing is left.
fn next_round(shared: &Shared) -> Option<Round> {
    let mut queue = shared.queue.lock();
    while queue.jobs.is_empty() {
        if queue.closed {
            return None;
        }
        shared.waiting.wait(&mut queue);
    }
    Some(take_round(&mut queue))
}

fn take_round(queue: &mut Queue) -> Round {
    let (mut batch, mut bytes, mut then) = (WriteBatch::new(), 0, Vec::new());
    let mut durability = Durability::Buffered;
    while let Some(job) = queue.jobs.pop_front() {
        if !then.is_empty() && bytes + job.bytes > ROUND_BYTES_MAX {
            queue.jobs.push_front(job);
            break;
        }
        if !matches!(job.then, Then::Eventually) {
            durability = Durability::Synced;
        }
        bytes += job.bytes;
        batch.extend(job.batch);
        then.push(job.then);
    }
    Round { batch, durability, then }
}

fn write(kv: &dyn KeyValue, batch: WriteBatch, durability: Durability) -> Result<Option<Duration>, KvError> {
    let started = Instant::now();
    kv.write(batch, durability)?;
    Ok((durability == Durability::Synced).then(|| started.elapsed()))
}

fn complete(then: Then, outcome: Result<(), &str>) {
    let outcome = outcome.map_err(io::Error::other);
    match then {
        Then::Appended { tail, last, flushed } => {
            if outcome.is_ok() {
                tail.durable_to(last);
            }
            flushed.io_completed(outcome);
        }
        // Whoever waited may be gone; nothing is lost by that.
        Then::Durable(waiter) => drop(waiter.send(outcome)),
        Then::Eventually => {}
    }
}
