//! Appends that come in.
//!
//! Each session of a connection has a task of its own, so that a group whose disk or gate is slow holds up no other:
//! the connection's task only hands frames on. What waits for a session is what its sender may have under way; one who
//! sends more than that is refused.

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use openraft::{EntryPayload, raft::AppendEntriesRequest};
use securanet_model::{BlobId, GroupId};
use securanet_wire::replication::{Append, AppendFrame, AppendReply, Outcome, Repeated, frame_from_wire, proto};
use tokio::{
    sync::mpsc,
    time::{Instant, interval_at},
};
use tokio_stream::wrappers::ReceiverStream;

use super::{Owned, convert, gather::Parcel, not_for, packing::Incoming, pipeline::WINDOW_REQUESTS, rows::NotClosed};
use crate::{
    group::Group,
    router::Router,
    types::{Entry, TypeConfig},
};

/// Heartbeats of one connection that are being answered; more are refused.
const HEARTBEATS_MAX: usize = 4096;
/// Appends of a session that are at the gate at the same time: their blobs come together.
const ADMITTED_MAX: usize = 8;
/// What waits at the gate says so this often.
const SIGN_OF_LIFE: Duration = Duration::from_millis(500);

/// Who sends on a connection.
struct Sender {
    node: Option<String>,
    repeated: Repeated,
    incoming: Incoming,
}

impl Sender {
    fn new(router: &Router) -> Self {
        Self { node: None, repeated: Repeated::default(), incoming: Incoming::new(router.network.clone()) }
    }

    fn read(&mut self, frame: proto::AppendFrame) -> Result<AppendFrame, NotClosed> {
        Ok(frame_from_wire(self.incoming.frame(frame)?, &mut self.repeated)?)
    }
}

/// Takes the appends of a connection in; ends with it.
pub(super) async fn appends(
    router: Arc<Router>,
    mut frames: tonic::Streaming<proto::AppendFrame>,
    replies: mpsc::Sender<Answer>,
) {
    let mut sessions: HashMap<GroupId, Inbound> = HashMap::new();
    let mut sender = Sender::new(&router);
    while let Some(frame) = next_frame(&mut frames, &replies, &mut sender).await {
        let from: Arc<str> = sender.node.as_deref().unwrap_or_default().into();
        for append in frame.appends {
            let current = sessions.get(&append.group).map_or(0, |inbound| inbound.session);
            if append.session < current {
                continue;
            }
            if append.session > current {
                match Inbound::begin(&router, &append, from.clone(), &replies) {
                    Ok(inbound) => drop(sessions.insert(append.group, inbound)),
                    Err(why) => refuse(&replies, &append, why).await,
                }
            }
            if let Some(inbound) = sessions.get(&append.group).filter(|inbound| inbound.session == append.session) {
                let (session, group) = (append.session, append.group);
                if let Err(mpsc::error::TrySendError::Full(append)) = inbound.queue.try_send(append) {
                    refuse(&replies, &append, "more is under way than the window allows".to_owned()).await;
                    tracing::warn!(from = %from, %group, session, "a peer ignores the window of appends");
                    sessions.remove(&group);
                }
            }
        }
    }
}

/// Answers the heartbeats of a connection; ends with it.
pub(super) async fn heartbeats(
    router: Arc<Router>,
    mut frames: tonic::Streaming<proto::AppendFrame>,
    replies: mpsc::Sender<Answer>,
) {
    let mut sender = Sender::new(&router);
    let mut answering = stream::FuturesUnordered::new();
    loop {
        let frame = tokio::select! {
            frame = next_frame(&mut frames, &replies, &mut sender) => frame,
            Some(reply) = answering.next() => {
                if replies.send(Answer { reply, is_urgent: false }).await.is_err() {
                    return;
                }
                continue;
            }
        };
        let Some(frame) = frame else { return };
        if let Some(asked) = frame.clock_asked {
            let outcome = Outcome::Clock { asked, wall: router.network.clocks().wall() };
            // When the connection has ended, the next frame says so.
            let reply = AppendReply { session: 0, replica: 0, outcome };
            let _ = replies.send(Answer { reply, is_urgent: false }).await;
        }
        for append in frame.appends {
            match group_for(&router, &append) {
                Ok(_) if answering.len() >= HEARTBEATS_MAX => {
                    refuse(&replies, &append, "too many heartbeats are unanswered".to_owned()).await;
                }
                Ok(_) if !append.entries.is_empty() => {
                    refuse(&replies, &append, "a heartbeat has no entries".to_owned()).await;
                }
                Ok(group) => answering.push(heartbeat(group, append)),
                Err(why) => refuse(&replies, &append, why).await,
            }
        }
    }
}

