//! Sites with nodes, and a link for each pair of nodes in different sites of which one dials the other.
//!
//! Between two nodes there is a wire for each direction, and between two sites a pipe for each direction, which all wires
//! from the one to the other share. Nodes of one site reach each other directly.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, ensure};

use super::{
    form,
    node::{Node, Role, State},
    ports::free_port,
};
use crate::{
    link::{Link, Octets, Pipe, Wire},
    server::DOMAIN,
    wall::WallClock,
};

const LISTENERS: [(&str, &str, &str); 3] =
    [("smtp", "smtp", "starttls"), ("submission", "submission", "starttls"), ("imap", "imap", "starttls")];

/// Where a node is to stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The node's name.
    pub node: String,
    /// Its site.
    pub site: String,
    /// What it does.
    pub role: Role,
    /// It is not part of the cluster in the beginning.
    pub is_spare: bool,
}

impl Place {
    /// A place.
    #[must_use]
    pub fn new(node: &str, site: &str, role: Role) -> Self {
        Self { node: node.to_owned(), site: site.to_owned(), role, is_spare: false }
    }

    /// The place of a node that is not part of the cluster in the beginning.
    #[must_use]
    pub fn spare(node: &str, site: &str, role: Role) -> Self {
        Self { is_spare: true, ..Self::new(node, site, role) }
    }
}

/// What is to be built.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The nodes; the first one is a store.
    pub places: Vec<Place>,
    /// Local parts of the accounts.
    pub accounts: Vec<String>,
    /// Lines for all node files, before the listeners.
    pub config: String,
    /// Of the jitter.
    pub seed: u64,
    /// Stores whose data directory is a small disk of its own; it wants root.
    pub small_disks: Vec<String>,
    /// Whether each node's wall clock can be set; it wants libfaketime.
    pub clocks: bool,
}

/// The size of a small disk, and what a store on it keeps free.
const SMALL_DISK_BYTES: u64 = 1 << 30;
const RESERVE_BYTES: u64 = 96 << 20;

/// From one node or site to another.
type Pair = (String, String);

/// A cluster in sites; its processes end when it is dropped.
pub struct Sites {
    nodes: BTreeMap<String, Node>,
    wires: BTreeMap<Pair, Arc<Wire>>,
    pipes: BTreeMap<Pair, Arc<Pipe>>,
    links: BTreeMap<Pair, Link>,
    ports: BTreeMap<String, u16>,
    clocks: BTreeMap<String, WallClock>,
    config: String,
}

impl Sites {
    /// Builds a cluster: all nodes run and know each other, and the accounts exist.
    ///
    /// # Errors
    /// When a node does not start.
    pub fn start(plan: &Plan) -> anyhow::Result<Self> {
        let sites = Self::build(plan)?;
        form::form(&sites, &plan.places, &plan.accounts)?;
        Ok(sites)
    }

    fn build(plan: &Plan) -> anyhow::Result<Self> {
        let mut sites = Self {
            nodes: BTreeMap::new(),
            wires: BTreeMap::new(),
            pipes: BTreeMap::new(),
            links: BTreeMap::new(),
            ports: BTreeMap::new(),
            clocks: BTreeMap::new(),
            config: plan.config.clone(),
        };
        for place in &plan.places {
            let node = Node::new(&place.node, &place.site, place.role)?;
            node.set_member(!place.is_spare);
            if plan.small_disks.contains(&place.node) {
                node.give_disk(SMALL_DISK_BYTES)?;
            }
            if plan.clocks {
                let clock = WallClock::new(0)?;
                node.wrap(clock.wrapper());
                sites.clocks.insert(place.node.clone(), clock);
            }
            ensure!(sites.nodes.insert(place.node.clone(), node).is_none(), "two nodes are called {}", place.node);
            if place.role.is_store() {
                sites.ports.insert(place.node.clone(), free_port());
            }
        }
        for (number, from) in plan.places.iter().enumerate() {
            for to in plan.places.iter().filter(|to| to.site != from.site) {
                let pipe = sites.pipes.entry((from.site.clone(), to.site.clone())).or_insert_with(Pipe::new);
                let wire = Wire::new(pipe.clone(), plan.seed.wrapping_add(number as u64));
                sites.wires.insert((from.node.clone(), to.node.clone()), wire);
            }
        }
        for (from, to) in sites.wires.keys() {
            if let Some(port) = sites.ports.get(to) {
                let (there, back) = (sites.wires[&(from.clone(), to.clone())].clone(), (to.clone(), from.clone()));
                let link = Link::start(SocketAddr::from(([127, 0, 0, 1], *port)), there, sites.wires[&back].clone())?;
                sites.links.insert((from.clone(), to.clone()), link);
            }
        }
        Ok(sites)
    }

