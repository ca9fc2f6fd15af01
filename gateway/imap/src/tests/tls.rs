//! RFC 9051 6.2.1 STARTTLS, and SCRAM-SHA-256-PLUS (RFC 7677, RFC 9266) over it.

use std::sync::Arc;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use securanet_gateway::tls::{CertificateFiles, ClientCertificates, TlsSettings};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    Server,
    client::{Client, same},
};

struct Certificate {
    tls: Arc<TlsSettings>,
    client: TlsConnector,
    _folder: tempfile::TempDir,
}

fn certificate() -> Certificate {
    let folder = tempfile::TempDir::new().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["mail.example.org".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("a.crt"), folder.path().join("a.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = TlsSettings::load(
        "test",
        vec![CertificateFiles { certificate, key, names: Vec::new() }],
        ClientCertificates::Ignored,
    )
    .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Certificate { tls, client: TlsConnector::from(Arc::new(config)), _folder: folder }
}

async fn start_tls(server: &Server, certificate: &Certificate) -> Client<TlsStream<tokio::io::DuplexStream>> {
    let mut clear = server.connect(false);
    let greeting = clear.line().await;
    assert!(greeting.contains(" STARTTLS LOGINDISABLED]"), "{greeting}");
    clear.check("STARTTLS", &["OK Begin TLS negotiation now"]).await;
    let stream = certificate.client.connect("mail.example.org".try_into().unwrap(), clear.io).await.unwrap();
    Client::over(stream)
}

#[tokio::test]
async fn rfc_9051_6_2_1_starttls_begins_tls_and_is_not_offered_twice() {
    let certificate = certificate();
    let mut server = Server::new();
    server.tls = Some(certificate.tls.clone());
    let mut client = start_tls(&server, &certificate).await;
    let answer = client.ok("CAPABILITY").await;
    assert!(!answer.contains("STARTTLS") && !answer.contains("LOGINDISABLED"), "{answer}");
    assert!(answer.contains(" AUTH=SCRAM-SHA-256-PLUS AUTH=SCRAM-SHA-256 AUTH=PLAIN"), "{answer}");
    client.check("STARTTLS", &["BAD TLS is on already"]).await;
    client.check("LOGIN ann@example.org sesame", &["OK [CAPABILITY..."]).await;
}

#[tokio::test]
async fn rfc_9051_11_1_plaintext_behind_starttls_is_never_read_as_a_command() {
    let certificate = certificate();
    let mut server = Server::new();
    server.tls = Some(certificate.tls.clone());
    let mut client = server.connect(false);
    client.line().await;
    client.send("x STARTTLS\r\ny LOGIN ann@example.org sesame\r\n").await;
    assert_eq!(client.line().await, "", "the connection is closed");
}

#[tokio::test]
async fn rfc_7677_and_9266_scram_is_bound_to_the_channel() {
    let certificate = certificate();
    let mut server = Server::new();
    server.tls = Some(certificate.tls.clone());
    let mut client = start_tls(&server, &certificate).await;
    let exporter: [u8; 32] =
        client.io.get_ref().1.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).unwrap();

    let bare = "n=ann@example.org,r=rOprNGfwEbeRWgbNEkqO";
    let header = "p=tls-exporter,,";
    client.begin(&format!("AUTHENTICATE SCRAM-SHA-256-PLUS {}", STANDARD.encode(format!("{header}{bare}")))).await;
    let challenge = client.line().await;
    let first = String::from_utf8(STANDARD.decode(challenge.strip_prefix("+ ").unwrap()).unwrap()).unwrap();
    let attribute = |name: &str| first.split(',').find_map(|part| part.strip_prefix(name)).unwrap().to_owned();
    let (nonce, salt) = (attribute("r="), STANDARD.decode(attribute("s=")).unwrap());
    let iterations: u32 = attribute("i=").parse().unwrap();
    assert!(iterations >= 15_000, "{iterations}");

    let mut salted = [0; 32];
    let rounds = iterations.try_into().unwrap();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, b"sesame", &mut salted);
    let mac = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec();
    let binding = STANDARD.encode([header.as_bytes(), &exporter].concat());
    let without_proof = format!("c={binding},r={nonce}");
    let message = format!("{bare},{first},{without_proof}");
    let client_key = mac(&salted, b"Client Key");
    let signature = mac(digest::digest(&digest::SHA256, &client_key).as_ref(), message.as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
    let last = STANDARD.encode(format!("{without_proof},p={}", STANDARD.encode(proof)));
    client.send(format!("{last}\r\n")).await;

    let server_signature = mac(&mac(&salted, b"Server Key"), message.as_bytes());
    let verifier = STANDARD.encode(format!("v={}", STANDARD.encode(server_signature)));
    assert_eq!(client.line().await, format!("+ {verifier}"));
    client.send("\r\n").await;
    same(&client.answer().await, &["OK [CAPABILITY..."], "SCRAM-SHA-256-PLUS");
}
