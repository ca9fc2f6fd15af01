//! One request, several stores: whom to ask first, whom next, and when to give up.
//!
//! The store that led the group last is asked first. One that says who leads is followed at once. One that has not answered
//! within 700 ms stays asked while another is asked too: a request that was committed twice under one id is applied once,
//! and a question does no harm. When all have been asked there is a pause, which doubles up to 400 ms. Stores that are known
//! to be gone are not asked; when all are gone, the first that comes back is.

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use futures::{StreamExt, future::select_all, stream::FuturesUnordered};
use parking_lot::Mutex;
use securanet_model::{GroupId, StoreError};
use tokio::time::{Instant, sleep_until};

use super::node::{Miss, StoreNode};
use crate::metric;

/// A store that does not answer in this time is not waited for alone.
const TRY: Duration = Duration::from_millis(700);
/// Between two rounds over all stores.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// All stores, and who led which group last.
pub(crate) struct Stores {
    nodes: Vec<Arc<StoreNode>>,
    leaders: Mutex<HashMap<GroupId, usize>>,
}

/// Where one request stands.
struct Round {
    /// Whom it will ask, in this order.
    next: Vec<usize>,
    /// Whom it has asked in this round.
    asked: Vec<usize>,
    /// Who has not answered yet.
    waiting: Vec<usize>,
    without_group: usize,
    pause: Duration,
    /// When the next one is asked.
    wake: Instant,
    last: StoreError,
}

impl Stores {
    pub(crate) fn new(nodes: Vec<Arc<StoreNode>>) -> Self {
        Self { nodes, leaders: Mutex::default() }
    }

    pub(crate) fn nodes(&self) -> &[Arc<StoreNode>] {
        &self.nodes
    }

    /// Those to ask now, the best first.
    pub(crate) fn order(&self, group: GroupId) -> Vec<usize> {
        let leader = self.leaders.lock().get(&group).copied();
        let others = (0..self.nodes.len()).filter(|at| Some(*at) != leader);
        leader.into_iter().chain(others).filter(|at| self.nodes[*at].is_reachable()).collect()
    }

    /// Asks until there is an answer or the time is over.
    pub(crate) async fn ask<T, F>(
        &self,
        group: GroupId,
        patience: Duration,
        call: impl Fn(Arc<StoreNode>) -> F,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, Miss>>,
    {
        let over = sleep_until(Instant::now() + patience);
        tokio::pin!(over);
        let mut round = Round::new(self.order(group));
        let mut tries = FuturesUnordered::new();
        loop {
            if Instant::now() >= round.wake
                && let Some(at) = round.advance(|| self.order(group))
            {
                let answer = call(self.nodes[at].clone());
                tries.push(async move { (at, answer.await) });
            }
            let wake = round.wake;
            tokio::select! {
                Some((at, outcome)) = tries.next() => {
                    round.waiting.retain(|other| *other != at);
                    match outcome {
                        Ok(done) => {
                            self.leads(group, at);
                            return Ok(done);
                        }
                        Err(Miss::Final(error)) => return Err(error),
                        Err(miss) => {
                            metric::store_missed(self.nodes[at].address());
                            if let Some(error) = self.missed(group, at, miss, &mut round) {
                                return Err(error);
                            }
                        }
                    }
                }
                () = sleep_until(wake) => {}
                () = self.one_comes(), if round.is_idle() => round = Round { last: round.last, ..Round::new(self.order(group)) },
                () = &mut over => return Err(round.last),
            }
        }
    }

    /// What a store without an answer means for what is asked next; an error when nobody can have one.
    fn missed(&self, group: GroupId, at: usize, miss: Miss, round: &mut Round) -> Option<StoreError> {
        match miss {
            Miss::NotLeader(Some(name)) => {
                let leader = self.nodes.iter().position(|node| node.is(&name));
                // Two that point at each other are asked once each in a round.
                if let Some(leader) = leader.filter(|leader| !round.asked.contains(leader)) {
                    self.leads(group, leader);
                    round.next.retain(|other| *other != leader);
                    round.next.insert(0, leader);
                }
                round.last = Miss::NotLeader(None).into_error();
            }
            Miss::NoGroup(error) => {
                round.without_group += 1;
                if round.without_group >= self.nodes.len() {
                    return Some(error);
                }
                round.last = error;
            }
            other => {
                let mut leaders = self.leaders.lock();
                if leaders.get(&group) == Some(&at) {
                    leaders.remove(&group);
                }
                round.last = other.into_error();
            }
        }
        round.wake = Instant::now();
        None
    }

    fn leads(&self, group: GroupId, at: usize) {
        self.leaders.lock().insert(group, at);
    }

    /// Ends when a store is there that was not.
    async fn one_comes(&self) {
        let coming = self.nodes.iter().map(|node| {
            let mut reachable = node.watch_reachable();
            Box::pin(async move {
                // The node lives as long as we do.
                let _ = reachable.wait_for(|reachable| *reachable).await;
            })
        });
        if self.nodes.is_empty() {
            std::future::pending::<()>().await;
        }
        select_all(coming).await;
    }
}

impl Round {
    fn new(next: Vec<usize>) -> Self {
        Self {
            next,
            asked: Vec::new(),
            waiting: Vec::new(),
            without_group: 0,
            pause: PAUSE_MIN,
            wake: Instant::now(),
            last: StoreError::Unavailable("no store answers".to_owned()),
        }
    }

    /// Nobody is asked and nobody is there to be asked.
    fn is_idle(&self) -> bool {
        self.next.is_empty() && self.waiting.is_empty() && self.asked.is_empty()
    }

    /// It is time: the next one to ask, if there is one.
    fn advance(&mut self, order: impl FnOnce() -> Vec<usize>) -> Option<usize> {
        let now = Instant::now();
        while !self.next.is_empty() {
            let at = self.next.remove(0);
            if !self.waiting.contains(&at) {
                self.asked.push(at);
                self.waiting.push(at);
                self.wake = now + TRY;
                return Some(at);
            }
        }
        self.next = order();
        self.asked.clear();
        self.without_group = 0;
        self.wake = now + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        None
    }
}
