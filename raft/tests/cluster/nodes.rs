//! Nodes in one process that replicate over real gRPC on loopback, and can be killed.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use securanet_blob::BlobStore;
use securanet_kv::{Direction, KeyRange, Read};
use securanet_model::{Command, Execute, GroupId, ReplicaId, Reply, StoreError};
use securanet_raft::{GroupStatus, Groups, PeerClass, Peers, Settings};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};

use crate::{
    links::{Links, relay},
    support::*,
};

pub(crate) const SHARDS: u32 = 2;
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Reaches other nodes through the relays.
struct Relays {
    addresses: HashMap<String, SocketAddr>,
    near: HashSet<String>,
    channels: Mutex<HashMap<(String, PeerClass), Channel>>,
}

impl Peers for Relays {
    fn channel(&self, node: &str, class: PeerClass) -> Option<Channel> {
        let address = self.addresses.get(node)?;
        let new = || {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
            let endpoint = endpoint.connect_timeout(Duration::from_millis(700)).tcp_nodelay(true);
            let endpoint = endpoint.http2_keep_alive_interval(Duration::from_millis(500));
            endpoint.keep_alive_timeout(Duration::from_secs(2)).keep_alive_while_idle(true).connect_lazy()
        };
        let mut channels = self.channels.lock().unwrap();
        Some(channels.entry((node.to_owned(), class)).or_insert_with(new).clone())
    }

    fn is_near(&self, node: &str) -> Option<bool> {
        Some(self.near.contains(node))
    }
}

/// A node that runs.
pub(crate) struct Node {
    pub(crate) groups: Groups,
    blobs: Arc<BlobStore>,
    address: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

pub(crate) struct Cluster {
    pub(crate) links: Links,
    names: Vec<String>,
    /// Where each node stands.
    sites: Vec<usize>,
    voters: usize,
    pub(crate) disks: Vec<Arc<Disks>>,
    pub(crate) nodes: BTreeMap<usize, Node>,
    tune: Arc<dyn Fn(&mut Settings) + Send + Sync>,
}

impl Cluster {
    /// Starts `nodes` nodes, the first `voters` of them voters, and waits until the groups have leaders. Each stands alone.
    pub(crate) async fn start(
        nodes: usize,
        voters: usize,
        tune: impl Fn(&mut Settings) + Send + Sync + 'static,
    ) -> Self {
        Self::in_sites(&(0..nodes).collect::<Vec<_>>(), voters, tune).await
    }

    /// The same with a node for each of these, which is its site.
    pub(crate) async fn in_sites(
        sites: &[usize],
        voters: usize,
        tune: impl Fn(&mut Settings) + Send + Sync + 'static,
    ) -> Self {
        let (nodes, sites) = (sites.len(), sites.to_vec());
        let names: Vec<_> = (0..nodes).map(|node| format!("node-{node}")).collect();
        let disks = (0..nodes).map(|_| Arc::new(Disks::new())).collect();
        let mut cluster =
            Self { links: Links::default(), names, sites, voters, disks, nodes: BTreeMap::new(), tune: Arc::new(tune) };
        for node in 0..nodes {
            cluster.open(node).await;
        }
        for node in 0..voters {
            cluster.ready(node).await;
        }
        cluster
    }

    pub(crate) async fn three() -> Self {
        Self::start(3, 3, |_| {}).await
    }

    pub(crate) fn name(&self, node: usize) -> &str {
        &self.names[node]
    }

    /// Octets that went between sites, by pair.
    pub(crate) fn between_sites(&self) -> BTreeMap<(usize, usize), u64> {
        let site = |name: &String| self.sites[self.names.iter().position(|node| node == name).unwrap()];
        let mut sums = BTreeMap::new();
        for ((from, to), octets) in self.links.bytes() {
            let (one, other) = (site(&from), site(&to));
            if one != other {
                *sums.entry((one.min(other), one.max(other))).or_default() += octets;
            }
        }
        sums
    }

    /// Where a node listens, without a relay between.
    pub(crate) fn address(&self, node: usize) -> SocketAddr {
        self.nodes[&node].address
    }

    /// The blobs of a node.
    pub(crate) fn blobs(&self, node: usize) -> &BlobStore {
        &self.nodes[&node].blobs
    }

