//! Who a node is: its name and its cluster, as a certificate says them.

use std::{fmt, str::FromStr};

use rustls::pki_types::CertificateDer;
pub use securanet_model::NodeName;
use securanet_model::nodes::LabelError;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What all names of nodes end with; RFC 6762 and ICANN keep `internal` out of the world's DNS.
const SUFFIX: &str = "securanet.internal";

/// A cluster's id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterId([u8; 16]);

/// A node of a cluster.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Identity {
    /// Its name.
    pub node: NodeName,
    /// Its cluster.
    pub cluster: ClusterId,
}

/// Why something names no node.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IdentityError {
    /// Not one label.
    #[error(transparent)]
    Name(#[from] LabelError),
    /// Not 32 hexadecimal digits.
    #[error("{0:?} is no id of a cluster: it has 32 hexadecimal digits")]
    Cluster(String),
    /// A certificate that cannot be read.
    #[error("the certificate cannot be read: {0}")]
    Certificate(String),
    /// A certificate of somebody who is no node.
    #[error("the certificate is not one of a node: it has not exactly one name NODE.CLUSTER.{SUFFIX}")]
    NoNode,
}

impl ClusterId {
    /// Wraps the directory's sixteen octets.
    #[must_use]
    pub const fn new(octets: [u8; 16]) -> Self {
        Self(octets)
    }
}

impl FromStr for ClusterId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let wrong = || IdentityError::Cluster(text.to_owned());
        if text.len() != 32 || !text.bytes().all(|octet| octet.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        u128::from_str_radix(text, 16).map(|number| Self(number.to_be_bytes())).map_err(|_| wrong())
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Identity {
    /// The name in the node's certificate.
    #[must_use]
    pub fn dns_name(&self) -> String {
        format!("{}.{}.{SUFFIX}", self.node, self.cluster)
    }

    /// Reads such a name.
    ///
    /// # Errors
    /// [`IdentityError`]
    pub fn parse(name: &str) -> Result<Self, IdentityError> {
        let labels = name.strip_suffix(SUFFIX).and_then(|head| head.strip_suffix('.'));
        let (node, cluster) = labels.and_then(|labels| labels.split_once('.')).ok_or(IdentityError::NoNode)?;
        Ok(Self { node: node.parse()?, cluster: cluster.parse()? })
    }

    /// Reads a certificate. Whether it may be believed is another matter.
    ///
    /// # Errors
    /// [`IdentityError`]
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let unreadable = |error: &dyn fmt::Display| IdentityError::Certificate(error.to_string());
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| unreadable(&error))?;
        let names = parsed.subject_alternative_name().map_err(|error| unreadable(&error))?;
        let mut names = names.iter().flat_map(|extension| &extension.value.general_names);
        match (names.next(), names.next()) {
            (Some(GeneralName::DNSName(name)), None) => Self::parse(name),
            _ => Err(IdentityError::NoNode),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} of cluster {}", self.node, self.cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_its_certificates_form() {
        let cluster = ClusterId::new(std::array::from_fn(|at| u8::try_from(at * 16).unwrap()));
        let identity = Identity { node: "store-1".parse().unwrap(), cluster };
        assert_eq!(identity.dns_name(), "store-1.00102030405060708090a0b0c0d0e0f0.securanet.internal");
        assert_eq!(Identity::parse(&identity.dns_name()), Ok(identity));
    }

    #[test]
    fn what_names_no_node_is_refused() {
        let hex = "0".repeat(32);
        for name in [
            String::new(),
            format!("A.{hex}.securanet.internal"),
            "securanet.internal".to_owned(),
            format!("{hex}.securanet.internal"),
            format!("a.{hex}.securanet.example"),
            format!("a.b.{hex}.securanet.internal"),
            format!("a.{hex}0.securanet.internal"),
            format!("a.+{}.securanet.internal", &hex[1..]),
        ] {
            assert!(Identity::parse(&name).is_err(), "{name}");
        }
    }
}
