//! Giving blobs to other nodes.
//!
//! The blob store checks what it reads against the checksums of the stored bytes; from there to the receiver's disk a
//! checksum over the whole goes along. What is not here and another node of the site wants from elsewhere is got first
//! ([`Gate::have_for`]); whoever asked hears meanwhile that it comes.

use std::{pin::pin, sync::Arc, time::Duration};

use securanet_blob::{BlobError, BlobStore};
use securanet_model::BlobId;
use securanet_wire::replication::{
    BLOB_FRAME_BYTES_MAX, BlobAsk,
    proto::{self, blob_frame::Frame},
};
use tokio::{
    sync::{
        OwnedSemaphorePermit, Semaphore,
        mpsc::{self, error::TrySendError},
    },
    time::{Instant, interval_at},
};
use tonic::Status;

use crate::{gate::Gate, runtime};

/// Blobs that are given at the same time. Taken when they are here: who waits for a fetch keeps nobody else from giving.
const GIVING_MAX: usize = 32;
/// Frames that wait for a connection.
const FRAMES_MAX: usize = 4;
/// Who waits for a fetch hears so this often.
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);

type Frames = mpsc::Sender<Result<proto::BlobFrame, Status>>;

/// What a node gives. Clones are the same.
#[derive(Clone)]
pub(super) struct Giving {
    gate: Arc<Gate>,
    store: Arc<BlobStore>,
    permits: Arc<Semaphore>,
}

impl Giving {
    pub(super) fn new(gate: Arc<Gate>, store: Arc<BlobStore>) -> Self {
        Self { gate, store, permits: Arc::new(Semaphore::new(GIVING_MAX)) }
    }

    /// The frames of what was asked for; they end with whoever takes them.
    pub(super) fn answer(&self, ask: BlobAsk) -> mpsc::Receiver<Result<proto::BlobFrame, Status>> {
        let (frames, waiting) = mpsc::channel(FRAMES_MAX);
        let giving = self.clone();
        tokio::spawn(async move {
            let blob = ask.blob;
            let Some(permit) = giving.prepare(&ask, &frames).await else {
                // When nobody takes it any more, nothing is left to do.
                drop(frames.try_send(Ok(proto::BlobFrame { frame: Some(Frame::Missing(proto::Missing {})) })));
                return;
            };
            drop(runtime::spawn_blocking(move || give(&giving.store, blob, &frames, permit)));
        });
        waiting
    }

    /// Waits until the blob is here and may be given; none when it is not to be had, or nobody waits for it any more.
    async fn prepare(&self, ask: &BlobAsk, frames: &Frames) -> Option<OwnedSemaphorePermit> {
        let mut prepared = pin!(async {
            if self.gate.have_for(ask).await { self.permits.clone().acquire_owned().await.ok() } else { None }
        });
        let mut sign = interval_at(Instant::now() + SIGN_OF_LIFE, SIGN_OF_LIFE);
        loop {
            tokio::select! {
                permit = &mut prepared => return permit,
                () = frames.closed() => return None,
                // Whoever does not take these does not wait for them either.
                _ = sign.tick(), if !ask.holders.is_empty() => {
                    drop(frames.try_send(Ok(proto::BlobFrame { frame: Some(Frame::Coming(proto::Coming {})) })));
                }
            }
        }
    }
}

/// Reads a blob to its end, as fast as it is taken. Blocks.
fn give(store: &Arc<BlobStore>, blob: BlobId, frames: &Frames, _permit: OwnedSemaphorePermit) {
    // When nobody takes it any more, nothing is left to do.
    let send = |frame| match frames.try_send(Ok(proto::BlobFrame { frame: Some(frame) })) {
        Err(TrySendError::Full(frame)) => frames.blocking_send(frame).is_ok(),
        sent => sent.is_ok(),
    };
    let failed = |error: &BlobError| {
        tracing::error!(%blob, %error, "a blob that another node asks for cannot be read here");
        send(Frame::Damaged(error.to_string()));
    };
    let mut open = match store.open(blob) {
        Ok(open) => open,
        Err(BlobError::Missing(_)) => {
            send(Frame::Missing(proto::Missing {}));
            return;
        }
        Err(error) => return failed(&error),
    };
    let size_bytes = open.size_bytes();
    if !send(Frame::SizeBytes(size_bytes)) {
        return;
    }
    let (mut at, mut checksum) = (0, checksum(blob));
    while at < size_bytes {
        let end = size_bytes.min(at + BLOB_FRAME_BYTES_MAX as u64);
        match open.read(at..end) {
            Ok(bytes) => {
                checksum.update(&bytes);
                if !send(Frame::Bytes(bytes.into())) {
                    return;
                }
            }
            Err(error) => return failed(&error),
        }
        at = end;
    }
    send(Frame::Checksum(checksum.finalize()));
}

/// The checksum of a blob on its way, of whose content nothing has come yet.
pub(crate) fn checksum(blob: BlobId) -> crc32fast::Hasher {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&blob.tenant.get().to_be_bytes());
    checksum.update(&blob.hash);
    checksum
}
