//! Why content could not be kept, found or opened.
//!
//! One variant stands apart: [`BlobError::SyncFailed`]. After it nobody knows what is on the disk, so whoever
//! meets it ends the process and lets the log be replayed; trying again would only hide the loss.

use std::io;

use securanet_kv::KvError;
use securanet_model::{BlobId, StoreError, record::RecordError};

/// Why the blob room did not do it. Each variant names the culprit.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The disk: reading or writing failed, nothing is known to be lost.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// The disk: making writes durable failed. End the process.
    #[error("blobs could not be made durable, the process must end: {0}")]
    SyncFailed(KvError),
    /// The disk: stored bytes are not what was written.
    #[error("blob {id} is damaged: {what}")]
    Damaged {
        /// Which blob.
        id: BlobId,
        /// What does not fit.
        what: String,
    },
    /// There is no such blob here.
    #[error("there is no blob {0} here")]
    Missing(BlobId),
    /// The caller: the range does not lie in the blob or asks for more than one chunk's size at once.
    #[error("bytes {start} to {end} of blob {id} cannot be read: it has {size_bytes} and one read gives at most 1 MiB")]
    Range {
        /// Which blob.
        id: BlobId,
        /// First octet asked for.
        start: u64,
        /// Octet after the last.
        end: u64,
        /// Octets of the blob.
        size_bytes: u64,
    },
    /// The caller: content ended before, or goes on after, the size that was announced.
    #[error("content of blob {id} has another size than the {announced_bytes} bytes announced")]
    Size {
        /// Which blob.
        id: BlobId,
        /// What was announced.
        announced_bytes: u64,
    },
    /// The caller: its content could not be read.
    #[error("the content could not be read: {0}")]
    Content(#[source] io::Error),
    /// Ourselves: the compressor refused.
    #[error("compression failed: {0}")]
    Codec(#[source] io::Error),
    /// A stored record of content does not decode.
    #[error("stored content does not decode: {0}")]
    Record(#[from] RecordError),
    /// Stored content cannot be opened: sealed by a newer release, with a key that is not here, or damaged.
    #[error("stored content cannot be opened: {0}")]
    Sealed(String),
    /// The message: it is larger than allowed.
    #[error("the message is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// Ourselves, for a while: the memory for messages being taken in is in use.
    #[error("the memory for messages being taken in is in use")]
    Busy,
    /// The groups could not say which blobs they name.
    #[error("the groups could not be asked for their blobs: {0}")]
    Groups(String),
}

impl BlobError {
    /// Whether the process must end because nobody knows any more what is on the disk.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::SyncFailed(_))
    }

    /// Whether stored bytes are not what was written, as far as our checksums or the store's can tell.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Kv(KvError::Damaged { .. }))
    }

    /// What a gateway is told of it. A fatal one ends the process besides ([`BlobError::is_fatal`]).
    #[must_use]
    pub fn to_store_error(&self) -> StoreError {
        match self {
            Self::TooLarge { limit_bytes } => StoreError::TooLarge { limit_bytes: *limit_bytes },
            Self::Busy => StoreError::Busy,
            // A blob that a message names is never collected: that it is not here is damage too.
            Self::Damaged { .. }
            | Self::Kv(KvError::Damaged { .. })
            | Self::Missing(_)
            | Self::Record(_)
            | Self::Sealed(_) => StoreError::Damaged(self.to_string()),
            Self::Kv(KvError::Io { .. } | KvError::Unordered { .. })
            | Self::SyncFailed(_)
            | Self::Range { .. }
            | Self::Size { .. }
            | Self::Content(_)
            | Self::Codec(_)
            | Self::Groups(_) => StoreError::Internal(self.to_string()),
        }
    }
}
