//! The right to take and to pass the final dot, as its holder counts it: on its own clock, from the moment before it
//! asked, less a second. So it always ends here before it ends at the queue, whatever the clocks say.

use std::time::Duration;

use securanet_gateway::model::limits::OUTBOUND_LEASE_MILLIS;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// How long a holder counts on it.
pub(crate) const HELD_FOR: Duration = Duration::from_millis(OUTBOUND_LEASE_MILLIS - 1000);
/// How often it is renewed.
pub(crate) const RENEWED_EVERY: Duration = Duration::from_secs(2);

/// A lease of one group.
#[derive(Debug)]
pub(crate) struct Lease {
    epoch: u64,
    ends: watch::Sender<Instant>,
}

impl Lease {
    /// A lease that was asked for at `asked`.
    pub(crate) fn new(epoch: u64, asked: Instant) -> Self {
        Self { epoch, ends: watch::Sender::new(asked + HELD_FOR) }
    }

    /// Its number at the queue.
    pub(crate) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether its holder may count on it.
    pub(crate) fn is_living(&self) -> bool {
        Instant::now() < *self.ends.borrow()
    }

    /// How long its holder may count on it.
    pub(crate) fn left(&self) -> Duration {
        self.ends.borrow().saturating_duration_since(Instant::now())
    }

    /// It was renewed by what was asked at `asked`. What has ended stays ended: somebody may have acted on that.
    pub(crate) fn renewed(&self, asked: Instant) {
        if self.is_living() {
            self.ends.send_modify(|ends| *ends = (*ends).max(asked + HELD_FOR));
        }
    }

    /// The queue says that it has ended.
    pub(crate) fn end(&self) {
        self.ends.send_modify(|ends| *ends = (*ends).min(Instant::now()));
    }

    /// Resolves when it has ended.
    pub(crate) async fn ended(&self) {
        let mut ends = self.ends.subscribe();
        loop {
            let end = *ends.borrow_and_update();
            if Instant::now() >= end {
                return;
            }
            tokio::select! {
                () = sleep_until(end) => {}
                // The sender is `self`: it is not gone while this waits.
                _ = ends.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_counted_from_before_it_was_asked_for_less_a_second() {
        let lease = Lease::new(1, Instant::now());
        advance(Duration::from_millis(4999)).await;
        assert!(lease.is_living());
        advance(Duration::from_millis(1)).await;
        assert!(!lease.is_living());
        lease.renewed(Instant::now());
        assert!(!lease.is_living(), "what has ended stays ended");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_its_end_waits_through_renewals() {
        let lease = Lease::new(1, Instant::now());
        let start = Instant::now();
        tokio::join!(lease.ended(), async {
            tokio::time::sleep(RENEWED_EVERY).await;
            lease.renewed(Instant::now());
        });
        assert_eq!(start.elapsed(), RENEWED_EVERY + HELD_FOR);
    }

    #[tokio::test(start_paused = true)]
    async fn the_queues_word_ends_it_at_once() {
        let lease = Lease::new(1, Instant::now());
        lease.end();
        assert!(!lease.is_living());
        lease.ended().await;
    }
}
