//! Whom a route is for.

use securanet_gateway::model::{Address, DomainName, HostLiteral, ReversePath};

/// Domains, and hosts without a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum DomainPattern {
    All,
    Exactly(String),
    /// With its first dot.
    Below(String),
}

impl DomainPattern {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let name = |text: &str| {
            DomainName::parse(text)
                .map(|name| name.as_str().to_owned())
                .map_err(|_| format!("{text:?} is no domain: write example.org, .example.org or *"))
        };
        if text.starts_with('[') {
            let literal = HostLiteral::parse(text).map_err(|error| error.to_string())?;
            return Ok(Self::Exactly(literal.canonical().to_string()));
        }
        match text.strip_prefix('.') {
            _ if text == "*" => Ok(Self::All),
            Some(below) => Ok(Self::Below(format!(".{}", name(below)?))),
            None => Ok(Self::Exactly(name(text)?)),
        }
    }

    pub(super) fn fits(&self, domain: &str) -> bool {
        match self {
            Self::All => true,
            Self::Exactly(name) => domain == name,
            Self::Below(suffix) => domain.len() > suffix.len() && domain.ends_with(suffix.as_str()),
        }
    }

    /// Whether it means this one and no other.
    pub(super) fn is(&self, domain: &str) -> bool {
        matches!(self, Self::Exactly(name) if name == domain)
    }
}

/// Senders.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum SenderPattern {
    Null,
    Address(Box<Address>),
    Domain(DomainPattern),
}

impl SenderPattern {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text == "<>" {
            return Ok(Self::Null);
        }
        if text.starts_with('[') {
            return Err(format!(
                "sender {text:?}: nobody sends from a host without a name: write a domain or an address"
            ));
        }
        if text.contains('@') {
            let address = Address::parse(text).map_err(|error| format!("sender {text:?}: {error}"))?;
            return Ok(Self::Address(Box::new(address)));
        }
        DomainPattern::parse(text).map(Self::Domain)
    }

    pub(super) fn fits(&self, sender: &ReversePath) -> bool {
        match (self, sender) {
            (Self::Null, ReversePath::Null) | (Self::Domain(DomainPattern::All), _) => true,
            (Self::Address(pattern), ReversePath::Address(address)) => **pattern == *address,
            (Self::Domain(pattern), ReversePath::Address(address)) => pattern.fits(address.domain().as_str()),
            _ => false,
        }
    }
}
