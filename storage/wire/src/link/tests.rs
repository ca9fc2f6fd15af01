//! Two nodes over loopback: who is let in, who is not, and what both sides say about it.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tonic::{Code, service::Routes};

use super::*;
use crate::proto::{QueryRequest, store_client::StoreClient};

/// An authority that vouches for nodes of one cluster.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    cluster: ClusterId,
}

impl Authority {
    fn new(cluster: u8) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem, cluster: ClusterId::new([cluster; 16]) }
    }

    fn vouch(&self, folder: &Path, node: &str) -> LinkFiles {
        let identity = Identity { node: node.parse().unwrap(), cluster: self.cluster };
        self.vouch_for(folder, node, vec![identity.dns_name()])
    }

    fn vouch_for(&self, folder: &Path, file: &str, names: Vec<String>) -> LinkFiles {
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |end: &str| folder.join(format!("{file}.{end}.pem"));
        let files = LinkFiles { certificate: path("certificate"), key: path("key"), authority: path("authority") };
        fs::write(&files.certificate, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        fs::write(&files.authority, &self.pem).unwrap();
        files
    }
}

/// A node that serves nothing: whoever reaches it is told so.
struct Node {
    address: SocketAddr,
    credentials: Arc<Credentials>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), LinkError>>,
}

impl Node {
    async fn start(files: LinkFiles, bounds: Bounds) -> Self {
        Self::serving(files, bounds, Served::to_nodes(Routes::default())).await
    }

    async fn serving(files: LinkFiles, bounds: Bounds, served: Served) -> Self {
        let credentials = Credentials::load(files).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async move { drop(stopped.await) };
        let served = tokio::spawn(serve(listener, credentials.clone(), served, bounds, stopped));
        Self { address, credentials, stop: Some(stop), served }
    }

    fn peer(&self, files: LinkFiles, expect: &Expect) -> Peer {
        let link = Link::new(Credentials::load(files).unwrap());
        link.connect(&self.address.to_string(), expect, Pings::Always).unwrap()
    }
}

/// Asks something: the answer of a node that serves nothing, or everything that was in the way.
async fn ask(peer: &Peer) -> (Code, String) {
    ask_over(peer.channel()).await
}

async fn ask_over(channel: tonic::transport::Channel) -> (Code, String) {
    let status = StoreClient::new(channel).query(QueryRequest::default()).await.unwrap_err();
    let mut text = status.to_string();
    let mut source = std::error::Error::source(&status);
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    (status.code(), text)
}

const REACHED: Code = Code::Unimplemented;

fn world() -> (TempDir, Authority) {
    (tempfile::tempdir().unwrap(), Authority::new(1))
}

#[tokio::test]
async fn a_node_of_this_cluster_is_let_in_and_known() {
    let (folder, ours) = world();
    let node = Node::start(ours.vouch(folder.path(), "store-1"), Bounds::default()).await;
    let peer = node.peer(ours.vouch(folder.path(), "gateway-1"), &Expect::Node("store-1".parse().unwrap()));
    assert_eq!(peer.node(), None);
    assert_eq!(ask(&peer).await.0, REACHED);
    assert_eq!(peer.node(), Some("store-1".parse().unwrap()));
}

#[tokio::test]
async fn another_node_than_the_expected_one_is_left_alone() {
    let (folder, ours) = world();
    let node = Node::start(ours.vouch(folder.path(), "store-1"), Bounds::default()).await;
    let peer = node.peer(ours.vouch(folder.path(), "gateway-1"), &Expect::Node("store-2".parse().unwrap()));
    let (code, text) = ask(&peer).await;
    assert_ne!(code, REACHED);
    assert!(text.contains("node store-1 is there, not store-2"), "{text}");
}

#[tokio::test]
async fn a_foreign_cluster_is_refused_by_who_asks() {
    let (folder, ours) = world();
    let foreign = Authority::new(2);
    let node = Node::start(foreign.vouch(folder.path(), "theirs"), Bounds::default()).await;
    let (code, text) = ask(&node.peer(ours.vouch(folder.path(), "ours"), &Expect::Anyone)).await;
    assert_ne!(code, REACHED);
    let expected = format!("node theirs of cluster {}, and this is cluster {}", foreign.cluster, ours.cluster);
    assert!(text.contains(&expected), "{text}");
}

