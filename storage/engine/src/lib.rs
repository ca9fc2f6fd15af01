//! Truth: `apply(state, stamp, commands) -> changes and replies`, `answer(state, query) -> answer`.
//!
//! Deterministic: no clock, no randomness, no sockets, no iteration over hash maps. The same log gives the same
//! bytes on each replica.

use securanet_kv::{KvError, Read, WriteBatch};
use securanet_model::{Answer, GroupId, Query, Reply, record::RecordError, request::{Proposal, Topic}};

/// Where a group's state lives: every key of it begins with these eight bytes, big-endian.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Space {
    /// The group.
    pub group: GroupId,
    /// Raised when a snapshot is installed; below [`u32::MAX`], which is the replication room's own.
    pub generation: u32,
}

/// Why the engine could not go on. The replica stops: skipping would let replicas differ.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The disk.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// A record of the state does not decode.
    #[error("state: {0}")]
    Record(#[from] RecordError),
    /// The state contradicts itself.
    #[error("state is inconsistent: {0}")]
    Inconsistent(String),
}

/// What applying a proposal gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// The changes; whoever applies adds its own applied row to the same batch.
    pub batch: WriteBatch,
    /// Replies by request, then by command.
    pub replies: Vec<Vec<Reply>>,
    /// What changed, for watches; sorted, distinct.
    pub touched: Vec<Topic>,
}

/// Applies one log entry to the state that `view` shows.
///
/// # Errors
/// [`EngineError`]; nothing is changed then.
pub fn apply(_view: &dyn Read, _space: Space, _proposal: &Proposal) -> Result<Applied, EngineError> {
    Err(EngineError::Inconsistent("not built yet".to_owned()))
}

/// Answers a query from the state that `view` shows.
///
/// # Errors
/// [`EngineError`].
pub fn answer(_view: &dyn Read, _space: Space, _query: &Query) -> Result<Answer, EngineError> {
    Err(EngineError::Inconsistent("not built yet".to_owned()))
}
