//! Between openraft's values and those that travel.
//!
//! openraft believes what it is given: some of what a damaged peer could send would make it panic. So what comes is
//! checked for what every leader's message fulfils: its vote is a leader's, its entries follow each other, and none is
//! of a later leader.

use openraft::{
    entry::RaftEntry,
    raft::{
        AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use securanet_model::GroupId;
use securanet_wire::replication::{Append, Ballot, Outcome, Position, TransferAsk, TransferOutcome, VoteAsk, Voted};

use crate::{
    format,
    types::{Entry, LogId, TypeConfig, Vote},
};

pub(super) fn position(id: LogId) -> Position {
    Position { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
}

pub(super) fn log_id(position: Position) -> LogId {
    let leader = openraft::impls::leader_id_adv::LeaderId { term: position.term, node_id: position.leader };
    LogId::new(leader, position.index)
}

pub(super) fn ballot(vote: &Vote) -> Ballot {
    Ballot { term: vote.leader_id.term, replica: vote.leader_id.node_id, committed: vote.committed }
}

pub(super) fn vote(ballot: Ballot) -> Vote {
    let mut vote = Vote::new(ballot.term, ballot.replica);
    vote.committed = ballot.committed;
    vote
}

/// Whether an entry can be of the leader with this vote or of one before it.
pub(super) fn is_within(id: LogId, vote: &Vote) -> bool {
    id.leader_id <= vote.leader_id
}

/// An append for one target.
pub(super) fn append_to_wire(
    session: u64,
    group: GroupId,
    target: u64,
    request: &AppendEntriesRequest<TypeConfig>,
) -> Append {
    Append {
        session,
        group,
        targets: vec![target],
        vote: ballot(&request.vote),
        previous: request.prev_log_id.map(position),
        entries: request.entries.iter().map(|entry| format::encode_entry(entry).into()).collect(),
        commit: request.leader_commit.map(position),
    }
}

/// An append from a peer; the reason when no leader can have sent it.
pub(super) fn append_from_wire(append: &Append) -> Result<AppendEntriesRequest<TypeConfig>, String> {
    let vote = vote(append.vote);
    if !vote.committed {
        return Err("an append whose vote is no leader's".to_owned());
    }
    let prev_log_id = append.previous.map(log_id);
    let mut entries: Vec<Entry> = Vec::with_capacity(append.entries.len());
    let first = prev_log_id.map_or(0, |id| id.index.saturating_add(1));
    for (next, row) in (first..).zip(&append.entries) {
        let entry = format::decode_entry(row).map_err(|error| format!("an entry does not decode: {error}"))?;
        if entry.index() != next {
            return Err(format!("entry {} where entry {next} is expected", entry.index()));
        }
        entries.push(entry);
    }
    let ids = prev_log_id.into_iter().chain(entries.iter().map(|entry| entry.log_id));
    if !ids.clone().is_sorted_by(|a, b| a.leader_id <= b.leader_id) || !ids.clone().all(|id| is_within(id, &vote)) {
        return Err("entries of a later leader than the one that sends them".to_owned());
    }
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit: append.commit.map(log_id) })
}

/// What openraft says of an append.
pub(super) fn outcome_to_wire(result: StreamAppendResult<TypeConfig>) -> Outcome {
    match result {
        Ok(upto) => Outcome::Matched(upto.map(position)),
        Err(StreamAppendError::Conflict(id)) => Outcome::Conflict(position(id)),
        Err(StreamAppendError::HigherVote(vote)) => Outcome::HigherVote(ballot(&vote)),
    }
}

pub(super) fn vote_to_wire(
    node: &str,
    group: GroupId,
    target: u64,
    pre_vote: bool,
    request: &VoteRequest<TypeConfig>,
) -> VoteAsk {
    VoteAsk {
        node: node.to_owned(),
        group,
        target,
        pre_vote,
        vote: ballot(&request.vote),
        last: request.last_log_id.map(position),
        transfer: request.leadership_transfer,
    }
}

pub(super) fn vote_from_wire(ask: &VoteAsk) -> VoteRequest<TypeConfig> {
    let mut request = VoteRequest::new(vote(ask.vote), ask.last.map(log_id));
    request.leadership_transfer = ask.transfer;
    request
}

pub(super) fn voted_to_wire(response: &VoteResponse<TypeConfig>) -> Voted {
    Voted { vote: ballot(&response.vote), granted: response.vote_granted, last: response.last_log_id.map(position) }
}

pub(super) fn voted_from_wire(voted: Voted) -> VoteResponse<TypeConfig> {
    VoteResponse::new(vote(voted.vote), voted.last.map(log_id), voted.granted)
}

pub(super) fn transfer_to_wire(
    node: &str,
    group: GroupId,
    target: u64,
    request: &TransferLeaderRequest<TypeConfig>,
) -> TransferAsk {
    TransferAsk {
        node: node.to_owned(),
        group,
        target,
        to: *request.to_node_id(),
        vote: ballot(request.from_leader()),
        last: request.last_log_id().copied().map(position),
    }
}

pub(super) fn transfer_from_wire(ask: &TransferAsk) -> TransferLeaderRequest<TypeConfig> {
    TransferLeaderRequest::new(vote(ask.vote), ask.to, ask.last.map(log_id))
}

pub(super) fn transferred_to_wire(response: TransferLeaderResponse<TypeConfig>) -> TransferOutcome {
    match response {
        Ok(()) => TransferOutcome::Accepted,
        Err(TransferLeaderError::VoteChanged { actual, .. }) => TransferOutcome::VoteChanged(ballot(&actual)),
        Err(TransferLeaderError::LogNotFlushed { actual, .. }) => TransferOutcome::NotFlushed(actual.map(position)),
    }
}

/// The answer to `request`; the reason when it was not looked at.
pub(super) fn transferred_from_wire(
    request: &TransferLeaderRequest<TypeConfig>,
    outcome: TransferOutcome,
) -> Result<TransferLeaderResponse<TypeConfig>, String> {
    match outcome {
        TransferOutcome::Accepted => Ok(Ok(())),
        TransferOutcome::VoteChanged(actual) => {
            Ok(Err(TransferLeaderError::VoteChanged { expected: *request.from_leader(), actual: vote(actual) }))
        }
        TransferOutcome::NotFlushed(actual) => Ok(Err(TransferLeaderError::LogNotFlushed {
            expected: request.last_log_id().copied(),
            actual: actual.map(log_id),
        })),
        TransferOutcome::Refused(why) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use openraft::EntryPayload;

    use super::*;

    const LEADER: Ballot = Ballot { term: 4, replica: 2, committed: true };

    fn at(term: u64, leader: u64, index: u64) -> Position {
        Position { term, leader, index }
    }

    fn append(previous: Option<Position>, entries: &[Position]) -> Append {
        let row = |position: &Position| {
            let entry: Entry = Entry::new(log_id(*position), EntryPayload::Blank);
            Bytes::from(format::encode_entry(&entry))
        };
        Append {
            session: 1,
            group: GroupId::new(1),
            targets: vec![3],
            vote: LEADER,
            previous,
            entries: entries.iter().map(row).collect(),
            commit: None,
        }
    }

    #[test]
    fn an_append_survives_the_way() {
        for sent in
            [append(None, &[]), append(Some(at(3, 1, 6)), &[at(3, 1, 7), at(4, 2, 8)]), append(None, &[at(0, 1, 0)])]
        {
            let request = append_from_wire(&sent).unwrap();
            assert_eq!(append_to_wire(1, sent.group, 3, &request), sent);
        }
    }

    #[test]
    fn what_no_leader_sends_is_refused() {
        let why = |append: &Append| append_from_wire(append).unwrap_err();
        let candidate = Append { vote: Ballot { committed: false, ..LEADER }, ..append(None, &[]) };
        assert!(why(&candidate).contains("no leader's"));
        assert!(why(&append(Some(at(3, 1, 6)), &[at(4, 2, 8)])).contains("where entry 7"));
        assert!(why(&append(Some(at(3, 1, 6)), &[at(4, 2, 7), at(3, 1, 8)])).contains("later leader"));
        assert!(why(&append(Some(at(5, 1, 6)), &[])).contains("later leader"));
        assert!(why(&append(Some(at(4, 3, 6)), &[])).contains("later leader"));
        let damaged = Append { entries: vec![Bytes::from_static(&[1, 2])], ..append(None, &[]) };
        assert!(why(&damaged).contains("does not decode"));
    }
}
