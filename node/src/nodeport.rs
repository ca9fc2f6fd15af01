//! What the admin API asks of the node itself.

use std::{sync::Arc, time::Duration};

use metrics_exporter_prometheus::PrometheusHandle;
use securanet_admin::{Node, NodeStatus, OutboundStatus, ScrubReport, ShardStatus};
use securanet_gateway::{
    client::StoreClient,
    connection::Shutdown,
    model::{
        Answer, GroupId, Query, ReplicaId, UnixMillis,
        delivery::{QueueAnswer, QueueQuery},
        directory::{DirectoryAnswer, DirectoryQuery},
        limits::COMMIT_TIMEOUT_MILLIS,
        outbound::{OutboundAnswer, OutboundQuery},
        request::Totals,
    },
    store::BoxFuture,
};
use securanet_raft::{GroupStatus, Groups, Stores};

use tokio::time::timeout;

use crate::{
    cluster::member::{Place, as_it_is, replica_says},
    content::ContentCare,
    disk::DiskWatch,
    overview::Overview,
};

/// What a replica itself says is there at once, unless it has nothing yet.
const LOCAL_PATIENCE: Duration = Duration::from_millis(200);

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
        let statuses = self.groups.status();
        let overview = match &self.place {
            Some(_) => Some(Overview::of(&statuses, &self.nodes().await)),
            None => None,
        };
        problems.extend(overview.iter().flat_map(Overview::problems));
        for status in statuses {
            problems.extend(problems_of(&status));
            groups.push(self.shard(&status).await);
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
        let (nodes, survives) = overview.map_or((Vec::new(), None), |of| (of.nodes, Some(of.survives)));
        Ok(NodeStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: hex(&self.cluster),
            hostname: self.hostname.clone(),
            problems,
            disk_free_bytes: self.disk.free_bytes(),
            disk_reserve_bytes: self.disk.reserve_bytes(),
            data_bytes: data_bytes.await??,
            nodes,
            survives,
            groups,
        })
    }

    /// The cluster's nodes as this replica of the directory has them; none before it has any.
    async fn nodes(&self) -> Vec<securanet_gateway::model::nodes::Node> {
        match as_it_is(&self.groups, DirectoryQuery::Nodes).await {
            Ok(DirectoryAnswer::Nodes(nodes)) => nodes,
            _ => Vec::new(),
        }
    }

    /// What this replica of a group says, which may be behind: an operator asks when there is no leader, too.
    async fn local(&self, group: GroupId, query: Query) -> Option<Answer> {
        timeout(LOCAL_PATIENCE, replica_says(&self.groups, group, query)).await.ok()?.ok()
    }

    fn problems(&self) -> Vec<String> {
        let trouble = self.place.as_ref().and_then(|place| place.trouble());
        let accepting = self.client.store().accepting().err().map(|error| error.to_string());
        trouble.into_iter().chain(accepting).collect()
    }

    async fn shard(&self, status: &GroupStatus) -> ShardStatus {
        let totals = match self.local(status.group, Query::Totals).await {
            Some(Answer::Totals(totals)) => totals,
            _ => Totals::default(),
        };
        let (pending, held) = match self.local(status.group, Query::Queue(QueueQuery::Depth)).await {
            Some(Answer::Queue(QueueAnswer::Depth { pending, held, .. })) => (pending, held),
            _ => (0, 0),
        };
        let names = |voter: bool| {
            let members = status.members.iter().filter(|member| member.voter == voter);
            members.map(|member| member.node.clone()).collect::<Vec<_>>()
        };
        let last = status.last_log.unwrap_or(0);
        let lags = status.members.iter().filter(|member| member.voter);
        let slowest = lags.map(|member| last.saturating_sub(member.matched.unwrap_or(0))).max();
        ShardStatus {
            group: status.group.get(),
            leads: status.is_leader,
            leader: status.members.iter().find(|member| member.leader).map(|member| member.node.clone()),
            voters: names(true),
            learners: names(false),
            lag_entries: slowest.filter(|_| status.is_leader),
            hollow: status.hollow,
            term: status.term,
            last_log_index: last,
            applied_index: status.applied.unwrap_or(0),
            accounts: totals.accounts,
            messages: totals.messages,
            bytes: totals.bytes,
            pending,
            held,
            repeats_suppressed: totals.repeats_suppressed,
            outbound: self.outbound(status.group).await,
        }
    }

    async fn outbound(&self, group: GroupId) -> OutboundStatus {
        let depth = match self.local(group, Query::Outbound(OutboundQuery::Depth)).await {
            Some(Answer::Outbound(OutboundAnswer::Depth(depth))) => depth,
            // The directory has no queue.
            _ => return OutboundStatus::default(),
        };
        OutboundStatus {
            items: depth.items,
            waiting: depth.waiting,
            taken: depth.taken,
            held: depth.held,
            delivered: depth.delivered,
            failed: depth.failed,
            uncertain: depth.uncertain,
            oldest_unix_millis: depth.oldest.map(UnixMillis::get),
        }
    }
}

fn problems_of(status: &GroupStatus) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(why) = &status.stopped {
        problems.push(format!("group {} has stopped: {why}", status.group));
    } else if status.leader.is_none() {
        problems.push(format!("group {} has no leader: it takes no changes", status.group));
    } else if status.hollow {
        problems
            .push(format!("group {} lacks message parts here: they are being fetched from other nodes", status.group));
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
