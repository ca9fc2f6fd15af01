//! Makes the state of all groups durable from time to time, so that their logs can be purged.
//!
//! One flush serves all groups: they share an instance. It is due when enough was written, or when the oldest
//! write has waited long enough; until then a restart replays. Nothing written, nothing flushed: an idle node
//! keeps its disk asleep.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use securanet_kv::KeyValue;
use tokio::sync::Mutex;

use crate::{FatalHook, RaftError, metric, runtime, state::Replica};

/// When a flush is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlushPolicy {
    /// After this much was written, in octets: bounds the log on disk and the time of a replay.
    pub bytes: u64,
    /// When the oldest write is this old.
    pub age: Duration,
}

impl FlushPolicy {
    /// Whether a flush is due, with `bytes` written since the last one, the first of them `age` ago.
    #[must_use]
    pub fn is_due(&self, bytes: u64, age: Duration) -> bool {
        bytes > 0 && (bytes >= self.bytes || age >= self.age)
    }
}

/// Flushes the state of all groups.
pub(crate) struct Flusher {
    kv: Arc<dyn KeyValue>,
    replicas: Vec<Arc<Replica>>,
    unflushed_bytes: Arc<AtomicU64>,
    fatal: FatalHook,
    /// When something was first seen to be unflushed; also: one flush at a time.
    dirty_since: Mutex<Option<Instant>>,
}

impl Flusher {
    pub(crate) fn new(
        kv: Arc<dyn KeyValue>,
        replicas: Vec<Arc<Replica>>,
        unflushed_bytes: Arc<AtomicU64>,
        fatal: FatalHook,
    ) -> Self {
        Self { kv, replicas, unflushed_bytes, fatal, dirty_since: Mutex::new(None) }
    }

    /// Flushes if it is due; tells whether it did. Called once a second.
    pub(crate) async fn flush_if_due(&self, policy: FlushPolicy, now: Instant) -> Result<bool, RaftError> {
        let bytes = self.unflushed_bytes.load(Ordering::Relaxed);
        if bytes == 0 {
            return Ok(false);
        }
        let since = *self.dirty_since.lock().await.get_or_insert(now);
        if !policy.is_due(bytes, now.saturating_duration_since(since)) {
            return Ok(false);
        }
        self.flush().await.map(|()| true)
    }

    /// Makes everything applied so far durable.
    pub(crate) async fn flush(&self) -> Result<(), RaftError> {
        let mut dirty_since = self.dirty_since.lock().await;
        self.unflushed_bytes.store(0, Ordering::Relaxed);
        // Positions are read before the flush begins: what is applied meanwhile is not counted as durable.
        let positions: Vec<_> = self.replicas.iter().map(|replica| (replica, replica.position())).collect();
        let kv = self.kv.clone();
        let started = Instant::now();
        let flushed = runtime::spawn_blocking(move || kv.flush()).await;
        let flushed = flushed.map_err(|error| RaftError::Settings(format!("flushing was cancelled: {error}")))?;
        flushed.inspect_err(|error| (self.fatal)(error))?;
        metric::state_flushed(started.elapsed());
        for (replica, position) in positions {
            replica.set_flushed(position);
        }
        *dirty_since = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_is_due_by_size_or_by_age_and_never_for_nothing() {
        let policy = FlushPolicy { bytes: 100, age: Duration::from_secs(10) };
        let cases = [(0, 1000, false), (1, 0, false), (99, 9, false), (100, 0, true), (1, 10, true)];
        for (bytes, age_seconds, due) in cases {
            assert_eq!(policy.is_due(bytes, Duration::from_secs(age_seconds)), due, "{bytes} bytes, {age_seconds} s");
        }
    }
}
