//! Appends of one group to one replica, many under way at the same time.
//!
//! openraft hands in a stream of requests that does not end while it leads, and wants the answers in order. Requests go
//! out as long as the window has room: a commit takes one round trip however many are on the way. The stream is given
//! up when something is on the way and there has been no sign of life for two seconds; a follower whose gate waits for
//! blobs gives signs of life.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, stream};
use openraft::{
    errors::{RPCError, Timeout, Unreachable},
    network::RPCTypes,
    raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult},
};
use securanet_model::GroupId;
use securanet_wire::replication::Outcome;
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    convert,
    link::{Link, Session},
};
use crate::types::TypeConfig;

/// No sign of life for so long ends the stream.
const PATIENCE: Duration = Duration::from_secs(2);
/// Requests under way. openraft itself pipelines 64 on the other side.
pub(super) const WINDOW_REQUESTS: usize = 64;
/// Octets of entries under way (a larger request goes alone): what 100 Mbit/s carry in a round trip of 320 ms.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;

type Answer = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

/// Who sends to whom.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) group: GroupId,
    pub(super) own: u64,
    pub(super) target: u64,
}

/// Sends what `input` gives; the answers, in order.
///
/// A session is opened with the first request, not before: behind a failure openraft pauses before it gives one, and a
/// session that ended in that pause would end the pause.
pub(super) fn pipeline<S>(link: &Arc<Link>, way: Way, input: S) -> impl Stream<Item = Answer> + Send + use<S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
{
    stream::unfold(State::New(link.clone(), input), move |state| async move {
        let begun = match state {
            State::New(link, input) => begin(&link, way, input).await?,
            State::Begun(pipeline) => Ok(pipeline),
            State::Ended => return None,
        };
        match begun {
            Ok(mut pipeline) => {
                let answer = pipeline.next().await?;
                let goes_on = matches!(answer, Ok(Ok(_)));
                Some((answer, if goes_on { State::Begun(pipeline) } else { State::Ended }))
            }
            Err(error) => Some((Err(error), State::Ended)),
        }
    })
}

enum State<S> {
    New(Arc<Link>, S),
    Begun(Pipeline<S>),
    Ended,
}

/// Waits for the first request and sends it; none when no request came.
async fn begin<S>(link: &Arc<Link>, way: Way, mut input: S) -> Option<Result<Pipeline<S>, RPCError<TypeConfig>>>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin,
{
    let first = input.next().await?;
    let session = match link.session() {
        Ok(session) => session,
        Err(why) => return Some(Err(Unreachable::from_string(why).into())),
    };
    let give_up_at = Instant::now() + PATIENCE;
    let mut pipeline =
        Pipeline { session, way, input: Some(input), under_way: VecDeque::new(), bytes_under_way: 0, give_up_at };
    Some(pipeline.send(&first).await.map(|()| pipeline))
}

struct Pipeline<S> {
    session: Session,
    way: Way,
    /// None when it has ended.
    input: Option<S>,
    /// Octets of each request under way.
    under_way: VecDeque<usize>,
    bytes_under_way: usize,
    give_up_at: Instant,
}

/// What a pipeline was woken by.
enum Woken {
    Request(Option<AppendEntriesRequest<TypeConfig>>),
    Reply(Result<Outcome, String>),
    Silence,
}

impl<S> Pipeline<S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin,
{
    /// The next answer; none when all requests are answered and no more come.
    async fn next(&mut self) -> Option<Answer> {
        loop {
            if self.input.is_none() && self.under_way.is_empty() {
                return None;
            }
            match self.wait().await {
                Woken::Request(None) => self.input = None,
                Woken::Request(Some(request)) => {
                    if let Err(error) = self.send(&request).await {
                        return Some(Err(error));
                    }
                }
                Woken::Reply(Ok(outcome)) => {
                    self.give_up_at = Instant::now() + PATIENCE;
                    if let Some(answer) = self.answer(outcome) {
                        return Some(answer);
                    }
                }
                Woken::Reply(Err(why)) => return Some(Err(self.unreachable(&why))),
                Woken::Silence => return Some(Err(self.silence())),
            }
        }
    }

