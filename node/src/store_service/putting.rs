//! A message of a peer on its way into the store. It is read no faster than the store takes it: what is not read stays in
//! the connection's window, and then with the peer.

use std::{sync::Arc, time::Duration};

use futures::{Stream, stream};
use securanet_gateway::{
    model::{StoreError, content::Ingested},
    store::{ContentSink, Store},
};
use securanet_wire::{
    content::{self, PutAnswer, PutStep},
    proto::{PutFrame, PutReply},
};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::{admission::Admitted, invalid};

/// The sender behind the gateway may be slow: RFC 5321 4.5.3.2 lets it take 3 minutes for each piece, and 10 for all.
const FRAME_PATIENCE: Duration = Duration::from_secs(15 * 60);

/// A message being taken in.
pub(crate) struct Putting {
    store: Arc<dyn Store>,
    frames: Streaming<PutFrame>,
    step: Step,
    _admitted: Admitted,
}

enum Step {
    /// Nothing is known of it.
    Begin,
    /// It comes.
    Take(Box<dyn ContentSink>),
    /// It is in, or it is not.
    Done,
}

impl Putting {
    pub(crate) fn new(store: Arc<dyn Store>, frames: Streaming<PutFrame>, admitted: Admitted) -> Self {
        Self { store, frames, step: Step::Begin, _admitted: admitted }
    }

    /// What the peer is told.
    pub(crate) fn answers(self) -> impl Stream<Item = Result<PutReply, Status>> + Send {
        stream::unfold(self, |mut putting| async move {
            let answer = match std::mem::replace(&mut putting.step, Step::Done) {
                Step::Done => return None,
                Step::Begin => putting.begin().await,
                Step::Take(sink) => putting.take(sink).await,
            };
            Some((answer.map(|answer| content::put_answer_to_wire(&answer)), putting))
        })
    }

    async fn next(&mut self) -> Result<Option<PutStep>, Status> {
        let late = |_| Status::deadline_exceeded("nothing more of the message came");
        let frame = timeout(FRAME_PATIENCE, self.frames.message()).await.map_err(late)??;
        frame.map(content::put_from_wire).transpose().map_err(invalid)
    }

    async fn begin(&mut self) -> Result<PutAnswer, Status> {
        let Some(PutStep::Begin { tenant, trace, size_hint_bytes }) = self.next().await? else {
            return Err(Status::invalid_argument("a message begins with its beginning"));
        };
        match self.store.put(tenant, trace, size_hint_bytes).await {
            Ok(sink) => {
                self.step = Step::Take(sink);
                Ok(PutAnswer::Begun)
            }
            Err(error) => Ok(PutAnswer::Failed(error)),
        }
    }

    async fn take(&mut self, mut sink: Box<dyn ContentSink>) -> Result<PutAnswer, Status> {
        let mut taken_bytes = 0;
        loop {
            match self.next().await? {
                Some(PutStep::Bytes(bytes)) => {
                    taken_bytes += bytes.len() as u64;
                    if let Err(error) = sink.write(&bytes).await {
                        return Ok(PutAnswer::Failed(error));
                    }
                }
                Some(PutStep::End(size_bytes)) if size_bytes == taken_bytes => return Ok(told(sink.finish().await)),
                Some(PutStep::End(_)) => return Err(Status::invalid_argument("not all of the message came")),
                Some(PutStep::Begin { .. }) => return Err(Status::invalid_argument("a message begins once")),
                // The gateway thought better of it, or is gone.
                None => return Err(Status::cancelled("the message has no end")),
            }
        }
    }
}

fn told(outcome: Result<Ingested, StoreError>) -> PutAnswer {
    match outcome {
        Ok(ingested) => PutAnswer::Ingested(Box::new(ingested)),
        Err(error) => PutAnswer::Failed(error),
    }
}
