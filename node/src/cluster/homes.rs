//! Which groups are at home in this node's site: their mail leaves from here.

use arc_swap::ArcSwap;
use securanet_gateway::model::{
    GroupId, SiteName,
    nodes::{Node, NodeState, home_site},
};

/// What is known of the cluster's sites.
pub(crate) struct Homes {
    site: SiteName,
    sites: ArcSwap<Sites>,
}

#[derive(Default)]
struct Sites {
    /// Those with stores: groups are at home there in turn.
    stores: Vec<String>,
    /// Those with gateways.
    gateways: Vec<String>,
}

impl Homes {
    /// Of a node in this site.
    pub(crate) fn new(site: SiteName) -> Self {
        Self { site, sites: ArcSwap::default() }
    }

    /// These nodes there are.
    pub(crate) fn learn(&self, nodes: &[Node]) {
        let active = || nodes.iter().filter(|node| node.state == NodeState::Active).map(|node| &node.facts);
        let site = |facts: &securanet_gateway::model::nodes::NodeFacts| facts.site.to_string();
        let stores = active().filter(|facts| facts.store).map(site).collect();
        let gateways = active().filter(|facts| facts.gateway).map(site).collect();
        self.sites.store(std::sync::Arc::new(Sites { stores, gateways }));
    }

    /// Whether a group is at home here, or in a site that nobody delivers from.
    pub(crate) fn has(&self, group: GroupId) -> bool {
        let sites = self.sites.load();
        let home = home_site(group, sites.stores.iter().map(String::as_str));
        home.is_none_or(|home| home == self.site.as_str() || !sites.gateways.iter().any(|site| site == home))
    }
}

#[cfg(test)]
mod tests {
    use securanet_gateway::model::{ReplicaId, UnixMillis, nodes::NodeFacts};

    use super::*;

    fn node(name: &str, site: &str, (store, gateway): (bool, bool), state: NodeState) -> Node {
        let (name, site) = (name.parse().expect("a name"), site.parse().expect("a name"));
        let facts = NodeFacts { name, site, store, gateway, address: None };
        Node { facts, state, replica: store.then(|| ReplicaId::new(1)), joined: UnixMillis::new(0) }
    }

    #[test]
    fn groups_are_at_home_in_one_site_and_everywhere_when_nobody_delivers_there() {
        let of = |site: &str, nodes: &[Node]| {
            let homes = Homes::new(site.parse().expect("a name"));
            homes.learn(nodes);
            (0..4).filter(|group| homes.has(GroupId::new(*group))).collect::<Vec<_>>()
        };
        assert_eq!(of("north", &[]), [0, 1, 2, 3], "nothing is known yet");
        let both = (true, true);
        let mut nodes = vec![node("a", "north", both, NodeState::Active), node("b", "south", both, NodeState::Active)];
        assert_eq!((of("north", &nodes), of("south", &nodes)), (vec![0, 2], vec![1, 3]));
        nodes[1].facts.gateway = false;
        assert_eq!((of("north", &nodes), of("south", &nodes)), (vec![0, 1, 2, 3], vec![1, 3]));
        nodes.push(node("g", "south", (false, true), NodeState::Active));
        assert_eq!(of("north", &nodes), [0, 2], "a gateway alone delivers there");
        nodes[2].state = NodeState::Removed;
        assert_eq!(of("north", &nodes), [0, 1, 2, 3]);
    }
}
