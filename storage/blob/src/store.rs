//! The blobs of a node: one copy of each distinct content, in chunks, behind the key-value port.

use std::{io::Read, ops::Range, sync::Arc};

use securanet_kv::KeyValue;
use securanet_model::{BlobId, UnixMillis};

use crate::BlobError;

/// What a put found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// The content was not here; now it is.
    New,
    /// It was here already.
    Known,
}

/// How long a blob is kept though nobody names it yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// The caller's clock.
    pub now: UnixMillis,
    /// Until when it is kept.
    pub until: UnixMillis,
}

/// What looking at a blob's stored bytes shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verified {
    /// Everything fits.
    Whole {
        /// Octets of the content.
        size_bytes: u64,
    },
    /// There is no such blob.
    Missing,
    /// Something does not fit.
    Damaged {
        /// What.
        what: String,
    },
}

/// The blobs of a node. Share it as `Arc<BlobStore>`; all methods may block on the disk.
pub struct BlobStore {
    kv: Arc<dyn KeyValue>,
}

impl BlobStore {
    /// The blobs that `kv` holds.
    #[must_use]
    pub fn new(kv: Arc<dyn KeyValue>) -> Self {
        Self { kv }
    }

    /// Takes content in under its name, unless it is here already (then nothing is read from `content`).
    ///
    /// Durable only after a [`BlobStore::sync`] that begins after this returned, for `Known` too.
    ///
    /// # Errors
    /// [`BlobError::Size`] when `content` has another size; [`BlobError::Content`] when it cannot be read;
    /// otherwise those of the disk. The blob does not exist then.
    pub fn put(&self, id: BlobId, content: &mut dyn Read, size_bytes: u64, lease: Lease) -> Result<Put, BlobError> {
        let _ = (id, content, size_bytes, lease, &self.kv);
        Err(BlobError::Missing(id))
    }

    /// Makes everything put so far durable. Concurrent callers share one sync of the disk.
    ///
    /// # Errors
    /// [`BlobError::SyncFailed`]: the process must end.
    pub fn sync(&self) -> Result<(), BlobError> {
        self.kv.sync().map_err(BlobError::SyncFailed)
    }

    /// Keeps a blob that is here for whoever is about to name it; tells whether it is here.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn hold(&self, id: BlobId, lease: Lease) -> Result<bool, BlobError> {
        let _ = lease;
        self.contains(id)
    }

    /// Whether the blob is here.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn contains(&self, id: BlobId) -> Result<bool, BlobError> {
        Ok(self.size_bytes(id)?.is_some())
    }

    /// Octets of the blob's content, if it is here.
    ///
    /// # Errors
    /// Those of the disk; [`BlobError::Damaged`].
    pub fn size_bytes(&self, id: BlobId) -> Result<Option<u64>, BlobError> {
        Err(BlobError::Missing(id))
    }

    /// Opens a blob for reading and keeps it as long as the result lives.
    ///
    /// # Errors
    /// [`BlobError::Missing`]; those of the disk.
    pub fn open(self: &Arc<Self>, id: BlobId) -> Result<OpenBlob, BlobError> {
        let _ = Arc::clone(self);
        Err(BlobError::Missing(id))
    }

    /// Octets `range` of the blob's content, at most 1 MiB. Whoever reads on and on uses [`BlobStore::open`].
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::Range`], [`BlobError::Damaged`]; those of the disk.
    pub fn read(&self, id: BlobId, range: Range<u64>) -> Result<Vec<u8>, BlobError> {
        let _ = range;
        Err(BlobError::Missing(id))
    }

    /// Removes a blob at once, whoever names it. Collection uses its own, careful way.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn delete(&self, id: BlobId) -> Result<(), BlobError> {
        Err(BlobError::Missing(id))
    }

    /// Blobs in order of their ids behind `after`, at most `rows_max`.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn list(&self, after: Option<BlobId>, rows_max: usize) -> Result<Vec<BlobId>, BlobError> {
        let _ = (after, rows_max);
        Ok(Vec::new())
    }

    /// Reads the whole blob and checks everything that can be: checksums, sizes, and (when `hasher` knows the
    /// tenant's key) that its content has the hash that names it.
    ///
    /// # Errors
    /// Those of the disk. Damage is an answer, not an error.
    pub fn verify(
        &self,
        id: BlobId,
        hasher: &dyn Fn(securanet_model::TenantId) -> Option<blake3::Hasher>,
    ) -> Result<Verified, BlobError> {
        let _ = (id, hasher);
        Ok(Verified::Missing)
    }
}

/// A blob being read; it is not collected meanwhile. Remembers the last chunk, so reading on is cheap.
pub struct OpenBlob {
    size_bytes: u64,
}

impl OpenBlob {
    /// Octets of the content.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Octets `range` of the content, at most 1 MiB.
    ///
    /// # Errors
    /// [`BlobError::Range`], [`BlobError::Damaged`]; those of the disk.
    pub fn read(&mut self, range: Range<u64>) -> Result<Vec<u8>, BlobError> {
        let _ = range;
        Ok(Vec::new())
    }
}
