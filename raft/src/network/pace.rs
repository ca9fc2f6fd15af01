//! How fast bulk traffic goes: what nobody waits for must not hold up what somebody does.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Octets per second, shared by all clones.
#[derive(Clone)]
pub(crate) struct Pace {
    bytes_per_second: u64,
    /// When the next octet may go.
    free_at: Arc<Mutex<Option<Instant>>>,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), free_at: Arc::default() }
    }

    /// Takes room for `bytes`; how long to wait before they go.
    fn take(&self, bytes: usize, now: Instant) -> Duration {
        let mut free_at = self.free_at.lock();
        let begin = free_at.map_or(now, |free_at| free_at.max(now));
        let took = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        *free_at = Some(begin + took);
        begin.saturating_duration_since(now)
    }

    /// Waits until `bytes` may go.
    pub(crate) async fn wait(&self, bytes: usize) {
        let wait = self.take(bytes, Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_later_waits_for_what_went_before_and_idle_time_is_not_saved_up() {
        let (pace, now) = (Pace::new(1000), Instant::now());
        let other = pace.clone();
        assert_eq!(pace.take(500, now), Duration::ZERO);
        assert_eq!(other.take(1000, now), Duration::from_millis(500));
        assert_eq!(pace.take(1, now + Duration::from_millis(1000)), Duration::from_millis(500));
        let later = now + Duration::from_secs(60);
        assert_eq!(pace.take(1000, later), Duration::ZERO);
        assert_eq!(pace.take(1000, later), Duration::from_secs(1));
    }
}
