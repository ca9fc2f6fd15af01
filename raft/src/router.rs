//! Finds the group that a request or a question is for, here or on another node.
//!
//! What every request must fulfil wherever it comes from is seen to here: the blobs that it names are on this disk before
//! it is proposed, and stay until its entry names them.

use std::{collections::BTreeMap, sync::Arc};

use securanet_blob::{BlobStore, Lease, intake::LEASE_MILLIS};
use securanet_model::{Answer, BlobId, Command, Execute, Freshness, GroupId, Query, StoreError, UnixMillis};

use crate::{
    batch::Outcome,
    gate::{Gate, NotHad, Urgency},
    group::Group,
    network::Network,
    runtime,
    settings::Clock,
    types::messages_of,
};

/// Finds groups, and checks what every request must fulfil wherever it comes from.
pub(crate) struct Router {
    pub(crate) groups: BTreeMap<GroupId, Arc<Group>>,
    pub(crate) blobs: Arc<BlobStore>,
    pub(crate) clock: Clock,
    pub(crate) network: Network,
    pub(crate) gate: Arc<Gate>,
}

impl Router {
    pub(crate) fn group(&self, id: GroupId) -> Result<&Arc<Group>, StoreError> {
        self.groups.get(&id).ok_or(StoreError::NoGroup(id))
    }

    /// Commits a request that a node has sent, which has the blobs that it names; only if this node leads the group, so
    /// that no request is passed around.
    pub(crate) async fn execute_from(&self, request: Execute, from: &str) -> Outcome {
        self.execute_here(self.group(request.group)?, request, Some(from)).await
    }

    /// Commits a request, after taking hold of the blobs it names: an entry in the log says that they are here.
    pub(crate) async fn execute_here(&self, group: &Group, request: Execute, from: Option<&str>) -> Outcome {
        if request.commands.iter().any(|command| matches!(command, Command::Recover(_))) {
            return Err(StoreError::Internal("a group is recovered by `securanet group recover` alone".to_owned()));
        }
        // Before the blobs: they may be where the leader is, and only there.
        group.check_leads()?;
        self.hold_blobs(group, &request, from).await?;
        group.execute(request).await
    }

    pub(crate) fn groups_count(&self) -> usize {
        self.groups.len()
    }

    /// Keeps the blobs of a request from collection until an entry names them, however long ago they were put.
    ///
    /// The lease outlives the request's deadline, behind which it is not proposed. From then on its entry pins the
    /// blobs, and an entry is purged only when the rows it made are durable: no instant is without a holder.
    /// What is not here is got from the node that sent the request, or from another member of the group: a gateway puts
    /// content where it is near.
    async fn hold_blobs(&self, group: &Group, request: &Execute, from: Option<&str>) -> Result<(), StoreError> {
        let missing = self.hold_those_here(request).await?;
        if missing.is_empty() {
            return Ok(());
        }
        self.fetch_all(group, from, missing, |_| StoreError::NotFound).await?;
        self.gate.sync().await.map_err(StoreError::Unavailable)
    }

    /// Gets blobs that a state names and that are not here, to read them.
    pub(crate) async fn read_through(&self, id: GroupId, blobs: &[BlobId]) -> Result<(), StoreError> {
        let group = self.group(id)?;
        let missing = self.gate.hold(blobs.to_vec()).await.map_err(StoreError::Unavailable)?;
        let nowhere = |blob| StoreError::Damaged(format!("no member of group {id} has blob {blob}"));
        self.fetch_all(group, None, missing, nowhere).await
    }

    /// Gets blobs that somebody waits for: from the node that spoke of them, or from other members of the group.
    async fn fetch_all(
        &self,
        group: &Group,
        from: Option<&str>,
        blobs: Vec<BlobId>,
        nowhere: impl Fn(BlobId) -> StoreError,
    ) -> Result<(), StoreError> {
        let holders = group.holders(from);
        for blob in blobs {
            let Err(why) = self.gate.fetch(&holders.sources(blob), blob, Urgency::Commit).await else { continue };
            tracing::warn!(group = %group.id(), %blob, %why, "a blob that a request or a reader names is not to be had");
            return Err(match why {
                NotHad::Nowhere => nowhere(blob),
                // Somebody may have it: it is worth another try.
                why => StoreError::Unavailable(format!("blob {blob}: {why}")),
            });
        }
        Ok(())
    }

    /// Keeps those blobs of a request that are here; the others. A node that passes a request on holds them too: the
    /// leader gets them from it.
    pub(crate) async fn hold_those_here(&self, request: &Execute) -> Result<Vec<BlobId>, StoreError> {
        let messages = request.commands.iter().flat_map(messages_of);
        let named: Vec<BlobId> = messages.flat_map(|message| message.blobs.iter().map(|blob| blob.id)).collect();
        if named.is_empty() {
            return Ok(named);
        }
        let (blobs, now) = (self.blobs.clone(), (self.clock)());
        // It may write, and then wait for a disk.
        let held = runtime::spawn_blocking(move || hold_all(&blobs, &named, now)).await;
        held.map_err(|error| StoreError::Internal(format!("holding blobs was cancelled: {error}")))?
    }

    /// Whether this node leads a group, as far as it knows.
    pub(crate) fn leads(&self, id: GroupId) -> bool {
        self.group(id).is_ok_and(|group| group.raft.is_leader())
    }

    /// Waits until the group has replayed.
    pub(crate) async fn wait_ready(&self, id: GroupId) {
        if let Ok(group) = self.group(id) {
            group.wait_ready().await;
        }
    }

    pub(crate) async fn query(
        &self,
        id: GroupId,
        query: Query,
        freshness: Freshness,
    ) -> Result<(Answer, u64), StoreError> {
        self.group(id)?.query(query, freshness).await
    }
}

/// Holds blobs for as long as those of a message that was just taken in; those that are not here.
fn hold_all(blobs: &BlobStore, named: &[BlobId], now: UnixMillis) -> Result<Vec<BlobId>, StoreError> {
    let lease = Lease { now, until: now.plus_millis(LEASE_MILLIS) };
    let mut missing = Vec::new();
    for &id in named {
        if !blobs.hold(id, lease).map_err(|error| StoreError::Damaged(error.to_string()))? {
            missing.push(id);
        }
    }
    Ok(missing)
}
