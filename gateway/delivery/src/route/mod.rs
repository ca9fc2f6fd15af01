//! Which hosts take the mail of a destination, and in which order.
//!
//! Without a route the DNS decides: MX by preference, equal ones in random order, the domain itself where there is
//! none. What the DNS must not decide is that we carry mail to ourselves or into our own networks. A route of the
//! operator goes before the DNS; the first one that fits is taken, and what it names by address is his word.
//!
//! A host without a name (RFC 5321 4.1.3) needs no DNS and has no policies of its own: it is one host with one address,
//! under the same rules. What they keep it from stays so, and such mail is returned at once.

mod address;
mod hop;
mod pattern;
mod selection;
mod settings;
#[cfg(test)]
mod tests;
mod times;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use securanet_gateway::model::{DomainName, HostLiteral, RecipientAddress, ReversePath, outbound::Outcome};

pub use hop::{Hop, Login, TlsDemand};
use pattern::{DomainPattern, SenderPattern};
use selection::Selection;
use settings::Smarthost;
pub use settings::{Families, LoginSettings, RouteSettings, RouterSettings, TlsSetting};
pub use times::{Times, TimesSettings};

use crate::{
    dns::{Dns, DnsFailure},
    settings::SettingsError,
    tls::policy::{Asked, Policies},
};

/// What a destination begins with that is a route's name and not a domain.
pub const ROUTE_PREFIX: &str = "route:";
/// Hosts of one destination that are tried in one attempt.
pub const HOPS_MAX: usize = 10;

/// Finds the hosts of destinations.
pub struct Router {
    dns: Dns,
    selection: Arc<Selection>,
    port: u16,
    routes: Vec<Route>,
    policies: Policies,
}

struct Route {
    settings: RouteSettings,
    recipient_domains: Vec<DomainPattern>,
    senders: Vec<SenderPattern>,
    hosts: Vec<Smarthost>,
    login: Option<Arc<Login>>,
    times: Times,
}

/// Why there is no host for a destination.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RouteFailure {
    /// The DNS says so, or cannot say.
    #[error(transparent)]
    Dns(#[from] DnsFailure),
    /// The most preferred hosts are ourselves, and we do not have the domain (RFC 5321 5.1).
    #[error("mail for {0} loops back to ourselves: its best mail host is one of our own")]
    LoopsBack(String),
    /// All its addresses are ones that mail is not carried to.
    #[error("the mail hosts of {0} have no address that mail may be carried to now")]
    NoUsableAddress(String),
    /// A host without a name that mail is not carried to.
    #[error("mail is not sent to the host {host}: {why}")]
    Barred {
        /// The host, as a literal.
        host: String,
        /// Why.
        why: String,
    },
    /// No host fulfils what DANE, MTA-STS or a route demand.
    #[error("no mail host of {destination} can be used: {why}")]
    Tls {
        /// Which destination.
        destination: String,
        /// Why.
        why: String,
    },
    /// There is no such route here, or no way along it, or the destination is no domain or literal: our fault.
    #[error("{0}")]
    NoRoute(String),
}

/// What waits for a fault of ours to end is tried again after this long.
const OUR_FAULT_PAUSE_SECONDS: u32 = 60;

impl RouteFailure {
    /// What it means for the recipients.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Dns(DnsFailure::NoSuchDomain(_)) => Outcome::NoSuchDomain,
            Self::Dns(DnsFailure::NullMx(_)) | Self::LoopsBack(_) | Self::Barred { .. } => Outcome::Permanent,
            Self::Dns(DnsFailure::NoMailHost(_) | DnsFailure::Temporary { .. }) | Self::NoUsableAddress(_) => {
                Outcome::TemporaryDns
            }
            Self::Tls { .. } => Outcome::TemporaryTls,
            Self::Dns(DnsFailure::ResolverDead(_)) | Self::NoRoute(_) => {
                Outcome::NotTried { again_after: OUR_FAULT_PAUSE_SECONDS }
            }
        }
    }

    /// RFC 3463, RFC 7505 4.2.
    #[must_use]
    pub const fn status(&self) -> (u8, u16, u16) {
        match self {
            Self::Dns(DnsFailure::NoSuchDomain(_)) => (4, 1, 2),
            Self::Dns(DnsFailure::NullMx(_)) => (5, 1, 10),
            Self::LoopsBack(_) => (5, 4, 6),
            Self::Barred { .. } => (5, 1, 2),
            Self::Dns(DnsFailure::NoMailHost(_)) | Self::NoUsableAddress(_) | Self::NoRoute(_) => (4, 4, 4),
            Self::Dns(DnsFailure::Temporary { .. } | DnsFailure::ResolverDead(_)) => (4, 4, 3),
            Self::Tls { .. } => (4, 7, 5),
        }
    }
}

