//! One certificate with its key, read from PEM and checked before any client sees it.
//!
//! What would fail in a handshake fails here, with the file's name: no certificate, no key, a key that is
//! another certificate's, one that is expired. An expired one is loaded all the same and reported: refusing to
//! start would turn a warning of the clients into an outage.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::{clock, error::SetupError, tls::CertificateFiles};

/// A certificate in use.
pub(crate) struct Certificate {
    path: PathBuf,
    key: Arc<CertifiedKey>,
    names: Vec<String>,
    expires_unix_seconds: i64,
}

impl Certificate {
    /// Reads and checks one.
    pub(crate) fn load(files: &CertificateFiles) -> Result<Self, SetupError> {
        let chain = read_chain(&files.certificate)?;
        let key = read_key(&files.key)?;
        let signer = any_supported_type(&key).map_err(|error| {
            wrong(&files.key, format!("the private key cannot be used: {error}"), "use an RSA, ECDSA or Ed25519 key")
        })?;
        let (names, expires_unix_seconds) = facts(&files.certificate, &chain[0])?;
        let certified = CertifiedKey::new(chain, signer);
        certified.keys_match().map_err(|error| {
            let what =
                format!("the key does not belong to the certificate in {}: {error}", files.certificate.display());
            wrong(&files.key, what, "put the matching pair in place; certificate first, then its chain")
        })?;
        if expires_unix_seconds <= i64::try_from(clock::now().seconds()).unwrap_or(i64::MAX) {
            tracing::error!(path = %files.certificate.display(), "certificate is expired: clients will refuse it; renew it");
        }
        let names = if files.names.is_empty() { names } else { files.names.clone() };
        let names = names.iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect();
        Ok(Self { path: files.certificate.clone(), key: Arc::new(certified), names, expires_unix_seconds })
    }

    /// The chain and the key.
    pub(crate) fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    /// Whether it is for this server name, which is in lower case. `*` stands for exactly one label (RFC 6125 6.4.3).
    pub(crate) fn is_for(&self, server: &str) -> bool {
        self.names.iter().any(|name| {
            let below = name.strip_prefix("*.").zip(server.split_once('.'));
            name == server || below.is_some_and(|(wanted, (_, rest))| wanted == rest)
        })
    }

    /// Its file, for metrics: it stays the same when another certificate is put into it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// notAfter, in seconds since 1970.
    pub(crate) const fn expires_unix_seconds(&self) -> i64 {
        self.expires_unix_seconds
    }
}

fn wrong(path: &Path, what: impl Into<String>, remedy: &'static str) -> SetupError {
    SetupError::Pem { path: path.to_owned(), what: what.into(), remedy }
}

fn unreadable(path: &Path, error: &rustls::pki_types::pem::Error) -> SetupError {
    use rustls::pki_types::pem::Error;
    match error {
        Error::Io(io) => wrong(path, format!("cannot be read: {io}"), "check the path and the file's owner and mode"),
        other => wrong(path, format!("is no valid PEM: {other}"), "write it again from its source"),
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|error| unreadable(path, &error))?.collect();
    let chain = chain.map_err(|error| unreadable(path, &error))?;
    if chain.is_empty() {
        return Err(wrong(path, "has no certificate in it", "it must have a BEGIN CERTIFICATE block"));
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, SetupError> {
    use rustls::pki_types::pem::Error;
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        Error::NoItemsFound => wrong(
            path,
            "has no usable private key in it",
            "it must have a BEGIN PRIVATE KEY block, and the key must not be encrypted with a passphrase",
        ),
        other => unreadable(path, &other),
    })
}

/// The names that a certificate is for, and its notAfter.
fn facts(path: &Path, certificate: &CertificateDer<'_>) -> Result<(Vec<String>, i64), SetupError> {
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| {
        wrong(path, format!("its first certificate cannot be read: {error}"), "write it again from its source")
    })?;
    let alternatives = parsed.subject_alternative_name().ok().flatten();
    let mut names: Vec<String> = alternatives
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| if let GeneralName::DNSName(name) = name { Some((*name).to_owned()) } else { None })
        .collect();
    if names.is_empty() {
        let common = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        names.extend(common.map(str::to_owned));
    }
    Ok((names, parsed.validity().not_after.timestamp()))
}
