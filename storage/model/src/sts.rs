//! MTA-STS policies (RFC 8461) of foreign domains as the directory keeps them: what a gateway fetched, all know, and a
//! restart does not forget.

use serde::{Deserialize, Serialize};

use crate::{DomainName, UnixMillis};

/// Policies that are kept; when there are more, those that end first go.
pub const STS_POLICIES_MAX: u64 = 100_000;
/// Octets of all texts together; the same goes.
pub const STS_OCTETS_MAX: u64 = 128 * 1024 * 1024;
/// Octets of one text. A policy of 256 mail hosts has some 10,000; a longer one is not kept.
pub const STS_POLICY_OCTETS_MAX: usize = 16 * 1024;
/// RFC 8461 3.2: longest life of a policy, in seconds.
pub const STS_MAX_AGE_SECONDS: u32 = 31_557_600;

/// A policy that a foreign domain publishes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StsPolicyRow {
    /// Whose.
    pub domain: DomainName,
    /// RFC 8461 3.1: its id; 1 to 32 letters and digits.
    pub id: String,
    /// RFC 8461 3.2: its text; at most [`STS_POLICY_OCTETS_MAX`].
    pub text: String,
    /// When it was fetched.
    pub fetched: UnixMillis,
    /// How long it holds from then on, in seconds; at most [`STS_MAX_AGE_SECONDS`].
    pub max_age_seconds: u32,
}

impl StsPolicyRow {
    /// When it ends.
    #[must_use]
    pub const fn ends(&self) -> UnixMillis {
        self.fetched.plus_millis(self.max_age_seconds as u64 * 1000)
    }
}
