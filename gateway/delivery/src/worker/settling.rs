//! Facts on their way into a group's queue: what each attempt came to, many in one commit.
//!
//! Each recipient that was taken ends here, so this is also where its claim on memory ends. A fact stays in the line
//! until it is committed; while the group has no quorum the line fills up, and sessions wait before they begin more.

use std::{sync::Arc, time::Duration};

use securanet_gateway::model::outbound::{OutboundCommand, Settlement};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::{
    group::Handle,
    queue::Queue,
    revival::{Task, revived},
};
use crate::{metric, worker::Core};

/// Outcomes come in crowds; waiting this long for more makes one commit of them.
const GATHER: Duration = Duration::from_millis(20);
/// Facts of one commit: some hundred octets each.
const BATCH_MAX: usize = 500;
/// Facts in line: two commits' worth, then sessions wait.
pub(crate) const LINE_MAX: usize = 2 * BATCH_MAX;

/// A fact, and whose memory it frees.
#[derive(Debug)]
pub(crate) struct Fact {
    pub(crate) destination: Arc<str>,
    pub(crate) settlement: Settlement,
    /// Something may be due because of it, a retry or a report.
    pub(crate) is_loud: bool,
}

/// What a group's settler has: the line, and what of it is being committed.
pub(crate) struct Settler {
    handle: Arc<Handle>,
    queue: Queue,
    line: mpsc::Receiver<Fact>,
    /// Kept until it is committed, also by who comes after one that died of it.
    batch: Option<Batch>,
}

struct Batch {
    command: OutboundCommand,
    destinations: Vec<Arc<str>>,
    is_loud: bool,
}

impl Settler {
    pub(crate) const fn new(handle: Arc<Handle>, queue: Queue, line: mpsc::Receiver<Fact>) -> Self {
        Self { handle, queue, line, batch: None }
    }

    /// Commits facts until nobody has any more.
    pub(crate) async fn run(&mut self, core: &Core) {
        loop {
            if self.batch.is_none() {
                let Some(batch) = self.gather().await else { return };
                self.batch = Some(batch);
            }
            self.commit(core).await;
        }
    }

    async fn gather(&mut self) -> Option<Batch> {
        let first = self.line.recv().await?;
        let mut facts = vec![first];
        let end = Instant::now() + GATHER;
        while facts.len() < BATCH_MAX {
            match timeout_at(end, self.line.recv()).await {
                Ok(Some(fact)) => facts.push(fact),
                Ok(None) | Err(_) => break,
            }
        }
        let is_loud = facts.iter().any(|fact| fact.is_loud);
        let (destinations, settlements): (Vec<_>, Vec<_>) =
            facts.into_iter().map(|fact| (fact.destination, fact.settlement)).unzip();
        settlements.iter().for_each(|settlement| metric::attempt(&settlement.tried));
        Some(Batch { command: OutboundCommand::Settle(settlements), destinations, is_loud })
    }

    async fn commit(&mut self, core: &Core) {
        if let Some(batch) = &self.batch {
            self.queue.tell(&batch.command).await;
        }
        let Some(batch) = self.batch.take() else { return };
        for destination in batch.destinations {
            core.release(&self.handle, &destination, 1);
        }
        if batch.is_loud {
            self.handle.wake();
        }
    }
}

/// Commits a group's facts until nobody has any more, whatever happens.
pub(crate) async fn run(core: Arc<Core>, settler: Settler) {
    let task = Task { name: "settler", group: settler.queue.group() };
    let settler = tokio::sync::Mutex::new(settler);
    revived(task, &core.shutdown, || async { settler.lock().await.run(&core).await }).await;
}
