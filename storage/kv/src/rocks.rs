//! The RocksDB adapter: the only module that names RocksDB.
//!
//! One [`RocksStore`] is one RocksDB instance with one column family, opened with the [`Profile`] of its job.
//! Why one family: a memtable is then the unit of flushing, so a batch is never split between two of them, and
//! what a crash leaves of volatile writes is a prefix of whole batches.
//!
//! RocksDB's own failures are passed on with the path of the store. After a failed write, flush or sync RocksDB
//! refuses further writes by itself; the caller ends the process and lets the log be replayed.
//!
//! It does not retry, does not repair, and leaves checksums to RocksDB (each block and each log record has one).

mod compact;
mod ingest;
mod profile;
mod snapshot;

use std::{
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU64},
};

use rocksdb::{
    DB, DBRawIterator, ErrorKind, ReadOptions, WriteOptions,
    properties::{BLOCK_CACHE_CAPACITY, IS_WRITE_STOPPED},
};

pub use profile::Profile;

use crate::port::{Change, Direction, Durability, KeyRange, KeyValue, KvError, Read, Row, Visit, WriteBatch};
use snapshot::RocksSnapshot;

/// What RocksDB adds to a row in a batch: its kind and two lengths.
const BATCH_ROW_OVERHEAD_BYTES: usize = 11;
/// What RocksDB puts in front of a batch.
const BATCH_HEADER_BYTES: usize = 12;

/// A store on disk.
pub struct RocksStore {
    db: Arc<DB>,
    place: Place,
    profile: Profile,
    // Made once: each costs an allocation, and thousands of writes a second need one.
    read: ReadOptions,
    volatile: WriteOptions,
    buffered: WriteOptions,
    synced: WriteOptions,
    ingested: AtomicU64,
}

/// Where a store lies; turns RocksDB's errors into ours.
#[derive(Clone)]
struct Place(Arc<Path>);

impl Place {
    fn error(&self, error: &rocksdb::Error) -> KvError {
        let (path, message) = (self.0.display().to_string(), error.to_string());
        match error.kind() {
            ErrorKind::Corruption => KvError::Damaged { path, message },
            _ => KvError::Io { path, message },
        }
    }

    fn io(&self, at: &Path, error: &io::Error) -> KvError {
        KvError::Io { path: at.display().to_string(), message: error.to_string() }
    }
}

impl RocksStore {
    /// Opens the store in this directory, and makes it (and its parents) when it is not there.
    ///
    /// # Errors
    /// [`KvError::Io`] when the directory cannot be made or another process has it open; [`KvError::Damaged`]
    /// when RocksDB does not accept what it finds.
    pub fn open(path: impl AsRef<Path>, profile: Profile) -> Result<Self, KvError> {
        let place = Place(Arc::from(path.as_ref()));
        make_directory(&place.0).map_err(|error| place.io(&place.0, &error))?;
        let db = DB::open(&profile.options(), &place.0).map_err(|error| place.error(&error))?;
        ingest::remove_leftovers(&place)?;
        Ok(Self {
            db: Arc::new(db),
            place,
            profile,
            read: ReadOptions::default(),
            volatile: write_options(Durability::Volatile),
            buffered: write_options(Durability::Buffered),
            synced: write_options(Durability::Synced),
            ingested: AtomicU64::new(0),
        })
    }

    /// The directory of this store.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.place.0
    }

    /// Whether RocksDB makes writers wait because flushing or compaction lags behind (for metrics).
    ///
    /// # Errors
    /// [`KvError`] of the disk.
    pub fn is_write_stopped(&self) -> Result<bool, KvError> {
        let stopped = self.db.property_int_value(IS_WRITE_STOPPED).map_err(|error| self.place.error(&error))?;
        Ok(stopped.is_some_and(|stopped| stopped != 0))
    }

    /// Octets that the block cache may hold, as RocksDB has it.
    ///
    /// # Errors
    /// [`KvError`] of the disk.
    pub fn cache_bytes_max(&self) -> Result<u64, KvError> {
        let capacity = self.db.property_int_value(BLOCK_CACHE_CAPACITY).map_err(|error| self.place.error(&error))?;
        Ok(capacity.unwrap_or(0))
    }

    fn batch(&self, batch: WriteBatch) -> Result<rocksdb::WriteBatch, KvError> {
        let changes = batch.changes().len();
        let size_bytes = BATCH_HEADER_BYTES + batch.size_bytes() + changes * BATCH_ROW_OVERHEAD_BYTES;
        let mut written = rocksdb::WriteBatch::with_capacity_bytes(size_bytes);
        let mut last_put = None;
        for change in batch {
            match change {
                Change::Put(key, value) => {
                    written.put(&key, value);
                    last_put = last_put.max(Some(key));
                }
                Change::Delete(key) => written.delete(key),
                Change::DeleteRange(range) => {
                    let end = match range.end {
                        Some(end) => Some(end),
                        None => self.end_of_store(last_put.as_deref())?,
                    };
                    if let Some(end) = end.filter(|end| *end > range.start) {
                        written.delete_range(range.start, end);
                    }
                }
            }
        }
        Ok(written)
    }

    /// The first key behind all that the store and the batch hold: RocksDB has no range without an end.
    fn end_of_store(&self, last_put: Option<&[u8]>) -> Result<Option<Vec<u8>>, KvError> {
        let mut last = last_put.map(<[u8]>::to_vec);
        self.visit(&KeyRange { start: Vec::new(), end: None }, Direction::Backward, &mut |key, _| {
            if last.as_deref().is_none_or(|last| last < key) {
                last = Some(key.to_vec());
            }
            ControlFlow::Break(())
        })?;
        Ok(last.map(|mut key| {
            key.push(0);
            key
        }))
    }
}