async fn heartbeat(group: Arc<Group>, append: Append) -> AppendReply {
    let outcome = match convert::append_from_wire(&append) {
        Err(why) => Outcome::Refused(why),
        Ok(request) => {
            let previous = request.prev_log_id;
            // Before its first commit a leader may not know of all that its predecessor acknowledged.
            let term = request.vote.leader_id().term;
            let committed = request.leader_commit.filter(|id| id.committed_leader_id().term == term).map(|id| id.index);
            match group.raft.append_entries(request).await {
                Err(error) => Outcome::Refused(error.to_string()),
                // Nothing before the first entry can conflict.
                Ok(response) if response.is_conflict() && previous.is_none() => {
                    Outcome::Refused("a conflict before the first entry".to_owned())
                }
                // Nobody looks how far it matched: openraft asked whether this replica follows.
                Ok(response) if response.is_success() => {
                    if let Some(committed) = committed {
                        let applied = group.replica.applied().map_or(0, |id| id.index);
                        group.heard.note(Instant::now(), committed, applied);
                    }
                    Outcome::Matched(None)
                }
                Ok(response) => convert::outcome_to_wire(response.into_stream_result(previous, previous)),
            }
        }
    };
    AppendReply { session: append.session, replica: group.replica_id(), outcome }
}

/// The next frame; none when the connection has ended, or must.
async fn next_frame(
    frames: &mut tonic::Streaming<proto::AppendFrame>,
    replies: &mpsc::Sender<Answer>,
    sender: &mut Sender,
) -> Option<AppendFrame> {
    let frame = tokio::select! {
        frame = frames.message() => frame.ok().flatten()?,
        () = replies.closed() => return None,
    };
    let frame = match sender.read(frame) {
        Ok(frame) => frame,
        Err(error) => {
            tracing::warn!(from = sender.node.as_deref(), %error, "a peer's frame is refused, and its stream ended");
            return None;
        }
    };
    if let Some(from) = &frame.node {
        sender.node = Some(from.clone());
    }
    if sender.node.is_none() {
        tracing::warn!("a stream of appends that does not begin with who sends it is ended");
        return None;
    }
    Some(frame)
}

fn group_for(router: &Router, append: &Append) -> Result<Arc<Group>, String> {
    let group = router.group(append.group).map_err(|error| error.to_string())?;
    group.check_not_fenced(append.vote.replica)?;
    not_for(append.group, group.replica_id(), &append.targets).map_or_else(|| Ok(group.clone()), Err)
}

async fn refuse(replies: &mpsc::Sender<Answer>, append: &Append, why: String) {
    let replica = append.targets.first().copied().unwrap_or_default();
    let reply = AppendReply { session: append.session, replica, outcome: Outcome::Refused(why) };
    // When the connection has ended, the next frame says so.
    let _ = replies.send(Answer { reply, is_urgent: true }).await;
}

/// A session of a group.
struct Inbound {
    session: u64,
    queue: mpsc::Sender<Append>,
    _task: Owned,
}

impl Inbound {
    fn begin(router: &Router, first: &Append, from: Arc<str>, replies: &mpsc::Sender<Answer>) -> Result<Self, String> {
        let group = group_for(router, first)?;
        let (queue, waiting) = mpsc::channel(WINDOW_REQUESTS);
        let session = first.session;
        let answers = Answers { session, replica: group.replica_id(), replies: replies.clone() };
        let task = tokio::spawn(run(group, from, waiting, answers));
        Ok(Self { session, queue, _task: Owned(task) })
    }
}

