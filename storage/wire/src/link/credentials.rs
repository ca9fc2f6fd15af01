//! A node's certificate, its key, and the authority that it believes: read from files, again when they change.

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::NoServerSessionStorage,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Identity, LinkError, verify::Believer};

/// How often the files are looked at.
const WATCH_PERIOD: Duration = Duration::from_secs(5);
/// RFC 9113 3.2: HTTP/2 over TLS.
pub(crate) const ALPN: &[u8] = b"h2";

/// Where they are, all PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkFiles {
    /// The node's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The certificate of the cluster's authority; while it is replaced, the old and the new one.
    pub authority: PathBuf,
}

/// What a node shows to others and believes of them.
pub struct Credentials {
    files: LinkFiles,
    stamps: Mutex<Vec<Stamp>>,
    current: ArcSwap<Current>,
}

/// What tells that a file changed.
type Stamp = Option<(SystemTime, u64)>;

struct Current {
    identity: Arc<Identity>,
    expires_unix_seconds: i64,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Credentials {
    /// Reads the files.
    ///
    /// # Errors
    /// [`LinkError::File`] with the file, what is wrong with it, and the remedy.
    pub fn load(files: LinkFiles) -> Result<Arc<Self>, LinkError> {
        let stamps = stamps(&files);
        let current = Current::load(&files)?;
        Ok(Arc::new(Self { files, stamps: Mutex::new(stamps), current: ArcSwap::from_pointee(current) }))
    }

    /// Who this node is.
    #[must_use]
    pub fn identity(&self) -> Arc<Identity> {
        self.current.load().identity.clone()
    }

    /// When its certificate ends, in seconds since 1970.
    #[must_use]
    pub fn expires_unix_seconds(&self) -> i64 {
        self.current.load().expires_unix_seconds
    }

    /// The file of its certificate.
    #[must_use]
    pub fn certificate_file(&self) -> &Path {
        &self.files.certificate
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        self.current.load().server.clone()
    }

    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.current.load().client.clone()
    }

    /// Reads the files again when one has changed, and uses them from the next handshake on; tells whether it did.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`LinkError`]; what was in use stays in use then.
    pub fn reload_if_changed(&self) -> Result<bool, LinkError> {
        let stamps = stamps(&self.files);
        if *self.stamps.lock() == stamps {
            return Ok(false);
        }
        let current = Current::load(&self.files)?;
        let running = self.identity();
        if *current.identity != *running {
            return Err(LinkError::OtherNode {
                path: self.files.certificate.clone(),
                found: Box::new((*current.identity).clone()),
                running: Box::new((*running).clone()),
            });
        }
        *self.stamps.lock() = stamps;
        self.current.store(Arc::new(current));
        Ok(true)
    }

    /// Looks at the files every five seconds until `stop` ends. What cannot be used is logged once.
    pub async fn watch(self: Arc<Self>, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut reported = None;
        loop {
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(WATCH_PERIOD) => {}
            }
            let credentials = self.clone();
            let Ok(outcome) = tokio::task::spawn_blocking(move || credentials.reload_if_changed()).await else {
                continue;
            };
            match outcome {
                Ok(false) => {}
                Ok(true) => {
                    reported = None;
                    tracing::info!(node = %self.identity().node, "certificate for the cluster reloaded");
                }
                Err(error) => {
                    let text = error.to_string();
                    if reported.as_ref() != Some(&text) {
                        tracing::error!(error = text, "certificate for the cluster not reloaded, the old one stays");
                        reported = Some(text);
                    }
                }
            }
        }
    }
}

impl Current {
    fn load(files: &LinkFiles) -> Result<Self, LinkError> {
        let chain = certificates(&files.certificate)?;
        let identity = Identity::of_certificate(&chain[0]).map_err(|error| {
            wrong(&files.certificate, error.to_string(), "make one with `securanet cluster certificate`")
        })?;
        let expires_unix_seconds = expiry(&chain[0]);
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| unusable(&files.key, &error))?;
        let mut roots = RootCertStore::empty();
        let authorities = certificates(&files.authority)?;
        for authority in &authorities {
            roots.add(authority.clone()).map_err(|error| {
                wrong(&files.authority, error.to_string(), "give the certificate of the cluster's authority")
            })?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let believer = Believer::new(identity.cluster, Arc::new(roots), provider.clone())?;
        let fault = |error: rustls::Error| LinkError::Tls(error.to_string());
        let mismatch = |error: rustls::Error| {
            wrong(&files.key, error.to_string(), "give the key that belongs to the node's certificate")
        };
        let versions = [&rustls::version::TLS13];
        let server = ServerConfig::builder_with_provider(provider.clone());
        let server = server.with_protocol_versions(&versions).map_err(fault)?;
        let server = server.with_client_cert_verifier(believer.clone());
        // A stranger knows the authority by its digest only.
        let shown = [chain.clone(), authorities].concat();
        let mut server = server.with_single_cert(shown, key.clone_key()).map_err(mismatch)?;
        server.alpn_protocols = vec![ALPN.to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let client = ClientConfig::builder_with_provider(provider);
        let client = client.with_protocol_versions(&versions).map_err(fault)?;
        let client = client.dangerous().with_custom_certificate_verifier(believer);
        let mut client = client.with_client_auth_cert(chain, key).map_err(mismatch)?;
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.resumption = Resumption::disabled();
        Ok(Self {
            identity: Arc::new(identity),
            expires_unix_seconds,
            server: Arc::new(server),
            client: Arc::new(client),
        })
    }
}

/// notAfter; 0 where there is none to read, which [`Identity::of_certificate`] would have refused.
fn expiry(certificate: &CertificateDer<'_>) -> i64 {
    X509Certificate::from_der(certificate).map_or(0, |(_, parsed)| parsed.validity().not_after.timestamp())
}

fn wrong(path: &Path, what: String, remedy: &'static str) -> LinkError {
    LinkError::File { path: path.to_owned(), what, remedy }
}

fn unusable(path: &Path, error: &rustls::pki_types::pem::Error) -> LinkError {
    use rustls::pki_types::pem::Error;
    match error {
        Error::Io(io) => wrong(path, io.to_string(), "check the path and the file's owner and mode"),
        Error::NoItemsFound => wrong(path, "nothing usable is in it".to_owned(), "give a PEM file of the right kind"),
        other => wrong(path, other.to_string(), "write it again from its source"),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, LinkError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found = found.map_err(|error| unusable(path, &error))?;
    if found.is_empty() {
        return Err(unusable(path, &rustls::pki_types::pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn stamps(files: &LinkFiles) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    [&files.certificate, &files.key, &files.authority].into_iter().map(stamp).collect()
}
