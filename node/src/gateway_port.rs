//! What the admin API asks of a node that is a gateway alone: it has no groups and no disk, only stores that it reaches.

use std::{sync::Arc, time::Duration};

use metrics_exporter_prometheus::PrometheusHandle;
use securanet_admin::{Node, NodeStatus, ScrubReport};
use securanet_gateway::{
    client::StoreClient,
    connection::Shutdown,
    link::ClusterId,
    model::{
        GroupId, ReplicaId, StoreError,
        directory::{DirectoryAnswer, DirectoryQuery},
        nodes,
    },
    remote::RemoteStore,
    store::{BoxFuture, Store},
};

use tokio::time::timeout;

use crate::{
    cluster::{
        known::{Known, LinkPeers},
        reports,
    },
    overview::Overview,
};

/// Without a leader of the directory nobody says which nodes there are.
const NODES_PATIENCE: Duration = Duration::from_secs(1);

/// This node, for the admin API.
pub(crate) struct GatewayPort {
    /// Its name.
    pub(crate) hostname: String,
    /// Its cluster.
    pub(crate) cluster: ClusterId,
    /// Its stores.
    pub(crate) store: Arc<RemoteStore>,
    /// The nodes that it knows.
    pub(crate) known: Arc<Known>,
    /// Where it asks them.
    pub(crate) peers: Arc<LinkPeers>,
    /// Its metrics.
    pub(crate) metrics: PrometheusHandle,
    /// The routes that it sends by; none where it does not deliver.
    pub(crate) routes: Option<Vec<String>>,
    /// Whether it is being stopped.
    pub(crate) shutdown: Shutdown,
}

impl GatewayPort {
    async fn gather(&self) -> NodeStatus {
        let stores = self.known.store_names().into_iter().map(String::from);
        let (reports, nodes) = tokio::join!(reports::ask(&*self.peers, stores), self.nodes());
        let overview = Overview::of(None, &reports, &nodes);
        let mut problems = overview.problems;
        problems.extend(self.store.unreachable().iter().map(|store| format!("store {store} cannot be reached")));
        problems.extend(self.store.accepting().err().map(|error| error.to_string()));
        NodeStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: self.cluster.to_string(),
            hostname: self.hostname.clone(),
            problems,
            disk_free_bytes: 0,
            disk_reserve_bytes: 0,
            data_bytes: 0,
            survives: (!overview.groups.is_empty()).then_some(overview.survives),
            nodes: overview.nodes,
            groups: overview.groups,
        }
    }

    /// The cluster's nodes as the stores say; where they do not, the stores that this gateway remembers.
    async fn nodes(&self) -> Vec<nodes::Node> {
        let client = StoreClient::new(self.store.clone());
        let asked = timeout(NODES_PATIENCE, client.ask_directory(DirectoryQuery::Nodes)).await;
        match asked {
            Ok(Ok(DirectoryAnswer::Nodes(nodes))) => nodes,
            _ => self.known.remembered(),
        }
    }
}

impl Node for GatewayPort {
    fn status(&self) -> BoxFuture<'_, Result<NodeStatus, String>> {
        Box::pin(async { Ok(self.gather().await) })
    }

    fn ready(&self) -> Result<(), String> {
        if self.shutdown.is_draining() {
            return Err("draining".to_owned());
        }
        self.store.accepting().map_err(|error| error.to_string())
    }

    fn scrub(&self) -> BoxFuture<'_, Result<ScrubReport, String>> {
        Box::pin(async { Err("a gateway alone has nothing to scrub: ask a store".to_owned()) })
    }

    fn metrics(&self) -> String {
        self.metrics.render()
    }

    fn votes_of(&self, _replica: ReplicaId) -> Vec<u32> {
        Vec::new()
    }

    fn hand_over(&self, _group: GroupId, _to: ReplicaId) -> BoxFuture<'_, Result<(), StoreError>> {
        let refused = "a gateway alone leads no group: ask the store that does";
        Box::pin(async { Err(StoreError::Unavailable(refused.to_owned())) })
    }

    fn routes(&self) -> Option<Vec<String>> {
        self.routes.clone()
    }
}
