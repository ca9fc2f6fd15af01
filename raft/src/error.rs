//! Why groups could not be opened or had to stop. Requests get a [`StoreError`] instead, which says what a client
//! may be told.

use std::{io, sync::Arc};

use securanet_engine::EngineError;
use securanet_kv::KvError;
use securanet_model::{GroupId, StoreError, record::RecordError};

/// What went wrong in the replication room, and whose fault it was.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RaftError {
    /// The disk.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// A row of ours does not decode.
    #[error("group {group}: the {row} row: {error}")]
    Row {
        /// Whose.
        group: GroupId,
        /// Which.
        row: &'static str,
        /// Why.
        error: RecordError,
    },
    /// Rows of the log contradict each other.
    #[error("group {group}: the log is inconsistent: {message}")]
    Log {
        /// Whose.
        group: GroupId,
        /// How.
        message: String,
    },
    /// The engine gave up: the replica stops here.
    #[error("group {group}: {error}")]
    Engine {
        /// Whose.
        group: GroupId,
        /// Why.
        error: EngineError,
    },
    /// This directory holds another replica than the one it is opened as.
    #[error(
        "group {group}: this directory holds replica {found}, not replica {expected}; a replica id is never reused"
    )]
    Identity {
        /// Which group.
        group: GroupId,
        /// What the settings say.
        expected: u64,
        /// What the disk says.
        found: u64,
    },
    /// The directory holds groups that the settings do not name.
    #[error("this directory also holds group {0}, which is not configured: opening without it would lose its mail")]
    UnknownGroup(GroupId),
    /// The caller: settings that cannot work.
    #[error("settings: {0}")]
    Settings(String),
    /// A stream of snapshot chunks is not whole.
    #[error("group {group}: the snapshot is not whole: {message}")]
    Snapshot {
        /// Whose.
        group: GroupId,
        /// How.
        message: String,
    },
    /// openraft stopped the group.
    #[error("group {group} has stopped: {message}")]
    Stopped {
        /// Which.
        group: GroupId,
        /// Why.
        message: String,
    },
}

impl From<RaftError> for StoreError {
    fn from(error: RaftError) -> Self {
        match error {
            RaftError::Kv(KvError::Damaged { .. })
            | RaftError::Row { .. }
            | RaftError::Log { .. }
            | RaftError::Engine { .. } => Self::Damaged(error.to_string()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<RaftError> for io::Error {
    fn from(error: RaftError) -> Self {
        Self::other(error)
    }
}

/// Ends the process: after a failed write or sync nobody knows what is on the disk, and trying again would only
/// hide a loss. The next start replays from what is really there.
pub type FatalHook = Arc<dyn Fn(&KvError) + Send + Sync>;

/// The hook for real processes: an ERROR in the log, then abort.
#[must_use]
pub fn abort_process() -> FatalHook {
    Arc::new(|error| {
        tracing::error!(%error, "writing to disk failed, nothing is known about it any more: the process ends");
        std::process::abort()
    })
}
