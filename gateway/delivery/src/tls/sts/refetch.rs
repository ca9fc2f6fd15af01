//! Policies that are fetched again while the old ones hold: beside the mail, one at a time for a domain, and a few at the
//! same time in all. What finds no place is begun with a later message.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::task::{AbortHandle, JoinSet};

/// At the same time: a policy's host may take a minute to say nothing, and nobody waits for it.
const AT_ONCE_MAX: usize = 16;

/// What is under way; it ends with this.
#[derive(Default)]
pub(super) struct Refetches {
    running: Mutex<Running>,
}

#[derive(Default)]
struct Running {
    tasks: JoinSet<()>,
    domains: HashMap<String, AbortHandle>,
}

impl Refetches {
    /// Begins to fetch, unless that is under way for the domain or there are too many.
    pub(super) fn begin(&self, domain: &str, fetch: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.running.lock();
        let Running { tasks, domains } = &mut *running;
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "fetching an MTA-STS policy has died");
            }
        }
        domains.retain(|_, task| !task.is_finished());
        if domains.contains_key(domain) {
            return;
        }
        if domains.len() >= AT_ONCE_MAX {
            tracing::debug!(domain, "too many MTA-STS policies are fetched, this one has to wait");
            return;
        }
        domains.insert(domain.to_owned(), tasks.spawn(fetch));
    }

    /// Waits for all that are under way.
    #[cfg(test)]
    pub(super) async fn ended(&self) {
        let mut tasks = std::mem::take(&mut self.running.lock().tasks);
        while tasks.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn one_at_a_time_for_a_domain_and_a_few_in_all() {
        let refetches = Refetches::default();
        let (begun, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let begin = |domain: String| {
            let (begun, go) = (begun.clone(), go.clone());
            refetches.begin(&domain, async move {
                begun.fetch_add(1, Ordering::Relaxed);
                go.notified().await;
            });
        };
        (0..3).for_each(|_| begin("a.test".to_owned()));
        tokio::task::yield_now().await;
        assert_eq!(begun.load(Ordering::Relaxed), 1, "one for a domain");
        (0..100).for_each(|nth| begin(format!("{nth}.test")));
        tokio::task::yield_now().await;
        assert_eq!(begun.load(Ordering::Relaxed), AT_ONCE_MAX);
        go.notify_waiters();
        refetches.ended().await;
        begin("a.test".to_owned());
        tokio::task::yield_now().await;
        assert_eq!(begun.load(Ordering::Relaxed), AT_ONCE_MAX + 1, "one that has ended makes room");
        drop(refetches);
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&go), 1, "what is under way ends with its owner");
    }
}
