//! Giving blobs to other nodes.
//!
//! The blob store checks what it reads against the checksums of the stored bytes; from there to the receiver's disk a
//! checksum over the whole goes along.

use std::sync::Arc;

use securanet_blob::{BlobError, BlobStore};
use securanet_model::BlobId;
use securanet_wire::replication::{
    BLOB_FRAME_BYTES_MAX,
    proto::{self, blob_frame::Frame},
};
use tokio::sync::{
    OwnedSemaphorePermit,
    mpsc::{self, error::TrySendError},
};
use tonic::Status;

/// Blobs that are given at the same time.
pub(super) const GIVING_MAX: usize = 32;
/// Frames that wait for a connection.
pub(super) const FRAMES_MAX: usize = 4;

/// Reads a blob to its end, as fast as it is taken. Blocks.
pub(super) fn give(
    store: &Arc<BlobStore>,
    blob: BlobId,
    frames: &mpsc::Sender<Result<proto::BlobFrame, Status>>,
    _permit: OwnedSemaphorePermit,
) {
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
