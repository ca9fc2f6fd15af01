//! Taking a snapshot in: rows go into a new generation beside the live one, then one row flips over.
//!
//! The order is the point: all rows, then the flip row (with applied and membership rows, in one batch), then a
//! flush that makes all of it durable together, and only then openraft is told, which purges the log next. Then
//! the old generation is removed. A crash before the flush leaves the old state and some rows of no generation,
//! which opening removes; a crash after it leaves the new state.

use std::sync::Arc;

use securanet_kv::{Durability, KeyRange, WriteBatch};
use securanet_model::record;

use crate::{
    RaftError,
    format::{self, LogIdRow, MembershipRow},
    state::{Position, Replica, snapshot::Chunk},
    types::{LogId, SnapshotMeta},
};

/// A generation being taken in, of which nobody knows yet. Dropping it removes its rows.
struct Generation {
    replica: Arc<Replica>,
    number: u32,
    /// Whether it has become the live one.
    live: bool,
}

impl Generation {
    /// All keys of it.
    fn range(&self) -> KeyRange {
        KeyRange::prefix(format::space_prefix(self.replica.group(), self.number))
    }

    fn remove_rows(&self) -> Result<(), RaftError> {
        let mut batch = WriteBatch::new();
        batch.delete_range(self.range());
        Ok(self.replica.kv().write(batch, Durability::Volatile)?)
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if self.live {
            return;
        }
        if let Err(error) = self.remove_rows() {
            tracing::warn!(group = %self.replica.group(), %error, "rows of a broken off snapshot stay until the next start");
        }
        self.replica.generations().write().staged = None;
    }
}

/// A snapshot of another replica that is arriving, chunk by chunk.
pub(crate) struct Staging {
    generation: Generation,
    meta: Option<SnapshotMeta>,
    rows: u64,
    /// How many rows the sender counted.
    ended: Option<u64>,
    chunks: u64,
    /// The key of the last row.
    last_key: Option<Vec<u8>>,
}

impl Staging {
    /// Begins to take a snapshot in; one at a time.
    ///
    /// # Errors
    /// [`RaftError::Snapshot`] when another one is arriving; those of the disk.
    pub(crate) fn begin(replica: Arc<Replica>) -> Result<Self, RaftError> {
        let not_possible = |message: &str| RaftError::Snapshot { group: replica.group(), message: message.to_owned() };
        let number = {
            let mut generations = replica.generations().write();
            if generations.staged.is_some() {
                return Err(not_possible("another one is arriving"));
            }
            let number = generations.live + 1;
            if number == format::OWN_GENERATION {
                return Err(not_possible("generations are used up"));
            }
            generations.staged = Some(number);
            number
        };
        let generation = Generation { replica, number, live: false };
        generation.remove_rows()?;
        Ok(Self { generation, meta: None, rows: 0, ended: None, chunks: 0, last_key: None })
    }

    /// Chunks and rows taken in, and the key of the last row.
    #[must_use]
    pub(crate) fn position(&self) -> (u64, u64, Option<&[u8]>) {
        (self.chunks, self.rows, self.last_key.as_deref())
    }

    /// Whether the last chunk was taken.
    #[must_use]
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Takes the next chunk. May block on the disk.
    ///
    /// # Errors
    /// [`RaftError::Row`] when it does not decode, [`RaftError::Snapshot`] when it is out of turn; those of the
    /// disk.
    pub(crate) fn add(&mut self, chunk: &[u8]) -> Result<(), RaftError> {
        let group = self.generation.replica.group();
        let damaged = |error| RaftError::Row { group, row: "snapshot chunk", error };
        let chunk = Chunk::decode(chunk).map_err(damaged)?;
        self.take(chunk)?;
        self.chunks += 1;
        Ok(())
    }

