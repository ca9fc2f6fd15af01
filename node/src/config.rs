//! The node's own file: only what is local to this machine. Everything else lives in the directory.
//!
//! A mistake gives one error that names the file, the place in it and the remedy. Keys that do not exist are
//! mistakes: a typo must not silently leave a default in place.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use securanet_gateway::model::DomainName;
use securanet_raft::{CACHE_BYTES, CACHE_BYTES_MIN};
use serde::Deserialize;

use crate::{
    check::{self, Wrong},
    delivery::Delivery,
    roles::{self, Cluster, Role},
};

/// Far more than a machine has: a slip of the pen.
const CACHE_BYTES_MAX: usize = 1 << 40;

/// One node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The name that greetings, EHLO and Received fields show; default: this machine's name.
    #[serde(default = "machine_name")]
    pub(crate) hostname: DomainName,
    /// What the node is; default: store and gateway.
    #[serde(default = "roles::all")]
    pub(crate) roles: Vec<Role>,
    /// Where the store keeps everything; a gateway alone has none.
    pub(crate) data_directory: Option<PathBuf>,
    /// Its place among other nodes; none for a node alone.
    pub(crate) cluster: Option<Cluster>,
    /// The store.
    #[serde(default)]
    pub(crate) store: Store,
    /// The admin API.
    #[serde(default)]
    pub(crate) admin: Admin,
    /// Mail on its way out.
    #[serde(default)]
    pub(crate) delivery: Delivery,
    /// The log.
    #[serde(default)]
    pub(crate) log: Log,
    /// Certificates; the first is shown to clients that name no host.
    #[serde(default)]
    pub(crate) certificate: Vec<Certificate>,
    /// Where the node listens.
    #[serde(default)]
    pub(crate) listener: Vec<Listener>,
}

/// Bounds of the store.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Store {
    /// Shard groups, fixed when the cluster is initialised; 1 to 64.
    pub(crate) shards: u32,
    /// Largest message in octets; 64 KiB to 1 GiB.
    pub(crate) message_size_bytes_max: u64,
    /// Memory for messages in transit, in octets; at least one largest message and 16 MiB.
    pub(crate) transit_memory_bytes_max: u64,
    /// Below this much free space no mail is taken in; reads go on.
    pub(crate) disk_reserve_bytes: u64,
    /// What the block caches of the store's three instances have together, in octets; 16 MiB to 1 TiB.
    pub(crate) cache_bytes: usize,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            shards: 8,
            message_size_bytes_max: 50 << 20,
            transit_memory_bytes_max: 256 << 20,
            disk_reserve_bytes: 1 << 30,
            cache_bytes: CACHE_BYTES,
        }
    }
}

/// The admin API.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Admin {
    /// Where it listens; loopback unless you know why not.
    pub(crate) address: SocketAddr,
    /// The file that holds its bearer token; default: `admin-token` in the data directory, made when missing.
    pub(crate) token_file: Option<PathBuf>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8025), token_file: None }
    }
}

/// The log.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// For people or for machines.
    pub(crate) format: LogFormat,
    /// A filter such as `info` or `info,securanet_smtp=debug`; default `info`.
    pub(crate) filter: Option<String>,
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// One readable line each.
    #[default]
    Human,
    /// One JSON object each.
    Json,
}

/// A certificate and its key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Certificate {
    /// What listeners call it.
    pub(crate) name: String,
    /// PEM: the certificate, then its chain.
    pub(crate) certificate_file: PathBuf,
    /// PEM: the private key.
    pub(crate) key_file: PathBuf,
}

/// What a listener speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Speaks {
    /// SMTP from the world.
    Smtp,
    /// LMTP from a relay of ours (RFC 2033: never on port 25).
    Lmtp,
    /// SMTP from our people and devices (RFC 6409), who log in and may send to anybody.
    Submission,
    /// IMAP.
    Imap,
    /// POP3.
    Pop3,
}

