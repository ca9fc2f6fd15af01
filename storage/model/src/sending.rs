//! Who may send as whom, and which devices may relay without logging in.
//!
//! Nothing may by default: an account sends as its own addresses, and only a session that has logged in sends to
//! the world. A grant is one exception, named and listed.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::{AccountId, Address, DomainName};

/// The local part that means each address of a domain, in grants.
pub const ANY_LOCAL_PART: &str = "*";
/// Grants of one account.
pub const GRANTS_PER_ACCOUNT_MAX: usize = 100;
/// Relay grants of a cluster.
pub const RELAYS_MAX: usize = 100;
/// Networks, certificates, senders and recipient domains of one relay grant, of each.
pub const RELAY_ENTRIES_MAX: usize = 100;

/// How an account may send as an address that is not its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum GrantKind {
    /// As if the address were its own.
    SendAs,
    /// On its behalf: a Sender field names the account (RFC 5322 3.6.2).
    OnBehalf,
}

/// An account may send as an address of ours, or as each one of a domain of ours.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// Who may.
    pub account: AccountId,
    /// As whom; the local part [`ANY_LOCAL_PART`] means each address of the domain.
    pub address: Address,
    /// How.
    pub kind: GrantKind,
}

/// Whether an account may send as an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SenderRight {
    /// The address leads to the account alone, or is a list that it owns.
    Own,
    /// By a grant.
    SendAs,
    /// By a grant, and a Sender field must say who did.
    OnBehalf,
    /// It may not.
    Refused,
}

/// Where a device may send to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RelayRecipients {
    /// Anywhere.
    Anybody,
    /// These domains, besides ours; at most [`RELAY_ENTRIES_MAX`].
    Domains(Vec<DomainName>),
}

/// Devices that cannot log in (printers, monitoring) may submit mail from these networks, or with these certificates.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RelayGrant {
    /// What the operator calls it: 1 to 64 letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// From where; at most [`RELAY_ENTRIES_MAX`]. At least one network or certificate.
    pub networks: Vec<Network>,
    /// From anywhere, with one of these TLS client certificates; at most [`RELAY_ENTRIES_MAX`].
    pub certificates: Vec<CertificateDigest>,
    /// As whom, in envelope and From; addresses in domains of ours, the local part [`ANY_LOCAL_PART`] means each
    /// of the domain; 1 to [`RELAY_ENTRIES_MAX`].
    pub senders: Vec<Address>,
    /// To whom.
    pub recipients: RelayRecipients,
    /// Recipients in an hour, all devices of the grant together; at least 1.
    pub recipients_per_hour: u32,
}

impl Grant {
    /// Whether it covers an address.
    #[must_use]
    pub fn covers(&self, address: &Address) -> bool {
        matches_pattern(&self.address, address)
    }
}

impl RelayGrant {
    /// Whether a client at this address, which proved to have this certificate's key, is one of its devices.
    #[must_use]
    pub fn is_from(&self, peer: IpAddr, certificate: Option<&CertificateDigest>) -> bool {
        let by_network = self.networks.iter().any(|network| network.contains(peer));
        by_network || certificate.is_some_and(|certificate| self.certificates.contains(certificate))
    }

    /// Whether its devices may send as this address.
    #[must_use]
    pub fn may_send_as(&self, address: &Address) -> bool {
        self.senders.iter().any(|sender| matches_pattern(sender, address))
    }

    /// Whether its devices may send to a domain that is not ours.
    #[must_use]
    pub fn may_send_to(&self, domain: &DomainName) -> bool {
        match &self.recipients {
            RelayRecipients::Anybody => true,
            RelayRecipients::Domains(domains) => domains.contains(domain),
        }
    }

    /// Whether its devices may send to hosts without a name, which no list of domains has.
    #[must_use]
    pub const fn may_send_to_literals(&self) -> bool {
        matches!(self.recipients, RelayRecipients::Anybody)
    }
}

fn matches_pattern(pattern: &Address, address: &Address) -> bool {
    pattern == address || pattern.local() == ANY_LOCAL_PART && pattern.domain() == address.domain()
}

/// A certificate, by the SHA-256 of its DER; written as `openssl x509 -fingerprint -sha256` does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct CertificateDigest(pub [u8; 32]);

/// Why a text is no certificate's digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the SHA-256 of a certificate: give the 64 hexadecimal digits that \
     `openssl x509 -in FILE -noout -fingerprint -sha256` prints, with or without colons"
)]
pub struct CertificateDigestError(String);

impl FromStr for CertificateDigest {
    type Err = CertificateDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || CertificateDigestError(text.chars().take(128).collect());
        let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let digits: Option<Vec<u8>> = text.bytes().filter(|&octet| octet != b':').map(digit).collect();
        let octets: Vec<u8> = digits
            .filter(|digits| digits.len() == 64)
            .map(|digits| digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
            .ok_or_else(bad)?;
        octets.try_into().map(Self).map_err(|_| bad())
    }
}

