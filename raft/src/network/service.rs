//! What other nodes may ask of the groups here.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt, stream};
use securanet_model::GroupId;
use securanet_wire::{
    outcome_to_wire,
    proto::ExecuteReply,
    replication::{
        Ballot, MESSAGE_BYTES_MAX, Packing, ReplicaState, SnapshotStep, TransferOutcome, blob_request_from_wire,
        forward_from_wire, packing_to_wire, proto,
        proto::replication_server::{Replication, ReplicationServer},
        read_index_to_wire, replica_from_wire, replies_to_wire, snapshot_frame_from_wire, state_outcome_to_wire,
        taken_to_wire, transfer_from_wire, transfer_outcome_to_wire, vote_from_wire, vote_outcome_to_wire,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    PeerClass,
    blobs::Giving,
    convert,
    gather::{Frame, Gathered},
    gather_of, not_for, receive, snapshot_in,
};
use crate::{group::Group, router::Router};

/// Answers that wait for a connection; whoever makes more of them waits.
const REPLIES_MAX: usize = 1024;
/// Answers that share a frame.
const FRAME_REPLIES_MAX: usize = 256;

/// The service for other nodes; a listener adds it to its router.
#[derive(Clone)]
pub struct ReplicationService {
    router: Arc<Router>,
    giving: Giving,
}

impl ReplicationService {
    pub(crate) fn new(router: Arc<Router>) -> Self {
        let giving = Giving::new(router.gate.clone(), router.blobs.clone());
        Self { router, giving }
    }

    /// As tonic wants it, with the bounds that the protocol has.
    #[must_use]
    pub fn into_server(self) -> ReplicationServer<Self> {
        let server = ReplicationServer::new(self);
        server.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn group(&self, id: GroupId, target: u64) -> Result<&Arc<Group>, String> {
        let group = self.router.group(id).map_err(|error| error.to_string())?;
        not_for(id, group.replica_id(), &[target]).map_or(Ok(group), Err)
    }

    /// The same for who votes or leads, unless it was given up.
    fn group_for(&self, id: GroupId, target: u64, sender: &Ballot) -> Result<&Arc<Group>, String> {
        let group = self.group(id, target)?;
        let fenced = group.check_not_fenced(sender.replica);
        fenced.inspect_err(|why| tracing::warn!(why, "a replica that was given up is refused"))?;
        Ok(group)
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers as frames. The first one says what is taken here.
fn frames(
    answers: mpsc::Receiver<receive::Answer>,
    class: PeerClass,
    taken: Option<Packing>,
) -> Answers<proto::ReplyFrame> {
    let frame = Frame { parcels_max: FRAME_REPLIES_MAX, bytes_max: usize::MAX, gather: gather_of(class) };
    let frames = stream::unfold(Gathered::new(answers, frame), |mut answers| async move {
        let replies = answers.next().await?.into_iter().map(|answer| answer.reply).collect();
        Some((replies_to_wire(replies), answers))
    });
    Box::pin(stream::iter(taken.map(packing_to_wire)).chain(frames).map(Ok))
}

fn wrong(error: &securanet_wire::WireError) -> Status {
    tracing::warn!(%error, "a peer's request is refused");
    Status::invalid_argument(error.to_string())
}

#[tonic::async_trait]
impl Replication for ReplicationService {
    type AppendStream = Answers<proto::ReplyFrame>;
    type HeartbeatStream = Answers<proto::ReplyFrame>;
    type SnapshotStream = Answers<proto::SnapshotProgress>;
    type BlobStream = Answers<proto::BlobFrame>;

    async fn append(
        &self,
        request: Request<Streaming<proto::AppendFrame>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let (replies, waiting) = mpsc::channel(REPLIES_MAX);
        tokio::spawn(receive::appends(self.router.clone(), request.into_inner(), replies));
        Ok(Response::new(frames(waiting, PeerClass::Appends, self.router.network.packs().taken())))
    }

    async fn heartbeat(
        &self,
        request: Request<Streaming<proto::AppendFrame>>,
    ) -> Result<Response<Self::HeartbeatStream>, Status> {
        let (replies, waiting) = mpsc::channel(REPLIES_MAX);
        tokio::spawn(receive::heartbeats(self.router.clone(), request.into_inner(), replies));
        Ok(Response::new(frames(waiting, PeerClass::Votes, None)))
    }

    async fn vote(&self, request: Request<proto::VoteRequest>) -> Result<Response<proto::VoteReply>, Status> {
        let ask = vote_from_wire(request.into_inner()).map_err(|error| wrong(&error))?;
        let outcome = match self.group_for(ask.group, ask.target, &ask.vote) {
            Err(why) => Err(why),
            Ok(group) => {
                let vote = convert::vote_from_wire(&ask);
                let voted = if ask.pre_vote { group.raft.pre_vote(vote).await } else { group.raft.vote(vote).await };
                voted.map(|voted| convert::voted_to_wire(&voted)).map_err(|error| error.to_string())
            }
        };
        Ok(Response::new(vote_outcome_to_wire(outcome)))
    }

    async fn transfer_leader(
        &self,
        request: Request<proto::TransferRequest>,
    ) -> Result<Response<proto::TransferReply>, Status> {
        let ask = transfer_from_wire(request.into_inner()).map_err(|error| wrong(&error))?;
        let outcome = match self.group_for(ask.group, ask.target, &ask.vote) {
            Err(why) => TransferOutcome::Refused(why),
            // It would lead without bodies that only it is asked for.
            Ok(group) if ask.to == ask.target && group.replica.is_hollow() => {
                TransferOutcome::Refused("this replica lacks blobs that its state names".to_owned())
            }
            Ok(group) => match group.raft.handle_transfer_leader(convert::transfer_from_wire(&ask)).await {
                Ok(response) => convert::transferred_to_wire(response),
                Err(error) => TransferOutcome::Refused(error.to_string()),
            },
        };
        Ok(Response::new(transfer_outcome_to_wire(outcome)))
    }

    async fn execute(&self, request: Request<proto::ExecuteRequest>) -> Result<Response<ExecuteReply>, Status> {
        let (node, request) = forward_from_wire(request.into_inner()).map_err(|error| wrong(&error))?;
        self.router.network.has_passed(&node, &request);
        let outcome = self.router.execute_from(request, &node).await;
        Ok(Response::new(outcome_to_wire(&outcome)))
    }

    async fn state(&self, request: Request<proto::ReplicaRequest>) -> Result<Response<proto::StateReply>, Status> {
        let ask = replica_from_wire(request.into_inner()).map_err(|error| wrong(&error))?;
        let group = self.group(ask.group, ask.target);
        let state = group.map(|group| ReplicaState { hollow: group.replica.is_hollow() });
        Ok(Response::new(state_outcome_to_wire(state)))
    }

    async fn read_index(
        &self,
        request: Request<proto::ReplicaRequest>,
    ) -> Result<Response<proto::ReadIndexReply>, Status> {
        let ask = replica_from_wire(request.into_inner()).map_err(|error| wrong(&error))?;
        let index = match self.group(ask.group, ask.target) {
            Ok(group) => group.confirm_leading().await,
            Err(why) => Err(why),
        };
        Ok(Response::new(read_index_to_wire(index)))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<proto::SnapshotFrame>>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let mut frames = request.into_inner();
        let first = frames.message().await?.ok_or_else(|| Status::invalid_argument("an empty stream"))?;
        let begin = match snapshot_frame_from_wire(first).map_err(|error| wrong(&error))? {
            SnapshotStep::Begin(begin) => begin,
            SnapshotStep::Chunk(_) => return Err(Status::invalid_argument("a snapshot begins with who sends it")),
        };
        let group =
            self.group_for(begin.group, begin.target, &begin.vote).map_err(Status::failed_precondition)?.clone();
        let (answers, waiting) = mpsc::channel(8);
        tokio::spawn(snapshot_in::take_in(group, begin, frames, answers));
        let answers = ReceiverStream::new(waiting).map(|taken| Ok(taken_to_wire(taken)));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn blob(&self, request: Request<proto::BlobRequest>) -> Result<Response<Self::BlobStream>, Status> {
        let ask = blob_request_from_wire(request.into_inner()).map_err(|error| wrong(&error))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(self.giving.answer(ask)))))
    }
}
