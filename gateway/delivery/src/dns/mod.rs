//! What the DNS says about a destination: its mail hosts, their addresses, and what DANE and MTA-STS keep there.
//!
//! Whose fault a failure is decides whether a retry is counted, so each answer is sorted: a name that does not
//! exist, a domain that takes no mail, one that has no host, servers of the destination that fail, and our own
//! resolver being dead. Only the last is ours.

mod answer;
mod cache;
mod servers;
mod settings;
#[cfg(test)]
pub(crate) mod tests;

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use futures::{StreamExt, stream};
use securanet_gateway::model::DomainName;
use tokio::time::Instant;

pub use answer::TlsaRecord;
use answer::{Absent, Failure, Kind, Known, Records, Value};
use cache::Memory;
use servers::Servers;
pub use settings::DnsSettings;

use crate::settings::SettingsError;

/// Mail hosts of one domain that are looked at, the preferred ones; RFC 5321 5.1 wants at least two to be tried.
pub const MAIL_HOSTS_MAX: usize = 20;
/// Addresses of one host that are looked at.
pub const ADDRESSES_MAX: usize = 16;
/// Questions asked at the same time for one domain.
const QUESTIONS_AT_ONCE: usize = 8;

/// The resolver. Cheap to clone.
#[derive(Clone)]
pub struct Dns {
    inner: Arc<Inner>,
}

struct Inner {
    servers: Servers,
    memory: Memory,
}

/// Why a destination has no hosts that can be told.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DnsFailure {
    /// NXDOMAIN.
    #[error("the domain {0} does not exist")]
    NoSuchDomain(String),
    /// RFC 7505.
    #[error("the domain {0} does not accept mail (null MX)")]
    NullMx(String),
    /// Mail hosts are named but none has an address, or neither mail hosts nor an address are there.
    #[error("the domain {0} has no mail host with an address")]
    NoMailHost(String),
    /// Its servers answer SERVFAIL, not at all, or what DNSSEC proves wrong.
    #[error("the DNS servers of {name} fail: {why}")]
    Temporary {
        /// What was asked for.
        name: String,
        /// What happened.
        why: String,
        /// DNSSEC proved it wrong.
        is_bogus: bool,
    },
    /// No server that we ask answers anything: our fault.
    #[error("no DNS server of ours answers ({0})")]
    ResolverDead(String),
}

/// Where a domain wants its mail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MailHosts {
    /// By preference, equal ones in no particular order. At least one has an address. Those without are there because
    /// one of them may be ourselves, or preferred to ourselves.
    pub hosts: Vec<MailHost>,
    /// RFC 5321 5.1: there is no MX, the domain itself is the host.
    pub implicit: bool,
    /// The MX records were proved by DNSSEC, or that there are none is as sure as the addresses.
    pub secure: bool,
}

/// A mail host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MailHost {
    /// Lower is preferred.
    pub preference: u16,
    /// Its name, A-labels in lower case.
    pub name: String,
    /// Its addresses.
    pub addresses: HostAddresses,
}

/// Addresses of a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostAddresses {
    /// IPv6 and IPv4 in turn, as RFC 8305 4 orders them; at most [`ADDRESSES_MAX`], or none.
    pub addresses: Vec<IpAddr>,
    /// They were proved by DNSSEC.
    pub secure: bool,
    /// There are none because DNSSEC proved wrong what was answered.
    pub are_bogus: bool,
    /// Where aliases led (RFC 7672 2.2.2 looks for TLSA there first).
    pub canonical: String,
}

