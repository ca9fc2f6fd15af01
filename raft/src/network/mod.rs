//! How a group's replicas reach each other.
//!
//! A node tells this room how to reach others ([`Peers`]); everything else is here. Outwards: [`Network`] makes the
//! clients that openraft asks for ([`peer`]). Appends of all groups to a node share one stream, packed between sites
//! ([`packing`]), and heartbeats another one on a connection of their own, where those of all groups are gathered for
//! some milliseconds ([`link`]); appends are pipelined ([`pipeline`]); snapshots go on where they were cut off
//! ([`snapshot`]). Inwards: [`service`] hands what comes to the group that it names, appends through [`receive`].
//!
//! Everything waits only so long: an append two seconds for any sign of life, a vote as long as openraft says, a chunk
//! of a snapshot half a minute. Every queue is bounded; who is faster than the other waits.
//!
//! A node alone has nobody to reach ([`NoPeers`]): every call says so. With one voter openraft makes none. They answer
//! `Unreachable` and not success, so that a wrong membership shows as a group without quorum instead of a group that
//! believes itself.

mod blobs;
mod convert;
mod gather;
mod link;
mod pace;
mod packing;
mod passed;
mod peer;
mod pipeline;
mod reach;
mod receive;
mod rows;
mod service;
mod snapshot;
mod snapshot_in;

use std::{collections::HashMap, sync::Arc, time::Duration};

use openraft::RaftNetworkFactory;
use parking_lot::Mutex;
use securanet_model::{Execute, GroupId, Reply, StoreError, limits};
use securanet_wire::{
    outcome_from_wire,
    replication::{
        MESSAGE_BYTES_MAX, ReplicaAsk, forward_to_wire,
        proto::{self, replication_client::ReplicationClient},
        read_index_from_wire, replica_to_wire, state_outcome_from_wire,
    },
};
use tokio::{task::JoinHandle, time::timeout};
use tonic::transport::Channel;

pub(crate) use self::rows::{Opener, ROOM_BYTES, close};
pub use self::service::ReplicationService;
pub(crate) use self::{blobs::checksum, pace::Pace, peer::Peer, snapshot_in::Arrivals};
use self::{link::Link, packing::Packs, reach::Reach};
use crate::{
    clocks::Clocks,
    members::MemberState,
    state::Replica,
    types::{Member, TypeConfig},
};

/// Heartbeats to one node wait so long for those of other groups, which come at the same time, and so do their answers. A
/// reader that asks its leader waits for it, too.
const HEARTBEAT_GATHER: Duration = Duration::from_millis(5);
/// News of commits, and answers without news, wait so long for entries to go with. A reader at a follower waits for it.
const COMMIT_GATHER: Duration = Duration::from_millis(2);

/// How long what nobody waits for is gathered on a stream of a class.
const fn gather_of(class: PeerClass) -> Duration {
    match class {
        PeerClass::Votes => HEARTBEAT_GATHER,
        _ => COMMIT_GATHER,
    }
}

/// The other node itself answers within the time that a commit may take.
const FORWARD_PATIENCE: Duration = Duration::from_millis(limits::COMMIT_TIMEOUT_MILLIS + 1000);

/// What a connection to another node carries. Each class has a connection of its own, so that nothing small waits
/// behind something large.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PeerClass {
    /// Votes, heartbeats, handing over.
    Votes,
    /// Entries of logs.
    Appends,
    /// Blobs.
    Blobs,
    /// Snapshots.
    Snapshots,
}

/// Reaches other nodes. Implemented where addresses and certificates are known.
pub trait Peers: Send + Sync + 'static {
    /// The connection of a class to a node, or none when the node is not known. It need not stand yet: it is made
    /// when it is first used, and made again when it breaks.
    fn channel(&self, node: &str, class: PeerClass) -> Option<Channel>;

    /// Whether a node is in the same site as this one; none when that is not known.
    fn is_near(&self, _node: &str) -> Option<bool> {
        None
    }
}

/// A node without peers.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPeers;

impl Peers for NoPeers {
    fn channel(&self, _node: &str, _class: PeerClass) -> Option<Channel> {
        None
    }
}

/// A connection, as the protocol speaks on it.
type Client = ReplicationClient<Channel>;

/// The ways to all other nodes, for all groups. Clones are the same ways.
#[derive(Clone)]
pub(crate) struct Network(Arc<Shared>);

struct Shared {
    node: String,
    peers: Arc<dyn Peers>,
    /// As many as there are nodes that this one leads a group with, twice.
    links: Mutex<HashMap<(String, PeerClass), Arc<Link>>>,
    reach: Reach,
    clocks: Clocks,
    pace: Pace,
    packs: Packs,
}

impl Network {
    pub(crate) fn new(node: &str, peers: Arc<dyn Peers>, clocks: Clocks, pace: Pace) -> Self {
        let (node, links, reach, packs) = (node.to_owned(), Mutex::default(), Reach::default(), Packs::default());
        Self(Arc::new(Shared { node, peers, links, reach, clocks, pace, packs }))
    }

    /// This node's name.
    pub(crate) fn node(&self) -> &str {
        &self.0.node
    }

    /// Which nodes are lost.
    fn reach(&self) -> &Reach {
        &self.0.reach
    }

