//! Where this process keeps its mail: in itself, or in stores that it reaches over the cluster's link.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use metrics_exporter_prometheus::PrometheusHandle;
use securanet_admin::Node;
use securanet_gateway::{client::StoreClient, connection::Shutdown, link::Link, remote::RemoteStore};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::{
    cluster::{
        follow::Follower,
        homes::Homes,
        join::Files,
        known::{Known, LinkPeers},
        renewal,
    },
    config::Config,
    gateway_port::GatewayPort,
    local_store::LocalStore,
    nodeport::NodePort,
};

/// Handing over takes a round trip and an election; whom nobody answers is not waited for.
const RESIGN_PATIENCE: Duration = Duration::from_secs(5);

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
    known: Arc<Known>,
    peers: Arc<LinkPeers>,
    keeping: JoinHandle<()>,
    homes: Arc<Homes>,
}

impl Backend {
    /// Opens the store of this node, or begins to look for those of its cluster.
    pub(crate) async fn open(config: &Config, shutdown: &Shutdown, tasks: &mut JoinSet<()>) -> anyhow::Result<Self> {
        if config.is_store() {
            return Ok(Self::Local(Box::pin(LocalStore::open(config, shutdown, tasks)).await?));
        }
        let Some(cluster) = &config.cluster else { bail!("a gateway alone needs [cluster]") };
        let folder = cluster.folder(config)?;
        let files = Files::in_directory(&folder);
        if !files.has_certificate() {
            bail!("{}: no certificate: let this gateway come in with `securanet join --token TOKEN`", folder.display());
        }
        let credentials = files.credentials()?;
        let link = Link::new(credentials.clone());
        let known = Arc::new(Known::load(&folder, cluster.reach.clone())?);
        tasks.spawn(renewal::look_after(files, credentials, link.clone(), known.clone(), shutdown.clone()));
        let stores = if cluster.stores.is_empty() { known.stores() } else { cluster.stores.clone() };
        let (store, keeping) = RemoteStore::new(&link, &stores).context("cluster.stores")?;
        let peers = Arc::new(LinkPeers::new(cluster.site.clone(), known.clone()));
        peers.set_link(link.clone());
        let homes = Arc::new(Homes::new(cluster.site.clone()));
        let (cluster, homes_of) = (cluster.clone(), homes.clone());
        let follower = Follower { cluster, store: store.clone(), known: known.clone(), homes: homes_of };
        tasks.spawn(follower.run(shutdown.clone()));
        // Not one of the tasks: sessions need their stores until they have ended.
        Ok(Self::Remote(Elsewhere { store, link, known, peers, keeping: tokio::spawn(keeping), homes }))
    }

    /// Whose mail leaves from this node's site; none of a node alone.
    pub(crate) fn homes(&self) -> Option<Arc<Homes>> {
        match self {
            Self::Local(local) => local.place.as_ref().map(|place| place.homes()),
            Self::Remote(elsewhere) => Some(elsewhere.homes.clone()),
        }
    }

    /// A handle for gateways.
    pub(crate) fn client(&self) -> StoreClient {
        match self {
            Self::Local(local) => StoreClient::new(local.front.clone()),
            Self::Remote(elsewhere) => StoreClient::new(elsewhere.store.clone()),
        }
    }

    /// Where other nodes are served, if they are.
    pub(crate) fn serves_nodes_at(&self) -> Option<SocketAddr> {
        match self {
            Self::Local(local) => local.place.as_ref().and_then(|place| place.bound()),
            Self::Remote(_) => None,
        }
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
                place: local.place.clone(),
                stores: local.stores.clone(),
                client: client.clone(),
                groups: local.groups.clone(),
                reporter: local.reporter.clone(),
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
                known: elsewhere.known.clone(),
                peers: elsewhere.peers.clone(),
                metrics,
                routes,
                shutdown: shutdown.clone(),
            }),
        }
    }

    /// Before anything else is stopped: other nodes lead what this one led.
    pub(crate) async fn resign(&self) {
        if let Self::Local(local) = self
            && local.place.is_some()
        {
            drop(timeout(RESIGN_PATIENCE, local.groups.resign()).await);
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
