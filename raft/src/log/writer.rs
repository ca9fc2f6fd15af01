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

use crate::{FatalHook, log::tail::Tail, metric::Syncs, types::TypeConfig};

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
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    waiting: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Writer {
    pub(super) fn spawn(kv: Arc<dyn KeyValue>, fatal: FatalHook) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        let thread = thread::Builder::new().name("log-sync".to_owned()).spawn(move || run(&theirs, &*kv, &fatal))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Queues a job; jobs are done in the order of the calls.
    pub(super) fn submit(&self, job: Job) {
        let mut queue = self.shared.queue.lock();
        if queue.closed {
            drop(queue);
            return complete(job.then, Err("the log is closed"));
        }
        queue.jobs.push_back(job);
        self.shared.waiting.notify_one();
    }

    /// Does what is queued, then ends the thread and waits for it.
    pub(super) fn close(&self) {
        self.shared.queue.lock().closed = true;
        self.shared.waiting.notify_one();
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

fn run(shared: &Shared, kv: &dyn KeyValue, fatal: &FatalHook) {
    let syncs = Syncs::new();
    let mut failed: Option<KvError> = None;
    while let Some((batch, durability, then)) = next_round(shared) {
        let outcome = match &failed {
            Some(error) => Err(error.clone()),
            None => write(kv, batch, durability),
        };
        if let Ok(Some(took)) = outcome {
            syncs.synced(then.len(), took);
        }
        if let (Err(error), None) = (&outcome, &failed) {
            fatal(error);
            failed = Some(error.clone());
        }
        let outcome = outcome.map_err(|error| error.to_string());
        then.into_iter().for_each(|then| complete(then, outcome.as_ref().map(drop).map_err(String::as_str)));
    }
    // What may become durable eventually does so now: nothing comes behind it any more.
    if failed.is_none()
        && let Err(error) = kv.sync()
    {
        fatal(&error);
    }
}

/// Waits for jobs and takes a round of them; none when the log is closed and nothing is left.
fn next_round(shared: &Shared) -> Option<(WriteBatch, Durability, Vec<Then>)> {
    let mut queue = shared.queue.lock();
    while queue.jobs.is_empty() {
        if queue.closed {
            return None;
        }
        shared.waiting.wait(&mut queue);
    }
    let (mut batch, mut bytes, mut thens) = (WriteBatch::new(), 0, Vec::new());
    let mut durability = Durability::Buffered;
    while let Some(job) = queue.jobs.pop_front() {
        if !thens.is_empty() && bytes + job.bytes > ROUND_BYTES_MAX {
            queue.jobs.push_front(job);
            break;
        }
        if !matches!(job.then, Then::Eventually) {
            durability = Durability::Synced;
        }
        bytes += job.bytes;
        batch.extend(job.batch);
        thens.push(job.then);
    }
    Some((batch, durability, thens))
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