    fn take(&mut self, chunk: Chunk) -> Result<(), RaftError> {
        let group = self.generation.replica.group();
        let damaged = |error| RaftError::Row { group, row: "snapshot chunk", error };
        match (chunk, self.meta.is_some(), self.ended) {
            (Chunk::Begin { applied, membership }, false, None) => {
                let last_membership = membership.membership().map_err(damaged)?;
                self.meta = Some(SnapshotMeta { last_log_id: Some(LogId::from(applied)), last_membership });
                Ok(())
            }
            (Chunk::Rows(rows), true, None) => {
                let mut batch = WriteBatch::new();
                let prefix = format::space_prefix(group, self.generation.number);
                let first_key = rows.first().map(|row| row.key.as_slice());
                if self.last_key.is_some() && first_key.is_some_and(|first| Some(first) <= self.last_key.as_deref()) {
                    let message = "its chunks are not in order".to_owned();
                    return Err(RaftError::Snapshot { group, message });
                }
                self.rows += rows.len() as u64;
                if let Some(last) = rows.last() {
                    self.last_key = Some(last.key.clone());
                }
                for row in rows {
                    batch.put([prefix.as_slice(), &row.key].concat(), row.value);
                }
                Ok(self.generation.replica.kv().write(batch, Durability::Volatile)?)
            }
            (Chunk::End { rows }, true, None) => {
                self.ended = Some(rows);
                Ok(())
            }
            _ => Err(RaftError::Snapshot { group, message: "a chunk is out of turn".to_owned() }),
        }
    }

    /// All chunks were taken.
    ///
    /// # Errors
    /// [`RaftError::Snapshot`] when the stream was cut short.
    pub(crate) fn finish(self) -> Result<Staged, RaftError> {
        let Self { generation, meta, rows, ended, .. } = self;
        match (meta, ended) {
            (Some(meta), Some(counted)) if counted == rows => Ok(Staged { generation, meta }),
            _ => {
                let message = format!("{rows} rows came, {ended:?} were announced");
                Err(RaftError::Snapshot { group: generation.replica.group(), message })
            }
        }
    }
}

/// A snapshot whose rows are all here, beside the live state.
pub(crate) struct Staged {
    generation: Generation,
    meta: SnapshotMeta,
}

impl Staged {
    /// How far it reaches.
    #[must_use]
    pub(crate) fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// Makes it the live state, durably, and removes the old one.
    pub(super) fn install(mut self, replica: &Replica) -> Result<(), RaftError> {
        self.write_flip()?;
        replica.flush()?;
        let old = self.go_live();
        remove_generation(replica, old)
    }

    /// Writes the rows that make it the live state at the next start.
    pub(super) fn write_flip(&self) -> Result<(), RaftError> {
        let group = self.generation.replica.group();
        let mut batch = WriteBatch::new();
        batch.put(format::generation_key(group), record::encode(&self.generation.number));
        // Rows came, no content: until somebody has looked, it may be missing.
        batch.put(format::hollow_key(group), record::encode(&self.generation.number));
        batch.put(format::membership_key(group), record::encode(&MembershipRow::from(&self.meta.last_membership)));
        if let Some(applied) = self.meta.last_log_id {
            batch.put(format::applied_key(group), record::encode(&LogIdRow::from(applied)));
        }
        Ok(self.generation.replica.kv().write(batch, Durability::Volatile)?)
    }

    /// Readers see it from now on; gives the number of the generation that was live.
    pub(super) fn go_live(&mut self) -> u32 {
        let replica = &self.generation.replica;
        let position = Position { applied: self.meta.last_log_id, membership: self.meta.last_membership.clone() };
        let mut generations = replica.generations().write();
        let old = std::mem::replace(&mut generations.live, self.generation.number);
        generations.staged = None;
        replica.set_hollow();
        drop(generations);
        replica.set_flushed(position.clone());
        replica.replace(position);
        self.generation.live = true;
        old
    }
}

/// Removes the rows of a generation that nobody reads any more, but for views taken before.
pub(super) fn remove_generation(replica: &Replica, number: u32) -> Result<(), RaftError> {
    let mut batch = WriteBatch::new();
    batch.delete_range(KeyRange::prefix(format::space_prefix(replica.group(), number)));
    Ok(replica.kv().write(batch, Durability::Volatile)?)
}
