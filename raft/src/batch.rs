//! Gathers the requests of one group into proposals.
//!
//! While a proposal is on its way to the disk, requests gather; when there is room for another, all of them go
//! together. So a group alone with one client commits each request by itself, and a busy one shares entries,
//! fsyncs and wake-ups, without any timer. Each request is encoded by whoever submits it, so that the serial part
//! only joins bytes.
//!
//! Bounds: waiting requests in number and octets (beyond: `Busy`), proposals in flight, requests and octets of a
//! proposal. Who stops waiting (deadline) while its request still waits here takes it along: it is not proposed.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use bytes::Bytes;
use openraft::errors::ClientWriteError;
use parking_lot::Mutex;
use securanet_model::{Execute, GroupId, Reply, StoreError, UnixMillis, record, request::Proposal};
use tokio::sync::{Notify, oneshot};

use crate::{
    group::{GroupRaft, not_leader},
    metric::Commits,
    settings::BatchBounds,
    types::{Callback, Proposed, TypeConfig},
};

/// What becomes of a request: its replies and the index at which it was applied.
pub(crate) type Outcome = Result<(Vec<Reply>, u64), StoreError>;
/// What openraft says of a proposal.
type Written = openraft::raft::ClientWriteResult<TypeConfig>;

/// Gathers requests.
pub(crate) struct Batcher {
    group: GroupId,
    bounds: BatchBounds,
    queue: Mutex<Queue>,
    /// There may be something to propose.
    wake: Notify,
    /// Nothing waits and nothing is in flight.
    idle: Notify,
    commits: Commits,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    in_flight: usize,
    closed: bool,
}

struct Waiting {
    request: Execute,
    /// The request in the form that a proposal's record has it.
    encoded: Vec<u8>,
    answer: oneshot::Sender<Outcome>,
}

/// Those who wait for one proposal.
struct Waiters {
    answers: Vec<oneshot::Sender<Outcome>>,
    since: Instant,
}

impl Batcher {
    pub(crate) fn new(group: GroupId, bounds: BatchBounds) -> Self {
        let (queue, commits) = (Mutex::default(), Commits::of(group));
        Self { group, bounds, queue, wake: Notify::new(), idle: Notify::new(), commits }
    }