impl fmt::Display for CertificateDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, octet) in self.0.iter().enumerate() {
            let colon = if at == 0 { "" } else { ":" };
            write!(f, "{colon}{octet:02X}")?;
        }
        Ok(())
    }
}

/// A network in CIDR notation (RFC 4632); a single address is one of all its bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a network such as 192.0.2.0/24, 2001:db8::/32 or 192.0.2.7")]
pub struct NetworkError(String);

impl Network {
    /// Whether the address is in it. An IPv4 address mapped into IPv6 counts as the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        mask(address.to_canonical(), self.prefix) == self.address && same_family(self.address, address.to_canonical())
    }

    /// Every address of its family.
    #[must_use]
    pub const fn is_everything(&self) -> bool {
        self.prefix == 0
    }

    /// Wider than what one organisation has: more than a /8 of IPv4 or a /16 of IPv6.
    #[must_use]
    pub const fn is_vast(&self) -> bool {
        self.prefix < if self.address.is_ipv4() { 8 } else { 16 }
    }
}

const fn same_family(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

fn mask(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let bits = u32::MAX.checked_shl(32_u32.saturating_sub(u32::from(prefix))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & bits))
        }
        IpAddr::V6(v6) => {
            let bits = u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(prefix))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & bits))
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || NetworkError(text.chars().take(64).collect());
        let (host, prefix) = match text.split_once('/') {
            Some((host, prefix)) => (host, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = host.parse().map_err(|_| bad())?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(whole), |prefix| prefix.parse::<u8>().map_err(|_| bad()))?;
        if prefix > whole {
            return Err(bad());
        }
        Ok(Self { address: mask(address, prefix), prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        let network = |text: &str| text.parse::<Network>().unwrap();
        let holds = |text: &str, address: &str| network(text).contains(address.parse().unwrap());
        assert!(holds("192.0.2.77/24", "192.0.2.1") && !holds("192.0.2.0/24", "192.0.3.1"));
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.8"));
        assert!(holds("192.0.2.0/24", "::ffff:192.0.2.1"), "mapped");
        assert!(holds("2001:db8::/32", "2001:db8:1::1") && !holds("2001:db8::/32", "2001:db9::1"));
        assert!(holds("0.0.0.0/0", "198.51.100.1") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("::/0", "2001:db8::1") && !holds("::/0", "192.0.2.1"));
        assert_eq!(network("192.0.2.77/24").to_string(), "192.0.2.0/24");
        for (text, everything, vast) in [
            ("0.0.0.0/0", true, true),
            ("::/0", true, true),
            ("128.0.0.0/1", false, true),
            ("10.0.0.0/7", false, true),
            ("10.0.0.0/8", false, false),
            ("2000::/15", false, true),
            ("2001::/16", false, false),
        ] {
            assert_eq!((network(text).is_everything(), network(text).is_vast()), (everything, vast), "{text}");
        }
        for bad in ["", "a", "192.0.2.0/33", "192.0.2.0/-1", "2001:db8::/129", "192.0.2.0/"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_certificate_is_named_as_openssl_names_it() {
        let plain = "0a".repeat(31) + "fF";
        let digest: CertificateDigest = plain.parse().unwrap();
        let with_colons = "0A:".repeat(31) + "FF";
        assert_eq!(digest.to_string(), with_colons);
        assert_eq!(with_colons.parse(), Ok(digest));
        for bad in ["", "0a", &plain[..63], &format!("{plain}0"), &plain.replace('f', "g"), &"é".repeat(32)] {
            assert!(bad.parse::<CertificateDigest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_device_is_known_by_its_network_or_by_its_certificate() {
        let relay = RelayGrant {
            name: "printers".to_owned(),
            networks: vec!["192.0.2.0/24".parse().unwrap()],
            certificates: vec![CertificateDigest([7; 32])],
            senders: Vec::new(),
            recipients: RelayRecipients::Anybody,
            recipients_per_hour: 1,
        };
        let (inside, outside) = ("192.0.2.9".parse().unwrap(), "198.51.100.9".parse().unwrap());
        assert!(relay.is_from(inside, None) && relay.is_from(outside, Some(&CertificateDigest([7; 32]))));
        assert!(!relay.is_from(outside, None) && !relay.is_from(outside, Some(&CertificateDigest([8; 32]))));
    }

    #[test]
    fn a_pattern_covers_one_address_or_a_domain() {
        let address = |text: &str| Address::parse(text).unwrap();
        let grant = |text: &str| Grant { account: AccountId::new(1), address: address(text), kind: GrantKind::SendAs };
        assert!(grant("sales@example.org").covers(&address("SALES@Example.org")));
        assert!(!grant("sales@example.org").covers(&address("ann@example.org")));
        assert!(grant("*@example.org").covers(&address("ann@example.org")));
        assert!(!grant("*@example.org").covers(&address("ann@a.example.org")));
    }
}
