//! What came after RFC 1939: CAPA, pipelining, STLS, AUTH, UTF8.

use std::sync::Arc;

use securanet_gateway::tls::{CertificateFiles, ClientCertificates, TlsSettings};
use tokio_rustls::{TlsConnector, rustls};

use crate::{
    client::{Client, Server},
    store::ScriptedStore,
    two_messages,
};

#[tokio::test]
async fn rfc_2449_section_5_capa_tells_what_can_be_done_now() {
    let store = two_messages();
    let server = Server::new(&store);
    let mut client = server.connect();
    client
        .talk(
            "S: +OK *
             C: CAPA
             S: +OK *
             S: TOP
             S: USER
             S: SASL SCRAM-SHA-256 PLAIN LOGIN
             S: RESP-CODES
             S: AUTH-RESP-CODE
             S: PIPELINING
             S: EXPIRE NEVER
             S: UIDL
             S: UTF8 USER
             S: IMPLEMENTATION SecuraNET-Mail
             S: .
             C: CAPA x
             S: -ERR no argument expected",
        )
        .await;
    server.log_in().await.talk("C: CAPA\nS: +OK *\nS: TOP\nS: USER\nS: SASL *").await;
}

#[tokio::test]
async fn rfc_2449_section_6_6_pipelined_commands_are_answered_in_order() {
    let store = two_messages();
    let mut client = Server::new(&store).connect();
    client.send(b"USER ann@example.org\r\nPASS sesame\r\nSTAT\r\nDELE 1\r\nRETR 2\r\nQUIT\r\n").await;
    client
        .talk(
            "S: +OK *
             S: +OK *
             S: +OK 2 messages *
             S: +OK 2 62
             S: +OK marked
             S: +OK 27 octets
             S: Subject: two
             S: 
             S: no line end
             S: .
             S: +OK 1 messages deleted, goodbye
             S: (closed)",
        )
        .await;
    assert_eq!(store.uids(), [8]);
}

#[tokio::test]
async fn rfc_2449_section_4_a_line_that_is_too_long_is_one_error() {
    let server = Server::new(&two_messages());
    let mut client = server.log_in().await;
    client.say(&format!("RETR {}", "1".repeat(300))).await;
    client
        .talk("S: -ERR line too long\nC: NOOP\nS: +OK *\nC: WHAT\nS: -ERR unknown command\nC: APOP a b\nS: -ERR *")
        .await;
}

#[tokio::test]
async fn rfc_2595_section_2_2_nothing_secret_is_taken_in_the_clear() {
    let store = two_messages();
    let mut server = Server::new(&store);
    server.trusted = false;
    let mut client = server.connect();
    client
        .talk(
            "S: +OK *
             C: USER ann@example.org
             S: -ERR begin TLS first
             C: PASS sesame
             S: -ERR begin TLS first
             C: AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZXNhbWU=
             S: -ERR begin TLS first
             C: STLS
             S: -ERR TLS cannot be begun here
             C: CAPA
             S: +OK *
             S: TOP
             S: RESP-CODES",
        )
        .await;
}

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

#[tokio::test]
async fn rfc_2595_section_4_stls_begins_tls_and_forgets_what_was_said_before() {
    let store = two_messages();
    let certificate = certificate();
    let mut server = Server::new(&store);
    (server.trusted, server.tls) = (false, Some(certificate.tls.clone()));
    let mut clear = server.connect();
    clear.talk("S: +OK *\nC: CAPA\nS: +OK *\nS: TOP\nS: STLS").await;
    while clear.line().await != ".\r\n" {}
    clear.talk("C: STLS\nS: +OK begin TLS").await;
    let name = "mail.example.org".try_into().unwrap();
    let stream = certificate.client.connect(name, clear.0.into_inner()).await.unwrap();
    let mut client = Client(tokio::io::BufReader::new(stream));
    client
        .talk(
            "C: STLS
             S: -ERR *
             C: PASS sesame
             S: -ERR USER first
             C: CAPA
             S: +OK *
             S: TOP
             S: USER
             S: SASL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN
             S: RESP-CODES",
        )
        .await;
    while client.line().await != ".\r\n" {}
    client.talk("C: USER ann@example.org\nS: +OK *\nC: PASS sesame\nS: +OK 2 messages *\nC: QUIT\nS: +OK *").await;
}

#[tokio::test]
async fn rfc_2595_commands_behind_stls_are_never_read_as_if_they_came_under_tls() {
    let store = two_messages();
    let certificate = certificate();
    let mut server = Server::new(&store);
    (server.trusted, server.tls) = (false, Some(certificate.tls.clone()));
    let mut client = server.connect();
    client.talk("S: +OK *").await;
    client.send(b"STLS\r\nUSER ann@example.org\r\n").await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn rfc_5034_section_4_auth_plain_with_and_without_initial_response() {
    let server = Server::new(&two_messages());
    server
        .connect()
        .talk(
            "S: +OK *
             C: AUTH PLAIN AGFubkBleGFtcGxlLm9yZwBzZXNhbWU=
             S: +OK 2 messages *
             C: AUTH PLAIN
             S: -ERR logged in already
             C: QUIT
             S: +OK *",
        )
        .await;
    server
        .connect()
        .talk(
            "S: +OK *
             C: auth plain
             S: + 
             C: AGFubkBleGFtcGxlLm9yZwBzZXNhbWU=
             S: +OK 2 messages *
             C: QUIT
             S: +OK *",
        )
        .await;
}

#[tokio::test]
async fn rfc_5034_section_4_exchanges_can_fail_in_each_way_and_be_begun_again() {
    let server = Server::new(&two_messages());
    server
        .connect()
        .talk(
            "S: +OK *
             C: AUTH
             S: +OK *
             S: SCRAM-SHA-256
             S: PLAIN
             S: LOGIN
             S: .
             C: AUTH CRAM-MD5
             S: -ERR no such mechanism
             C: AUTH PLAIN
             S: + 
             C: *
             S: -ERR cancelled
             C: AUTH PLAIN
             S: + 
             C: no base64
             S: -ERR not base64
             C: AUTH PLAIN AGFubkBleGFtcGxlLm9yZwB3cm9uZw==
             S: -ERR [AUTH] wrong user name or password
             C: AUTH SCRAM-SHA-256-PLUS
             S: -ERR *
             C: AUTH LOGIN
             S: + VXNlcm5hbWU6
             C: YW5uQGV4YW1wbGUub3Jn
             S: + UGFzc3dvcmQ6
             C: c2VzYW1l
             S: +OK 2 messages *",
        )
        .await;
}

#[tokio::test]
async fn rfc_6856_section_2_utf8_is_accepted_before_login_and_messages_come_raw_either_way() {
    let raw = "Subject: Gr\u{fc}\u{df}e\r\n\r\n\u{1f4ec}\r\n".as_bytes();
    let store = ScriptedStore::new(&[(1, 1, raw)]);
    let server = Server::new(&store);
    for utf8 in ["C: UTF8\nS: +OK *\n", ""] {
        let mut client = server.connect();
        client.talk(&format!("S: +OK *\n{utf8}C: USER ann@example.org\nS: +OK *\nC: PASS sesame\nS: +OK *")).await;
        client.talk(&format!("C: UTF8\nS: -ERR not in this state\nC: RETR 1\nS: +OK {} octets", raw.len())).await;
        assert_eq!(client.body().await, raw);
        client.talk("C: QUIT\nS: +OK *").await;
    }
}
