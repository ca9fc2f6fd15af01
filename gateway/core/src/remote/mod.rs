//! The stores over the network: the implementation of [`Store`] for a process that is no store itself.
//!
//! It knows stores by their addresses and reaches each over the cluster's link. Its promise is that of the store in this
//! process: what is acknowledged is durable, a request with an id is applied once, a watch never misses the last change.
//! What differs is that a store may be gone: then another is asked, with one deadline for all tries together, and a caller
//! sees [`StoreError::Unavailable`] only when that has passed. It keeps nothing that a store could not tell it again.

mod content;
mod keeper;
mod node;
mod sink;
mod topics;
mod tries;

use std::{future::Future, sync::Arc, time::Duration};

use securanet_model::{
    EmailId, Execute, Freshness, GroupId, Query, StoreError, TenantId, account::AccountRef, limits, request::Topic,
};
use securanet_wire::{
    answer_from_wire,
    content::Source,
    execute_to_wire,
    link::{Link, LinkError},
    outcome_from_wire, query_to_wire,
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::{Instant, interval},
};
use tonic::Request;

use self::{
    content::RemoteContent,
    node::{Miss, StoreNode, misunderstood, until},
    sink::RemoteSink,
    topics::Topics,
    tries::Stores,
};
use crate::{
    clock,
    store::{Answered, BoxFuture, Content, ContentSink, Executed, Store},
};

/// A question with all its tries; longer than any failover takes.
const QUERY_PATIENCE: Duration = Duration::from_secs(10);
/// A message waits for a store that takes it in: a restart of the only one.
const PUT_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks of [`put`](Store::put) whether a store takes mail in.
const PUT_PAUSE: Duration = Duration::from_millis(200);
/// Topics that nobody watches any more are given up this often.
const SWEEP_TICKS: u32 = 30;

/// The stores of the cluster.
pub struct RemoteStore {
    link: Link,
    stores: Arc<Stores>,
    topics: Arc<Topics>,
}

impl RemoteStore {
    /// Stores at these addresses (`host:port`), and what keeps in touch with them: run it for as long as the store is
    /// used. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`LinkError::Address`].
    pub fn new(
        link: &Link,
        addresses: &[String],
    ) -> Result<(Arc<Self>, impl Future<Output = ()> + Send + use<>), LinkError> {
        let (stores, topics) = (Arc::<Stores>::default(), Arc::new(Topics::new()));
        let store = Arc::new(Self { link: link.clone(), stores: stores.clone(), topics: topics.clone() });
        store.set_stores(addresses)?;
        Ok((store, keep_in_touch(stores, topics)))
    }

    /// From now on the cluster has stores at these addresses. Those that were known stay connected; one that is not named
    /// any more is asked nothing from now on.
    ///
    /// # Errors
    /// [`LinkError::Address`]: then nothing was changed.
    pub fn set_stores(&self, addresses: &[String]) -> Result<(), LinkError> {
        self.stores.set(addresses, |address| StoreNode::new(&self.link, address).map(Arc::new))
    }

    /// From now on the stores of these names, which are in this gateway's site, are asked first and get its mail.
    pub fn set_near(&self, names: impl IntoIterator<Item = String>) {
        self.stores.set_near(names.into_iter().collect());
    }

    /// The addresses of the stores that cannot be reached right now.
    #[must_use]
    pub fn unreachable(&self) -> Vec<String> {
        let gone = self.stores.nodes().into_iter().filter(|node| !node.is_reachable());
        gone.map(|node| node.address().to_owned()).collect()
    }

    async fn begin(
        &self,
        tenant: TenantId,
        trace: Vec<u8>,
        size_hint_bytes: Option<u64>,
    ) -> Result<RemoteSink, StoreError> {
        let over = Instant::now() + PUT_PATIENCE;
        loop {
            let mut last = self.accepting().err();
            for node in self.stores.nodes().into_iter().filter(|node| node.accepting().is_ok()) {
                match RemoteSink::begin(&node, tenant, trace.clone(), size_hint_bytes).await {
                    Ok(sink) => return Ok(sink),
                    Err(Miss::Final(error)) if !matches!(error, StoreError::DiskFull { .. }) => return Err(error),
                    Err(miss) => last = Some(miss.into_error()),
                }
            }
            match last {
                // It may come back; a full disk does not get empty so soon.
                Some(StoreError::Unavailable(_)) | None if Instant::now() < over => tokio::time::sleep(PUT_PAUSE).await,
                last => return Err(last.unwrap_or(StoreError::Busy)),
            }
        }
    }
}

async fn keep_in_touch(stores: Arc<Stores>, topics: Arc<Topics>) {
    let mut keepers = Keepers { tasks: JoinSet::new(), by_place: Vec::new() };
    let mut changes = stores.changes();
    let mut ticks = interval(Duration::from_secs(1));
    let mut count = 0_u32;
    loop {
        changes.mark_unchanged();
        keepers.look(&stores, &topics);
        tokio::select! {
            _ = ticks.tick() => {}
            // The sender lives as long as the stores.
            Ok(()) = changes.changed() => continue,
        }
        topics.tick();
        count = count.wrapping_add(1);
        if count.is_multiple_of(SWEEP_TICKS) {
            topics.sweep();
        }
    }
}

