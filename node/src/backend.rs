//! Where this process keeps its mail: in itself, or in stores that it reaches over the cluster's link.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, bail};
use metrics_exporter_prometheus::PrometheusHandle;
use securanet_admin::Node;
use securanet_gateway::{
    client::StoreClient,
    connection::Shutdown,
    link::{self, Bounds, ClusterId, Credentials, Link},
    remote::RemoteStore,
};
use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

use crate::{
    config::Config, gateway_port::GatewayPort, local_store::LocalStore, nodeport::NodePort, store_service::StoreService,
};

/// How often the expiry of the node's certificate is told; it is a day's matter.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(30);

/// The store as gateways in this process see it, and what it is made of.
pub(crate) enum Backend {
    /// In this process.
    Local(LocalStore),
    /// Elsewhere.
    Remote(Elsewhere),
}

/// Stores elsewhere.
pub(crate) struct Elsewhere {
    store: Arc<RemoteStore>,
    link: Link,
    keeping: JoinHandle<()>,
}

impl Backend {
    /// Opens the store of this node, or begins to look for those of its cluster.
    pub(crate) async fn open(config: &Config, shutdown: &Shutdown, tasks: &mut JoinSet<()>) -> anyhow::Result<Self> {
        if config.is_store() {
            return Ok(Self::Local(LocalStore::open(config, shutdown, tasks).await?));
        }
        let Some(cluster) = &config.cluster else { bail!("a gateway alone needs [cluster]") };
        let credentials = Credentials::load(cluster.files()).context("cluster")?;
        let link = Link::new(credentials.clone());
        tasks.spawn(watch_credentials(credentials, shutdown.clone()));
        let (store, keeping) = RemoteStore::new(&link, &cluster.stores).context("cluster.stores")?;
        // Not one of the tasks: sessions need their stores until they have ended.
        Ok(Self::Remote(Elsewhere { store, link, keeping: tokio::spawn(keeping) }))
    }

    /// A handle for gateways.
    pub(crate) fn client(&self) -> StoreClient {
        match self {
            Self::Local(local) => StoreClient::new(local.front.clone()),
            Self::Remote(elsewhere) => StoreClient::new(elsewhere.store.clone()),
        }
    }

    /// Serves other nodes, where the node's file says so.
    pub(crate) async fn listen(
        &self,
        config: &Config,
        shutdown: &Shutdown,
        tasks: &mut JoinSet<()>,
    ) -> anyhow::Result<Option<std::net::SocketAddr>> {
        let (Self::Local(local), Some(cluster)) = (self, &config.cluster) else { return Ok(None) };
        let Some(address) = cluster.address else { return Ok(None) };
        let credentials = Credentials::load(cluster.files()).context("cluster")?;
        let (ours, shown) = (ClusterId::new(local.cluster.id), credentials.identity());
        if shown.cluster != ours {
            bail!(
                "cluster.certificate_file {}: it is of {shown}, and this data directory is of cluster {ours}: make one with \
                 `securanet cluster certificate`",
                cluster.certificate_file.display()
            );
        }
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cluster.address {address}: choose another in the node file"))?;
        let bound = listener.local_addr()?;
        tasks.spawn(watch_credentials(credentials.clone(), shutdown.clone()));
        let routes = StoreService::routes(local.front.clone(), shutdown.clone());
        let draining = shutdown.draining();
        tasks.spawn(async move {
            if let Err(error) = link::serve(listener, credentials, routes, Bounds::default(), draining).await {
                tracing::error!(%error, "other nodes are not served any more");
            }
        });
        tracing::info!(address = %bound, node = %shown.node, cluster = %ours, "serving other nodes");
        Ok(Some(bound))
    }

    /// What the admin API asks of this node.
    pub(crate) fn port(
        &self,
        config: &Config,
        client: &StoreClient,
        metrics: PrometheusHandle,
        shutdown: &Shutdown,
    ) -> Arc<dyn Node> {
        let hostname = config.hostname.to_string();
        let routes = if config.is_gateway() { config.delivery.routes() } else { None };
        match self {
            Self::Local(local) => Arc::new(NodePort {
                hostname,
                cluster: local.cluster.id,
                stores: local.stores.clone(),
                client: client.clone(),
                groups: local.groups.clone(),
                disk: local.disk.clone(),
                care: local.care.clone(),
                metrics,
                routes,
                shutdown: shutdown.clone(),
            }),
            Self::Remote(elsewhere) => Arc::new(GatewayPort {
                hostname,
                cluster: elsewhere.link.identity().cluster,
                store: elsewhere.store.clone(),
                metrics,
                routes,
                shutdown: shutdown.clone(),
            }),
        }
    }

    /// When nobody uses it any more.
    pub(crate) async fn stop(&self) {
        match self {
            Self::Local(local) => match local.groups.shutdown().await {
                Ok(()) => tracing::info!("stopped"),
                Err(error) => tracing::error!(%error, "the state was not made durable; the log has everything"),
            },
            Self::Remote(elsewhere) => {
                elsewhere.keeping.abort();
                tracing::info!("stopped");
            }
        }
    }
}

/// Reads the files again when they change, and tells when the certificate ends.
async fn watch_credentials(credentials: Arc<Credentials>, shutdown: Shutdown) {
    let telling = async {
        loop {
            let file = credentials.certificate_file().display().to_string();
            metrics::gauge!("securanet_tls_certificate_expiry_seconds", "listener" => "cluster", "certificate" => file)
                .set(credentials.expires_unix_seconds() as f64);
            tokio::time::sleep(EXPIRY_INTERVAL).await;
        }
    };
    tokio::select! {
        () = credentials.clone().watch(shutdown.draining()) => {}
        () = telling => {}
    }
}
