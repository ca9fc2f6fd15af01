//! SCRAM-SHA-256-PLUS (RFC 7677) with tls-exporter (RFC 9266) over real TLS: a login is bound to its connection, so
//! whoever stands between two connections cannot pass it on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
    SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{aws_lc_rs::default_provider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    version::{TLS12, TLS13},
};
use securanet_tests::server::{Options, PASSWORD, Server, address};

/// Listeners that trust no network: they offer nothing before STARTTLS.
const FAR: &str = "[[listener]]\nname = \"far-imap\"\nprotocol = \"imap\"\naddress = \"127.0.0.1:0\"\n\n\
                   [[listener]]\nname = \"far-pop3\"\nprotocol = \"pop3\"\naddress = \"127.0.0.1:0\"\n\n\
                   [[listener]]\nname = \"far-submission\"\nprotocol = \"submission\"\naddress = \"127.0.0.1:0\"\n";
const PLUS: &str = "SCRAM-SHA-256-PLUS";
/// Longer than any answer takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// What a client speaks.
#[derive(Clone, Copy)]
enum Speaks {
    Imap,
    Pop3,
    Smtp,
}

/// A client under TLS.
struct Client {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    speaks: Speaks,
}

impl Speaks {
    fn of(listener: &str) -> Self {
        match listener {
            _ if listener.contains("pop3") => Self::Pop3,
            _ if listener.contains("submission") => Self::Smtp,
            _ => Self::Imap,
        }
    }

    const fn start_tls(self) -> &'static str {
        match self {
            Self::Imap => "s STARTTLS\r\n",
            Self::Pop3 => "STLS\r\n",
            Self::Smtp => "STARTTLS\r\n",
        }
    }

    const fn capabilities(self) -> &'static str {
        match self {
            Self::Imap => "c CAPABILITY",
            Self::Pop3 => "CAPA",
            Self::Smtp => "EHLO client.example",
        }
    }

    const fn authenticate(self) -> &'static str {
        match self {
            Self::Imap => "a AUTHENTICATE",
            Self::Pop3 | Self::Smtp => "AUTH",
        }
    }

    /// Before a challenge.
    const fn challenge(self) -> &'static str {
        match self {
            Self::Imap | Self::Pop3 => "+ ",
            Self::Smtp => "334 ",
        }
    }
}

/// How an exchange ended.
struct Outcome {
    /// The protocol's last line.
    line: String,
    /// Whether the server has shown that it knows the password too.
    server_proved: bool,
}

