//! A message that a peer has open here, for as long as it reads.

use std::{collections::VecDeque, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, stream};
use securanet_gateway::{
    connection::Shutdown,
    model::StoreError,
    store::{Content, Store},
};
use securanet_wire::{
    content::{self, FRAME_SIZE_BYTES_MAX, RANGE_SIZE_BYTES_MAX, ReadAnswer, ReadStep, Source},
    proto::{ReadFrame, ReadRequest},
};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::{admission::Admitted, invalid};

/// A message that nobody reads for so long is closed; who comes back opens it again.
const RANGE_PATIENCE: Duration = Duration::from_secs(10 * 60);

/// A message being read.
pub(crate) struct Reading {
    store: Arc<dyn Store>,
    steps: Streaming<ReadRequest>,
    shutdown: Shutdown,
    content: Option<Box<dyn Content>>,
    /// What has been read and not been sent: one range at most.
    ready: VecDeque<ReadAnswer>,
    done: bool,
    _admitted: Admitted,
}

impl Reading {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        steps: Streaming<ReadRequest>,
        shutdown: Shutdown,
        admitted: Admitted,
    ) -> Self {
        Self { store, steps, shutdown, content: None, ready: VecDeque::new(), done: false, _admitted: admitted }
    }

    /// What the peer is told.
    pub(crate) fn answers(self) -> impl Stream<Item = Result<ReadFrame, Status>> + Send {
        stream::unfold(self, |mut reading| async move {
            if reading.ready.is_empty() && !reading.done {
                match reading.step().await {
                    Ok(true) => {}
                    Ok(false) => return None,
                    Err(status) => {
                        reading.done = true;
                        return Some((Err(status), reading));
                    }
                }
            }
            let answer = reading.ready.pop_front()?;
            Some((Ok(content::read_answer_to_wire(answer)), reading))
        })
    }

    /// Does what the peer asks for next; false when it asks for nothing more.
    async fn step(&mut self) -> Result<bool, Status> {
        let step = tokio::select! {
            // A message that is only held open does not hold up the end of this process.
            () = self.shutdown.draining() => return Ok(false),
            step = timeout(RANGE_PATIENCE, self.steps.message()) => step,
        };
        let Ok(step) = step else { return Ok(false) };
        let Some(step) = step? else { return Ok(false) };
        let done = match (content::read_from_wire(&step).map_err(invalid)?, &self.content) {
            (ReadStep::Open(source, head_bytes), None) => self.open(source, u64::from(head_bytes)).await,
            (ReadStep::Range(range), Some(content)) => read(content.as_ref(), range).await.map(|pieces| {
                self.ready = pieces;
            }),
            _ => return Err(Status::invalid_argument("a message is opened once, and then read")),
        };
        if let Err(error) = done {
            self.done = true;
            self.ready.push_back(ReadAnswer::Failed(error));
        }
        Ok(true)
    }

    async fn open(&mut self, source: Source, head_bytes: u64) -> Result<(), StoreError> {
        let content = match source {
            Source::Email(group, account, email) => self.store.open(group, account, email).await?,
            Source::Outbound(group, item) => self.store.open_outbound(group, item).await?,
        };
        let size_bytes = content.size_bytes();
        let head_bytes = head_bytes.min(size_bytes);
        let head = match head_bytes {
            0 => Bytes::new(),
            _ => exactly(content.as_ref(), 0..head_bytes).await?,
        };
        self.done = head_bytes == size_bytes && head_bytes > 0;
        self.ready.push_back(ReadAnswer::Opened { size_bytes, head });
        self.content = Some(content);
        Ok(())
    }
}

/// All of a range that is there.
async fn exactly(content: &dyn Content, range: Range<u64>) -> Result<Bytes, StoreError> {
    let bytes = content.read(range.clone()).await?;
    if bytes.len() as u64 == range.end - range.start {
        Ok(bytes)
    } else {
        Err(StoreError::Damaged("a message is shorter than its size".to_owned()))
    }
}

async fn read(content: &dyn Content, range: Range<u64>) -> Result<VecDeque<ReadAnswer>, StoreError> {
    let size = content.size_bytes();
    let start = range.start.min(size);
    let end = range.end.min(size).min(start + RANGE_SIZE_BYTES_MAX).max(start);
    let mut bytes = if start == end { Bytes::new() } else { exactly(content, start..end).await? };
    let mut pieces = VecDeque::new();
    loop {
        let piece = bytes.split_to(bytes.len().min(FRAME_SIZE_BYTES_MAX));
        let last = bytes.is_empty();
        pieces.push_back(ReadAnswer::Chunk { bytes: piece, last });
        if last {
            return Ok(pieces);
        }
    }
}
