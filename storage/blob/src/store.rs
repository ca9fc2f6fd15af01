//! The blobs of a node: one copy of each distinct content, in chunks, behind the key-value port.
//!
//! Content comes in through [`BlobStore::put`], a chunk at a time, and is durable after a [`BlobStore::sync`].
//! Nobody counts who names a blob; [`crate::collect`] finds out. A blob that was put or held is safe from
//! collection for the grace at least: its header says when that was, so a restart changes nothing.
//!
//! A put that fails in the middle, or with the process, leaves chunks without a header. They are not removed on
//! the way out, because another put of the same content may be writing the same rows; collection sweeps them.
//!
//! Damage found while reading is an error that names the blob. A damaged header counts as "not here" for whoever
//! puts or holds the blob, so that the content is written anew.

use std::{
    io::Read,
    ops::{ControlFlow, Range},
    sync::Arc,
};

use securanet_kv::{Direction, Durability, KeyRange, KeyValue, KvError, WriteBatch};
use securanet_model::{BlobId, TenantId, UnixMillis};

use crate::{
    BlobError,
    codec::Codecs,
    lease::{Leases, Pin},
    open::{OpenBlob, read_range},
    stored::{self, Header, Table, chunk_count, chunk_key, decode_chunk, encode_chunk},
    sync::GroupSync,
};

/// For how long after it was last put or held a blob is not collected, unless said otherwise: one hour. Far longer
/// than any request lives, so that almost no lease needs a row in memory.
pub const GRACE_MILLIS: u64 = 3600 * 1000;

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
    /// Until when it is kept at least.
    pub until: UnixMillis,
}

/// What looking at a blob's stored bytes shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verified {
    /// Everything fits.
    Whole {
        /// Octets of the content.
        size_bytes: u64,
        /// Whether the keyed hash was checked too: the tenant's key was known.
        hashed: bool,
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
    pub(crate) kv: Arc<dyn KeyValue>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) grace_millis: u64,
    codecs: Codecs,
    syncs: GroupSync,
}

impl BlobStore {
    /// The blobs that `kv` holds, with the usual grace.
    #[must_use]
    pub fn new(kv: Arc<dyn KeyValue>) -> Self {
        Self::with_grace_millis(kv, GRACE_MILLIS)
    }

    /// The blobs that `kv` holds, none of them collected within `grace_millis` of its last put or hold.
    #[must_use]
    pub fn with_grace_millis(kv: Arc<dyn KeyValue>, grace_millis: u64) -> Self {
        Self { kv, leases: Arc::default(), codecs: Codecs::default(), syncs: GroupSync::default(), grace_millis }
    }

    /// Takes content in under its name, unless it is here already (then nothing is read from `content`).
    ///
    /// Durable only after a [`BlobStore::sync`] that begins after this returned, for `Known` too. Needs memory for
    /// about four chunks, whatever the size.
    ///
    /// # Errors
    /// [`BlobError::Size`] when the content has another size; [`BlobError::Content`] when it cannot be read;
    /// otherwise those of the disk. Unless it was here before, the blob does not exist then.
    pub fn put(&self, id: BlobId, content: &mut dyn Read, size_bytes: u64, lease: Lease) -> Result<Put, BlobError> {
        let pin = self.leases.pin(id);
        match self.touch(&pin, lease)? {
            Some(header) if header.size_bytes == size_bytes => return Ok(Put::Known),
            Some(_) => return Err(BlobError::Size { id, announced_bytes: size_bytes }),
            None => {}
        }
        let header = self.write(id, content, size_bytes, lease.now)?;
        self.keep(id, &header, lease);
        Ok(Put::New)
    }

    /// Makes everything put so far durable. Concurrent callers share one sync of the disk.
    ///
    /// # Errors
    /// [`BlobError::SyncFailed`], now and from now on: the process must end.
    pub fn sync(&self) -> Result<(), BlobError> {
        self.syncs.wait(&|| self.kv.sync()).map_err(BlobError::SyncFailed)
    }