/// Trusts one certificate. It is a CA of its own, which other clients of the tests need and rustls takes from no server.
#[derive(Debug)]
struct Pinned(CertificateDer<'static>);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let known = *certificate == self.0;
        known.then(ServerCertVerified::assertion).ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &default_provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &default_provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

impl Client {
    /// Connects; the greeting is read. Listeners whose name ends with `s` begin with TLS.
    fn connect(server: &Server, listener: &str, tls: &'static SupportedProtocolVersion) -> Self {
        let mut tcp = TcpStream::connect(server.address(listener)).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let speaks = Speaks::of(listener);
        let implicit = listener.ends_with('s');
        if !implicit {
            start_tls(&mut tcp, speaks.start_tls());
        }
        let pem = fs::read(server.certificate()).unwrap();
        let pinned = Arc::new(Pinned(CertificateDer::from_pem_slice(&pem).unwrap()));
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_protocol_versions(&[tls]).unwrap().dangerous();
        let config = config.with_custom_certificate_verifier(pinned).with_no_client_auth();
        let mut session = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
        session.complete_io(&mut tcp).unwrap();
        let mut client = Self { stream: BufReader::new(StreamOwned::new(session, tcp)), speaks };
        if implicit {
            client.line();
        }
        if matches!(speaks, Speaks::Smtp) {
            client.mechanisms();
        }
        client
    }

    /// What both ends of this connection derive from its handshake, and of no other.
    fn exporter(&self) -> [u8; 32] {
        let session = &self.stream.get_ref().conn;
        session.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).unwrap()
    }

    fn send(&mut self, line: &str) {
        let stream = self.stream.get_mut();
        stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        stream.flush().unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The mechanisms that it is offered.
    fn mechanisms(&mut self) -> Vec<String> {
        self.send(self.speaks.capabilities());
        let mut lines = String::new();
        loop {
            let line = self.line();
            if line == "." || line.starts_with("c OK") {
                break;
            }
            lines = lines + &line + " ";
            if line.starts_with("250 ") {
                break;
            }
        }
        lines.split_whitespace().map(|word| word.trim_start_matches("AUTH=").to_owned()).collect()
    }

    /// Logs in with a binding, which is its own connection's exporter unless it lies.
    fn log_in(&mut self, password: &str, binding: &[u8]) -> Outcome {
        let header = "p=tls-exporter,,";
        let bare = format!("n={},r=fyko+d2lbbFgONRv9qkxdawL", address("ann"));
        let initial = STANDARD.encode(format!("{header}{bare}"));
        self.send(&format!("{} {PLUS} {initial}", self.speaks.authenticate()));
        let challenge = self.line();
        let Some(challenge) = challenge.strip_prefix(self.speaks.challenge()) else {
            return Outcome { line: challenge, server_proved: false };
        };
        let first = String::from_utf8(STANDARD.decode(challenge).unwrap()).unwrap();
        let attribute = |name: &str| first.split(',').find_map(|part| part.strip_prefix(name)).unwrap();
        let iterations: u32 = attribute("i=").parse().unwrap();
        assert!(iterations >= 15_000, "{iterations} iterations");
        let salt = STANDARD.decode(attribute("s=")).unwrap();
        let mut salted = [0; 32];
        let rounds = iterations.try_into().unwrap();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut salted);

        let bound = STANDARD.encode([header.as_bytes(), binding].concat());
        let without_proof = format!("c={bound},r={}", attribute("r="));
        let message = format!("{bare},{first},{without_proof}");
        let client_key = mac(&salted, b"Client Key");
        let signature = mac(digest::digest(&digest::SHA256, &client_key).as_ref(), message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
        self.send(&STANDARD.encode(format!("{without_proof},p={}", STANDARD.encode(proof))));

        let verifier = mac(&mac(&salted, b"Server Key"), message.as_bytes());
        let expected = STANDARD.encode(format!("v={}", STANDARD.encode(verifier)));
        let answer = self.line();
        if answer != format!("{}{expected}", self.speaks.challenge()) {
            return Outcome { line: answer, server_proved: false };
        }
        self.send("");
        Outcome { line: self.line(), server_proved: true }
    }
}

/// Reads the greeting, asks for TLS and hears that it may begin; nothing more comes in plaintext.
fn start_tls(tcp: &mut TcpStream, command: &str) {
    tcp.write_all(command.as_bytes()).unwrap();
    let mut reader = BufReader::new(tcp.try_clone().unwrap());
    for _ in 0..2 {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(["* OK", "s OK", "+OK", "220"].iter().any(|fine| line.starts_with(fine)), "{line}");
    }
    assert!(reader.buffer().is_empty());
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

fn start() -> Server {
    Server::start_with(Options { config: FAR.to_owned(), ..Options::default() }, &["ann"]).unwrap()
}

fn is_ok(line: &str) -> bool {
    ["a OK", "+OK", "235", "250"].iter().any(|fine| line.starts_with(fine))
}

#[test]
fn rfc_9266_a_login_bound_to_its_connection_succeeds() {
    let server = start();
    for listener in ["imaps", "far-imap", "pop3s", "far-pop3", "submissions", "far-submission"] {
        let mut client = Client::connect(&server, listener, &TLS13);
        let offered = client.mechanisms();
        assert!(offered.iter().any(|name| name == PLUS), "{listener}: {offered:?}");
        let binding = client.exporter();
        let outcome = client.log_in(PASSWORD, &binding);
        assert!(is_ok(&outcome.line) && outcome.server_proved, "{listener}: {}", outcome.line);
        client.send(if matches!(client.speaks, Speaks::Imap) { "a NOOP" } else { "NOOP" });
        let line = client.line();
        assert!(is_ok(&line), "{listener}: {line}");
    }
}

#[test]
fn rfc_5802_6_a_login_bound_to_another_connection_is_refused() {
    let server = start();
    for listener in ["imaps", "pop3s", "submissions"] {
        let elsewhere = Client::connect(&server, listener, &TLS13).exporter();
        for (password, binding) in [(PASSWORD, &elsewhere[..]), (PASSWORD, &[][..]), ("wrong", &[][..])] {
            let mut client = Client::connect(&server, listener, &TLS13);
            let own = client.exporter();
            let binding = if password == PASSWORD { binding } else { &own[..] };
            let outcome = client.log_in(password, binding);
            assert!(!is_ok(&outcome.line) && !outcome.server_proved, "{listener}: {}", outcome.line);
            // The connection lives on, and so does the account.
            assert!(!client.mechanisms().is_empty(), "{listener}");
        }
        let mut client = Client::connect(&server, listener, &TLS13);
        let binding = client.exporter();
        assert!(is_ok(&client.log_in(PASSWORD, &binding).line), "{listener}");
    }
}

#[test]
fn rfc_9266_3_without_tls_1_3_no_binding_is_offered_or_begun() {
    let server = start();
    for listener in ["imaps", "pop3s", "submissions"] {
        let mut client = Client::connect(&server, listener, &TLS12);
        let offered = client.mechanisms();
        assert!(offered.iter().any(|name| name == "SCRAM-SHA-256"), "{listener}: {offered:?}");
        assert!(!offered.iter().any(|name| name == PLUS), "{listener}: {offered:?}");
        let outcome = client.log_in(PASSWORD, &[0; 32]);
        let refused = ["a NO", "-ERR", "504"].iter().any(|refused| outcome.line.starts_with(refused));
        assert!(refused, "{listener}: {}", outcome.line);
    }
}
