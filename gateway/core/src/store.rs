//! The border to the stores: the one trait through which a gateway reads and changes anything.
//!
//! It has two implementations: in-process on a node that is a store itself, and [`crate::remote`] over the network.

use std::{future::Future, ops::Range, pin::Pin};

use bytes::Bytes;
use securanet_model::{
    Answer, EmailId, Execute, Freshness, GroupId, Query, Reply, StoreError, TenantId, account::AccountRef,
    content::Ingested, request::Topic,
};
use tokio::sync::watch;

/// A boxed future, so that the trait can be an object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Replies to the commands of one request, in order, and how far the group was then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Executed {
    /// One reply per command.
    pub replies: Vec<Reply>,
    /// The index at which the commands were applied.
    pub index: u64,
}

/// What a store answers, and how far its replica was then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answered {
    /// The answer.
    pub answer: Answer,
    /// The replica had applied at least that much.
    pub index: u64,
}

/// A store, near or far.
pub trait Store: Send + Sync + 'static {
    /// Commits a request. When it returns `Ok`, the change is durable on a majority (promise P1).
    /// On [`StoreError::Unavailable`] the caller may send the same request again until its deadline.
    fn execute(&self, request: Execute) -> BoxFuture<'_, Result<Executed, StoreError>>;

    /// Answers from any replica that is as new as asked for.
    fn query(&self, group: GroupId, query: Query, freshness: Freshness) -> BoxFuture<'_, Result<Answered, StoreError>>;

    /// Wakes on each change of the topic, and perhaps for nothing; never misses the last one. The value grows with each
    /// waking and means nothing else.
    fn watch(&self, topic: Topic) -> watch::Receiver<u64>;

    /// Begins to take a message in. `trace` (the Received field, with its CRLF) goes before the bytes that
    /// follow; `size_hint_bytes` is what the client announced. Waits, with a bound, for memory to be free
    /// ([`StoreError::Busy`]), and refuses on a full disk ([`StoreError::DiskFull`]).
    fn put(
        &self,
        tenant: TenantId,
        trace: Vec<u8>,
        size_hint_bytes: Option<u64>,
    ) -> BoxFuture<'_, Result<Box<dyn ContentSink>, StoreError>>;

    /// Opens a message for reading. What was opened stays readable although the message is expunged.
    fn open(
        &self,
        group: GroupId,
        account: AccountRef,
        email: EmailId,
    ) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>>;

    /// Opens the message of an item of the group's outbound queue that has not ended.
    fn open_outbound(&self, group: GroupId, item: u64) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>>;

    /// Whether new mail may be taken in right now; the reason when not (full disk, draining).
    fn accepting(&self) -> Result<(), StoreError>;
}

/// A message being taken in. Dropping it forgets it.
pub trait ContentSink: Send {
    /// Takes more bytes; [`StoreError::TooLarge`] when the message outgrows the limit.
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), StoreError>>;

    /// All is there: splits it, makes its blobs durable and answers with what commands carry.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Ingested, StoreError>>;
}

/// A message open for reading: the recipient's prefix, then the message.
pub trait Content: Send + Sync {
    /// Octets, prefix included.
    fn size_bytes(&self) -> u64;

    /// Reads a range (cut at the end of the message); at most 1 MiB is returned per call, from its beginning.
    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, StoreError>>;
}
