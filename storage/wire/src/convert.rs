//! Conversions, each way, with the bounds that a peer must keep.

use securanet_model::{
    Answer, Command, Epoch, Execute, Freshness, GroupId, Query, Reply, RequestId, StoreError, Token, UnixMillis,
    record::{self, RecordError},
};

use crate::proto;

/// Commands of one request; more would make one log entry too large to replicate in a heartbeat's time.
const COMMANDS_MAX: usize = 1000;
/// Octets of the commands of one request: some of the largest that a gateway makes, a submission for a thousand
/// recipients, are a megabyte.
pub const COMMANDS_SIZE_BYTES_MAX: usize = 32 << 20;

/// What a peer sent that is not of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field that must be there is not.
    #[error("the peer left {0} out")]
    Missing(&'static str),
    /// A field of the wrong length or out of bounds.
    #[error("the peer sent a bad {0}")]
    Field(&'static str),
    /// A record inside does not decode.
    #[error("the peer sent a bad {field}: {error}")]
    Record {
        /// Which field.
        field: &'static str,
        /// Why.
        error: RecordError,
    },
}

pub(crate) fn decode<T: serde::de::DeserializeOwned>(field: &'static str, bytes: &[u8]) -> Result<T, WireError> {
    record::decode(bytes).map_err(|error| WireError::Record { field, error })
}

/// A request as it travels.
#[must_use]
pub fn execute_to_wire(request: &Execute) -> proto::ExecuteRequest {
    proto::ExecuteRequest {
        group: request.group.get(),
        request_id: request.request.bytes().to_vec(),
        deadline_millis: request.deadline.get(),
        commands: request.commands.iter().map(record::encode).collect(),
    }
}

/// A request from a peer.
///
/// # Errors
/// [`WireError`] names the field.
pub fn execute_from_wire(message: proto::ExecuteRequest) -> Result<Execute, WireError> {
    let request = message.request_id.try_into().map_err(|_| WireError::Field("request_id"))?;
    if message.commands.is_empty() || message.commands.len() > COMMANDS_MAX {
        return Err(WireError::Field("commands"));
    }
    if message.commands.iter().map(Vec::len).sum::<usize>() > COMMANDS_SIZE_BYTES_MAX {
        return Err(WireError::Field("commands"));
    }
    let commands: Result<Vec<Command>, _> = message.commands.iter().map(|bytes| decode("commands", bytes)).collect();
    Ok(Execute {
        group: GroupId::new(message.group),
        request: RequestId::new(request),
        deadline: UnixMillis::new(message.deadline_millis),
        commands: commands?,
    })
}

/// The outcome of a request as it travels.
#[must_use]
pub fn outcome_to_wire(outcome: &Result<(Vec<Reply>, u64), StoreError>) -> proto::ExecuteReply {
    use proto::execute_reply::Outcome;
    let outcome = match outcome {
        Ok((replies, index)) => {
            Outcome::Executed(proto::Executed { replies: replies.iter().map(record::encode).collect(), index: *index })
        }
        Err(error) => Outcome::Error(record::encode(error)),
    };
    proto::ExecuteReply { outcome: Some(outcome) }
}

/// The outcome of a request from a peer.
///
/// # Errors
/// [`WireError`] names the field; the inner result is what the store said.
pub fn outcome_from_wire(message: &proto::ExecuteReply) -> Result<Result<(Vec<Reply>, u64), StoreError>, WireError> {
    use proto::execute_reply::Outcome;
    match &message.outcome {
        None => Err(WireError::Missing("outcome")),
        Some(Outcome::Error(error)) => Ok(Err(decode("error", error)?)),
        Some(Outcome::Executed(executed)) => {
            let replies: Result<Vec<Reply>, _> =
                executed.replies.iter().map(|bytes| decode("replies", bytes)).collect();
            Ok(Ok((replies?, executed.index)))
        }
    }
}

/// A question as it travels.
#[must_use]
pub fn query_to_wire(group: GroupId, query: &Query, freshness: Freshness) -> proto::QueryRequest {
    use proto::query_request::Freshness as Wire;
    let freshness = match freshness {
        Freshness::Now => None,
        Freshness::AtLeast(Token { group, epoch, index }) => {
            Some(Wire::AtLeast(proto::Token { group: group.get(), epoch: epoch.get(), index }))
        }
        Freshness::Within(millis) => Some(Wire::WithinMillis(millis)),
        Freshness::Any => Some(Wire::Anything(proto::Anything {})),
    };
    proto::QueryRequest { group: group.get(), query: record::encode(query), freshness }
}

/// A question from a peer.
///
/// # Errors
/// [`WireError`] names the field.
pub fn query_from_wire(message: &proto::QueryRequest) -> Result<(GroupId, Query, Freshness), WireError> {
    use proto::query_request::Freshness as Wire;
    let freshness = match &message.freshness {
        None => Freshness::Now,
        Some(Wire::AtLeast(proto::Token { group, epoch, index })) => {
            Freshness::AtLeast(Token { group: GroupId::new(*group), epoch: Epoch::new(*epoch), index: *index })
        }
        Some(Wire::WithinMillis(millis)) => Freshness::Within(*millis),
        Some(Wire::Anything(_)) => Freshness::Any,
    };
    Ok((GroupId::new(message.group), decode("query", &message.query)?, freshness))
}

/// The outcome of a question as it travels.
#[must_use]
pub fn answer_to_wire(outcome: &Result<(Answer, u64), StoreError>) -> proto::QueryReply {
    use proto::query_reply::Outcome;
    let outcome = match outcome {
        Ok((answer, index)) => Outcome::Answered(proto::Answered { answer: record::encode(answer), index: *index }),
        Err(error) => Outcome::Error(record::encode(error)),
    };
    proto::QueryReply { outcome: Some(outcome) }
}

/// The outcome of a question from a peer.
///
/// # Errors
/// [`WireError`] names the field; the inner result is what the store said.
pub fn answer_from_wire(message: &proto::QueryReply) -> Result<Result<(Answer, u64), StoreError>, WireError> {
    use proto::query_reply::Outcome;
    match &message.outcome {
        None => Err(WireError::Missing("outcome")),
        Some(Outcome::Error(error)) => Ok(Err(decode("error", error)?)),
        Some(Outcome::Answered(answered)) => Ok(Ok((decode("answer", &answered.answer)?, answered.index))),
    }
}
