//! TLS towards other servers: what is demanded, and whether the server's certificate fulfils it.

pub mod policy;
mod roots;
pub mod sts;
#[cfg(test)]
mod tests;
mod verifier;
pub(crate) mod web;

use std::{io, net::IpAddr, path::Path, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, RootCertStore, client::danger::ServerCertVerifier, crypto::CryptoProvider,
    pki_types::ServerName,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{route::TlsDemand, settings::SettingsError};

/// A connection under TLS.
pub(crate) struct Secured {
    pub(crate) stream: TlsStream<TcpStream>,
    /// Version, cipher and what was checked.
    pub(crate) info: String,
    /// What is wrong with a certificate that was only tested.
    pub(crate) fault: Option<rustls::Error>,
}

/// Makes TLS connections as they are demanded.
pub(crate) struct TlsClient {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    /// For demands without a check.
    unchecked: Arc<ClientConfig>,
}

impl TlsClient {
    /// `roots` is a PEM file of the authorities to trust; none: the system's.
    pub(crate) fn new(roots: Option<&Path>) -> Result<Self, SettingsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = Arc::new(roots::load(roots)?);
        let verifier = Arc::new(verifier::Unchecked::new(provider.clone()));
        let unchecked = config(&provider, verifier).map_err(|error| SettingsError::Tls(error.to_string()))?;
        Ok(Self { provider, roots, unchecked })
    }

    /// Does the handshake with a host; tells version, cipher and what was checked.
    pub(crate) async fn connect(&self, demand: &TlsDemand, host: &str, tcp: TcpStream) -> io::Result<Secured> {
        let mut tested = None;
        let (config, checked) = match demand {
            TlsDemand::Never | TlsDemand::Opportunistic | TlsDemand::Encrypted => {
                (self.unchecked.clone(), "certificate not checked".to_owned())
            }
            TlsDemand::Tested(names) => match self.named(names) {
                Ok(verifier) => {
                    let verifier = Arc::new(verifier::Tested::new(verifier));
                    tested = Some(verifier.clone());
                    (self.config(verifier)?, "certificate tested".to_owned())
                }
                // Without any authority of ours there is nothing to report of theirs.
                Err(_) => (self.unchecked.clone(), "certificate not checked".to_owned()),
            },
            TlsDemand::Verified(names) => {
                let verifier = self.named(names).map_err(io::Error::other)?;
                (self.config(Arc::new(verifier))?, format!("certificate verified for {}", names.join(", ")))
            }
            TlsDemand::Dane { records, names } => {
                let verifier = verifier::Dane::new(records.clone(), self.provider.clone(), names);
                (self.config(Arc::new(verifier))?, "certificate verified by DANE".to_owned())
            }
        };
        // RFC 7672 8.1: a host found by DANE is asked for its TLSA base domain.
        let asked_for = match demand {
            TlsDemand::Dane { names, .. } => names.first().map_or(host, String::as_str),
            _ => host,
        };
        let name = match asked_for.trim_start_matches("IPv6:").parse::<IpAddr>() {
            Ok(address) => ServerName::IpAddress(address.into()),
            Err(_) => ServerName::try_from(asked_for.to_owned()).map_err(io::Error::other)?,
        };
        let stream = TlsConnector::from(config).connect(name, tcp).await?;
        let fault = tested.and_then(|tested| tested.fault());
        let refused = fault.as_ref().map(|error| format!(" and wrong: {error}")).unwrap_or_default();
        let info = format!("{}, {checked}{refused}", describe(stream.get_ref().1));
        Ok(Secured { stream, info, fault })
    }

    fn named(&self, names: &[String]) -> Result<verifier::Named, String> {
        verifier::Named::new(self.roots.clone(), self.provider.clone(), names)
    }

    fn config(&self, verifier: Arc<dyn ServerCertVerifier>) -> io::Result<Arc<ClientConfig>> {
        config(&self.provider, verifier).map_err(io::Error::other)
    }
}

fn config(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The TLS error that ended a connection, if one did.
pub(crate) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

/// Why a connection ended, in words: rustls shows what other verifiers say as their names only.
pub(crate) fn reason(error: &io::Error) -> String {
    match tls_error(error) {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) => {
            format!("invalid peer certificate: {}", other.0)
        }
        _ => error.to_string(),
    }
}

fn describe(connection: &rustls::ClientConnection) -> String {
    let modern = connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
    let cipher = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
    let version = if modern { "TLSv1.3" } else { "TLSv1.2" };
    format!("{version} {}", cipher.replace("TLS13_", "TLS_"))
}
