//! A store of a cluster, as it starts and while it runs.
//!
//! Order of starting: the groups, then the listener for other nodes (they have to reach this one before it has a quorum),
//! then the cluster's facts from group 0, which a node that has just come in waits for. The founder makes the facts, the
//! authority and its own certificate first.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use aws_lc_rs::rand;
use parking_lot::Mutex;
use securanet_gateway::{
    clock,
    connection::Shutdown,
    link::{self, Bounds, ClusterId, Credentials, Identity, Link, PeerInfo, Served},
    model::{
        Answer, Freshness, GroupId, Query, StoreError,
        directory::{Cluster, DirectoryAnswer, DirectoryCommand, DirectoryQuery, DirectoryRefusal, DirectoryReply},
        nodes::{Authority, Node, NodeFacts, NodeState},
        request::Topic,
    },
    store::Store,
};
use securanet_kv::rocks::make_directory;
use securanet_raft::{Groups, Settings};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tonic::{Request, Status, service::Routes, service::interceptor::InterceptedService};

use super::{
    authority,
    homes::Homes,
    join::{self, Files},
    known::{Known, LinkPeers},
    membership::Member,
    placer, renewal,
    reports::{self, Reports},
    service::{Opened, Registrar},
};
use crate::{config::Config, front, report::Reporter, roles, store_service::StoreService};

/// How often somebody who waits is told what for.
const TELL: Duration = Duration::from_secs(10);
/// Between two looks at what must come from elsewhere.
const PAUSE: Duration = Duration::from_millis(100);
/// Group 0 is looked at this often although nothing was heard of a change.
const LOOK: Duration = Duration::from_secs(30);

/// A store's place in its cluster.
pub(crate) struct Place {
    facts: NodeFacts,
    member: Member,
    files: Files,
    address: SocketAddr,
    known: Arc<Known>,
    peers: Arc<LinkPeers>,
    opened: Opened,
    homes: Arc<Homes>,
    bound: Mutex<Option<SocketAddr>>,
    /// What group 0 says of this node that it should not.
    trouble: Mutex<Option<String>>,
}

impl Place {
    /// What the node file and the data directory say.
    pub(crate) fn new(config: &Config, cluster: &roles::Cluster, member: Member) -> anyhow::Result<Self> {
        let folder = cluster.folder(config)?;
        make_directory(&folder).with_context(|| format!("{}", folder.display()))?;
        let known = Arc::new(Known::load(&folder, cluster.reach.clone())?);
        Ok(Self {
            facts: join::facts(config, cluster),
            member,
            files: Files::in_directory(&folder),
            address: cluster.address.context("cluster.address")?,
            peers: Arc::new(LinkPeers::new(cluster.site.clone(), known.clone())),
            known,
            opened: Arc::new(OnceLock::new()),
            homes: Arc::new(Homes::new(cluster.site.clone())),
            bound: Mutex::default(),
            trouble: Mutex::default(),
        })
    }

    /// What its groups are opened with.
    pub(crate) fn settings(&self, shards: u32) -> Settings {
        let alone = Settings::alone(self.member.node.as_str(), shards, Arc::new(clock::now));
        let voters = if self.member.founder { alone.voters.clone() } else { Vec::new() };
        Settings { replica: self.member.replica, voters, peers: self.peers.clone(), ..alone }
    }

    /// Where it listens for other nodes.
    pub(crate) fn bound(&self) -> Option<SocketAddr> {
        *self.bound.lock()
    }

    /// Whose mail leaves from its site.
    pub(crate) fn homes(&self) -> Arc<Homes> {
        self.homes.clone()
    }

    /// Its name.
    pub(crate) fn node(&self) -> &str {
        self.member.node.as_str()
    }

    /// How the other stores are.
    pub(crate) async fn ask_others(&self) -> Reports {
        let others = self.known.store_names().into_iter().filter(|name| *name != self.member.node);
        reports::ask(&*self.peers, others.map(String::from)).await
    }

