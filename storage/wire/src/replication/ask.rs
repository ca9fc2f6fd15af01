//! Votes, handing leadership over, how a replica is: one question, one answer.

use securanet_model::{Execute, GroupId};

use super::{Ballot, Position, ballot, hello_from_wire, hello_to_wire, proto, reason};
use crate::{WireError, execute_from_wire, execute_to_wire};

/// Asks a replica for its vote.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VoteAsk {
    /// The node that asks.
    pub node: String,
    /// The group.
    pub group: GroupId,
    /// The replica that is asked.
    pub target: u64,
    /// Only whether it would be given is asked.
    pub pre_vote: bool,
    /// The vote wanted.
    pub vote: Ballot,
    /// The candidate's last entry.
    pub last: Option<Position>,
    /// The leader itself wants this election.
    pub transfer: bool,
}

/// What became of a [`VoteAsk`]: an answer, or why it was not looked at.
pub type VoteOutcome = Result<Voted, String>;

/// The answer to a [`VoteAsk`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Voted {
    /// The voter's vote afterwards.
    pub vote: Ballot,
    /// Whether it is, or would be, given.
    pub granted: bool,
    /// The voter's last entry.
    pub last: Option<Position>,
}

/// Tells a replica that the leader hands over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TransferAsk {
    /// The node that speaks.
    pub node: String,
    /// The group.
    pub group: GroupId,
    /// The replica that is told.
    pub target: u64,
    /// The replica that is to lead.
    pub to: u64,
    /// The leader that hands over.
    pub vote: Ballot,
    /// How long its log is.
    pub last: Option<Position>,
}

/// What became of a [`TransferAsk`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TransferOutcome {
    /// Known; the one who is to lead campaigns.
    Accepted,
    /// The vote is another one by now.
    VoteChanged(Ballot),
    /// The log is durable only as far as this.
    NotFlushed(Option<Position>),
    /// It was not looked at, and why.
    Refused(String),
}

/// A request for another node's leader as it travels. It is answered as at the store service ([`crate::outcome_to_wire`]).
#[must_use]
pub fn forward_to_wire(node: &str, request: &Execute) -> proto::ExecuteRequest {
    proto::ExecuteRequest { hello: Some(hello_to_wire(node)), request: Some(execute_to_wire(request)) }
}

/// A request from a peer: who sends it, what.
///
/// # Errors
/// [`WireError`] names the field.
pub fn forward_from_wire(message: proto::ExecuteRequest) -> Result<(String, Execute), WireError> {
    let request = message.request.ok_or(WireError::Missing("request"))?;
    Ok((hello_from_wire(message.hello)?, execute_from_wire(request)?))
}

/// Asks a replica how it is, or how far a reader must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplicaAsk {
    /// The node that asks.
    pub node: String,
    /// The group.
    pub group: GroupId,
    /// The replica that is asked.
    pub target: u64,
}

/// How a replica is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplicaState {
    /// Whether it lacks blobs that its state names.
    pub hollow: bool,
}

/// A question to a replica as it travels.
#[must_use]
pub fn replica_to_wire(ask: &ReplicaAsk) -> proto::ReplicaRequest {
    proto::ReplicaRequest { hello: Some(hello_to_wire(&ask.node)), group: ask.group.get(), target: ask.target }
}

/// A question to a replica from a peer.
///
/// # Errors
/// [`WireError`] names the field.
pub fn replica_from_wire(ask: proto::ReplicaRequest) -> Result<ReplicaAsk, WireError> {
    Ok(ReplicaAsk { node: hello_from_wire(ask.hello)?, group: GroupId::new(ask.group), target: ask.target })
}

/// How a replica is, as it travels; or why it was not looked at.
#[must_use]
pub fn state_outcome_to_wire(outcome: Result<ReplicaState, String>) -> proto::StateReply {
    use proto::state_reply::Outcome as Wire;
    let outcome = match outcome {
        Ok(ReplicaState { hollow }) => Wire::State(proto::ReplicaState { hollow }),
        Err(why) => Wire::Refused(reason(why)),
    };
    proto::StateReply { outcome: Some(outcome) }
}

/// How a replica is, from a peer.
///
/// # Errors
/// [`WireError`] names the field; the inner result is what the peer said.
pub fn state_outcome_from_wire(reply: proto::StateReply) -> Result<Result<ReplicaState, String>, WireError> {
    use proto::state_reply::Outcome as Wire;
    Ok(match reply.outcome.ok_or(WireError::Missing("outcome"))? {
        Wire::State(proto::ReplicaState { hollow }) => Ok(ReplicaState { hollow }),
        Wire::Refused(why) => Err(reason(why)),
    })
}

/// How far a reader must be, as it travels; or why the replica does not say.
#[must_use]
pub fn read_index_to_wire(outcome: Result<u64, String>) -> proto::ReadIndexReply {
    use proto::read_index_reply::Outcome as Wire;
    let outcome = outcome.map_or_else(|why| Wire::Refused(reason(why)), Wire::Index);
    proto::ReadIndexReply { outcome: Some(outcome) }
}

