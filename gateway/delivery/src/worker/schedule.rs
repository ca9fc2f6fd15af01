//! Which schedule of retries holds for a message: policies of its account, its domain, the cluster. What a route of this
//! node says goes before them ([`crate::route::Times`]).
//!
//! Answers are remembered until the directory changes, and not longer than a minute: a change is told by the store's
//! watch, and a watch may come from a replica that lags.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use securanet_gateway::{
    client::StoreClient,
    model::{
        AccountId, StoreError,
        directory::{DirectoryAnswer, DirectoryQuery},
        outbound::{Origin, Schedule},
        policy::{Scope, seconds_of},
        request::Topic,
    },
};
use tokio::{sync::watch, time::Instant};

const RETRY_AFTER: &str = "queue.retry_after";
const NO_SUCH_DOMAIN_RETRY_AFTER: &str = "queue.no_such_domain_retry_after";
const WARN_AFTER: &str = "queue.warn_after";

/// A lost wake-up is made good after this.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);
/// Accounts remembered; beyond it all are asked for again.
const REMEMBERED_MAX: usize = 10_000;

/// Asks for schedules.
pub(crate) struct Schedules {
    client: StoreClient,
    memory: Mutex<Memory>,
}

struct Memory {
    directory: watch::Receiver<u64>,
    since: Instant,
    /// By account; none: of the cluster.
    known: HashMap<Option<AccountId>, Arc<Schedule>>,
}

impl Schedules {
    pub(crate) fn new(client: StoreClient) -> Self {
        let directory = client.store().watch(Topic::Directory);
        let memory = Memory { directory, since: Instant::now(), known: HashMap::new() };
        Self { client, memory: Mutex::new(memory) }
    }

    /// The schedule of mail of this origin.
    ///
    /// # Errors
    /// [`StoreError`] of the directory.
    pub(crate) async fn of(&self, origin: &Origin) -> Result<Arc<Schedule>, StoreError> {
        let account = match origin {
            Origin::Account(account) => Some(*account),
            Origin::Report | Origin::Relay(_) | Origin::Forward(_) | Origin::Local | Origin::TlsReport => None,
        };
        if let Some(schedule) = self.memory.lock().recall(account) {
            return Ok(schedule);
        }
        let scope = account.map_or(Scope::Cluster, Scope::Account);
        let schedule = Arc::new(Schedule {
            retry_after: self.times(RETRY_AFTER, scope).await?,
            no_such_domain_retry_after: self.times(NO_SUCH_DOMAIN_RETRY_AFTER, scope).await?,
            warn_after: self.times(WARN_AFTER, scope).await?.first().copied().unwrap_or(0),
        });
        self.memory.lock().known.insert(account, schedule.clone());
        Ok(schedule)
    }

    async fn times(&self, key: &str, scope: Scope) -> Result<Vec<u32>, StoreError> {
        match self.client.look_up(DirectoryQuery::Policy(key.to_owned(), scope)).await? {
            DirectoryAnswer::Policy(Some((value, _))) => seconds_of(&value)
                .ok_or_else(|| StoreError::Internal(format!("policy {key}: {value:?} is no list of times"))),
            other => Err(StoreError::Internal(format!("policy {key} was answered with {other:?}"))),
        }
    }
}

impl Memory {
    fn recall(&mut self, account: Option<AccountId>) -> Option<Arc<Schedule>> {
        let changed = self.directory.has_changed().unwrap_or(false);
        if changed || self.since.elapsed() >= REMEMBERED_FOR || self.known.len() >= REMEMBERED_MAX {
            self.directory.mark_unchanged();
            self.since = Instant::now();
            self.known.clear();
        }
        self.known.get(&account).cloned()
    }
}
