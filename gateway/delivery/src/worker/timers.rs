//! What else is due in a group's queue: reports to senders, probes of dead destinations, leases that ended, items to
//! be forgotten.
//!
//! A timer is due until what it asks for is committed, so nothing is remembered here but what is under way. One that
//! fails is tried again after a pause. Whoever else fires the same timer does no harm: the queue tells each sender once.

use std::{sync::Arc, time::Duration};

use securanet_gateway::model::{
    StoreError, UnixMillis,
    outbound::{OutboundCommand, Timer},
};
use tokio::{task::JoinSet, time::sleep};

use super::{Core, bounce, queue::Queue};
use crate::metric;

/// Timers of a group that are fired at the same time.
const AT_ONCE_MAX: usize = 32;
/// A timer that failed is left alone for so long.
const PAUSE: Duration = Duration::from_secs(5);

/// The timers of one group.
pub(crate) struct Timers {
    core: Arc<Core>,
    queue: Queue,
    under_way: Vec<Timer>,
    tasks: JoinSet<Timer>,
}

impl Timers {
    pub(crate) fn new(core: Arc<Core>, queue: Queue) -> Self {
        Self { core, queue, under_way: Vec::new(), tasks: JoinSet::new() }
    }

    /// Whether as many are under way as may be.
    pub(crate) fn is_busy(&self) -> bool {
        self.under_way.len() >= AT_ONCE_MAX
    }

    /// Fires what is due and not under way.
    pub(crate) async fn begin(&mut self, now: UnixMillis) -> Result<(), StoreError> {
        while let Some(ended) = self.tasks.try_join_next() {
            self.end(ended);
        }
        // Those under way are still due, so as many more are asked for.
        let rows_max = u32::try_from(AT_ONCE_MAX * 2).unwrap_or(u32::MAX);
        for timer in self.queue.timers(now, rows_max).await? {
            if self.is_busy() {
                break;
            }
            if !self.under_way.contains(&timer) {
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
            Ok(timer) => self.under_way.retain(|under_way| *under_way != timer),
            Err(error) => {
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
