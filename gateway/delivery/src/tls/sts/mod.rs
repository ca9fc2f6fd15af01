//! MTA-STS (RFC 8461): a domain without DNSSEC says over HTTPS which hosts have its mail, and that they have TLS.
//!
//! A policy that is known holds until it is too old, whatever becomes of its record or its web server: an attacker
//! who can take those away must not be able to take TLS away.

mod directory;
mod fetch;
pub mod grammar;
mod memory;
mod refetch;
#[cfg(test)]
mod tests;

use std::{path::Path, sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use securanet_gateway::clock;
use tokio::time::Instant;

pub use directory::DirectoryMemory;
use fetch::Fetcher;
pub use grammar::{Mode, StsPolicy};
pub use memory::{PolicyMemory, ProcessMemory, Remembered};
use refetch::Refetches;

use crate::{
    dns::Dns,
    route::Reach,
    settings::SettingsError,
    tls::TlsClient,
    tls_report::{Subject, failure},
};

/// RFC 8461 3.3 suggests a minute for a fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// Domains whose last fetch failed are remembered up to this many.
const FAILURES_MAX: usize = 10_000;

/// Finds the policies of domains. Cheap to clone.
#[derive(Clone)]
pub struct Sts {
    policies: Arc<Policies>,
    refetches: Arc<Refetches>,
}

/// Policies that are kept, and how to have others.
struct Policies {
    fetcher: Fetcher,
    memory: Arc<dyn PolicyMemory>,
    /// Until when the policy of a domain is not fetched again.
    failed: Cache<String, Instant>,
}

/// A policy that is to be fetched.
struct Wanted {
    dns: Dns,
    domain: String,
    /// As its record announces it.
    id: String,
    reach: Reach,
    /// Where a failure is counted.
    subject: Option<Subject>,
}

impl Sts {
    /// `roots` is a PEM file of the authorities to trust; none: the system's.
    ///
    /// # Errors
    /// [`SettingsError`] when it cannot be read.
    pub fn new(roots: Option<&Path>, memory: Arc<dyn PolicyMemory>) -> Result<Self, SettingsError> {
        Self::with(roots, memory, 443, FETCH_TIMEOUT)
    }

    fn with(
        roots: Option<&Path>,
        memory: Arc<dyn PolicyMemory>,
        port: u16,
        timeout: Duration,
    ) -> Result<Self, SettingsError> {
        let fetcher = Fetcher { tls: Arc::new(TlsClient::new(roots)?), port, timeout };
        let policies = Arc::new(Policies { fetcher, memory, failed: Cache::new(FAILURES_MAX) });
        Ok(Self { policies, refetches: Arc::default() })
    }

    /// The policy that holds for a domain now (RFC 8461 5.1). One that is known holds at once, and a newer one is fetched
    /// beside the mail (3.3); only where none is known the mail waits for it. Failures to fetch are counted on `subject`.
    pub(crate) async fn find(
        &self,
        dns: &Dns,
        domain: &str,
        reach: &Reach,
        subject: Option<Subject>,
    ) -> Option<StsPolicy> {
        let now = clock::now();
        let known = self.policies.memory.get(domain).await.filter(|known| known.lives(now));
        let Some(id) = self.announced(dns, domain).await else { return known.map(|known| known.policy) };
        if known.as_ref().is_some_and(|known| known.id == id && !known.is_half_over(now))
            || self.policies.has_failed(domain)
        {
            return known.map(|known| known.policy);
        }
        let (dns, reach) = (dns.clone(), reach.clone());
        let wanted = Wanted { dns, domain: domain.to_owned(), id, reach, subject };
        let Some(known) = known else { return self.policies.fetch(wanted).await };
        let policies = self.policies.clone();
        self.refetches.begin(domain, async move { drop(policies.fetch(wanted).await) });
        Some(known.policy)
    }

    async fn announced(&self, dns: &Dns, domain: &str) -> Option<String> {
        match dns.texts(&format!("_mta-sts.{domain}")).await {
            Ok(records) => grammar::id(&records),
            Err(error) => {
                tracing::debug!(domain, %error, "whether there is an MTA-STS policy cannot be told");
                None
            }
        }
    }
}

impl Policies {
    /// Whether fetching failed a moment ago.
    fn has_failed(&self, domain: &str) -> bool {
        self.failed.get(domain).is_some_and(|until| until > Instant::now())
    }

    /// Fetches a policy and keeps it; its deadline is the fetcher's and the memory's.
    async fn fetch(&self, wanted: Wanted) -> Option<StsPolicy> {
        let Wanted { dns, domain, id, reach, subject } = wanted;
        let fetched = clock::now();
        match self.fetcher.fetch(&dns, &domain, &reach).await {
            Ok(policy) => {
                self.memory.put(&domain, Remembered { id, policy: policy.clone(), fetched }).await;
                Some(policy)
            }
            Err((result, why)) => {
                tracing::info!(domain, why, "MTA-STS policy cannot be fetched");
                if let Some(subject) = subject {
                    subject.failed(failure(result, "", (None, None), &why));
                }
                self.failed.insert(domain, Instant::now() + memory::FETCH_PAUSE);
                None
            }
        }
    }
}
