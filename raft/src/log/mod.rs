//! The log of all groups, in one key-value instance.
//!
//! [`LogStore`] opens it, reads what is there and owns the one thread that syncs for all groups together
//! ([`writer`]); [`GroupLog`] is one group's view of it, as openraft wants it; [`tail`] is what a group knows of
//! its log in memory, recent entries included; [`pins`] counts the blobs that unpurged entries name.
//!
//! Invariants: a group's entries are consecutive; an entry is in memory until it is durable; a callback or reply
//! that says "durable" is given after the sync that covers it, in the order of the writes. Failure of a write or
//! sync is fatal to the process ([`crate::FatalHook`]).

mod group;
pub(crate) mod pins;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

pub(crate) use group::GroupLog;
use openraft::entry::RaftEntry;
use parking_lot::Mutex;
pub(crate) use pins::Pins;
use securanet_kv::{Direction, Durability, KeyRange, KeyValue, WriteBatch};
use securanet_model::{
    GroupId,
    record::{self, RecordError},
};
use serde::de::DeserializeOwned;

use crate::{
    FatalHook, RaftError,
    format::{self, FenceRow, IdentityRow, LogIdRow, VoteRow},
    log::{tail::Tail, writer::Writer},
    types::{LogId, Vote},
};

/// Purged octets that are worth a flush of the log store.
const DEAD_BYTES_MIN: u64 = 8 * 1024 * 1024;

/// The log of all groups of a node.
pub(crate) struct LogStore {
    kv: Arc<dyn KeyValue>,
    writer: Arc<Writer>,
    pins: Arc<Pins>,
    cache_bytes_max: usize,
    /// Octets purged since the store was last flushed.
    dead_bytes: Arc<AtomicU64>,
    fatal: FatalHook,
    /// One tail per group: two would disagree.
    groups: Mutex<BTreeMap<GroupId, Arc<Tail>>>,
}

impl LogStore {
    /// Opens the log and starts its syncing thread. `cache_bytes_max` bounds what each group keeps of its recent
    /// entries in memory (entries not yet durable are kept beyond it).
    ///
    /// # Errors
    /// [`RaftError::Settings`] when no thread can be had.
    pub(crate) fn open(kv: Arc<dyn KeyValue>, cache_bytes_max: usize, fatal: FatalHook) -> Result<Self, RaftError> {
        let writer = Writer::spawn(kv.clone(), fatal.clone())
            .map_err(|error| RaftError::Settings(format!("no thread for syncing the log: {error}")))?;
        Ok(Self {
            kv,
            writer: Arc::new(writer),
            pins: Arc::default(),
            cache_bytes_max,
            dead_bytes: Arc::default(),
            fatal,
            groups: Mutex::default(),
        })
    }

    /// The blobs that unpurged entries of the groups opened so far name.
    #[must_use]
    pub(crate) fn pins(&self) -> &Arc<Pins> {
        &self.pins
    }

