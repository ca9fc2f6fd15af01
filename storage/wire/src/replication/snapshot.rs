//! Snapshots and blobs: streams with a beginning.

use prost::bytes::Bytes;
use securanet_model::{BlobId, GroupId, TenantId};

use super::{
    BLOB_FRAME_BYTES_MAX, Ballot, HOLDERS_MAX, ballot, hello_from_wire, hello_to_wire, is_node, proto, reason,
};
use crate::WireError;

/// Octets of a row's key.
const KEY_BYTES_MAX: usize = 64 * 1024;

/// What a snapshot's stream begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotBegin {
    /// The node that sends.
    pub node: String,
    /// The group.
    pub group: GroupId,
    /// The replica that it is for.
    pub target: u64,
    /// The leader.
    pub vote: Ballot,
    /// Names the snapshot.
    pub id: [u8; 16],
}

/// A frame of a snapshot's stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SnapshotStep {
    /// The first one.
    Begin(SnapshotBegin),
    /// A chunk.
    Chunk(Bytes),
}

/// How much of a snapshot was taken in.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SnapshotPosition {
    /// Chunks.
    pub chunks: u64,
    /// Rows.
    pub rows: u64,
    /// The key of the last row.
    pub after: Option<Bytes>,
}

/// What the receiver of a snapshot says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SnapshotTaken {
    /// It has this much.
    Taken(SnapshotPosition),
    /// It is installed; the receiver's vote.
    Installed(Ballot),
    /// It was not taken, and why.
    Refused(String),
}

/// A wish for a blob.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlobAsk {
    /// The node that asks.
    pub node: String,
    /// What for.
    pub blob: BlobId,
    /// Where whoever is asked gets it from if it does not have it; at most [`HOLDERS_MAX`].
    pub holders: Vec<String>,
    /// Whether nobody waits for it.
    pub bulk: bool,
}

/// A frame of a blob's stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BlobStep {
    /// Octets of the whole; the first frame.
    Size(u64),
    /// The next octets.
    Bytes(Bytes),
    /// It is not there.
    Missing,
    /// What blob and content must have; the last frame.
    Checksum(u32),
    /// It is there, and damaged.
    Damaged(String),
    /// It is not there yet, and on its way.
    Coming,
}

/// The beginning of a snapshot's stream as it travels.
#[must_use]
pub fn begin_to_wire(begin: &SnapshotBegin) -> proto::SnapshotFrame {
    let begin = proto::SnapshotBegin {
        hello: Some(hello_to_wire(&begin.node)),
        group: begin.group.get(),
        target: begin.target,
        vote: Some(begin.vote.into()),
        id: Bytes::copy_from_slice(&begin.id),
    };
    proto::SnapshotFrame { frame: Some(proto::snapshot_frame::Frame::Begin(begin)) }
}

/// The beginning of a snapshot's stream from a peer.
///
/// # Errors
/// [`WireError`] names the field.
pub fn begin_from_wire(begin: proto::SnapshotBegin) -> Result<SnapshotBegin, WireError> {
    Ok(SnapshotBegin {
        node: hello_from_wire(begin.hello)?,
        group: GroupId::new(begin.group),
        target: begin.target,
        vote: ballot(begin.vote)?,
        id: begin.id.as_ref().try_into().map_err(|_| WireError::Field("id"))?,
    })
}

/// A frame of a snapshot's stream from a peer.
///
/// # Errors
/// [`WireError`] names the field.
pub fn snapshot_frame_from_wire(frame: proto::SnapshotFrame) -> Result<SnapshotStep, WireError> {
    use proto::snapshot_frame::Frame;
    match frame.frame.ok_or(WireError::Missing("frame"))? {
        Frame::Begin(begin) => begin_from_wire(begin).map(SnapshotStep::Begin),
        Frame::Chunk(chunk) => Ok(SnapshotStep::Chunk(chunk)),
    }
}

/// What the receiver of a snapshot says, as it travels.
#[must_use]
pub fn taken_to_wire(taken: SnapshotTaken) -> proto::SnapshotProgress {
    use proto::snapshot_progress::Step;
    let step = match taken {
        SnapshotTaken::Taken(SnapshotPosition { chunks, rows, after }) => {
            Step::Taken(proto::SnapshotPosition { chunks, rows, after })
        }
        SnapshotTaken::Installed(vote) => Step::Installed(vote.into()),
        SnapshotTaken::Refused(why) => Step::Refused(reason(why)),
    };
    proto::SnapshotProgress { step: Some(step) }
}

/// What the receiver of a snapshot says, from a peer.
///
/// # Errors
/// [`WireError`] names the field.
pub fn taken_from_wire(progress: proto::SnapshotProgress) -> Result<SnapshotTaken, WireError> {
    use proto::snapshot_progress::Step;
    Ok(match progress.step.ok_or(WireError::Missing("step"))? {
        Step::Taken(proto::SnapshotPosition { chunks, rows, after }) => {
            if after.as_ref().is_some_and(|key| key.is_empty() || key.len() > KEY_BYTES_MAX) {
                return Err(WireError::Field("after"));
            }
            SnapshotTaken::Taken(SnapshotPosition { chunks, rows, after })
        }
        Step::Installed(vote) => SnapshotTaken::Installed(vote.into()),
        Step::Refused(why) => SnapshotTaken::Refused(reason(why)),
    })
}

/// A request for a blob as it travels.
#[must_use]
pub fn blob_request_to_wire(ask: BlobAsk) -> proto::BlobRequest {
    proto::BlobRequest {
        hello: Some(hello_to_wire(&ask.node)),
        tenant: ask.blob.tenant.get(),
        hash: Bytes::copy_from_slice(&ask.blob.hash),
        holders: ask.holders,
        bulk: ask.bulk,
    }
}

/// A request for a blob from a peer.
///
/// # Errors
/// [`WireError`] names the field.
pub fn blob_request_from_wire(request: proto::BlobRequest) -> Result<BlobAsk, WireError> {
    let node = hello_from_wire(request.hello)?;
    let hash = request.hash.as_ref().try_into().map_err(|_| WireError::Field("hash"))?;
    if request.holders.len() > HOLDERS_MAX || !request.holders.iter().all(|holder| is_node(holder)) {
        return Err(WireError::Field("holders"));
    }
    let blob = BlobId { tenant: TenantId::new(request.tenant), hash };
    Ok(BlobAsk { node, blob, holders: request.holders, bulk: request.bulk })
}

/// A frame of a blob's stream from a peer.
///
/// # Errors
/// [`WireError`] names the field.
pub fn blob_step_from_wire(frame: proto::BlobFrame) -> Result<BlobStep, WireError> {
    use proto::blob_frame::Frame;
    match frame.frame.ok_or(WireError::Missing("frame"))? {
        Frame::SizeBytes(size_bytes) => Ok(BlobStep::Size(size_bytes)),
        Frame::Bytes(bytes) if bytes.len() > BLOB_FRAME_BYTES_MAX => Err(WireError::Field("bytes")),
        Frame::Bytes(bytes) => Ok(BlobStep::Bytes(bytes)),
        Frame::Missing(proto::Missing {}) => Ok(BlobStep::Missing),
        Frame::Checksum(checksum) => Ok(BlobStep::Checksum(checksum)),
        Frame::Damaged(why) => Ok(BlobStep::Damaged(reason(why))),
        Frame::Coming(proto::Coming {}) => Ok(BlobStep::Coming),
    }
}
