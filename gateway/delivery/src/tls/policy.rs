//! What TLS a destination's own words demand: DANE (RFC 7672) and MTA-STS (RFC 8461).
//!
//! A route of the operator goes before: what he says about TLS is asked of nobody else. DANE is used only where
//! DNSSEC proves both the mail hosts and their addresses; a host whose TLSA records are bogus or cannot be had is
//! left out, since going on without them is what an attacker would want. Where there is DANE, MTA-STS has no say (RFC
//! 8461 2).

use std::{path::Path, sync::Arc};

use securanet_gateway::{
    client::StoreClient,
    model::{
        DomainName,
        tls_report::{TlsPolicyKind, TlsResult},
    },
};
use serde::{Deserialize, Serialize};

use super::{
    sts::{DirectoryMemory, Mode, PolicyMemory, ProcessMemory, Sts, StsPolicy},
    verifier,
};
use crate::{
    dns::{Dns, DnsFailure, HostAddresses, TlsaRecord},
    route::{Hop, Reach, RouteFailure, TlsDemand},
    settings::SettingsError,
    tls_report::{Subject, Tally, failure},
};

/// What an operator decides about the policies of destinations.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicySettings {
    /// MTA-STS policies (RFC 8461) are fetched and kept to. Default true.
    pub mta_sts: bool,
    /// Policies kept in this process; the directory keeps more. Default 10,000.
    pub mta_sts_domains_max: usize,
}

impl Default for PolicySettings {
    fn default() -> Self {
        Self { mta_sts: true, mta_sts_domains_max: 10_000 }
    }
}

/// Which policies of destinations are asked for.
#[derive(Clone, Default)]
pub struct Policies {
    /// DANE.
    dane: bool,
    sts: Option<Sts>,
    /// Where sessions are counted for TLS reports.
    tally: Option<Arc<Tally>>,
}

/// A mail host with what the DNS said of its addresses, and whether a route has said something about TLS.
pub(crate) type Candidate = (Hop, HostAddresses, bool);

impl Policies {
    /// `dane`: DNSSEC is validated, so that DANE can be believed.
    #[must_use]
    pub const fn new(dane: bool) -> Self {
        Self { dane, sts: None, tally: None }
    }

    /// As the settings say. `dnssec`: it is validated, so that DANE can be believed; `roots`: the authorities whose
    /// certificates policy hosts may have, those of the client's settings; `store`: where policies are kept that
    /// outlive this process, if anywhere.
    ///
    /// # Errors
    /// [`SettingsError`] when they cannot be read.
    pub fn load(
        settings: &PolicySettings,
        dnssec: bool,
        roots: Option<&Path>,
        store: Option<StoreClient>,
    ) -> Result<Self, SettingsError> {
        let policies = Self::new(dnssec);
        if !settings.mta_sts {
            return Ok(policies);
        }
        let domains_max = settings.mta_sts_domains_max;
        let memory: Arc<dyn PolicyMemory> = match store {
            Some(store) => Arc::new(DirectoryMemory::new(store, domains_max)),
            None => Arc::new(ProcessMemory::new(domains_max)),
        };
        Ok(policies.with_mta_sts(Sts::new(roots, memory)?))
    }

    /// Asks for MTA-STS policies too.
    #[must_use]
    pub fn with_mta_sts(mut self, sts: Sts) -> Self {
        self.sts = Some(sts);
        self
    }

    /// Has sessions counted for TLS reports.
    #[must_use]
    pub fn with_tally(mut self, tally: Option<Arc<Tally>>) -> Self {
        self.tally = tally;
        self
    }

    /// Puts the demands of a destination on its mail hosts. Hosts that must not be used are left out.
    pub(crate) async fn apply(
        &self,
        dns: &Dns,
        asked: &Asked<'_>,
        candidates: Vec<Candidate>,
    ) -> Result<Vec<Hop>, RouteFailure> {
        let counting = self.counting(asked.domain).filter(|_| asked.is_heeded);
        let is_asked = asked.is_heeded && candidates.iter().any(|(_, _, by_route)| !by_route);
        let policy = match self.sts.as_ref().filter(|_| is_asked) {
            Some(sts) => {
                let subject = counting.as_ref().map(|counting| counting.subject(TlsPolicyKind::Sts));
                sts.find(dns, asked.domain.as_str(), &asked.reach, subject).await
            }
            None => None,
        };
        let said = Said { policy: policy.filter(|policy| policy.mode != Mode::None), counting };
        let mut hops = Vec::new();
        let mut skipped = Vec::new();
        for candidate in candidates {
            match self.judge(dns, asked, &said, candidate).await {
                Ok(hop) => hops.push(hop),
                Err(Unfit::Left(why)) => skipped.push(why),
                Err(Unfit::Unknown(dead)) => return Err(dead.into()),
            }
        }
        if hops.is_empty() {
            return Err(RouteFailure::Tls { destination: asked.domain.as_str().to_owned(), why: skipped.join("; ") });
        }
        Ok(hops)
    }

