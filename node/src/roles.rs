//! What a node is in its cluster: its roles and its place, in the node's file.
//!
//! A store keeps everything and has a data directory. A gateway serves clients and keeps nothing: without a store in the
//! same process it reaches stores over the cluster's link. One process may be both, which is the default.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context;
use securanet_gateway::model::{NodeName, SiteName};
use serde::Deserialize;

use crate::{check::Wrong, config::Config};

/// What a node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// It keeps mailboxes, queues and the directory.
    Store,
    /// It serves clients and delivers.
    Gateway,
}

/// Both.
pub(crate) fn all() -> Vec<Role> {
    vec![Role::Store, Role::Gateway]
}

/// A node's place in its cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cluster {
    /// Its name among the cluster's nodes.
    pub(crate) node: NodeName,
    /// Its site.
    #[serde(default = "main_site")]
    pub(crate) site: SiteName,
    /// Where a store listens for other nodes; port 0 lets the system choose.
    pub(crate) address: Option<SocketAddr>,
    /// Where other nodes reach a store, as `host:port`; default: where it listens.
    pub(crate) advertise: Option<String>,
    /// Where this node reaches some nodes instead of where they say.
    #[serde(default)]
    pub(crate) reach: BTreeMap<NodeName, String>,
    /// The folder of the node's key and certificate; default: `cluster` in a store's data directory.
    pub(crate) directory: Option<PathBuf>,
    /// Where a gateway reaches stores besides those that the directory names, as `host:port`; default: those that it heard of
    /// last.
    #[serde(default)]
    pub(crate) stores: Vec<String>,
}

#[allow(clippy::expect_used, reason = "main is a name of a site")]
fn main_site() -> SiteName {
    "main".parse().expect("a name of a site")
}

impl Cluster {
    /// Takes relative paths from the node file's folder.
    pub(crate) fn resolve_paths(&mut self, folder: &Path) {
        self.directory = self.directory.take().map(|directory| folder.join(directory));
    }

    /// The folder of its files.
    pub(crate) fn folder(&self, config: &Config) -> anyhow::Result<PathBuf> {
        let in_data = || config.data_directory.as_ref().map(|data| data.join("cluster"));
        self.directory.clone().or_else(in_data).context("cluster.directory: missing")
    }

    /// Where other nodes reach it.
    pub(crate) fn advertised(&self) -> Option<String> {
        self.advertise.clone().or_else(|| self.address.map(|address| address.to_string()))
    }
}

fn wrong(key: &str, problem: &str, remedy: &str) -> Option<Wrong> {
    Some(Wrong { key: key.to_owned(), problem: problem.to_owned(), remedy: remedy.to_owned() })
}

/// What does not fit the node's roles, if anything.
pub(crate) fn check(config: &Config) -> Option<Wrong> {
    if config.roles.is_empty() || config.roles.len() > 2 || config.roles.first() == config.roles.get(1) {
        return wrong("roles", "not one or two different ones", "give \"store\", \"gateway\" or both (the default)");
    }
    if config.is_store() { check_store(config) } else { check_gateway(config) }
}

fn check_store(config: &Config) -> Option<Wrong> {
    if config.data_directory.is_none() {
        return wrong(
            "data_directory",
            "missing, and the node is a store",
            "name the folder where it keeps everything, or leave \"store\" out of `roles`",
        );
    }
    if !config.is_gateway() && !config.listener.is_empty() {
        return wrong(
            "listener",
            "the node is no gateway and serves no clients",
            "add \"gateway\" to `roles`, or remove the listeners",
        );
    }
    let cluster = config.cluster.as_ref()?;
    let Some(address) = cluster.address else {
        return wrong("cluster.address", "missing", "say where this store listens for other nodes, as ip:port");
    };
    if cluster.advertise.is_none() && (address.ip().is_unspecified() || address.port() == 0) {
        return wrong(
            "cluster.advertise",
            "missing, and nobody can reach what cluster.address says",
            "say where other nodes reach this store, as host:port",
        );
    }
    if !cluster.stores.is_empty() {
        return wrong("cluster.stores", "a node that is a store asks itself", "remove it");
    }
    check_addresses(cluster)
}

fn check_addresses(cluster: &Cluster) -> Option<Wrong> {
    let given = cluster.stores.iter().map(|store| ("cluster.stores", store));
    let given = given.chain(cluster.reach.values().map(|address| ("cluster.reach", address)));
    let mut given = given.chain(cluster.advertise.iter().map(|address| ("cluster.advertise", address)));
    let no_port = |address: &str| {
        address.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
    };
    let (key, bad) = given.find(|(_, address)| no_port(address))?;
    wrong(key, &format!("{bad:?} is no address"), "give host:port")
}

