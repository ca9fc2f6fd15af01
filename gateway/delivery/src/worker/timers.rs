//! What else is due in a group's queue: reports to senders, probes of dead destinations, leases that ended, items to
//! be forgotten.
//!
//! A timer is due until what it asks for is committed, so nothing is remembered here but what is under way. One that
//! fails is tried again after a pause. Whoever else fires the same timer does no harm: the queue tells each sender once.
//!
//! Each kind has room of its own: hosts that take a probe and never speak, or reports that cannot be made, do not keep
//! an ended lease from being taken over. And what was fired rests a moment, whatever came of it: the queue goes by the
//! group's clock, and where ours is ahead it would be asked for the same again and again.

use std::{sync::Arc, time::Duration};

use securanet_gateway::model::{
    StoreError, UnixMillis,
    outbound::{OutboundCommand, Timer},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Core, bounce, queue::Queue};
use crate::metric;

/// A timer that failed is left alone for so long.
const PAUSE: Duration = Duration::from_secs(5);
/// One that was fired is not fired again sooner.
const REST: Duration = Duration::from_secs(1);
/// Timers asked for at a time; the queue's own limit.
const ROWS_MAX: usize = 1000;

/// What shares room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lane {
    /// Leases and what is to be forgotten: commits and nothing else.
    Queue,
    /// Reports: the directory, the store, a commit.
    Tell,
    /// Probes: the world, for up to half a minute each.
    Probe,
}

impl Lane {
    const ALL: [Self; 3] = [Self::Queue, Self::Tell, Self::Probe];

    const fn of(timer: &Timer) -> Self {
        match timer {
            Timer::Lease { .. } | Timer::Forget => Self::Queue,
            Timer::End { .. } | Timer::Delay { .. } => Self::Tell,
            Timer::Probe { .. } => Self::Probe,
        }
    }

    /// Timers of a group that are fired at the same time.
    const fn at_once_max(self) -> usize {
        match self {
            Self::Queue => 8,
            Self::Tell | Self::Probe => 32,
        }
    }
}

/// The timers of one group.
pub(crate) struct Timers {
    core: Arc<Core>,
    queue: Queue,
    under_way: Vec<Timer>,
    /// What was fired not long ago, oldest first.
    resting: Vec<(Instant, Timer)>,
    tasks: JoinSet<Timer>,
}

impl Timers {
    pub(crate) fn new(core: Arc<Core>, queue: Queue) -> Self {
        Self { core, queue, under_way: Vec::new(), resting: Vec::new(), tasks: JoinSet::new() }
    }

    /// Whether of a kind as many are under way as may be.
    pub(crate) fn is_busy(&self) -> bool {
        Lane::ALL.into_iter().any(|lane| self.is_full(lane))
    }

    fn is_full(&self, lane: Lane) -> bool {
        self.under_way.iter().filter(|timer| Lane::of(timer) == lane).count() >= lane.at_once_max()
    }

    /// Fires what is due and neither under way nor resting.
    pub(crate) async fn begin(&mut self, now: UnixMillis) -> Result<(), StoreError> {
        while let Some(ended) = self.tasks.try_join_next() {
            self.end(ended);
        }
        self.resting.retain(|(fired, _)| fired.elapsed() < REST);
        // Those under way are still due, and so may those that rest be: as many more are asked for, of each kind.
        let known: usize = Lane::ALL.into_iter().map(Lane::at_once_max).sum::<usize>() * 4 + self.resting.len() * 2;
        let rows_max = u32::try_from(known.min(ROWS_MAX)).unwrap_or(u32::MAX);
        for timer in self.queue.timers(now, rows_max).await? {
            let is_known = self.under_way.contains(&timer) || self.resting.iter().any(|(_, rests)| *rests == timer);
            if is_known || self.is_full(Lane::of(&timer)) {
                continue;
            }
            self.under_way.push(timer.clone());
            let (core, queue) = (self.core.clone(), self.queue.clone());
            self.tasks.spawn(async move {
                if let Err(error) = fire(&core, &queue, &timer).await {
                    tracing::warn!(group = %queue.group(), ?timer, %error, "a timer of the outbound queue waits");
                    sleep(PAUSE).await;
                }
                timer
            });
        }
        Ok(())
    }

    /// Resolves when one has ended.
    pub(crate) async fn ended(&mut self) {
        match self.tasks.join_next().await {
            Some(ended) => self.end(ended),
            None => std::future::pending().await,
        }
    }

    fn end(&mut self, ended: Result<Timer, tokio::task::JoinError>) {
        match ended {
            Ok(timer) => {
                self.under_way.retain(|under_way| *under_way != timer);
                self.resting.push((Instant::now(), timer));
            }
            Err(error) => {
                metric::died("timer");
                // Nobody knows which one it was: begin all of them again.
                tracing::error!(group = %self.queue.group(), %error, "a timer of the outbound queue has died");
                self.tasks.abort_all();
                self.under_way.clear();
            }
        }
    }

    /// Breaks off what is under way: it is still due.
    pub(crate) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }
}

async fn fire(core: &Core, queue: &Queue, timer: &Timer) -> Result<(), StoreError> {
    match timer {
        Timer::End { item } => bounce::tell_end(core, queue, *item).await,
        Timer::Delay { item } => bounce::tell_delay(core, queue, *item).await,
        Timer::Probe { destination } => core.probe(queue, destination).await,
        Timer::Lease { epoch } => {
            queue.repeat(OutboundCommand::TakeOver { epoch: *epoch }).await?;
            metric::took_over();
            Ok(())
        }
        Timer::Forget => queue.repeat(OutboundCommand::Forget).await.map(drop),
    }
}
