//! Writing at any replica: what another node leads is passed on to it, and tried again until it is committed.
//!
//! A leader dies, another one is elected, and meanwhile nobody leads: to whoever asked this is one slow request. It is
//! tried with the same id until its deadline, so that it is applied once, whatever became of earlier tries: an entry of
//! theirs comes before this one in the log, or never, and applying remembers what it answered.
//!
//! Only what another try may mend is tried again: that nobody leads, or somebody else; that a node cannot be reached, is
//! about to stop, or has no majority. Everything else is an answer.
//!
//! A request is passed on once: who is asked for another node commits it or says who leads. A leader that is silent is
//! asked whether it lives: if so, the commit is slow and goes on; else the request is taken elsewhere.

use std::time::Duration;

use securanet_model::{Execute, StoreError};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{
    batch::Outcome,
    group::Group,
    leader::{Leader, Pauses},
    metric,
    router::Router,
};

/// A leader that is silent for so long, and does not even say that it lives, has its requests taken elsewhere.
const SILENCE: Duration = Duration::from_secs(2);
/// What it gets, at the end of that time, to say that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_millis(700);

impl Router {
    /// Commits a request, wherever its group is led.
    pub(crate) async fn execute(&self, request: Execute) -> Outcome {
        let group = self.group(request.group)?;
        let patience = group.patience(&request)?;
        let until = Instant::now() + patience;
        let (mut pauses, mut leader, mut followed) = (Pauses::default(), Leader::of(&group.raft), false);
        // What is told when the time is over in the middle of a try.
        let mut last = "no answer in time".to_owned();
        loop {
            let why = match timeout_at(until, self.try_once(group, leader.as_ref(), &request)).await {
                Ok(Err(error @ (StoreError::NotLeader { .. } | StoreError::Unavailable(_)))) => error,
                Ok(answer) => return answer,
                Err(_) => return Err(late(group, patience, &last)),
            };
            last = why.to_string();
            // The clock was set while it waited: whoever leads refuses it now.
            group.patience(&request).map_err(|_| late(group, patience, &last))?;
            if group.batcher.is_closed() {
                return Err(StoreError::Draining);
            }
            if group.has_stopped() {
                return Err(group.stopped());
            }
            // Two nodes may each name the other: after one step at once there is a pause.
            let named = if followed { None } else { named_by(group, &why) };
            followed = named.is_some();
            if !followed {
                let paused = timeout_at(until, pauses.wait(group)).await;
                paused.map_err(|_| late(group, patience, &last))?;
            }
            leader = named.or_else(|| Leader::of(&group.raft));
        }
    }

    /// Commits here, or passes on to whoever leads.
    async fn try_once(&self, group: &Group, leader: Option<&Leader>, request: &Execute) -> Outcome {
        match leader {
            None => Err(StoreError::NotLeader { leader: None }),
            Some(leader) if leader.replica == group.replica_id() => {
                self.execute_here(group, request.clone(), None).await
            }
            Some(leader) => self.pass_on(group, leader, request).await,
        }
    }

    /// Lets a leader commit a request, as long as it lives and no other one is known.
    async fn pass_on(&self, group: &Group, leader: &Leader, request: &Execute) -> Outcome {
        metric::request_passed_on(group.id());
        // The leader gets from here what it does not have.
        self.hold_those_here(request).await?;
        let silent = async {
            loop {
                sleep(SILENCE - SIGN_OF_LIFE).await;
                let asked = self.network.member_state(&leader.node, group.id(), leader.replica);
                if !matches!(timeout(SIGN_OF_LIFE, asked).await, Ok(Ok(_))) {
                    return;
                }
            }
        };
        tokio::select! {
            answer = self.network.execute(&leader.node, request) => match answer {
                // It is that node which drains, not this one: somebody else will lead.
                Err(StoreError::Draining) => Err(StoreError::Unavailable(format!("node {:?} drains", leader.node))),
                answer => answer,
            },
            another = Leader::another(&group.raft, leader.replica) => {
                Err(StoreError::NotLeader { leader: Some(another.node) })
            }
            () = silent => Err(StoreError::Unavailable(format!("node {:?} is silent", leader.node))),
        }
    }
}

/// The leader that an error names, unless it is this node, which would know.
fn named_by(group: &Group, error: &StoreError) -> Option<Leader> {
    let StoreError::NotLeader { leader: Some(node) } = error else { return None };
    group.member_on(node).filter(|leader| leader.replica != group.replica_id())
}

fn late(group: &Group, patience: Duration, why: &str) -> StoreError {
    StoreError::Unavailable(format!("no commit in group {} within {patience:?}: {why}", group.id()))
}
