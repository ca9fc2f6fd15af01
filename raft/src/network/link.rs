//! One stream to another node, shared by all groups.
//!
//! A group's replication opens a session on it; what sessions send goes out in their order, gathered into frames. Answers come back by session. When the stream breaks, every session ends, and whoever opens the
//! next one makes the next stream: nothing is retried here, openraft does that.
//!
//! Bounds: what waits to go out ([`OUTGOING_MAX`] appends, each of which a session's window allows), and the answers
//! that a session has not looked at ([`SESSION_REPLIES_MAX`]): a peer that answers more than it was asked loses the
//! session.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures::{Stream, stream};
use parking_lot::Mutex;
use securanet_wire::replication::{
    Append, AppendFrame, AppendReply, Outcome, Repeated, frame_to_wire, proto, replies_from_wire,
};
use tokio::{sync::mpsc, time::timeout};

use super::{
    Client, Network, Owned, PeerClass,
    gather::{Frame, Gathered, Parcel},
    gather_of,
    packing::{Outgoing, Taken},
};

/// Appends that wait for the stream.
const OUTGOING_MAX: usize = 256;
/// Answers that wait for a session.
const SESSION_REPLIES_MAX: usize = 256;
/// Octets of entries that share a frame; a larger append goes alone.
const FRAME_BYTES: usize = 1024 * 1024;
/// Appends that share a frame.
const FRAME_APPENDS_MAX: usize = 1024;
/// A stream that has not begun by then is given up.
const BEGIN_PATIENCE: Duration = Duration::from_secs(2);

/// The stream of a class to a node; made when needed, again and again.
pub(super) struct Link {
    network: Network,
    node: String,
    class: PeerClass,
    connection: Mutex<Option<Arc<Connection>>>,
}

/// A stream that stands, or is about to.
struct Connection {
    outgoing: mpsc::Sender<Append>,
    sessions: Arc<Sessions>,
    _task: Owned,
}

/// The sessions of a stream.
#[derive(Default)]
struct Sessions(Mutex<State>);

#[derive(Default)]
struct State {
    last: u64,
    open: HashMap<u64, mpsc::Sender<Outcome>>,
    /// Why the stream has ended.
    ended: Option<String>,
}

impl Sessions {
    fn end(&self, why: String) {
        let mut state = self.0.lock();
        state.ended.get_or_insert(why);
        // Their receivers see the end.
        state.open.clear();
    }

    fn has_ended(&self) -> bool {
        self.0.lock().ended.is_some()
    }

    fn answer(&self, reply: AppendReply) {
        let mut state = self.0.lock();
        // Nobody waits any more for answers to a session that was given up.
        let Some(session) = state.open.get(&reply.session) else { return };
        if session.try_send(reply.outcome).is_err() {
            state.open.remove(&reply.session);
        }
    }
}

impl Link {
    pub(super) fn new(network: Network, node: String, class: PeerClass) -> Self {
        Self { network, node, class, connection: Mutex::new(None) }
    }

    /// Opens a session; the reason when the node is not known.
    pub(super) fn session(&self) -> Result<Session, String> {
        let connection = self.connection()?;
        let (replies, receiver) = mpsc::channel(SESSION_REPLIES_MAX);
        let mut state = connection.sessions.0.lock();
        state.last += 1;
        let id = state.last;
        if state.ended.is_none() {
            state.open.insert(id, replies);
        }
        drop(state);
        Ok(Session { id, connection, replies: receiver })
    }

