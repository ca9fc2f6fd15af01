//! A listening address and what is settled there before a protocol speaks.
//!
//! Order of a connection: accepted, counted by listener and by the address of the TCP peer (a proxy's address
//! is exempt), PROXY header read if the peer is a configured proxy, counted by the client's address, TLS if it
//! is implicit, handed to the protocol. Each step has a deadline, each of these tasks belongs to the listener,
//! which joins them when it drains.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use ipnet::IpNet;

/// What a bare LF in message data means (SMTP).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BareNewline {
    /// It becomes CRLF; a lone dot that results is content.
    #[default]
    Normalise,
    /// 550 5.6.11 and close.
    Reject,
}

/// A listener, as configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerSettings {
    /// Its name in logs, metrics and errors.
    pub name: String,
    /// Where it listens; port 0 lets the system choose.
    pub address: SocketAddr,
    /// TLS from the first byte (RFC 8314), instead of STARTTLS.
    pub implicit_tls: bool,
    /// Peers in these networks are proxies: each of their connections must begin with a PROXY header. From
    /// anybody else such a header is what it would be without us: a protocol error.
    pub proxy_networks: Vec<IpNet>,
    /// Clients in these networks may log in without TLS (old devices); empty by default.
    pub trusted_networks: Vec<IpNet>,
    /// Connections at the same time, all addresses together.
    pub connections_max: usize,
    /// Connections at the same time from one IPv4 address or one IPv6 /64. Trusted networks and proxies are
    /// not counted by address.
    pub connections_per_address_max: usize,
    /// What a bare LF in message data means.
    pub bare_newline: BareNewline,
    /// The same for clients of some networks; the first that holds the client counts.
    pub bare_newline_networks: Vec<(IpNet, BareNewline)>,
    /// How long sessions may take to end once draining has begun; then they are cut off.
    pub drain: Duration,
}

impl ListenerSettings {
    /// A listener with the defaults: STARTTLS, no proxies, no trusted networks, 10,000 connections, 50 of one
    /// address, bare LF normalised, 20 s to drain.
    #[must_use]
    pub fn new(name: &str, address: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            address,
            implicit_tls: false,
            proxy_networks: Vec::new(),
            trusted_networks: Vec::new(),
            connections_max: 10_000,
            connections_per_address_max: 50,
            bare_newline: BareNewline::default(),
            bare_newline_networks: Vec::new(),
            drain: Duration::from_secs(20),
        }
    }

    /// What a bare LF from this client means.
    #[must_use]
    pub fn bare_newline_for(&self, client: std::net::IpAddr) -> BareNewline {
        let own = self.bare_newline_networks.iter().find(|(network, _)| network.contains(&client));
        own.map_or(self.bare_newline, |(_, meaning)| *meaning)
    }
}
