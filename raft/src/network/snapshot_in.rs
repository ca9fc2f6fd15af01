//! Taking a snapshot in that another node sends.
//!
//! What has arrived is kept for some minutes when the stream is cut off: the sender, or its next stream, hears how far
//! it came and goes on from there. One snapshot per group arrives at a time; a stream that begins anew takes over from
//! one that nobody has noticed to be dead, and another snapshot takes the place of an older one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use openraft::storage::Snapshot;
use securanet_wire::replication::{
    SnapshotBegin, SnapshotPosition, SnapshotStep, SnapshotTaken, proto, snapshot_frame_from_wire,
};
use tokio::{
    sync::{Mutex, mpsc},
    time::timeout,
};

use super::{convert, not_for};
use crate::{
    group::Group,
    runtime::spawn_blocking,
    state::{SnapshotData, Staging},
};

/// A sender that says nothing for so long is gone.
const FRAME_PATIENCE: Duration = Duration::from_secs(60);
/// What has arrived is kept for so long after the last of it came.
const KEEP: Duration = Duration::from_secs(300);

/// The snapshot of a group that is arriving, or was when its stream was cut off.
#[derive(Default)]
pub(crate) struct Arrivals {
    arrival: Mutex<Option<Arrival>>,
    /// Which stream may go on with it: the last one that began.
    stream: AtomicU64,
}

struct Arrival {
    id: [u8; 16],
    staging: Staging,
    touched: Instant,
}

impl Arrivals {
    /// Forgets what nobody goes on with.
    pub(crate) fn tidy(&self) {
        if let Ok(mut arrival) = self.arrival.try_lock()
            && arrival.as_ref().is_some_and(|arrival| arrival.touched.elapsed() > KEEP)
        {
            *arrival = None;
        }
    }
}

/// Takes a stream in; ends with it.
pub(super) async fn take_in(
    group: Arc<Group>,
    begin: SnapshotBegin,
    mut frames: tonic::Streaming<proto::SnapshotFrame>,
    answers: mpsc::Sender<SnapshotTaken>,
) {
    let stream = group.arrivals.stream.fetch_add(1, Ordering::SeqCst) + 1;
    let mut taken = begin_at(&group, &begin).await;
    loop {
        let whole = matches!(&taken, Ok(Step::Whole));
        let answer = match taken {
            Ok(Step::Taken(position)) => SnapshotTaken::Taken(position),
            Ok(Step::Whole) => install(&group, &begin).await,
            Err(why) => SnapshotTaken::Refused(why),
        };
        let ends = whole || matches!(answer, SnapshotTaken::Refused(_));
        if let SnapshotTaken::Refused(why) = &answer {
            tracing::warn!(group = %group.id(), from = begin.node, why, "a snapshot was not taken");
        }
        if answers.send(answer).await.is_err() || ends {
            return;
        }
        let Ok(Ok(Some(frame))) = timeout(FRAME_PATIENCE, frames.message()).await else { return };
        taken = match snapshot_frame_from_wire(frame) {
            Ok(SnapshotStep::Chunk(chunk)) => add(&group, stream, chunk).await,
            Ok(SnapshotStep::Begin(_)) => Err("a second beginning".to_owned()),
            Err(error) => Err(error.to_string()),
        };
    }
}

/// What a frame came to.
enum Step {
    Taken(SnapshotPosition),
    /// That was the last chunk.
    Whole,
}

/// Finds what has arrived of the snapshot already, or begins with it.
async fn begin_at(group: &Arc<Group>, begin: &SnapshotBegin) -> Result<Step, String> {
    if let Some(why) = not_for(group.id(), group.replica_id(), &[begin.target]) {
        return Err(why);
    }
    if !begin.vote.committed {
        return Err("a snapshot whose vote is no leader's".to_owned());
    }
    let mut arrival = group.arrivals.arrival.lock().await;
    if let Some(arrival) = arrival.as_ref().filter(|arrival| arrival.id == begin.id) {
        if arrival.staging.has_ended() {
            return Ok(Step::Whole);
        }
        let (chunks, rows, after) = arrival.staging.position();
        let after = after.map(|after| after.to_vec().into());
        return Ok(Step::Taken(SnapshotPosition { chunks, rows, after }));
    }
    let (old, replica) = (arrival.take(), group.replica.clone());
    let begun = spawn_blocking(move || {
        drop(old);
        Staging::begin(replica)
    });
    let staging = begun.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    tracing::info!(group = %group.id(), from = begin.node, "a snapshot begins to arrive");
    *arrival = Some(Arrival { id: begin.id, staging, touched: Instant::now() });
    Ok(Step::Taken(SnapshotPosition::default()))
}

async fn add(group: &Arc<Group>, stream: u64, chunk: bytes::Bytes) -> Result<Step, String> {
    let mut slot = group.arrivals.arrival.lock().await;
    if group.arrivals.stream.load(Ordering::SeqCst) != stream {
        return Err("another stream goes on with the snapshot".to_owned());
    }
    let Some(Arrival { id, mut staging, .. }) = slot.take() else {
        return Err("the snapshot was given up".to_owned());
    };
    let added = spawn_blocking(move || staging.add(&chunk).map(|()| staging));
    let staging = added.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let (chunks, rows, _) = staging.position();
    let whole = staging.has_ended();
    *slot = Some(Arrival { id, staging, touched: Instant::now() });
    Ok(if whole { Step::Whole } else { Step::Taken(SnapshotPosition { chunks, rows, after: None }) })
}

async fn install(group: &Arc<Group>, begin: &SnapshotBegin) -> SnapshotTaken {
    let Some(arrival) = group.arrivals.arrival.lock().await.take() else {
        return SnapshotTaken::Refused("the snapshot was given up".to_owned());
    };
    let staged = match arrival.staging.finish() {
        Ok(staged) => staged,
        Err(error) => return SnapshotTaken::Refused(error.to_string()),
    };
    let (vote, meta) = (convert::vote(begin.vote), staged.meta().clone());
    if !meta.last_log_id.is_none_or(|id| convert::is_within(id, &vote)) {
        return SnapshotTaken::Refused("the snapshot is of a later leader than the one that sends it".to_owned());
    }
    let snapshot = Snapshot { meta, snapshot: SnapshotData::Staged(staged) };
    match group.raft.install_full_snapshot(vote, snapshot).await {
        Ok(response) => {
            tracing::info!(group = %group.id(), from = begin.node, "a snapshot has arrived");
            SnapshotTaken::Installed(convert::ballot(&response.vote))
        }
        Err(error) => SnapshotTaken::Refused(error.to_string()),
    }
}
