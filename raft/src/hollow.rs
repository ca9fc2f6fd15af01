//! Filling a hollow replica: one that installed a snapshot and does not have all blobs that its state names.
//!
//! A snapshot brings rows, no content. Until every blob that they name is durable here, the replica is hollow, also
//! after a restart: a durable row says so. It is no survivor then: it takes no leadership that is handed over, no
//! learner is promoted that is hollow, and `status` says it. Its entries since the snapshot have passed the gate, so
//! one walk over all names is enough; whatever goes wrong on the way, the walk begins anew.
//!
//! Blobs come from a member in the same site, or from the leader, or from whichever other member has them, no faster than
//! bulk traffic may.

use std::{sync::Arc, time::Duration};

use securanet_model::{Answer, BlobId, Query};
use tokio::{sync::watch, time::sleep};

use crate::{gate::Urgency, group::Group, runtime::spawn_blocking};

/// Blobs that are looked at together.
const PAGE_ROWS: u32 = 500;
/// Pause before the walk begins anew.
const AGAIN: Duration = Duration::from_secs(5);

/// Fills the replica whenever it is hollow, until the node drains.
pub(crate) async fn keep_filled(group: Arc<Group>, mut draining: watch::Receiver<bool>) {
    tokio::select! {
        () = fill_again_and_again(group) => {}
        _ = draining.wait_for(|draining| *draining) => {}
    }
}

async fn fill_again_and_again(group: Arc<Group>) {
    let mut hollow = group.replica.watch_hollow();
    loop {
        if hollow.wait_for(|hollow| *hollow).await.is_err() {
            return;
        }
        group.wait_ready().await;
        match fill(&group).await {
            Ok(fetched) => tracing::info!(group = %group.id(), fetched, "the replica has all blobs again"),
            Err(why) => {
                tracing::warn!(group = %group.id(), why, "the replica still lacks blobs, it tries again");
                sleep(AGAIN).await;
            }
        }
    }
}

/// Gets all that is missing; how many that was.
async fn fill(group: &Arc<Group>) -> Result<u64, String> {
    let generation = group.replica.space().generation;
    count(group).await?;
    let (mut after, mut fetched) = (None, 0);
    loop {
        let page = named(group, after).await?;
        let missing = group.gate.hold(page.clone()).await?;
        for blob in missing {
            let got = group.gate.fetch(&group.holders(None).sources(blob), blob, Urgency::Bulk).await;
            got.map_err(|why| format!("blob {blob}: {why}"))?;
            fetched += 1;
            group.lacks(group.lacking().saturating_sub(1));
        }
        after = page.last().copied();
        if page.len() < PAGE_ROWS as usize {
            break;
        }
    }
    group.gate.sync().await?;
    group.lacks(0);
    // Another snapshot may have come meanwhile.
    group.replica.set_filled(generation).map_err(|error| error.to_string())?;
    Ok(fetched)
}

/// Counts what is missing, for whoever looks after the node: fetching may take hours.
async fn count(group: &Arc<Group>) -> Result<(), String> {
    let (mut after, mut missing) = (None, 0);
    loop {
        let page = named(group, after).await?;
        after = page.last().copied();
        let rows = page.len();
        missing += group.gate.count_missing(page).await?;
        if rows < PAGE_ROWS as usize {
            group.lacks(missing);
            return Ok(());
        }
    }
}

/// The next blobs that the state names.
async fn named(group: &Arc<Group>, after: Option<BlobId>) -> Result<Vec<BlobId>, String> {
    let group = group.clone();
    let asked = spawn_blocking(move || {
        let (view, space) = group.replica.view();
        securanet_engine::answer(&*view, space, &Query::Blobs { after, rows_max: PAGE_ROWS })
    });
    match asked.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())? {
        Answer::Blobs(blobs) => Ok(blobs),
        // The directory names none.
        Answer::WrongGroup => Ok(Vec::new()),
        other => Err(format!("the engine answered out of turn: {other:?}")),
    }
}
