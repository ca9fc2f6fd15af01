//! Delivers mail for several groups: one worker in each group that has a queue.
//!
//! A message for several groups is one item in one queue group, acknowledged there. This worker reads what is
//! pending, executes each delivery at its target under the delivery's key, and settles the key with what the
//! target answered, whatever that is. Until it has an answer it tries again, forever, with the same key: the
//! target applies a key once. Within a request's deadline the request is the same too, so that the answer to a
//! first try whose answer was lost is still the first one's.
//!
//! It is woken when an item is applied, and by a slow timer in case a wake-up was lost with a leader. Deliveries
//! under way are bounded for each target, so that a target without quorum holds up nobody else; nothing is kept
//! in memory that the queue does not have.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use securanet_model::{
    Answer, Command, Execute, Freshness, GroupId, Query, Reply, RequestId, StoreError,
    account::AccountRefusal,
    delivery::{
        Deliver, DeliverReply, Delivered, DeliveryKey, PendingDelivery, QueueAnswer, QueueCommand, QueueQuery,
        QueueReply,
    },
    limits,
};
use tokio::{
    sync::{Notify, watch},
    task::{JoinError, JoinSet},
    time::{sleep, timeout},
};

use crate::{Settings, metric, router::Router, runtime, settings::Clock};

/// Looks at the queue at least this often, whoever forgot to wake us.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Pause before the second try of a delivery; doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause between tries: a group without quorum comes back within seconds, or takes minutes.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How far away the deadline of its requests is. The target's leader may have a clock that is behind this node's, and it
/// refuses what is further away than requests may be.
const DEADLINE_MILLIS: u64 = limits::REQUEST_DEADLINE_MILLIS_MAX - limits::COMMIT_TIMEOUT_MILLIS;
/// Most rows that one look may ask for.
const LOOK_ROWS_MAX: usize = 1000;

/// The worker of one queue group.
pub(crate) struct FanOut {
    deliveries: Deliveries,
    per_target_max: usize,
    wake: Arc<Notify>,
    draining: watch::Receiver<bool>,
    under_way: BTreeSet<Place>,
    tasks: JoinSet<Place>,
    /// Deliveries that have ended since the queue was last looked at.
    ended: usize,
}

/// Where a delivery goes: target and sequence.
type Place = (GroupId, u64);

/// What a single delivery needs.
#[derive(Clone)]
struct Deliveries {
    queue: GroupId,
    router: Arc<Router>,
    clock: Clock,
}

impl FanOut {
    pub(crate) fn new(
        queue: GroupId,
        router: Arc<Router>,
        settings: &Settings,
        wake: Arc<Notify>,
        draining: watch::Receiver<bool>,
    ) -> Self {
        Self {
            deliveries: Deliveries { queue, router, clock: settings.clock.clone() },
            per_target_max: settings.fan_out_per_target_max,
            wake,
            draining,
            under_way: BTreeSet::new(),
            tasks: JoinSet::new(),
            ended: 0,
        }
    }

    /// Works until the node drains; what is under way then is repeated after the next start.
    pub(crate) async fn run(mut self) {
        tokio::select! {
            () = self.deliveries.router.wait_ready(self.deliveries.queue) => {}
            _ = self.draining.wait_for(|draining| *draining) => return,
        }
        loop {
            self.begin_more().await;
            if self.wait().await == Wait::Draining {
                return;
            }
        }
    }

    /// Waits until looking at the queue is worth while.
    async fn wait(&mut self) -> Wait {
        loop {
            let idle = self.tasks.is_empty();
            let ended = tokio::select! {
                _ = self.draining.wait_for(|draining| *draining) => return Wait::Draining,
                () = self.wake.notified() => return Wait::Look,
                () = sleep(LOOK_AGAIN) => return Wait::Look,
                Some(ended) = self.tasks.join_next(), if !idle => ended,
            };
            self.end(ended);
            // Not at each end: a look reads what is under way too.
            if self.ended * 2 >= self.per_target_max || self.tasks.is_empty() {
                return Wait::Look;
            }
        }
    }

    fn end(&mut self, ended: Result<Place, JoinError>) {
        self.ended += 1;
        match ended {
            Ok(place) => drop(self.under_way.remove(&place)),
            Err(error) => {
                // Nobody knows which one it was: begin all of them again, under their keys.
                tracing::error!(group = %self.deliveries.queue, %error, "a fan-out delivery has died");
                self.tasks.abort_all();
                self.under_way.clear();
            }
        }
    }

    /// Looks at the queue and begins deliveries, up to the bound of each target.
    async fn begin_more(&mut self) {
        self.ended = 0;
        let (queue, router) = (self.deliveries.queue, &self.deliveries.router);
        // Any replica could read it; one of them works it off.
        if !router.leads(queue) {
            return;
        }
        // Targets take turns in the answer, so this is enough for each of them.
        let rows = (self.per_target_max * router.groups_count()).min(LOOK_ROWS_MAX);
        let rows_max = u32::try_from(rows).unwrap_or(u32::MAX);
        let query = Query::Queue(QueueQuery::Pending { rows_max });
        let pending = match router.query(queue, query, Freshness::Now).await {
            Ok((Answer::Queue(QueueAnswer::Pending(pending)), _)) => pending,
            Ok((other, _)) => return tracing::error!(group = %queue, ?other, "the engine answered out of turn"),
            // The timer looks again; a new leader looks by itself.
            Err(error) => return tracing::debug!(group = %queue, %error, "the queue cannot be read"),
        };
        for item in pending {
            let Some(key) = item.deliver.key else {
                tracing::error!(group = %queue, "a pending delivery has no key");
                continue;
            };
            let to_target = self.under_way.range((item.target, 0)..=(item.target, u64::MAX)).count();
            if to_target < self.per_target_max && self.under_way.insert((item.target, key.sequence)) {
                let deliveries = self.deliveries.clone();
                self.tasks.spawn(async move { deliveries.deliver(item, key).await });
            }
        }
    }
}