    /// What is wrong with its membership.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// Begins to serve other nodes, and waits for the cluster's facts.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        (groups, reporter): (&Groups, &Arc<Reporter>),
        shards: u32,
        shutdown: &Shutdown,
        tasks: &mut JoinSet<()>,
    ) -> anyhow::Result<Cluster> {
        if self.files.has_certificate() {
            let shown = self.listen((groups, reporter), shutdown, tasks).await?;
            let cluster = self.facts(groups, shards).await;
            let ours = ClusterId::new(cluster.id);
            if shown.cluster != ours {
                bail!("the certificate is of {shown}, and the data directory is of cluster {ours}: put its own back");
            }
            return Ok(cluster);
        }
        if !self.member.founder {
            bail!("{} has no certificate: come in again with `securanet join`", self.member.node);
        }
        let cluster = self.facts(groups, shards).await;
        let authority = authority_of(groups, ClusterId::new(cluster.id)).await?;
        change(groups, DirectoryCommand::FoundCluster(self.facts.clone())).await?;
        let identity = Identity { node: self.member.node.clone(), cluster: ClusterId::new(cluster.id) };
        let request = authority::request(&self.files.key()?, &self.member.node)?;
        self.files.write(&authority::sign(&authority, &identity, &request)?)?;
        tracing::info!(node = %self.member.node, site = %self.facts.site, cluster = %identity.cluster, "a cluster was made");
        self.listen((groups, reporter), shutdown, tasks).await?;
        Ok(cluster)
    }

    /// From now on the store is served.
    pub(crate) fn open(
        self: &Arc<Self>,
        store: Arc<dyn Store>,
        groups: &Groups,
        shutdown: &Shutdown,
        tasks: &mut JoinSet<()>,
    ) {
        drop(self.opened.set(store));
        let (place, groups, shutdown) = (self.clone(), groups.clone(), shutdown.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = shutdown.draining() => {}
                () = place.keep_in_touch(&groups) => {}
                () = placer::place(groups.clone()) => {}
            }
        });
    }

    /// Serves other nodes, as whom its certificate shows.
    async fn listen(
        &self,
        (groups, reporter): (&Groups, &Arc<Reporter>),
        shutdown: &Shutdown,
        tasks: &mut JoinSet<()>,
    ) -> anyhow::Result<Arc<Identity>> {
        let credentials = self.files.credentials()?;
        let shown = credentials.identity();
        if shown.node != self.member.node {
            bail!("the certificate is of {shown}, and this is node {}: come in again", self.member.node);
        }
        let link = Link::new(credentials.clone());
        self.peers.set_link(link.clone());
        let socket = TcpListener::bind(self.address).await;
        let socket =
            socket.with_context(|| format!("cluster.address {}: choose another in the node file", self.address))?;
        *self.bound.lock() = Some(socket.local_addr()?);
        tracing::info!(address = %socket.local_addr()?, node = %shown.node, cluster = %shown.cluster, "serving other nodes");
        let (files, known) = (self.files.clone(), self.known.clone());
        tasks.spawn(renewal::look_after(files, credentials.clone(), link, known, shutdown.clone()));
        tasks.spawn(serve(socket, credentials, self.served((groups, reporter), shutdown), shutdown.clone()));
        Ok(shown)
    }

    fn served(&self, (groups, reporter): (&Groups, &Arc<Reporter>), shutdown: &Shutdown) -> Served {
        let registrar = Registrar::new(self.opened.clone(), reporter.clone());
        let nodes = StoreService::routes(self.opened.clone(), shutdown.clone())
            .add_service(InterceptedService::new(groups.replication().into_server(), stores_only(self.known.clone())))
            .add_service(registrar.for_nodes());
        let strangers = Some(Routes::new(registrar.for_strangers()));
        Served { nodes, strangers, admits: self.known.admits() }
    }

    /// The cluster's facts. The founder makes them; others wait until they have come.
    async fn facts(&self, groups: &Groups, shards: u32) -> Cluster {
        let mut told = Instant::now();
        loop {
            match as_it_is(groups, DirectoryQuery::Cluster).await {
                Ok(DirectoryAnswer::Cluster(Some(cluster))) => return cluster,
                Ok(_) if self.member.founder => match make_facts(groups, shards).await {
                    Ok(()) => continue,
                    Err(error) => tracing::warn!(%error, "the cluster is not made yet"),
                },
                // Nothing has come yet.
                Ok(_) | Err(_) => {}
            }
            if told.elapsed() > TELL {
                told = Instant::now();
                let nodes = self.known.stores().join(", ");
                tracing::warn!(nodes, "still waiting for the cluster's directory from another node");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Learns of other nodes, and tells them of this one.
    async fn keep_in_touch(&self, groups: &Groups) {
        let mut changes = groups.watch(Topic::Directory);
        loop {
            changes.mark_unchanged();
            if let Ok(DirectoryAnswer::Nodes(nodes)) = as_it_is(groups, DirectoryQuery::Nodes).await {
                if let Err(error) = self.known.learn(&nodes) {
                    tracing::warn!(%error, "other nodes are not remembered");
                }
                self.homes.learn(&nodes);
                self.look_at_own(groups, &nodes).await;
            }
            drop(timeout(LOOK, changes.changed()).await);
        }
    }

    async fn look_at_own(&self, groups: &Groups, nodes: &[Node]) {
        let own = nodes.iter().find(|node| node.facts.name == self.member.node);
        let trouble = match own {
            // A node that has just come in may not have heard of itself yet.
            None => None,
            Some(node) if node.state == NodeState::Removed => {
                Some(format!("node {} was removed from the cluster: stop it", self.member.node))
            }
            Some(node) if node.replica != Some(self.member.replica) => Some(format!(
                "another process is node {} now: stop this one, or remove its data directory and let it come in under \
                 another name",
                self.member.node
            )),
            Some(node) if node.facts != self.facts => {
                let told = change(groups, DirectoryCommand::UpdateNode(self.facts.clone())).await;
                told.err().map(|error| format!("what has changed of this node cannot be told: {error:#}"))
            }
            Some(_) => None,
        };
        if let Some(trouble) = &trouble {
            tracing::error!(trouble, "this node's place in the cluster");
        }
        *self.trouble.lock() = trouble;
    }
}

/// Lets stores of the cluster through: a gateway's certificate is not enough to vote.
fn stores_only(known: Arc<Known>) -> impl Fn(Request<()>) -> Result<Request<()>, Status> + Clone {
    move |request: Request<()>| {
        let peer = request.extensions().get::<PeerInfo>();
        let peer = peer.ok_or_else(|| Status::unauthenticated("who asks is not known"))?;
        if known.is_store(&peer.identity.node) {
            Ok(request)
        } else {
            Err(Status::permission_denied(format!("node {} is not known here as a store", peer.identity.node)))
        }
    }
}

async fn serve(socket: TcpListener, credentials: Arc<Credentials>, served: Served, shutdown: Shutdown) {
    if let Err(error) = link::serve(socket, credentials, served, Bounds::default(), shutdown.draining()).await {
        tracing::error!(%error, "other nodes are not served any more");
    }
}

/// What this replica of a group says, which may be behind.
pub(crate) async fn replica_says(groups: &Groups, group: GroupId, query: Query) -> Result<Answer, StoreError> {
    Ok(groups.query(group, query, Freshness::Any).await?.0)
}

/// The same of the directory.
pub(crate) async fn as_it_is(groups: &Groups, query: DirectoryQuery) -> Result<DirectoryAnswer, StoreError> {
    match replica_says(groups, GroupId::DIRECTORY, Query::Directory(query)).await? {
        Answer::Directory(answer) => Ok(answer),
        other => Err(StoreError::Internal(format!("the directory answered out of turn: {other:?}"))),
    }
}

/// Makes the cluster's secrets, unless they were made before: a replica that still replays does not know.
pub(crate) async fn make_facts(groups: &Groups, shards: u32) -> anyhow::Result<()> {
    let mut secret = [0; 80];
    rand::fill(&mut secret).map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    let part = |from: usize| -> [u8; 32] { std::array::from_fn(|at| secret[from + at]) };
    let initialise = DirectoryCommand::Initialise {
        cluster: std::array::from_fn(|at| secret[at]),
        content_key: part(16),
        login_key: part(48),
        shards,
    };
    match front::commit(groups, initialise).await.context("the cluster's facts")? {
        DirectoryReply::Refused(DirectoryRefusal::AlreadyInitialised) => Ok(()),
        DirectoryReply::Refused(refusal) => bail!("the directory refuses the cluster's facts: {refusal}"),
        _ => Ok(()),
    }
}

/// The cluster's authority; made when there is none.
async fn authority_of(groups: &Groups, cluster: ClusterId) -> anyhow::Result<Authority> {
    loop {
        if let Ok(DirectoryAnswer::Authority(Some(authority))) = as_it_is(groups, DirectoryQuery::Authority).await {
            return Ok(authority);
        }
        change(groups, DirectoryCommand::SetAuthority(authority::make(cluster)?)).await?;
    }
}

async fn change(groups: &Groups, command: DirectoryCommand) -> anyhow::Result<()> {
    match front::commit(groups, command).await? {
        DirectoryReply::Refused(refusal) => bail!("the directory refuses: {refusal}"),
        _ => Ok(()),
    }
}