    /// Queues a request.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when too much waits, [`StoreError::Draining`] after [`Batcher::close`],
    /// [`StoreError::Internal`] when the request cannot be encoded.
    pub(crate) fn submit(&self, request: Execute) -> Result<oneshot::Receiver<Outcome>, StoreError> {
        let encoded = encode(&request)?;
        let (answer, outcome) = oneshot::channel();
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(StoreError::Draining);
        }
        let bytes = queue.waiting_bytes + encoded.len();
        let full = queue.waiting.len() >= self.bounds.waiting_requests_max || bytes > self.bounds.waiting_bytes_max;
        if full && !queue.waiting.is_empty() {
            return Err(StoreError::Busy);
        }
        queue.waiting_bytes = bytes;
        queue.waiting.push_back(Waiting { request, encoded, answer });
        if queue.in_flight < self.bounds.proposals_in_flight {
            self.wake.notify_one();
        }
        Ok(outcome)
    }

    /// Requests that wait, and proposals in flight.
    pub(crate) fn depth(&self) -> (usize, usize) {
        let queue = self.queue.lock();
        (queue.waiting.len(), queue.in_flight)
    }

    /// Proposes what gathers, until the batcher is closed and empty. What gathers while there is no time to stamp it with is
    /// turned away: somebody else is to lead.
    pub(crate) async fn run(self: Arc<Self>, raft: GroupRaft, stamp: impl Fn() -> Option<UnixMillis>) {
        while let Some((proposed, waiters)) = self.next(&stamp).await {
            let batcher = self.clone();
            let callback = Callback::new(move |written| batcher.finish(waiters, written));
            // An error means that openraft has stopped; it has dropped the callback, which told the waiters.
            if let Err(error) = raft.client_write_ff(proposed, Some(callback)).await {
                tracing::debug!(group = %self.group, %error, "proposal refused");
            }
        }
    }

    async fn next(&self, stamp: &impl Fn() -> Option<UnixMillis>) -> Option<(Proposed, Waiters)> {
        loop {
            {
                let mut queue = self.queue.lock();
                match stamp() {
                    Some(now) => {
                        if let Some(batch) = self.take(&mut queue, now) {
                            return Some(batch);
                        }
                    }
                    None => self.turn_away(&mut queue),
                }
                if queue.closed && queue.waiting.is_empty() {
                    self.idle.notify_waiters();
                    return None;
                }
            }
            // A permit is stored when the wake-up comes before we wait.
            self.wake.notified().await;
        }
    }

    /// Takes what waits as one proposal, if there is room for one in flight.
    fn take(&self, queue: &mut Queue, now: UnixMillis) -> Option<(Proposed, Waiters)> {
        if queue.in_flight >= self.bounds.proposals_in_flight {
            return None;
        }
        let (mut requests, mut encoded, mut answers, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
        while let Some(front) = queue.waiting.front() {
            let full =
                requests.len() >= self.bounds.requests_max || bytes + front.encoded.len() > self.bounds.bytes_max;
            if full && !requests.is_empty() {
                break;
            }
            let Some(next) = queue.waiting.pop_front() else { break };
            queue.waiting_bytes -= next.encoded.len();
            if next.answer.is_closed() {
                continue;
            }
            bytes += next.encoded.len();
            requests.push(next.request);
            encoded.push(next.encoded);
            answers.push(next.answer);
        }
        if requests.is_empty() {
            return None;
        }
        queue.in_flight += 1;
        let record = join(now, &encoded, bytes);
        let proposed = Proposed::new(Proposal { stamp: now, requests }, record);
        Some((proposed, Waiters { answers, since: Instant::now() }))
    }

    fn turn_away(&self, queue: &mut Queue) {
        queue.waiting_bytes = 0;
        for waiting in queue.waiting.drain(..) {
            drop(waiting.answer.send(Err(StoreError::NotLeader { leader: None })));
        }
        self.idle.notify_waiters();
    }

    /// A proposal is done with: tells its waiters and makes room.
    fn finish(&self, waiters: Waiters, written: Option<Written>) {
        self.commits.committed(waiters.answers.len(), waiters.since.elapsed());
        match written {
            Some(Ok(response)) => {
                let index = response.log_id.index;
                let mut replies = response.data.0.into_iter();
                for answer in waiters.answers {
                    let outcome = replies.next().map(|replies| (replies, index));
                    let missing = || StoreError::Internal("the engine gave no reply".to_owned());
                    // A waiter whose deadline has passed is gone; its request is applied all the same.
                    drop(answer.send(outcome.ok_or_else(missing)));
                }
            }
            refused => {
                let error = self.unavailable(refused.and_then(Result::err));
                waiters.answers.into_iter().for_each(|answer| drop(answer.send(Err(error.clone()))));
            }
        }
        let mut queue = self.queue.lock();
        queue.in_flight -= 1;
        if !queue.waiting.is_empty() || queue.closed {
            self.wake.notify_one();
            self.idle.notify_waiters();
        }
    }

    fn unavailable(&self, error: Option<ClientWriteError<TypeConfig>>) -> StoreError {
        let group = self.group;
        StoreError::Unavailable(match error {
            None => format!("group {group} has stopped"),
            Some(ClientWriteError::ForwardToLeader(forward)) => return not_leader(&forward),
            Some(error) => format!("group {group}: {error}"),
        })
    }

    /// Takes no more requests; those that wait are still proposed.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.wake.notify_one();
    }

    /// Whether it takes no more requests.
    pub(crate) fn is_closed(&self) -> bool {
        self.queue.lock().closed
    }

    /// Ends when a closed batcher has nothing waiting and nothing in flight.
    pub(crate) async fn drained(&self) {
        loop {
            let idle = self.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.depth() == (0, 0) {
                return;
            }
            idle.await;
        }
    }
}

fn encode(request: &Execute) -> Result<Vec<u8>, StoreError> {
    postcard::to_extend(request, Vec::with_capacity(256)).map_err(|error| StoreError::Internal(error.to_string()))
}

/// The record of a proposal, from its already encoded requests: what `record::encode` of it gives. postcard
/// writes a struct's fields and a sequence's elements one after another, the sequence's length in front.
fn join(stamp: UnixMillis, requests: &[Vec<u8>], bytes: usize) -> Bytes {
    let mut record = Vec::with_capacity(bytes + 24);
    record.push(record::VERSION);
    varint(stamp.get(), &mut record);
    varint(requests.len() as u64, &mut record);
    requests.iter().for_each(|request| record.extend_from_slice(request));
    record.into()
}

