//! A message on its way to a store: gathered into frames, sent as fast as the store takes them.
//!
//! At any time one frame is being gathered, one waits, and HTTP/2 has a window of a megabyte under way at most.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use securanet_model::{StoreError, TenantId, content::Ingested};
use securanet_wire::{
    content::{self, PutAnswer, PutStep},
    proto::{PutFrame, PutReply},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Streaming};

use super::node::{Miss, StoreNode, misunderstood};
use crate::store::{BoxFuture, ContentSink};

/// A frame; small enough that many senders take turns, large enough that none of them costs much.
const FRAME_BYTES: usize = 64 << 10;
/// The store sets memory aside within 30 s, or says that it is busy.
const BEGIN_PATIENCE: Duration = Duration::from_secs(35);
/// A store that takes no frame for so long will take none any more.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);
/// The largest message is split, compressed and synced within this, on a disk in use.
const FINISH_PATIENCE: Duration = Duration::from_secs(120);

/// A message being taken in by a store.
pub(crate) struct RemoteSink {
    address: String,
    frames: mpsc::Sender<PutFrame>,
    answers: Streaming<PutReply>,
    gathered: BytesMut,
    sent_bytes: u64,
}

impl RemoteSink {
    /// Begins at one store.
    pub(crate) async fn begin(
        node: &StoreNode,
        tenant: TenantId,
        trace: Vec<u8>,
        size_hint_bytes: Option<u64>,
    ) -> Result<Self, Miss> {
        let late = |_| Miss::Elsewhere(format!("store {} has not begun to take a message in time", node.address()));
        timeout(BEGIN_PATIENCE, Self::try_begin(node, PutStep::Begin { tenant, trace, size_hint_bytes }))
            .await
            .map_err(late)?
    }

    async fn try_begin(node: &StoreNode, begin: PutStep) -> Result<Self, Miss> {
        let (frames, wanted) = mpsc::channel(1);
        let first = frames.send(content::put_to_wire(begin)).await;
        first.map_err(|_| Miss::Elsewhere("no frame could be sent".to_owned()))?;
        let response = node.content().put(Request::new(ReceiverStream::new(wanted))).await;
        let response = response.map_err(|status| Miss::of_status(node.address(), &status))?;
        let mut sink = Self {
            address: node.address().to_owned(),
            frames,
            answers: response.into_inner(),
            gathered: BytesMut::new(),
            sent_bytes: 0,
        };
        match sink.answer().await? {
            PutAnswer::Begun => Ok(sink),
            PutAnswer::Failed(error) => Err(Miss::of_store(error)),
            PutAnswer::Ingested(_) => Err(Miss::Final(misunderstood(&sink.address, &"it took in what it had not got"))),
        }
    }

    async fn answer(&mut self) -> Result<PutAnswer, Miss> {
        match self.answers.message().await {
            Ok(Some(answer)) => content::put_answer_from_wire(&answer)
                .map_err(|error| Miss::Final(misunderstood(&self.address, &error))),
            Ok(None) => Err(Miss::Elsewhere(format!("store {} left a message", self.address))),
            Err(status) => Err(Miss::of_status(&self.address, &status)),
        }
    }

    /// The store's word when there should be none yet: the reason why it takes no more.
    fn early(&self, answer: Result<PutAnswer, Miss>) -> StoreError {
        match answer {
            Ok(PutAnswer::Failed(error)) => Miss::of_store(error).into_error(),
            Ok(_) => misunderstood(&self.address, &"it answered before the end of a message"),
            Err(miss) => miss.into_error(),
        }
    }

    /// Sends a step, or says why the store wants no more.
    async fn send(&mut self, step: PutStep) -> Result<(), StoreError> {
        let (frames, address) = (self.frames.clone(), self.address.clone());
        let sent = timeout(WRITE_PATIENCE, async {
            tokio::select! {
                biased;
                answer = self.answer() => Err(self.early(answer)),
                room = frames.reserve() => Ok(room),
            }
        });
        let slow = |_| StoreError::Unavailable(format!("store {address} takes no more"));
        if let Ok(room) = sent.await.map_err(slow)?? {
            room.send(content::put_to_wire(step));
            return Ok(());
        }
        // The call has ended; its answer says why.
        match timeout(WRITE_PATIENCE, self.answer()).await {
            Ok(answer) => Err(self.early(answer)),
            Err(_) => Err(StoreError::Unavailable(format!("store {address} left a message"))),
        }
    }

    async fn send_gathered(&mut self) -> Result<(), StoreError> {
        let frame = self.gathered.split().freeze();
        self.send_bytes(frame).await
    }

    async fn send_bytes(&mut self, frame: Bytes) -> Result<(), StoreError> {
        self.sent_bytes += frame.len() as u64;
        self.send(PutStep::Bytes(frame)).await
    }
}

impl ContentSink for RemoteSink {
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let mut rest = bytes;
            while !rest.is_empty() {
                let take = rest.len().min(FRAME_BYTES - self.gathered.len());
                let (now, later) = rest.split_at(take);
                self.gathered.extend_from_slice(now);
                rest = later;
                if self.gathered.len() >= FRAME_BYTES {
                    self.send_gathered().await?;
                }
            }
            Ok(())
        })
    }

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, Result<Ingested, StoreError>> {
        Box::pin(async move {
            if !self.gathered.is_empty() {
                self.send_gathered().await?;
            }
            let end = PutStep::End(self.sent_bytes);
            self.send(end).await?;
            match timeout(FINISH_PATIENCE, self.answer()).await {
                Ok(Ok(PutAnswer::Ingested(ingested))) => Ok(*ingested),
                Ok(other) => Err(self.early(other)),
                Err(_) => Err(StoreError::Unavailable(format!("store {} does not finish a message", self.address))),
            }
        })
    }
}
