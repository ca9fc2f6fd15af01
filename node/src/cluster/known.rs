//! The nodes that this one knows: who they are, where they are reached, and the connections to them.
//!
//! They are read from group 0 whenever that changes, and kept in a file: a node that starts reaches the others before it
//! can read group 0.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use anyhow::Context;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use securanet_gateway::{
    link::{Admits, Expect, Identity, Link, NodeName, Peer, Pings},
    model::{
        SiteName, UnixMillis,
        nodes::{Node, NodeFacts, NodeState},
    },
};
use securanet_raft::{PeerClass, Peers};
use serde::{Deserialize, Serialize};
use tonic::transport::Channel;

use crate::replace::{Readers, replace};

/// The file's name.
const FILE: &str = "nodes.json";

/// What is remembered of a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct KnownNode {
    /// Where it is reached; none of a gateway alone.
    pub(crate) address: Option<String>,
    /// Where it stands; none as long as group 0 has not said it.
    #[serde(default)]
    pub(crate) site: Option<SiteName>,
    /// Whether it is a store.
    pub(crate) store: bool,
    /// Whether it was removed.
    #[serde(default)]
    pub(crate) removed: bool,
}

type Nodes = BTreeMap<NodeName, KnownNode>;

/// The nodes of the cluster as this one knows them.
pub(crate) struct Known {
    file: PathBuf,
    /// Where this node reaches some of them instead.
    reach: BTreeMap<NodeName, String>,
    nodes: ArcSwap<Nodes>,
}

impl Known {
    /// Reads what was remembered in a folder; nothing at first.
    pub(crate) fn load(folder: &Path, reach: BTreeMap<NodeName, String>) -> anyhow::Result<Self> {
        let file = folder.join(FILE);
        let nodes: Nodes = match fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text).with_context(|| format!("{}", file.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Nodes::new(),
            Err(error) => return Err(error).with_context(|| format!("{}", file.display())),
        };
        Ok(Self { file, reach, nodes: ArcSwap::from_pointee(nodes) })
    }

    /// Remembers what group 0 says; true when that is something new. May block on the disk.
    pub(crate) fn learn(&self, nodes: &[Node]) -> anyhow::Result<bool> {
        let known = |node: &Node| {
            let removed = node.state == NodeState::Removed;
            let (address, site) = (node.facts.address.clone(), Some(node.facts.site.clone()));
            (node.facts.name.clone(), KnownNode { address, site, store: node.facts.store, removed })
        };
        self.remember(nodes.iter().map(known).collect())
    }

    /// Remembers these.
    pub(crate) fn remember(&self, nodes: Nodes) -> anyhow::Result<bool> {
        if nodes == **self.nodes.load() {
            return Ok(false);
        }
        let text = serde_json::to_string_pretty(&nodes)? + "\n";
        replace(&self.file, &text, Readers::Everybody).with_context(|| format!("{}", self.file.display()))?;
        self.nodes.store(Arc::new(nodes));
        Ok(true)
    }

    /// Remembers that these are out, before anybody else says so. May block on the disk.
    pub(crate) fn give_up(&self, lost: &BTreeSet<String>) -> anyhow::Result<bool> {
        let mut nodes = (**self.nodes.load()).clone();
        nodes.iter_mut().filter(|(name, _)| lost.contains(name.as_str())).for_each(|(_, node)| node.removed = true);
        self.remember(nodes)
    }

    /// Where a node is reached from here.
    fn address(&self, name: &NodeName) -> Option<String> {
        let known = || self.nodes.load().get(name).and_then(|node| node.address.clone());
        self.reach.get(name).cloned().or_else(known)
    }

    /// Whether a node stands in this site; none when that is not known.
    fn is_in(&self, site: &SiteName, name: &NodeName) -> Option<bool> {
        self.nodes.load().get(name)?.site.as_ref().map(|stands| stands == site)
    }

    /// The stores that are not removed, as reached from here.
    pub(crate) fn stores(&self) -> Vec<String> {
        let nodes = self.nodes.load();
        let stores = nodes.iter().filter(|(_, node)| node.store && !node.removed);
        stores.filter_map(|(name, _)| self.address(name)).collect()
    }

    /// The stores that are not removed, as far as they are remembered: their names, and nothing else that can be relied on.
    pub(crate) fn remembered(&self) -> Vec<Node> {
        let facts = |name: NodeName| {
            Some(NodeFacts { name, site: "unknown".parse().ok()?, store: true, gateway: false, address: None })
        };
        let node = |facts| Node { facts, state: NodeState::Active, replica: None, joined: UnixMillis::new(0) };
        self.store_names().into_iter().filter_map(facts).map(node).collect()
    }

    /// The names of the stores that are not removed.
    pub(crate) fn store_names(&self) -> Vec<NodeName> {
        let nodes = self.nodes.load();
        nodes.iter().filter(|(_, node)| node.store && !node.removed).map(|(name, _)| name.clone()).collect()
    }

    /// Whether a node may replicate with this one. One that this node has not heard of yet may not: it asks again.
    pub(crate) fn is_store(&self, name: &NodeName) -> bool {
        self.nodes.load().get(name).is_some_and(|node| node.store && !node.removed)
    }

