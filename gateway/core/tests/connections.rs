//! Listeners with real sockets: who is let in, as whom, under which TLS, and how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Once},
    time::Duration,
};

use securanet_gateway::{
    connection::{Connection, DrainHandle, Protocol, Refusal, Shutdown},
    error::SetupError,
    line::{Line, LineStream, StartTlsError},
    listener::{Listener, ListenerSettings},
    proxy,
    store::BoxFuture,
    tls::{self, CertificateFiles, ClientCertificates, TlsSettings},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream, rustls};

const SOON: Duration = Duration::from_secs(10);

/// Says who the client is, then echoes lines; `STARTTLS` does it, `STUCK` never ends.
struct Echo;

impl Protocol for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn serve(self: Arc<Self>, connection: Connection) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let (tls, shutdown) = (connection.tls.clone(), connection.shutdown.clone());
            let facts = format!("{} {} {}", connection.peer.ip(), connection.local.port(), connection.trusted);
            let mut stream = LineStream::new(connection.stream);
            greet(&mut stream, &facts).await;
            loop {
                let line = tokio::select! {
                    line = stream.line(100, SOON) => line,
                    () = shutdown.draining() => return stream.send(b"bye\r\n").await.unwrap(),
                };
                let Ok(Line::Complete { bytes, .. }) = line else { return };
                match (bytes.as_ref(), &tls) {
                    (b"STUCK", _) => std::future::pending().await,
                    (b"STARTTLS", Some(tls)) => {
                        stream.write(b"go ahead\r\n").await.unwrap();
                        match stream.start_tls(tls).await {
                            Ok(secure) => stream = secure,
                            Err(StartTlsError::PipelinedPlaintext { .. }) => return,
                            Err(error) => panic!("{error}"),
                        }
                    }
                    _ => {}
                }
                let _ = stream.write(&[&bytes[..], b"\r\n"].concat()).await;
            }
        })
    }

    fn refusal(&self, why: Refusal) -> &'static str {
        match why {
            Refusal::TooManyConnections => "too many\r\n",
            Refusal::TooManyFromAddress => "too many from you\r\n",
            Refusal::Draining => "going down\r\n",
        }
    }
}

async fn greet(stream: &mut LineStream, facts: &str) {
    let tls = stream.tls().map(|tls| format!(" {} {:?} {:?}", tls.version, tls.server_name, tls.exporter));
    let shown = stream.tls().and_then(|tls| tls.client_certificate).map(|digest| format!("shown {digest:02x?} "));
    let facts = format!("{}{facts}", shown.unwrap_or_default());
    let _ = stream.send(format!("{facts}{}\r\n", tls.unwrap_or_default()).as_bytes()).await;
}

struct Front {
    address: SocketAddr,
    drain: DrainHandle,
    served: JoinHandle<()>,
}

fn settings() -> ListenerSettings {
    ListenerSettings::new("test", "127.0.0.1:0".parse().unwrap())
}

fn front(settings: ListenerSettings, tls: Option<Arc<TlsSettings>>) -> Front {
    let (drain, shutdown) = DrainHandle::new();
    let listener = Listener::bind(settings, tls, Arc::new(Echo), shutdown).unwrap();
    Front { address: listener.local_address(), drain, served: tokio::spawn(listener.serve()) }
}

impl Front {
    async fn connect(&self) -> BufReader<TcpStream> {
        BufReader::new(TcpStream::connect(self.address).await.unwrap())
    }
}

/// The next line; empty when the connection is closed, in whatever way.
async fn line(stream: &mut (impl AsyncBufReadExt + Unpin)) -> String {
    let mut line = String::new();
    let _ = timeout(SOON, stream.read_line(&mut line)).await.expect("something in time");
    line.trim_end().to_owned()
}

#[tokio::test]
async fn a_connection_knows_its_ends_and_trusted_networks_are_trusted() {
    let untrusted = front(settings(), None);
    let facts = format!("127.0.0.1 {} false", untrusted.address.port());
    assert_eq!(line(&mut untrusted.connect().await).await, facts);
    let trusted =
        front(ListenerSettings { trusted_networks: vec!["127.0.0.0/8".parse().unwrap()], ..settings() }, None);
    assert!(line(&mut trusted.connect().await).await.ends_with("true"));
}

#[tokio::test]
async fn too_many_connections_are_refused_in_one_line_until_one_ends() {
    let front = front(ListenerSettings { connections_max: 2, ..settings() }, None);
    let (mut one, mut two) = (front.connect().await, front.connect().await);
    assert!(line(&mut one).await.starts_with("127.0.0.1") && line(&mut two).await.starts_with("127.0.0.1"));
    let mut three = front.connect().await;
    assert_eq!(line(&mut three).await, "too many");
    assert_eq!(line(&mut three).await, "");
    drop(one);
    timeout(SOON, async { while line(&mut front.connect().await).await == "too many" {} }).await.unwrap();
}

