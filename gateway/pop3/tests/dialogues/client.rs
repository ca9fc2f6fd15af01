//! A server over a scripted store, and a client that speaks from a script.

use std::{sync::Arc, time::Duration};

use securanet_gateway::{
    client::StoreClient,
    connection::{Connection, DrainHandle, Protocol, Shutdown},
    login::{Authenticator, LoginSettings},
    tls::TlsSettings,
};
use securanet_pop3::Pop3;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream, duplex},
    time::timeout,
};

use crate::store::ScriptedStore;

/// Longer than any wait that a test passes over on purpose.
const IN_TIME: Duration = Duration::from_secs(3600);

pub(crate) struct Server {
    pop3: Arc<Pop3>,
    pub(crate) drain: DrainHandle,
    shutdown: Shutdown,
    pub(crate) trusted: bool,
    pub(crate) tls: Option<Arc<TlsSettings>>,
}

/// One connection; `T` is what it runs over.
pub(crate) struct Client<T>(pub(crate) BufReader<T>);

impl Server {
    /// On a trusted network, so that most dialogues need no TLS.
    pub(crate) fn new(store: &Arc<ScriptedStore>) -> Self {
        let client = StoreClient::new(store.clone());
        let authenticator = Authenticator::new(client.clone(), LoginSettings::default()).unwrap();
        let (drain, shutdown) = DrainHandle::new();
        Self { pop3: Pop3::new(client, authenticator), drain, shutdown, trusted: true, tls: None }
    }

    pub(crate) fn connect(&self) -> Client<DuplexStream> {
        let (ours, theirs) = duplex(64 * 1024);
        let mut connection = Connection::over(ours, self.shutdown.clone());
        connection.trusted = self.trusted;
        connection.tls = self.tls.clone();
        tokio::spawn(self.pop3.clone().serve(connection));
        Client(BufReader::new(theirs))
    }

    /// A connection that is logged in already.
    pub(crate) async fn log_in(&self) -> Client<DuplexStream> {
        let mut client = self.connect();
        client.talk("S: +OK *\nC: USER ann@example.org\nS: +OK *\nC: PASS sesame\nS: +OK *").await;
        client
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Client<T> {
    /// Plays a dialogue: `C:` is sent, `S:` is expected, with `*` at its end for any rest; `S: (closed)` is the end.
    pub(crate) async fn talk(&mut self, script: &str) {
        for (number, line) in script.lines().map(str::trim_start).enumerate().filter(|(_, line)| !line.is_empty()) {
            let (who, text) = line.split_at(2);
            let text = text.strip_prefix(' ').unwrap_or(text);
            match who {
                "C:" => self.say(text).await,
                "S:" => {
                    let said = self.line().await;
                    let fits = match text.strip_suffix('*') {
                        Some(start) => said.starts_with(start),
                        None if text == "(closed)" => said.is_empty(),
                        None => said.strip_suffix("\r\n") == Some(text),
                    };
                    assert!(fits, "line {}: expected {text:?}, the server said {said:?}", number + 1);
                }
                other => panic!("{other} is nobody"),
            }
        }
    }

    pub(crate) async fn say(&mut self, line: &str) {
        self.send(format!("{line}\r\n").as_bytes()).await;
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// The next line with its ending; empty: closed.
    pub(crate) async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(IN_TIME, self.0.read_line(&mut line)).await.expect("the server says something").unwrap();
        line
    }

    /// A multi-line response behind its first line, unstuffed as a client does it.
    pub(crate) async fn body(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let mut line = Vec::new();
            self.0.read_until(b'\n', &mut line).await.unwrap();
            assert!(!line.is_empty(), "the response ends with a dot");
            if line == b".\r\n" {
                return body;
            }
            body.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
    }

    /// Everything until the end.
    pub(crate) async fn rest(&mut self) -> String {
        let mut rest = String::new();
        timeout(IN_TIME, self.0.read_to_string(&mut rest)).await.expect("the server ends").unwrap();
        rest
    }
}
