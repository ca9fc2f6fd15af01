//! The keys that sign a domain's mail (RFC 6376 DKIM, RFC 8463).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{DomainName, UnixMillis};

/// Keys of one domain: two that sign, two that come next, and some that were.
pub const DKIM_KEYS_PER_DOMAIN_MAX: usize = 16;
/// Octets of a private key: a PKCS#8 key of RSA-4096 has about 2,400.
pub const DKIM_PRIVATE_KEY_OCTETS_MAX: usize = 8192;

/// How a key signs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum DkimAlgorithm {
    /// RFC 6376 3.3.1 rsa-sha256: what every verifier knows.
    RsaSha256,
    /// RFC 8463 ed25519-sha256: smaller and faster, not known everywhere yet.
    Ed25519Sha256,
}

impl DkimAlgorithm {
    /// The value of `a=` in a signature.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RsaSha256 => "rsa-sha256",
            Self::Ed25519Sha256 => "ed25519-sha256",
        }
    }
}

impl fmt::Display for DkimAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a key is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DkimState {
    /// Its record is to be published in the DNS; it does not sign yet.
    Published,
    /// It signs. Of each algorithm at most one key of a domain does.
    Active,
    /// It signs no more. Its record stays published until what it has signed was verified: some days.
    Retired,
}

/// RFC 6376 3.1 selector: names a key below `_domainkey` of its domain. Lower-case labels of letters, digits and
/// hyphens; at most 63 octets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector(String);

/// Why a text is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no selector: at most 63 letters, digits and hyphens, in labels separated by dots")]
pub struct SelectorError(String);

impl Selector {
    /// The selector.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let label = |label: &str| {
            let inside = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            !label.is_empty() && inside && !label.starts_with('-') && !label.ends_with('-')
        };
        if text.len() <= 63 && text.split('.').all(label) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(SelectorError(text.chars().take(100).collect()))
        }
    }
}

impl TryFrom<String> for Selector {
    type Error = SelectorError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.0
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A private key in PKCS#8 (RFC 5208). Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateKey(#[serde(with = "crate::content::bytes_field")] Vec<u8>);

impl PrivateKey {
    /// Wraps a key.
    #[must_use]
    pub const fn new(pkcs8: Vec<u8>) -> Self {
        Self(pkcs8)
    }

    /// The key.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// A key that signs a domain's mail.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DkimKey {
    /// Whose mail.
    pub domain: DomainName,
    /// Its name in the DNS, distinct within the domain.
    pub selector: Selector,
    /// How it signs.
    pub algorithm: DkimAlgorithm,
    /// The key.
    pub private: PrivateKey,
    /// Where it is in its life.
    pub state: DkimState,
    /// When it was made.
    pub created: UnixMillis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_labels_of_a_host_name() {
        assert_eq!("Rsa-2026.EU".parse::<Selector>().unwrap().as_str(), "rsa-2026.eu");
        for bad in ["", ".", "a..b", "-a", "a-", "a b", "a_b", "ä", "a/b", &"a".repeat(64)] {
            assert!(bad.parse::<Selector>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_private_key_is_never_shown() {
        assert_eq!(format!("{:?}", PrivateKey::new(vec![1, 2, 3])), "PrivateKey(..)");
    }
}
