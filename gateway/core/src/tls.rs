//! TLS of a listener: certificates from PEM files, chosen by server name, replaced without restart.
//!
//! A listener has one or more certificates; the first is the default, for clients that name no server or one
//! that no certificate is for. Each answers for the names it was given, or else for those in the certificate
//! itself. A client that names an unknown server gets the default rather than an alert: old mail programs
//! connect by whatever name their owner once typed, and they, not we, judge the certificate.
//!
//! Reloading replaces all certificates of a listener or none: a half-written file changes nothing and is
//! reported, and what was loaded before stays in use. Sessions under way keep theirs.
//!
//! A listener may ask clients for a certificate. Whoever signed it, a client that shows one proves that it has its
//! key, and that is all the handshake tells; whose it is, and what that grants, is decided by its digest.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        ClientHello, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

use crate::{certificate::Certificate, connection::Shutdown, error::SetupError, metric};

/// A client has this long for its handshake; three round trips on any link in use.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often [`watch`] looks at the files.
const WATCH_PERIOD: Duration = Duration::from_secs(5);

/// Where one certificate is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFiles {
    /// PEM: the certificate, then its chain.
    pub certificate: PathBuf,
    /// PEM: its private key (PKCS#8, PKCS#1 or SEC1), not encrypted. May be the same file.
    pub key: PathBuf,
    /// Server names that it is for (`*.example.org` for one level); empty: those in the certificate.
    pub names: Vec<String>,
}

/// Whether a listener asks its clients for a certificate. No client has to show one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ClientCertificates {
    /// It does not: mail programs of people would ask them which one to show.
    #[default]
    Ignored,
    /// It does.
    Asked,
}

/// A listener's TLS.
pub struct TlsSettings {
    listener: String,
    files: Vec<CertificateFiles>,
    stamps: Mutex<Vec<FileStamp>>,
    certificates: Arc<Certificates>,
    acceptor: TlsAcceptor,
    handshake_timeout: Duration,
}

/// What tells that a file changed.
type FileStamp = Option<(SystemTime, u64)>;

struct Certificates(ArcSwap<Vec<Certificate>>);

impl TlsSettings {
    /// Loads the certificates of a listener; the first is the default. TLS 1.2 and 1.3 are spoken.
    ///
    /// # Errors
    /// [`SetupError`] with the file, what is wrong in it and the remedy.
    pub fn load(
        listener: &str,
        files: Vec<CertificateFiles>,
        clients: ClientCertificates,
    ) -> Result<Arc<Self>, SetupError> {
        let stamps = stamps(&files);
        let loaded = load_all(listener, &files)?;
        let certificates = Arc::new(Certificates(ArcSwap::from_pointee(loaded)));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| SetupError::Tls(error.to_string()))?;
        let config = match clients {
            ClientCertificates::Ignored => config.with_no_client_auth(),
            ClientCertificates::Asked => config.with_client_cert_verifier(Arc::new(KeyHolders(provider))),
        };
        let mut config = config.with_cert_resolver(certificates.clone());
        config.ticketer =
            rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| SetupError::Tls(error.to_string()))?;
        let settings = Self {
            listener: listener.to_owned(),
            files,
            stamps: Mutex::new(stamps),
            certificates,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            handshake_timeout: HANDSHAKE_TIMEOUT,
        };
        settings.publish_expiry();
        Ok(Arc::new(settings))
    }

    /// Reads the files again, whether or not they seem changed, and uses what is in them from the next
    /// handshake on. Blocks on the disk.
    ///
    /// # Errors
    /// [`SetupError`]; what was in use stays in use then.
    pub fn reload(&self) -> Result<(), SetupError> {
        let stamps = stamps(&self.files);
        let loaded = load_all(&self.listener, &self.files)?;
        *self.stamps.lock() = stamps;
        self.certificates.0.store(Arc::new(loaded));
        self.publish_expiry();
        Ok(())
    }

    /// [`Self::reload`] when a file's time or length changed since the last good load; tells whether it did.
    ///
    /// # Errors
    /// Those of [`Self::reload`].
    pub fn reload_if_changed(&self) -> Result<bool, SetupError> {
        let changed = *self.stamps.lock() != stamps(&self.files);
        if changed {
            self.reload()?;
        }
        Ok(changed)
    }

    /// The listener's name.
    #[must_use]
    pub fn listener(&self) -> &str {
        &self.listener
    }

    /// When the first of the certificates in use expires, in seconds since 1970.
    #[must_use]
    pub fn expires_unix_seconds(&self) -> i64 {
        self.certificates.0.load().iter().map(Certificate::expires_unix_seconds).min().unwrap_or(0)
    }

    pub(crate) fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    pub(crate) const fn handshake_timeout(&self) -> Duration {
        self.handshake_timeout
    }

    fn publish_expiry(&self) {
        for certificate in self.certificates.0.load().iter() {
            metric::certificate_expires(&self.listener, certificate.path(), certificate.expires_unix_seconds());
        }
    }
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings").field("listener", &self.listener).field("files", &self.files).finish()
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Certificates(..)")
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certificates = self.0.load();
        let named = hello.server_name().and_then(|name| {
            let name = name.to_ascii_lowercase();
            certificates.iter().find(|certificate| certificate.is_for(&name))
        });
        named.or_else(|| certificates.first()).map(|certificate| certificate.key().clone())
    }
}

/// Takes every certificate whose key the client has: the digest decides what it is good for, and expiry and issuers
/// mean nothing to a printer.
#[derive(Debug)]
struct KeyHolders(Arc<CryptoProvider>);

impl ClientCertVerifier for KeyHolders {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Looks every five seconds whether files of these settings changed, and reloads them, until draining begins.
/// What cannot be loaded is logged as an error once per change and leaves the old certificate in use.
pub async fn watch(settings: Vec<Arc<TlsSettings>>, shutdown: Shutdown) {
    let mut reported: Vec<Option<String>> = vec![None; settings.len()];
    let mut tick = tokio::time::interval(WATCH_PERIOD);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let draining = shutdown.draining();
    tokio::pin!(draining);
    loop {
        tokio::select! {
            () = &mut draining => return,
            _ = tick.tick() => {}
        }
        for (settings, reported) in settings.iter().zip(&mut reported) {
            let of_task = settings.clone();
            let outcome = tokio::task::spawn_blocking(move || of_task.reload_if_changed()).await;
            let Ok(outcome) = outcome else { continue };
            note(settings, outcome, reported);
        }
    }
}

fn note(settings: &TlsSettings, outcome: Result<bool, SetupError>, reported: &mut Option<String>) {
    match outcome {
        Ok(false) => {}
        Ok(true) => {
            *reported = None;
            metric::certificates_reloaded(&settings.listener, true);
            tracing::info!(listener = settings.listener, "certificates reloaded");
        }
        Err(error) => {
            let text = error.to_string();
            if reported.as_deref() != Some(&text) {
                metric::certificates_reloaded(&settings.listener, false);
                tracing::error!(listener = settings.listener, error = text, "certificates not reloaded, old ones stay");
                *reported = Some(text);
            }
        }
    }
}

fn stamps(files: &[CertificateFiles]) -> Vec<FileStamp> {
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().flat_map(|files| [stamp(&files.certificate), stamp(&files.key)]).collect()
}

fn load_all(listener: &str, files: &[CertificateFiles]) -> Result<Vec<Certificate>, SetupError> {
    if files.is_empty() {
        return Err(SetupError::NoCertificate { listener: listener.to_owned() });
    }
    files.iter().map(Certificate::load).collect()
}