/// How a listener uses TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tls {
    /// STARTTLS or STLS is offered.
    #[default]
    Starttls,
    /// From the first byte.
    Implicit,
    /// Not at all.
    None,
}

/// What SMTP does with a bare LF in content.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BareNewline {
    /// It becomes CRLF.
    #[default]
    Normalise,
    /// The message is refused with 550 5.6.11.
    Reject,
}

/// One place where the node listens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    /// What logs and metrics call it.
    pub(crate) name: String,
    /// What it speaks.
    pub(crate) protocol: Speaks,
    /// Where; port 0 lets the system choose.
    pub(crate) address: SocketAddr,
    /// How it uses TLS.
    #[serde(default)]
    pub(crate) tls: Tls,
    /// Which certificates it shows, by name; empty: all.
    #[serde(default)]
    pub(crate) certificates: Vec<String>,
    /// Whether it asks clients for a TLS certificate, for relay grants (submission only).
    #[serde(default)]
    pub(crate) client_certificates: bool,
    /// Networks whose connections begin with a PROXY header (v1 or v2).
    #[serde(default)]
    pub(crate) proxy_networks: Vec<ipnet::IpNet>,
    /// Networks that may log in without TLS.
    #[serde(default)]
    pub(crate) trusted_networks: Vec<ipnet::IpNet>,
    /// Connections at a time.
    #[serde(default = "connections_max")]
    pub(crate) connections_max: usize,
    /// Connections at a time of one address.
    #[serde(default = "connections_per_address_max")]
    pub(crate) connections_per_address_max: usize,
    /// What SMTP and LMTP do with a bare LF in content.
    #[serde(default)]
    pub(crate) bare_newline: BareNewline,
    /// Networks for which it is the other way round.
    #[serde(default)]
    pub(crate) bare_newline_exceptions: Vec<ipnet::IpNet>,
}

fn connections_max() -> usize {
    10_000
}

fn connections_per_address_max() -> usize {
    200
}

#[allow(clippy::expect_used, reason = "localhost is a domain name")]
fn machine_name() -> DomainName {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    DomainName::parse(name.trim()).unwrap_or_else(|_| DomainName::parse("localhost").expect("a domain name"))
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file itself.
    #[error("{path}: {error}; give another file with --config")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{path}: {message}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Line, column and reason.
        message: String,
    },
    /// A value that does not fit.
    #[error("{path}: {key}: {problem}; {remedy}")]
    Value {
        /// Which file.
        path: PathBuf,
        /// The key's path in it.
        key: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
}