/// Says whether an address may be reached.
pub(crate) type Reach = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

impl Router {
    /// Reads the routes.
    ///
    /// # Errors
    /// [`SettingsError`] with the route and the remedy.
    pub fn new(settings: RouterSettings, dns: Dns, policies: Policies) -> Result<Self, SettingsError> {
        let selection = Arc::new(Selection::new(&settings)?);
        let routes: Vec<Route> = settings
            .routes
            .into_iter()
            .enumerate()
            .map(|(at, route)| Route::new(at, route))
            .collect::<Result<_, _>>()?;
        for (at, route) in routes.iter().enumerate() {
            if routes[..at].iter().any(|before| before.settings.name == route.settings.name) {
                return Err(route.wrong("two routes have this name"));
            }
        }
        Ok(Self { dns, selection, port: settings.port, routes, policies })
    }

    /// Whether anything that the DNS alone asks for may be carried to an address.
    pub(crate) fn reach(&self) -> Reach {
        let selection = self.selection.clone();
        Arc::new(move |address| selection.may_reach(address))
    }

    /// What mail for a recipient waits with: `route:NAME` where a route with hosts of its own fits, otherwise the
    /// recipient's domain or literal.
    #[must_use]
    pub fn destination_of(&self, sender: &ReversePath, recipient: &RecipientAddress) -> String {
        let host = recipient.host();
        match self.routes.iter().find(|route| route.fits(&host, Some(sender))) {
            Some(route) if !route.hosts.is_empty() => format!("{ROUTE_PREFIX}{}", route.settings.name),
            _ => host,
        }
    }

    /// The hosts to be tried for a destination, in order, at most [`HOPS_MAX`] and at least one. Routes by sender are
    /// found by [`Self::destination_of`] only. `fresh` passes by what is remembered of names that do not exist.
    ///
    /// # Errors
    /// [`RouteFailure`].
    pub async fn route(&self, destination: &str, fresh: bool) -> Result<Vec<Hop>, RouteFailure> {
        self.find(destination, fresh, true).await
    }

    /// The same for a TLS report to a domain: what routes of the operator demand of TLS is kept to, what the domain demands
    /// is not asked, nor counted (RFC 8460 3): it would never hear that nobody can fulfil it.
    ///
    /// # Errors
    /// [`RouteFailure`].
    pub async fn route_for_tls_report(&self, domain: &str, fresh: bool) -> Result<Vec<Hop>, RouteFailure> {
        self.find(domain, fresh, false).await
    }

    async fn find(&self, destination: &str, fresh: bool, is_heeded: bool) -> Result<Vec<Hop>, RouteFailure> {
        let named = destination.strip_prefix(ROUTE_PREFIX);
        let route = self.route_of(destination);
        let no_route = || {
            RouteFailure::NoRoute(match named {
                Some(name) => format!("no route {name:?} in this node's settings"),
                None => format!("{destination:?} is no domain, address literal or route"),
            })
        };
        match route {
            Some(route) if !route.hosts.is_empty() => self.smarthosts(destination, route).await,
            _ if named.is_some() => Err(no_route()),
            _ if destination.starts_with('[') => {
                let host = HostLiteral::parse(destination).map_err(|_| no_route())?;
                self.literal(host.canonical(), route).map(|hop| vec![hop])
            }
            _ => {
                let domain = DomainName::parse(destination).map_err(|_| no_route())?;
                self.mail_hosts(&domain, route, (fresh, is_heeded)).await
            }
        }
    }

    fn route_of(&self, destination: &str) -> Option<&Route> {
        match destination.strip_prefix(ROUTE_PREFIX) {
            Some(name) => self.routes.iter().find(|route| route.settings.name == name),
            None => self.routes.iter().find(|route| route.fits(destination, None)),
        }
    }

    /// When mail for a destination is tried again, where its route says something about that.
    #[must_use]
    pub fn times(&self, destination: &str) -> Option<Times> {
        self.route_of(destination).map(|route| &route.times).filter(|times| !times.are_none()).cloned()
    }