    /// The wall clock of a node.
    ///
    /// # Errors
    /// When it has the machine's.
    pub fn clock(&self, node: &str) -> anyhow::Result<&WallClock> {
        self.clocks.get(node).with_context(|| format!("the clock of {node} cannot be set"))
    }

    /// Where one node finds another one: at its link, or directly in its own site.
    pub fn way(&self, from: &str, to: &str) -> Option<SocketAddr> {
        let link = self.links.get(&(from.to_owned(), to.to_owned())).map(Link::address);
        link.or_else(|| self.ports.get(to).map(|port| SocketAddr::from(([127, 0, 0, 1], *port))))
    }

    /// What all node files have: a name, roles, the API and, at gateways, listeners; `cluster` is its own section.
    pub fn node_file(&self, node: &Node, cluster: &str) -> String {
        self.file(node, cluster, node.role)
    }

    /// The node file of a store that is no gateway for once.
    pub fn quiet_file(&self, node: &Node) -> String {
        self.file(node, &form::section(self, node), Role::Store)
    }

    fn file(&self, node: &Node, cluster: &str, role: Role) -> String {
        let reserve = match node.disk() {
            Some(_) => format!("[store]\ndisk_reserve_bytes = {RESERVE_BYTES}\n"),
            None => String::new(),
        };
        let roles = match role {
            Role::Store => "[\"store\"]",
            Role::Gateway => "[\"gateway\"]",
            Role::Both => "[\"store\", \"gateway\"]",
        };
        let (data, token) = if node.role.is_store() {
            ("data_directory = \"data\"\n", "")
        } else {
            ("", "token_file = \"admin-token\"\n")
        };
        let mut text = format!(
            "hostname = \"{}.{DOMAIN}\"\nroles = {roles}\n{data}{reserve}{}\n{cluster}\n[admin]\naddress = \"127.0.0.1:0\"\n{token}\n",
            node.name, self.config
        );
        if !role.is_gateway() {
            return text;
        }
        text += "[[certificate]]\nname = \"test\"\ncertificate_file = \"certificate.pem\"\nkey_file = \"key.pem\"\n";
        for (name, protocol, tls) in LISTENERS {
            text += &format!(
                "\n[[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\naddress = \"127.0.0.1:0\"\ntls = \"{tls}\"\n\
                 connections_per_address_max = 5000\ntrusted_networks = [\"127.0.0.1/32\"]\n"
            );
        }
        text
    }

    /// The port where a store listens for other nodes.
    pub fn port(&self, node: &str) -> Option<u16> {
        self.ports.get(node).copied()
    }