impl Dns {
    /// Sets the resolver up.
    ///
    /// # Errors
    /// [`SettingsError`] when there is no server, or the trust anchor cannot be read.
    pub fn new(settings: &DnsSettings) -> Result<Self, SettingsError> {
        let inner = Inner { servers: Servers::new(settings)?, memory: Memory::new(settings) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The hosts that take mail for a domain (RFC 5321 5.1). `fresh` passes by what is remembered of absences.
    ///
    /// A host whose addresses cannot be told has none, as long as another one has some.
    ///
    /// # Errors
    /// [`DnsFailure`].
    pub async fn mail_hosts(&self, domain: &DomainName, fresh: bool) -> Result<MailHosts, DnsFailure> {
        let domain = domain.as_str();
        let (exchanges, implicit, secure) = match self.ask(domain, Kind::Mx, fresh).await? {
            Ok(records) => (exchanges(domain, &records)?, false, records.secure),
            Err(Absent::NoSuchName) => return Err(DnsFailure::NoSuchDomain(domain.to_owned())),
            // That there is none is proved where the addresses of the same name are.
            Err(Absent::NoData) => (vec![(0, domain.to_owned())], true, true),
        };
        let looked_up: Vec<_> = stream::iter(exchanges)
            .map(|(preference, name)| async move {
                let addresses = self.host_addresses(&name, fresh).await;
                (preference, name, addresses)
            })
            .buffered(QUESTIONS_AT_ONCE)
            .collect()
            .await;
        let mut hosts = Vec::new();
        let mut failure = DnsFailure::NoMailHost(domain.to_owned());
        for (preference, name, addresses) in looked_up {
            let addresses = match addresses {
                Ok(addresses) => addresses,
                Err(DnsFailure::ResolverDead(why)) => return Err(DnsFailure::ResolverDead(why)),
                Err(told) => {
                    let are_bogus = matches!(told, DnsFailure::Temporary { is_bogus: true, .. });
                    if matches!(told, DnsFailure::Temporary { .. }) {
                        failure = told;
                    }
                    HostAddresses { addresses: Vec::new(), secure: false, are_bogus, canonical: name.clone() }
                }
            };
            hosts.push(MailHost { preference, name, addresses });
        }
        let reachable = hosts.iter().any(|host| !host.addresses.addresses.is_empty());
        if reachable { Ok(MailHosts { hosts, implicit, secure }) } else { Err(failure) }
    }

    /// The addresses of a host, or the address that its name is.
    ///
    /// # Errors
    /// [`DnsFailure`]; [`DnsFailure::NoMailHost`] for one without an address.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsFailure> {
        match host.parse() {
            Ok(address) => Ok(vec![address]),
            Err(_) => self.host_addresses(host, false).await.map(|found| found.addresses),
        }
    }

    /// RFC 7672 2.2.1: the TLSA records of a host's port, if they are secure; otherwise none.
    ///
    /// # Errors
    /// [`DnsFailure::Temporary`] when they are bogus or their servers fail: the host must not be used then.
    pub async fn tlsa(&self, host: &str, port: u16) -> Result<Vec<TlsaRecord>, DnsFailure> {
        let known = self.ask(&format!("_{port}._tcp.{host}"), Kind::Tlsa, false).await?;
        let Ok(records) = known else { return Ok(Vec::new()) };
        let secure = records.values.iter().filter(|_| records.secure);
        Ok(secure.filter_map(|value| if let Value::Tlsa(tlsa) = value { Some(tlsa.clone()) } else { None }).collect())
    }

    /// The TXT records of a name, the strings of each put together; none when there are none.
    ///
    /// # Errors
    /// [`DnsFailure::Temporary`], [`DnsFailure::ResolverDead`].
    pub async fn texts(&self, name: &str) -> Result<Vec<Vec<u8>>, DnsFailure> {
        let known = self.ask(name, Kind::Txt, false).await?;
        let Ok(records) = known else { return Ok(Vec::new()) };
        let text = |value: &Value| if let Value::Text(text) = value { Some(text.clone()) } else { None };
        Ok(records.values.iter().filter_map(text).collect())
    }

    pub(crate) async fn host_addresses(&self, host: &str, fresh: bool) -> Result<HostAddresses, DnsFailure> {
        let (six, four) = tokio::join!(self.ask(host, Kind::Aaaa, fresh), self.ask(host, Kind::A, fresh));
        let found = [&six, &four].map(|asked| asked.as_ref().ok().and_then(|known| known.as_ref().ok()).cloned());
        let [six_records, four_records] = &found;
        let there: Vec<_> = found.iter().flatten().collect();
        if let Some(first) = there.first() {
            return Ok(HostAddresses {
                addresses: in_turn(&addresses_of(six_records.as_deref()), &addresses_of(four_records.as_deref())),
                secure: there.iter().all(|records| records.secure),
                are_bogus: false,
                canonical: first.owner.clone(),
            });
        }
        // Nothing is there: one failure is enough not to know that.
        match (six?, four?) {
            (Err(Absent::NoSuchName), _) | (_, Err(Absent::NoSuchName)) => {
                Err(DnsFailure::NoSuchDomain(host.to_owned()))
            }
            _ => Err(DnsFailure::NoMailHost(host.to_owned())),
        }
    }

    async fn ask(&self, name: &str, kind: Kind, fresh: bool) -> Result<Known, DnsFailure> {
        let name = name.to_ascii_lowercase();
        if let Some(known) = self.inner.memory.get(&name, kind, !fresh) {
            return Ok(known);
        }
        if let Some((why, is_bogus)) = self.inner.memory.failure(&name, kind).filter(|_| !fresh) {
            return Err(DnsFailure::Temporary { name, why, is_bogus });
        }
        let began = Instant::now();
        match self.inner.servers.ask(&name, kind).await {
            Ok((known, ttl)) => {
                self.inner.memory.put(&name, kind, &known, ttl);
                Ok(known)
            }
            Err(failure) => {
                let is_theirs = self.inner.servers.is_theirs(&failure, began).await;
                let is_bogus = failure == Failure::Bogus;
                let why = failure.to_string();
                if !is_theirs {
                    return Err(DnsFailure::ResolverDead(why));
                }
                self.inner.memory.put_failure(&name, kind, (&why, is_bogus));
                Err(DnsFailure::Temporary { name, why, is_bogus })
            }
        }
    }
}

/// The exchanges by preference. One that is the root alone says that no mail is taken (RFC 7505 3); among others it
/// says nothing. Names that cannot be host names are left out, a name that stands twice keeps its best preference.
fn exchanges(domain: &str, records: &Records) -> Result<Vec<(u16, String)>, DnsFailure> {
    let mut all: Vec<(u16, String)> = records
        .values
        .iter()
        .filter_map(
            |value| if let Value::Mx(preference, host) = value { Some((*preference, host.clone())) } else { None },
        )
        .collect();
    if all.iter().all(|(_, host)| host.is_empty()) {
        return Err(DnsFailure::NullMx(domain.to_owned()));
    }
    all.retain(|(_, host)| DomainName::parse(host).is_ok());
    all.sort();
    let mut seen = HashSet::new();
    all.retain(|(_, host)| seen.insert(host.clone()));
    all.truncate(MAIL_HOSTS_MAX);
    Ok(all)
}

fn addresses_of(records: Option<&Records>) -> Vec<IpAddr> {
    let values = records.map(|records| records.values.as_slice()).unwrap_or_default();
    values.iter().filter_map(|value| if let Value::Address(address) = value { Some(*address) } else { None }).collect()
}

/// RFC 8305 4: the families take turns, IPv6 first.
fn in_turn(six: &[IpAddr], four: &[IpAddr]) -> Vec<IpAddr> {
    let turns = (0..six.len().max(four.len())).flat_map(|at| [six.get(at), four.get(at)]);
    turns.flatten().copied().take(ADDRESSES_MAX).collect()
}
