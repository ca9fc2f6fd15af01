//! The three key-value instances of a node.

use std::{path::Path, sync::Arc};

use securanet_blob::BlobStore;
use securanet_kv::{
    KeyValue,
    memory::MemoryStore,
    rocks::{Profile, RocksStore},
};

use crate::RaftError;

/// Twice what is written between two flushes of the state: then entries are purged before they leave memory, and
/// the log is written to its WAL alone.
const LOG_BUFFER_BYTES: usize = 64 * 1024 * 1024;

/// What the three block caches have together unless somebody says otherwise: 128 MiB.
pub const CACHE_BYTES: usize = 128 * 1024 * 1024;
/// The smallest that [`Stores::open`] shares out as it is told; below, the log and the blobs keep 1 MiB each.
pub const CACHE_BYTES_MIN: usize = 16 * 1024 * 1024;

/// How `log`, `state` and `blob` are opened.
///
/// Almost all of the cache belongs to the state: each command and each question reads it. The log is read by its
/// own node only at start (entries are kept in memory until they are applied), and of a blob it is the small rows
/// that repay a cache, chunks are read once in a row and lie in the system's cache.
fn profiles(cache_bytes: usize) -> [Profile; 3] {
    let (log_bytes, blob_bytes) = (cache_bytes / 16, cache_bytes / 8);
    [
        Profile::log().with_write_buffer_bytes(LOG_BUFFER_BYTES).with_cache_bytes(log_bytes),
        Profile::state().with_cache_bytes(cache_bytes - log_bytes - blob_bytes),
        Profile::blob().with_cache_bytes(blob_bytes),
    ]
}

/// What a node keeps on disk: the log and the state of all groups, and blobs.
#[derive(Clone)]
pub struct Stores {
    /// The Raft log of all groups.
    pub log: Arc<dyn KeyValue>,
    /// The tables of all groups.
    pub state: Arc<dyn KeyValue>,
    /// The blobs' own instance.
    pub blob: Arc<dyn KeyValue>,
    /// The blobs, over that instance. One for the whole node: leases and pins live in it.
    pub blobs: Arc<BlobStore>,
}

impl Stores {
    /// Opens (or makes) `log`, `state` and `blob` in a data directory; their block caches share `cache_bytes`.
    ///
    /// # Errors
    /// [`RaftError::Kv`]: the directory cannot be used, another process has it open, or its data is damaged.
    pub fn open(directory: &Path, cache_bytes: usize) -> Result<Self, RaftError> {
        let [log, state, blob] = profiles(cache_bytes);
        let open = |name, profile| -> Result<Arc<dyn KeyValue>, RaftError> {
            Ok(Arc::new(RocksStore::open(directory.join(name), profile)?))
        };
        Ok(Self::over(open("log", log)?, open("state", state)?, open("blob", blob)?))
    }

    /// Instances in memory: for tests and simulation.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::over(Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()))
    }

    /// Over instances that are open already.
    #[must_use]
    pub fn over(log: Arc<dyn KeyValue>, state: Arc<dyn KeyValue>, blob: Arc<dyn KeyValue>) -> Self {
        let blobs = Arc::new(BlobStore::new(blob.clone()));
        Self { log, state, blob, blobs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caches_share_what_there_is_and_the_state_has_most_of_it() {
        for cache_bytes in [CACHE_BYTES_MIN, 100_000_001, CACHE_BYTES, 8 << 30] {
            let [log, state, blob] = profiles(cache_bytes).map(|profile| profile.cache_bytes());
            assert_eq!(log + state + blob, cache_bytes);
            assert!(state > cache_bytes * 3 / 4 && log < blob, "{log} {state} {blob}");
        }
    }
}