    async fn wait(&mut self) -> Woken {
        let has_room =
            self.under_way.is_empty() || self.under_way.len() < WINDOW_REQUESTS && self.bytes_under_way < WINDOW_BYTES;
        let waits = !self.under_way.is_empty();
        let next = async {
            match &mut self.input {
                Some(input) if has_room => input.next().await,
                _ => futures::future::pending().await,
            }
        };
        tokio::select! {
            reply = self.session.reply() => Woken::Reply(reply),
            request = next => Woken::Request(request),
            () = sleep_until(self.give_up_at), if waits => Woken::Silence,
        }
    }

    async fn send(&mut self, request: &AppendEntriesRequest<TypeConfig>) -> Result<(), RPCError<TypeConfig>> {
        let append = convert::append_to_wire(self.session.id(), self.way.group, self.way.target, request);
        let bytes = append.entries_bytes();
        if self.under_way.is_empty() {
            self.give_up_at = Instant::now() + PATIENCE;
        }
        self.under_way.push_back(bytes);
        self.bytes_under_way += bytes;
        timeout(PATIENCE, self.session.send(append)).await.map_err(|_| self.silence())
    }

    fn answer(&mut self, outcome: Outcome) -> Option<Answer> {
        let answer = match outcome {
            // The clock is the link's; it is no answer to an append.
            Outcome::Waiting { .. } | Outcome::Clock { .. } => return None,
            Outcome::Matched(upto) => Ok(Ok(upto.map(convert::log_id))),
            Outcome::Conflict(at) => Ok(Err(StreamAppendError::Conflict(convert::log_id(at)))),
            Outcome::HigherVote(vote) => Ok(Err(StreamAppendError::HigherVote(convert::vote(vote)))),
            Outcome::Refused(why) => Err(self.unreachable(&why)),
        };
        match self.under_way.pop_front() {
            Some(bytes) => self.bytes_under_way -= bytes,
            None => return Some(Err(self.unreachable("the other node answers more than it was asked"))),
        }
        Some(answer)
    }

    fn unreachable(&self, why: &str) -> RPCError<TypeConfig> {
        Unreachable::from_string(format!("group {}, replica {}: {why}", self.way.group, self.way.target)).into()
    }

    fn silence(&self) -> RPCError<TypeConfig> {
        let Way { own: id, target, .. } = self.way;
        Timeout { action: RPCTypes::AppendEntries, id, target, timeout: PATIENCE }.into()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use securanet_model::UnixMillis;

    use super::*;
    use crate::{
        clocks::Clocks,
        network::{Network, NoPeers, Pace, PeerClass},
        types::Vote,
    };

    /// Found by the simulation: each failure was answered before openraft had begun to pause, and a leader whose follower
    /// refused connections did nothing else any more.
    #[tokio::test]
    async fn a_node_that_cannot_be_reached_is_not_called_so_again_before_openraft_asks_again() {
        let clocks = Clocks::new(Arc::new(|| UnixMillis::new(0)));
        let network = Network::new("here", Arc::new(NoPeers), clocks, Pace::new(1));
        let link = network.link("there", PeerClass::Appends);
        let way = Way { group: GroupId::new(1), own: 1, target: 2 };
        let mut pausing = Box::pin(pipeline(&link, way, stream::pending()));
        assert!(pausing.next().now_or_never().is_none(), "answered what nobody asked");
        let request =
            AppendEntriesRequest { vote: Vote::new(1, 1), prev_log_id: None, entries: Vec::new(), leader_commit: None };
        let mut asked = Box::pin(pipeline(&link, way, stream::iter([request])));
        assert!(matches!(asked.next().await, Some(Err(RPCError::Unreachable(_)))));
        assert!(asked.next().await.is_none());
    }
}
