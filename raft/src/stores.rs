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
    /// Opens (or makes) `log`, `state` and `blob` in a data directory.
    ///
    /// # Errors
    /// [`RaftError::Kv`]: the directory cannot be used, another process has it open, or its data is damaged.
    pub fn open(directory: &Path) -> Result<Self, RaftError> {
        let open = |name, profile| -> Result<Arc<dyn KeyValue>, RaftError> {
            Ok(Arc::new(RocksStore::open(directory.join(name), profile)?))
        };
        Ok(Self::over(
            open("log", Profile::log().with_write_buffer_bytes(LOG_BUFFER_BYTES))?,
            open("state", Profile::state())?,
            open("blob", Profile::blob())?,
        ))
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
