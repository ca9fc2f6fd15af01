//! The driver of a session: the one owner of the socket, and the states it goes through.

mod authorization;
mod transaction;
mod update;

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use securanet_gateway::{
    client::StoreClient,
    connection::{Connection, Protocol, Refusal, Shutdown},
    line::{Line, LineStream, StreamError},
    login::{Authenticator, SaslContext},
    store::BoxFuture,
    tls::TlsSettings,
};

use self::authorization::Authorization;
use crate::{
    command::COMMAND_OCTETS_MAX,
    metric,
    reply::{Code, Reply},
};

/// RFC 1939 3: the autologout timer has at least ten minutes.
const AUTOLOGOUT: Duration = Duration::from_secs(600);
/// A client that makes this many errors is no mail program, or is lost.
const ERRORS_MAX: u32 = 20;

/// The POP3 server of a process, shared by its listeners.
pub struct Pop3 {
    client: StoreClient,
    authenticator: Arc<Authenticator>,
}

/// How a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Quit,
    Closed,
    Timeout,
    Drained,
    /// Its account's credentials changed, or it was suspended or deleted.
    Revoked,
    Errors,
    /// The maildrop is not its any more, or a message broke off.
    Lost,
    Tls,
}

/// What comes from the client.
enum Input {
    Line(Bytes),
    TooLong,
    Draining,
}

/// What all states have: the connection and what is known of it.
struct Link {
    stream: LineStream,
    peer: IpAddr,
    trusted: bool,
    tls: Option<Arc<TlsSettings>>,
    shutdown: Shutdown,
    errors: u32,
}

impl Pop3 {
    /// A server over a store, with the process's authenticator.
    #[must_use]
    pub fn new(client: StoreClient, authenticator: Arc<Authenticator>) -> Arc<Self> {
        Arc::new(Self { client, authenticator })
    }

    async fn session(self: Arc<Self>, connection: Connection) -> End {
        let link = Link {
            peer: connection.peer.ip(),
            trusted: connection.trusted,
            tls: connection.tls,
            shutdown: connection.shutdown,
            stream: LineStream::new(connection.stream),
            errors: 0,
        };
        let transaction = match Authorization::new(self, link).run().await {
            Ok(transaction) => transaction,
            Err(end) => return end,
        };
        match transaction.run().await {
            Ok(update) => update.run().await,
            Err(end) => end,
        }
    }
}

impl Protocol for Pop3 {
    fn name(&self) -> &'static str {
        "pop3"
    }

    fn serve(self: Arc<Self>, connection: Connection) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let end = self.session(connection).await;
            tracing::debug!(end = end.name(), "session ended");
            metric::session_ended(end.name());
        })
    }

    fn refusal(&self, why: Refusal) -> &'static str {
        match why {
            Refusal::TooManyConnections => "-ERR [SYS/TEMP] too many connections, try again later\r\n",
            Refusal::TooManyFromAddress => "-ERR [SYS/TEMP] too many connections from your address\r\n",
            Refusal::Draining => "-ERR [SYS/TEMP] shutting down, try again\r\n",
        }
    }
}

impl Link {
    /// The next command line, or that the node goes down while none is there.
    async fn next(&mut self) -> Result<Input, StreamError> {
        tokio::select! {
            biased;
            line = self.stream.line(COMMAND_OCTETS_MAX, AUTOLOGOUT) => Ok(match line? {
                Line::Complete { bytes, .. } => Input::Line(bytes),
                Line::TooLong { .. } => Input::TooLong,
            }),
            () = self.shutdown.draining() => Ok(Input::Draining),
        }
    }

    /// Gathers a reply; it leaves when the next command must be waited for.
    async fn reply(&mut self, reply: &Reply) -> Result<(), End> {
        self.stream.write(reply.as_bytes()).await.map_err(|error| End::of(&error))
    }

    /// Gathers the reply to an error of the client; too many of them end the session.
    async fn error(&mut self, reply: &Reply) -> Result<(), End> {
        self.errors += 1;
        if self.errors >= ERRORS_MAX {
            let _ = self.reply(&Reply::err(None, "too many errors")).await;
            return Err(End::Errors);
        }
        self.reply(reply).await
    }

    fn sasl(&self) -> SaslContext {
        SaslContext::new(self.stream.get_ref(), self.peer, self.trusted)
    }

    /// Says goodbye, as far as the client still listens.
    async fn close(mut self, end: End) -> End {
        match end {
            End::Drained => {
                let _ = self.reply(&Reply::err(Some(Code::SysTemp), "shutting down, try again")).await;
            }
            End::Revoked => {
                let _ = self.reply(&Reply::err(Some(Code::Auth), "the account has changed, log in again")).await;
            }
            // RFC 1939 3: an autologout is silent. In the middle of a message any word would be part of it.
            End::Timeout | End::Closed | End::Lost | End::Tls => return end,
            End::Quit | End::Errors => {}
        }
        self.stream.close().await;
        end
    }
}

impl End {
    const fn of(error: &StreamError) -> Self {
        match error {
            StreamError::ReadTimeout | StreamError::WriteTimeout => Self::Timeout,
            StreamError::EndlessLine => Self::Errors,
            StreamError::Closed { .. } | StreamError::Io(_) => Self::Closed,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Drained => "drained",
            Self::Revoked => "revoked",
            Self::Errors => "errors",
            Self::Lost => "lost",
            Self::Tls => "tls",
        }
    }
}