impl Config {
    /// Reads and checks a file. Relative paths in it are taken from the file's own folder.
    pub(crate) fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::File { path: path.to_owned(), error })?;
        let mut config = Self::parse(path, &text)?;
        config.resolve_paths(path.parent().unwrap_or(Path::new(".")));
        config.delivery.named(&config.hostname);
        let serves_world = |listener: &&Listener| listener.protocol == Speaks::Smtp;
        config.delivery.serves(config.listener.iter().filter(serves_world).map(|listener| listener.address.ip()));
        config.check(path)?;
        Ok(config)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| ConfigError::Syntax { path: path.to_owned(), message: error.to_string() })
    }

    fn resolve_paths(&mut self, folder: &Path) {
        self.data_directory = self.data_directory.take().map(|data| folder.join(data));
        if let Some(cluster) = &mut self.cluster {
            cluster.resolve_paths(folder);
        }
        self.admin.token_file = self.admin.token_file.take().map(|file| folder.join(file));
        for certificate in &mut self.certificate {
            certificate.certificate_file = folder.join(&certificate.certificate_file);
            certificate.key_file = folder.join(&certificate.key_file);
        }
        let (dns, client) = (&mut self.delivery.dns, &mut self.delivery.client);
        for file in [&mut dns.trust_anchor, &mut client.roots].into_iter().flatten() {
            *file = folder.join(&file);
        }
    }

    /// Whether the node keeps mail.
    pub(crate) fn is_store(&self) -> bool {
        self.roles.contains(&Role::Store)
    }

    /// Whether the node serves clients.
    pub(crate) fn is_gateway(&self) -> bool {
        self.roles.contains(&Role::Gateway)
    }

    /// The admin token's file.
    pub(crate) fn token_file(&self) -> PathBuf {
        match (&self.admin.token_file, &self.data_directory) {
            (Some(file), _) => file.clone(),
            (None, data) => data.clone().unwrap_or_default().join("admin-token"),
        }
    }

    /// Where the node writes what others want to know of it: a gateway alone has only the folder of its token.
    pub(crate) fn facts_directory(&self) -> &Path {
        let of_token = || self.admin.token_file.as_deref().and_then(Path::parent);
        self.data_directory.as_deref().or_else(of_token).unwrap_or(Path::new("."))
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let wrong = |key: &str, problem: String, remedy: &str| {
            Err(ConfigError::Value { path: path.to_owned(), key: key.to_owned(), problem, remedy: remedy.to_owned() })
        };
        if let Some(Wrong { key, problem, remedy }) = roles::check(self) {
            return wrong(&key, problem, &remedy);
        }
        let store = &self.store;
        if !(1..=64).contains(&store.shards) {
            return wrong("store.shards", format!("{} is out of range", store.shards), "give 1 to 64 (default 8)");
        }
        if !((64 << 10)..=(1 << 30)).contains(&store.message_size_bytes_max) {
            return wrong(
                "store.message_size_bytes_max",
                format!("{} is out of range", store.message_size_bytes_max),
                "give 65536 (64 KiB) to 1073741824 (1 GiB)",
            );
        }
        let transit_min = store.message_size_bytes_max + (16 << 20);
        if store.transit_memory_bytes_max < transit_min {
            return wrong(
                "store.transit_memory_bytes_max",
                format!(
                    "{} is too small for a message of store.message_size_bytes_max",
                    store.transit_memory_bytes_max
                ),
                &format!("give at least {transit_min}"),
            );
        }
        if !(CACHE_BYTES_MIN..=CACHE_BYTES_MAX).contains(&store.cache_bytes) {
            return wrong(
                "store.cache_bytes",
                format!("{} is out of range", store.cache_bytes),
                "give 16777216 (16 MiB) or more, and leave as much memory again to the rest (default 128 MiB)",
            );
        }
        if let Some(Wrong { key, problem, remedy }) = check::delivery(&self.delivery) {
            return wrong(&format!("delivery.{key}"), problem, &remedy);
        }
        self.check_certificates(path)?;
        self.listener.iter().enumerate().try_for_each(|(at, listener)| self.check_listener(path, at, listener))
    }

    fn check_certificates(&self, path: &Path) -> Result<(), ConfigError> {
        for (at, certificate) in self.certificate.iter().enumerate() {
            for (key, file) in
                [("certificate_file", &certificate.certificate_file), ("key_file", &certificate.key_file)]
            {
                if let Err(error) = std::fs::File::open(file) {
                    return Err(ConfigError::Value {
                        path: path.to_owned(),
                        key: format!("certificate[{at}].{key}"),
                        problem: format!("{}: {error}", file.display()),
                        remedy: "name a PEM file that this user can read".to_owned(),
                    });
                }
            }
        }
        Ok(())
    }

    fn check_listener(&self, path: &Path, at: usize, listener: &Listener) -> Result<(), ConfigError> {
        let wrong = |key: &str, problem: String, remedy: &str| {
            Err(ConfigError::Value {
                path: path.to_owned(),
                key: format!("listener[{at}] ({}).{key}", listener.name),
                problem,
                remedy: remedy.to_owned(),
            })
        };
        if self.listener[..at].iter().any(|other| other.name == listener.name) {
            return wrong("name", format!("{:?} is used twice", listener.name), "give each listener a name of its own");
        }
        if listener.protocol == Speaks::Lmtp && listener.address.port() == 25 {
            return wrong("address", "LMTP on port 25".to_owned(), "use another port (RFC 2033 section 5)");
        }
        let known = |name: &String| self.certificate.iter().any(|certificate| certificate.name == *name);
        if let Some(name) = listener.certificates.iter().find(|name| !known(name)) {
            return wrong(
                "certificates",
                format!("there is no [[certificate]] named {name:?}"),
                "add it, or name one that is there",
            );
        }
        if listener.tls != Tls::None && self.certificate.is_empty() {
            return wrong(
                "tls",
                "it needs a certificate and there is none".to_owned(),
                "add a [[certificate]], or say tls = \"none\"",
            );
        }
        if listener.client_certificates && (listener.protocol != Speaks::Submission || listener.tls == Tls::None) {
            return wrong(
                "client_certificates",
                "only a submission listener with TLS has a use for them".to_owned(),
                "remove it, or set it on the listener that your devices submit to",
            );
        }
        if listener.connections_max == 0 || listener.connections_per_address_max == 0 {
            return wrong("connections_max", "0 lets nobody in".to_owned(), "give at least 1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("node.toml");
        std::fs::write(&path, text).expect("file");
        match Config::load(&path) {
            Ok(_) => "none".to_owned(),
            Err(error) => error.to_string().replace(&format!("{}/", folder.path().display()), ""),
        }
    }

    #[test]
    fn the_smallest_file_is_enough() {
        assert_eq!(problem("data_directory = \"data\""), "none");
    }

    #[test]
    fn a_mistake_names_its_place_and_its_remedy() {
        let cases = [
            ("", "data_directory"),
            ("data_directory = \"d\"\nhostnam = \"x\"", "unknown field `hostnam`"),
            ("data_directory = \"d\"\n[store]\nshards = 65", "store.shards: 65 is out of range; give 1 to 64"),
            ("data_directory = \"d\"\n[store]\nmessage_size_bytes_max = 1", "store.message_size_bytes_max"),
            (
                "data_directory = \"d\"\n[store]\ncache_bytes = 128",
                "store.cache_bytes: 128 is out of range; give 16777216",
            ),
            ("data_directory = \"d\"\n[store]\ntransit_memory_bytes_max = 1", "give at least 69206016"),
            (
                "data_directory = \"d\"\n[delivery.worker]\nconnections_max = 0",
                "delivery.worker.connections_max: 0 is out of range; give 1 to 10000",
            ),
            ("data_directory = \"d\"\n[delivery]\nenable = true", "unknown field `enable`"),
            (
                "data_directory = \"d\"\n[[certificate]]\nname = \"a\"\ncertificate_file = \"no.pem\"\nkey_file = \"no.pem\"",
                "certificate[0].certificate_file: no.pem",
            ),
            (
                "data_directory = \"d\"\n[[listener]]\nname = \"mx\"\nprotocol = \"lmtp\"\naddress = \"127.0.0.1:25\"\ntls = \"none\"",
                "listener[0] (mx).address: LMTP on port 25; use another port",
            ),
            (
                "data_directory = \"d\"\n[[listener]]\nname = \"mx\"\nprotocol = \"smtp\"\naddress = \"127.0.0.1:2525\"",
                "listener[0] (mx).tls: it needs a certificate",
            ),
            (
                "data_directory = \"d\"\n[[listener]]\nname = \"mx\"\nprotocol = \"smtps\"\naddress = \"127.0.0.1:2525\"",
                "unknown variant `smtps`",
            ),
        ];
        for (text, expected) in cases {
            let problem = problem(text);
            assert!(problem.contains(expected), "{text:?} gave {problem:?}, not {expected:?}");
        }
    }

    #[test]
    fn a_missing_file_says_so() {
        let error = Config::load(Path::new("/nonexistent/node.toml")).expect_err("no file").to_string();
        assert!(error.contains("/nonexistent/node.toml") && error.contains("--config"), "{error}");
    }
}