/// How far a reader must be, from a peer.
///
/// # Errors
/// [`WireError`] names the field; the inner result is what the peer said.
pub fn read_index_from_wire(reply: proto::ReadIndexReply) -> Result<Result<u64, String>, WireError> {
    use proto::read_index_reply::Outcome as Wire;
    Ok(match reply.outcome.ok_or(WireError::Missing("outcome"))? {
        Wire::Index(index) => Ok(index),
        Wire::Refused(why) => Err(reason(why)),
    })
}

/// A request for a vote as it travels.
#[must_use]
pub fn vote_to_wire(ask: &VoteAsk) -> proto::VoteRequest {
    proto::VoteRequest {
        hello: Some(hello_to_wire(&ask.node)),
        group: ask.group.get(),
        target: ask.target,
        pre_vote: ask.pre_vote,
        vote: Some(ask.vote.into()),
        last: ask.last.map(Into::into),
        transfer: ask.transfer,
    }
}

/// A request for a vote from a peer.
///
/// # Errors
/// [`WireError`] names the field.
pub fn vote_from_wire(ask: proto::VoteRequest) -> Result<VoteAsk, WireError> {
    Ok(VoteAsk {
        node: hello_from_wire(ask.hello)?,
        group: GroupId::new(ask.group),
        target: ask.target,
        pre_vote: ask.pre_vote,
        vote: ballot(ask.vote)?,
        last: ask.last.map(Into::into),
        transfer: ask.transfer,
    })
}

/// An answer to a request for a vote as it travels.
#[must_use]
pub fn vote_outcome_to_wire(outcome: VoteOutcome) -> proto::VoteReply {
    use proto::vote_reply::Outcome as Wire;
    let outcome = match outcome {
        Ok(Voted { vote, granted, last }) => {
            Wire::Voted(proto::Voted { vote: Some(vote.into()), granted, last: last.map(Into::into) })
        }
        Err(why) => Wire::Refused(reason(why)),
    };
    proto::VoteReply { outcome: Some(outcome) }
}

/// An answer to a request for a vote from a peer.
///
/// # Errors
/// [`WireError`] names the field; the inner result is what the peer said.
pub fn vote_outcome_from_wire(reply: proto::VoteReply) -> Result<VoteOutcome, WireError> {
    use proto::vote_reply::Outcome as Wire;
    match reply.outcome.ok_or(WireError::Missing("outcome"))? {
        Wire::Voted(proto::Voted { vote, granted, last }) => {
            Ok(Ok(Voted { vote: ballot(vote)?, granted, last: last.map(Into::into) }))
        }
        Wire::Refused(why) => Ok(Err(reason(why))),
    }
}

/// A handing over as it travels.
#[must_use]
pub fn transfer_to_wire(ask: &TransferAsk) -> proto::TransferRequest {
    proto::TransferRequest {
        hello: Some(hello_to_wire(&ask.node)),
        group: ask.group.get(),
        target: ask.target,
        to: ask.to,
        vote: Some(ask.vote.into()),
        last: ask.last.map(Into::into),
    }
}

/// A handing over from a peer.
///
/// # Errors
/// [`WireError`] names the field.
pub fn transfer_from_wire(ask: proto::TransferRequest) -> Result<TransferAsk, WireError> {
    Ok(TransferAsk {
        node: hello_from_wire(ask.hello)?,
        group: GroupId::new(ask.group),
        target: ask.target,
        to: ask.to,
        vote: ballot(ask.vote)?,
        last: ask.last.map(Into::into),
    })
}

/// The answer to a handing over as it travels.
#[must_use]
pub fn transfer_outcome_to_wire(outcome: TransferOutcome) -> proto::TransferReply {
    use proto::transfer_reply::Outcome as Wire;
    let outcome = match outcome {
        TransferOutcome::Accepted => Wire::Accepted(proto::Accepted {}),
        TransferOutcome::VoteChanged(vote) => Wire::VoteChanged(vote.into()),
        TransferOutcome::NotFlushed(upto) => Wire::NotFlushed(proto::Matched { upto: upto.map(Into::into) }),
        TransferOutcome::Refused(why) => Wire::Refused(reason(why)),
    };
    proto::TransferReply { outcome: Some(outcome) }
}

/// The answer to a handing over from a peer.
///
/// # Errors
/// [`WireError`] names the field.
pub fn transfer_outcome_from_wire(reply: proto::TransferReply) -> Result<TransferOutcome, WireError> {
    use proto::transfer_reply::Outcome as Wire;
    Ok(match reply.outcome.ok_or(WireError::Missing("outcome"))? {
        Wire::Accepted(proto::Accepted {}) => TransferOutcome::Accepted,
        Wire::VoteChanged(vote) => TransferOutcome::VoteChanged(vote.into()),
        Wire::NotFlushed(matched) => TransferOutcome::NotFlushed(matched.upto.map(Into::into)),
        Wire::Refused(why) => TransferOutcome::Refused(reason(why)),
    })
}
