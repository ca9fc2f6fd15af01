//! What the admin API asks of the node itself.

use std::{sync::Arc, time::Duration};

use metrics_exporter_prometheus::PrometheusHandle;
use securanet_admin::{Node, NodeStatus, ScrubReport};
use securanet_gateway::{
    client::StoreClient,
    connection::Shutdown,
    model::{
        GroupId, ReplicaId, StoreError,
        directory::{DirectoryAnswer, DirectoryQuery},
        limits::COMMIT_TIMEOUT_MILLIS,
    },
    store::BoxFuture,
};
use securanet_raft::{GroupStatus, Groups, Stores};
use tokio::time::timeout;

use crate::{
    cluster::{
        member::{Place, as_it_is},
        reports::Reports,
    },
    content::ContentCare,
    disk::DiskWatch,
    overview::Overview,
    report::Reporter,
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
    /// Says how it is.
    pub(crate) reporter: Arc<Reporter>,
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
        let (own, name) = (self.reporter.report(), self.name().to_owned());
        let (own, others, nodes) = tokio::join!(own, self.others(), self.nodes());
        let mut reports = others;
        reports.insert(name.clone(), Some(own));
        let overview = Overview::of(Some(&name), &reports, &nodes);
        let mut problems = overview.problems;
        problems.extend(self.problems());
        let held: u64 = overview.groups.iter().map(|group| group.held).sum();
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
            nodes: overview.nodes,
            survives: self.place.is_some().then_some(overview.survives),
            groups: overview.groups,
        })
    }

    /// The node's name in memberships.
    fn name(&self) -> &str {
        self.place.as_ref().map_or(&self.hostname, |place| place.node())
    }

    /// What other stores say of themselves; nothing for a node alone.
    async fn others(&self) -> Reports {
        match &self.place {
            Some(place) => place.ask_others().await,
            None => Reports::new(),
        }
    }

    /// The cluster's nodes as this replica of the directory has them; none before it has any, and of a node alone.
    async fn nodes(&self) -> Vec<securanet_gateway::model::nodes::Node> {
        let nodes = timeout(LOCAL_PATIENCE, as_it_is(&self.groups, DirectoryQuery::Nodes));
        match nodes.await {
            Ok(Ok(DirectoryAnswer::Nodes(nodes))) if self.place.is_some() => nodes,
            _ => Vec::new(),
        }
    }

    fn problems(&self) -> Vec<String> {
        let trouble = self.place.as_ref().and_then(|place| place.trouble());
        let accepting = self.client.store().accepting().err().map(|error| error.to_string());
        trouble.into_iter().chain(accepting).collect()
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

    fn hand_over(&self, group: GroupId, to: ReplicaId) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.groups.transfer_leader(group, to))
    }

    fn routes(&self) -> Option<Vec<String>> {
        self.routes.clone()
    }
}