fn check_gateway(config: &Config) -> Option<Wrong> {
    if config.data_directory.is_some() {
        return wrong("data_directory", "a gateway alone keeps nothing", "remove it, or add \"store\" to `roles`");
    }
    if config.admin.token_file.is_none() {
        return wrong(
            "admin.token_file",
            "missing, and a gateway alone has no data directory to keep one in",
            "name a file in a folder that this user may write to, such as /var/lib/securanet/admin-token",
        );
    }
    let Some(cluster) = &config.cluster else {
        return wrong(
            "cluster",
            "missing, and a gateway alone reaches its stores through it",
            "add [cluster] with node, site and directory, and let it come in with `securanet join`",
        );
    };
    if cluster.address.is_some() {
        return wrong("cluster.address", "only stores listen for other nodes", "remove it");
    }
    if cluster.directory.is_none() {
        return wrong(
            "cluster.directory",
            "missing, and a gateway alone has no data directory to keep its certificate in",
            "name a folder that this user may write to, such as /var/lib/securanet/cluster",
        );
    }
    check_addresses(cluster)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const GATEWAY: &str = "roles = [\"gateway\"]\n[admin]\ntoken_file = \"token\"\n";
    const FILES: &str = "[cluster]\nnode = \"n\"\ndirectory = \"c\"\n";

    fn load(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().expect("folder");
        fs::create_dir(folder.path().join("tls")).expect("folder");
        for file in ["tls/certificate.pem", "tls/key.pem", "node.toml"] {
            fs::write(folder.path().join(file), text).expect("file");
        }
        Config::load(&folder.path().join("node.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_node_is_store_and_gateway_unless_it_says_otherwise() {
        let config = load("data_directory = \"d\"").expect("enough");
        assert!(config.is_store() && config.is_gateway() && config.cluster.is_none());
        let config = load(&format!("{GATEWAY}{FILES}stores = [\"s:1\", \"[::1]:2\"]")).expect("a gateway");
        assert!(config.is_gateway() && !config.is_store());
        assert!(config.token_file().ends_with("token"));
        assert_eq!(config.facts_directory(), config.token_file().parent().expect("a folder"));
        let config = load(&format!("data_directory = \"d\"\nroles = [\"store\"]\n{FILES}address = \"127.0.0.1:1\""));
        assert!(config.is_ok_and(|config| config.is_store() && !config.is_gateway()));
    }

    #[test]
    fn what_does_not_fit_the_roles_is_named_with_its_remedy() {
        let cases = [
            ("roles = []".to_owned(), "roles: not one or two different ones"),
            ("roles = [\"store\", \"store\"]".to_owned(), "roles: not one or two different ones"),
            ("roles = [\"witness\"]".to_owned(), "unknown variant `witness`"),
            ("roles = [\"store\"]".to_owned(), "data_directory: missing, and the node is a store; name the folder"),
            (
                format!("data_directory = \"d\"\n{GATEWAY}{FILES}stores = [\"s:1\"]"),
                "data_directory: a gateway alone keeps nothing; remove it, or add \"store\"",
            ),
            ("roles = [\"gateway\"]".to_owned(), "admin.token_file: missing"),
            (GATEWAY.to_owned(), "cluster: missing, and a gateway alone reaches its stores through it"),
            (format!("{GATEWAY}[cluster]\nnode = \"n\""), "cluster.directory: missing"),
            (format!("{GATEWAY}[cluster]\ndirectory = \"c\""), "missing field `node`"),
            (format!("{GATEWAY}[cluster]\nnode = \"N\""), "no name of a node"),
            (format!("{GATEWAY}{FILES}reach = {{ a = \"x\" }}"), "cluster.reach: \"x\" is no address"),
            (
                format!("data_directory = \"d\"\n{FILES}address = \"0.0.0.0:2600\""),
                "cluster.advertise: missing, and nobody can reach",
            ),
            (format!("{GATEWAY}{FILES}stores = [\"s\"]"), "cluster.stores: \"s\" is no address; give host:port"),
            (
                format!("{GATEWAY}{FILES}stores = [\"s:1\"]\naddress = \"127.0.0.1:0\""),
                "cluster.address: only stores listen for other nodes",
            ),
            (format!("data_directory = \"d\"\n{FILES}"), "cluster.address: missing"),
            (
                format!("data_directory = \"d\"\n{FILES}address = \"127.0.0.1:1\"\nstores = [\"s:1\"]"),
                "cluster.stores: a node that is a store asks itself",
            ),
            (
                "data_directory = \"d\"\nroles = [\"store\"]\n[[listener]]\nname = \"mx\"\nprotocol = \"smtp\"\n\
                 address = \"127.0.0.1:0\"\ntls = \"none\""
                    .to_owned(),
                "listener: the node is no gateway and serves no clients",
            ),
        ];
        for (text, expected) in cases {
            let problem = load(&text).err().unwrap_or_else(|| "none".to_owned());
            assert!(problem.contains(expected), "{text:?} gave {problem:?}, not {expected:?}");
        }
    }

    #[test]
    fn the_shipped_gateway_is_a_gateway() {
        let config = load(include_str!("../../deploy/gateway.toml")).expect("a node file");
        assert!(config.is_gateway() && !config.is_store() && config.listener.len() == 3);
    }
}