#[tokio::test]
async fn a_foreign_cluster_is_refused_by_who_is_asked() {
    let (folder, ours) = world();
    let foreign = Authority::new(2);
    let node = Node::start(ours.vouch(folder.path(), "ours"), Bounds::default()).await;
    // One that believes us, and shows a certificate of its own cluster.
    let theirs = foreign.vouch(folder.path(), "theirs");
    let credentials = Credentials::load(theirs).unwrap();
    let mut client = (*credentials.client()).clone();
    client.dangerous().set_certificate_verifier(Arc::new(Believing));
    let refused = speak(node.address, client).await;
    assert!(refused, "a foreign certificate was let in");
}

#[tokio::test]
async fn who_shows_no_certificate_or_no_nodes_one_is_refused() {
    let (folder, ours) = world();
    let node = Node::start(ours.vouch(folder.path(), "ours"), Bounds::default()).await;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider);
    let client = client.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
    let mut client = client.dangerous().with_custom_certificate_verifier(Arc::new(Believing)).with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec()];
    assert!(speak(node.address, client).await, "nobody was let in");
    let web = ours.vouch_for(folder.path(), "web", vec!["www.example.org".to_owned()]);
    let error = Credentials::load(web).err().unwrap().to_string();
    assert!(error.contains("is not one of a node") && error.contains("securanet cluster certificate"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_says_ours_and_is_signed_by_another_is_refused() {
    let (folder, ours) = world();
    let forger = Authority { cluster: ours.cluster, ..Authority::new(2) };
    let node = Node::start(forger.vouch(folder.path(), "forged"), Bounds::default()).await;
    let (code, text) = ask(&node.peer(ours.vouch(folder.path(), "ours"), &Expect::Anyone)).await;
    assert_ne!(code, REACHED);
    assert!(text.contains("that this cluster's authority did not sign"), "{text}");
}

#[tokio::test]
async fn certificates_are_read_again_without_a_restart() {
    let (folder, ours) = world();
    let files = ours.vouch(folder.path(), "store-1");
    let node = Node::start(files.clone(), Bounds::default()).await;
    assert!(!node.credentials.reload_if_changed().unwrap());
    // The cluster gets a new authority: at first nodes believe both.
    let new = Authority { cluster: ours.cluster, ..Authority::new(1) };
    fs::write(&files.authority, format!("{}{}", ours.pem, new.pem)).unwrap();
    assert!(node.credentials.reload_if_changed().unwrap());
    let peer = node.peer(new.vouch(folder.path(), "gateway-1"), &Expect::Anyone);
    assert_ne!(ask(&peer).await.0, REACHED, "store-1 shows the old one still");
    new.vouch(folder.path(), "store-1");
    assert!(node.credentials.reload_if_changed().unwrap());
    let peer = node.peer(new.vouch(folder.path(), "gateway-2"), &Expect::Anyone);
    assert_eq!(ask(&peer).await.0, REACHED);
    // Another node's certificate under our name is a mistake of the operator.
    let other = new.vouch(folder.path(), "store-2");
    fs::copy(&other.certificate, &files.certificate).unwrap();
    fs::copy(&other.key, &files.key).unwrap();
    let error = node.credentials.reload_if_changed().unwrap_err().to_string();
    assert!(error.contains("node store-2") && error.contains("node store-1"), "{error}");
    assert_eq!(ask(&node.peer(new.vouch(folder.path(), "gateway-3"), &Expect::Anyone)).await.0, REACHED);
}

#[tokio::test]
async fn one_node_has_so_many_connections_and_no_more() {
    let (folder, ours) = world();
    let bounds = Bounds { connections_per_node_max: 1, ..Bounds::default() };
    let node = Node::start(ours.vouch(folder.path(), "store-1"), bounds).await;
    let files = ours.vouch(folder.path(), "gateway-1");
    let first = node.peer(files.clone(), &Expect::Anyone);
    assert_eq!(ask(&first).await.0, REACHED);
    assert_ne!(ask(&node.peer(files.clone(), &Expect::Anyone)).await.0, REACHED);
    assert_eq!(ask(&node.peer(ours.vouch(folder.path(), "gateway-2"), &Expect::Anyone)).await.0, REACHED);
    drop(first);
    for _ in 0..200 {
        if ask(&node.peer(files.clone(), &Expect::Anyone)).await.0 == REACHED {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a connection that ended is counted still");
}

#[tokio::test]
async fn a_connection_comes_back_and_a_stop_is_clean() {
    let (folder, ours) = world();
    let files = ours.vouch(folder.path(), "store-1");
    let mut node = Node::start(files.clone(), Bounds::default()).await;
    let peer = node.peer(ours.vouch(folder.path(), "gateway-1"), &Expect::Anyone);
    assert_eq!(ask(&peer).await.0, REACHED);
    node.stop.take().unwrap().send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), &mut node.served).await.unwrap().unwrap().unwrap();
    assert_ne!(ask(&peer).await.0, REACHED);
    let listener = TcpListener::bind(node.address).await.unwrap();
    let again = Credentials::load(files).unwrap();
    tokio::spawn(serve(
        listener,
        again,
        Served::to_nodes(Routes::default()),
        Bounds::default(),
        std::future::pending(),
    ));
    for _ in 0..200 {
        if ask(&peer).await.0 == REACHED {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the connection did not come back");
}

#[test]
fn a_key_of_another_certificate_is_named() {
    let (folder, ours) = world();
    let (one, two) = (ours.vouch(folder.path(), "one"), ours.vouch(folder.path(), "two"));
    let error = Credentials::load(LinkFiles { key: two.key, ..one.clone() }).err().unwrap().to_string();
    assert!(error.contains("two.key.pem") && error.contains("the key that belongs to"), "{error}");
    let error = Credentials::load(LinkFiles { authority: folder.path().join("no.pem"), ..one }).err().unwrap();
    assert!(error.to_string().contains("no.pem"), "{error}");
}

/// Believes every server.
#[derive(Debug)]
struct Believing;

impl rustls::client::danger::ServerCertVerifier for Believing {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Whether the node says no to this client: in TLS 1.3 the client hears of it with its first read.
async fn speak(address: SocketAddr, client: rustls::ClientConfig) -> bool {
    use tokio::io::AsyncReadExt;
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("node.securanet.internal").unwrap();
    let Ok(mut stream) = tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, tcp).await else {
        return true;
    };
    let mut octet = [0; 1];
    // Who is let in gets the server's SETTINGS at once.
    stream.read_exact(&mut octet).await.is_err()
}

#[tokio::test]
async fn a_node_that_is_out_is_refused_with_the_reason_in_the_log() {
    let (folder, ours) = world();
    let admits: Admits = Arc::new(|identity| match identity.node.as_str() {
        "out" => Err("node out was removed from the cluster".to_owned()),
        _ => Ok(()),
    });
    let served = Served { admits, ..Served::to_nodes(Routes::default()) };
    let node = Node::serving(ours.vouch(folder.path(), "store-1"), Bounds::default(), served).await;
    assert_eq!(ask(&node.peer(ours.vouch(folder.path(), "in"), &Expect::Anyone)).await.0, REACHED);
    assert_ne!(ask(&node.peer(ours.vouch(folder.path(), "out"), &Expect::Anyone)).await.0, REACHED);
}

#[tokio::test]
async fn a_stranger_reaches_what_strangers_are_served_and_believes_the_tokens_cluster_only() {
    let (folder, ours) = world();
    let served = Served { strangers: Some(Routes::default()), ..Served::to_nodes(Routes::default()) };
    let node = Node::serving(ours.vouch(folder.path(), "store-1"), Bounds::default(), served).await;
    let address = node.address.to_string();
    let channel = stranger(&address, fingerprint(&ours.pem).unwrap()).await.unwrap();
    assert_eq!(ask_over(channel).await.0, REACHED);
    let error = stranger(&address, fingerprint(&Authority::new(1).pem).unwrap()).await.unwrap_err().to_string();
    assert!(error.contains("the token was made by another cluster"), "{error}");
    let closed = Node::start(ours.vouch(folder.path(), "store-2"), Bounds::default()).await;
    let channel = stranger(&closed.address.to_string(), fingerprint(&ours.pem).unwrap()).await;
    let reached = match channel {
        Ok(channel) => ask_over(channel).await.0 == REACHED,
        Err(_) => false,
    };
    assert!(!reached, "where strangers are served nothing");
}