/// How waiting ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wait {
    Look,
    Draining,
}

impl Deliveries {
    /// Delivers one item and settles it; ends when the queue knows.
    async fn deliver(self, item: PendingDelivery, key: DeliveryKey) -> Place {
        let target = item.target;
        let reply = self.execute_until_answered(target, Command::Deliver(item.deliver.clone())).await;
        if matches!(reply, Reply::Deliver(DeliverReply::AlreadyApplied)) {
            metric::delivery_repeated(self.queue);
        }
        let refused = match outcome(&item.deliver, reply) {
            Ok(refused) => refused,
            Err(wrong) => {
                // Settling would lose the mail, trying at once would spin: the next look tries again.
                tracing::error!(queue = %self.queue, %target, sequence = key.sequence, wrong, "a fan-out delivery is stuck");
                sleep(PAUSE_MAX).await;
                return (target, key.sequence);
            }
        };
        let settle = QueueCommand::Settle { target, sequence: key.sequence, refused };
        match self.execute_until_answered(self.queue, Command::Queue(settle)).await {
            Reply::Queue(QueueReply::Settled) => {}
            other => tracing::error!(queue = %self.queue, ?other, "the queue did not settle a delivery"),
        }
        (target, key.sequence)
    }

    /// Executes one command until there is an answer to it, however long that takes.
    async fn execute_until_answered(&self, group: GroupId, command: Command) -> Reply {
        let mut pause = PAUSE_MIN;
        let mut request = self.request(group, command);
        loop {
            let patience = Duration::from_millis(limits::COMMIT_TIMEOUT_MILLIS);
            let tried = timeout(patience, self.router.execute(request.clone())).await;
            match tried {
                Ok(Ok((mut replies, _))) => match replies.pop() {
                    Some(Reply::Unknown) | None => {}
                    Some(reply) => return reply,
                },
                Ok(Err(error)) => self.trace(group, &error),
                Err(_) => {}
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
            let left_millis = request.deadline.millis_since((self.clock)());
            if left_millis < limits::COMMIT_TIMEOUT_MILLIS
                && let Some(command) = request.commands.pop()
            {
                request = self.request(group, command);
            }
        }
    }

    fn request(&self, group: GroupId, command: Command) -> Execute {
        let deadline = (self.clock)().plus_millis(DEADLINE_MILLIS);
        let request = RequestId::new(runtime::fresh_id());
        Execute { group, request, deadline, commands: vec![command] }
    }

    fn trace(&self, group: GroupId, error: &StoreError) {
        match error {
            StoreError::Unavailable(_) | StoreError::Busy | StoreError::Draining | StoreError::NotLeader { .. } => {
                tracing::debug!(queue = %self.queue, %group, %error, "fan-out waits");
            }
            _ => tracing::error!(queue = %self.queue, %group, %error, "fan-out is refused, it tries again"),
        }
    }
}

/// The recipients that the target refused, with their positions; an error when the delivery cannot be settled.
fn outcome(deliver: &Deliver, reply: Reply) -> Result<Vec<(u32, AccountRefusal)>, &'static str> {
    let Reply::Deliver(reply) = reply else { return Err("the target answered out of turn") };
    match reply {
        DeliverReply::Outcomes(outcomes) if outcomes.len() == deliver.to.len() => {
            let refused = (0..).zip(outcomes).filter_map(|(position, delivered)| match delivered {
                Delivered::Refused(refusal) => Some((position, refusal)),
                Delivered::Stored { .. } | Delivered::Repeat => None,
            });
            Ok(refused.collect())
        }
        DeliverReply::Outcomes(_) => Err("the target answered for other recipients"),
        // An earlier try of ours, and nobody was refused: the target answers refusals again.
        DeliverReply::AlreadyApplied => Ok(Vec::new()),
        // No queue gives out a sequence beyond the window of its own watermark, and the target's is not below that: so it
        // is below the target's, and was settled before. Only a queue that was rebuilt from an old replica asks again.
        DeliverReply::KeyRefused if deliver.key.is_some_and(is_in_own_window) => Ok(Vec::new()),
        DeliverReply::KeyRefused => Err("the target refuses the key"),
    }
}

const fn is_in_own_window(key: DeliveryKey) -> bool {
    key.sequence.saturating_sub(key.settled_below) < limits::FANOUT_WINDOW_MAX
}

#[cfg(test)]
mod tests {
    use securanet_model::{
        content::{NewMessage, Sealed},
        delivery::QuotaRule,
    };

    use super::*;

    #[test]
    fn a_key_that_can_only_be_settled_already_is_settled_and_another_refused_one_is_not() {
        let refused = |sequence| {
            let message = NewMessage {
                size_bytes: 1,
                recipe: Sealed::plain(1, Vec::new()),
                blobs: Vec::new(),
                summary: Sealed::plain(1, Vec::new()),
                thread_keys: Vec::new(),
                internal_date: None,
            };
            let key = Some(DeliveryKey { queue: GroupId::new(1), sequence, settled_below: 5 });
            let deliver = Deliver { key, message, to: Vec::new(), quota: QuotaRule::Admitted };
            outcome(&deliver, Reply::Deliver(DeliverReply::KeyRefused))
        };
        assert_eq!(refused(5), Ok(Vec::new()));
        assert_eq!(refused(4 + limits::FANOUT_WINDOW_MAX), Ok(Vec::new()));
        assert!(refused(5 + limits::FANOUT_WINDOW_MAX).is_err(), "beyond its window: it may not be applied anywhere");
    }
}