#[tokio::test]
async fn one_address_cannot_take_all_places() {
    let limited = ListenerSettings { connections_per_address_max: 1, ..settings() };
    let front = front(limited, None);
    let mut one = front.connect().await;
    assert!(line(&mut one).await.starts_with("127.0.0.1"));
    assert_eq!(line(&mut front.connect().await).await, "too many from you");
    drop(one);
    timeout(SOON, async { while line(&mut front.connect().await).await.starts_with("too") {} }).await.unwrap();
}

fn behind_proxy() -> ListenerSettings {
    ListenerSettings { proxy_networks: vec!["127.0.0.0/8".parse().unwrap()], ..settings() }
}

#[tokio::test]
async fn a_proxys_header_says_who_the_client_is_and_what_follows_is_the_clients() {
    let front = front(ListenerSettings { connections_per_address_max: 1, ..behind_proxy() }, None);
    let (peer, local) = ("192.0.2.7:5".parse().unwrap(), "198.51.100.1:25".parse().unwrap());
    let version1 = proxy::write_version1(peer, local).unwrap().into_bytes();
    for header in [version1, proxy::write_version2(peer, local).unwrap()] {
        let mut stream = front.connect().await;
        let (first, second) = header.split_at(9);
        stream.write_all(first).await.unwrap();
        tokio::task::yield_now().await;
        stream.write_all(&[second, b"hello\r\n"].concat()).await.unwrap();
        assert_eq!(line(&mut stream).await, "192.0.2.7 25 false");
        assert_eq!(line(&mut stream).await, "hello");
        let mut same_client = front.connect().await;
        same_client.write_all(&header).await.unwrap();
        assert_eq!(line(&mut same_client).await, "too many from you");
        stream.shutdown().await.unwrap();
        assert_eq!(line(&mut stream).await, "");
    }
}

