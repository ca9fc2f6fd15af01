//! The gate: an append passes when every blob that its entries name is durable here.
//!
//! So "this entry is in my log" means "its blobs are on my disk", and a majority that has the entry has the bodies. It
//! stands before openraft and not in the log: there, answers to heartbeats would wait behind it. What is missing is
//! pulled from the node that sent the append, or from another member when that one's copy is damaged or it cannot be
//! asked; one fetch is under way for each blob, whoever waits for it, and only so many at the same time. Content goes from
//! the network to the disk in frames, so that memory does not depend on its size, and is there only if its checksum fits.
//!
//! A fetch that hears nothing for some seconds has failed. When no holder is left, the append has too: its sender tries
//! again.

use std::{
    collections::HashMap,
    fmt,
    io::{self, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use securanet_blob::{BlobError, BlobStore, Lease, intake::LEASE_MILLIS};
use securanet_model::{BlobId, GroupId};
use securanet_wire::replication::{BlobStep, blob_request_to_wire, blob_step_from_wire};
use tokio::{
    sync::{
        Semaphore,
        mpsc::{
            self,
            error::{TryRecvError, TrySendError},
        },
        watch,
    },
    time::timeout,
};

use crate::{
    FatalHook,
    metric::Gated,
    network::{Network, PeerClass, checksum},
    runtime::spawn_blocking,
    settings::Clock,
};

/// Fetches under way at the same time.
const FETCHES_MAX: usize = 8;
/// Frames of a blob that wait for the disk.
const FRAMES_MAX: usize = 4;
/// A sender that says nothing for so long has failed.
const FRAME_PATIENCE: Duration = Duration::from_secs(5);

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
    /// Somebody could not be asked, or stopped in between; or this disk.
    #[error("{0}")]
    Failed(String),
}

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
        let (permits, gated) = (Semaphore::new(FETCHES_MAX), Gated::new());
        Arc::new(Self {
            network,
            blobs,
            clock,
            fatal,
            permits,
            fetches: Mutex::default(),
            gated,
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

    /// Waits until all of these are durable here; gets what is missing from the first of the holders that has it whole.
    ///
    /// # Errors
    /// The reason why a blob could not be had.
    pub(crate) async fn pass(
        self: &Arc<Self>,
        holders: &[String],
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
                let fetched = self.fetch(holders, blob, Urgency::Commit).await;
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

    /// Gets a blob from the first of these nodes that has a whole copy.
    pub(crate) async fn fetch(self: &Arc<Self>, holders: &[String], blob: BlobId, urgency: Urgency) -> Fetched {
        let mut failed = NotHad::Nowhere;
        for node in holders {
            match self.fetch_from(node, blob, urgency).await {
                Ok(()) => return Ok(()),
                // Whoever does not have it says nothing of where it may be.
                Err(NotHad::Nowhere) => {}
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Gets a blob from a node, or waits for whoever is getting it.
    async fn fetch_from(self: &Arc<Self>, from: &str, blob: BlobId, urgency: Urgency) -> Fetched {
        let mut fetched = {
            let mut fetches = self.fetches.lock();
            match fetches.get(&blob) {
                Some(fetched) => fetched.clone(),
                None => {
                    let (done, fetched) = watch::channel(None);
                    fetches.insert(blob, fetched.clone());
                    let (gate, from) = (self.clone(), from.to_owned());
                    let awaited = (urgency == Urgency::Commit).then(|| Part::of(&self.awaited.blobs, 1));
                    // A task of its own: others may wait for it when this caller has gone.
                    tokio::spawn(async move {
                        let outcome = gate.get(&from, blob, urgency).await;
                        match &outcome {
                            Ok(()) => {}
                            Err(NotHad::Damaged(why)) => {
                                tracing::error!(%blob, node = from, why, "a node's copy of a blob is damaged");
                            }
                            Err(why) => tracing::warn!(%blob, from, %why, "a blob cannot be had"),
                        }
                        gate.fetches.lock().remove(&blob);
                        drop(awaited);
                        done.send_replace(Some(outcome));
                    });
                    fetched
                }
            }
        };
        let outcome = fetched.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
        let given_up = || Err(NotHad::Failed("the fetch of a blob was given up".to_owned()));
        outcome.ok().flatten().unwrap_or_else(given_up)
    }

    async fn get(&self, from: &str, blob: BlobId, urgency: Urgency) -> Fetched {
        let _permit = self.permits.acquire().await.map_err(failed)?;
        let mut client = self.network.client(from, PeerClass::Blobs).map_err(NotHad::Failed)?;
        let asked = timeout(FRAME_PATIENCE, client.blob(blob_request_to_wire(self.network.node(), blob))).await;
        let silent = |_| NotHad::Failed(format!("node {from:?} says nothing of it for {FRAME_PATIENCE:?}"));
        let out_of_turn = || NotHad::Failed(format!("node {from:?} sends it out of turn"));
        let mut frames = asked.map_err(silent)?.map_err(failed)?.into_inner();
        let mut next = async || -> Result<Option<BlobStep>, NotHad> {
            let frame = timeout(FRAME_PATIENCE, frames.message()).await.map_err(silent)?.map_err(failed)?;
            frame.map(|frame| blob_step_from_wire(frame).map_err(failed)).transpose()
        };
        let size_bytes = match next().await? {
            Some(BlobStep::Size(size_bytes)) => size_bytes,
            Some(BlobStep::Missing) => return Err(NotHad::Nowhere),
            Some(BlobStep::Damaged(why)) => return Err(NotHad::Damaged(why)),
            Some(BlobStep::Bytes(_) | BlobStep::Checksum(_)) | None => return Err(out_of_turn()),
        };
        let (content, receiver) = mpsc::channel(FRAMES_MAX);
        let (store, lease) = (self.blobs.clone(), self.lease());
        let mut reader = Frames { receiver, rest: Bytes::new(), checksum: checksum(blob), is_whole: false };
        // Begun when as much is here as may wait, or all of it: what is small then keeps no thread waiting for a network.
        let mut unbegun = Some(move || store.put(blob, &mut reader, size_bytes, lease));
        let mut put = None;
        let (mut got_bytes, mut to_come) = (0, Part::of(&self.awaited.bytes, size_bytes));
        let sent = loop {
            let piece = match next().await {
                Ok(Some(BlobStep::Bytes(bytes))) => {
                    got_bytes += bytes.len() as u64;
                    to_come.came(bytes.len() as u64);
                    if urgency == Urgency::Bulk {
                        self.network.pace().wait(bytes.len()).await;
                    }
                    Piece::Bytes(bytes)
                }
                Ok(Some(BlobStep::Checksum(checksum))) => Piece::End(checksum),
                Ok(Some(BlobStep::Damaged(why))) => break Err(NotHad::Damaged(why)),
                Ok(Some(BlobStep::Size(_) | BlobStep::Missing)) => break Err(out_of_turn()),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            let Err(TrySendError::Full(piece)) = content.try_send(piece) else { continue };
            put = put.or_else(|| unbegun.take().map(spawn_blocking));
            // When the store has stopped reading, it says why.
            if content.send(piece).await.is_err() {
                break Ok(());
            }
        };
        drop(content);
        let put = match put.or_else(|| unbegun.take().map(spawn_blocking)) {
            Some(put) => put.await.map_err(failed)?,
            None => return Err(out_of_turn()),
        };
        sent?;
        put.map_err(|error| match error {
            BlobError::Content(error) if error.kind() == io::ErrorKind::InvalidData => {
                NotHad::Damaged(format!("{error} on its way"))
            }
            error => failed(error),
        })?;
        self.gated.fetched(got_bytes);
        Ok(())
    }
}

fn failed(error: impl fmt::Display) -> NotHad {
    NotHad::Failed(error.to_string())
}

/// Part of a blob that arrives.
enum Piece {
    Bytes(Bytes),
    /// All of it, which must have this checksum.
    End(u32),
}

/// What arrives, for a thread that reads. Reading to the end fails unless the checksum came and fits.
struct Frames {
    receiver: mpsc::Receiver<Piece>,
    rest: Bytes,
    checksum: crc32fast::Hasher,
    is_whole: bool,
}

impl Read for Frames {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.is_whole {
            let next = match self.receiver.try_recv() {
                Err(TryRecvError::Empty) => self.receiver.blocking_recv(),
                next => next.ok(),
            };
            match next {
                Some(Piece::Bytes(bytes)) => {
                    self.checksum.update(&bytes);
                    self.rest = bytes;
                }
                Some(Piece::End(expected)) if expected == self.checksum.clone().finalize() => self.is_whole = true,
                Some(Piece::End(_)) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "its checksum does not fit its content"));
                }
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let length = out.len().min(self.rest.len());
        out[..length].copy_from_slice(&self.rest.split_to(length));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use securanet_model::TenantId;

    use super::*;

    const BLOB: BlobId = BlobId { tenant: TenantId::new(7), hash: [9; 32] };

    /// What a reader makes of these pieces.
    fn read(pieces: Vec<Piece>) -> Result<Vec<u8>, io::ErrorKind> {
        let (sender, receiver) = mpsc::channel(pieces.len().max(1));
        pieces.into_iter().for_each(|piece| assert!(sender.try_send(piece).is_ok()));
        drop(sender);
        let mut frames = Frames { receiver, rest: Bytes::new(), checksum: checksum(BLOB), is_whole: false };
        let mut content = Vec::new();
        frames.read_to_end(&mut content).map_err(|error| error.kind())?;
        Ok(content)
    }

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

    #[test]
    fn content_is_there_only_when_its_checksum_came_and_fits() {
        let sum = |content: &[u8]| {
            let mut sum = checksum(BLOB);
            sum.update(content);
            Piece::End(sum.finalize())
        };
        let bytes = |bytes: &'static [u8]| Piece::Bytes(Bytes::from_static(bytes));
        assert_eq!(read(vec![bytes(b"abc"), bytes(b""), bytes(b"def"), sum(b"abcdef")]), Ok(b"abcdef".to_vec()));
        assert_eq!(read(vec![sum(b"")]), Ok(Vec::new()));
        assert_eq!(read(vec![bytes(b"abc"), bytes(b"dxf"), sum(b"abcdef")]), Err(io::ErrorKind::InvalidData));
        assert_eq!(read(vec![bytes(b"abc")]), Err(io::ErrorKind::UnexpectedEof), "it was cut off");
        let mut other = checksum(BlobId { hash: [8; 32], ..BLOB });
        other.update(b"abc");
        let other = Piece::End(other.finalize());
        assert_eq!(read(vec![bytes(b"abc"), other]), Err(io::ErrorKind::InvalidData), "another blob's");
    }
}
