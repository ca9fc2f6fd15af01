//! Sending a snapshot.
//!
//! The receiver first says how much of it it has already; then chunks go out, a few at a time, no faster than bulk
//! traffic may. Rows are read on threads that may block, one chunk ahead of what is sent.

use std::time::Duration;

use bytes::Bytes;
use openraft::{errors::StreamingError, raft::SnapshotResponse};
use securanet_wire::replication::{
    SnapshotBegin, SnapshotPosition, SnapshotTaken, begin_to_wire, proto, taken_from_wire,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;

use super::{PeerClass, convert, peer::Peer};
use crate::{
    runtime::spawn_blocking,
    state::TakenSnapshot,
    types::{TypeConfig, Vote},
};

/// Chunks under way: four megabytes carry 100 Mbit/s over a round trip of 320 ms.
const WINDOW: u64 = 4;
/// A chunk is taken in within this time, or the other side is stuck.
const CHUNK_PATIENCE: Duration = Duration::from_secs(30);
/// Installing flushes the whole state of the other node.
const INSTALL_PATIENCE: Duration = Duration::from_secs(120);

type Sent = Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>>;

/// Sends a snapshot, or what is missing of it; ends when it is installed.
pub(super) async fn send(peer: &Peer, vote: Vote, taken: &TakenSnapshot) -> Sent {
    let mut sending = match Sending::begin(peer, vote, taken).await? {
        Begun::Sending(sending) => sending,
        Begun::Installed(vote) => return Ok(SnapshotResponse::new(vote)),
    };
    loop {
        let next = sending.next_chunk().await?;
        let Some(chunk) = next else { break };
        peer.network.pace().wait(chunk.len()).await;
        while sending.under_way >= WINDOW {
            if let Some(vote) = sending.progress(CHUNK_PATIENCE).await? {
                return Ok(SnapshotResponse::new(vote));
            }
        }
        sending.send(chunk).await?;
    }
    loop {
        if let Some(vote) = sending.progress(INSTALL_PATIENCE).await? {
            return Ok(SnapshotResponse::new(vote));
        }
    }
}

struct Sending<'p> {
    peer: &'p Peer,
    frames: mpsc::Sender<proto::SnapshotFrame>,
    progress: tonic::Streaming<proto::SnapshotProgress>,
    chunks: Option<Box<dyn Iterator<Item = Result<Vec<u8>, securanet_kv::KvError>> + Send>>,
    under_way: u64,
}

enum Begun<'p> {
    Sending(Box<Sending<'p>>),
    /// It was there already.
    Installed(Vote),
}

impl<'p> Sending<'p> {
    async fn begin(peer: &'p Peer, vote: Vote, taken: &TakenSnapshot) -> Result<Begun<'p>, StreamingError<TypeConfig>> {
        let (frames, queue) = mpsc::channel(WINDOW as usize);
        let begin = SnapshotBegin {
            node: peer.network.node().to_owned(),
            group: peer.replica.group(),
            target: peer.target,
            vote: convert::ballot(&vote),
            id: taken.id(),
        };
        // The queue has room for it.
        let _ = frames.send(begin_to_wire(&begin)).await;
        let mut client = peer.client(PeerClass::Snapshots)?;
        let begun = timeout(CHUNK_PATIENCE, client.snapshot(ReceiverStream::new(queue))).await;
        let begun = begun.map_err(|_| peer.unreachable("no connection for a snapshot"))?;
        let progress = begun.map_err(|status| peer.unreachable(status))?.into_inner();
        let mut sending = Self { peer, frames, progress, chunks: None, under_way: 0 };
        match sending.answer(CHUNK_PATIENCE).await? {
            SnapshotTaken::Taken(SnapshotPosition { chunks, rows, after }) => {
                if chunks > 0 {
                    let (group, node) = (peer.replica.group(), &peer.node);
                    tracing::info!(%group, node, chunks, rows, "a snapshot that was cut off goes on");
                }
                let after = after.map(|after| after.to_vec());
                sending.chunks = Some(Box::new(taken.chunks_behind(chunks, rows, after)));
                Ok(Begun::Sending(Box::new(sending)))
            }
            SnapshotTaken::Installed(vote) => Ok(Begun::Installed(convert::vote(vote))),
            SnapshotTaken::Refused(why) => Err(peer.unreachable(why).into()),
        }
    }

    /// The next chunk; none behind the last.
    async fn next_chunk(&mut self) -> Result<Option<Bytes>, StreamingError<TypeConfig>> {
        let Some(mut chunks) = self.chunks.take() else { return Ok(None) };
        let read = spawn_blocking(move || (chunks.next(), chunks)).await;
        let (chunk, chunks) = read.map_err(|error| self.peer.unreachable(format!("reading was cancelled: {error}")))?;
        self.chunks = Some(chunks);
        let chunk = chunk.transpose().map_err(|error| self.peer.unreachable(format!("it cannot be read: {error}")))?;
        Ok(chunk.map(Bytes::from))
    }

    async fn send(&mut self, chunk: Bytes) -> Result<(), StreamingError<TypeConfig>> {
        let frame = proto::SnapshotFrame { frame: Some(proto::snapshot_frame::Frame::Chunk(chunk)) };
        // When the stream has ended, the next answer says why.
        let _ = timeout(CHUNK_PATIENCE, self.frames.send(frame)).await;
        self.under_way += 1;
        Ok(())
    }

    /// Waits for the next answer; the receiver's vote when it has installed all of it.
    async fn progress(&mut self, patience: Duration) -> Result<Option<Vote>, StreamingError<TypeConfig>> {
        match self.answer(patience).await? {
            SnapshotTaken::Taken(_) => {
                self.under_way = self.under_way.saturating_sub(1);
                Ok(None)
            }
            SnapshotTaken::Installed(vote) => Ok(Some(convert::vote(vote))),
            SnapshotTaken::Refused(why) => Err(self.peer.unreachable(why).into()),
        }
    }

    async fn answer(&mut self, patience: Duration) -> Result<SnapshotTaken, StreamingError<TypeConfig>> {
        let peer = self.peer;
        let answer = timeout(patience, self.progress.message()).await;
        let answer = answer.map_err(|_| peer.unreachable(format!("no answer to a snapshot within {patience:?}")))?;
        let answer = answer.map_err(|status| peer.unreachable(status))?;
        let answer = answer.ok_or_else(|| peer.unreachable("the other node has ended the stream of a snapshot"))?;
        Ok(taken_from_wire(answer).map_err(|error| peer.wrong(&error))?)
    }
}