/// Where a session's answers go.
#[derive(Clone)]
pub(super) struct Answers {
    session: u64,
    replica: u64,
    replies: mpsc::Sender<Answer>,
}

impl Answers {
    /// Whether it could be sent.
    pub(super) async fn send(&self, outcome: Outcome, is_urgent: bool) -> bool {
        let reply = AppendReply { session: self.session, replica: self.replica, outcome };
        self.replies.send(Answer { reply, is_urgent }).await.is_ok()
    }
}

/// An answer on its way out.
pub(super) struct Answer {
    pub(super) reply: AppendReply,
    is_urgent: bool,
}

impl Parcel for Answer {
    fn is_urgent(&self) -> bool {
        self.is_urgent
    }

    fn bytes(&self) -> usize {
        0
    }
}

/// Hands a session's appends to openraft, in order, and its answers back.
async fn run(group: Arc<Group>, from: Arc<str>, waiting: mpsc::Receiver<Append>, answers: Answers) {
    let (admitting, refusing) = (group.clone(), answers.clone());
    let admitted = ReceiverStream::new(waiting)
        .map(move |append| admit(admitting.clone(), from.clone(), append, refusing.clone()))
        .buffered(ADMITTED_MAX);
    // The first that is refused ends it: those behind it would have nothing to follow.
    let requests = admitted.take_while(|admitted| futures::future::ready(admitted.is_some()));
    let requests = requests.filter_map(futures::future::ready);
    let mut results = pin!(group.raft.stream_append(requests));
    let mut last = None;
    while let Some(result) = results.next().await {
        let outcome = match result {
            Ok(result) => convert::outcome_to_wire(result),
            Err(error) => Outcome::Refused(error.to_string()),
        };
        // News of a commit is answered with what was matched before.
        let is_news = last.as_ref() != Some(&outcome);
        last = Some(outcome.clone());
        if !answers.send(outcome, is_news).await {
            return;
        }
    }
}

/// Checks an append, and lets it pass the gate; none when it is refused.
async fn admit(
    group: Arc<Group>,
    from: Arc<str>,
    append: Append,
    answers: Answers,
) -> Option<AppendEntriesRequest<TypeConfig>> {
    let admitted = async {
        let request = convert::append_from_wire(&append)?;
        pass(&group, &from, &request, &answers).await?;
        Ok::<_, String>(request)
    };
    match admitted.await {
        Ok(request) => Some(request),
        Err(why) => {
            tracing::warn!(group = %append.group, from = %from, why, "an append is refused");
            answers.send(Outcome::Refused(why), true).await;
            None
        }
    }
}

/// Waits at the gate, and lets the sender know meanwhile.
async fn pass(
    group: &Group,
    from: &str,
    request: &AppendEntriesRequest<TypeConfig>,
    answers: &Answers,
) -> Result<(), String> {
    let mut blobs: Vec<BlobId> = request.entries.iter().flat_map(blobs_of).copied().collect();
    if blobs.is_empty() {
        return Ok(());
    }
    blobs.sort_unstable();
    blobs.dedup();
    let named = blobs.len() as u64;
    let holders = group.holders(Some(from));
    let mut pass = pin!(group.gate.pass(&holders, group.id(), blobs));
    let mut sign = interval_at(Instant::now() + SIGN_OF_LIFE, SIGN_OF_LIFE);
    loop {
        tokio::select! {
            passed = &mut pass => return passed,
            _ = sign.tick() => drop(answers.send(Outcome::Waiting { blobs: named }, true).await),
        }
    }
}

fn blobs_of(entry: &Entry) -> &[BlobId] {
    match &entry.payload {
        EntryPayload::Normal(proposed) => proposed.blobs(),
        EntryPayload::Blank | EntryPayload::Membership(_) => &[],
    }
}
