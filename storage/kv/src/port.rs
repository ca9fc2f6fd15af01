//! The port itself.

use std::ops::ControlFlow;

/// A key with its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// Why a store did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KvError {
    /// The disk or its file system refused. After a failed sync nothing is known any more: end the process.
    #[error("{path}: {message}")]
    Io {
        /// Which store.
        path: String,
        /// What it said.
        message: String,
    },
    /// The stored bytes fail their own checks.
    #[error("{path}: stored data is damaged: {message}")]
    Damaged {
        /// Which store.
        path: String,
        /// What was found.
        message: String,
    },
    /// The caller: rows to ingest do not ascend strictly.
    #[error("{path}: rows to ingest must ascend and be distinct")]
    Unordered {
        /// Which store.
        path: String,
    },
}

/// When a write survives a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// From the next [`KeyValue::flush`] on. Of writes since the last one none survives without all before it,
    /// and none in parts; the disk may keep some of them by itself (a full write buffer).
    Volatile,
    /// From the next [`KeyValue::sync`] on; of writes since the last one a prefix may survive.
    Buffered,
    /// When `write` returns.
    Synced,
}

/// Which way a scan goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Backward,
}

/// Keys from `start` (included) to `end` (excluded), compared as bytes; no `end` is the end of the store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyRange {
    /// The first key that belongs to it.
    pub start: Vec<u8>,
    /// The first key that does not.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// Keys from `start` to before `end`.
    #[must_use]
    pub fn new(start: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) -> Self {
        Self { start: start.into(), end: Some(end.into()) }
    }

    /// All keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        let start = prefix.into();
        let end = successor(&start);
        Self { start, end }
    }

    /// The part of this range that lies behind `key`.
    #[must_use]
    pub fn after(mut self, key: &[u8]) -> Self {
        let mut next = key.to_vec();
        next.push(0);
        self.start = self.start.max(next);
        self
    }
}

/// The first key that is greater than every key with this prefix; none when the prefix is all 0xff.
#[must_use]
pub fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xff)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

/// Is shown each row of a visit (key, value) and says whether it wants the next.
pub type Visit<'a> = &'a mut (dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a);

/// Reading: of the store as it is, or of a snapshot of it.
pub trait Read: Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// [`KvError`] of the disk.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError>;

    /// Shows rows in order until `visit` breaks or the range ends.
    ///
    /// # Errors
    /// [`KvError`] of the disk.
    fn visit(&self, range: &KeyRange, direction: Direction, visit: Visit<'_>) -> Result<(), KvError>;

    /// At most `rows_max` rows in order.
    ///
    /// # Errors
    /// [`KvError`] of the disk.
    fn scan(&self, range: &KeyRange, direction: Direction, rows_max: usize) -> Result<Vec<Row>, KvError> {
        let mut rows = Vec::new();
        if rows_max == 0 {
            return Ok(rows);
        }
        self.visit(range, direction, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            if rows.len() < rows_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(rows)
    }
}

/// A change in a [`WriteBatch`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// Sets a key.
    Put(Vec<u8>, Vec<u8>),
    /// Removes a key.
    Delete(Vec<u8>),
    /// Removes a range of keys.
    DeleteRange(KeyRange),
}

/// Changes that happen together, in order: later ones win.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WriteBatch {
    changes: Vec<Change>,
}

impl WriteBatch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.changes.push(Change::Put(key.into(), value.into()));
    }

    /// Removes a key.
    pub fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.changes.push(Change::Delete(key.into()));
    }

    /// Removes a range of keys.
    pub fn delete_range(&mut self, range: KeyRange) {
        self.changes.push(Change::DeleteRange(range));
    }

    /// Appends another batch's changes.
    pub fn extend(&mut self, other: Self) {
        self.changes.extend(other.changes);
    }

    /// The changes, in order.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Octets of keys and values.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let size = |change: &Change| match change {
            Change::Put(key, value) => key.len() + value.len(),
            Change::Delete(key) => key.len(),
            Change::DeleteRange(range) => range.start.len() + range.end.as_ref().map_or(0, Vec::len),
        };
        self.changes.iter().map(size).sum()
    }
}

impl IntoIterator for WriteBatch {
    type Item = Change;
    type IntoIter = std::vec::IntoIter<Change>;

    fn into_iter(self) -> Self::IntoIter {
        self.changes.into_iter()
    }
}

/// A store.
pub trait KeyValue: Read + 'static {
    /// Applies a batch: all of it or nothing.
    ///
    /// # Errors
    /// [`KvError`] of the disk.
    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<(), KvError>;

    /// Makes all volatile writes so far durable, together.
    ///
    /// # Errors
    /// [`KvError`] of the disk. Do not try again: end the process.
    fn flush(&self) -> Result<(), KvError>;

    /// Makes all buffered writes so far durable.
    ///
    /// # Errors
    /// [`KvError`] of the disk. Do not try again: end the process.
    fn sync(&self) -> Result<(), KvError>;

    /// The store as it is now, unmoved by later writes. O(1).
    fn snapshot(&self) -> Box<dyn Read>;

    /// Adds rows (ascending, distinct keys) as durable data, past the log: all of them or none. They replace rows
    /// of the same keys. For snapshots of other replicas.
    ///
    /// # Errors
    /// [`KvError::Unordered`]; those of the disk.
    fn ingest(&self, rows: &mut dyn Iterator<Item = Row>) -> Result<(), KvError>;

    /// Octets that the store takes on disk, its logs included; an estimate.
    ///
    /// # Errors
    /// [`KvError`] of the disk.
    fn size_on_disk_bytes(&self) -> Result<u64, KvError>;

    /// Compacts a range: deleted rows give their space back. May take long.
    ///
    /// # Errors
    /// [`KvError`] of the disk.
    fn compact(&self, range: &KeyRange) -> Result<(), KvError>;
}
