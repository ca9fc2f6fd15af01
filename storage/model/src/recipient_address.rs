//! The address of a recipient that mail waits for: at a domain, or at a host without a name.

use std::{fmt, hash, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    address::{Address, AddressError},
    literal::{HostLiteral, LiteralAddress},
};

/// Where a message is to go. Equal when the canonical forms are. In a record it is its text, so that one at a domain
/// looks there as [`Address`] does.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RecipientAddress {
    /// `ann@example.org`
    Named(Address),
    /// `scanner@[192.0.2.9]` (RFC 5321 4.1.3)
    Literal(LiteralAddress),
}

impl RecipientAddress {
    /// Parses `local@domain` or `local@[literal]`, split at the last `@`.
    ///
    /// # Errors
    /// [`AddressError`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let is_literal = text.rsplit_once('@').is_some_and(|(_, host)| host.starts_with('['));
        if is_literal { LiteralAddress::parse(text).map(Self::Literal) } else { Address::parse(text).map(Self::Named) }
    }

    /// The address, where its host has a name.
    #[must_use]
    pub const fn named(&self) -> Option<&Address> {
        match self {
            Self::Named(address) => Some(address),
            Self::Literal(_) => None,
        }
    }

    /// What follows the `@`, in canonical form: the domain, or the literal. Its mail waits with that where no route
    /// decides.
    #[must_use]
    pub fn host(&self) -> String {
        match self {
            Self::Named(address) => address.domain().as_str().to_owned(),
            Self::Literal(address) => HostLiteral::new(address.host()).canonical().to_string(),
        }
    }

    /// What follows the `@`, for people.
    #[must_use]
    pub fn host_unicode(&self) -> String {
        match self {
            Self::Named(address) => address.domain().to_unicode(),
            Self::Literal(_) => self.host(),
        }
    }

    /// The canonical form: what comparisons use.
    #[must_use]
    pub fn canonical(&self) -> String {
        match self {
            Self::Named(address) => address.canonical(),
            Self::Literal(address) => format!("{}@{}", address.local().to_lowercase(), self.host()),
        }
    }

    /// Whether the local part needs SMTPUTF8 on the wire.
    #[must_use]
    pub fn needs_utf8(&self) -> bool {
        match self {
            Self::Named(address) => address.needs_utf8(),
            Self::Literal(address) => !address.local().is_ascii(),
        }
    }
}

impl fmt::Display for RecipientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(address) => address.fmt(f),
            Self::Literal(address) => address.fmt(f),
        }
    }
}

impl PartialEq for RecipientAddress {
    fn eq(&self, other: &Self) -> bool {
        self.canonical() == other.canonical()
    }
}

impl Eq for RecipientAddress {}

impl hash::Hash for RecipientAddress {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.canonical().hash(state);
    }
}

impl From<Address> for RecipientAddress {
    fn from(address: Address) -> Self {
        Self::Named(address)
    }
}

impl From<LiteralAddress> for RecipientAddress {
    fn from(address: LiteralAddress) -> Self {
        Self::Literal(address)
    }
}

impl FromStr for RecipientAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for RecipientAddress {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<RecipientAddress> for String {
    fn from(address: RecipientAddress) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record;

    #[test]
    fn it_survives_a_record_and_one_at_a_domain_looks_as_before() {
        for text in ["ann@example.org", r#""a@b"@[192.0.2.9]"#, "scan@[IPv6:2001:db8::9]", "s@[IPv6:::ffff:192.0.2.9]"]
        {
            let address = RecipientAddress::parse(text).unwrap();
            let written = record::encode(&address);
            let read: RecipientAddress = record::decode(&written).unwrap();
            assert_eq!((read.to_string().as_str(), &read), (text, &address));
            if let Some(named) = address.named() {
                assert_eq!(written, record::encode(named));
            }
        }
        let wrong = record::encode(&"scan@[192.0.2.300]".to_owned());
        assert!(record::decode::<RecipientAddress>(&wrong).is_err());
    }

    #[test]
    fn it_compares_without_case_and_by_host() {
        let same =
            |one: &str, other: &str| RecipientAddress::parse(one).unwrap() == RecipientAddress::parse(other).unwrap();
        assert!(same("Scan@[192.0.2.9]", "scan@[IPv6:::ffff:192.0.2.9]"));
        assert!(same("ANN@example.ORG", "ann@example.org"));
        assert!(!same("scan@[192.0.2.9]", "scan@[192.0.2.8]"));
    }

    #[test]
    fn what_is_no_address_is_refused_with_its_part() {
        let refused = |text: &str| RecipientAddress::parse(text).unwrap_err();
        assert_eq!(refused("scan@[2001:db8::9]"), AddressError::Literal("[2001:db8::9]".to_owned()));
        assert_eq!(refused("@[192.0.2.9]"), AddressError::LocalPart);
        assert_eq!(refused("[192.0.2.9]"), AddressError::NoDomain);
        assert!(matches!(refused("scan@192.0.2.9]"), AddressError::Domain(_)));
    }
}
