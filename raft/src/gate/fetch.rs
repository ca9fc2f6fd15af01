//! Getting a blob: from a node that has it, or by way of one that gets it for its site.
//!
//! A fetch for which others have to fetch has permits of its own, and is never what another node waits for: so no two nodes
//! wait for each other, and what was asked for is passed on once. Who passes on says so while it waits.
//!
//! A fetch that hears nothing for some seconds has failed. A near node is waited for less, since there is another way;
//! then it is asked last for a while.

use std::{collections::HashMap, fmt, io, sync::Arc, time::Duration};

use securanet_blob::BlobError;
use securanet_model::BlobId;
use securanet_wire::replication::{BlobAsk, BlobStep, blob_request_to_wire, blob_step_from_wire, proto};
use tokio::{
    sync::{
        Semaphore,
        mpsc::{self, error::TrySendError},
        watch,
    },
    time::{Instant, timeout},
};
use tonic::Streaming;

use super::{
    Distance, Fetched, Gate, NotHad, Part, Source, Urgency,
    frames::{Frames, Piece},
};
use crate::{
    network::{Network, PeerClass},
    runtime::spawn_blocking,
};

/// Fetches from those that have a blob, under way at the same time.
const FETCHES_MAX: usize = 8;
/// The same by way of others: some for each node that may pull for this one.
const BY_OTHERS_MAX: usize = 32;
/// What is got for other nodes at the same time: as much as some of them may want. Whoever wants more gets it itself.
const FOR_OTHERS_MAX: usize = 128;
/// Frames of a blob that wait for the disk.
const FRAMES_MAX: usize = 4;
/// A sender that says nothing for so long has failed.
const FRAME_PATIENCE: Duration = Duration::from_secs(5);
/// A near one that does not even say that it has it not, or that it comes.
const NEAR_PATIENCE: Duration = Duration::from_secs(2);
/// It is asked last for so long.
const SILENT_FOR: Duration = Duration::from_secs(30);

/// The fetches under way, by blob and whether they go by way of others.
pub(super) type Fetches = HashMap<(BlobId, bool), UnderWay>;

/// A fetch under way.
#[derive(Clone)]
pub(super) struct UnderWay {
    source: Source,
    fetched: watch::Receiver<Option<Fetched>>,
}

/// How much may be under way.
pub(super) struct Permits {
    /// From nodes that have it: waits for nobody's fetches.
    direct: Semaphore,
    /// By way of others: waits for their direct ones.
    by_others: Semaphore,
    for_others: Semaphore,
}

impl Default for Permits {
    fn default() -> Self {
        Self {
            direct: Semaphore::new(FETCHES_MAX),
            by_others: Semaphore::new(BY_OTHERS_MAX),
            for_others: Semaphore::new(FOR_OTHERS_MAX),
        }
    }
}

impl Gate {
    /// How a node is to this one.
    pub(crate) fn distance(&self, node: &str) -> Distance {
        if !self.network.is_near(node) {
            return Distance::Far;
        }
        let silent = self.silent.lock().get(node).is_some_and(|since| since.elapsed() < SILENT_FOR);
        if silent { Distance::NearAndSilent } else { Distance::Near }
    }

