//! What an operator has set up wrongly. Each error names the place, what is wrong there, and the remedy.

use std::{io, net::SocketAddr, path::PathBuf};

/// Why a listener or a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The address cannot be listened on.
    #[error("listener {listener}: cannot listen on {address}: {source}; {remedy}")]
    Bind {
        /// The listener's name.
        listener: String,
        /// Its address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
        /// What to do.
        remedy: &'static str,
    },
    /// A listener says implicit TLS and has no certificate.
    #[error("listener {listener}: implicit TLS needs a certificate: name one for it")]
    NoCertificate {
        /// The listener's name.
        listener: String,
    },
    /// A PEM file cannot be used.
    #[error("{}: {what}; {remedy}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The TLS library refuses its settings: a fault of ours.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}
