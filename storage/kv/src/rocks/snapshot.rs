//! A snapshot that owns what it reads from, so that it may outlive the store's handle.
//!
//! RocksDB's snapshot borrows its database. `self_cell` keeps the two together and drops them in the right
//! order; this way the workspace needs no unsafe code of its own.

use std::sync::Arc;

use rocksdb::{DB, ReadOptions, Snapshot};
use self_cell::self_cell;

use super::{Place, bounded, is_empty, walk};
use crate::port::{Direction, KeyRange, KvError, Read, Visit};

/// A snapshot with the options for point reads of it.
struct View<'a> {
    // Before the snapshot: it points at it.
    read: ReadOptions,
    snapshot: Snapshot<'a>,
}

self_cell!(
    struct Pinned {
        owner: Arc<DB>,
        #[not_covariant]
        dependent: View,
    }
);

/// The store as it was at one moment. Taking it is O(1); while it lives, RocksDB keeps what it shows.
pub(super) struct RocksSnapshot {
    pinned: Pinned,
    place: Place,
}

impl RocksSnapshot {
    pub(super) fn new(db: Arc<DB>, place: Place) -> Self {
        let pinned = Pinned::new(db, |db| {
            let snapshot = db.snapshot();
            let mut read = ReadOptions::default();
            read.set_snapshot(&snapshot);
            View { read, snapshot }
        });
        Self { pinned, place }
    }
}

impl Read for RocksSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        let value = self.pinned.with_dependent(|db, view| {
            let value = db.get_pinned_opt(key, &view.read)?;
            Ok(value.map(|value| value.to_vec()))
        });
        value.map_err(|error: rocksdb::Error| self.place.error(&error))
    }

    fn visit(&self, range: &KeyRange, direction: Direction, each: Visit<'_>) -> Result<(), KvError> {
        if is_empty(range) {
            return Ok(());
        }
        self.pinned
            .with_dependent(|_, view| walk(view.snapshot.raw_iterator_opt(bounded(range)), direction, each))
            .map_err(|error| self.place.error(&error))
    }
}
