//! The state of all groups, in one key-value instance: applying entries, and snapshots of it.
//!
//! [`Replica`] is one group's state as everybody sees it; [`StateMachine`] is the one that openraft drives and
//! the only writer; [`snapshot`] reads the state out as chunks, [`staging`] takes chunks in beside the live state
//! and flips over.
//!
//! Applying writes without a log of its own: each entry is one batch, its applied row included, so that after a
//! crash the state is that of some earlier entry, whole, and the entries behind it are applied again. [`flush`]
//! decides when the state becomes durable; only then the log may be purged behind it.

pub mod flush;
mod machine;
mod replica;
pub mod snapshot;
pub mod staging;
#[cfg(test)]
mod tests;

pub(crate) use machine::StateMachine;
pub(crate) use replica::{Effects, Position};
pub(crate) use replica::{Replica, row};
pub(crate) use snapshot::{SnapshotData, TakenSnapshot};
pub(crate) use staging::{Staged, Staging};
