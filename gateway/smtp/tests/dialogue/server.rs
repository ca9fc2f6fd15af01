//! A server under test, and the dialogue that is held with it.

use std::{sync::Arc, time::Duration};

use ipnet::IpNet;
use securanet_gateway::{
    client::StoreClient,
    connection::{Connection, DrainHandle, Protocol, Shutdown},
    listener::{BareNewline, ListenerSettings},
    login::{Authenticator, LoginSettings},
    model::DomainName,
    tls::TlsSettings,
};
use securanet_smtp::{Service, Smtp, SmtpSettings};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream},
    task::JoinHandle,
    time::timeout,
};

use crate::store::Scripted;

/// Longer than any timeout of the server.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

pub(crate) struct Server {
    pub(crate) store: Scripted,
    pub(crate) settings: SmtpSettings,
    pub(crate) bare_newline: BareNewline,
    pub(crate) bare_newline_networks: Vec<(IpNet, BareNewline)>,
    pub(crate) tls: Option<Arc<TlsSettings>>,
    pub(crate) drain: DrainHandle,
    /// Logging in is allowed without TLS.
    pub(crate) trusted: bool,
    shutdown: Shutdown,
    smtp: Option<Arc<Smtp>>,
}

/// A session in progress, as its client sees it.
pub(crate) struct Client {
    pub(crate) io: BufReader<DuplexStream>,
    session: JoinHandle<()>,
}

impl Server {
    pub(crate) fn smtp() -> Self {
        Self::with(SmtpSettings::new(DomainName::parse("mail.example.org").unwrap()))
    }

    pub(crate) fn lmtp() -> Self {
        Self::with(SmtpSettings::lmtp(DomainName::parse("mail.example.org").unwrap()))
    }

    /// Submission on a trusted network.
    pub(crate) fn submission() -> Self {
        let settings = SmtpSettings::submission(DomainName::parse("mail.example.org").unwrap());
        Self { trusted: true, ..Self::with(settings) }
    }

    fn with(settings: SmtpSettings) -> Self {
        let (drain, shutdown) = DrainHandle::new();
        let (store, bare_newline) = (Scripted::new(), BareNewline::Normalise);
        let bare_newline_networks = Vec::new();
        Self {
            store,
            settings,
            bare_newline,
            bare_newline_networks,
            tls: None,
            drain,
            trusted: false,
            shutdown,
            smtp: None,
        }
    }

    /// Opens a connection; the settings count from the first one on.
    pub(crate) fn connect(&mut self) -> Client {
        let client = StoreClient::new(Arc::new(self.store.clone()));
        let settings = self.settings.clone();
        let smtp = self.smtp.get_or_insert_with(|| {
            Arc::new(if settings.service == Service::Submission {
                let authenticator = Authenticator::new(client.clone(), LoginSettings::default()).unwrap();
                Smtp::submission(client, authenticator, settings)
            } else {
                Smtp::new(client, settings)
            })
        });
        let (near, far) = tokio::io::duplex(256 * 1024);
        let mut connection = Connection::over(far, self.shutdown.clone());
        connection.peer = "192.0.2.7:2525".parse().unwrap();
        connection.tls = self.tls.clone();
        connection.trusted = self.trusted;
        connection.listener = Arc::new(ListenerSettings {
            bare_newline: self.bare_newline,
            bare_newline_networks: self.bare_newline_networks.clone(),
            ..ListenerSettings::new("test", connection.local)
        });
        let session = tokio::spawn(Arc::clone(smtp).serve(connection));
        Client { io: BufReader::new(near), session }
    }

    /// How often the directory and shards were asked.
    pub(crate) fn asked(&self) -> (usize, usize) {
        let script = self.store.script();
        (script.directory_asked, script.quota_asked)
    }

    /// Holds a dialogue on a connection of its own, to its end: nothing else is said after it.
    pub(crate) async fn check(&mut self, dialogue: &str) {
        let mut client = self.connect();
        client.hold(dialogue).await;
        client.bye().await;
    }
}

impl Client {
    /// Holds a dialogue.
    pub(crate) async fn hold(&mut self, dialogue: &str) {
        let mut batch = Vec::new();
        for line in dialogue.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
            if let Some(sent) = line.strip_prefix("C:") {
                batch.extend_from_slice(sent.strip_prefix(' ').unwrap_or(sent).as_bytes());
                batch.extend_from_slice(b"\r\n");
                continue;
            }
            let expect = line.strip_prefix("S: ").unwrap_or_else(|| panic!("neither C: nor S:: {line:?}"));
            self.send(&std::mem::take(&mut batch)).await;
            self.expect(expect, dialogue).await;
        }
        self.send(&batch).await;
    }

    /// Sends octets as they are.
    pub(crate) async fn send(&mut self, octets: &[u8]) {
        if !octets.is_empty() {
            // The server may have closed already: what it said is looked at next.
            let _ = self.io.write_all(octets).await;
        }
    }

    /// One line of the server, without CRLF; `EOF` at the end.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = Vec::new();
        timeout(PATIENCE, self.io.read_until(b'\n', &mut line)).await.expect("the server answers").unwrap();
        if line.is_empty() {
            return "EOF".to_owned();
        }
        let text = line.strip_suffix(b"\r\n").expect("replies end with CRLF");
        String::from_utf8(text.to_vec()).unwrap()
    }

    pub(crate) async fn expect(&mut self, expect: &str, dialogue: &str) {
        let line = self.line().await;
        let fits = expect.strip_suffix('*').map_or(line == expect, |start| line.starts_with(start));
        assert!(fits, "expected {expect:?}, got {line:?} in\n{dialogue}");
    }

    /// Ends our side: the server has nothing more to say and ends its session.
    pub(crate) async fn bye(self) {
        let rest = self.rest().await;
        assert_eq!(rest, "");
    }

    /// Ends our side, and gives all that the server still says.
    pub(crate) async fn rest(mut self) -> String {
        let _ = self.io.shutdown().await;
        let mut rest = String::new();
        timeout(PATIENCE, self.io.read_to_string(&mut rest)).await.expect("the server closes").unwrap();
        timeout(PATIENCE, self.session).await.expect("the session ends").unwrap();
        rest
    }
}
