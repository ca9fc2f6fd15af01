//! Giving blobs to other nodes.

use std::sync::Arc;

use securanet_blob::{BlobError, BlobStore};
use securanet_model::BlobId;
use securanet_wire::replication::{
    BLOB_FRAME_BYTES_MAX,
    proto::{self, blob_frame::Frame},
};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
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
    let send = |frame| frames.blocking_send(Ok(proto::BlobFrame { frame: Some(frame) })).is_ok();
    let failed = |error: &BlobError| {
        tracing::error!(%blob, %error, "a blob that another node asks for cannot be read");
        let _ = frames.blocking_send(Err(Status::data_loss(error.to_string())));
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
    let mut at = 0;
    while at < size_bytes {
        let end = size_bytes.min(at + BLOB_FRAME_BYTES_MAX as u64);
        match open.read(at..end) {
            Ok(bytes) => {
                if !send(Frame::Bytes(bytes.into())) {
                    return;
                }
            }
            Err(error) => return failed(&error),
        }
        at = end;
    }
}