    /// Keeps a blob that is here for whoever is about to name it; tells whether it is here.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn hold(&self, id: BlobId, lease: Lease) -> Result<bool, BlobError> {
        let pin = self.leases.pin(id);
        Ok(self.touch(&pin, lease)?.is_some())
    }

    /// Whether the blob is here. Without [`BlobStore::hold`] or [`BlobStore::open`] it may be gone right after.
    ///
    /// # Errors
    /// Those of the disk; [`BlobError::Damaged`].
    pub fn contains(&self, id: BlobId) -> Result<bool, BlobError> {
        Ok(self.header(&id)?.is_some())
    }

    /// Octets of the blob's content, if it is here.
    ///
    /// # Errors
    /// Those of the disk; [`BlobError::Damaged`].
    pub fn size_bytes(&self, id: BlobId) -> Result<Option<u64>, BlobError> {
        Ok(self.header(&id)?.map(|header| header.size_bytes))
    }

    /// Opens a blob for reading and keeps it as long as the result lives.
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::Damaged`]; those of the disk.
    pub fn open(self: &Arc<Self>, id: BlobId) -> Result<OpenBlob, BlobError> {
        let pin = self.leases.pin(id);
        let header = self.header(&id)?.ok_or(BlobError::Missing(id))?;
        Ok(OpenBlob::new(self.clone(), pin, header))
    }

    /// Octets `range` of the blob's content, at most 1 MiB. Whoever reads on and on uses [`BlobStore::open`].
    ///
    /// # Errors
    /// [`BlobError::Missing`], [`BlobError::Range`], [`BlobError::Damaged`]; those of the disk.
    pub fn read(&self, id: BlobId, range: Range<u64>) -> Result<Vec<u8>, BlobError> {
        let _pin = self.leases.pin(id);
        let header = self.header(&id)?.ok_or(BlobError::Missing(id))?;
        read_range(&id, &header, range, &mut None, |index| self.chunk(&id, &header, index))
    }

    /// Removes a blob, whoever names it, unless it is open, being written or under a lease; tells whether it did.
    /// For a damaged blob that will be put again; what nobody names is left to collection.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn delete(&self, id: BlobId, now: UnixMillis) -> Result<bool, BlobError> {
        let deleted = self.leases.if_unheld(id, now, || {
            let mut batch = WriteBatch::new();
            batch.delete(Table::Headers.key(&id));
            batch.delete(Table::Unfinished.key(&id));
            batch.delete_range(KeyRange::prefix(Table::Chunks.key(&id)));
            self.kv.write(batch, Durability::Buffered)
        });
        Ok(deleted.transpose()?.is_some())
    }

    /// Blobs in order of their ids behind `after`, at most `rows_max`.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn list(&self, after: Option<BlobId>, rows_max: usize) -> Result<Vec<BlobId>, BlobError> {
        let mut range = KeyRange::prefix([Table::Headers as u8]);
        if let Some(after) = after {
            range = range.after(&Table::Headers.key(&after));
        }
        let mut ids = Vec::new();
        if rows_max > 0 {
            self.kv.visit(&range, Direction::Forward, &mut |key, _| {
                ids.extend(stored::id_of(key));
                if ids.len() < rows_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
        }
        Ok(ids)
    }

    /// Reads the whole blob and checks everything that can be: checksums, sizes, and (when `hasher` knows the
    /// tenant's key) that its content has the hash that names it.
    ///
    /// # Errors
    /// Those of the disk. Damage is an answer, not an error.
    pub fn verify(
        &self,
        id: BlobId,
        hasher: &dyn Fn(TenantId) -> Option<blake3::Hasher>,
    ) -> Result<Verified, BlobError> {
        let _pin = self.leases.pin(id);
        match self.verify_pinned(id, hasher(id.tenant)) {
            Err(BlobError::Missing(_)) => Ok(Verified::Missing),
            Err(BlobError::Damaged { what, .. } | BlobError::Kv(KvError::Damaged { message: what, .. })) => {
                Ok(Verified::Damaged { what })
            }
            other => other,
        }
    }

    fn verify_pinned(&self, id: BlobId, mut hasher: Option<blake3::Hasher>) -> Result<Verified, BlobError> {
        let header = self.header(&id)?.ok_or(BlobError::Missing(id))?;
        for index in 0..header.chunks {
            let content = self.chunk(&id, &header, index)?;
            if let Some(hasher) = &mut hasher {
                hasher.update(&content);
            }
        }
        match &hasher {
            Some(hasher) if *hasher.finalize().as_bytes() != id.hash => {
                Err(BlobError::Damaged { id, what: "its content has another hash than its name".to_owned() })
            }
            _ => Ok(Verified::Whole { size_bytes: header.size_bytes, hashed: hasher.is_some() }),
        }
    }

    /// Writes content that is not here: chunks, then the header with the last of them.
    fn write(&self, id: BlobId, content: &mut dyn Read, size_bytes: u64, now: UnixMillis) -> Result<Header, BlobError> {
        let wrong_size = BlobError::Size { id, announced_bytes: size_bytes };
        let Ok(chunks) = u32::try_from(chunk_count(size_bytes)) else { return Err(wrong_size) };
        let mut header = Header { size_bytes, stored_size_bytes: 0, chunks, put_at: now };
        let mut batch = WriteBatch::new();
        if chunks > 1 {
            batch.put(Table::Unfinished.key(&id), stored::encode_unfinished(now));
        }
        let mut buffer = Vec::with_capacity(header.chunk_size_bytes(0));
        for index in 0..chunks {
            let chunk_size_bytes = header.chunk_size_bytes(index);
            buffer.clear();
            content.take(chunk_size_bytes as u64).read_to_end(&mut buffer).map_err(BlobError::Content)?;
            if buffer.len() < chunk_size_bytes {
                return Err(wrong_size);
            }
            let key = chunk_key(&id, index);
            let (codec, compressed) = self.codecs.shrink(&buffer)?;
            let row = encode_chunk(&key, codec, buffer.len(), compressed.as_deref().unwrap_or(&buffer));
            header.stored_size_bytes += row.len() as u64;
            batch.put(key, row);
            if index + 1 < chunks {
                self.kv.write(std::mem::take(&mut batch), Durability::Buffered)?;
            }
        }
        if content.read(&mut [0]).map_err(BlobError::Content)? > 0 {
            return Err(wrong_size);
        }
        batch.put(Table::Headers.key(&id), header.encode(&id));
        if chunks > 1 {
            batch.delete(Table::Unfinished.key(&id));
        }
        self.kv.write(batch, Durability::Buffered)?;
        Ok(header)
    }

    /// The header of a pinned blob, if it is here and whole, with its time set anew when that is due.
    fn touch(&self, pin: &Pin, lease: Lease) -> Result<Option<Header>, BlobError> {
        let id = pin.id();
        let mut header = match self.header(&id) {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(None),
            Err(error) if error.is_damage() => return Ok(None),
            Err(error) => return Err(error),
        };
        // Not each time: a large list's picture is put thousands of times a day.
        if lease.now.millis_since(header.put_at) > self.grace_millis / 4 {
            header.put_at = lease.now;
            let mut batch = WriteBatch::new();
            batch.put(Table::Headers.key(&id), header.encode(&id));
            self.kv.write(batch, Durability::Buffered)?;
        }
        self.keep(id, &header, lease);
        Ok(Some(header))
    }

    /// Remembers a lease where the header's time and the grace do not cover it.
    fn keep(&self, id: BlobId, header: &Header, lease: Lease) {
        if lease.until > header.put_at.plus_millis(self.grace_millis) {
            self.leases.keep(id, lease.until);
        }
    }

    pub(crate) fn header(&self, id: &BlobId) -> Result<Option<Header>, BlobError> {
        let Some(row) = self.kv.get(&Table::Headers.key(id))? else { return Ok(None) };
        Header::decode(id, &row).map(Some).map_err(|what| BlobError::Damaged { id: *id, what })
    }

    pub(crate) fn chunk(&self, id: &BlobId, header: &Header, index: u32) -> Result<Vec<u8>, BlobError> {
        let damaged = |what| BlobError::Damaged { id: *id, what: format!("chunk {index}: {what}") };
        let key = chunk_key(id, index);
        let row = self.kv.get(&key)?.ok_or_else(|| damaged("it is missing".to_owned()))?;
        let size_bytes = header.chunk_size_bytes(index);
        let (codec, stored) = decode_chunk(&key, &row, size_bytes).map_err(damaged)?;
        self.codecs.expand(codec, stored, size_bytes).map_err(damaged)
    }

    pub(crate) fn is_grace_over(&self, header: &Header, now: UnixMillis) -> bool {
        header.put_at.plus_millis(self.grace_millis) <= now
    }
}
