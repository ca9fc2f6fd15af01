//! What a store does for nodes that come in, and for those that want a new certificate.

use std::sync::{Arc, OnceLock};

use securanet_gateway::{
    client::StoreClient,
    link::{ClusterId, Identity, PeerInfo, sha256},
    model::{
        directory::{Cluster, DirectoryAnswer, DirectoryCommand, DirectoryQuery, DirectoryReply},
        nodes::{Authority, Node, NodeState},
    },
    store::Store,
};
use securanet_wire::enrolment::{
    Certificate, JoinAsk, MESSAGE_BYTES_MAX, REPORT_BYTES_MAX, Welcome, join_from_wire, joined_to_wire,
    proto::{
        JoinReply, JoinRequest, RenewReply, RenewRequest, ReportReply, ReportRequest,
        enrolment_server::{Enrolment, EnrolmentServer},
        membership_server::{Membership, MembershipServer},
    },
    renew_from_wire, renewed_to_wire, report_to_wire,
};
use tonic::{Request, Response, Status};

use super::authority;
use crate::report::Reporter;

/// The store of this process, once it is open.
pub(crate) type Opened = Arc<OnceLock<Arc<dyn Store>>>;

/// Lets nodes in and gives them certificates.
#[derive(Clone)]
pub(crate) struct Registrar {
    store: Opened,
    reporter: Arc<Reporter>,
}

/// Why a node does not get what it asks for; its operator reads it.
type Refused = String;

impl Registrar {
    pub(crate) fn new(store: Opened, reporter: Arc<Reporter>) -> Self {
        Self { store, reporter }
    }

    /// For who has a token.
    pub(crate) fn for_strangers(&self) -> EnrolmentServer<Self> {
        EnrolmentServer::new(self.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// For nodes.
    pub(crate) fn for_nodes(&self) -> MembershipServer<Self> {
        let server = MembershipServer::new(self.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        server.max_encoding_message_size(REPORT_BYTES_MAX)
    }

    fn client(&self) -> Result<StoreClient, Refused> {
        let store = self.store.get().ok_or("this store is starting: try again in some seconds")?;
        Ok(StoreClient::new(store.clone()))
    }

    async fn let_in(&self, ask: &JoinAsk) -> Result<Welcome, Refused> {
        let client = self.client()?;
        let key = authority::key_digest(&ask.certificate_request).map_err(|error| format!("{error:#}"))?;
        let join = DirectoryCommand::Join { token: sha256(&ask.secret), key, facts: ask.facts.clone() };
        let node = match client.directory(join).await.map_err(|error| error.to_string())? {
            DirectoryReply::Node(node) => node,
            DirectoryReply::Refused(refusal) => return Err(refusal.to_string()),
            other => return Err(format!("the directory answered out of turn: {other:?}")),
        };
        let cluster = cluster(&client).await?;
        let certificate = certificate(&client, &cluster, &node, &ask.certificate_request).await?;
        let stores = nodes(&client).await?.into_iter().filter(|other| other.state != NodeState::Removed);
        let stores = stores.filter(|other| other.facts.store && other.facts.name != node.facts.name);
        let stores = stores.filter_map(|store| Some((store.facts.name, store.facts.address?))).collect();
        tracing::info!(node = %node.facts.name, site = %node.facts.site, replica = ?node.replica, "a node has come in");
        Ok(Welcome { certificate, replica: node.replica, shards: cluster.shards, stores })
    }

    async fn renew(&self, identity: &Identity, request: &[u8]) -> Result<Certificate, Refused> {
        let client = self.client()?;
        let nodes = nodes(&client).await?;
        let node = nodes.into_iter().find(|node| node.facts.name == identity.node);
        let node = node.filter(|node| node.state != NodeState::Removed);
        let node = node.ok_or_else(|| format!("node {} is no node of this cluster any more", identity.node))?;
        let renewed = certificate(&client, &cluster(&client).await?, &node, request).await?;
        tracing::info!(node = %node.facts.name, "a node has got a new certificate");
        Ok(renewed)
    }
}

/// A certificate for a node of the cluster.
async fn certificate(
    client: &StoreClient,
    cluster: &Cluster,
    node: &Node,
    request: &[u8],
) -> Result<Certificate, Refused> {
    let identity = Identity { node: node.facts.name.clone(), cluster: ClusterId::new(cluster.id) };
    authority::sign(&authority(client).await?, &identity, request).map_err(|error| format!("{error:#}"))
}

/// The cluster's authority.
pub(crate) async fn authority(client: &StoreClient) -> Result<Authority, Refused> {
    match client.ask_directory(DirectoryQuery::Authority).await.map_err(|error| error.to_string())? {
        DirectoryAnswer::Authority(Some(authority)) => Ok(authority),
        other => Err(format!("the cluster has no authority: {other:?}")),
    }
}

async fn cluster(client: &StoreClient) -> Result<Cluster, Refused> {
    match client.ask_directory(DirectoryQuery::Cluster).await.map_err(|error| error.to_string())? {
        DirectoryAnswer::Cluster(Some(cluster)) => Ok(cluster),
        other => Err(format!("the directory answered out of turn: {other:?}")),
    }
}

/// All nodes.
pub(crate) async fn nodes(client: &StoreClient) -> Result<Vec<Node>, Refused> {
    match client.ask_directory(DirectoryQuery::Nodes).await.map_err(|error| error.to_string())? {
        DirectoryAnswer::Nodes(nodes) => Ok(nodes),
        other => Err(format!("the directory answered out of turn: {other:?}")),
    }
}

fn wrong(error: &securanet_wire::WireError) -> Status {
    Status::invalid_argument(error.to_string())
}

#[tonic::async_trait]
impl Enrolment for Registrar {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        let ask = join_from_wire(request.into_inner()).map_err(|error| wrong(&error))?;
        let outcome = self.let_in(&ask).await;
        if let Err(why) = &outcome {
            tracing::warn!(node = %ask.facts.name, why, "a node may not come in");
        }
        Ok(Response::new(joined_to_wire(&outcome)))
    }
}

#[tonic::async_trait]
impl Membership for Registrar {
    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<RenewReply>, Status> {
        let peer = request.extensions().get::<PeerInfo>().cloned();
        let peer = peer.ok_or_else(|| Status::unauthenticated("who asks is not known"))?;
        let ask = renew_from_wire(request.into_inner()).map_err(|error| wrong(&error))?;
        let outcome = Self::renew(self, &peer.identity, &ask).await;
        Ok(Response::new(renewed_to_wire(&outcome)))
    }

    async fn report(&self, _request: Request<ReportRequest>) -> Result<Response<ReportReply>, Status> {
        Ok(Response::new(report_to_wire(&self.reporter.report().await)))
    }
}
