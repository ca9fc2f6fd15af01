//! The gate: an append passes when every blob that its entries name is durable here.
//!
//! So "this entry is in my log" means "its blobs are on my disk", and a majority that has the entry has the bodies. It
//! stands before openraft and not in the log: there, answers to heartbeats would wait behind it. What is missing is
//! pulled from the node that sent the append; one fetch is under way for each blob, whoever waits for it, and only so
//! many at the same time. Content goes from the network to the disk in frames, so that memory does not depend on its
//! size.
//!
//! A fetch that hears nothing for some seconds has failed, and the append with it: its sender tries again.

use std::{
    collections::HashMap,
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use securanet_blob::{BlobError, BlobStore, Lease, intake::LEASE_MILLIS};
use securanet_model::{BlobId, GroupId};
use securanet_wire::replication::{BlobStep, blob_request_to_wire, blob_step_from_wire};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::spawn_blocking,
    time::timeout,
};

use crate::{
    FatalHook,
    metric::Gated,
    network::{Network, PeerClass},
    settings::Clock,
};

/// Fetches under way at the same time.
const FETCHES_MAX: usize = 8;
/// Frames of a blob that wait for the disk.
const FRAMES_MAX: usize = 4;
/// A sender that says nothing for so long has failed.
const FRAME_PATIENCE: Duration = Duration::from_secs(5);

/// What came of a fetch; an error is for whoever waits, and is not remembered.
type Fetched = Result<(), String>;

/// Holds appends until their blobs are here. One for all groups of a node.
pub(crate) struct Gate {
    network: Network,
    blobs: Arc<BlobStore>,
    clock: Clock,
    fatal: FatalHook,
    permits: Semaphore,
    /// The fetches under way.
    fetches: Mutex<HashMap<BlobId, watch::Receiver<Option<Fetched>>>>,
    gated: Gated,
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
        let (permits, gated) = (Semaphore::new(FETCHES_MAX), Gated::new());
        Arc::new(Self { network, blobs, clock, fatal, permits, fetches: Mutex::default(), gated })
    }

    /// Waits until all of these are durable here; gets what is missing from a node.
    ///
    /// # Errors
    /// The reason why a blob could not be had.
    pub(crate) async fn pass(self: &Arc<Self>, from: &str, group: GroupId, blobs: Vec<BlobId>) -> Result<(), String> {
        if blobs.is_empty() {
            return Ok(());
        }
        let missing = self.hold(blobs.clone()).await?;
        if !missing.is_empty() {
            self.gated.held(missing.len());
            tracing::debug!(%group, from, missing = missing.len(), "an append waits for blobs");
            let fetches = missing.into_iter().map(|blob| self.fetch(from, blob, Urgency::Commit));
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

    /// Gets a blob from a node, or waits for whoever is getting it.
    pub(crate) async fn fetch(self: &Arc<Self>, from: &str, blob: BlobId, urgency: Urgency) -> Fetched {
        let mut fetched = {
            let mut fetches = self.fetches.lock();
            match fetches.get(&blob) {
                Some(fetched) => fetched.clone(),
                None => {
                    let (done, fetched) = watch::channel(None);
                    fetches.insert(blob, fetched.clone());
                    let (gate, from) = (self.clone(), from.to_owned());
                    // A task of its own: others may wait for it when this caller has gone.
                    tokio::spawn(async move {
                        let outcome = gate.get(&from, blob, urgency).await;
                        if let Err(why) = &outcome {
                            tracing::warn!(%blob, from, why, "a blob cannot be had");
                        }
                        gate.fetches.lock().remove(&blob);
                        done.send_replace(Some(outcome));
                    });
                    fetched
                }
            }
        };
        let outcome = fetched.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
        outcome.ok().flatten().unwrap_or_else(|| Err("the fetch of a blob was given up".to_owned()))
    }

    async fn get(&self, from: &str, blob: BlobId, urgency: Urgency) -> Fetched {
        let _permit = self.permits.acquire().await.map_err(|error| error.to_string())?;
        let mut client = self.network.client(from, PeerClass::Blobs)?;
        let asked = timeout(FRAME_PATIENCE, client.blob(blob_request_to_wire(self.network.node(), blob))).await;
        let silent = |_| format!("node {from:?} says nothing of blob {blob} for {FRAME_PATIENCE:?}");
        let mut frames = asked.map_err(silent)?.map_err(|status| status.to_string())?.into_inner();
        let (mut content, mut put, mut got_bytes) = (None, None, 0);
        while let Some(frame) =
            timeout(FRAME_PATIENCE, frames.message()).await.map_err(silent)?.map_err(|s| s.to_string())?
        {
            match (blob_step_from_wire(frame).map_err(|error| error.to_string())?, &content) {
                (BlobStep::Missing, _) => return Err(format!("node {from:?} does not have blob {blob}")),
                (BlobStep::Size(size_bytes), None) => {
                    let (sender, receiver) = mpsc::channel(FRAMES_MAX);
                    let (store, lease) = (self.blobs.clone(), self.lease());
                    let mut reader = Frames { receiver, rest: Bytes::new() };
                    put = Some(spawn_blocking(move || store.put(blob, &mut reader, size_bytes, lease)));
                    content = Some(sender);
                }
                (BlobStep::Bytes(bytes), Some(sender)) => {
                    got_bytes += bytes.len() as u64;
                    if urgency == Urgency::Bulk {
                        self.network.pace().wait(bytes.len()).await;
                    }
                    // When the store has stopped reading, it says why.
                    if sender.send(bytes).await.is_err() {
                        break;
                    }
                }
                _ => return Err(format!("node {from:?} sends blob {blob} out of turn")),
            }
        }
        drop(content);
        let put = put.ok_or_else(|| format!("node {from:?} sends nothing of blob {blob}"))?;
        put.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        self.gated.fetched(got_bytes);
        Ok(())
    }
}

/// What arrives, for a thread that reads.
struct Frames {
    receiver: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl Read for Frames {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.receiver.blocking_recv() {
                Some(bytes) => self.rest = bytes,
                None => return Ok(0),
            }
        }
        let length = out.len().min(self.rest.len());
        out[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}
