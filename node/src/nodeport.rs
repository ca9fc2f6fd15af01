//! What the admin API asks of the node itself.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use securanet_admin::{Node, NodeStatus, OutboundStatus, ScrubReport, ShardStatus};
use securanet_gateway::{
    client::StoreClient,
    connection::Shutdown,
    model::{
        Answer, GroupId, Query, ReplicaId, UnixMillis,
        delivery::{QueueAnswer, QueueQuery},
        limits::COMMIT_TIMEOUT_MILLIS,
        outbound::{OutboundAnswer, OutboundQuery},
        request::Totals,
    },
    store::BoxFuture,
};
use securanet_raft::{GroupStatus, Groups, Stores};

use crate::{cluster::member::Place, content::ContentCare, disk::DiskWatch};

/// This node, for the admin API.
pub(crate) struct NodePort {
    /// Its name.
    pub(crate) hostname: String,
    /// The cluster's id.
    pub(crate) cluster: [u8; 16],
    /// Its place among other nodes; none of a node alone.
    pub(crate) place: Option<Arc<Place>>,
    /// Its disks.
    pub(crate) stores: Stores,
    /// Its store.
    pub(crate) client: StoreClient,
    /// Its groups.
    pub(crate) groups: Groups,
    /// Its free space.
    pub(crate) disk: Arc<DiskWatch>,
    /// Its blobs.
    pub(crate) care: Arc<ContentCare>,
    /// Its metrics.
    pub(crate) metrics: PrometheusHandle,
    /// The routes that it sends by; none where it does not deliver.
    pub(crate) routes: Option<Vec<String>>,
    /// Whether it is being stopped.
    pub(crate) shutdown: Shutdown,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl NodePort {
    async fn gather(&self) -> anyhow::Result<NodeStatus> {
        let mut groups = Vec::new();
        let mut problems = self.problems();
        for status in self.groups.status() {
            problems.extend(problems_of(&status));
            groups.push(self.shard(&status).await?);
        }
        let held: u64 = groups.iter().map(|group| group.held).sum();
        if held > 0 {
            problems.push(format!("{held} recipients are held: no account would take their mail"));
        }
        let stores = self.stores.clone();
        let data_bytes = tokio::task::spawn_blocking(move || {
            [&stores.log, &stores.state, &stores.blob]
                .into_iter()
                .try_fold(0, |sum, store| store.size_on_disk_bytes().map(|bytes| sum + bytes))
        });
        Ok(NodeStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: hex(&self.cluster),
            hostname: self.hostname.clone(),
            problems,
            disk_free_bytes: self.disk.free_bytes(),
            disk_reserve_bytes: self.disk.reserve_bytes(),
            data_bytes: data_bytes.await??,
            groups,
        })
    }

    fn problems(&self) -> Vec<String> {
        let trouble = self.place.as_ref().and_then(|place| place.trouble());
        let accepting = self.client.store().accepting().err().map(|error| error.to_string());
        trouble.into_iter().chain(accepting).collect()
    }

    async fn shard(&self, status: &GroupStatus) -> anyhow::Result<ShardStatus> {
        let totals = match self.groups.query(status.group, Query::Totals, None).await? {
            Answer::Totals(totals) => totals,
            _ => Totals::default(),
        };
        let (pending, held) = match self.queue_depth(status.group).await? {
            Answer::Queue(QueueAnswer::Depth { pending, held, .. }) => (pending, held),
            _ => (0, 0),
        };
        Ok(ShardStatus {
            group: status.group.get(),
            leads: status.is_leader,
            term: status.term,
            last_log_index: status.last_log.unwrap_or(0),
            applied_index: status.applied.unwrap_or(0),
            accounts: totals.accounts,
            messages: totals.messages,
            bytes: totals.bytes,
            pending,
            held,
            repeats_suppressed: totals.repeats_suppressed,
            outbound: self.outbound(status.group).await?,
        })
    }

    async fn outbound(&self, group: GroupId) -> anyhow::Result<OutboundStatus> {
        let depth = match self.groups.query(group, Query::Outbound(OutboundQuery::Depth), None).await? {
            Answer::Outbound(OutboundAnswer::Depth(depth)) => depth,
            // The directory has no queue.
            _ => return Ok(OutboundStatus::default()),
        };
        Ok(OutboundStatus {
            items: depth.items,
            waiting: depth.waiting,
            taken: depth.taken,
            held: depth.held,
            delivered: depth.delivered,
            failed: depth.failed,
            uncertain: depth.uncertain,
            oldest_unix_millis: depth.oldest.map(UnixMillis::get),
        })
    }

    async fn queue_depth(&self, group: GroupId) -> anyhow::Result<Answer> {
        Ok(self.groups.query(group, Query::Queue(QueueQuery::Depth), None).await?)
    }
}

fn problems_of(status: &GroupStatus) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(why) = &status.stopped {
        problems.push(format!("group {} has stopped: {why}", status.group));
    } else if status.leader.is_none() {
        problems.push(format!("group {} has no leader: it takes no changes", status.group));
    } else if !status.replayed {
        problems.push(format!("group {} is still replaying its log", status.group));
    }
    if status.clock_ahead_millis >= COMMIT_TIMEOUT_MILLIS {
        let behind = status.clock_ahead_millis / 1000;
        problems.push(format!(
            "group {} takes no changes: this node's clock is {behind} s behind what it was; set the clock",
            status.group
        ));
    }
    problems
}

impl Node for NodePort {
    fn status(&self) -> BoxFuture<'_, Result<NodeStatus, String>> {
        Box::pin(async { self.gather().await.map_err(|error| format!("{error:#}")) })
    }

    fn ready(&self) -> Result<(), String> {
        if self.shutdown.is_draining() {
            return Err("draining".to_owned());
        }
        self.client.store().accepting().map_err(|error| error.to_string())?;
        match self.groups.status().iter().flat_map(problems_of).next() {
            Some(problem) => Err(problem),
            None => Ok(()),
        }
    }

    fn scrub(&self) -> BoxFuture<'_, Result<ScrubReport, String>> {
        Box::pin(async { self.care.scrub().await.map_err(|error| format!("{error:#}")) })
    }

    fn metrics(&self) -> String {
        self.metrics.render()
    }

    fn votes_of(&self, replica: ReplicaId) -> Vec<u32> {
        let voting = self.groups.status().into_iter().filter(|status| status.voters.contains(&replica.get()));
        voting.map(|status| status.group.get()).collect()
    }

    fn routes(&self) -> Option<Vec<String>> {
        self.routes.clone()
    }
}
