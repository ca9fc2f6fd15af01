//! The authorities that are trusted: a file of the operator's, or the system's.

use std::path::Path;

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::settings::SettingsError;

/// Where systems keep them: Debian and Ubuntu, Fedora and RHEL, openSUSE, Alpine, FreeBSD.
const SYSTEM_FILES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
];

/// Reads a PEM file, or the first of the system's that is there. A system without any trusts nobody, which only
/// verified TLS notices.
pub(super) fn load(file: Option<&Path>) -> Result<RootCertStore, SettingsError> {
    let system = || SYSTEM_FILES.iter().map(Path::new).find(|file| file.exists());
    let Some(path) = file.or_else(system) else {
        tracing::warn!("no file of trusted certificates found: no certificate can be verified");
        return Ok(RootCertStore::empty());
    };
    let wrong = |why: String| SettingsError::Roots { file: path.to_owned(), why };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    let certificates: Vec<_> = certificates.collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    let (usable, ignored) = roots.add_parsable_certificates(certificates);
    if usable == 0 {
        return Err(wrong("it has no certificate that can be read".to_owned()));
    }
    tracing::debug!(file = %path.display(), usable, ignored, "trusted certificates loaded");
    Ok(roots)
}
