//! The outbound queue of one group, as its worker asks and tells it.
//!
//! Intents are tried for as long as they are worth it, then given up. Facts are told until they are committed, however
//! long the group has no quorum: a settlement is known by its attempt and a report by what it tells of, so a repeat
//! under a new request does no harm.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use securanet_gateway::{
    client::StoreClient,
    model::{
        Answer, Command, Epoch, Freshness, GroupId, Query, Reply, StoreError, Token, UnixMillis, limits,
        outbound::{
            DueCursor, DueDestination, ItemView, OutboundAnswer, OutboundCommand, OutboundDepth, OutboundQuery,
            OutboundReply, Place, Taken, Timer, WorkerId,
        },
    },
};
use tokio::time::{sleep, timeout};

/// Pause before a fact is told again; doubles.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause: a group without quorum comes back within seconds, or takes minutes.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// The store client's own limit, and a second for its last answer.
const COMMIT_PATIENCE: Duration = Duration::from_millis(limits::COMMIT_TIMEOUT_MILLIS + 1000);
/// A question is answered from memory or disk, or there is no leader: then the next look asks again.
const ASK_PATIENCE: Duration = Duration::from_secs(10);

/// One group's outbound queue. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Queue {
    client: StoreClient,
    group: GroupId,
    /// How far the group was at our last change. Whatever replica answers has it; what others have taken meanwhile it may
    /// not know, and taking that again comes to nothing.
    changed: Arc<AtomicU64>,
}

/// What became of asking for a lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LeaseReply {
    /// It lives, under this number.
    Granted(u64),
    /// It has ended.
    Ended,
}

fn out_of_turn(what: impl std::fmt::Debug) -> StoreError {
    StoreError::Internal(format!("the queue answered out of turn: {what:?}"))
}

impl Queue {
    pub(crate) fn new(client: StoreClient, group: GroupId) -> Self {
        Self { client, group, changed: Arc::default() }
    }

    pub(crate) const fn group(&self) -> GroupId {
        self.group
    }

    /// Commits one command, or gives up after `patience`: then it may or may not have been done.
    async fn execute(&self, command: OutboundCommand, patience: Duration) -> Result<OutboundReply, StoreError> {
        let late = |_| StoreError::Unavailable("no commit in time".to_owned());
        let executed = timeout(patience, self.client.execute(self.group, vec![Command::Outbound(command)])).await;
        let mut executed = executed.map_err(late)??;
        self.changed.fetch_max(executed.index, Ordering::Relaxed);
        match executed.replies.pop() {
            Some(Reply::Outbound(reply)) => Ok(reply),
            Some(Reply::Unknown) => Err(StoreError::Unavailable("the outcome is not known".to_owned())),
            other => Err(out_of_turn(other)),
        }
    }