    async fn mail_hosts(
        &self,
        domain: &DomainName,
        route: Option<&Route>,
        (fresh, is_heeded): (bool, bool),
    ) -> Result<Vec<Hop>, RouteFailure> {
        let found = match self.dns.mail_hosts(domain, fresh).await {
            Err(failure @ DnsFailure::Temporary { is_bogus: true, .. }) if is_heeded => {
                self.policies.bogus(domain, "", &failure.to_string());
                return Err(failure.into());
            }
            found => found?,
        };
        for host in found.hosts.iter().filter(|host| is_heeded && host.addresses.are_bogus) {
            self.policies.bogus(domain, &host.name, "its addresses are bogus");
        }
        let mx_secure = found.secure;
        let port = route.and_then(|route| route.settings.port).unwrap_or(self.port);
        let mut hops = Vec::new();
        for host in self.selection.select(domain.as_str(), found.hosts)? {
            let addresses = host.addresses.addresses.iter().map(|address| SocketAddr::new(*address, port));
            let mut hop = Hop::new(host.name.clone(), addresses.collect());
            hop.name_is_sure = found.implicit || mx_secure;
            let named = route.is_some_and(|route| route.condition(&mut hop));
            hops.push((hop, host.addresses, named));
        }
        let asked = Asked { domain, mx_secure, is_heeded, reach: self.reach() };
        self.policies.apply(&self.dns, &asked, hops).await
    }

    /// The host that a literal names. A route that names it too is the operator's word for it.
    fn literal(&self, host: HostLiteral, route: Option<&Route>) -> Result<Hop, RouteFailure> {
        let name = host.to_string();
        self.selection.admit(host, route.is_some_and(|route| route.names(&name)))?;
        let port = route.and_then(|route| route.settings.port).unwrap_or(self.port);
        let mut hop = Hop::new(name, vec![SocketAddr::new(host.ip(), port)]);
        if let Some(route) = route {
            route.condition(&mut hop);
        }
        match hop.tls {
            TlsDemand::Dane { .. } => Err(RouteFailure::Tls {
                destination: hop.name,
                why: "a host without a name has no TLSA records".to_owned(),
            }),
            _ => Ok(hop),
        }
    }

    async fn smarthosts(&self, destination: &str, route: &Route) -> Result<Vec<Hop>, RouteFailure> {
        let mut hops = Vec::new();
        let mut failure = RouteFailure::NoUsableAddress(destination.to_owned());
        for host in route.hosts.iter().take(HOPS_MAX) {
            let (name, addresses, port) = match host {
                Smarthost::Address(address, port) => (format!("[{address}]"), Ok(vec![*address]), *port),
                Smarthost::Name(name, port) => (name.clone(), self.dns.addresses(name).await, *port),
            };
            let port = port.or(route.settings.port).unwrap_or(self.port);
            match addresses {
                Ok(mut addresses) => {
                    addresses.retain(|address| self.selection.families.has(*address));
                    if addresses.is_empty() {
                        continue;
                    }
                    let mut hop =
                        Hop::new(name, addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect());
                    route.condition(&mut hop);
                    hops.push(hop);
                }
                Err(dead @ DnsFailure::ResolverDead(_)) => return Err(dead.into()),
                // A smarthost that does not exist is a fault of settings, not of the recipient's address.
                Err(DnsFailure::NoSuchDomain(name) | DnsFailure::NoMailHost(name) | DnsFailure::NullMx(name)) => {
                    failure = RouteFailure::NoRoute(format!("{destination}: its host {name} has no address"));
                }
                Err(temporary) => failure = temporary.into(),
            }
        }
        let hops = self.policies.apply_to_route(&self.dns, hops).await;
        match hops {
            Ok(hops) if hops.is_empty() => Err(failure),
            hops => hops,
        }
    }
}

impl Hop {
    /// A host with nothing demanded of it.
    #[must_use]
    pub const fn new(name: String, addresses: Vec<SocketAddr>) -> Self {
        Self {
            name,
            name_is_sure: true,
            addresses,
            tls: TlsDemand::Opportunistic,
            implicit_tls: false,
            auth: None,
            route: None,
            source_addresses: Vec::new(),
            helo_name: None,
            tls_reason: None,
            tls_subject: None,
        }
    }
}

