//! One store as this process reaches it: two connections, whether it is there, and what it last said.
//!
//! What waits on it briefly (commands, questions, watches) has a connection of its own, so that content never stands in
//! its way.

use std::{collections::BTreeSet, time::Duration};

use parking_lot::Mutex;
use securanet_model::{StoreError, UnixMillis};
use securanet_wire::{
    COMMANDS_SIZE_BYTES_MAX,
    link::{Expect, Link, LinkError, Peer, Pings},
    proto::store_client::StoreClient,
};
use tokio::{sync::watch, time::Instant};
use tonic::{Code, Status, transport::Channel};

use crate::metric;

/// What a store says of itself is believed for so long.
const STATUS_LIFE: Duration = Duration::from_secs(5);
/// A store that kept somebody waiting is asked after others for so long.
const SLOW_FOR: Duration = Duration::from_secs(5);
/// Answers are lists of rows; the largest that any question allows are some megabytes.
const ANSWER_SIZE_BYTES_MAX: usize = COMMANDS_SIZE_BYTES_MAX + (1 << 20);

/// A store.
pub(crate) struct StoreNode {
    address: String,
    requests: Peer,
    content: Peer,
    /// Whether its stream of watches is there.
    reachable: watch::Sender<bool>,
    status: Mutex<Option<(Instant, Result<(), StoreError>)>>,
    /// When it last kept somebody waiting whom another store answered.
    slow: Mutex<Option<Instant>>,
}

/// How one try at one store ended without a result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Miss {
    /// Another store may know better, or the same one later.
    Elsewhere(String),
    /// This one says who leads.
    NotLeader(Option<String>),
    /// It does not have the group.
    NoGroup(StoreError),
    /// That is the answer.
    Final(StoreError),
}

impl StoreNode {
    pub(crate) fn new(link: &Link, address: &str) -> Result<Self, LinkError> {
        metric::store_reachable(address, false);
        Ok(Self {
            address: address.to_owned(),
            requests: link.connect(address, &Expect::Anyone, Pings::Always)?,
            content: link.connect(address, &Expect::Anyone, Pings::WhileBusy)?,
            reachable: watch::Sender::new(false),
            status: Mutex::new(None),
            slow: Mutex::new(None),
        })
    }

    /// Its place in the node's file.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Whether it is the node of this name.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.requests.node().is_some_and(|node| node.as_str() == name)
    }

    /// Whether it is one of these nodes.
    pub(crate) fn is_one_of(&self, names: &BTreeSet<String>) -> bool {
        self.requests.node().is_some_and(|node| names.contains(node.as_str()))
    }

    /// Somebody waited for it whom another store answered.
    pub(crate) fn was_slow(&self) {
        *self.slow.lock() = Some(Instant::now());
    }

    /// Whether it kept nobody waiting lately.
    pub(crate) fn is_swift(&self) -> bool {
        self.slow.lock().is_none_or(|at| at.elapsed() > SLOW_FOR)
    }

    /// For what is answered at once.
    pub(crate) fn requests(&self) -> StoreClient<Channel> {
        StoreClient::new(self.requests.channel()).max_decoding_message_size(ANSWER_SIZE_BYTES_MAX)
    }

    /// For messages.
    pub(crate) fn content(&self) -> StoreClient<Channel> {
        StoreClient::new(self.content.channel())
    }

    pub(crate) fn set_reachable(&self, reachable: bool) {
        if !reachable {
            *self.status.lock() = None;
        }
        if self.reachable.send_replace(reachable) != reachable {
            metric::store_reachable(&self.address, reachable);
        }
    }

    pub(crate) fn is_reachable(&self) -> bool {
        *self.reachable.borrow()
    }

    pub(crate) fn watch_reachable(&self) -> watch::Receiver<bool> {
        self.reachable.subscribe()
    }

    pub(crate) fn set_status(&self, status: Result<(), StoreError>) {
        *self.status.lock() = Some((Instant::now(), status));
    }

    /// Whether it takes mail in, as it last said.
    pub(crate) fn accepting(&self) -> Result<(), StoreError> {
        match &*self.status.lock() {
            Some((at, status)) if at.elapsed() < STATUS_LIFE => status.clone(),
            _ => Err(StoreError::Unavailable(format!("store {} does not answer", self.address))),
        }
    }
}

impl Drop for StoreNode {
    fn drop(&mut self) {
        metric::store_gone(&self.address);
    }
}

impl Miss {
    /// Of what a store answered.
    pub(crate) fn of_store(error: StoreError) -> Self {
        match error {
            StoreError::NotLeader { leader } => Self::NotLeader(leader),
            StoreError::Unavailable(why) => Self::Elsewhere(why),
            StoreError::Draining => Self::Elsewhere("the store is shutting down".to_owned()),
            error @ StoreError::NoGroup(_) => Self::NoGroup(error),
            error => Self::Final(error),
        }
    }

    /// Of what came instead of an answer.
    pub(crate) fn of_status(address: &str, status: &Status) -> Self {
        match status.code() {
            Code::ResourceExhausted => Self::Final(StoreError::Busy),
            Code::InvalidArgument
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::PermissionDenied
            | Code::Unauthenticated => {
                Self::Final(StoreError::Internal(format!("store {address}: {}", status.message())))
            }
            _ => Self::Elsewhere(format!("store {address}: {}", whole(status))),
        }
    }

    /// What whoever has nowhere else to go is told.
    pub(crate) fn into_error(self) -> StoreError {
        match self {
            Self::Elsewhere(why) => StoreError::Unavailable(why),
            Self::NotLeader(_) => StoreError::Unavailable("no store leads the group".to_owned()),
            Self::NoGroup(error) | Self::Final(error) => error,
        }
    }
}

/// An answer that is not of the protocol: two releases that do not understand each other.
pub(crate) fn misunderstood(address: &str, error: &impl std::fmt::Display) -> StoreError {
    StoreError::Internal(format!("store {address}: {error}"))
}

/// An error with everything behind it: the certificate that was refused is at the very end.
pub(crate) fn whole(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text = if text.is_empty() { more } else { format!("{text}: {more}") };
        }
        source = error.source();
    }
    text
}

/// What is left until this time of this machine's clock.
pub(crate) fn until(deadline: UnixMillis, now: UnixMillis) -> Duration {
    Duration::from_millis(deadline.millis_since(now))
}