    /// Waits for something.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        while !is_so(self) {
            assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}: {:?}", self.status());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Flushes a node until the log of a group is purged.
    pub(crate) async fn purge(&self, node: usize, group: usize) {
        let started = Instant::now();
        let groups = &self.nodes[&node].groups;
        loop {
            groups.flush().await.unwrap();
            if groups.status()[group].log_bytes < 1000 {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "the log is not purged: {:?}", groups.status());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The replica id of a node's replicas.
    pub(crate) fn replica(node: usize) -> u64 {
        node as u64 + 1
    }

    /// Starts a node on what its disks have.
    pub(crate) async fn open(&mut self, node: usize) {
        let own = self.names[node].clone();
        let mut tasks = Vec::new();
        let mut addresses = HashMap::new();
        for other in self.names.iter().filter(|name| **name != own) {
            let (address, task) = relay(self.links.link(&own, other)).await;
            addresses.insert(other.clone(), address);
            tasks.push(task);
        }
        let mut settings = settings(SHARDS);
        settings.node = own.clone();
        settings.replica = ReplicaId::new(Self::replica(node));
        let voters = self.names[..self.voters].iter().enumerate();
        settings.voters = voters.map(|(node, name)| (ReplicaId::new(Self::replica(node)), name.clone())).collect();
        let near = self.names.iter().zip(&self.sites).filter(|(_, site)| **site == self.sites[node]);
        let near = near.map(|(name, _)| name.clone()).collect();
        settings.peers = Arc::new(Relays { addresses, near, channels: Mutex::default() });
        (self.tune)(&mut settings);
        let stores = self.disks[node].stores();
        let groups = Groups::open(settings, &stores).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.links.listens(&own, &self.names, address);
        let server = Server::builder().tcp_nodelay(true).add_service(groups.replication().into_server());
        tasks.push(tokio::spawn(async move {
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        }));
        self.nodes.insert(node, Node { groups, blobs: stores.blobs, address, tasks });
    }

    pub(crate) async fn ready(&self, node: usize) {
        let ready = tokio::time::timeout(PATIENCE, self.nodes[&node].groups.ready()).await;
        ready.unwrap_or_else(|_| panic!("node {node} did not become ready: {:?}", self.status()));
    }

    /// Takes a node's power away: what it had not made durable is lost.
    pub(crate) fn kill(&mut self, node: usize) {
        self.links.around(self.name(node), |quality| quality.cut = true);
        self.disks[node] = Arc::new(self.disks[node].crashed(0, 7));
        drop(self.nodes.remove(&node));
    }

    /// Starts a killed node again.
    pub(crate) async fn restart(&mut self, node: usize) {
        self.open(node).await;
        self.links.around(self.name(node), |quality| quality.cut = false);
        self.ready(node).await;
    }

    pub(crate) fn status(&self) -> Vec<Vec<GroupStatus>> {
        self.nodes.values().map(|node| node.groups.status()).collect()
    }

    /// The node that leads a group, once one that lives does.
    pub(crate) async fn leader(&self, group: u32) -> usize {
        let started = Instant::now();
        loop {
            for (&id, node) in &self.nodes {
                if node.groups.status()[group as usize].is_leader
                    && node
                        .groups
                        .query(GroupId::new(group), securanet_model::Query::Totals, securanet_model::Freshness::Now)
                        .await
                        .is_ok()
                {
                    return id;
                }
            }
            assert!(started.elapsed() < PATIENCE, "no leader: {:?}", self.status());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends a request as a gateway does: to one node after another until one has committed it.
    pub(crate) async fn execute(&self, request: Execute) -> Vec<Reply> {
        let started = Instant::now();
        let mut last = None;
        while started.elapsed() < PATIENCE {
            for node in self.nodes.values() {
                let tried = tokio::time::timeout(Duration::from_millis(700), run(&node.groups, request.clone())).await;
                match tried {
                    Ok(Ok(replies)) => return replies,
                    Ok(Err(error @ (StoreError::NotLeader { .. } | StoreError::Unavailable(_)))) => last = Some(error),
                    Ok(Err(other)) => panic!("{other}"),
                    Err(_) => {}
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not committed: {last:?} {:?}", self.status());
    }

    pub(crate) async fn write(&self, group: u32, number: u64, command: Command) -> Vec<Reply> {
        self.execute(execute(group, number, vec![command])).await
    }

    /// Waits until all nodes have applied what the leaders have, and compares their states byte for byte.
    pub(crate) async fn check_equal(&self) {
        self.check_equal_but(usize::MAX).await;
    }

    /// The same, for all nodes but one.
    pub(crate) async fn check_equal_but(&self, but: usize) {
        let started = Instant::now();
        let nodes = || self.nodes.iter().filter(move |(node, _)| **node != but);
        loop {
            let applied: Vec<Vec<_>> = nodes()
                .map(|(_, node)| node.groups.status())
                .map(|groups| groups.iter().map(|group| (group.applied, group.last_log)).collect())
                .collect();
            if applied.windows(2).all(|two| two[0] == two[1])
                && applied[0].iter().all(|(applied, last)| applied == last)
            {
                break;
            }
            assert!(started.elapsed() < PATIENCE, "replicas differ: {:?}", self.status());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let truths: Vec<_> = nodes().map(|(&node, _)| truth(&self.disks[node])).collect();
        assert!(truths[0].len() > 10, "{} rows", truths[0].len());
        assert!(truths.windows(2).all(|two| two[0] == two[1]), "the states of two replicas differ");
    }

    /// The numbers of an account's messages, as the leader of its group has them.
    pub(crate) async fn inbox(&self, group: u32, account: u64) -> Vec<u64> {
        let leader = self.leader(group).await;
        inbox_numbers(&self.nodes[&leader].groups, group, account).await
    }
}

/// All truth rows of a node's state, generation stripped.
pub(crate) fn truth(disks: &Disks) -> Vec<(Vec<u8>, Vec<u8>)> {
    let rows = disks.state.scan(&KeyRange { start: Vec::new(), end: None }, Direction::Forward, usize::MAX).unwrap();
    let rows = rows.into_iter().filter(|(key, _)| key[4..8] != [0xff; 4]);
    rows.map(|(key, value)| ([&key[..4], &key[8..]].concat(), value)).collect()
}
