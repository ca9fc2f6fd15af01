//! One request, several stores: whom to ask first, whom next, and when to give up.
//!
//! Stores of the gateway's own site are asked first, and among them the one that answered for the group last: any store
//! answers, and commits wherever the group is led. One that says who leads is followed at once. One that has not answered
//! within 700 ms stays asked while another is asked too: a request that was committed twice under one id is applied once,
//! and a question does no harm. One that was outrun so is asked after the others for some seconds. When all have been asked there is a pause, which doubles up to 400 ms. Stores that are known
//! to be gone are not asked; when all are gone, the first that comes back is.

use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, future::select_all, stream::FuturesUnordered};
use parking_lot::{Mutex, RwLock};
use securanet_model::{GroupId, StoreError};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::node::{Miss, StoreNode};
use crate::metric;

/// A store that does not answer in this time is not waited for alone.
const TRY: Duration = Duration::from_millis(700);
/// Between two rounds over all stores.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// All stores, and who answered for which group last.
#[derive(Default)]
pub(crate) struct Stores {
    state: RwLock<State>,
    leaders: Mutex<HashMap<GroupId, usize>>,
    /// Counts how often the list has changed.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// By place; none where one has gone. Places are not given again: they grow as slowly as clusters change.
    nodes: Vec<Option<Arc<StoreNode>>>,
    /// The names of those in this gateway's site.
    near: BTreeSet<String>,
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
    /// From now on there are these stores; `make` makes those that are new.
    pub(crate) fn set<E>(
        &self,
        addresses: &[String],
        make: impl Fn(&str) -> Result<Arc<StoreNode>, E>,
    ) -> Result<(), E> {
        let mut state = self.state.write();
        let is_there = |address: &String| state.nodes.iter().flatten().any(|node| node.address() == address);
        let new: Result<Vec<_>, E> =
            addresses.iter().filter(|address| !is_there(address)).map(|address| make(address).map(Some)).collect();
        let new = new?;
        let mut changed = !new.is_empty();
        for slot in &mut state.nodes {
            changed |= slot.take_if(|node| !addresses.iter().any(|address| address == node.address())).is_some();
        }
        state.nodes.extend(new);
        drop(state);
        if changed {
            self.changes.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    /// From now on the stores of these names are asked first.
    pub(crate) fn set_near(&self, names: BTreeSet<String>) {
        self.state.write().near = names;
    }

    /// Wakes when there are other stores.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// How many places there are.
    pub(crate) fn places(&self) -> usize {
        self.state.read().nodes.len()
    }

    /// The store at a place; none where one has gone.
    pub(crate) fn at(&self, at: usize) -> Option<Arc<StoreNode>> {
        self.state.read().nodes.get(at).cloned().flatten()
    }

    /// All stores, the best first.
    pub(crate) fn nodes(&self) -> Vec<Arc<StoreNode>> {
        self.sorted(None).into_iter().map(|(_, node)| node).collect()
    }

    /// Those to ask now, the best first.
    pub(crate) fn order(&self, group: GroupId) -> Vec<usize> {
        let last = self.leaders.lock().get(&group).copied();
        self.sorted(last).into_iter().filter(|(_, node)| node.is_reachable()).map(|(at, _)| at).collect()
    }

    fn sorted(&self, last: Option<usize>) -> Vec<(usize, Arc<StoreNode>)> {
        let state = self.state.read();
        let there = state.nodes.iter().enumerate().filter_map(|(at, node)| Some((at, node.clone()?)));
        let mut nodes: Vec<_> = there.collect();
        nodes.sort_by_cached_key(|(at, node)| (!node.is_swift(), !node.is_one_of(&state.near), Some(*at) != last, *at));
        nodes
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
                match self.at(at) {
                    None => round.waiting.retain(|other| *other != at),
                    Some(node) => {
                        let answer = call(node.clone());
                        tries.push(async move { (at, node, answer.await) });
                    }
                }
            }
            let wake = round.wake;
            tokio::select! {
                Some((at, node, outcome)) = tries.next() => {
                    round.waiting.retain(|other| *other != at);
                    match outcome {
                        Ok(done) => {
                            self.leads(group, at);
                            round.waiting.iter().filter_map(|other| self.at(*other)).for_each(|outrun| outrun.was_slow());
                            return Ok(done);
                        }
                        Err(Miss::Final(error)) => return Err(error),
                        Err(miss) => {
                            metric::store_missed(node.address());
                            node.was_slow();
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
                let leader = self.sorted(None).into_iter().find(|(_, node)| node.is(&name)).map(|(at, _)| at);
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
                if round.without_group >= self.nodes().len() {
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

    /// Ends when a store is there that was not, or others are looked for.
    async fn one_comes(&self) {
        let mut changes = self.changes();
        let coming = self.nodes().into_iter().map(|node| {
            Box::pin(async move {
                // The node lives as long as this.
                let _ = node.watch_reachable().wait_for(|reachable| *reachable).await;
            })
        });
        let coming: Vec<_> = coming.collect();
        let comes = async {
            if coming.is_empty() {
                std::future::pending::<()>().await;
            }
            select_all(coming).await;
        };
        tokio::select! {
            () = comes => {}
            _ = changes.changed() => {}
        }
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
