//! One replica of one group on another node, as openraft talks to it.

use std::{future::Future, sync::Arc};

use futures::{Stream, StreamExt};
use openraft::{
    OptionalSend, RaftNetworkV2,
    base::{BoxFuture, BoxStream},
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
    type_config::alias::SnapshotOf,
};
use securanet_wire::{
    WireError,
    replication::{transfer_outcome_from_wire, transfer_to_wire, vote_outcome_from_wire, vote_to_wire},
};
use tokio::time::timeout;

use super::{
    Network, PeerClass, convert,
    pipeline::{Way, pipeline},
    snapshot,
};
use crate::{
    state::{Replica, SnapshotData},
    types::{TypeConfig, Vote},
};

/// Streams of answers, as openraft wants them.
type Answers<'s> = BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>;

/// A replica on another node.
pub(crate) struct Peer {
    pub(super) network: Network,
    pub(super) replica: Arc<Replica>,
    pub(super) own: u64,
    pub(super) target: u64,
    pub(super) node: String,
    pub(super) class: PeerClass,
}

impl Peer {
    fn way(&self) -> Way {
        Way { group: self.replica.group(), own: self.own, target: self.target }
    }

    pub(super) fn unreachable(&self, why: impl std::fmt::Display) -> Unreachable<TypeConfig> {
        let (group, target, node) = (self.replica.group(), self.target, &self.node);
        Unreachable::from_string(format!("group {group}, replica {target} on node {node:?}: {why}"))
    }

    /// One question on the connection of votes, within openraft's own deadline.
    async fn ask<T>(
        &self,
        option: &RPCOption,
        asked: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, Unreachable<TypeConfig>> {
        match timeout(option.soft_ttl(), asked).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.unreachable(status)),
            Err(_) => Err(self.unreachable(format!("no answer within {:?}", option.soft_ttl()))),
        }
    }

    async fn ask_vote(
        &self,
        request: VoteRequest<TypeConfig>,
        pre_vote: bool,
        option: &RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let ask = convert::vote_to_wire(self.network.node(), self.replica.group(), self.target, pre_vote, &request);
        let mut client = self.client(PeerClass::Votes)?;
        let reply = self.ask(option, client.vote(vote_to_wire(&ask))).await?;
        let outcome = vote_outcome_from_wire(reply).map_err(|error| self.unreachable(error))?;
        Ok(outcome.map(convert::voted_from_wire).map_err(|why| self.unreachable(why))?)
    }

    pub(super) fn client(&self, class: PeerClass) -> Result<super::Client, Unreachable<TypeConfig>> {
        self.network.client(&self.node, class).map_err(|why| self.unreachable(why))
    }

    pub(super) fn wrong(&self, error: &WireError) -> Unreachable<TypeConfig> {
        self.unreachable(error)
    }
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut answers = self.stream_append(futures::stream::iter([request]), option).await?;
        match answers.next().await {
            Some(Ok(Ok(_))) => Ok(AppendEntriesResponse::Success),
            Some(Ok(Err(StreamAppendError::Conflict(_)))) => Ok(AppendEntriesResponse::Conflict),
            Some(Ok(Err(StreamAppendError::HigherVote(vote)))) => Ok(AppendEntriesResponse::HigherVote(vote)),
            Some(Err(error)) => Err(error),
            None => Err(Unreachable::from_string("the stream ended without an answer").into()),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<Answers<'s>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let link = self.network.link(&self.node, self.class);
        let answers: Answers<'s> = Box::pin(pipeline(&link, self.way(), input));
        Box::pin(async move { Ok(answers) })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_vote(request, false, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask_vote(request, true, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let SnapshotData::Taken(taken) = snapshot.snapshot else {
            return Err(self.unreachable("the snapshot has no rows").into());
        };
        // When it is cut off, openraft asks for a snapshot again: it gets this one.
        self.replica.hold_snapshot(&taken);
        let sent = tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = snapshot::send(self, vote, &taken) => sent,
        };
        if sent.is_ok() {
            self.replica.release_snapshot(&taken);
        }
        sent
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let ask = convert::transfer_to_wire(self.network.node(), self.replica.group(), self.target, &request);
        let mut client = self.client(PeerClass::Votes)?;
        let reply = self.ask(&option, client.transfer_leader(transfer_to_wire(&ask))).await?;
        let outcome = transfer_outcome_from_wire(reply).map_err(|error| self.wrong(&error))?;
        Ok(convert::transferred_from_wire(&request, outcome).map_err(|why| self.unreachable(why))?)
    }
}