    /// Puts the demands on one host.
    async fn judge(
        &self,
        dns: &Dns,
        asked: &Asked<'_>,
        said: &Said<'_>,
        (mut hop, addresses, by_route): Candidate,
    ) -> Result<Hop, Unfit> {
        let demanded = matches!(hop.tls, TlsDemand::Dane { .. });
        let is_heeded = asked.is_heeded && !by_route;
        let is_looked_for = self.dane && asked.mx_secure && addresses.secure && (demanded || is_heeded);
        let port = hop.addresses.first().map_or(25, |address| address.port());
        let tlsa = if is_looked_for { tlsa(dns, &hop.name, &addresses.canonical, port).await } else { Ok(None) };
        // Where a route demands DANE, it is the destination's records that decide.
        let counting = said.counting.as_ref().filter(|_| !by_route || demanded);
        let failed = |result, host: &str, why: String| {
            if let Some(counting) = counting {
                counting.subject(TlsPolicyKind::Tlsa).failed(failure(result, host, (None, None), &why));
            }
            Unfit::Left(why)
        };
        match tlsa {
            Ok(Some((_, records))) if demanded && !records.iter().any(verifier::is_usable) => {
                let why = format!("{} has TLSA records, none of which can be used", hop.name);
                Err(failed(TlsResult::TlsaInvalid, &hop.name, why))
            }
            Ok(Some((base, records))) => {
                hop.tls_subject = counting.map(|counting| Arc::new(counting.dane(&records)));
                hop.tls = demand(records, vec![base, hop.name.clone(), asked.domain.as_str().to_owned()]);
                hop.tls_reason = Some("DANE".to_owned());
                Ok(hop)
            }
            Ok(None) if demanded && !self.dane => {
                let why = format!("{} cannot be asked for TLSA records: set delivery.dns.dnssec", hop.name);
                Err(Unfit::Left(why))
            }
            Ok(None) if demanded => {
                let why = format!("{} has no secure TLSA records", hop.name);
                Err(failed(TlsResult::DaneRequired, &hop.name, why))
            }
            Ok(None) => match said.policy.as_ref().filter(|_| is_heeded) {
                Some(policy) => under(policy, hop, counting).map_err(Unfit::Left),
                None => {
                    let subject = counting.map(|counting| counting.subject(TlsPolicyKind::NoPolicyFound));
                    Ok(Hop { tls_subject: subject.map(Arc::new), ..hop })
                }
            },
            Err(dead @ DnsFailure::ResolverDead(_)) => Err(Unfit::Unknown(dead)),
            Err(error) => Err(failed(TlsResult::DnssecInvalid, &hop.name, error.to_string())),
        }
    }

    /// A destination's mail hosts, or the addresses of one, are bogus: DANE ends before it begins.
    pub(crate) fn bogus(&self, domain: &DomainName, host: &str, why: &str) {
        if let Some(counting) = self.counting(domain) {
            let failed = failure(TlsResult::DnssecInvalid, host, (None, None), why);
            counting.subject(TlsPolicyKind::Tlsa).failed(failed);
        }
    }

    fn counting<'a>(&'a self, domain: &'a DomainName) -> Option<Counting<'a>> {
        self.tally.as_ref().map(|tally| Counting { tally, domain })
    }

    /// Finds the TLSA records of smarthosts whose route demands DANE. The operator named the host, so that only its
    /// TLSA records need be secure.
    pub(crate) async fn apply_to_route(&self, dns: &Dns, mut hops: Vec<Hop>) -> Result<Vec<Hop>, RouteFailure> {
        let mut skipped = Vec::new();
        let mut kept = Vec::new();
        let destination = hops.first().and_then(|hop| hop.route.clone()).unwrap_or_default();
        for mut hop in hops.drain(..) {
            if !matches!(hop.tls, TlsDemand::Dane { .. }) {
                kept.push(hop);
                continue;
            }
            let port = hop.addresses.first().map_or(25, |address| address.port());
            match tlsa(dns, &hop.name, &hop.name, port).await {
                Ok(Some((base, records))) => {
                    hop.tls = TlsDemand::Dane { records: usable(records), names: vec![base] };
                    kept.push(hop);
                }
                Ok(None) => skipped.push(format!("{} has no secure TLSA records", hop.name)),
                Err(dead @ DnsFailure::ResolverDead(_)) => return Err(dead.into()),
                Err(failure) => skipped.push(failure.to_string()),
            }
        }
        if kept.is_empty() && !skipped.is_empty() {
            return Err(RouteFailure::Tls { destination, why: skipped.join("; ") });
        }
        Ok(kept)
    }
}

