//! The types that openraft is given: what a log entry carries, what applying it answers, who is told.
//!
//! A proposal is encoded once, by whoever proposes it. From then on its record travels: into the log row, into
//! the frames to other replicas, and into the cache of recent entries, all sharing one allocation. It is decoded
//! only where it is applied, and on the leader not even there, because the proposer hands the decoded value
//! along.
//!
//! Invariant: the blobs listed beside a record are exactly those that its commands name, ascending and distinct.
//! They stand there so that a gate, a witness and the collection can see what an entry needs without knowing
//! commands.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use openraft::{
    OptionalSend, RaftTypeConfig,
    raft::responder::Responder,
    type_config::alias::{EntryOf, LogIdOf, SnapshotMetaOf, StoredMembershipOf, VoteOf},
};
use securanet_model::{
    BlobId, Command, Reply,
    account::AccountCommand,
    content::NewMessage,
    delivery::QueueCommand,
    outbound::{Acceptance, OutboundCommand},
    record::{self, RecordError},
    request::Proposal,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::format::byte_string;

/// The parameters of openraft: 64-bit terms and replica ids, several leaders per term in a total order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TypeConfig;

impl RaftTypeConfig for TypeConfig {
    type D = Proposed;
    type R = Replies;
    type NodeId = u64;
    type Node = Member;
    type Term = u64;
    type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
    type Vote = openraft::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Proposed, u64, Member>;
    type Entry = openraft::Entry<Self::LeaderId, Self::Payload>;
    #[allow(deprecated, reason = "under its new path the same runtime would be one more crate to pin")]
    type AsyncRuntime = openraft::TokioRuntime;
    type Responder<T>
        = Callback<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// Where an entry stands in its group's log.
pub(crate) type LogId = LogIdOf<TypeConfig>;
/// An entry of a group's log.
pub(crate) type Entry = EntryOf<TypeConfig>;
/// A replica's vote.
pub(crate) type Vote = VoteOf<TypeConfig>;
/// A membership and where in the log it stands.
pub(crate) type Membership = StoredMembershipOf<TypeConfig>;
/// How far a snapshot reaches.
pub(crate) type SnapshotMeta = SnapshotMetaOf<TypeConfig>;

/// Who holds a replica: the name of a node. Where it listens is the directory's business.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Member {
    /// The node's name.
    pub node: String,
}

/// The proposal of one log entry, encoded once. Cheap to clone.
#[derive(Clone)]
pub struct Proposed(Arc<Inner>);

struct Inner {
    record: Bytes,
    blobs: Vec<BlobId>,
    decoded: OnceLock<Proposal>,
}

impl Proposed {
    /// Wraps a proposal with its record, which must be `record::encode(&proposal)`.
    #[must_use]
    pub(crate) fn new(proposal: Proposal, record: Bytes) -> Self {
        let blobs = blobs_named(&proposal);
        Self(Arc::new(Inner { record, blobs, decoded: OnceLock::from(proposal) }))
    }

    /// Takes a record from a log or a peer; it is decoded when it is applied.
    #[must_use]
    pub fn from_record(record: Bytes, blobs: Vec<BlobId>) -> Self {
        Self(Arc::new(Inner { record, blobs, decoded: OnceLock::new() }))
    }

    /// The encoded proposal.
    #[must_use]
    pub fn record(&self) -> &Bytes {
        &self.0.record
    }

    /// The blobs that its commands name, ascending, distinct.
    #[must_use]
    pub fn blobs(&self) -> &[BlobId] {
        &self.0.blobs
    }

    /// The proposal, decoded at most once.
    ///
    /// # Errors
    /// [`RecordError`] when the record is damaged or of a newer release. The replica must stop then.
    pub fn proposal(&self) -> Result<&Proposal, RecordError> {
        if let Some(proposal) = self.0.decoded.get() {
            return Ok(proposal);
        }
        let proposal: Proposal = record::decode(&self.0.record)?;
        Ok(self.0.decoded.get_or_init(|| proposal))
    }
}

/// The blobs that the commands of a proposal name, ascending, distinct.
#[must_use]
pub(crate) fn blobs_named(proposal: &Proposal) -> Vec<BlobId> {
    let mut blobs = BTreeSet::new();
    let mut take = |message: &NewMessage| blobs.extend(message.blobs.iter().map(|blob| blob.id));
    for command in proposal.requests.iter().flat_map(|request| &request.commands) {
        messages_of(command).for_each(&mut take);
    }
    blobs.into_iter().collect()
}

/// The messages that a command brings in.
pub(crate) fn messages_of(command: &Command) -> Box<dyn Iterator<Item = &NewMessage> + '_> {
    match command {
        Command::Deliver(deliver) => Box::new(std::iter::once(&deliver.message)),
        Command::Account(_, AccountCommand::Append { messages, .. }) => {
            Box::new(messages.iter().map(|append| &append.message))
        }
        Command::Queue(QueueCommand::FanOut(fan_out)) => Box::new(std::iter::once(&fan_out.message)),
        Command::Outbound(OutboundCommand::Accept(acceptance)) => accepted(acceptance),
        Command::Outbound(OutboundCommand::Report { message: Some(acceptance), .. }) => accepted(acceptance),
        Command::Directory(_)
        | Command::Account(..)
        | Command::Queue(_)
        | Command::Outbound(_)
        | Command::Recover(_) => Box::new(std::iter::empty()),
    }
}

fn accepted(acceptance: &Acceptance) -> Box<dyn Iterator<Item = &NewMessage> + '_> {
    let inside = acceptance.fan_out.iter().map(|fan_out| &fan_out.message);
    Box::new(inside.chain(acceptance.outbound.iter().map(|outbound| &outbound.message)))
}

impl fmt::Debug for Proposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposed({} bytes, {} blobs)", self.0.record.len(), self.0.blobs.len())
    }
}

impl fmt::Display for Proposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl PartialEq for Proposed {
    fn eq(&self, other: &Self) -> bool {
        self.0.record == other.0.record && self.0.blobs == other.0.blobs
    }
}

/// What openraft's serde bounds ask for; our own rows and frames do not go through it.
#[derive(Serialize, Deserialize)]
struct Wire {
    blobs: Vec<BlobId>,
    #[serde(with = "byte_string")]
    record: Bytes,
}

impl Serialize for Proposed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Wire { blobs: self.0.blobs.clone(), record: self.0.record.clone() }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Proposed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Wire::deserialize(deserializer).map(|wire| Self::from_record(wire.record, wire.blobs))
    }
}

/// Replies by request, then by command; empty for entries that carry no request.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Replies(pub Vec<Vec<Reply>>);

/// Calls back with a result, or with `None` when openraft drops it unanswered (it is shutting down).
///
/// It runs on openraft's own tasks, so that an answer reaches its waiters without one more task to wake.
pub struct Callback<T>(Option<Box<dyn FnOnce(Option<T>) + Send>>);

impl<T> Callback<T> {
    /// `then` runs exactly once. It must not block.
    #[must_use]
    pub fn new(then: impl FnOnce(Option<T>) + Send + 'static) -> Self {
        Self(Some(Box::new(then)))
    }
}

impl<T: OptionalSend + 'static> Responder<TypeConfig, T> for Callback<T> {
    fn on_complete(mut self, result: T) {
        if let Some(then) = self.0.take() {
            then(Some(result));
        }
    }
}

impl<T> Drop for Callback<T> {
    fn drop(&mut self) {
        if let Some(then) = self.0.take() {
            then(None);
        }
    }
}
