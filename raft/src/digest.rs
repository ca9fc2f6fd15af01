//! What a stopped node's replicas hold, in a few octets each, so that replicas of a group can be compared.
//!
//! Only truth counts, without group and generation: two replicas that have applied the same entries give the same digest,
//! whether they got them one by one or by a snapshot. Each table has a digest of its own, which says where a difference is.
//! A node that was killed is behind its log; one that was stopped in order is not.

use std::{ops::ControlFlow, path::Path};

use securanet_engine::Space;
use securanet_kv::{
    Direction, KeyRange, Read,
    rocks::{Profile, RocksStore},
};
use securanet_model::{GroupId, record};
use serde::Serialize;

use crate::{
    RaftError,
    format::{self, LogIdRow},
    types::LogId,
};

/// What a replica holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct GroupDigest {
    /// Whose replica it is.
    pub group: u32,
    /// The last entry that is in it; none before the first.
    pub applied_index: Option<u64>,
    /// The term of that entry.
    pub applied_term: Option<u64>,
    /// Rows of truth.
    pub rows: u64,
    /// BLAKE3 of all tables' digests, in hexadecimal.
    pub digest: String,
    /// The tables that have rows, ascending.
    pub tables: Vec<TableDigest>,
}

/// What a table of it holds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TableDigest {
    /// Its number, the first octet of its keys.
    pub table: u8,
    /// Its rows.
    pub rows: u64,
    /// BLAKE3 of its rows, in hexadecimal: each key without group and generation, and each value, with its length before it.
    pub digest: String,
}

/// The replicas in the data directory of a node that does not run, ascending by group.
///
/// # Errors
/// [`RaftError`]: there is no state, a process has it open, or it is damaged.
pub fn digests(directory: &Path) -> Result<Vec<GroupDigest>, RaftError> {
    let place = directory.join("state");
    if !place.is_dir() {
        return Err(RaftError::Settings(format!("{}: there is no state of a store", place.display())));
    }
    digests_of(&RocksStore::open(place, Profile::state())?)
}

fn digests_of(state: &dyn Read) -> Result<Vec<GroupDigest>, RaftError> {
    let mut digests = Vec::new();
    let mut from = Vec::new();
    while let Some((key, _)) = state.scan(&KeyRange { start: from, end: None }, Direction::Forward, 1)?.pop() {
        let Some(group) = key.first_chunk().map(|group| u32::from_be_bytes(*group)) else { break };
        digests.push(digest(state, GroupId::new(group))?);
        let Some(next) = group.checked_add(1) else { break };
        from = next.to_be_bytes().to_vec();
    }
    Ok(digests)
}

fn digest(state: &dyn Read, group: GroupId) -> Result<GroupDigest, RaftError> {
    let error = |row| move |error| RaftError::Row { group, row, error };
    let applied = state.get(&format::applied_key(group))?.map(|row| record::decode::<LogIdRow>(&row));
    let applied = applied.transpose().map_err(error("applied"))?.map(LogId::from);
    let generation = state.get(&format::generation_key(group))?.map(|row| record::decode::<u32>(&row));
    let space = Space { group, generation: generation.transpose().map_err(error("generation"))?.unwrap_or(0) };
    let mut tables = Tables::default();
    let prefix_octets = space.prefix().len();
    state.visit(&space.truth(), Direction::Forward, &mut |key, value| {
        tables.add(&key[prefix_octets..], value);
        ControlFlow::Continue(())
    })?;
    let tables = tables.finish();
    let mut all = blake3::Hasher::new();
    for table in &tables {
        all.update(&[table.table]).update(table.digest.as_bytes());
    }
    Ok(GroupDigest {
        group: group.get(),
        applied_index: applied.map(|id| id.index),
        applied_term: applied.map(|id| id.leader_id.term),
        rows: tables.iter().map(|table| table.rows).sum(),
        digest: all.finalize().to_hex().to_string(),
        tables,
    })
}

/// The tables seen so far; the last one may get more rows.
#[derive(Default)]
struct Tables {
    done: Vec<TableDigest>,
    last: Option<(u8, u64, blake3::Hasher)>,
}

impl Tables {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        let Some(&table) = key.first() else { return };
        if self.last.as_ref().is_some_and(|(last, ..)| *last != table) {
            self.close();
        }
        let (_, rows, hasher) = self.last.get_or_insert_with(|| (table, 0, blake3::Hasher::new()));
        *rows += 1;
        for octets in [key, value] {
            hasher.update(&(octets.len() as u64).to_be_bytes()).update(octets);
        }
    }

    fn close(&mut self) {
        if let Some((table, rows, hasher)) = self.last.take() {
            self.done.push(TableDigest { table, rows, digest: hasher.finalize().to_hex().to_string() });
        }
    }

    fn finish(mut self) -> Vec<TableDigest> {
        self.close();
        self.done
    }
}

#[cfg(test)]
mod tests {
    use securanet_kv::{Durability, KeyValue, WriteBatch, memory::MemoryStore};

    use super::*;

    /// A state of group 3 in this generation, with rows of table and text.
    fn state(generation: u32, rows: &[(u8, &str, &str)]) -> MemoryStore {
        let store = MemoryStore::new();
        let space = Space { group: GroupId::new(3), generation };
        let mut batch = WriteBatch::new();
        for (table, key, value) in rows {
            batch.put([space.prefix().as_slice(), &[*table], key.as_bytes()].concat(), value.as_bytes());
        }
        batch.put(format::generation_key(space.group), record::encode(&generation));
        store.write(batch, Durability::Volatile).unwrap();
        store
    }

    fn digest_of(generation: u32, rows: &[(u8, &str, &str)]) -> GroupDigest {
        let mut digests = digests_of(&state(generation, rows)).unwrap();
        assert_eq!(digests.len(), 1);
        digests.pop().unwrap()
    }

    #[test]
    fn replicas_with_the_same_truth_are_equal_whatever_else_they_hold() {
        let one = digest_of(0, &[(1, "k", "v"), (1, "l", "w"), (2, "k", "v")]);
        assert_eq!((one.group, one.rows, one.tables.len()), (3, 3, 2));
        assert_eq!(one, digest_of(7, &[(1, "k", "v"), (1, "l", "w"), (2, "k", "v"), (0x80, "derived", "x")]));
    }

    #[test]
    fn a_difference_is_seen_and_its_table_named() {
        let rows = [(1, "k", "v"), (2, "ab", "c")];
        let one = digest_of(0, &rows);
        let others: [&[(u8, &str, &str)]; 5] = [
            &[(1, "k", "v"), (2, "ab", "d")],
            &[(1, "k", "v"), (2, "a", "bc")],
            &[(1, "k", "v"), (2, "ab", "c"), (2, "ac", "")],
            &[(1, "k", "v")],
            &[(1, "k", "v"), (3, "ab", "c")],
        ];
        for other in others {
            let other = digest_of(0, other);
            assert_ne!(one.digest, other.digest, "{other:?}");
            assert_eq!(one.tables[0], other.tables[0], "table 1 is the same");
        }
    }

    #[test]
    fn a_directory_without_a_state_is_refused_and_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let refused = digests(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("there is no state of a store"), "{refused}");
        assert!(!folder.path().join("state").exists());
    }
}
