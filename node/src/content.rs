//! Care of the blobs: collecting those that nobody names any more, and scrubbing.
//!
//! Both ask the groups of this node which blobs they name, on a thread that may block.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc, time::Duration};

use securanet_admin::{Finding, ScrubReport};
use securanet_blob::{
    BlobError, BlobStore,
    collect::{Collected, Collector, Reachability},
    keys::ContentKeys,
    scrub::{Fault, References, scrub},
};
use securanet_gateway::{
    clock,
    connection::Shutdown,
    model::{Answer, BlobId, Freshness, GroupId, Query, StoreError},
};
use securanet_kv::{KeyRange, KeyValue};
use securanet_raft::{Groups, Stores};
use tokio::runtime::Handle;

/// Blobs that one step of the collection looks at: some milliseconds of reading.
const STEP_ROWS: usize = 1000;
/// Between two steps.
const STEP_PAUSE: Duration = Duration::from_secs(2);
/// Between two passes over all blobs.
const PASS_PAUSE: Duration = Duration::from_secs(600);
/// Deleted blobs leave holes in files; when a pass has deleted this much, the files are written anew without them.
const COMPACT_BYTES_MIN: u64 = 256 << 20;

/// Looks after the blobs of this node.
pub(crate) struct ContentCare {
    names: Names,
    blobs: Arc<BlobStore>,
    disk: Arc<dyn KeyValue>,
    keys: ContentKeys,
}

/// Which blobs the groups of this node name.
#[derive(Clone)]
struct Names {
    groups: Groups,
    runtime: Handle,
}

fn untold(error: &StoreError) -> BlobError {
    BlobError::Groups(error.to_string())
}

impl Names {
    fn ask(&self, group: GroupId, query: Query) -> Result<Answer, BlobError> {
        let asked = self.runtime.block_on(self.groups.query(group, query, Freshness::Now));
        asked.map(|(answer, _)| answer).map_err(|error| untold(&error))
    }
}

impl Reachability for Names {
    /// Last index of each group's log.
    type Position = BTreeMap<GroupId, u64>;

    fn is_replayed(&self) -> bool {
        self.groups.replayed()
    }

    fn reachable(&self, blobs: &[BlobId]) -> Result<Vec<bool>, BlobError> {
        self.groups.reachable(blobs).map_err(|error| untold(&error))
    }

    fn position(&self) -> Result<Self::Position, BlobError> {
        Ok(self.groups.status().into_iter().map(|status| (status.group, status.last_log.unwrap_or(0))).collect())
    }

    /// Entries that are not purged count as naming their blobs already, so the flush is all that is waited for.
    fn is_settled(&self, position: &Self::Position) -> Result<bool, BlobError> {
        let flushed = |group: &GroupId, index: u64| {
            let status = self.groups.status().into_iter().find(|status| status.group == *group);
            status.is_none_or(|status| status.flushed.unwrap_or(0) >= index)
        };
        Ok(position.iter().all(|(group, &index)| flushed(group, index)))
    }
}

impl References for Names {
    fn groups(&self) -> Vec<GroupId> {
        let all = self.groups.status().into_iter().map(|status| status.group);
        all.filter(|group| *group != GroupId::DIRECTORY).collect()
    }

    fn named(&self, group: GroupId, after: Option<BlobId>, rows_max: usize) -> Result<Vec<BlobId>, BlobError> {
        let rows_max = u32::try_from(rows_max).unwrap_or(u32::MAX);
        match self.ask(group, Query::Blobs { after, rows_max })? {
            Answer::Blobs(blobs) => Ok(blobs),
            other => Err(BlobError::Groups(format!("group {group} answered out of turn: {other:?}"))),
        }
    }

    fn is_named(&self, group: GroupId, blob: BlobId) -> Result<bool, BlobError> {
        match self.ask(group, Query::BlobsReachable(vec![blob]))? {
            Answer::BlobsReachable(named) => Ok(named.first() == Some(&true)),
            other => Err(BlobError::Groups(format!("group {group} answered out of turn: {other:?}"))),
        }
    }
}

