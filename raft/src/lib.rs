//! Replication: groups of replicas that agree on a log of commands, and the log, state and snapshots under them.
//!
//! openraft is named in this crate only. On one node each group has one voter, and still every write is a command
//! that goes through it: proposed, fsynced in the log, applied, answered. The cluster adds a network
//! ([`Peers`], [`ReplicationService`]), not another write path.
//!
//! A request's way: [`Groups::execute`] checks that the blobs it names are here, a group's batcher gathers what
//! waits into one proposal, openraft appends it, the syncing thread of the log makes it durable together with
//! what other groups have, openraft commits it, the state machine applies it with the engine and answers. On a node
//! that does not lead the group, the request is passed on to the one that does, again and again until it is committed.
//!
//! From another node an append passes the gate first: it waits until the blobs that it names are durable here. What
//! came by a snapshot lacks them for a while: the replica is hollow.
//!
//! A read without a token asks whoever leads how far it must be, and is answered here when this replica is.
//!
//! It knows nothing of gateways: `node` puts their store interface over [`Groups`].
//!
//! Invariants: vote durable before it is answered; entry durable before it counts; state flushed before its log is
//! purged; blobs here before an entry names them. A write or sync that fails ends the process.

pub mod fuzz;

mod batch;
mod clock_alarm;
mod clocks;
mod digest;
mod error;
mod fan_out;
pub mod format;
mod forward;
mod gate;
mod group;
mod groups;
mod heard;
mod heartbeat;
mod hollow;
mod leader;
mod log;
mod members;
pub mod metric;
mod network;
pub mod placement;
mod read_index;
pub mod recover;
pub mod retention;
mod router;
pub mod runtime;
mod settings;
mod stamp;
pub mod state;
mod status;
mod stores;
mod types;
mod watches;

pub use clocks::{clock_told, is_wrong_clock};
pub use digest::{GroupDigest, TableDigest, digests};
pub use error::{FatalHook, RaftError, abort_process};
pub use groups::Groups;
pub use network::{NoPeers, PeerClass, Peers, ReplicationService};
pub use retention::{LogSituation, RetentionPolicy};
pub use settings::{BatchBounds, Clock, Settings, Timing};
pub use state::flush::FlushPolicy;
pub use status::{GroupStatus, MemberStatus};
pub use stores::{CACHE_BYTES, CACHE_BYTES_MIN, Stores};

#[cfg(test)]
mod replicas;
#[cfg(test)]
mod suite;
