//! What the admin API asks of a node that is a gateway alone: it has no groups and no disk, only stores that it reaches.

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use securanet_admin::{Node, NodeStatus, ScrubReport};
use securanet_gateway::{
    connection::Shutdown,
    link::ClusterId,
    model::ReplicaId,
    remote::RemoteStore,
    store::{BoxFuture, Store},
};

/// This node, for the admin API.
pub(crate) struct GatewayPort {
    /// Its name.
    pub(crate) hostname: String,
    /// Its cluster.
    pub(crate) cluster: ClusterId,
    /// Its stores.
    pub(crate) store: Arc<RemoteStore>,
    /// Its metrics.
    pub(crate) metrics: PrometheusHandle,
    /// The routes that it sends by; none where it does not deliver.
    pub(crate) routes: Option<Vec<String>>,
    /// Whether it is being stopped.
    pub(crate) shutdown: Shutdown,
}

impl Node for GatewayPort {
    fn status(&self) -> BoxFuture<'_, Result<NodeStatus, String>> {
        let mut problems: Vec<String> =
            self.store.unreachable().iter().map(|store| format!("store {store} cannot be reached")).collect();
        problems.extend(self.store.accepting().err().map(|error| error.to_string()));
        let status = NodeStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: self.cluster.to_string(),
            hostname: self.hostname.clone(),
            problems,
            disk_free_bytes: 0,
            disk_reserve_bytes: 0,
            data_bytes: 0,
            nodes: Vec::new(),
            survives: None,
            groups: Vec::new(),
        };
        Box::pin(async { Ok(status) })
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

    fn routes(&self) -> Option<Vec<String>> {
        self.routes.clone()
    }
}