    /// Gets a blob from the first of these that gives a whole copy.
    pub(crate) async fn fetch(self: &Arc<Self>, sources: &[Source], blob: BlobId, urgency: Urgency) -> Fetched {
        let mut failed = NotHad::Nowhere;
        for source in sources {
            match self.fetch_from(source, blob, urgency).await {
                Ok(()) => return Ok(()),
                // Whoever does not have it says nothing of where it may be.
                Err(NotHad::Nowhere) => {}
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    /// Sees to it that a blob that another node asks for is here, or tells that it is not: what is not here is got from the
    /// holders that were named, if any.
    pub(crate) async fn have_for(self: &Arc<Self>, ask: &BlobAsk) -> bool {
        if ask.holders.is_empty() {
            let (store, blob) = (self.blobs.clone(), ask.blob);
            // What cannot be read is looked at again by whoever gives it, and told.
            return spawn_blocking(move || store.contains(blob).unwrap_or(true)).await.unwrap_or(false);
        }
        // Kept, so that nothing collects it before it is given.
        if self.hold(vec![ask.blob]).await.is_ok_and(|missing| missing.is_empty()) {
            return true;
        }
        let Ok(_permit) = self.permits.for_others.try_acquire() else {
            tracing::debug!(blob = %ask.blob, node = ask.node, "too much is got for others already");
            return false;
        };
        let sources: Vec<Source> = ask.holders.iter().cloned().map(Source::plain).collect();
        let urgency = if ask.bulk { Urgency::Bulk } else { Urgency::Commit };
        let is_here = self.fetch(&sources, ask.blob, urgency).await.is_ok();
        if is_here {
            self.gated.passed_on();
        }
        is_here
    }

    /// Gets a blob from a node, or waits for whoever is getting it. What came of another source says nothing of this one.
    async fn fetch_from(self: &Arc<Self>, source: &Source, blob: BlobId, urgency: Urgency) -> Fetched {
        loop {
            let under_way = self.join_or_begin(source, blob, urgency);
            let mut fetched = under_way.fetched;
            let outcome = fetched.wait_for(Option::is_some).await.map(|outcome| outcome.clone());
            let given_up = || Err(NotHad::Failed("the fetch of a blob was given up".to_owned()));
            let outcome = outcome.ok().flatten().unwrap_or_else(given_up);
            if outcome.is_ok() || under_way.source == *source {
                return outcome;
            }
        }
    }

    fn join_or_begin(self: &Arc<Self>, source: &Source, blob: BlobId, urgency: Urgency) -> UnderWay {
        let mut fetches = self.fetches.lock();
        // One by way of others may wait for a direct one, which others wait for; never the other way round.
        let joined = fetches.get(&(blob, false)).or_else(|| fetches.get(&(blob, source.passes_on())));
        if let Some(under_way) = joined {
            return under_way.clone();
        }
        let (done, fetched) = watch::channel(None);
        let under_way = UnderWay { source: source.clone(), fetched };
        fetches.insert((blob, source.passes_on()), under_way.clone());
        self.begin(source.clone(), blob, urgency, done);
        under_way
    }

    /// Begins a fetch, in a task of its own: others may wait for it when this caller has gone.
    fn begin(self: &Arc<Self>, source: Source, blob: BlobId, urgency: Urgency, done: watch::Sender<Option<Fetched>>) {
        let gate = self.clone();
        let awaited = (urgency == Urgency::Commit).then(|| Part::of(&self.awaited.blobs, 1));
        tokio::spawn(async move {
            let outcome = gate.get(&source, blob, urgency).await;
            let from = &source.node;
            match &outcome {
                Ok(()) => {}
                // A near node may not have it: that is why it is asked first.
                Err(NotHad::Nowhere) if gate.network.is_near(from) => {
                    tracing::debug!(%blob, from, "a near node does not have a blob");
                }
                Err(NotHad::Damaged(why)) => {
                    tracing::error!(%blob, node = from, why, "a node's copy of a blob is damaged");
                }
                Err(why) => tracing::warn!(%blob, from, %why, "a blob cannot be had"),
            }
            gate.note(from, &outcome);
            gate.fetches.lock().remove(&(blob, source.passes_on()));
            drop(awaited);
            done.send_replace(Some(outcome));
        });
    }

    /// Remembers whether a near node was silent.
    fn note(&self, node: &str, outcome: &Fetched) {
        if !self.network.is_near(node) {
            return;
        }
        let mut silent = self.silent.lock();
        match outcome {
            Err(NotHad::Silent(_)) => drop(silent.insert(node.to_owned(), Instant::now())),
            _ => drop(silent.remove(node)),
        }
    }

    async fn get(&self, source: &Source, blob: BlobId, urgency: Urgency) -> Fetched {
        let permits = if source.passes_on() { &self.permits.by_others } else { &self.permits.direct };
        let _permit = permits.acquire().await.map_err(failed)?;
        let is_near = self.network.is_near(&source.node);
        let patience = if is_near { NEAR_PATIENCE } else { FRAME_PATIENCE };
        let mut incoming = Incoming::open(&self.network, source, (blob, urgency), patience).await?;
        let size_bytes = incoming.size_bytes(source.passes_on(), patience).await?;
        let got_bytes = self.take_in(&mut incoming, (blob, size_bytes), urgency).await?;
        self.gated.fetched(got_bytes, is_near);
        Ok(())
    }

    /// Puts what comes on the disk; how much that was.
    async fn take_in(
        &self,
        incoming: &mut Incoming<'_>,
        (blob, size_bytes): (BlobId, u64),
        urgency: Urgency,
    ) -> Result<u64, NotHad> {
        let (content, receiver) = mpsc::channel(FRAMES_MAX);
        let (store, lease) = (self.blobs.clone(), self.lease());
        let mut reader = Frames::new(blob, receiver);
        // Begun when as much is here as may wait, or all of it: what is small then keeps no thread waiting for a network.
        let mut unbegun = Some(move || store.put(blob, &mut reader, size_bytes, lease));
        let mut put = None;
        let (mut got_bytes, mut to_come) = (0, Part::of(&self.awaited.bytes, size_bytes));
        let sent = loop {
            let piece = match incoming.next(FRAME_PATIENCE).await {
                Ok(Some(BlobStep::Bytes(bytes))) => {
                    got_bytes += bytes.len() as u64;
                    to_come.came(bytes.len() as u64);
                    if urgency == Urgency::Bulk {
                        self.network.pace().wait(bytes.len()).await;
                    }
                    Piece::Bytes(bytes)
                }
                Ok(Some(BlobStep::Checksum(checksum))) => Piece::End(checksum),
                Ok(Some(BlobStep::Damaged(why))) => break Err(NotHad::Damaged(why)),
                Ok(Some(BlobStep::Size(_) | BlobStep::Missing | BlobStep::Coming)) => break Err(incoming.out_of_turn()),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            let Err(TrySendError::Full(piece)) = content.try_send(piece) else { continue };
            put = put.or_else(|| unbegun.take().map(spawn_blocking));
            // When the store has stopped reading, it says why.
            if content.send(piece).await.is_err() {
                break Ok(());
            }
        };
        drop(content);
        let put = match put.or_else(|| unbegun.take().map(spawn_blocking)) {
            Some(put) => put.await.map_err(failed)?,
            None => return Err(incoming.out_of_turn()),
        };
        sent?;
        put.map_err(|error| match error {
            BlobError::Content(error) if error.kind() == io::ErrorKind::InvalidData => {
                NotHad::Damaged(format!("{error} on its way"))
            }
            error => failed(error),
        })?;
        Ok(got_bytes)
    }
}

/// A blob's frames from another node.
struct Incoming<'n> {
    node: &'n str,
    frames: Streaming<proto::BlobFrame>,
}

impl<'n> Incoming<'n> {
    async fn open(
        network: &Network,
        source: &'n Source,
        (blob, urgency): (BlobId, Urgency),
        patience: Duration,
    ) -> Result<Self, NotHad> {
        let node = source.node.as_str();
        let ask = BlobAsk {
            node: network.node().to_owned(),
            blob,
            holders: source.holders.clone(),
            bulk: urgency == Urgency::Bulk,
        };
        let mut client = network.client(node, PeerClass::Blobs).map_err(NotHad::Silent)?;
        let asked = timeout(patience, client.blob(blob_request_to_wire(ask))).await;
        let frames = asked.map_err(|_| silent(node, patience))?.map_err(broken)?.into_inner();
        Ok(Self { node, frames })
    }

    async fn next(&mut self, patience: Duration) -> Result<Option<BlobStep>, NotHad> {
        let frame = timeout(patience, self.frames.message()).await;
        let frame = frame.map_err(|_| silent(self.node, patience))?.map_err(broken)?;
        frame.map(|frame| blob_step_from_wire(frame).map_err(failed)).transpose()
    }

    /// How large it is, as soon as the other node has it, which `may_come` later.
    async fn size_bytes(&mut self, may_come: bool, patience: Duration) -> Result<u64, NotHad> {
        loop {
            match self.next(patience).await? {
                Some(BlobStep::Size(size_bytes)) => return Ok(size_bytes),
                Some(BlobStep::Coming) if may_come => {}
                Some(BlobStep::Missing) => return Err(NotHad::Nowhere),
                Some(BlobStep::Damaged(why)) => return Err(NotHad::Damaged(why)),
                Some(BlobStep::Bytes(_) | BlobStep::Checksum(_) | BlobStep::Coming) | None => {
                    return Err(self.out_of_turn());
                }
            }
        }
    }

    fn out_of_turn(&self) -> NotHad {
        NotHad::Failed(format!("node {:?} sends it out of turn", self.node))
    }
}

fn silent(node: &str, patience: Duration) -> NotHad {
    NotHad::Silent(format!("node {node:?} says nothing of it for {patience:?}"))
}

fn broken(status: tonic::Status) -> NotHad {
    NotHad::Silent(status.to_string())
}

fn failed(error: impl fmt::Display) -> NotHad {
    NotHad::Failed(error.to_string())
}
