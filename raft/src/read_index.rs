//! Reading at any replica: how far it must be is asked of whoever leads (ReadIndex, Ongaro's thesis 6.4).
//!
//! The leader makes sure that it still leads and names an index; whatever was acknowledged before the question stands
//! at or before it. A replica that has applied that much answers by itself, and one that still replays waits: it never
//! answers older.
//!
//! Reads at the same time share round trips: one that comes while a question waits to be sent joins it, and never one
//! that is on its way, whose index may lie before what this reader knows of. So many questions are on their way at the
//! same time ([`ASKING_MAX`]), that a read waits a fraction of a round trip to be asked for.

use std::{
    future::Future,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use openraft::{Instant as _, ReadPolicy, async_runtime::watch::WatchReceiver};
use parking_lot::Mutex;
use securanet_model::{Freshness, StoreError};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    group::{Group, GroupRaft},
    leader::{Leader, Pauses},
};

/// A reader waits at most this long for a leader and for its replica to catch up. Longer than an election takes,
/// shorter than a client's patience.
const CATCH_UP: Duration = Duration::from_secs(5);
/// Questions of a group on their way at the same time.
const ASKING_MAX: usize = 4;
/// A leader that does not answer within this time is asked again. It takes a round trip itself, and gives up after the
/// upper election timeout.
const ASK_PATIENCE: Duration = Duration::from_millis(1500);

/// What came of a question: the index, or why there is none.
type Answer = Result<u64, String>;
type Question = Shared<BoxFuture<'static, Answer>>;

/// The questions of one group.
pub(crate) struct Questions {
    /// Not sent yet.
    next: Mutex<Option<Question>>,
    asking: Semaphore,
}

impl Questions {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { next: Mutex::default(), asking: Semaphore::new(ASKING_MAX) })
    }

    /// Joins the question that waits to be sent, or makes one, which calls `send` when it is its turn. Whoever waits for
    /// it drives it: it is given up when nobody does any more.
    fn ask<F>(self: &Arc<Self>, send: impl FnOnce() -> F + Send + 'static) -> Question
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let mut next = self.next.lock();
        let questions = Arc::downgrade(self);
        next.get_or_insert_with(|| Self::in_turn(questions, send).boxed().shared()).clone()
    }

    async fn in_turn<F: Future<Output = Answer> + Send>(questions: Weak<Self>, send: impl FnOnce() -> F) -> Answer {
        let gone = || "the group is closed".to_owned();
        let questions = questions.upgrade().ok_or_else(gone)?;
        let _turn = questions.asking.acquire().await.map_err(|_| gone())?;
        // From here on whoever comes makes a question of its own.
        drop(questions.next.lock().take());
        send().await
    }
}

impl Group {
    /// Waits until the state is as new as a reader asks for.
    ///
    /// On a group's only voter all that was acknowledged is the applied state itself, because a request is acknowledged
    /// after it is applied, and nobody else can commit anything; it only must have replayed what its predecessor
    /// acknowledged.
    pub(crate) async fn catch_up(&self, freshness: Freshness) -> Result<(), StoreError> {
        let until = Instant::now() + CATCH_UP;
        let index = match freshness {
            Freshness::Any => return Ok(()),
            Freshness::Within(millis) if self.is_newer_than(Duration::from_millis(millis.into())) => return Ok(()),
            // An index of another group means nothing here.
            Freshness::AtLeast(token) if token.group == self.id() => token.index,
            _ => match self.read_index(until).await? {
                Some(index) => index,
                None => return Ok(()),
            },
        };
        let mut position = self.replica.watch_position();
        let reached = position.wait_for(|position| position.applied.is_some_and(|id| id.index >= index));
        match timeout_at(until, reached).await {
            Ok(reached) => reached.map(drop).map_err(|_| self.stopped()),
            Err(_) => Err(self.behind("it is to be at entry", &index.to_string())),
        }
    }

    /// How far this replica must be; none when it is the only voter, and has everything.
    async fn read_index(&self, until: Instant) -> Result<Option<u64>, StoreError> {
        let mut pauses = Pauses::default();
        loop {
            let asked = async {
                if self.is_alone() {
                    self.wait_ready().await;
                    return Ok(None);
                }
                self.ask_once().await.map(Some)
            };
            let why = match timeout_at(until, asked).await {
                Ok(Ok(index)) => return Ok(index),
                Ok(Err(why)) => why,
                Err(_) => return Err(self.behind("its leader was asked", "no answer in time")),
            };
            if self.has_stopped() {
                return Err(self.stopped());
            }
            if timeout_at(until, pauses.wait(self)).await.is_err() {
                return Err(self.behind("how far it must be is not known", &why));
            }
        }
    }