/// A destination whose demands are asked for.
pub(crate) struct Asked<'a> {
    pub(crate) domain: &'a DomainName,
    /// Its mail hosts were proved by DNSSEC.
    pub(crate) mx_secure: bool,
    /// What it demands is kept to, and counted; for TLS reports it is neither (RFC 8460 3).
    pub(crate) is_heeded: bool,
    /// Which addresses may be connected to.
    pub(crate) reach: Reach,
}

/// What a destination has said of all its hosts, and where their sessions are counted.
struct Said<'a> {
    policy: Option<StsPolicy>,
    counting: Option<Counting<'a>>,
}

/// Why a host is not used.
enum Unfit {
    /// It does not fulfil what is demanded.
    Left(String),
    /// No resolver of ours answers: nothing can be told of any host.
    Unknown(DnsFailure),
}

/// Makes the subjects of a domain's sessions.
struct Counting<'a> {
    tally: &'a Arc<Tally>,
    domain: &'a DomainName,
}

impl Counting<'_> {
    fn subject(&self, kind: TlsPolicyKind) -> Subject {
        Subject::new(self.tally, self.domain, kind)
    }

    fn sts(&self, policy: &StsPolicy) -> Subject {
        let text = policy.text();
        self.subject(TlsPolicyKind::Sts).with(text.lines().map(str::to_owned), policy.mx.iter().cloned())
    }

    /// Records of which none can be acted on are a failure whatever the session is like.
    fn dane(&self, records: &[TlsaRecord]) -> Subject {
        let hex = |data: &[u8]| data.iter().map(|octet| format!("{octet:02x}")).collect::<String>();
        let line = |record: &TlsaRecord| {
            format!("{} {} {} {}", record.usage, record.selector, record.matching, hex(&record.data))
        };
        let subject = self.subject(TlsPolicyKind::Tlsa).with(records.iter().map(line), std::iter::empty());
        let usable = records.iter().any(verifier::is_usable);
        if usable { subject } else { subject.with_flaw(TlsResult::TlsaInvalid, "no record can be used") }
    }
}

/// A mail host under an MTA-STS policy (RFC 8461 5): demanded where that is enforced, looked at where it is tested.
fn under(policy: &StsPolicy, mut hop: Hop, counting: Option<&Counting<'_>>) -> Result<Hop, String> {
    let subject = counting.map(|counting| counting.sts(policy));
    let unnamed = format!("{} is not named by the MTA-STS policy", hop.name);
    match (policy.mode, policy.names(&hop.name)) {
        (Mode::Enforce, true) => {
            hop.tls = TlsDemand::Verified(vec![hop.name.clone()]);
            hop.name_is_sure = true;
            hop.tls_reason = Some("MTA-STS".to_owned());
            hop.tls_subject = subject.map(Arc::new);
        }
        (Mode::Enforce, false) => {
            if let Some(subject) = subject {
                subject.failed(failure(TlsResult::ValidationFailure, &hop.name, (None, None), &unnamed));
            }
            return Err(unnamed);
        }
        (Mode::Testing, true) => {
            hop.tls = TlsDemand::Tested(vec![hop.name.clone()]);
            hop.name_is_sure = true;
            hop.tls_subject = subject.map(Arc::new);
        }
        (Mode::Testing, false) => {
            let flawed = subject.map(|subject| subject.with_flaw(TlsResult::ValidationFailure, &unnamed));
            hop.tls_subject = flawed.map(Arc::new);
        }
        (Mode::None, _) => {}
    }
    Ok(hop)
}

/// RFC 7672 2.2.2: looked for where aliases led first, then at the host's own name.
async fn tlsa(
    dns: &Dns,
    name: &str,
    canonical: &str,
    port: u16,
) -> Result<Option<(String, Vec<TlsaRecord>)>, DnsFailure> {
    let mut bases = vec![canonical];
    if canonical != name {
        bases.push(name);
    }
    for base in bases {
        let records = dns.tlsa(base, port).await?;
        if !records.is_empty() {
            return Ok(Some((base.to_owned(), records)));
        }
    }
    Ok(None)
}

fn usable(records: Vec<TlsaRecord>) -> Arc<[TlsaRecord]> {
    records.into_iter().filter(verifier::is_usable).collect()
}

/// RFC 7672 2.2: records of which none can be acted on demand TLS all the same.
fn demand(records: Vec<TlsaRecord>, mut names: Vec<String>) -> TlsDemand {
    let records = usable(records);
    names.dedup();
    if records.is_empty() { TlsDemand::Encrypted } else { TlsDemand::Dane { records, names } }
}