    /// Lets in whoever was not removed.
    pub(crate) fn admits(self: &Arc<Self>) -> Admits {
        let known = self.clone();
        Arc::new(move |identity: &Identity| match known.nodes.load().get(&identity.node) {
            Some(node) if node.removed => Err(format!("node {} was removed from the cluster", identity.node)),
            _ => Ok(()),
        })
    }
}

/// The connections to other nodes.
pub(crate) struct LinkPeers {
    /// Where this node stands.
    site: SiteName,
    known: Arc<Known>,
    /// Set once there is a certificate: the founder of a cluster makes it after its groups have begun.
    link: OnceLock<Link>,
    /// As many as there are nodes, by class; the address tells when a node has moved.
    peers: Mutex<HashMap<(String, PeerClass), (String, Peer)>>,
}

impl LinkPeers {
    /// Of a node in this site.
    pub(crate) fn new(site: SiteName, known: Arc<Known>) -> Self {
        Self { site, known, link: OnceLock::new(), peers: Mutex::default() }
    }

    /// From now on nodes are reached over this.
    pub(crate) fn set_link(&self, link: Link) {
        drop(self.link.set(link));
    }
}

impl Peers for LinkPeers {
    fn channel(&self, node: &str, class: PeerClass) -> Option<Channel> {
        let name: NodeName = node.parse().ok()?;
        let (link, address) = (self.link.get()?, self.known.address(&name)?);
        let mut peers = self.peers.lock();
        let key = (node.to_owned(), class);
        if let Some((at, peer)) = peers.get(&key)
            && *at == address
        {
            return Some(peer.channel());
        }
        // What goes over them has deadlines of its own.
        match link.connect(&address, &Expect::Node(name), Pings::Seldom) {
            Ok(peer) => {
                let channel = peer.channel();
                peers.insert(key, (address, peer));
                Some(channel)
            }
            Err(error) => {
                tracing::warn!(node, %error, "a node cannot be reached");
                None
            }
        }
    }

    fn is_near(&self, node: &str) -> Option<bool> {
        self.known.is_in(&self.site, &node.parse().ok()?)
    }
}

#[cfg(test)]
mod tests {
    use securanet_gateway::{
        link::ClusterId,
        model::{ReplicaId, UnixMillis, nodes::NodeFacts},
    };

    use super::*;

    fn node(name: &str, state: NodeState) -> Node {
        let facts = NodeFacts {
            name: name.parse().expect("a name"),
            site: "north".parse().expect("a name"),
            store: name != "g",
            gateway: true,
            address: (name != "g").then(|| format!("{name}.example:2600")),
        };
        Node { facts, state, replica: Some(ReplicaId::new(1)), joined: UnixMillis::new(0) }
    }

    #[test]
    fn nodes_are_remembered_and_reached_where_the_node_file_says() {
        let folder = tempfile::tempdir().expect("folder");
        let reach = BTreeMap::from([("b".parse().expect("a name"), "127.0.0.1:1".to_owned())]);
        let known = Known::load(folder.path(), reach.clone()).expect("empty");
        assert_eq!(known.stores(), Vec::<String>::new());
        let mut nodes =
            vec![node("a", NodeState::Active), node("b", NodeState::Draining), node("g", NodeState::Active)];
        assert!(known.learn(&nodes).expect("kept"));
        assert!(!known.learn(&nodes).expect("kept"), "nothing new");
        let known = Arc::new(Known::load(folder.path(), reach).expect("remembered"));
        assert_eq!(known.stores(), ["a.example:2600", "127.0.0.1:1"]);
        let who = |name: &str| name.parse::<NodeName>().expect("a name");
        assert!(known.is_store(&who("b")) && !known.is_store(&who("g")) && !known.is_store(&who("x")));
        let admits = |name: &str| (known.admits())(&Identity { node: who(name), cluster: ClusterId::new([1; 16]) });
        assert_eq!(admits("x"), Ok(()), "it may be newer than what is known here");
        nodes[1].state = NodeState::Removed;
        known.learn(&nodes).expect("kept");
        assert_eq!(admits("b"), Err("node b was removed from the cluster".to_owned()));
        assert_eq!(known.stores(), ["a.example:2600"]);
    }

    #[test]
    fn nodes_of_the_same_site_are_near_as_soon_as_the_directory_has_said_so() {
        let folder = tempfile::tempdir().expect("folder");
        let known = Arc::new(Known::load(folder.path(), BTreeMap::new()).expect("empty"));
        let peers = |site: &str| LinkPeers::new(site.parse().expect("a name"), known.clone());
        assert_eq!(peers("north").is_near("a"), None, "nothing is known of it");
        // What files of before have: where it is reached, and no more.
        let joined: Nodes =
            serde_json::from_str(r#"{"a": {"address": "a.example:2600", "store": true}}"#).expect("read");
        known.remember(joined).expect("kept");
        assert_eq!(peers("north").is_near("a"), None);
        known.learn(&[node("a", NodeState::Active)]).expect("kept");
        let near = |site, node| peers(site).is_near(node);
        assert_eq!([near("north", "a"), near("south", "a"), near("north", "b")], [Some(true), Some(false), None]);
    }
}
