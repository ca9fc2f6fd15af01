//! Answers remembered, within bounds of number and of time.
//!
//! It is ours and not the resolver's, because a retry of "no such domain" must be able to pass by what is
//! remembered of absences without forgetting what is there.

use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::{
    answer::{Kind, Known},
    settings::DnsSettings,
};

/// What a server lets us remember of an absence when it does not say (RFC 2308 5 wants an SOA for it).
const NEGATIVE_TTL_DEFAULT: Duration = Duration::from_secs(60);
/// Answers with a shorter TTL are remembered for this long, so that one mailing does not ask for each letter.
const TTL_MIN: Duration = Duration::from_secs(5);

/// Failures remembered at the same time: broken destinations are few among all.
const FAILURES_MAX: usize = 2_000;

pub(super) struct Memory {
    entries: Cache<(String, Kind), (Instant, Known)>,
    /// What the servers of these failed with.
    failures: Cache<(String, Kind), (Instant, String, bool)>,
    failure_ttl: Duration,
    positive_ttl_max: Duration,
    negative_ttl_max: Duration,
}

impl Memory {
    pub(super) fn new(settings: &DnsSettings) -> Self {
        Self {
            entries: Cache::new(settings.cache_entries_max.max(1)),
            failures: Cache::new(FAILURES_MAX),
            failure_ttl: settings.failure_ttl,
            positive_ttl_max: settings.positive_ttl_max,
            negative_ttl_max: settings.negative_ttl_max,
        }
    }

    /// What is still known; absences only when they are wanted.
    pub(super) fn get(&self, name: &str, kind: Kind, absences: bool) -> Option<Known> {
        let (until, known) = self.entries.get(&(name.to_owned(), kind))?;
        (until > Instant::now() && (absences || known.is_ok())).then_some(known)
    }

    pub(super) fn put(&self, name: &str, kind: Kind, known: &Known, ttl: Option<Duration>) {
        let (ttl, ttl_max) = match known {
            Ok(_) => (ttl.unwrap_or(TTL_MIN), self.positive_ttl_max),
            Err(_) => (ttl.unwrap_or(NEGATIVE_TTL_DEFAULT), self.negative_ttl_max),
        };
        let until = Instant::now() + ttl.max(TTL_MIN).min(ttl_max);
        self.entries.insert((name.to_owned(), kind), (until, known.clone()));
    }

    /// Why a question was not answered a moment ago, and whether the answer was bogus.
    pub(super) fn failure(&self, name: &str, kind: Kind) -> Option<(String, bool)> {
        let (until, why, is_bogus) = self.failures.get(&(name.to_owned(), kind))?;
        (until > Instant::now()).then_some((why, is_bogus))
    }

    pub(super) fn put_failure(&self, name: &str, kind: Kind, (why, is_bogus): (&str, bool)) {
        let until = Instant::now() + self.failure_ttl;
        self.failures.insert((name.to_owned(), kind), (until, why.to_owned(), is_bogus));
    }
}
