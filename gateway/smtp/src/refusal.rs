//! What a client is told when a store cannot do what the client asked for.
//!
//! The culprit is never the client here, so each reply is temporary (but for a message too large), and none tells
//! more than it must: the reason goes to the log.

use securanet_gateway::model::StoreError;

use crate::grammar::Reply;

/// The reply for an error of the store.
pub(crate) fn of_store(error: &StoreError) -> Reply {
    match error {
        StoreError::Unavailable(_) | StoreError::NotLeader { .. } => no_commit(),
        StoreError::Draining => draining(),
        StoreError::DiskFull { .. } => Reply::new(452, (3, 1), "no room for mail now: try again later"),
        StoreError::Busy => Reply::new(451, (3, 2), "too much mail is coming in: try again later"),
        StoreError::TooLarge { limit_bytes } => too_large(*limit_bytes),
        StoreError::NoGroup(_) | StoreError::NotFound | StoreError::Damaged(_) | StoreError::Internal(_) => {
            tracing::error!(%error, "store failed");
            Reply::new(451, (3, 0), "internal fault: try again later")
        }
    }
}

/// RFC 5321 3.8: the server goes down.
pub(crate) fn draining() -> Reply {
    Reply::new(421, (3, 2), "shutting down: try again later")
}

/// No majority answered in time. Nothing is kept.
pub(crate) fn no_commit() -> Reply {
    Reply::new(451, (3, 0), "cannot keep mail now: try again later")
}

/// RFC 1870 6.1 and 6.3.
pub(crate) fn too_large(limit_octets: u64) -> Reply {
    Reply::new(552, (3, 4), format!("message is larger than {limit_octets} octets"))
}