#[tokio::test]
async fn a_proxys_own_connection_is_from_the_proxy() {
    let front = front(behind_proxy(), None);
    let mut stream = front.connect().await;
    stream.write_all(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0").await.unwrap();
    assert!(line(&mut stream).await.starts_with("127.0.0.1"));
}

#[tokio::test]
async fn a_proxy_without_a_header_is_closed_without_a_word() {
    let front = front(behind_proxy(), None);
    let mut stream = front.connect().await;
    stream.write_all(b"EHLO x\r\n").await.unwrap();
    assert_eq!(line(&mut stream).await, "");
}

#[tokio::test]
async fn a_header_from_somebody_else_ends_the_connection() {
    let front = front(settings(), None);
    for header in [&b"PROXY TCP4 192.0.2.7 192.0.2.8 1 25\r\nhello\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0"] {
        let mut stream = front.connect().await;
        assert!(line(&mut stream).await.starts_with("127.0.0.1"));
        stream.write_all(header).await.unwrap();
        assert_eq!(line(&mut stream).await, "");
    }
}

#[tokio::test]
async fn a_proxy_that_says_nothing_is_given_up() {
    let front = front(behind_proxy(), None);
    let mut stream = front.connect().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    tokio::time::pause();
    assert_eq!(line(&mut stream).await, "");
}

/// Certificates in files, as an operator has them.
struct Pems {
    folder: TempDir,
    roots: rustls::RootCertStore,
}

impl Pems {
    fn new() -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| rustls::crypto::aws_lc_rs::default_provider().install_default().unwrap());
        Self { folder: TempDir::new().unwrap(), roots: rustls::RootCertStore::empty() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a new certificate for these names.
    fn write(&mut self, file: &str, names: &[&str]) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        self.roots.add(made.cert.der().clone()).unwrap();
        let (certificate, key) = (self.path(&format!("{file}.crt")), self.path(&format!("{file}.key")));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        CertificateFiles { certificate, key, names: Vec::new() }
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        server: &str,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> std::io::Result<BufReader<TlsStream<TcpStream>>> {
        let config = rustls::ClientConfig::builder_with_protocol_versions(versions)
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        let name = rustls::pki_types::ServerName::try_from(server.to_owned()).unwrap();
        Ok(BufReader::new(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
    }

    async fn connect(&self, front: &Front, server: &str) -> std::io::Result<BufReader<TlsStream<TcpStream>>> {
        let stream = TcpStream::connect(front.address).await.unwrap();
        self.handshake(stream, server, rustls::ALL_VERSIONS).await
    }
}

fn implicit_tls() -> ListenerSettings {
    ListenerSettings { implicit_tls: true, ..settings() }
}

#[tokio::test]
async fn the_server_name_chooses_the_certificate_and_unknown_names_get_the_first() {
    let mut pems = Pems::new();
    let files = vec![pems.write("a", &["mail.example.org"]), pems.write("b", &["*.example.net", "imap.example.com"])];
    let front = front(implicit_tls(), Some(TlsSettings::load("test", files, ClientCertificates::Ignored).unwrap()));
    for server in ["mail.example.org", "imap.example.net", "imap.example.com"] {
        let mut stream = pems.connect(&front, server).await.unwrap();
        assert!(line(&mut stream).await.contains(&format!("TLSv1.3 Some({server:?})")));
    }
    for unknown in ["other.example.org", "a.b.example.net"] {
        let error = pems.connect(&front, unknown).await.unwrap_err().to_string();
        assert!(error.contains("mail.example.org"), "the client sees the default and judges it: {error}");
    }
}

#[tokio::test]
async fn rfc_9266_both_ends_export_the_same_on_tls_1_3_and_nothing_on_1_2() {
    let mut pems = Pems::new();
    let files = vec![pems.write("a", &["mail.example.org"])];
    let front = front(implicit_tls(), Some(TlsSettings::load("test", files, ClientCertificates::Ignored).unwrap()));
    let mut modern = pems.connect(&front, "mail.example.org").await.unwrap();
    let (_, connection) = modern.get_ref().get_ref();
    let exported = connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).unwrap();
    assert!(line(&mut modern).await.ends_with(&format!("Some({exported:?})")));
    let stream = TcpStream::connect(front.address).await.unwrap();
    let mut old = pems.handshake(stream, "mail.example.org", &[&rustls::version::TLS12]).await.unwrap();
    let facts = line(&mut old).await;
    assert!(facts.contains("TLSv1.2") && facts.ends_with("None"), "{facts}");
}

/// Shows the first certificate and signs with the second's key.
#[derive(Debug)]
struct Shows(Arc<rustls::sign::CertifiedKey>);

impl rustls::client::ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_client_is_known_by_a_certificate_only_when_it_has_its_key() {
    let mut pems = Pems::new();
    let files = vec![pems.write("a", &["mail.example.org"])];
    let asking = TlsSettings::load("test", files, ClientCertificates::Asked).unwrap();
    let front = front(implicit_tls(), Some(asking));
    let make = || rcgen::generate_simple_self_signed(vec!["printer".to_owned()]).unwrap();
    let (own, other) = (make(), make());
    let show = |key: &rcgen::KeyPair| {
        let der = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&der).unwrap();
        Arc::new(Shows(Arc::new(rustls::sign::CertifiedKey::new(vec![own.cert.der().clone()], key))))
    };
    for (version, key) in [
        (&rustls::version::TLS13, &own),
        (&rustls::version::TLS12, &own),
        (&rustls::version::TLS13, &other),
        (&rustls::version::TLS12, &other),
    ] {
        let config = rustls::ClientConfig::builder_with_protocol_versions(&[version])
            .with_root_certificates(pems.roots.clone())
            .with_client_cert_resolver(show(&key.signing_key));
        let name = rustls::pki_types::ServerName::try_from("mail.example.org").unwrap();
        let tcp = TcpStream::connect(front.address).await.unwrap();
        let mut read = String::new();
        if let Ok(stream) = TlsConnector::from(Arc::new(config)).connect(name, tcp).await {
            let _ = BufReader::new(stream).read_line(&mut read).await;
        }
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, own.cert.der());
        let expect = format!("shown {:02x?}", digest.as_ref());
        assert_eq!(read.starts_with(&expect), std::ptr::eq(key, &own), "{version:?}: {read}");
        assert_eq!(read.is_empty(), std::ptr::eq(key, &other), "{version:?}: {read}");
    }
    let mut without = pems.connect(&front, "mail.example.org").await.unwrap();
    assert!(line(&mut without).await.starts_with("127.0.0.1"), "nobody has to show one");
}

#[tokio::test]
async fn starttls_begins_tls_and_plaintext_behind_it_ends_the_connection() {
    let mut pems = Pems::new();
    let files = vec![pems.write("a", &["mail.example.org"])];
    let front = front(settings(), Some(TlsSettings::load("test", files, ClientCertificates::Ignored).unwrap()));
    let mut stream = front.connect().await;
    line(&mut stream).await;
    stream.write_all(b"STARTTLS\r\n").await.unwrap();
    assert_eq!(line(&mut stream).await, "go ahead");
    let mut stream = pems.handshake(stream.into_inner(), "mail.example.org", rustls::ALL_VERSIONS).await.unwrap();
    assert_eq!(line(&mut stream).await, "STARTTLS");
    stream.write_all(b"hello\r\n").await.unwrap();
    assert_eq!(line(&mut stream).await, "hello");

    let mut injected = front.connect().await;
    line(&mut injected).await;
    injected.write_all(b"STARTTLS\r\ninjected\r\n").await.unwrap();
    assert_eq!(line(&mut injected).await, "");
}