    fn connection(&self) -> Result<Arc<Connection>, String> {
        let mut standing = self.connection.lock();
        if let Some(connection) = standing.as_ref().filter(|connection| !connection.sessions.has_ended()) {
            return Ok(connection.clone());
        }
        let unknown = |why: &String| {
            if self.class == PeerClass::Votes {
                self.network.reach().lost(&self.node, why);
            }
        };
        let client = self.network.client(&self.node, self.class).inspect_err(unknown)?;
        let (outgoing, queue) = mpsc::channel(OUTGOING_MAX);
        let sessions = Arc::<Sessions>::default();
        let (class, network, node) = (self.class, self.network.clone(), self.node.clone());
        // Heartbeats go on whatever happens to appends: who takes none is lost.
        let is_votes = class == PeerClass::Votes;
        let (clocks, asked) = (network.clocks().clone(), node.clone());
        let ask = move || if is_votes { clocks.ask(&asked) } else { None };
        let packing = Outgoing::new(network.clone(), node.clone());
        let taken = packing.taken();
        let frame = Frame { parcels_max: FRAME_APPENDS_MAX, bytes_max: FRAME_BYTES, gather: gather_of(class) };
        let frames = frames(Gathered::new(queue, frame), network.node().to_owned(), packing, ask);
        let theirs = sessions.clone();
        let task = tokio::spawn(async move {
            let take = |reply: AppendReply| match reply.outcome {
                Outcome::Clock { asked, wall } => network.clocks().answered(&node, asked, wall),
                _ => theirs.answer(reply),
            };
            let heard = || is_votes && network.reach().heard(&node);
            let why = run(client, class, frames, (&take, &taken), heard).await;
            if is_votes {
                network.reach().lost(&node, &why);
            }
            theirs.end(why);
        });
        let connection = Arc::new(Connection { outgoing, sessions, _task: Owned(task) });
        *standing = Some(connection.clone());
        Ok(connection)
    }
}

/// Makes the stream and hands its answers out, until it ends; why it has.
async fn run(
    mut client: Client,
    class: PeerClass,
    frames: impl Stream<Item = proto::AppendFrame> + Send + 'static,
    (take, taken): (&impl Fn(AppendReply), &Taken),
    heard: impl Fn() -> bool,
) -> String {
    let begun = timeout(BEGIN_PATIENCE, async {
        match class {
            PeerClass::Votes => client.heartbeat(frames).await,
            _ => client.append(frames).await,
        }
    });
    let mut replies = match begun.await {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => return status.to_string(),
        Err(_) => return format!("no connection within {BEGIN_PATIENCE:?}"),
    };
    loop {
        match replies.message().await {
            Ok(Some(frame)) => {
                taken.hear(&frame);
                match replies_from_wire(frame) {
                    Ok(replies) => replies.into_iter().for_each(take),
                    Err(error) => return error.to_string(),
                }
            }
            Ok(None) => return "the other node has ended the stream".to_owned(),
            Err(status) => return status.to_string(),
        }
        heard();
    }
}

impl Parcel for Append {
    fn is_urgent(&self) -> bool {
        !self.entries.is_empty()
    }

    fn bytes(&self) -> usize {
        self.entries_bytes()
    }
}

/// What waits, as frames.
fn frames(
    queue: Gathered<Append>,
    node: String,
    outgoing: Outgoing,
    ask: impl Fn() -> Option<u64> + Send + 'static,
) -> impl Stream<Item = proto::AppendFrame> + Send + 'static {
    struct Frames<A> {
        queue: Gathered<Append>,
        node: Option<String>,
        /// The number of a question for the other node's clock, when it is time for one.
        ask: A,
        repeated: Repeated,
        outgoing: Outgoing,
    }
    let frames = Frames { queue, node: Some(node), ask, repeated: Repeated::default(), outgoing };
    stream::unfold(frames, |mut frames| async move {
        let appends = frames.queue.next().await?;
        let frame = AppendFrame { node: frames.node.take(), appends, clock_asked: (frames.ask)() };
        let frame = frame_to_wire(frame, &mut frames.repeated);
        let packed = frames.outgoing.frame(frame);
        let packed = packed.inspect_err(|error| tracing::warn!(%error, "a stream of appends is ended, and begun anew"));
        Some((packed.ok()?, frames))
    })
}

/// One group's part of a stream.
pub(super) struct Session {
    id: u64,
    connection: Arc<Connection>,
    replies: mpsc::Receiver<Outcome>,
}

impl Session {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Sends an append; waits while too much waits.
    pub(super) async fn send(&self, append: Append) {
        // An error means that the stream has ended, which the next answer says.
        let _ = self.connection.outgoing.send(append).await;
    }

    /// The next answer; the reason when the stream has ended.
    pub(super) async fn reply(&mut self) -> Result<Outcome, String> {
        let ended = || {
            let state = self.connection.sessions.0.lock();
            state.ended.clone().unwrap_or_else(|| "the other node answers more than it was asked".to_owned())
        };
        match self.replies.recv().await {
            Some(outcome) => Ok(outcome),
            None => Err(ended()),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.sessions.0.lock().open.remove(&self.id);
    }
}