impl Route {
    fn new(at: usize, settings: RouteSettings) -> Result<Self, SettingsError> {
        let name = settings.name.clone();
        let named = (1..=64).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !named {
            let why = "its name has 1 to 64 letters, digits, - _ .".to_owned();
            return Err(SettingsError::Route { route: format!("number {}", at + 1), why });
        }
        let wrong = |why: String| SettingsError::Route { route: name.clone(), why };
        let route = Self {
            recipient_domains: parse(&settings.recipient_domains, DomainPattern::parse).map_err(wrong)?,
            senders: parse(&settings.senders, SenderPattern::parse).map_err(wrong)?,
            hosts: parse(&settings.hosts, Smarthost::parse).map_err(wrong)?,
            login: settings.login.as_ref().map(|login| {
                let password = login.password.clone().into();
                Arc::new(Login { user: login.user.clone(), password })
            }),
            times: Times::parse(&settings.queue).map_err(wrong)?,
            settings,
        };
        route.check()
    }

    fn check(self) -> Result<Self, SettingsError> {
        let settings = &self.settings;
        let plain = matches!(settings.tls, Some(TlsSetting::Never));
        if self.hosts.is_empty() && !self.senders.is_empty() {
            return Err(self.wrong("a route by sender needs hosts"));
        }
        if self.hosts.is_empty() && self.login.is_some() {
            return Err(self.wrong("a login is for smarthosts: set hosts"));
        }
        if settings.implicit_tls && plain {
            return Err(self.wrong("implicit_tls and tls = \"never\" exclude each other"));
        }
        if !settings.certificate_names.is_empty() && !matches!(settings.tls, None | Some(TlsSetting::Verified)) {
            return Err(self.wrong("certificate_names need tls = \"verified\""));
        }
        if settings.helo_name.as_ref().is_some_and(|name| DomainName::parse(name).is_err()) {
            return Err(self.wrong("helo_name is no host name"));
        }
        Ok(self)
    }

    fn wrong(&self, why: &str) -> SettingsError {
        SettingsError::Route { route: self.settings.name.clone(), why: why.to_owned() }
    }

    /// Whether it is for this recipient's domain (or literal) and sender; without a sender, whether it is for all senders.
    fn fits(&self, domain: &str, sender: Option<&ReversePath>) -> bool {
        let domain_fits =
            self.recipient_domains.is_empty() || self.recipient_domains.iter().any(|pattern| pattern.fits(domain));
        let sender_fits = self.senders.is_empty()
            || sender.is_some_and(|sender| self.senders.iter().any(|pattern| pattern.fits(sender)));
        domain_fits && sender_fits
    }

    /// Whether it is for this destination by name, and not only among others.
    fn names(&self, destination: &str) -> bool {
        self.recipient_domains.iter().any(|pattern| pattern.is(destination))
    }

    /// Puts the route's conditions on a host; tells whether it says something about TLS.
    fn condition(&self, hop: &mut Hop) -> bool {
        let settings = &self.settings;
        hop.auth.clone_from(&self.login);
        hop.route = Some(settings.name.clone());
        hop.source_addresses.clone_from(&settings.source_addresses);
        hop.helo_name.clone_from(&settings.helo_name);
        hop.implicit_tls = settings.implicit_tls;
        let names = if settings.certificate_names.is_empty() {
            vec![hop.name.clone()]
        } else {
            hop.name_is_sure = true;
            settings.certificate_names.clone()
        };
        // A password is not given to whoever answers.
        let default = if self.login.is_some() || !settings.certificate_names.is_empty() {
            Some(TlsSetting::Verified)
        } else {
            settings.implicit_tls.then_some(TlsSetting::Encrypted)
        };
        let Some(tls) = settings.tls.or(default) else { return false };
        hop.tls = match tls {
            TlsSetting::Never => TlsDemand::Never,
            TlsSetting::Opportunistic if !settings.implicit_tls => TlsDemand::Opportunistic,
            TlsSetting::Opportunistic | TlsSetting::Encrypted => TlsDemand::Encrypted,
            TlsSetting::Verified => TlsDemand::Verified(names),
            TlsSetting::Dane => TlsDemand::Dane { records: Arc::new([]), names },
        };
        hop.tls_reason = Some(format!("route {}", settings.name));
        true
    }
}

fn parse<T>(texts: &[String], read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    texts.iter().map(|text| read(text)).collect()
}