    /// Commits one command, however long that takes.
    async fn execute_until_answered(&self, command: &OutboundCommand) -> OutboundReply {
        let mut pause = PAUSE_MIN;
        loop {
            match self.execute(command.clone(), COMMIT_PATIENCE).await {
                Ok(reply) => return reply,
                Err(error @ (StoreError::Unavailable(_) | StoreError::Busy | StoreError::Draining)) => {
                    tracing::debug!(group = %self.group, %error, "a fact of the outbound queue waits");
                }
                Err(error) => {
                    tracing::error!(group = %self.group, %error, "a fact of the outbound queue is refused, it is told again");
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Asks for a new lease, or renews one.
    pub(crate) async fn lease(
        &self,
        worker: WorkerId,
        epoch: Option<u64>,
        patience: Duration,
    ) -> Result<LeaseReply, StoreError> {
        match self.execute(OutboundCommand::Lease { worker, epoch }, patience).await? {
            OutboundReply::Leased { epoch, .. } => Ok(LeaseReply::Granted(epoch)),
            OutboundReply::LeaseEnded => Ok(LeaseReply::Ended),
            other => Err(out_of_turn(other)),
        }
    }

    /// Takes recipients that are due; `None` when the lease has ended.
    pub(crate) async fn take(
        &self,
        epoch: u64,
        places: Vec<Place>,
        patience: Duration,
    ) -> Result<Option<Vec<Option<Taken>>>, StoreError> {
        match self.execute(OutboundCommand::Take { epoch, places }, patience).await? {
            OutboundReply::Taken(taken) => Ok(Some(taken)),
            OutboundReply::LeaseEnded => Ok(None),
            other => Err(out_of_turn(other)),
        }
    }

    /// Says that the final dot comes next; whether it may, for each.
    pub(crate) async fn intend(
        &self,
        epoch: u64,
        places: Vec<(Place, u32)>,
        patience: Duration,
    ) -> Result<Vec<bool>, StoreError> {
        let count = places.len();
        match self.execute(OutboundCommand::Intend { epoch, places }, patience).await? {
            OutboundReply::Intended(may) if may.len() == count => Ok(may),
            OutboundReply::LeaseEnded => Ok(vec![false; count]),
            other => Err(out_of_turn(other)),
        }
    }

    /// Tells a fact; whether the queue took it as it should.
    pub(crate) async fn tell(&self, command: &OutboundCommand) -> OutboundReply {
        let reply = self.execute_until_answered(command).await;
        if reply == OutboundReply::OutOfBounds {
            tracing::error!(group = %self.group, "the outbound queue refused a fact for its size: a fault of ours");
        }
        reply
    }

    /// Sends a command with a bound until it says that no more is to do; how many it took.
    pub(crate) async fn repeat(&self, command: OutboundCommand) -> Result<u64, StoreError> {
        let mut rounds = 0;
        loop {
            rounds += 1;
            match self.execute(command.clone(), COMMIT_PATIENCE).await? {
                OutboundReply::Done { more: true } => {}
                OutboundReply::Done { more: false } => return Ok(rounds),
                other => return Err(out_of_turn(other)),
            }
        }
    }

    async fn ask(&self, query: OutboundQuery) -> Result<OutboundAnswer, StoreError> {
        let late = |_| StoreError::Unavailable("no answer in time".to_owned());
        let index = self.changed.load(Ordering::Relaxed);
        let freshness = Freshness::AtLeast(Token { group: self.group, epoch: Epoch::new(0), index });
        let asked = timeout(ASK_PATIENCE, self.client.store().query(self.group, Query::Outbound(query), freshness));
        match asked.await.map_err(late)??.answer {
            Answer::Outbound(answer) => Ok(answer),
            other => Err(out_of_turn(other)),
        }
    }

    /// A page of what is due.
    pub(crate) async fn due(
        &self,
        now: UnixMillis,
        after: Option<DueCursor>,
        destinations_max: u32,
        rows_max: u32,
    ) -> Result<(Vec<DueDestination>, Option<DueCursor>), StoreError> {
        match self.ask(OutboundQuery::Due { now, after, destinations_max, rows_max }).await? {
            OutboundAnswer::Due(page, next) => Ok((page, next)),
            other => Err(out_of_turn(other)),
        }
    }

    /// Other work that is due.
    pub(crate) async fn timers(&self, now: UnixMillis, rows_max: u32) -> Result<Vec<Timer>, StoreError> {
        match self.ask(OutboundQuery::Timers { now, rows_max }).await? {
            OutboundAnswer::Timers(timers) => Ok(timers),
            other => Err(out_of_turn(other)),
        }
    }

    /// An item without its recipients.
    pub(crate) async fn envelope(&self, item: u64) -> Result<Option<Box<ItemView>>, StoreError> {
        match self.ask(OutboundQuery::Envelope(item)).await? {
            OutboundAnswer::Item(view) => Ok(view),
            other => Err(out_of_turn(other)),
        }
    }

    /// An item with its recipients.
    pub(crate) async fn item(&self, item: u64) -> Result<Option<Box<ItemView>>, StoreError> {
        match self.ask(OutboundQuery::Item(item)).await? {
            OutboundAnswer::Item(view) => Ok(view),
            other => Err(out_of_turn(other)),
        }
    }

    /// Counts.
    pub(crate) async fn depth(&self) -> Result<OutboundDepth, StoreError> {
        match self.ask(OutboundQuery::Depth).await? {
            OutboundAnswer::Depth(depth) => Ok(depth),
            other => Err(out_of_turn(other)),
        }
    }
}
