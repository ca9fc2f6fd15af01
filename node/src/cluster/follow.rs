//! A gateway alone follows the directory: which stores there are, and which of them are in its own site.

use std::{sync::Arc, time::Duration};

use securanet_gateway::{
    client::StoreClient,
    connection::Shutdown,
    model::{
        directory::{DirectoryAnswer, DirectoryQuery},
        nodes::{Node, NodeState},
        request::Topic,
    },
    remote::RemoteStore,
    store::Store,
};
use tokio::time::timeout;

use super::{homes::Homes, known::Known};
use crate::roles::Cluster;

/// The directory is looked at this often although nothing was heard of a change.
const LOOK: Duration = Duration::from_secs(30);

/// What follows.
pub(crate) struct Follower {
    /// The gateway's place.
    pub(crate) cluster: Cluster,
    /// Its way to the stores.
    pub(crate) store: Arc<RemoteStore>,
    /// What it remembers for its next start.
    pub(crate) known: Arc<Known>,
    /// Whose mail leaves from here.
    pub(crate) homes: Arc<Homes>,
}

impl Follower {
    /// Follows until the node drains.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        tokio::select! {
            () = shutdown.draining() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&self) {
        let client = StoreClient::new(self.store.clone());
        let mut changes = self.store.watch(Topic::Directory);
        loop {
            changes.mark_unchanged();
            match client.look_up(DirectoryQuery::Nodes).await {
                Ok(DirectoryAnswer::Nodes(nodes)) => self.learn(&nodes),
                Ok(other) => tracing::error!(?other, "the directory answered out of turn"),
                Err(error) => tracing::debug!(%error, "the directory does not say which stores there are"),
            }
            drop(timeout(LOOK, changes.changed()).await);
        }
    }

    fn learn(&self, nodes: &[Node]) {
        if let Err(error) = self.known.learn(nodes) {
            tracing::warn!(%error, "other nodes are not remembered");
        }
        self.homes.learn(nodes);
        let near = nodes.iter().filter(|node| node.facts.site == self.cluster.site && node.state != NodeState::Removed);
        self.store.set_near(near.map(|node| node.facts.name.to_string()));
        let stores = self.known.stores();
        // Those that the node file names are reached as it says; a way that leads to the same store is one way more.
        let others = stores.iter().filter(|address| !self.cluster.stores.contains(address));
        let all: Vec<String> = self.cluster.stores.iter().chain(others).cloned().collect();
        if stores.is_empty() {
            return;
        }
        if let Err(error) = self.store.set_stores(&all) {
            tracing::warn!(%error, "the cluster's stores cannot be reached as the directory says");
        }
    }
}