impl ContentCare {
    /// For these groups and blobs; inside a runtime.
    pub(crate) fn new(groups: Groups, stores: &Stores, keys: ContentKeys) -> Arc<Self> {
        let names = Names { groups, runtime: Handle::current() };
        Arc::new(Self { names, blobs: stores.blobs.clone(), disk: stores.blob.clone(), keys })
    }

    /// Collects, a step at a time, until the node drains.
    pub(crate) async fn collect_until(self: Arc<Self>, shutdown: Shutdown) {
        let mut collector = Collector::new(STEP_ROWS);
        let draining = shutdown.draining();
        tokio::pin!(draining);
        let mut pause = STEP_PAUSE;
        let mut deleted_bytes = 0;
        loop {
            tokio::select! {
                () = &mut draining => return,
                () = tokio::time::sleep(pause) => {}
            }
            let care = self.clone();
            let step = tokio::task::spawn_blocking(move || {
                let done = collector.step(&care.blobs, &care.names, clock::now());
                (collector, done)
            });
            let Ok((back, done)) = step.await else {
                tracing::error!("the collection of blobs panicked and has ended; restart the node");
                return;
            };
            collector = back;
            pause = pause_after(&done);
            if let Ok(collected) = done {
                deleted_bytes += collected.stored_bytes;
                if collected.pass_ended && deleted_bytes >= COMPACT_BYTES_MIN {
                    deleted_bytes = 0;
                    self.compact().await;
                }
            }
        }
    }

    async fn compact(&self) {
        let disk = self.disk.clone();
        let compacted = tokio::task::spawn_blocking(move || disk.compact(&KeyRange::prefix(Vec::new()))).await;
        match compacted {
            Ok(Ok(())) => tracing::info!("blob files compacted"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "blob files could not be compacted; trying again after the next pass")
            }
            Err(error) => tracing::error!(%error, "the compaction of blob files panicked"),
        }
    }

    /// Verifies every blob and every reference.
    pub(crate) async fn scrub(self: &Arc<Self>) -> anyhow::Result<ScrubReport> {
        let care = self.clone();
        let report = tokio::task::spawn_blocking(move || {
            let hasher = |tenant| Some(care.keys.blob_hasher(tenant));
            scrub(&care.blobs, &care.names, &hasher, &mut |_| ControlFlow::Continue(()))
        });
        let report = report.await??;
        tracing::info!(blobs = report.blobs, damaged = report.damaged, missing = report.missing, "scrub ended");
        let finding = |finding: &securanet_blob::scrub::Finding| Finding {
            blob: finding.blob.to_string(),
            problem: match &finding.fault {
                Fault::Damaged { what } => format!("damaged: {what}"),
                Fault::Missing { group } => format!("missing, and group {group} names it"),
            },
        };
        Ok(ScrubReport {
            blobs_verified: report.blobs,
            references_verified: report.references,
            findings: report.damaged + report.missing,
            first_findings: report.findings.iter().map(finding).collect(),
        })
    }
}

fn pause_after(done: &Result<Collected, BlobError>) -> Duration {
    match done {
        Ok(collected) => {
            metrics::counter!("securanet_blobs_collected_total").increment(collected.blobs);
            if collected.blobs > 0 {
                tracing::info!(blobs = collected.blobs, bytes = collected.stored_bytes, "blobs collected");
            }
            if collected.pass_ended { PASS_PAUSE } else { STEP_PAUSE }
        }
        Err(error) if error.is_fatal() => {
            tracing::error!(%error, "fatal: sync failed; the process ends, nothing acknowledged is lost");
            std::process::abort();
        }
        Err(error) => {
            tracing::warn!(%error, "blobs could not be collected; trying again");
            STEP_PAUSE
        }
    }
}
