//! MTA-STS (RFC 8461): a domain without DNSSEC says over HTTPS which hosts have its mail, and that they have TLS.
//!
//! A policy that is known holds until it is too old, whatever becomes of its record or its web server: an attacker
//! who can take those away must not be able to take TLS away.

mod directory;
mod fetch;
pub mod grammar;
mod memory;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use securanet_gateway::clock;
use tokio::time::Instant;

pub use directory::DirectoryMemory;
use fetch::{Fetcher, Trouble};
pub use grammar::{Mode, StsPolicy};
pub use memory::{PolicyMemory, ProcessMemory, Remembered};

use crate::{dns::Dns, settings::SettingsError, tls::TlsClient};

/// RFC 8461 3.3 suggests a minute for a fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
/// Domains whose last fetch failed are remembered up to this many.
const FAILURES_MAX: usize = 10_000;

/// Finds the policies of domains. Cheap to clone.
#[derive(Clone)]
pub struct Sts {
    inner: Arc<Inner>,
}

/// What was found of a domain's policy.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) policy: Option<StsPolicy>,
    pub(crate) trouble: Option<Trouble>,
}

struct Inner {
    fetcher: Fetcher,
    memory: Arc<dyn PolicyMemory>,
    /// Until when the policy of a domain is not fetched again.
    failed: Cache<String, Instant>,
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
        Ok(Self { inner: Arc::new(Inner { fetcher, memory, failed: Cache::new(FAILURES_MAX) }) })
    }

    /// The policy that holds for a domain now (RFC 8461 5.1), and what was wrong with fetching it.
    pub(crate) async fn find(&self, dns: &Dns, domain: &str, may_reach: &(dyn Fn(IpAddr) -> bool + Sync)) -> Found {
        let now = clock::now();
        let known = self.inner.memory.get(domain).await.filter(|known| known.lives(now));
        let kept = |known: Option<Remembered>, trouble| Found { policy: known.map(|known| known.policy), trouble };
        let Some(id) = self.announced(dns, domain).await else { return kept(known, None) };
        let is_fresh = |known: &Remembered| known.id == id && !known.is_half_over(now);
        if known.as_ref().is_some_and(is_fresh) {
            return kept(known, None);
        }
        match self.fetch(dns, domain, may_reach).await {
            Ok(Some(policy)) => {
                let remembered = Remembered { id, policy: policy.clone(), fetched: now };
                self.inner.memory.put(domain, remembered).await;
                Found { policy: Some(policy), trouble: None }
            }
            Ok(None) => kept(known, None),
            Err(trouble) => kept(known, Some(trouble)),
        }
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

    /// Fetches a policy; none where that failed a moment ago.
    async fn fetch(
        &self,
        dns: &Dns,
        domain: &str,
        may_reach: &(dyn Fn(IpAddr) -> bool + Sync),
    ) -> Result<Option<StsPolicy>, Trouble> {
        if self.inner.failed.get(domain).is_some_and(|until| until > Instant::now()) {
            return Ok(None);
        }
        match self.inner.fetcher.fetch(dns, domain, may_reach).await {
            Ok(policy) => Ok(Some(policy)),
            Err(trouble) => {
                tracing::info!(domain, why = trouble.1, "MTA-STS policy cannot be fetched");
                self.inner.failed.insert(domain.to_owned(), Instant::now() + memory::FETCH_PAUSE);
                Err(trouble)
            }
        }
    }
}
