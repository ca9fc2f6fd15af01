//! Keeps the stream of watches to one store: whether it is there, whether it takes mail in, what has changed in it.
//!
//! One task for each store. When the stream breaks it is opened again, all topics are subscribed to anew, and the store
//! answers each subscription with an event: so a break counts as a change of everything, and nothing that happened
//! meanwhile is missed.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use securanet_wire::{
    WireError,
    proto::WatchRequest,
    watching::{self, Event, Wish},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

use super::{
    node::{StoreNode, whole},
    topics::Topics,
};

/// Opening the stream; a connection has 700 ms of it.
const OPEN_PATIENCE: Duration = Duration::from_secs(2);
/// A store says something at least every 2 s; a connection that is gone is noticed by its pings before.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Between two tries to open it.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Wishes that wait for the connection; what waits for them is bounded by the topics.
const WISHES_UNDER_WAY: usize = 64;

/// Keeps the stream of the store at this place of the list, for ever.
pub(crate) async fn keep(at: usize, node: Arc<StoreNode>, topics: Arc<Topics>) {
    let mut told = None;
    let mut pause = PAUSE_MIN;
    loop {
        let mut stream = Stream { at, node: &node, topics: &topics, waiting: VecDeque::new() };
        let ended = stream.run().await;
        topics.disconnected(at);
        if node.is_reachable() {
            node.set_reachable(false);
            tracing::warn!(store = node.address(), why = %ended, "store lost");
            (told, pause) = (None, PAUSE_MIN);
        } else if told.as_ref() != Some(&ended) {
            tracing::warn!(store = node.address(), why = %ended, "store cannot be reached");
            told = Some(ended);
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

struct Stream<'a> {
    at: usize,
    node: &'a StoreNode,
    topics: &'a Topics,
    waiting: VecDeque<Wish>,
}

impl Stream<'_> {
    /// Runs one stream to its end; says why it ended.
    async fn run(&mut self) -> String {
        let (up, wishes) = mpsc::channel::<WatchRequest>(WISHES_UNDER_WAY);
        let request = Request::new(ReceiverStream::new(wishes));
        let mut client = self.node.requests();
        let mut events = match timeout(OPEN_PATIENCE, client.watch(request)).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return whole(&status),
            Err(_) => return format!("no answer within {OPEN_PATIENCE:?}"),
        };
        self.waiting = self.topics.connected(self.at).into();
        let wake = self.topics.wake(self.at);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                event = events.message() => {
                    heard = Instant::now();
                    if let Err(why) = self.hear(event) {
                        return why;
                    }
                }
                Ok(room) = up.reserve(), if !self.waiting.is_empty() => {
                    if let Some(wish) = self.waiting.pop_front() {
                        room.send(watching::wish_to_wire(wish));
                    }
                }
                () = wake.notified() => self.waiting.extend(self.topics.take(self.at)),
                () = sleep_until(heard + SILENCE_MAX) => return format!("it has said nothing for {SILENCE_MAX:?}"),
            }
        }
    }

    fn hear(&self, event: Result<Option<securanet_wire::proto::WatchEvent>, Status>) -> Result<(), String> {
        let event = event.map_err(|status| whole(&status))?.ok_or_else(|| "it ended the stream".to_owned())?;
        match watching::event_from_wire(&event).map_err(|error: WireError| error.to_string())? {
            Event::Changed(topic) => self.topics.changed(topic),
            Event::Status(status) => {
                self.node.set_status(status);
                if !self.node.is_reachable() {
                    self.node.set_reachable(true);
                    tracing::info!(store = self.node.address(), "store reached");
                }
            }
        }
        Ok(())
    }
}
