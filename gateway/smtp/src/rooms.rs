//! Which domains are full: their quotas against the sum of what all shards hold for them.
//!
//! Gathered every ten seconds by one task, so a domain's quota is soft by the mail of that time; an account's is
//! exact, because apply checks it. Only domains that have a quota are kept, and the shards are asked only when there
//! is one. When a shard does not answer, the last sums stay.

use std::{collections::HashMap, sync::Arc, sync::OnceLock, time::Duration};

use securanet_gateway::{
    client::StoreClient,
    model::{
        Answer, DomainId, Freshness, GroupId, Query, StoreError,
        directory::{DirectoryAnswer, DirectoryQuery, Page, Quota},
        limits::DIRECTORY_LAG_MILLIS,
        request::Topic,
    },
};
use tokio::{sync::watch, task::AbortHandle};

/// Between two gatherings.
const EVERY: Duration = Duration::from_secs(10);
/// One gathering may take this long before the next one is begun.
const GATHERING_TIMEOUT: Duration = Duration::from_secs(30);
/// How old what a shard says it holds may be.
const USAGE_FRESHNESS: Freshness = Freshness::Within(DIRECTORY_LAG_MILLIS);
/// Domains asked for at a time.
const PAGE_ROWS: u32 = 1000;

/// What a domain with a quota holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Room {
    bytes: u64,
    messages: u64,
    quota: Quota,
}

impl Room {
    fn fits(&self, octets: u64) -> bool {
        fits(&self.quota, self.bytes, self.messages, octets)
    }
}

/// Whether one more message of so many octets fits a quota.
pub(crate) fn fits(quota: &Quota, bytes: u64, messages: u64, octets: u64) -> bool {
    quota.bytes_max.is_none_or(|max| bytes < max && octets <= max - bytes)
        && quota.messages_max.is_none_or(|max| messages < max)
}

type Rooms = Arc<HashMap<DomainId, Room>>;

/// The sums, and the task that gathers them; it ends with this value.
pub(crate) struct DomainRooms {
    store: StoreClient,
    rooms: watch::Sender<Rooms>,
    task: OnceLock<AbortHandle>,
}

impl DomainRooms {
    pub(crate) fn new(store: StoreClient) -> Self {
        Self { store, rooms: watch::Sender::new(Rooms::default()), task: OnceLock::new() }
    }

    /// Starts the task with the first connection: before that there may be no runtime.
    pub(crate) fn start(&self) {
        self.task.get_or_init(|| {
            let task = gather_forever(self.store.clone(), self.rooms.clone());
            tokio::spawn(task).abort_handle()
        });
    }

    /// Whether the domain takes one more message of so many octets.
    pub(crate) fn fits(&self, domain: DomainId, octets: u64) -> bool {
        self.rooms.borrow().get(&domain).is_none_or(|room| room.fits(octets))
    }
}

impl Drop for DomainRooms {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

async fn gather_forever(store: StoreClient, rooms: watch::Sender<Rooms>) {
    let changes = store.store().watch(Topic::Directory);
    let mut quotas: Option<(u64, HashMap<DomainId, Quota>)> = None;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let change = *changes.borrow();
        let known = quotas.take().filter(|(at, _)| *at == change).map(|(_, quotas)| quotas);
        match tokio::time::timeout(GATHERING_TIMEOUT, gather(&store, known)).await {
            Ok(Ok((limited, sums))) => {
                quotas = Some((change, limited));
                rooms.send_replace(Arc::new(sums));
            }
            Ok(Err(error)) => tracing::warn!(%error, "usage of domains could not be gathered"),
            Err(_) => tracing::warn!("usage of domains could not be gathered in time"),
        }
    }
}

type Gathered = (HashMap<DomainId, Quota>, HashMap<DomainId, Room>);

async fn gather(store: &StoreClient, known: Option<HashMap<DomainId, Quota>>) -> Result<Gathered, StoreError> {
    let quotas = match known {
        Some(quotas) => quotas,
        None => limited_domains(store).await?,
    };
    let mut rooms: HashMap<_, _> =
        quotas.iter().map(|(&domain, &quota)| (domain, Room { quota, ..Room::default() })).collect();
    if rooms.is_empty() {
        return Ok((quotas, rooms));
    }
    let shards = match store.look_up(DirectoryQuery::Cluster).await? {
        DirectoryAnswer::Cluster(cluster) => cluster.map_or(0, |cluster| cluster.shards),
        other => return Err(StoreError::Internal(format!("not the cluster: {other:?}"))),
    };
    for shard in 1..=shards {
        let answer = store.store().query(GroupId::new(shard), Query::DomainUsage, USAGE_FRESHNESS).await?.answer;
        let Answer::DomainUsage(usage) = answer else {
            return Err(StoreError::Internal(format!("not the usage: {answer:?}")));
        };
        for row in usage {
            if let Some(room) = rooms.get_mut(&row.domain) {
                room.bytes = room.bytes.saturating_add(row.bytes);
                room.messages = room.messages.saturating_add(row.messages);
            }
        }
    }
    Ok((quotas, rooms))
}

async fn limited_domains(store: &StoreClient) -> Result<HashMap<DomainId, Quota>, StoreError> {
    let mut quotas = HashMap::new();
    let mut after = None;
    loop {
        let page = Page { after, rows_max: PAGE_ROWS };
        let domains = match store.look_up(DirectoryQuery::Domains(page)).await? {
            DirectoryAnswer::Domains(domains) => domains,
            other => return Err(StoreError::Internal(format!("not domains: {other:?}"))),
        };
        let Some(last) = domains.last() else { return Ok(quotas) };
        after = Some(last.name.as_str().to_owned());
        let limited = domains.iter().filter(|domain| domain.quota != Quota::default());
        quotas.extend(limited.map(|domain| (domain.id, domain.quota)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_fits_up_to_the_last_octet_and_the_last_message() {
        let quota = Quota { bytes_max: Some(1000), messages_max: Some(10) };
        for (bytes, messages, octets, expect) in [
            (0, 0, 1000, true),
            (0, 0, 1001, false),
            (900, 9, 100, true),
            (900, 9, 101, false),
            (900, 10, 1, false),
            (1000, 0, 0, false),
            (2000, 0, 0, false),
        ] {
            assert_eq!(fits(&quota, bytes, messages, octets), expect, "{bytes} {messages} {octets}");
        }
        assert!(fits(&Quota::default(), u64::MAX, u64::MAX, u64::MAX));
    }
}
