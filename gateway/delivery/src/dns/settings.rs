//! What an operator decides about DNS.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::settings::seconds;

/// Which servers are asked, how long, and what is believed and remembered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DnsSettings {
    /// Recursive resolvers, as `192.0.2.53:53`; empty: the system's. They are asked in this order, beginning with
    /// the one that answered last.
    pub servers: Vec<SocketAddr>,
    /// One server has this long to answer, all repeats of a question together. Default 5 s.
    #[serde(rename = "timeout_seconds", with = "seconds")]
    pub timeout: Duration,
    /// How often a question is repeated to one server when an answer fails to come. Default 1.
    pub repeats: usize,
    /// Answers remembered. Default 20,000, some 10 MiB.
    pub cache_entries_max: usize,
    /// Longest that an answer is remembered, whatever its TTL. Default 1 hour.
    #[serde(rename = "positive_ttl_seconds_max", with = "seconds")]
    pub positive_ttl_max: Duration,
    /// Longest that an absence is remembered, whatever its SOA says. Default 5 minutes.
    #[serde(rename = "negative_ttl_seconds_max", with = "seconds")]
    pub negative_ttl_max: Duration,
    /// How long a failure of a destination's servers is remembered (RFC 9520 3.2 asks for 1 s to 5 min), so that each
    /// letter does not wait for them again. Default 10 s.
    #[serde(rename = "failure_ttl_seconds", with = "seconds")]
    pub failure_ttl: Duration,
    /// Validates DNSSEC here, which DANE needs. What is bogus is then a temporary failure of the destination.
    pub dnssec: bool,
    /// DNSKEY records to trust instead of the root's.
    pub trust_anchor: Option<PathBuf>,
    /// Names whose SOA is asked when a question failed: if no server answers for any of them either, the fault is
    /// ours and not the destination's. Default the root. Names of the operator's own choice that are not remembered
    /// for long tell sooner that a resolver has lost its way into the world.
    pub control_names: Vec<String>,
}

impl Default for DnsSettings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::from_secs(5),
            repeats: 1,
            cache_entries_max: 20_000,
            positive_ttl_max: Duration::from_secs(3600),
            negative_ttl_max: Duration::from_secs(300),
            failure_ttl: Duration::from_secs(10),
            dnssec: false,
            trust_anchor: None,
            control_names: vec![".".to_owned()],
        }
    }
}
