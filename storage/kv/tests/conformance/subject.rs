//! The adapters under test, and short words for rows and ranges.
//!
//! A crash of the disk adapter is a copy of its directory while it is open: that is what `kill -9` leaves.

use std::{fs, path::Path};

use securanet_kv::{
    Direction, Durability, KeyRange, KeyValue, Read, Row, WriteBatch,
    memory::MemoryStore,
    rocks::{Profile, RocksStore},
};
use tempfile::TempDir;

/// An adapter under test, with the profile that fits the kind of writes of the test.
pub(crate) enum Subject {
    Memory(MemoryStore),
    Rocks(Box<RocksStore>, TempDir, Profile),
}

impl Subject {
    pub(crate) fn each(durability: Durability) -> Vec<Self> {
        let profiles = match durability {
            Durability::Volatile => vec![Profile::state()],
            Durability::Buffered | Durability::Synced => vec![Profile::log(), Profile::blob()],
        };
        let mut all = vec![Self::Memory(MemoryStore::new())];
        all.extend(profiles.into_iter().map(|profile| {
            let directory = TempDir::new().unwrap();
            Self::Rocks(Box::new(RocksStore::open(directory.path(), profile.clone()).unwrap()), directory, profile)
        }));
        all
    }

    pub(crate) fn all() -> Vec<Self> {
        let mut all = Self::each(Durability::Volatile);
        all.extend(Self::each(Durability::Synced).into_iter().skip(1));
        all
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Memory(_) => "memory".to_owned(),
            Self::Rocks(.., profile) => format!("{profile:?}"),
        }
    }

    pub(crate) fn kv(&self) -> &dyn KeyValue {
        match self {
            Self::Memory(store) => store,
            Self::Rocks(store, ..) => store.as_ref(),
        }
    }

    /// What would be there after a crash now.
    pub(crate) fn crashed(&self) -> Self {
        match self {
            Self::Memory(store) => Self::Memory(store.crashed_copy()),
            Self::Rocks(_, directory, profile) => {
                let copy = TempDir::new().unwrap();
                copy_directory(directory.path(), copy.path());
                Self::Rocks(Box::new(RocksStore::open(copy.path(), profile.clone()).unwrap()), copy, profile.clone())
            }
        }
    }

    pub(crate) fn reopened(self) -> Self {
        match self {
            Self::Memory(store) => Self::Memory(store),
            Self::Rocks(store, directory, profile) => {
                drop(store);
                Self::Rocks(Box::new(RocksStore::open(directory.path(), profile.clone()).unwrap()), directory, profile)
            }
        }
    }
}

pub(crate) fn copy_directory(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() && entry.file_name() != "LOCK" {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

pub(crate) fn batch(rows: &[(&str, &str)]) -> WriteBatch {
    let mut batch = WriteBatch::new();
    rows.iter().for_each(|(key, value)| batch.put(*key, *value));
    batch
}

pub(crate) fn row(key: &[u8], value: &[u8]) -> Row {
    (key.to_vec(), value.to_vec())
}

pub(crate) fn everything() -> KeyRange {
    KeyRange { start: Vec::new(), end: None }
}

pub(crate) fn keys(read: &(impl Read + ?Sized), range: &KeyRange, direction: Direction) -> Vec<String> {
    let rows = read.scan(range, direction, usize::MAX).unwrap();
    rows.into_iter().map(|(key, _)| String::from_utf8(key).unwrap()).collect()
}

/// The next byte of a stream that does not compress.
pub(crate) fn step(noise: &mut u64) -> u8 {
    *noise ^= *noise << 13;
    *noise ^= *noise >> 7;
    *noise ^= *noise << 17;
    (*noise >> 32) as u8
}