fn write_options(durability: Durability) -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(durability == Durability::Volatile);
    options.set_sync(durability == Durability::Synced);
    options
}

/// Makes the directory, and those above it that are missing, so that a power cut does not take it away again together with
/// what was synced inside.
///
/// # Errors
/// When it cannot be made, or the directory above a new one cannot be synced.
pub fn make_directory(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> =
        path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
    for directory in missing.into_iter().rev() {
        match fs::create_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
        fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

/// Read options that see nothing outside the range, so that RocksDB skips files and deleted rows beyond it.
fn bounded(range: &KeyRange) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(range.start.as_slice());
    if let Some(end) = &range.end {
        options.set_iterate_upper_bound(end.as_slice());
    }
    options
}

/// Shows the rows of an iterator that [`bounded`] options limit.
fn walk(mut rows: DBRawIterator<'_>, direction: Direction, each: Visit<'_>) -> Result<(), rocksdb::Error> {
    match direction {
        Direction::Forward => rows.seek_to_first(),
        Direction::Backward => rows.seek_to_last(),
    }
    while let Some((key, value)) = rows.item() {
        if each(key, value).is_break() {
            return Ok(());
        }
        match direction {
            Direction::Forward => rows.next(),
            Direction::Backward => rows.prev(),
        }
    }
    rows.status()
}

/// Whether no key can lie in the range; RocksDB refuses bounds that cross.
fn is_empty(range: &KeyRange) -> bool {
    range.end.as_ref().is_some_and(|end| *end <= range.start)
}

impl Read for RocksStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        let value = self.db.get_pinned_opt(key, &self.read).map_err(|error| self.place.error(&error))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn visit(&self, range: &KeyRange, direction: Direction, each: Visit<'_>) -> Result<(), KvError> {
        if is_empty(range) {
            return Ok(());
        }
        let rows = self.db.raw_iterator_opt(bounded(range));
        walk(rows, direction, each).map_err(|error| self.place.error(&error))
    }
}

impl KeyValue for RocksStore {
    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<(), KvError> {
        let options = match durability {
            Durability::Volatile => &self.volatile,
            Durability::Buffered => &self.buffered,
            Durability::Synced => &self.synced,
        };
        self.db.write_opt(self.batch(batch)?, options).map_err(|error| self.place.error(&error))
    }

    fn flush(&self) -> Result<(), KvError> {
        self.db.flush().map_err(|error| self.place.error(&error))
    }

    fn sync(&self) -> Result<(), KvError> {
        self.db.flush_wal(true).map_err(|error| self.place.error(&error))
    }

    fn snapshot(&self) -> Box<dyn Read> {
        Box::new(RocksSnapshot::new(self.db.clone(), self.place.clone()))
    }

    fn ingest(&self, rows: &mut dyn Iterator<Item = Row>) -> Result<(), KvError> {
        ingest::ingest(self, rows)
    }

    fn size_on_disk_bytes(&self) -> Result<u64, KvError> {
        directory_size_bytes(&self.place.0).map_err(|error| self.place.io(&self.place.0, &error))
    }

    fn compact(&self, range: &KeyRange) -> Result<(), KvError> {
        if is_empty(range) {
            return Ok(());
        }
        compact::compact(&self.db, range, self.profile.has_blob_files()).map_err(|error| self.place.error(&error))
    }
}

/// Octets of all files of the store: tables, blobs, logs, manifest, what waits for its removal.
fn directory_size_bytes(path: &Path) -> io::Result<u64> {
    let mut size_bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        // Compaction removes files while we look: a file that is gone has no size.
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => size_bytes += metadata.len(),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(size_bytes)
}

/// A path inside the store's directory.
fn inside(place: &Place, name: &str) -> PathBuf {
    place.0.join(name)
}
