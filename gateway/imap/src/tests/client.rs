//! A client that reads responses with their literals, and a server to talk to.

use std::{sync::Arc, time::Duration};

use securanet_gateway::{
    client::StoreClient,
    connection::{Connection, DrainHandle, Protocol as _, Shutdown},
    login::{Authenticator, LoginSettings},
    tls::TlsSettings,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream};

use super::store::Memory;
use crate::{Imap, ImapSettings};

/// An IMAP service over a store in memory.
pub(crate) struct Server {
    pub(crate) store: Arc<Memory>,
    pub(crate) drain: DrainHandle,
    pub(crate) tls: Option<Arc<TlsSettings>>,
    shutdown: Shutdown,
    imap: Arc<Imap>,
}

impl Server {
    pub(crate) fn new() -> Self {
        Self::with(ImapSettings::default())
    }

    pub(crate) fn with(settings: ImapSettings) -> Self {
        let store = Memory::new();
        let client = StoreClient::new(store.clone());
        let authenticator = Authenticator::new(client.clone(), LoginSettings::default()).unwrap();
        let (drain, shutdown) = DrainHandle::new();
        Self { store, drain, tls: None, shutdown, imap: Arc::new(Imap::new(client, authenticator, settings)) }
    }

    /// A connection from a network that is trusted or not; the greeting is not read yet.
    pub(crate) fn connect(&self, trusted: bool) -> Client {
        let (ours, theirs) = tokio::io::duplex(16 * 1024);
        let mut connection = Connection::over(theirs, self.shutdown.clone());
        connection.trusted = trusted;
        connection.tls.clone_from(&self.tls);
        tokio::spawn(self.imap.clone().serve(connection));
        Client::over(ours)
    }

    /// A client that has logged in.
    pub(crate) async fn login(&self) -> Client {
        let mut client = self.connect(true);
        client.line().await;
        client.ok("LOGIN ann@example.org sesame").await;
        client
    }

    /// A client that has INBOX open.
    pub(crate) async fn inbox(&self) -> Client {
        let mut client = self.login().await;
        client.ok("SELECT INBOX").await;
        client
    }
}

/// A client's end of a connection.
pub(crate) struct Client<S = DuplexStream> {
    pub(crate) io: S,
    pub(crate) input: Vec<u8>,
    count: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// A client over a connection in its middle.
    pub(crate) fn over(io: S) -> Self {
        Self { io, input: Vec::new(), count: 0 }
    }

    pub(crate) async fn send(&mut self, octets: impl AsRef<[u8]>) {
        self.io.write_all(octets.as_ref()).await.unwrap();
    }

    async fn fill(&mut self) -> bool {
        let read = tokio::time::timeout(Duration::from_secs(3600), self.io.read_buf(&mut self.input));
        read.await.expect("the server answers").is_ok_and(|octets| octets > 0)
    }

    /// One response line with its literals, line ends inside kept, the last one taken off; empty at the end.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = Vec::new();
        loop {
            while !self.input.windows(2).any(|pair| pair == b"\r\n") {
                if !self.fill().await {
                    return String::new();
                }
            }
            let end = self.input.windows(2).position(|pair| pair == b"\r\n").unwrap();
            line.extend(self.input.drain(..end));
            self.input.drain(..2);
            let Some((header, _)) = crate::grammar::framing::literal_header(&line) else {
                return String::from_utf8_lossy(&line).into_owned();
            };
            let octets = usize::try_from(header.octets).unwrap();
            while self.input.len() < octets {
                assert!(self.fill().await, "a literal is cut off");
            }
            line.extend_from_slice(b"\r\n");
            line.extend(self.input.drain(..octets));
        }
    }

    /// Everything up to the tagged response of the last command, that one included, joined by LF.
    pub(crate) async fn answer(&mut self) -> String {
        let tag = format!("a{} ", self.count);
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            let last = line.starts_with(&tag) || line.is_empty();
            lines.push(line);
            if last {
                return lines.join("\n").replace(&tag, "");
            }
        }
    }

    /// Sends a command (its tag is ours) and does not wait.
    pub(crate) async fn begin(&mut self, command: &str) {
        self.count += 1;
        self.send(format!("a{} {command}\r\n", self.count)).await;
    }

    /// Sends a command; answers with all responses, the tagged one last and without its tag.
    pub(crate) async fn ask(&mut self, command: &str) -> String {
        self.begin(command).await;
        self.answer().await
    }

    /// Sends a command that must be done.
    pub(crate) async fn ok(&mut self, command: &str) -> String {
        let answer = self.ask(command).await;
        assert!(answer.lines().last().unwrap().starts_with("OK"), "{command}: {answer}");
        answer
    }

    /// Sends a command and compares the whole answer; `...` in what is expected stands for the rest of a line.
    pub(crate) async fn check(&mut self, command: &str, expect: &[&str]) {
        let answer = self.ask(command).await;
        same(&answer, expect, command);
    }
}

/// Compares lines; a line of `expect` that ends in `...` is a beginning.
pub(crate) fn same(answer: &str, expect: &[&str], what: &str) {
    let answer: Vec<&str> = answer.split('\n').collect();
    let fits = |(line, expect): (&&str, &&str)| match expect.strip_suffix("...") {
        Some(beginning) => line.starts_with(beginning),
        None => line == expect,
    };
    let all = answer.len() == expect.len() && answer.iter().zip(expect).all(fits);
    assert!(all, "{what}\n  answered {answer:#?}\n  expected {expect:#?}");
}