    async fn ask_once(&self) -> Answer {
        if self.raft.is_leader() {
            return confirm(&self.raft).await;
        }
        let (raft, network, id, own) = (self.raft.clone(), self.network().clone(), self.id(), self.replica_id());
        let send = move || async move {
            let Leader { replica, node } = Leader::of(&raft).ok_or_else(|| "no leader is known".to_owned())?;
            if replica == own {
                return confirm(&raft).await;
            }
            tokio::select! {
                asked = timeout(ASK_PATIENCE, network.read_index(&node, id, replica)) => {
                    asked.unwrap_or_else(|_| Err(format!("node {node:?} gives no answer within {ASK_PATIENCE:?}")))
                }
                () = Leader::is_not(&raft, replica) => Err(format!("node {node:?} does not lead any more")),
            }
        };
        self.questions.ask(send).await
    }

    /// Makes sure that this replica leads; how far a reader must be.
    pub(crate) async fn confirm_leading(&self) -> Answer {
        confirm(&self.raft).await
    }

    /// Whether this replica has all that was acknowledged longer ago than this.
    fn is_newer_than(&self, age: Duration) -> bool {
        if !self.is_ready() {
            return false;
        }
        if self.raft.is_leader() {
            let metrics = self.raft.metrics();
            let acked = metrics.borrow_watched().last_quorum_acked;
            return self.is_alone() || acked.is_some_and(|acked| acked.elapsed() < age);
        }
        let applied = self.replica.applied().map_or(0, |id| id.index);
        self.heard.since(applied).is_some_and(|since| since.elapsed() < age)
    }

    fn behind(&self, what: &str, why: &str) -> StoreError {
        StoreError::Unavailable(format!("group {} is still catching up after {CATCH_UP:?}: {what}: {why}", self.id()))
    }
}

async fn confirm(raft: &GroupRaft) -> Answer {
    let confirmed = raft.get_read_linearizer(ReadPolicy::ReadIndex).await;
    confirmed.map(|linearizer| linearizer.read_log_id().index()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::sync::watch;

    use super::*;

    /// A leader that counts what it is asked and answers when it may, with the number of the question.
    struct Asked {
        count: Arc<AtomicU64>,
        may_answer: watch::Receiver<bool>,
    }

    impl Asked {
        fn ask(&self, questions: &Arc<Questions>) -> Question {
            let (count, mut may_answer) = (self.count.clone(), self.may_answer.clone());
            questions.ask(move || async move {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                may_answer.wait_for(|may| *may).await.map_err(|error| error.to_string())?;
                Ok(number)
            })
        }
    }

    fn asked() -> (Arc<Questions>, Asked, watch::Sender<bool>) {
        let (answer, may_answer) = watch::channel(false);
        (Questions::new(), Asked { count: Arc::default(), may_answer }, answer)
    }

    #[tokio::test]
    async fn reads_share_a_question_that_was_not_sent_and_never_one_that_was() {
        let (questions, asked, answer) = asked();
        // Polled once each, so that they are on their way.
        let mut sent: Vec<_> = Vec::new();
        for number in 1..=ASKING_MAX as u64 {
            let mut question = asked.ask(&questions);
            assert!(futures::poll!(&mut question).is_pending());
            assert_eq!(asked.count.load(Ordering::SeqCst), number, "one on its way was joined");
            sent.push(question);
        }
        let mut joined: Vec<_> = (0..100).map(|_| asked.ask(&questions)).collect();
        for question in &mut joined {
            assert!(futures::poll!(question).is_pending());
        }
        assert_eq!(asked.count.load(Ordering::SeqCst), ASKING_MAX as u64, "more than so many are on their way");
        answer.send_replace(true);
        assert_eq!(futures::future::join_all(sent).await, [Ok(1), Ok(2), Ok(3), Ok(4)]);
        let next = ASKING_MAX as u64 + 1;
        assert!(futures::future::join_all(joined).await.into_iter().all(|answer| answer == Ok(next)));
        assert_eq!(asked.ask(&questions).await, Ok(next + 1));
    }

    #[tokio::test]
    async fn who_gives_up_takes_nobody_along() {
        let (questions, asked, answer) = asked();
        let mut first = asked.ask(&questions);
        let mut others: Vec<_> = (0..ASKING_MAX).map(|_| asked.ask(&questions)).collect();
        assert!(futures::poll!(&mut first).is_pending());
        drop(first);
        drop(others.split_off(1));
        answer.send_replace(true);
        assert_eq!(others[0].clone().await, Ok(1));
        // Neither does one that nobody drove at all.
        drop(asked.ask(&questions));
        assert_eq!(asked.ask(&questions).await, Ok(2));
    }
}
