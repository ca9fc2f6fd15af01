//! RFC 3207: STARTTLS.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use securanet_gateway::tls::{CertificateFiles, ClientCertificates, TlsSettings};
use tokio::io::BufReader;
use tokio_rustls::TlsConnector;

use crate::server::Server;

/// A server with a certificate of its own, and what a client needs to trust it.
pub(crate) fn secured(mut server: Server) -> (Server, TlsConnector, tempfile::TempDir) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(vec!["mail.example.org".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let files = vec![CertificateFiles { certificate, key, names: Vec::new() }];
    server.tls = Some(TlsSettings::load("test", files, ClientCertificates::Ignored).unwrap());
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    (server, TlsConnector::from(Arc::new(client)), folder)
}

const EHLO: &str = "
    C: EHLO a
    S: 250-mail.example.org
    S: 250-*
    S: 250-*
    S: 250-*
    S: 250-*
    S: 250-*
    S: 250-ENHANCEDSTATUSCODES
    S: 250-DSN
    S: 250 STARTTLS";

#[tokio::test]
async fn rfc_3207_4_2_a_session_begins_anew_under_tls() {
    let (mut server, connector, _folder) = secured(Server::smtp());
    let mut client = server.connect();
    client.hold("S: 220 *").await;
    client.hold(EHLO).await;
    client.hold("C: STARTTLS\nS: 220 2.0.0 go ahead").await;
    let name = ServerName::try_from("mail.example.org").unwrap();
    // The dialogue goes on over a pipe whose other end is the TLS client.
    let (near, mut far) = tokio::io::duplex(64 * 1024);
    let mut tls = connector.connect(name, client.io.into_inner()).await.unwrap();
    let pump = tokio::spawn(async move {
        let _ = tokio::io::copy_bidirectional(&mut tls, &mut far).await;
    });
    client.io = BufReader::new(near);
    let dialogue = "
        C: MAIL FROM:<>
        S: 503 5.5.1 say who you are first
        C: EHLO a
        S: 250-mail.example.org
        S: 250-*
        S: 250-*
        S: 250-*
        S: 250-*
        S: 250-*
        S: 250-ENHANCEDSTATUSCODES
        S: 250 DSN
        C: STARTTLS
        S: 502 5.5.1 *
        C: MAIL FROM:<>
        S: 250 *
        C: RCPT TO:<ann@example.org>
        S: 250 *
        C: DATA
        S: 354 *
        C: secret
        C: .
        S: 250 2.0.0 *
        C: QUIT
        S: 221 *
        S: EOF";
    client.hold(dialogue).await;
    drop(client);
    pump.await.unwrap();
    let script = server.store.script();
    assert!(script.puts[0].trace.contains(" with ESMTPS\r\n\t(TLSv1.3 cipher TLS_"), "{}", script.puts[0].trace);
}

#[tokio::test(start_paused = true)]
async fn rfc_3207_6_plaintext_behind_starttls_is_never_read() {
    let (mut server, _, _folder) = secured(Server::smtp());
    let dialogue = format!(
        "S: 220 *
        {EHLO}
        C: STARTTLS
        C: MAIL FROM:<evil@example.net>
        S: 554 5.5.1 *
        S: EOF"
    );
    server.check(&dialogue).await;
}

#[tokio::test(start_paused = true)]
async fn rfc_3207_4_starttls_has_no_parameters_and_no_place_in_a_transaction() {
    let (mut server, _, _folder) = secured(Server::smtp());
    let dialogue = "
        S: 220 *
        C: STARTTLS now
        S: 501 5.5.4 *
        C: HELO a
        S: 250 *
        C: MAIL FROM:<>
        S: 250 *
        C: STARTTLS
        S: 503 5.5.1 *";
    server.check(dialogue).await;
}
