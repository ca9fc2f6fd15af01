//! Mail addresses and domain names, parsed once at the border.
//!
//! An [`Address`] keeps the local part as it was written (for headers and traces) and compares by its
//! canonical form: local part in lower case, domain as lower-case A-labels. Only SMTP's own grammar knows
//! source routes and quoting on the wire; here a local part is its value, without quotes.

use std::{borrow::Cow, fmt, hash, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::literal::LiteralAddress;

/// Why a text is no address or domain name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `@`.
    #[error("an address is local-part@domain")]
    NoDomain,
    /// The part before the `@` is empty, longer than 250 octets or has control characters.
    #[error("the part before the @ has 1 to 250 octets and no control characters")]
    LocalPart,
    /// The domain is not a host name.
    #[error("{0:?} is not a domain name")]
    Domain(String),
    /// The host in brackets is no IP address.
    #[error("{0:?} is no address literal: write [192.0.2.1] or [IPv6:2001:db8::1]")]
    Literal(String),
}

/// A domain name in canonical form: lower-case A-labels (RFC 5891), at most 253 octets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainName(String);

impl DomainName {
    /// Parses a name given as A-labels or U-labels, in any case, with or without a final dot.
    ///
    /// # Errors
    /// [`AddressError::Domain`] when it is no host name.
    pub fn parse(name: &str) -> Result<Self, AddressError> {
        let bad = || AddressError::Domain(name.chars().take(255).collect());
        let ascii = idna::domain_to_ascii(name.strip_suffix('.').unwrap_or(name)).map_err(|_| bad())?;
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if ascii.len() <= 253 && ascii.split('.').all(label) { Ok(Self(ascii)) } else { Err(bad()) }
    }

    /// The name as A-labels.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as U-labels, for people.
    #[must_use]
    pub fn to_unicode(&self) -> String {
        idna::domain_to_unicode(&self.0).0
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for DomainName {
    type Err = AddressError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::parse(name)
    }
}

impl TryFrom<String> for DomainName {
    type Error = AddressError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}

impl From<DomainName> for String {
    fn from(name: DomainName) -> Self {
        name.0
    }
}

/// A mail address. Equal when the canonical forms are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    local: String,
    domain: DomainName,
}

impl Address {
    /// Longest local part in octets. RFC 5321 4.5.3.1.1 asks for 64 at least; senders that forwarders and
    /// bulk mailers rewrite (SRS, VERP) are longer, so the bound is that of a whole path (4.5.3.1.3).
    pub const LOCAL_OCTETS_MAX: usize = 250;

    /// Builds an address from the value of its local part (without quotes) and its domain.
    ///
    /// # Errors
    /// [`AddressError::LocalPart`] when the local part is empty, too long or has control characters.
    pub fn new(local: &str, domain: DomainName) -> Result<Self, AddressError> {
        check_local(local)?;
        Ok(Self { local: local.to_owned(), domain })
    }

    /// Parses `local@domain`, split at the last `@`.
    ///
    /// # Errors
    /// [`AddressError`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (local, domain) = split(text)?;
        Self::new(&local, DomainName::parse(domain)?)
    }

    /// The local part as written, without quotes.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain.
    #[must_use]
    pub fn domain(&self) -> &DomainName {
        &self.domain
    }

    /// The local part in lower case: what lookups use.
    #[must_use]
    pub fn local_canonical(&self) -> String {
        self.local.to_lowercase()
    }

    /// `local@domain` in canonical form: what keys and comparisons use.
    #[must_use]
    pub fn canonical(&self) -> String {
        format!("{}@{}", self.local_canonical(), self.domain)
    }

    /// Whether the local part needs SMTPUTF8 on the wire.
    #[must_use]
    pub fn needs_utf8(&self) -> bool {
        !self.local.is_ascii()
    }
}

/// The value of the local part, and what follows the last `@`.
pub(crate) fn split(text: &str) -> Result<(Cow<'_, str>, &str), AddressError> {
    let (local, host) = text.rsplit_once('@').ok_or(AddressError::NoDomain)?;
    let unquoted = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    Ok((unquoted.map_or(Cow::Borrowed(local), |quoted| Cow::Owned(unescape(quoted))), host))
}

fn unescape(quoted: &str) -> String {
    let mut escaped = false;
    quoted
        .chars()
        .filter(|&c| {
            escaped = c == '\\' && !escaped;
            !escaped
        })
        .collect()
}

fn is_dot_atom(local: &str) -> bool {
    let atext = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(atext))
}

pub(crate) fn check_local(local: &str) -> Result<(), AddressError> {
    let fits = (1..=Address::LOCAL_OCTETS_MAX).contains(&local.len()) && !local.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(AddressError::LocalPart) }
}

/// Writes a local part as it stands in an address: quoted where it must be.
pub(crate) fn write_local(f: &mut fmt::Formatter<'_>, local: &str) -> fmt::Result {
    if is_dot_atom(local) {
        return f.write_str(local);
    }
    f.write_str("\"")?;
    for c in local.chars() {
        if matches!(c, '"' | '\\') {
            f.write_str("\\")?;
        }
        write!(f, "{c}")?;
    }
    f.write_str("\"")
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_local(f, &self.local)?;
        write!(f, "@{}", self.domain)
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.canonical() == other.canonical()
    }
}

impl Eq for Address {}

impl hash::Hash for Address {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.canonical().hash(state);
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.canonical().cmp(&other.canonical())
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

/// RFC 5321 reverse path: an address, or null for bounces.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ReversePath {
    /// `<>`
    Null,
    /// `<address>`
    Address(Address),
    /// `<address>` at a host without a name.
    Literal(LiteralAddress),
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("<>"),
            Self::Address(address) => write!(f, "<{address}>"),
            Self::Literal(address) => write!(f, "<{address}>"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_compare_without_case_and_print_as_written() {
        let a = Address::parse("Ann.Lee@Example.ORG").unwrap();
        assert_eq!(a, Address::parse("ann.lee@example.org.").unwrap());
        assert_eq!(a.to_string(), "Ann.Lee@example.org");
    }

    #[test]
    fn quoted_local_parts_survive_a_round_trip() {
        for text in [r#""a b"@example.org"#, r#""a\"b\\c"@example.org"#, r#""a@b"@example.org"#] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(Address::parse(&address.to_string()).unwrap(), address);
        }
    }

    #[test]
    fn internationalised_domains_have_one_form() {
        assert_eq!(DomainName::parse("BÜCHER.example").unwrap().as_str(), "xn--bcher-kva.example");
        assert_eq!(DomainName::parse("xn--bcher-kva.example").unwrap().to_unicode(), "bücher.example");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        assert_eq!(Address::parse("ann"), Err(AddressError::NoDomain));
        assert_eq!(Address::parse("@example.org"), Err(AddressError::LocalPart));
        assert!(matches!(Address::parse("a@b..c"), Err(AddressError::Domain(_))));
        assert!(matches!(Address::parse("a@-b.c"), Err(AddressError::Domain(_))));
        assert_eq!(Address::parse("a\u{7}b@example.org"), Err(AddressError::LocalPart));
    }
}