    /// A node.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn node(&self, name: &str) -> anyhow::Result<&Node> {
        self.nodes.get(name).with_context(|| format!("there is no node {name}; there are {}", self.names().join(", ")))
    }

    /// All nodes of the cluster, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter(|node| node.is_member())
    }

    /// All nodes, those that are no part of the cluster too.
    pub fn all_nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// The stores.
    pub fn stores(&self) -> impl Iterator<Item = &Node> {
        self.nodes().filter(|node| node.role.is_store())
    }

    /// The nodes that serve clients.
    pub fn gateways(&self) -> impl Iterator<Item = &Node> {
        self.nodes().filter(|node| node.role.is_gateway())
    }

    fn names(&self) -> Vec<&str> {
        self.nodes.keys().map(String::as_str).collect()
    }

    /// The names of the sites.
    pub fn sites(&self) -> Vec<String> {
        // Of members only: nothing passes the links of others.
        let sites: BTreeSet<&str> = self.nodes().map(|node| node.site.as_str()).collect();
        sites.into_iter().map(str::to_owned).collect()
    }

    /// Whether this is the name of the node or of its site.
    fn means(&self, name: &str, node: &str) -> bool {
        name == node || self.nodes.get(node).is_some_and(|node| node.site == name)
    }

    /// The wires from a node, or a site, to another one.
    pub fn wires(&self, from: &str, to: &str) -> Vec<Arc<Wire>> {
        let meant = self.wires.iter().filter(|((a, b), _)| self.means(from, a) && self.means(to, b));
        meant.map(|(_, wire)| wire.clone()).collect()
    }

    /// The wires in both directions between two nodes or sites.
    ///
    /// # Errors
    /// When there is none.
    pub fn between(&self, one: &str, other: &str) -> anyhow::Result<Vec<Arc<Wire>>> {
        let mut wires = self.wires(one, other);
        wires.extend(self.wires(other, one));
        ensure!(
            !wires.is_empty(),
            "there is no link between {one} and {other}: sites are {}, nodes {}",
            self.sites().join(", "),
            self.names().join(", ")
        );
        Ok(wires)
    }

    /// Whether two nodes hear each other.
    pub fn hear(&self, one: &str, other: &str) -> bool {
        let open = |from: &str, to: &str| {
            let wire = self.wires.get(&(from.to_owned(), to.to_owned()));
            wire.is_none_or(|wire| !wire.is_cut() && !wire.is_stalled())
        };
        open(one, other) && open(other, one)
    }

    /// All wires, by the nodes that they lead from and to.
    pub fn all_wires(&self) -> impl Iterator<Item = (&Pair, &Arc<Wire>)> {
        self.wires.iter()
    }

    /// The pipes from a site to another, in both directions.
    pub fn pipes(&self, one: &str, other: &str) -> Vec<Arc<Pipe>> {
        let meant = |a: &str, b: &str| (a == one && b == other) || (a == other && b == one);
        self.pipes.iter().filter(|((a, b), _)| meant(a, b)).map(|(_, pipe)| pipe.clone()).collect()
    }

    /// Ends all that was done to links; latencies and rates stay.
    pub fn heal(&self) {
        for wire in self.wires.values() {
            wire.set_stalled(false);
            wire.heal();
        }
    }

    /// All links are quick and wide again.
    pub fn quicken(&self) {
        self.wires.values().for_each(|wire| wire.set_latency(Duration::ZERO, Duration::ZERO));
        self.pipes.values().for_each(|pipe| pipe.set_rate(None));
    }

    /// What went from each site to each other one.
    pub fn octets(&self) -> BTreeMap<Pair, Octets> {
        let mut sums = BTreeMap::<Pair, Octets>::new();
        for ((from, to), wire) in &self.wires {
            let (sum, one) =
                (sums.entry((self.nodes[from].site.clone(), self.nodes[to].site.clone())).or_default(), wire.octets());
            (sum.sent, sum.delivered, sum.lost) =
                (sum.sent + one.sent, sum.delivered + one.delivered, sum.lost + one.lost);
        }
        sums
    }

    /// Everything runs again and nothing is in the way.
    ///
    /// # Errors
    /// When a node does not come back.
    pub fn recover(&self) -> anyhow::Result<()> {
        self.heal();
        self.quicken();
        for node in self.nodes() {
            match node.state()? {
                State::Down => node.launch()?,
                State::Paused => node.resume()?,
                State::Starting | State::Up => {}
            }
        }
        self.clocks.values().try_for_each(|clock| clock.set(0))?;
        self.nodes().try_for_each(|node| node.await_ready(super::node::START_PATIENCE))
    }
}
