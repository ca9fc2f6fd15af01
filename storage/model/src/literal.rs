//! Hosts without a name, and mail addresses there (RFC 5321 4.1.3).

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::address::{self, AddressError};

/// A host by its IP address, as it stands after the `@` of an address: `[192.0.2.9]`, `[IPv6:2001:db8::9]`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct HostLiteral(IpAddr);

impl HostLiteral {
    /// The literal of a host.
    #[must_use]
    pub const fn new(host: IpAddr) -> Self {
        Self(host)
    }

    /// Reads a literal with its brackets.
    ///
    /// # Errors
    /// [`AddressError::Literal`]
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let bad = || AddressError::Literal(text.chars().take(64).collect());
        let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).ok_or_else(bad)?;
        let v6 = inside.split_at_checked(5).filter(|(tag, _)| tag.eq_ignore_ascii_case("IPv6:"));
        let host = match v6 {
            Some((_, v6)) => v6.parse::<Ipv6Addr>().map(IpAddr::V6),
            None => inside.parse::<Ipv4Addr>().map(IpAddr::V4),
        };
        host.map(Self).map_err(|_| bad())
    }

    /// The host's address.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.0
    }

    /// The same host with one form only: an IPv4 address that was mapped into IPv6 (RFC 4291 2.5.5.2) is itself.
    #[must_use]
    pub const fn canonical(self) -> Self {
        Self(self.0.to_canonical())
    }
}

impl fmt::Display for HostLiteral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(host) => write!(f, "[{host}]"),
            IpAddr::V6(host) => write!(f, "[IPv6:{host}]"),
        }
    }
}

impl FromStr for HostLiteral {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// RFC 5321 4.1.3 address at a host without a name: `scanner@[192.0.2.9]`. None of our accounts has one.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct LiteralAddress {
    local: String,
    host: IpAddr,
}

impl LiteralAddress {
    /// Builds an address from the value of its local part (without quotes) and its host.
    ///
    /// # Errors
    /// [`AddressError::LocalPart`] as [`Address::new`](crate::Address::new).
    pub fn new(local: &str, host: IpAddr) -> Result<Self, AddressError> {
        address::check_local(local)?;
        Ok(Self { local: local.to_owned(), host })
    }

    /// Parses `local@[literal]`, split at the last `@`.
    ///
    /// # Errors
    /// [`AddressError`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (local, host) = address::split(text)?;
        Self::new(&local, HostLiteral::parse(host)?.ip())
    }

    /// The local part as written, without quotes.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The host.
    #[must_use]
    pub const fn host(&self) -> IpAddr {
        self.host
    }
}

impl fmt::Display for LiteralAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        address::write_local(f, &self.local)?;
        write!(f, "@{}", HostLiteral(self.host))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ReversePath;

    #[test]
    fn a_host_without_a_name_is_written_as_its_literal() {
        let printer = LiteralAddress::new("the printer", "192.0.2.9".parse().unwrap()).unwrap();
        assert_eq!(ReversePath::Literal(printer).to_string(), r#"<"the printer"@[192.0.2.9]>"#);
        let scanner = LiteralAddress::new("scan", "2001:db8::9".parse().unwrap()).unwrap();
        assert_eq!(scanner.to_string(), "scan@[IPv6:2001:db8::9]");
    }

    #[test]
    fn rfc_5321_4_1_3_a_literal_is_read_and_written_in_one_form() {
        let cases = [
            ("[192.0.2.9]", Some("[192.0.2.9]")),
            ("[ipv6:2001:DB8:0:0::9]", Some("[IPv6:2001:db8::9]")),
            ("[IPv6:::ffff:192.0.2.9]", Some("[192.0.2.9]")),
            ("192.0.2.9", None),
            ("[192.0.2.9", None),
            ("[192.0.2]", None),
            ("[2001:db8::9]", None),
            ("[IPv6:192.0.2.9]", None),
            ("[IPv6:fe80::1%eth0]", None),
            ("[x400:something]", None),
            ("[]", None),
        ];
        for (text, expected) in cases {
            let read = HostLiteral::parse(text).ok().map(|literal| literal.canonical().to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }
}
