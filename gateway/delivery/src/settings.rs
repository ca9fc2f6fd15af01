//! What is wrong with settings of this room, and how times are written in them.

use std::{net::AddrParseError, path::PathBuf};

/// Settings that cannot be used. Each names the place and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No server to ask for names.
    #[error("no DNS server: the system's configuration names none ({0}); set `servers` of the DNS settings")]
    NoDnsServer(String),
    /// The resolver could not be set up.
    #[error("DNS cannot be set up: {0}")]
    Dns(String),
    /// The trust anchor cannot be read.
    #[error("the DNSSEC trust anchor {file} cannot be used: {why}; it is a file of DNSKEY records")]
    TrustAnchor {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The certificates to trust cannot be read.
    #[error("roots: the trusted certificates in {file} cannot be used: {why}; name a file of PEM certificates")]
    Roots {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// TLS could not be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// Something in a route.
    #[error("route {route:?}: {why}")]
    Route {
        /// Its name, or its number where it has no usable name.
        route: String,
        /// What is wrong and what would be right.
        why: String,
    },
    /// A name of ours is no name.
    #[error("{key}: {name:?} is no host name; write one such as mail.example.org")]
    Name {
        /// Where it stands.
        key: &'static str,
        /// As written.
        name: String,
    },
    /// An address is no address.
    #[error("{text:?} is no IP address: {error}")]
    Address {
        /// As written.
        text: String,
        /// Why.
        error: AddrParseError,
    },
}

/// Times in settings: seconds, with a fraction where wanted.
pub(crate) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(time.as_secs_f64())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Number {
            Whole(u64),
            Fraction(f64),
        }
        let time = match Number::deserialize(deserializer)? {
            Number::Whole(seconds) => Duration::from_secs(seconds),
            Number::Fraction(seconds) => Duration::try_from_secs_f64(seconds).map_err(D::Error::custom)?,
        };
        let day = Duration::from_secs(24 * 3600);
        if time.is_zero() || time > day {
            Err(D::Error::custom("a time is more than 0 and at most 86,400 seconds"))
        } else {
            Ok(time)
        }
    }
}
