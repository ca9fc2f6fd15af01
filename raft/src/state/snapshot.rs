//! A state as a stream of chunks, for another replica.
//!
//! Taking a snapshot is O(1): a handle on the store as it is. Its rows are read only when somebody walks through
//! [`TakenSnapshot::chunks`]: truth keys only, without the group and generation that they begin with, since the
//! receiver has its own. Each chunk is a versioned record; the last one says how many rows there were, so that a
//! stream cut short is never taken for a whole one.

use std::{ops::ControlFlow, sync::Arc};

use securanet_engine::Space;
use securanet_kv::{Direction, KeyRange, KvError, Read};
use securanet_model::record::{self, RecordError};
use serde::{Deserialize, Serialize};

use crate::{
    RaftError, format,
    format::{LogIdRow, MembershipRow},
    runtime,
    state::{Replica, Staged, Staging},
    types::{LogId, Membership, SnapshotMeta},
};

/// A chunk closes with the row that reaches this many octets.
const CHUNK_BYTES: usize = 1024 * 1024;
/// The first table byte that is derived, not truth.
const DERIVED: u8 = 0x80;

/// A snapshot on its way through openraft.
pub(crate) enum SnapshotData {
    /// With rows to read.
    Taken(TakenSnapshot),
    /// Taken in from another node already, beside the live state.
    Staged(Staged),
    /// Only how far the state is durable; there are no rows in it.
    PositionOnly,
}

impl From<TakenSnapshot> for SnapshotData {
    fn from(taken: TakenSnapshot) -> Self {
        Self::Taken(taken)
    }
}

impl SnapshotData {
    /// Its rows, beside the live state of `replica`.
    pub(super) fn into_staged(self, replica: &Arc<Replica>, meta: &SnapshotMeta) -> Result<Staged, RaftError> {
        let not_whole = |message: &str| RaftError::Snapshot { group: replica.group(), message: message.to_owned() };
        let staged = match self {
            Self::PositionOnly => return Err(not_whole("it has no rows")),
            Self::Staged(staged) => staged,
            Self::Taken(taken) => {
                let mut staging = Staging::begin(replica.clone())?;
                for chunk in taken.chunks() {
                    staging.add(&chunk?)?;
                }
                staging.finish()?
            }
        };
        if staged.meta() != meta {
            return Err(not_whole("its rows are of another position than it claims"));
        }
        Ok(staged)
    }
}

/// A handle on the state at one position. Cheap to clone; do not keep it for long: rows that are gone meanwhile
/// stay on disk for it.
#[derive(Clone)]
pub(crate) struct TakenSnapshot {
    view: Arc<dyn Read>,
    space: Space,
    applied: LogId,
    meta: SnapshotMeta,
    id: [u8; 16],
}

impl TakenSnapshot {
    pub(super) fn new(view: Box<dyn Read>, space: Space, applied: LogId, last_membership: Membership) -> Self {
        let meta = SnapshotMeta { last_log_id: Some(applied), last_membership };
        Self { view: view.into(), space, applied, meta, id: runtime::fresh_id() }
    }

    /// Names it: a stream of another one must not go on where this one was cut off.
    #[must_use]
    pub(crate) fn id(&self) -> [u8; 16] {
        self.id
    }

    /// How far it reaches.
    #[must_use]
    pub(crate) fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// Its chunks, in order. Reading may block on the disk.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = Result<Vec<u8>, KvError>> + use<> {
        Chunks { snapshot: self.clone(), next: Next::Begin, rows: 0 }
    }

    /// Its chunks behind the first `chunks`, which had `rows` rows, the last of them with the key `after`. Reading may
    /// block on the disk.
    pub(crate) fn chunks_behind(
        &self,
        chunks: u64,
        rows: u64,
        after: Option<Vec<u8>>,
    ) -> impl Iterator<Item = Result<Vec<u8>, KvError>> + use<> {
        let next = if chunks == 0 { Next::Begin } else { Next::Rows { after } };
        Chunks { snapshot: self.clone(), next, rows: if chunks == 0 { 0 } else { rows } }
    }

    /// The rows behind `after`, up to a chunk's size, keys stripped; and whether there are more.
    fn rows(&self, after: Option<&[u8]>) -> Result<(Vec<ChunkRow>, bool), KvError> {
        let prefix = format::space_prefix(self.space.group, self.space.generation);
        let mut end = prefix.clone();
        end.push(DERIVED);
        let mut range = KeyRange::new(prefix.clone(), end);
        if let Some(after) = after {
            range = range.after(&[prefix.as_slice(), after].concat());
        }
        let (mut rows, mut bytes, mut more) = (Vec::new(), 0, false);
        self.view.visit(&range, Direction::Forward, &mut |key, value| {
            if bytes >= CHUNK_BYTES {
                more = true;
                return ControlFlow::Break(());
            }
            bytes += key.len() + value.len();
            rows.push(ChunkRow { key: key[prefix.len()..].to_vec(), value: value.to_vec() });
            ControlFlow::Continue(())
        })?;
        Ok((rows, more))
    }
}

/// A piece of a snapshot stream. Frozen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Chunk {
    /// The first one: how far the snapshot reaches.
    Begin { applied: LogIdRow, membership: MembershipRow },
    /// Rows, ascending by key.
    Rows(Vec<ChunkRow>),
    /// The last one: how many rows there were.
    End { rows: u64 },
}

/// A row, its key without group and generation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct ChunkRow {
    #[serde(with = "securanet_model::content::bytes_field")]
    pub(crate) key: Vec<u8>,
    #[serde(with = "securanet_model::content::bytes_field")]
    pub(crate) value: Vec<u8>,
}

impl Chunk {
    /// Reads a chunk that a peer sent; rows are truth rows, ascending.
    pub(crate) fn decode(chunk: &[u8]) -> Result<Self, RecordError> {
        let chunk: Self = record::decode(chunk)?;
        if let Self::Rows(rows) = &chunk {
            if !rows.is_sorted_by(|a, b| a.key < b.key) {
                return Err(RecordError::Damaged("its rows are not in order".to_owned()));
            }
            if rows.iter().any(|row| row.key.first().is_none_or(|&table| table >= DERIVED)) {
                return Err(RecordError::Damaged("it has rows that are not truth".to_owned()));
            }
        }
        Ok(chunk)
    }
}

struct Chunks {
    snapshot: TakenSnapshot,
    next: Next,
    rows: u64,
}

enum Next {
    Begin,
    Rows { after: Option<Vec<u8>> },
    End,
    Nothing,
}

impl Chunks {
    fn rows_behind(&mut self, after: Option<&[u8]>) -> Result<Chunk, KvError> {
        let (rows, more) = self.snapshot.rows(after)?;
        self.rows += rows.len() as u64;
        self.next = match rows.last() {
            Some(last) if more => Next::Rows { after: Some(last.key.clone()) },
            _ => Next::End,
        };
        Ok(Chunk::Rows(rows))
    }
}

impl Iterator for Chunks {
    type Item = Result<Vec<u8>, KvError>;

    fn next(&mut self) -> Option<Self::Item> {
        let chunk = match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Begin => {
                self.next = Next::Rows { after: None };
                let membership = MembershipRow::from(&self.snapshot.meta.last_membership);
                Ok(Chunk::Begin { applied: self.snapshot.applied.into(), membership })
            }
            Next::Rows { after } => self.rows_behind(after.as_deref()),
            Next::End => Ok(Chunk::End { rows: self.rows }),
            Next::Nothing => return None,
        };
        Some(chunk.map(|chunk| record::encode(&chunk)))
    }
}