#[tokio::test]
async fn new_files_are_used_by_the_next_handshake_and_broken_ones_change_nothing() {
    let mut pems = Pems::new();
    let files = vec![pems.write("a", &["old.example.org"])];
    let tls = TlsSettings::load("test", files, ClientCertificates::Ignored).unwrap();
    let front = front(implicit_tls(), Some(tls.clone()));
    let mut before = pems.connect(&front, "old.example.org").await.unwrap();
    line(&mut before).await;
    assert!(!tls.reload_if_changed().unwrap());

    std::fs::write(pems.path("a.key"), "half a fi").unwrap();
    let error = tls.reload_if_changed().unwrap_err().to_string();
    assert!(error.contains("a.key") && error.contains("BEGIN PRIVATE KEY"), "{error}");
    assert!(pems.connect(&front, "old.example.org").await.is_ok());

    pems.write("a", &["new.example.org"]);
    assert!(tls.reload_if_changed().unwrap());
    assert!(pems.connect(&front, "new.example.org").await.is_ok());
    assert!(pems.connect(&front, "old.example.org").await.is_err());
    before.write_all(b"still here\r\n").await.unwrap();
    assert_eq!(line(&mut before).await, "still here");
    assert!(tls.expires_unix_seconds() > 0);
}

#[tokio::test(start_paused = true)]
async fn the_watch_loads_new_files_by_itself() {
    let mut pems = Pems::new();
    let tls =
        TlsSettings::load("test", vec![pems.write("a", &["old.example.org"])], ClientCertificates::Ignored).unwrap();
    let (drain, shutdown) = DrainHandle::new();
    let watch = tokio::spawn(tls::watch(vec![tls.clone()], shutdown));
    pems.write("a", &["new.example.org", "and.a.longer.one.example.org"]);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(!tls.reload_if_changed().unwrap(), "it has been loaded already");
    drain.begin();
    watch.await.unwrap();
}

fn load_error(certificate: &Path, key: &Path) -> String {
    let files = CertificateFiles { certificate: certificate.to_owned(), key: key.to_owned(), names: Vec::new() };
    TlsSettings::load("test", vec![files], ClientCertificates::Ignored).unwrap_err().to_string()
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_said_with_its_path_and_a_remedy() {
    let mut pems = Pems::new();
    let (a, b) = (pems.write("a", &["a.example.org"]), pems.write("b", &["b.example.org"]));
    let error = load_error(&pems.path("missing.crt"), &a.key);
    assert!(error.contains("missing.crt: cannot be read") && error.contains("check the path"), "{error}");
    let error = load_error(&a.certificate, &b.key);
    assert!(
        error.contains("b.key: the key does not belong to the certificate in") && error.contains("a.crt"),
        "{error}"
    );
    let error = load_error(&a.key, &a.key);
    assert!(error.contains("a.key: has no certificate in it"), "{error}");
    let error = load_error(&a.certificate, &a.certificate);
    assert!(error.contains("a.crt: has no usable private key in it"), "{error}");
}

#[tokio::test]
async fn what_cannot_be_listened_on_is_said_with_a_remedy() {
    let front = front(settings(), None);
    let (_drain, shutdown) = DrainHandle::new();
    let taken = ListenerSettings::new("smtp", front.address);
    let error = Listener::bind(taken, None, Arc::new(Echo), shutdown.clone()).err().unwrap().to_string();
    assert!(error.contains("listener smtp") && error.contains("stop what listens there"), "{error}");
    let error = Listener::bind(implicit_tls(), None, Arc::new(Echo), shutdown).err().unwrap();
    assert!(matches!(error, SetupError::NoCertificate { .. }));
}

#[tokio::test]
async fn draining_tells_the_sessions_and_ends_when_they_have() {
    let front = front(settings(), None);
    let mut stream = front.connect().await;
    line(&mut stream).await;
    front.drain.begin();
    assert_eq!(line(&mut stream).await, "bye");
    timeout(SOON, front.served).await.unwrap().unwrap();
    assert!(TcpStream::connect(front.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_session_that_does_not_end_is_cut_off_at_the_end_of_draining() {
    let front = front(ListenerSettings { drain: Duration::from_millis(100), ..settings() }, None);
    let mut stream = front.connect().await;
    line(&mut stream).await;
    stream.write_all(b"STUCK\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    front.drain.begin();
    timeout(SOON, front.served).await.unwrap().unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_shutdown_whose_handle_is_gone_never_comes() {
    let (drain, shutdown): (_, Shutdown) = DrainHandle::new();
    drop(drain);
    assert!(timeout(Duration::from_millis(50), shutdown.draining()).await.is_err());
    assert!(!shutdown.is_draining());
}
