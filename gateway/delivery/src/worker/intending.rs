//! Intents on their way into a group's queue: of letters that come to their final dots together, in one commit.
//!
//! While one commit is under way, those that come gather for the next. After a commit of several the next one waits
//! [`GATHER`]: each commit costs the same however many it covers, and where letters come in crowds nobody notices. A
//! letter alone waits for nothing. Who stops waiting takes its intent along, unless it is being committed.

use std::{sync::Arc, time::Duration};

use securanet_gateway::model::outbound::Place;
use tokio::{
    sync::{Mutex, mpsc, oneshot},
    time::sleep,
};

use super::{
    Core,
    lease::Lease,
    queue::Queue,
    revival::{Task, revived},
};

/// The next commit waits so long after one of several intents.
const GATHER: Duration = Duration::from_millis(4);
/// Recipients of one commit: the queue's own bound, and that of a letter.
const BATCH_MAX: usize = 1000;
/// Intents in line; who finds it full waits, as for a commit.
pub(crate) const LINE_MAX: usize = 1000;

/// A letter's recipients whom its host has accepted, before their final dot.
#[derive(Debug)]
pub(crate) struct Intent {
    pub(crate) lease: Arc<Lease>,
    /// Who, with their attempts.
    pub(crate) places: Vec<(Place, u32)>,
    /// Whether the final dot may be passed, for each; dropped when that is not known.
    pub(crate) answer: oneshot::Sender<Vec<bool>>,
}

/// What commits a group's intents.
pub(crate) struct Intender {
    queue: Queue,
    line: mpsc::Receiver<Intent>,
    /// The first one that had no place in the commit before.
    next: Option<Intent>,
}

impl Intender {
    pub(crate) const fn new(queue: Queue, line: mpsc::Receiver<Intent>) -> Self {
        Self { queue, line, next: None }
    }

    async fn run(&mut self) {
        while let Some(intents) = self.gather().await {
            let is_crowd = intents.len() > 1;
            self.commit(intents).await;
            if is_crowd {
                sleep(GATHER).await;
            }
        }
    }

    /// What waits, of one lease; `None` when nobody is left who could have an intent.
    async fn gather(&mut self) -> Option<Vec<Intent>> {
        let first = match self.next.take() {
            Some(intent) => intent,
            None => self.line.recv().await?,
        };
        let mut count = first.places.len();
        let mut intents = vec![first];
        while let Ok(intent) = self.line.try_recv() {
            count += intent.places.len();
            if count > BATCH_MAX || !Arc::ptr_eq(&intent.lease, &intents[0].lease) {
                self.next = Some(intent);
                break;
            }
            intents.push(intent);
        }
        Some(intents)
    }

    async fn commit(&self, mut intents: Vec<Intent>) {
        intents.retain(|intent| !intent.answer.is_closed());
        let Some(lease) = intents.first().map(|intent| intent.lease.clone()).filter(|lease| lease.is_living()) else {
            return;
        };
        let places = intents.iter().flat_map(|intent| intent.places.iter().copied()).collect();
        match self.queue.intend(lease.epoch(), places, lease.left()).await {
            Ok(may) => {
                let mut may = may.into_iter();
                for intent in intents {
                    let answer = may.by_ref().take(intent.places.len()).collect();
                    // Who has stopped waiting passes no final dot.
                    drop(intent.answer.send(answer));
                }
            }
            Err(error) => {
                tracing::warn!(group = %self.queue.group(), %error, "intents could not be committed: nothing is sent");
            }
        }
    }
}

/// Commits a group's intents until nobody has any more, whatever happens.
pub(crate) async fn run(core: Arc<Core>, intender: Intender) {
    let task = Task { name: "intender", group: intender.queue.group() };
    let intender = Mutex::new(intender);
    revived(task, &core.shutdown, || async { intender.lock().await.run().await }).await;
}
