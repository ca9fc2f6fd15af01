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

use super::{group::Handle, queue::Queue};
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

/// Commits facts until nobody has any more.
pub(crate) async fn run(core: Arc<Core>, handle: Arc<Handle>, queue: Queue, mut line: mpsc::Receiver<Fact>) {
    while let Some(first) = line.recv().await {
        let mut batch = vec![first];
        let end = Instant::now() + GATHER;
        while batch.len() < BATCH_MAX {
            match timeout_at(end, line.recv()).await {
                Ok(Some(fact)) => batch.push(fact),
                Ok(None) | Err(_) => break,
            }
        }
        commit(&core, &handle, &queue, batch).await;
    }
}

async fn commit(core: &Core, handle: &Handle, queue: &Queue, batch: Vec<Fact>) {
    let is_loud = batch.iter().any(|fact| fact.is_loud);
    let (destinations, settlements): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|fact| (fact.destination, fact.settlement)).unzip();
    settlements.iter().for_each(|settlement| metric::attempt(&settlement.tried));
    queue.tell(OutboundCommand::Settle(settlements)).await;
    for destination in destinations {
        core.release(handle, &destination, 1);
    }
    if is_loud {
        handle.wake();
    }
}