/// postcard's unsigned integer: seven bits a byte, low ones first.
fn varint(mut value: u64, into: &mut Vec<u8>) {
    while value >= 0x80 {
        into.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

#[cfg(test)]
mod tests {
    use securanet_model::{Command, RequestId, delivery::QueueCommand};

    use super::*;

    fn request(number: u8) -> Execute {
        let settle = QueueCommand::Settle { target: GroupId::new(3), sequence: 1 << 40, refused: Vec::new() };
        Execute {
            group: GroupId::new(1),
            request: RequestId::new([number; 16]),
            deadline: UnixMillis::new(u64::MAX),
            commands: vec![Command::Queue(settle); usize::from(number) % 3],
        }
    }

    #[test]
    fn joined_requests_are_the_record_of_their_proposal() {
        for (stamp, count) in [(0, 0), (127, 1), (128, 2), (1_700_000_000_000, 127), (u64::MAX, 200)] {
            let stamp = UnixMillis::new(stamp);
            let requests: Vec<_> = (0..count).map(request).collect();
            let encoded: Vec<_> = requests.iter().map(|request| encode(request).unwrap()).collect();
            let bytes = encoded.iter().map(Vec::len).sum();
            let expected = record::encode(&Proposal { stamp, requests });
            assert_eq!(join(stamp, &encoded, bytes), expected, "{count} requests");
        }
    }

    fn take(batcher: &Batcher) -> Option<(Proposed, Waiters)> {
        batcher.take(&mut batcher.queue.lock(), UnixMillis::new(1))
    }

    fn batcher(bounds: BatchBounds) -> Batcher {
        Batcher::new(GroupId::new(1), bounds)
    }

    #[test]
    fn a_proposal_takes_all_that_waits_within_its_bounds() {
        let batcher = batcher(BatchBounds { proposals_in_flight: 2, requests_max: 3, ..BatchBounds::default() });
        let answers: Vec<_> = (0..5).map(|n| batcher.submit(request(n)).unwrap()).collect();
        let sizes: Vec<_> = (0..3).map(|_| take(&batcher).map(|(_, waiters)| waiters.answers.len())).collect();
        assert_eq!(sizes, [Some(3), Some(2), None]);
        assert_eq!(batcher.depth(), (0, 2));
        drop(answers);
    }

    #[test]
    fn a_request_larger_than_a_proposal_goes_alone() {
        let batcher = batcher(BatchBounds { bytes_max: 10, proposals_in_flight: 9, ..BatchBounds::default() });
        let _answers: Vec<_> = (0..3).map(|n| batcher.submit(request(n)).unwrap()).collect();
        assert_eq!(take(&batcher).map(|(_, waiters)| waiters.answers.len()), Some(1));
    }

    #[test]
    fn who_stopped_waiting_takes_the_request_along() {
        let batcher = batcher(BatchBounds::default());
        drop(batcher.submit(request(1)).unwrap());
        assert!(take(&batcher).is_none());
        assert_eq!(batcher.depth(), (0, 0));
        assert_eq!(batcher.queue.lock().waiting_bytes, 0);
    }

    #[test]
    fn a_dropped_proposal_tells_its_waiters_and_makes_room() {
        let batcher = batcher(BatchBounds { proposals_in_flight: 1, ..BatchBounds::default() });
        let mut answer = batcher.submit(request(1)).unwrap();
        let (_, waiters) = take(&batcher).unwrap();
        batcher.finish(waiters, None);
        assert!(matches!(answer.try_recv().unwrap(), Err(StoreError::Unavailable(_))));
        assert_eq!(batcher.depth(), (0, 0));
    }

    #[tokio::test]
    async fn what_has_no_time_is_turned_away_and_what_comes_later_is_proposed() {
        use futures::FutureExt;
        let batcher = batcher(BatchBounds::default());
        let mut turned_away = batcher.submit(request(1)).unwrap();
        assert!(batcher.next(&|| None).now_or_never().is_none());
        assert_eq!(turned_away.try_recv().unwrap(), Err(StoreError::NotLeader { leader: None }));
        assert_eq!((batcher.depth(), batcher.queue.lock().waiting_bytes), ((0, 0), 0));
        let _proposed = batcher.submit(request(1)).unwrap();
        let (proposed, _) = batcher.next(&|| Some(UnixMillis::new(7))).now_or_never().unwrap().unwrap();
        assert_eq!(proposed.proposal().unwrap().stamp, UnixMillis::new(7));
    }

    #[test]
    fn a_closed_batcher_takes_nothing_more() {
        let batcher = batcher(BatchBounds::default());
        batcher.close();
        assert_eq!(batcher.submit(request(1)).err(), Some(StoreError::Draining));
    }
}
