//! Where policies are kept between two messages: in this process here, and in the directory behind that
//! ([`super::DirectoryMemory`]), so that a gateway that starts does not forget what an attacker would want it to forget.

use std::time::Duration;

use futures::future::BoxFuture;
use quick_cache::sync::Cache;
use securanet_gateway::model::UnixMillis;

use super::grammar::StsPolicy;

/// A policy as it is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remembered {
    /// RFC 8461 3.1: its id.
    pub id: String,
    /// The policy.
    pub policy: StsPolicy,
    /// When it was fetched.
    pub fetched: UnixMillis,
}

impl Remembered {
    /// Whether it may still be used (RFC 8461 3.2 max_age).
    #[must_use]
    pub const fn lives(&self, now: UnixMillis) -> bool {
        now.millis_since(self.fetched) < self.policy.max_age_seconds as u64 * 1000
    }

    /// Whether it is time to fetch it again, so that it does not end while its host is away (RFC 8461 3.3).
    #[must_use]
    pub const fn is_half_over(&self, now: UnixMillis) -> bool {
        now.millis_since(self.fetched) >= self.policy.max_age_seconds as u64 * 500
    }
}

/// Keeps policies by domain. What it forgets is fetched again; what it invents is believed.
pub trait PolicyMemory: Send + Sync + 'static {
    /// What is kept for a domain.
    fn get<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Option<Remembered>>;

    /// Keeps a policy in place of the one before.
    fn put<'a>(&'a self, domain: &'a str, remembered: Remembered) -> BoxFuture<'a, ()>;
}

/// Keeps policies in this process, within a bound.
pub struct ProcessMemory {
    policies: Cache<String, Remembered>,
}

impl ProcessMemory {
    /// For so many domains.
    #[must_use]
    pub fn new(domains_max: usize) -> Self {
        Self { policies: Cache::new(domains_max.max(1)) }
    }
}

impl PolicyMemory for ProcessMemory {
    fn get<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Option<Remembered>> {
        Box::pin(async move { self.policies.get(domain) })
    }

    fn put<'a>(&'a self, domain: &'a str, remembered: Remembered) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.policies.insert(domain.to_owned(), remembered) })
    }
}

/// RFC 8461 3.3: after a fetch that failed, the next one waits.
pub(super) const FETCH_PAUSE: Duration = Duration::from_secs(300);
