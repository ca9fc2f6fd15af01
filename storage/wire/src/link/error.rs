//! What is wrong with the link between nodes: whose fault it is, where, and what to do.

use std::{io, path::PathBuf};

use super::{ClusterId, Identity, NodeName};

/// Why nodes do not reach each other.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A file cannot be used.
    #[error("{}: {what}; {remedy}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Files that were replaced are another node's.
    #[error("{}: it is {found}, but this process runs as {running}: put that node's certificate back, or restart", path.display())]
    OtherNode {
        /// The certificate.
        path: PathBuf,
        /// Who it is for.
        found: Box<Identity>,
        /// Who runs.
        running: Box<Identity>,
    },
    /// The TLS library refuses its settings: a fault of ours.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// Not `host:port`.
    #[error("{0:?} is no address of a node: give host:port")]
    Address(String),
    /// Nobody there, or nobody in time.
    #[error("{address}: {what}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why.
        what: String,
    },
    /// Somebody else is there.
    #[error("{address}: node {found} is there, not {expected}: correct the address")]
    WrongNode {
        /// Where.
        address: String,
        /// Who is.
        found: NodeName,
        /// Who should be.
        expected: NodeName,
    },
    /// The listener broke.
    #[error("the listener for nodes ended: {0}")]
    Serve(String),
}

/// Why a certificate of a peer is not believed. It is part of the errors of the TLS library.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Disbelief {
    /// Of another cluster.
    #[error("it shows the certificate of {found}, and this is cluster {ours}: it does not belong here")]
    Foreign {
        /// Who it says that it is.
        found: Box<Identity>,
        /// Our cluster.
        ours: ClusterId,
    },
    /// It says that it is of this cluster, and its authority is another.
    #[error("it shows a certificate of {found} that this cluster's authority did not sign ({why})")]
    NotSigned {
        /// Who it says that it is.
        found: Box<Identity>,
        /// The reason in detail.
        why: String,
    },
    /// The token is of another cluster, or of an authority that was replaced.
    #[error("{found} is there, and the token was made by another cluster: check the address, or make a new token")]
    OtherAuthority {
        /// Who it says that it is.
        found: Box<Identity>,
    },
    /// No node's certificate.
    #[error("{0}")]
    NoNode(#[from] super::IdentityError),
}

impl From<Disbelief> for rustls::Error {
    fn from(why: Disbelief) -> Self {
        Self::InvalidCertificate(rustls::CertificateError::Other(rustls::OtherError(std::sync::Arc::new(why))))
    }
}

/// An error of a handshake in words that an operator understands.
pub(crate) fn explain(error: &io::Error) -> String {
    use rustls::{AlertDescription as Alert, CertificateError, Error};
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::InvalidCertificate(CertificateError::Other(why))) => why.to_string(),
        Some(Error::AlertReceived(
            Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::AccessDenied
            | Alert::UnsupportedCertificate
            | Alert::DecryptError,
        )) => format!("it refuses our certificate ({error}): it is of another cluster, or the certificate has expired"),
        Some(Error::NoCertificatesPresented) => "it shows no certificate".to_owned(),
        _ => error.to_string(),
    }
}
