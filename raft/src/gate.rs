//! The gate: an append passes when every blob that its entries name is durable here.
//!
//! So "this entry is in my log" means "its blobs are on my disk", and a majority that has the entry has the bodies. It
//! stands before openraft and not in the log: there, answers to heartbeats would wait behind it. What is missing is
//! pulled from the node that sent the append, or by way of the node of this site that pulls it for all of them
//! ([`sources`]), or from another member when that one's copy is damaged or it cannot be asked. One fetch is under way for
//! each blob, whoever waits for it, and only so many at the same time ([`fetch`]). Content goes from the network to the disk
//! in frames, so that memory does not depend on its size, and is there only if its checksum fits ([`frames`]).
//!
//! When no holder is left, the append has failed: its sender tries again.

mod fetch;
mod frames;
mod sources;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use securanet_blob::{BlobError, BlobStore, Lease, intake::LEASE_MILLIS};
use securanet_model::{BlobId, GroupId};
use tokio::time::Instant;

use self::fetch::{Fetches, Permits};
pub(crate) use self::sources::{Distance, Holders, Source};
use crate::{FatalHook, metric::Gated, network::Network, runtime::spawn_blocking, settings::Clock};

/// What came of a fetch; an error is for whoever waits, and is not remembered.
pub(crate) type Fetched = Result<(), NotHad>;

/// Why a blob could not be had.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum NotHad {
    /// Whoever was asked does not have it.
    #[error("whoever was asked does not have it")]
    Nowhere,
    /// The last copy that was found does not fit its checksum.
    #[error("a copy is damaged: {0}")]
    Damaged(String),
    /// Somebody could not be asked, or stopped in between.
    #[error("{0}")]
    Silent(String),
    /// It could not be kept.
    #[error("{0}")]
    Failed(String),
}

/// Holds appends until their blobs are here. One for all groups of a node.
pub(crate) struct Gate {
    network: Network,
    blobs: Arc<BlobStore>,
    clock: Clock,
    fatal: FatalHook,
    permits: Permits,
    /// The fetches under way.
    fetches: Mutex<Fetches>,
    /// Near nodes that were silent, and when: at most as many as there are.
    silent: Mutex<BTreeMap<String, Instant>>,
    gated: Gated,
    awaited: Awaited,
}

/// What is waited for. Clones are the same.
#[derive(Clone, Default)]
struct Awaited {
    /// Blobs that appends wait for.
    blobs: Arc<AtomicU64>,
    /// Octets that are still to come of all fetches that have begun.
    bytes: Arc<AtomicU64>,
}

/// Part of what is waited for, until it is dropped.
struct Part {
    sum: Arc<AtomicU64>,
    left: u64,
}

impl Part {
    fn of(sum: &Arc<AtomicU64>, left: u64) -> Self {
        sum.fetch_add(left, Ordering::Relaxed);
        Self { sum: sum.clone(), left }
    }

    /// So much of it has come.
    fn came(&mut self, much: u64) {
        let much = much.min(self.left);
        self.left -= much;
        self.sum.fetch_sub(much, Ordering::Relaxed);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.sum.fetch_sub(self.left, Ordering::Relaxed);
    }
}

/// How urgent a fetch is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Urgency {
    /// A commit waits for it.
    Commit,
    /// Nobody does: it keeps to the pace of bulk traffic.
    Bulk,
}

impl Gate {
    pub(crate) fn new(network: Network, blobs: Arc<BlobStore>, clock: Clock, fatal: FatalHook) -> Arc<Self> {
        Arc::new(Self {
            network,
            blobs,
            clock,
            fatal,
            permits: Permits::default(),
            fetches: Mutex::new(HashMap::new()),
            silent: Mutex::default(),
            gated: Gated::new(),
            awaited: Awaited::default(),
        })
    }

    /// How many blobs appends wait for, and how many octets are still to come of all fetches that have begun.
    pub(crate) fn awaited(&self) -> (u64, u64) {
        (self.awaited.blobs.load(Ordering::Relaxed), self.awaited.bytes.load(Ordering::Relaxed))
    }

    /// How many of these are not here.
    pub(crate) async fn count_missing(&self, blobs: Vec<BlobId>) -> Result<u64, String> {
        let store = self.blobs.clone();
        let counted = spawn_blocking(move || {
            blobs.into_iter().try_fold(0, |sum, blob| Ok::<_, BlobError>(sum + u64::from(!store.contains(blob)?)))
        });
        counted.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// Waits until all of these are durable here; gets what is missing from the holders.
    ///
    /// # Errors
    /// The reason why a blob could not be had.
    pub(crate) async fn pass(
        self: &Arc<Self>,
        holders: &Holders,
        group: GroupId,
        blobs: Vec<BlobId>,
    ) -> Result<(), String> {
        if blobs.is_empty() {
            return Ok(());
        }
        let missing = self.hold(blobs.clone()).await?;
        if !missing.is_empty() {
            self.gated.held(missing.len());
            tracing::debug!(%group, missing = missing.len(), "an append waits for blobs");
            let fetches = missing.into_iter().map(|blob| async move {
                let fetched = self.fetch(&holders.sources(blob), blob, Urgency::Commit).await;
                fetched.map_err(|why| format!("blob {blob}: {why}"))
            });
            futures::future::try_join_all(fetches).await?;
            // One that was there a while ago may be gone meanwhile, were it not held.
            if let Some(gone) = self.hold(blobs).await?.first() {
                return Err(format!("blob {gone} came and is gone"));
            }
        }
        // Also one that was here already: whoever put it may not have synced it yet.
        self.sync().await
    }

    /// Keeps blobs from collection until the entry that names them does; those that are not here.
    pub(crate) async fn hold(&self, blobs: Vec<BlobId>) -> Result<Vec<BlobId>, String> {
        let (store, lease) = (self.blobs.clone(), self.lease());
        let held = spawn_blocking(move || {
            let mut missing = Vec::new();
            for blob in blobs {
                if !store.hold(blob, lease)? {
                    missing.push(blob);
                }
            }
            Ok::<_, BlobError>(missing)
        });
        held.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    fn lease(&self) -> Lease {
        let now = (self.clock)();
        Lease { now, until: now.plus_millis(LEASE_MILLIS) }
    }

    /// Makes all that was put durable; a disk that cannot ends the process.
    pub(crate) async fn sync(&self) -> Result<(), String> {
        let (store, fatal) = (self.blobs.clone(), self.fatal.clone());
        let synced = spawn_blocking(move || {
            store.sync().inspect_err(|error| {
                if let BlobError::SyncFailed(error) = error {
                    fatal(error);
                }
            })
        });
        synced.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_or_was_given_up_is_awaited_no_more() {
        let sum = Arc::new(AtomicU64::new(0));
        let (mut one, other) = (Part::of(&sum, 10), Part::of(&sum, 5));
        one.came(4);
        assert_eq!(sum.load(Ordering::Relaxed), 11);
        // More than it said.
        one.came(9);
        drop((one, other));
        assert_eq!(sum.load(Ordering::Relaxed), 0);
    }
}
