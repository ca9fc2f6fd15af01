//! A message that a store has open for us.
//!
//! Its beginning comes with the size, and most messages are no more than that: one round trip, and the store keeps nothing.
//! For a longer one the stream stays, so that the message can be read to its end although it is expunged meanwhile. When
//! the stream breaks, the message is opened again where it is; only what was expunged by then is lost.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use securanet_model::{GroupId, StoreError};
use securanet_wire::{
    content::{self, HEAD_SIZE_BYTES_MAX, RANGE_SIZE_BYTES_MAX, ReadAnswer, ReadStep, Source},
    proto::{ReadFrame, ReadRequest},
};
use tokio::{
    sync::{Mutex, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

use super::{
    node::{Miss, StoreNode, misunderstood},
    tries::Stores,
};
use crate::store::{BoxFuture, Content};

/// Opening, with all tries.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);
/// A megabyte from a disk in use over a slow link.
const RANGE_PATIENCE: Duration = Duration::from_secs(30);

/// A message open for reading.
pub(crate) struct RemoteContent {
    stores: Arc<Stores>,
    source: Source,
    size_bytes: u64,
    head: Bytes,
    open: Mutex<Option<Open>>,
}

/// The stream of an open message.
struct Open {
    address: String,
    ranges: mpsc::Sender<ReadRequest>,
    frames: Streaming<ReadFrame>,
}

impl RemoteContent {
    pub(crate) async fn open(stores: Arc<Stores>, source: Source) -> Result<Self, StoreError> {
        let (open, size_bytes, head) = open(&stores, source, HEAD_SIZE_BYTES_MAX).await?;
        let open = if head.len() as u64 == size_bytes {
            tokio::spawn(open.finish());
            None
        } else {
            Some(open)
        };
        Ok(Self { stores, source, size_bytes, head, open: Mutex::new(open) })
    }

    async fn read_range(&self, range: Range<u64>) -> Result<Bytes, StoreError> {
        let mut open = self.open.lock().await;
        // A stream that was left alone for long, or whose store has died, is made anew: once.
        for _ in 0..2 {
            let mut stream = match open.take() {
                Some(stream) => stream,
                None => self.open_again().await?,
            };
            match stream.read(range.clone()).await {
                Ok(bytes) => {
                    *open = Some(stream);
                    return Ok(bytes);
                }
                Err(Miss::Final(error)) => return Err(error),
                Err(miss) => tracing::debug!(?miss, "a message is opened again"),
            }
        }
        Err(StoreError::Unavailable("no store reads the message".to_owned()))
    }

    async fn open_again(&self) -> Result<Open, StoreError> {
        let (stream, size_bytes, _) = open(&self.stores, self.source, 0).await?;
        if size_bytes == self.size_bytes {
            Ok(stream)
        } else {
            Err(StoreError::Damaged("a message has another size than before".to_owned()))
        }
    }
}

const fn group(source: Source) -> GroupId {
    match source {
        Source::Email(group, ..) | Source::Outbound(group, _) => group,
    }
}

async fn open(stores: &Stores, source: Source, head_bytes: u32) -> Result<(Open, u64, Bytes), StoreError> {
    stores.ask(group(source), OPEN_PATIENCE, |node| open_at(node, source, head_bytes)).await
}

async fn open_at(node: Arc<StoreNode>, source: Source, head_bytes: u32) -> Result<(Open, u64, Bytes), Miss> {
    let (ranges, wanted) = mpsc::channel(1);
    let first = ranges.send(content::read_to_wire(&ReadStep::Open(source, head_bytes))).await;
    first.map_err(|_| Miss::Elsewhere("nothing could be sent".to_owned()))?;
    let response = node.content().read(Request::new(ReceiverStream::new(wanted))).await;
    let response = response.map_err(|status| Miss::of_status(node.address(), &status))?;
    let mut open = Open { address: node.address().to_owned(), ranges, frames: response.into_inner() };
    match open.answer().await? {
        ReadAnswer::Opened { size_bytes, head } => Ok((open, size_bytes, head)),
        ReadAnswer::Failed(error) => Err(Miss::of_store(error)),
        ReadAnswer::Chunk { .. } => Err(Miss::Final(misunderstood(&open.address, &"it read what was not open"))),
    }
}

impl Open {
    /// Reads the stream to its end. One that is given up before is reset, and HTTP/2 ends a connection with many of these:
    /// they look like an attack.
    async fn finish(self) {
        let Self { ranges, mut frames, .. } = self;
        drop(ranges);
        let end = async { while let Ok(Some(_)) = frames.message().await {} };
        // A store that is gone ends it, too.
        drop(timeout(RANGE_PATIENCE, end).await);
    }

    async fn answer(&mut self) -> Result<ReadAnswer, Miss> {
        match self.frames.message().await {
            Ok(Some(frame)) => {
                content::read_answer_from_wire(frame).map_err(|error| Miss::Final(misunderstood(&self.address, &error)))
            }
            Ok(None) => Err(Miss::Elsewhere(format!("store {} closed a message", self.address))),
            Err(status) => Err(Miss::of_status(&self.address, &status)),
        }
    }

    async fn read(&mut self, range: Range<u64>) -> Result<Bytes, Miss> {
        let late = |_| Miss::Elsewhere("a part of a message did not come in time".to_owned());
        timeout(RANGE_PATIENCE, self.try_read(range)).await.map_err(late)?
    }

    async fn try_read(&mut self, range: Range<u64>) -> Result<Bytes, Miss> {
        let expected = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let sent = self.ranges.send(content::read_to_wire(&ReadStep::Range(range))).await;
        sent.map_err(|_| Miss::Elsewhere(format!("store {} closed a message", self.address)))?;
        let mut bytes = BytesMut::new();
        loop {
            match self.answer().await? {
                ReadAnswer::Chunk { bytes: more, last: true } if bytes.is_empty() && more.len() == expected => {
                    return Ok(more);
                }
                ReadAnswer::Chunk { bytes: more, last } => {
                    bytes.extend_from_slice(&more);
                    if last && bytes.len() == expected {
                        return Ok(bytes.freeze());
                    }
                    if last || bytes.len() > expected {
                        return Err(Miss::Final(misunderstood(&self.address, &"it read another part than asked for")));
                    }
                }
                ReadAnswer::Failed(error) => return Err(Miss::of_store(error)),
                ReadAnswer::Opened { .. } => {
                    return Err(Miss::Final(misunderstood(&self.address, &"it opened a message twice")));
                }
            }
        }
    }
}

impl Content for RemoteContent {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        Box::pin(async move {
            let start = range.start.min(self.size_bytes);
            let end = range.end.clamp(start, self.size_bytes).min(start.saturating_add(RANGE_SIZE_BYTES_MAX));
            let part = |at: u64| usize::try_from(at).ok().filter(|at| *at <= self.head.len());
            match (part(start), part(end)) {
                (Some(from), Some(to)) => Ok(self.head.slice(from..to)),
                _ => self.read_range(start..end).await,
            }
        })
    }
}
