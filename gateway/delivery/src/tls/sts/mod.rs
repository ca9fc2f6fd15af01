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
use fetch::Fetcher;
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

    /// The policy that holds for a domain now (RFC 8461 5.1), if there is one.
    pub(crate) async fn policy(
        &self,
        dns: &Dns,
        domain: &str,
        may_reach: &(dyn Fn(IpAddr) -> bool + Sync),
    ) -> Option<StsPolicy> {
        let now = clock::now();
        let known = self.inner.memory.get(domain).await.filter(|known| known.lives(now));
        let Some(id) = self.announced(dns, domain).await else { return known.map(|known| known.policy) };
        let is_fresh = |known: &&Remembered| known.id == id && !known.is_half_over(now);
        if let Some(known) = known.as_ref().filter(is_fresh) {
            return Some(known.policy.clone());
        }
        match self.fetch(dns, domain, may_reach).await {
            Some(policy) => {
                let remembered = Remembered { id, policy: policy.clone(), fetched: now };
                self.inner.memory.put(domain, remembered).await;
                Some(policy)
            }
            None => known.map(|known| known.policy),
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

    async fn fetch(&self, dns: &Dns, domain: &str, may_reach: &(dyn Fn(IpAddr) -> bool + Sync)) -> Option<StsPolicy> {
        if self.inner.failed.get(domain).is_some_and(|until| until > Instant::now()) {
            return None;
        }
        match self.inner.fetcher.fetch(dns, domain, may_reach).await {
            Ok(policy) => Some(policy),
            Err(why) => {
                tracing::info!(domain, why, "MTA-STS policy cannot be fetched");
                self.inner.failed.insert(domain.to_owned(), Instant::now() + memory::FETCH_PAUSE);
                None
            }
        }
    }
}
