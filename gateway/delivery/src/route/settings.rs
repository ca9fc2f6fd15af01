//! What an operator decides about routes.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::times::TimesSettings;

/// Routes, and what is ours.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RouterSettings {
    /// Port of mail hosts that the DNS names. Default 25.
    pub port: u16,
    /// Names of all gateways of all sites: an MX that names one of them is ourselves.
    pub self_names: Vec<String>,
    /// Addresses of all gateways of all sites, as the world sees them.
    pub self_addresses: Vec<IpAddr>,
    /// Mail hosts in private networks (RFC 1918, RFC 4193) may be connected to.
    pub private_targets: bool,
    /// Networks that may be connected to whatever they are.
    pub allowed_networks: Vec<IpNet>,
    /// Networks that are never connected to unless a route names them.
    pub refused_networks: Vec<IpNet>,
    /// Which protocols are used.
    pub families: Families,
    /// In order: the first one that fits is taken.
    pub routes: Vec<RouteSettings>,
}

impl Default for RouterSettings {
    fn default() -> Self {
        Self {
            port: 25,
            self_names: Vec::new(),
            self_addresses: Vec::new(),
            private_targets: false,
            allowed_networks: Vec::new(),
            refused_networks: Vec::new(),
            families: Families::Both,
            routes: Vec::new(),
        }
    }
}

/// Which protocols are used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Families {
    /// IPv6 and IPv4.
    #[default]
    Both,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Families {
    pub(super) const fn has(self, address: IpAddr) -> bool {
        match self {
            Self::Both => true,
            Self::Ipv4 => address.is_ipv4(),
            Self::Ipv6 => address.is_ipv6(),
        }
    }
}

/// A way that mail takes other than that of the DNS, or under conditions of its own.
///
/// It fits when one of `recipient_domains` fits (or there are none) and one of `senders` fits (or there are none): with
/// neither it is for all mail.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSettings {
    /// 1 to 64 letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// `example.org`, `.example.org` (whatever is below it, not itself), `*`; `[192.0.2.9]`, `[IPv6:2001:db8::9]`: mail
    /// for user@[192.0.2.9] is carried there whatever address that is.
    #[serde(default)]
    pub recipient_domains: Vec<String>,
    /// `ann@example.org`, `example.org`, `.example.org`, `<>` (reports).
    #[serde(default)]
    pub senders: Vec<String>,
    /// Smarthosts, tried in this order: `smtp.example.net`, `smtp.example.net:587`, `[192.0.2.1]:2525`,
    /// `[IPv6:2001:db8::1]`. Empty: the mail hosts of the recipient's domain, under this route's conditions.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Port where `hosts` names none, and of mail hosts. Default that of the router.
    #[serde(default)]
    pub port: Option<u16>,
    /// Default: `verified` where there is a login, otherwise what the destination's policies say.
    #[serde(default)]
    pub tls: Option<TlsSetting>,
    /// TLS from the first octet (RFC 8314, port 465) instead of STARTTLS.
    #[serde(default)]
    pub implicit_tls: bool,
    /// Names that a verified certificate may be for, instead of the host's.
    #[serde(default)]
    pub certificate_names: Vec<String>,
    /// Who we are there.
    #[serde(default)]
    pub login: Option<LoginSettings>,
    /// Addresses that we connect from; the first of the right family is taken.
    #[serde(default)]
    pub source_addresses: Vec<IpAddr>,
    /// What we call ourselves in EHLO.
    #[serde(default)]
    pub helo_name: Option<String>,
    /// When what waits for it is tried again.
    #[serde(default)]
    pub queue: TimesSettings,
}

/// What TLS a route demands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsSetting {
    /// None is spoken, even where it is offered.
    Never,
    /// What is offered is used; no certificate is checked.
    Opportunistic,
    /// TLS with whatever certificate.
    Encrypted,
    /// TLS with a certificate for the host from an authority that we trust.
    Verified,
    /// RFC 7672; without secure TLSA records there is no delivery.
    Dane,
}

/// User and password at a smarthost. No `Debug` shows the password.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginSettings {
    /// The user's name there.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for LoginSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginSettings").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A smarthost, read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Smarthost {
    Name(String, Option<u16>),
    Address(IpAddr, Option<u16>),
}

impl Smarthost {
    /// Reads `name`, `name:port`, `[address]` or `[address]:port`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is no host: write smtp.example.net, smtp.example.net:587 or [192.0.2.1]:25");
        let port = |text: &str| text.parse().ok().filter(|port| *port != 0).ok_or_else(bad);
        if let Some(rest) = text.strip_prefix('[') {
            let (address, after) = rest.split_once(']').ok_or_else(bad)?;
            let address = address.strip_prefix("IPv6:").unwrap_or(address).parse().map_err(|_| bad())?;
            let port = match after.strip_prefix(':') {
                Some(after) => Some(port(after)?),
                None if after.is_empty() => None,
                None => return Err(bad()),
            };
            return Ok(Self::Address(address, port));
        }
        if text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok() {
            return Err(format!("{text:?}: an address stands in brackets: write [192.0.2.1] or [192.0.2.1]:25"));
        }
        let (name, port) = match text.split_once(':') {
            Some((name, after)) => (name, Some(port(after)?)),
            None => (text, None),
        };
        let name = securanet_gateway::model::DomainName::parse(name).map_err(|_| bad())?;
        Ok(Self::Name(name.as_str().to_owned(), port))
    }
}