    /// The groups that the instance holds anything of, ascending.
    ///
    /// # Errors
    /// [`RaftError::Kv`].
    fn groups_on_disk(&self) -> Result<Vec<GroupId>, RaftError> {
        let mut groups = Vec::new();
        let mut range = KeyRange { start: Vec::new(), end: None };
        loop {
            let rows = self.kv.scan(&range, Direction::Forward, 1)?;
            let Some((key, _)) = rows.first() else { return Ok(groups) };
            let Some(group) = key.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes)) else {
                return Err(RaftError::Settings("the log store holds keys that are not ours".to_owned()));
            };
            groups.push(GroupId::new(group));
            let Some(next) = group.checked_add(1) else { return Ok(groups) };
            range.start = next.to_be_bytes().to_vec();
        }
    }

    /// Makes sure that the instance holds this replica of these groups, and no other group. For new groups it
    /// writes so, durably, so that no vote can precede it.
    ///
    /// # Errors
    /// [`RaftError::Identity`] when the disk holds another replica, [`RaftError::UnknownGroup`] when it holds
    /// another group; those of the disk and of damaged rows.
    pub(crate) fn identify(&self, replica: u64, groups: &[GroupId]) -> Result<(), RaftError> {
        if let Some(unknown) = self.groups_on_disk()?.into_iter().find(|group| !groups.contains(group)) {
            return Err(RaftError::UnknownGroup(unknown));
        }
        let mut batch = WriteBatch::new();
        for &group in groups {
            let key = format::identity_key(group);
            match self.row::<IdentityRow>(group, "identity", &key)? {
                Some(row) if row.replica == replica => {}
                Some(row) => return Err(RaftError::Identity { group, expected: replica, found: row.replica }),
                None => batch.put(key, record::encode(&IdentityRow { replica })),
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        Ok(self.kv.write(batch, Durability::Synced)?)
    }

    /// The replicas of a group that were given up.
    ///
    /// # Errors
    /// Those of the disk and of damaged rows.
    pub(crate) fn fenced(&self, group: GroupId) -> Result<BTreeSet<u64>, RaftError> {
        let fence: Option<FenceRow> = self.row(group, "fence", &format::fence_key(group))?;
        Ok(fence.unwrap_or_default().replicas)
    }

    /// One group's log.
    ///
    /// # Errors
    /// Those of the disk and of damaged rows.
    pub(crate) fn group(&self, group: GroupId) -> Result<GroupLog, RaftError> {
        let mut groups = self.groups.lock();
        let tail = match groups.get(&group) {
            Some(tail) => tail.clone(),
            None => {
                let tail = Arc::new(self.load(group)?);
                groups.insert(group, tail.clone());
                tail
            }
        };
        Ok(GroupLog::new(self, tail))
    }

    fn row<T: DeserializeOwned>(&self, group: GroupId, row: &'static str, key: &[u8]) -> Result<Option<T>, RaftError> {
        let value = self.kv.get(key)?;
        value.map(|value| record::decode(&value)).transpose().map_err(|error| RaftError::Row { group, row, error })
    }

    /// Reads what a group's log holds: where it begins and ends, sizes, blobs named, the newest entries.
    fn load(&self, group: GroupId) -> Result<Tail, RaftError> {
        let vote: Option<Vote> = self.row::<VoteRow>(group, "vote", &format::vote_key(group))?.map(Vote::from);
        let purged: Option<LogId> = self.row::<LogIdRow>(group, "purged", &format::purged_key(group))?.map(LogId::from);
        let tail = Tail::new(group, vote, purged, self.cache_bytes_max);
        let range = format::entry_range(group, purged.map_or(0, |id| id.index + 1), None);
        let mut failure = None;
        self.kv.visit(&range, Direction::Forward, &mut |key, value| match self.load_entry(&tail, key, value) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        })?;
        failure.map_or(Ok(tail), Err)
    }

    fn load_entry(&self, tail: &Tail, key: &[u8], value: &[u8]) -> Result<(), RaftError> {
        let group = tail.group();
        let row_error = |error| RaftError::Row { group, row: "entry", error };
        let entry = format::decode_entry(value).map_err(row_error)?;
        if format::index_of(key) != Some(entry.index()) {
            return Err(row_error(RecordError::Damaged(format!("entry {} lies under another key", entry.index()))));
        }
        self.pins.entry_appended(group, &entry);
        tail.append(entry, value.len()).map_err(|message| RaftError::Log { group, message })?;
        tail.durable_to_end();
        Ok(())
    }

    /// Gives purged space back, when there is enough of it. Called a while after a purge: what is dead then has
    /// mostly never left memory, and flushing just drops it, WAL included; left alone it would first be written
    /// to tables and compacted away later. May block on the disk.
    pub(crate) fn drop_dead(&self) -> Result<(), RaftError> {
        if self.dead_bytes.load(Ordering::Relaxed) < DEAD_BYTES_MIN {
            return Ok(());
        }
        self.dead_bytes.store(0, Ordering::Relaxed);
        Ok(self.kv.flush().inspect_err(|error| (self.fatal)(error))?)
    }

    /// Writes what is waiting, then ends the syncing thread. Later writes fail. What is purged gives its space back,
    /// which otherwise waits for the next compaction: there is none while nobody runs, and a backup copies it.
    pub(crate) fn close(&self) {
        self.writer.close();
        if let Err(error) = self.kv.compact(&KeyRange { start: Vec::new(), end: None }) {
            tracing::warn!(%error, "purged log entries keep their space until the next compaction");
        }
    }
}