    /// What other nodes say of their clocks.
    pub(crate) fn clocks(&self) -> &Clocks {
        &self.0.clocks
    }

    /// What bulk traffic keeps to.
    pub(crate) fn pace(&self) -> &Pace {
        &self.0.pace
    }

    /// What is packed and taken here.
    fn packs(&self) -> &Packs {
        &self.0.packs
    }

    /// A node has passed a request on to this one.
    fn has_passed(&self, node: &str, request: &Execute) {
        if self.is_far(node) {
            self.packs().passed.remember(node, request);
        }
    }

    /// Whether a node is known to be in this one's site: it costs little to ask it.
    pub(crate) fn is_near(&self, node: &str) -> bool {
        self.0.peers.is_near(node) == Some(true)
    }

    /// Whether a node is known to be in another site: octets to it are worth the time to compress them.
    fn is_far(&self, node: &str) -> bool {
        self.0.peers.is_near(node) == Some(false)
    }

    /// A client for a node.
    pub(crate) fn client(&self, node: &str, class: PeerClass) -> Result<Client, String> {
        let unknown = || format!("node {node:?} cannot be reached: this node does not know where it is");
        let channel = self.0.peers.channel(node, class).ok_or_else(unknown)?;
        let client = ReplicationClient::new(channel);
        Ok(client.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    /// Commits a request in a group that a node leads.
    pub(crate) async fn execute(&self, node: &str, request: &Execute) -> Result<(Vec<Reply>, u64), StoreError> {
        let unavailable = |why: String| StoreError::Unavailable(format!("node {node:?}: {why}"));
        let mut client = self.client(node, PeerClass::Appends).map_err(unavailable)?;
        if self.is_far(node) {
            self.packs().passed.keep(request);
        }
        let asked = timeout(FORWARD_PATIENCE, client.execute(forward_to_wire(self.node(), request))).await;
        let asked = asked.map_err(|_| unavailable(format!("no answer within {FORWARD_PATIENCE:?}")))?;
        let reply = asked.map_err(|status| unavailable(status.to_string()))?.into_inner();
        outcome_from_wire(&reply).map_err(|error| unavailable(error.to_string()))?
    }

    /// Asks a node how its replica of a group is.
    pub(crate) async fn member_state(&self, node: &str, group: GroupId, target: u64) -> Result<MemberState, String> {
        let mut client = self.client(node, PeerClass::Votes)?;
        let reply = client.state(self.ask(group, target)).await.map_err(|status| status.to_string())?;
        self.0.reach.heard(node);
        let state = state_outcome_from_wire(reply.into_inner()).map_err(|error| error.to_string())??;
        Ok(MemberState { hollow: state.hollow })
    }

    /// Asks a node that leads a group how far a reader must be.
    pub(crate) async fn read_index(&self, node: &str, group: GroupId, target: u64) -> Result<u64, String> {
        let failed = |why: &dyn std::fmt::Display| format!("node {node:?}: {why}");
        let mut client = self.client(node, PeerClass::Votes)?;
        let reply = client.read_index(self.ask(group, target)).await.map_err(|status| failed(&status))?;
        self.0.reach.heard(node);
        let index = read_index_from_wire(reply.into_inner()).map_err(|error| failed(&error))?;
        index.map_err(|why| failed(&why))
    }

    fn ask(&self, group: GroupId, target: u64) -> proto::ReplicaRequest {
        replica_to_wire(&ReplicaAsk { node: self.node().to_owned(), group, target })
    }

    /// The stream of a class to a node, shared by all groups.
    fn link(&self, node: &str, class: PeerClass) -> Arc<Link> {
        let mut links = self.0.links.lock();
        let link = links.entry((node.to_owned(), class));
        link.or_insert_with(|| Arc::new(Link::new(self.clone(), node.to_owned(), class))).clone()
    }
}

/// Makes the clients of one group's replica.
pub(crate) struct GroupNetwork {
    network: Network,
    replica_id: u64,
    replica: Arc<Replica>,
}

impl GroupNetwork {
    pub(crate) fn new(network: Network, replica_id: u64, replica: Arc<Replica>) -> Self {
        Self { network, replica_id, replica }
    }

    fn peer(&self, target: u64, member: &Member, class: PeerClass) -> Peer {
        let (network, replica) = (self.network.clone(), self.replica.clone());
        Peer { network, replica, own: self.replica_id, target, node: member.node.clone(), class }
    }
}

impl RaftNetworkFactory<TypeConfig> for GroupNetwork {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, member: &Member) -> Peer {
        self.peer(target, member, PeerClass::Appends)
    }

    async fn new_heartbeat_client(&mut self, target: u64, member: &Member) -> Peer {
        self.peer(target, member, PeerClass::Votes)
    }

    async fn new_snapshot_client(&mut self, target: u64, member: &Member) -> Peer {
        self.peer(target, member, PeerClass::Snapshots)
    }
}

/// Why a group's replica does not take what came for `targets`.
fn not_for(group: GroupId, own: u64, targets: &[u64]) -> Option<String> {
    (!targets.contains(&own)).then(|| format!("group {group}: this is replica {own}, it was for {targets:?}"))
}

/// A task that ends with whoever owns this.
struct Owned(JoinHandle<()>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}
