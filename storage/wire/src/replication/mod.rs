//! What replicas send each other, as values that are checked once, at the border.
//!
//! Entries and chunks stay bytes here: they are records of the replication room, which decodes them itself. The
//! conversions check everything else: what must be there is there, names and lists are within their bounds, blobs
//! are named by 32 bytes. A message that fails is refused whole, with the field's name.

mod append;
mod ask;
pub mod fuzz;
mod pack;
mod snapshot;

pub use append::{Append, AppendFrame, AppendReply, Outcome, Repeated, frame_from_wire, frame_to_wire};
pub use append::{replies_from_wire, replies_to_wire};
pub use ask::{
    ReplicaAsk, ReplicaState, TransferAsk, TransferOutcome, VoteAsk, VoteOutcome, Voted, forward_from_wire,
    forward_to_wire, read_index_from_wire, read_index_to_wire, replica_from_wire, replica_to_wire,
    state_outcome_from_wire, state_outcome_to_wire, transfer_from_wire, transfer_outcome_from_wire,
    transfer_outcome_to_wire, transfer_to_wire, vote_from_wire, vote_outcome_from_wire, vote_outcome_to_wire,
    vote_to_wire,
};
pub use pack::{Packer, Packing, Unpacker, packing_from_wire, packing_to_wire};
pub use snapshot::{
    BlobAsk, BlobStep, SnapshotBegin, SnapshotPosition, SnapshotStep, SnapshotTaken, begin_from_wire, begin_to_wire,
    blob_request_from_wire, blob_request_to_wire, blob_step_from_wire, snapshot_frame_from_wire, taken_from_wire,
    taken_to_wire,
};

use crate::WireError;
pub use crate::securanet::replication::v1 as proto;

/// The version that this release speaks.
pub const VERSION: u32 = 1;
/// Octets of one message; both sides refuse more.
pub const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Octets of blob content in one frame.
pub const BLOB_FRAME_BYTES_MAX: usize = 256 * 1024;
/// Nodes that a request for a blob names.
pub const HOLDERS_MAX: usize = 16;
/// Octets of a node's name.
const NODE_BYTES_MAX: usize = 255;
/// Octets of a reason.
const REASON_BYTES_MAX: usize = 4096;

/// Where an entry stands in its group's log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// The leader's term.
    pub term: u64,
    /// The leader's replica id.
    pub leader: u64,
    /// The entry's index.
    pub index: u64,
}

/// A vote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ballot {
    /// The term.
    pub term: u64,
    /// The replica that it is for.
    pub replica: u64,
    /// Whether a majority gave it: that replica leads.
    pub committed: bool,
}

impl From<Position> for proto::Position {
    fn from(position: Position) -> Self {
        Self { term: position.term, leader: position.leader, index: position.index }
    }
}

impl From<proto::Position> for Position {
    fn from(position: proto::Position) -> Self {
        Self { term: position.term, leader: position.leader, index: position.index }
    }
}

impl From<Ballot> for proto::Ballot {
    fn from(ballot: Ballot) -> Self {
        Self { term: ballot.term, replica: ballot.replica, committed: ballot.committed }
    }
}

impl From<proto::Ballot> for Ballot {
    fn from(ballot: proto::Ballot) -> Self {
        Self { term: ballot.term, replica: ballot.replica, committed: ballot.committed }
    }
}

fn ballot(ballot: Option<proto::Ballot>) -> Result<Ballot, WireError> {
    ballot.map(Ballot::from).ok_or(WireError::Missing("vote"))
}

fn hello_to_wire(node: &str) -> proto::Hello {
    proto::Hello { version: VERSION, node: node.to_owned() }
}

/// The node that speaks.
fn hello_from_wire(hello: Option<proto::Hello>) -> Result<String, WireError> {
    let hello = hello.ok_or(WireError::Missing("hello"))?;
    if hello.version != VERSION {
        return Err(WireError::Field("version: this release speaks 1"));
    }
    if is_node(&hello.node) { Ok(hello.node) } else { Err(WireError::Field("node")) }
}

/// Whether this may be a node's name.
fn is_node(name: &str) -> bool {
    (1..=NODE_BYTES_MAX).contains(&name.len())
}

/// A reason as it may be logged: cut to its bound.
fn reason(mut reason: String) -> String {
    if reason.len() > REASON_BYTES_MAX {
        let end = (0..=REASON_BYTES_MAX).rev().find(|&at| reason.is_char_boundary(at));
        reason.truncate(end.unwrap_or_default());
    }
    reason
}