/// What keeps in touch with each store.
struct Keepers {
    tasks: JoinSet<()>,
    /// None where a store has gone.
    by_place: Vec<Option<AbortHandle>>,
}

impl Keepers {
    /// Begins with stores that are new, and ends with those that have gone.
    fn look(&mut self, stores: &Stores, topics: &Arc<Topics>) {
        while self.tasks.try_join_next().is_some() {}
        for _ in self.by_place.len()..stores.places() {
            let at = topics.add_store();
            let task = stores.at(at).map(|node| self.tasks.spawn(keeper::keep(at, node, topics.clone())));
            self.by_place.push(task);
        }
        for (at, task) in self.by_place.iter_mut().enumerate() {
            if stores.at(at).is_none()
                && let Some(task) = task.take()
            {
                task.abort();
                topics.disconnected(at);
            }
        }
    }
}

async fn execute_at(node: Arc<StoreNode>, request: Arc<Execute>, patience: Duration) -> Result<Executed, Miss> {
    let mut message = Request::new(execute_to_wire(&request));
    message.set_timeout(patience);
    let reply = node.requests().execute(message).await.map_err(|status| Miss::of_status(node.address(), &status))?;
    match outcome_from_wire(&reply.into_inner()) {
        Ok(Ok((replies, index))) => Ok(Executed { replies, index }),
        Ok(Err(error)) => Err(Miss::of_store(error)),
        Err(error) => Err(Miss::Final(misunderstood(node.address(), &error))),
    }
}

async fn query_at(
    node: Arc<StoreNode>,
    group: GroupId,
    query: Arc<Query>,
    freshness: Freshness,
) -> Result<Answered, Miss> {
    let mut message = Request::new(query_to_wire(group, &query, freshness));
    message.set_timeout(QUERY_PATIENCE);
    let reply = node.requests().query(message).await.map_err(|status| Miss::of_status(node.address(), &status))?;
    match answer_from_wire(&reply.into_inner()) {
        Ok(Ok((answer, index))) => Ok(Answered { answer, index }),
        Ok(Err(error)) => Err(Miss::of_store(error)),
        Err(error) => Err(Miss::Final(misunderstood(node.address(), &error))),
    }
}

impl Store for RemoteStore {
    fn execute(&self, request: Execute) -> BoxFuture<'_, Result<Executed, StoreError>> {
        Box::pin(async move {
            // One that nobody waits for any more is sent all the same: its group says what became of an earlier try.
            let longest = Duration::from_millis(limits::REQUEST_DEADLINE_MILLIS_MAX);
            let patience = until(request.deadline, clock::now()).clamp(Duration::from_secs(1), longest);
            let (group, request) = (request.group, Arc::new(request));
            self.stores.ask(group, patience, |node| execute_at(node, request.clone(), patience)).await
        })
    }

    fn query(&self, group: GroupId, query: Query, freshness: Freshness) -> BoxFuture<'_, Result<Answered, StoreError>> {
        Box::pin(async move {
            let query = Arc::new(query);
            self.stores.ask(group, QUERY_PATIENCE, |node| query_at(node, group, query.clone(), freshness)).await
        })
    }

    fn watch(&self, topic: Topic) -> watch::Receiver<u64> {
        self.topics.watch(topic)
    }

    fn put(
        &self,
        tenant: TenantId,
        trace: Vec<u8>,
        size_hint_bytes: Option<u64>,
    ) -> BoxFuture<'_, Result<Box<dyn ContentSink>, StoreError>> {
        Box::pin(async move {
            let sink = self.begin(tenant, trace, size_hint_bytes).await?;
            Ok(Box::new(sink) as Box<dyn ContentSink>)
        })
    }

    fn open(
        &self,
        group: GroupId,
        account: AccountRef,
        email: EmailId,
    ) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        Box::pin(async move {
            let content = RemoteContent::open(self.stores.clone(), Source::Email(group, account, email)).await?;
            Ok(Box::new(content) as Box<dyn Content>)
        })
    }

    fn open_outbound(&self, group: GroupId, item: u64) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        Box::pin(async move {
            let content = RemoteContent::open(self.stores.clone(), Source::Outbound(group, item)).await?;
            Ok(Box::new(content) as Box<dyn Content>)
        })
    }

    fn accepting(&self) -> Result<(), StoreError> {
        let mut why = StoreError::Unavailable("there is no store".to_owned());
        for node in self.stores.nodes() {
            match node.accepting() {
                Ok(()) => return Ok(()),
                // It is not this process that goes down.
                Err(StoreError::Draining) => why = StoreError::Unavailable("the store is shutting down".to_owned()),
                Err(StoreError::Unavailable(_)) if matches!(why, StoreError::DiskFull { .. }) => {}
                Err(error) => why = error,
            }
        }
        Err(why)
    }
}
