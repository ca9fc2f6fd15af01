//! The topics that a peer watches, and what it is told.

use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc, time::Duration};

use futures::{
    Stream, StreamExt,
    future::{AbortHandle, Abortable, Aborted},
    stream::{self, FuturesUnordered},
};
use securanet_gateway::{
    connection::Shutdown,
    model::{StoreError, request::Topic},
    store::Store,
};
use securanet_wire::{
    proto::{WatchEvent, WatchRequest},
    watching::{self, Event, TOPICS_MAX, Wish},
};
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval},
};
use tonic::{Status, Streaming};

use super::{admission::Admitted, invalid};

/// How soon a peer hears that a disk is full.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How often it hears that all is well.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Ends with the next change of its topic; with nothing when there will be none.
type Waking = Pin<Box<dyn Future<Output = Result<Option<(Topic, watch::Receiver<u64>)>, Aborted>> + Send>>;

/// One stream of watches.
pub(crate) struct Watching {
    store: Arc<dyn Store>,
    wishes: Streaming<WatchRequest>,
    shutdown: Shutdown,
    topics: HashMap<Topic, AbortHandle>,
    wakings: FuturesUnordered<Waking>,
    looks: Interval,
    told: Option<(Instant, Result<(), StoreError>)>,
    done: bool,
    _admitted: Admitted,
}

impl Watching {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        wishes: Streaming<WatchRequest>,
        shutdown: Shutdown,
        admitted: Admitted,
    ) -> Self {
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            store,
            wishes,
            shutdown,
            topics: HashMap::new(),
            wakings: FuturesUnordered::new(),
            looks,
            told: None,
            done: false,
            _admitted: admitted,
        }
    }

    /// What the peer is told.
    pub(crate) fn events(self) -> impl Stream<Item = Result<WatchEvent, Status>> + Send {
        stream::unfold(self, |mut watching| async move {
            if watching.done {
                return None;
            }
            match watching.next().await {
                Ok(Some(event)) => Some((Ok(watching::event_to_wire(&event)), watching)),
                Ok(None) => None,
                Err(status) => {
                    watching.done = true;
                    Some((Err(status), watching))
                }
            }
        })
    }

    async fn next(&mut self) -> Result<Option<Event>, Status> {
        let draining = self.shutdown.draining();
        tokio::pin!(draining);
        loop {
            let event = tokio::select! {
                biased;
                () = &mut draining => return Ok(None),
                // First, so that who watches much still hears that we are here.
                _ = self.looks.tick() => self.status(),
                wish = self.wishes.message() => match wish? {
                    None => return Ok(None),
                    Some(wish) => self.fulfil(watching::wish_from_wire(&wish).map_err(invalid)?)?,
                },
                Some(woken) = self.wakings.next() => self.woken(woken),
            };
            if event.is_some() {
                return Ok(event);
            }
        }
    }

    fn status(&mut self) -> Option<Event> {
        let now = self.store.accepting();
        let news = self.told.as_ref().is_none_or(|(at, told)| *told != now || at.elapsed() >= STATUS_INTERVAL);
        news.then(|| {
            self.told = Some((Instant::now(), now.clone()));
            Event::Status(now)
        })
    }

    fn fulfil(&mut self, wish: Wish) -> Result<Option<Event>, Status> {
        match wish {
            Wish::Unsubscribe(topic) => {
                if let Some(waking) = self.topics.remove(&topic) {
                    waking.abort();
                }
                Ok(None)
            }
            Wish::Subscribe(topic) => {
                if !self.topics.contains_key(&topic) {
                    if self.topics.len() >= TOPICS_MAX {
                        return Err(Status::resource_exhausted(format!(
                            "a stream watches at most {TOPICS_MAX} topics"
                        )));
                    }
                    let changes = self.store.watch(topic);
                    self.wait(topic, changes);
                }
                // What changed before this cannot be told any more.
                Ok(Some(Event::Changed(topic)))
            }
        }
    }

    fn woken(&mut self, woken: Result<Option<(Topic, watch::Receiver<u64>)>, Aborted>) -> Option<Event> {
        let (topic, changes) = woken.ok().flatten()?;
        self.wait(topic, changes);
        Some(Event::Changed(topic))
    }

    fn wait(&mut self, topic: Topic, mut changes: watch::Receiver<u64>) {
        let (waking, registration) = AbortHandle::new_pair();
        let changed = async move { changes.changed().await.ok().map(|()| (topic, changes)) };
        self.wakings.push(Box::pin(Abortable::new(changed, registration)));
        self.topics.insert(topic, waking);
    }
}
