//! A server that keeps to a script, whatever the script is.
//!
//! A line of a script is one of
//! - `S: text`: says the line; `R: text`: says the octets (`\r`, `\n` written so) and nothing more
//! - `C: text`: hears exactly this line; `C~ text`: one that begins so
//! - `CONTENT`: hears lines up to the lone dot; `CHUNK`: hears `BDAT n` and so many octets
//! - `TLS`: does a handshake; `HANG`: waits until the client goes; `CLOSE`: closes
//! - `SCRAM password`: does SCRAM-SHA-256 from the AUTH command on
//!
//! At its end it hears what the client still says, until that goes.

use std::{net::SocketAddr, sync::Arc};

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::{Engine, prelude::BASE64_STANDARD};
use parking_lot::Mutex;
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A certificate for `mx.test`, and the authority that gave it.
pub(super) struct Identity {
    pub(super) authority: rcgen::Certificate,
    pub(super) certificate: rcgen::Certificate,
    acceptor: TlsAcceptor,
}

impl Identity {
    pub(super) fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    /// One that is different in something.
    pub(super) fn with(name: &str, change: impl FnOnce(&mut rcgen::CertificateParams)) -> Self {
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = parameters.self_signed(&authority_key).unwrap();
        let issuer = rcgen::Issuer::new(parameters, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut parameters);
        let certificate = parameters.signed_by(&key, &issuer).unwrap();
        let chain = vec![certificate.der().clone(), authority.der().clone()];
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        Self { authority, certificate, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }
}

/// The server; one script for each connection, in order.
pub(super) struct Rude {
    pub(super) address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl Rude {
    pub(super) async fn start(scripts: &[&str]) -> Self {
        Self::with_identity(scripts, Arc::new(Identity::new("mx.test"))).await
    }

    pub(super) async fn with_identity(scripts: &[&str], identity: Arc<Identity>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let scripts: Vec<String> = scripts.iter().map(|script| (*script).to_owned()).collect();
        let log = heard.clone();
        let server = tokio::spawn(async move {
            for script in scripts {
                let (tcp, _) = listener.accept().await.unwrap();
                let stream: Box<dyn Io> = Box::new(tcp);
                let mut play = Play { stream: BufReader::new(stream), heard: log.clone() };
                for line in script.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
                    match line {
                        "TLS" => {
                            let secured = identity.acceptor.accept(play.stream.into_inner()).await;
                            let Ok(secured) = secured else { return };
                            let stream: Box<dyn Io> = Box::new(secured);
                            play.stream = BufReader::new(stream);
                        }
                        "CLOSE" => break,
                        line => play.line(line).await,
                    }
                }
                if !script.contains("CLOSE") {
                    play.drain().await;
                }
            }
        });
        Self { address, heard, server }
    }

    /// All that the client said.
    pub(super) fn heard(&self) -> Vec<String> {
        self.heard.lock().clone()
    }

    /// Waits until all scripts are played; fails when the client did not keep to them.
    pub(super) async fn done(self) -> Vec<String> {
        tokio::time::timeout(std::time::Duration::from_secs(10), self.server).await.expect("scripts end").unwrap();
        self.heard.lock().clone()
    }
}

struct Play {
    stream: BufReader<Box<dyn Io>>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Play {
    async fn line(&mut self, line: &str) {
        if let Some(text) = line.strip_prefix("S: ") {
            self.say(&format!("{text}\r\n")).await;
        } else if let Some(text) = line.strip_prefix("R: ") {
            self.say(&text.replace("\\r", "\r").replace("\\n", "\n")).await;
        } else if let Some(expected) = line.strip_prefix("C: ") {
            let heard = self.hear().await;
            assert_eq!(heard.as_deref(), Some(expected));
        } else if let Some(expected) = line.strip_prefix("C~ ") {
            let heard = self.hear().await.unwrap_or_default();
            assert!(heard.starts_with(expected), "{heard:?} does not begin with {expected:?}");
        } else if let Some(password) = line.strip_prefix("SCRAM ") {
            self.scram(password).await;
        } else if line == "CONTENT" {
            while self.hear().await.is_some_and(|line| line != ".") {}
        } else if line == "CHUNK" {
            self.chunk().await;
        } else {
            assert_eq!(line, "HANG", "a script of known lines");
            self.drain().await;
        }
    }

    async fn say(&mut self, text: &str) {
        // The client may be gone: that it was is for the test to see.
        let _ = self.stream.get_mut().write_all(text.as_bytes()).await;
        let _ = self.stream.get_mut().flush().await;
    }

    async fn hear(&mut self) -> Option<String> {
        let mut line = Vec::new();
        if self.stream.read_until(b'\n', &mut line).await.ok()? == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&line);
        // What a client that believes in TLS says has no lines.
        let line = line.strip_suffix("\r\n").unwrap_or(&line).to_owned();
        self.heard.lock().push(line.clone());
        Some(line)
    }

    async fn chunk(&mut self) {
        let command = self.hear().await.unwrap();
        let octets: usize = command.split(' ').nth(1).unwrap().parse().unwrap();
        let mut content = vec![0; octets];
        self.stream.read_exact(&mut content).await.unwrap();
        self.heard.lock().push(String::from_utf8(content).unwrap());
    }

    async fn drain(&mut self) {
        while self.hear().await.is_some() {}
    }

    /// RFC 5802 as a server that knows one password.
    async fn scram(&mut self, password: &str) {
        let command = self.hear().await.unwrap();
        let first = BASE64_STANDARD.decode(command.strip_prefix("AUTH SCRAM-SHA-256 ").unwrap()).unwrap();
        let bare = String::from_utf8(first).unwrap().strip_prefix("n,,").unwrap().to_owned();
        let nonce = bare.split(",r=").nth(1).unwrap();
        let server_first = format!("r={nonce}theirs,s={},i=4096", BASE64_STANDARD.encode(b"salt"));
        self.say(&format!("334 {}\r\n", BASE64_STANDARD.encode(&server_first))).await;
        let last = String::from_utf8(BASE64_STANDARD.decode(self.hear().await.unwrap()).unwrap()).unwrap();
        let without_proof = last.split(",p=").next().unwrap();
        let mut salted = [0; 32];
        let iterations = 4096.try_into().unwrap();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, b"salt", password.as_bytes(), &mut salted);
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
        let signed = format!("{bare},{server_first},{without_proof}");
        let client_key = sign(&salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        let signature = sign(stored_key.as_ref(), signed.as_bytes());
        let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let verifier = sign(sign(&salted, b"Server Key").as_ref(), signed.as_bytes());
        // One that does not know the password cannot check the proof; it goes on all the same.
        if password != "guessed" {
            assert_eq!(last.split(",p=").nth(1).unwrap(), BASE64_STANDARD.encode(proof));
        }
        let verifier = format!("v={}", BASE64_STANDARD.encode(verifier.as_ref()));
        self.say(&format!("334 {}\r\n", BASE64_STANDARD.encode(verifier))).await;
        if self.hear().await.is_some() {
            self.say("235 2.7.0 ok\r\n").await;
        }
    }
}
