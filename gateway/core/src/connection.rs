//! One connection as a protocol gets it, and what a protocol is to a listener.
//!
//! Everything that must be settled before a protocol speaks is settled here: who the peer really is (PROXY
//! header), TLS where it is implicit, limits. A protocol gets a stream and facts, never a socket.

use std::{
    fmt,
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

pub use crate::stream::{Stream, TlsInfo};
use crate::{listener::ListenerSettings, store::BoxFuture, tls::TlsSettings};

/// A connection, ready for its protocol.
pub struct Connection {
    /// Its bytes; under TLS already where the listener's TLS is implicit.
    pub stream: Stream,
    /// The client's address: the PROXY header's word where one is used. IPv4 is never IPv6-mapped.
    pub peer: SocketAddr,
    /// The address that the client connected to.
    pub local: SocketAddr,
    /// Names the connection in every log line of it.
    pub id: ConnectionId,
    /// For STARTTLS; `None`: this listener has no certificate, do not offer it.
    pub tls: Option<Arc<TlsSettings>>,
    /// Tells that the node is going down.
    pub shutdown: Shutdown,
    /// The listener trusts the peer's network: logging in without TLS is allowed.
    pub trusted: bool,
    /// The listener it came through.
    pub listener: Arc<ListenerSettings>,
}

impl Connection {
    /// A connection over any transport, from 127.0.0.1, untrusted and without TLS, as tests of a protocol need
    /// it; fields can be changed afterwards.
    #[must_use]
    pub fn over(io: impl AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static, shutdown: Shutdown) -> Self {
        let home = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        Self {
            stream: Stream::from_io(io),
            peer: home,
            local: home,
            id: ConnectionId::next(),
            tls: None,
            shutdown,
            trusted: false,
            listener: Arc::new(ListenerSettings::new("test", home)),
        }
    }

    /// Whether a secret may be sent over this connection: TLS is on, or the network is trusted.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.trusted || self.stream.tls().is_some()
    }
}

/// Names a connection across all gateways: a number drawn when the process began, and a count.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    process: u32,
    count: u64,
}

impl ConnectionId {
    /// A fresh id.
    #[must_use]
    pub fn next() -> Self {
        static PROCESS: LazyLock<u32> = LazyLock::new(|| {
            let bytes = uuid::Uuid::new_v4().into_bytes();
            u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        });
        static COUNT: AtomicU64 = AtomicU64::new(1);
        Self { process: *PROCESS, count: COUNT.fetch_add(1, Ordering::Relaxed) }
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}{:06x}", self.process, self.count)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Begins the end: the one who holds it decides when the sessions are told.
#[derive(Debug)]
pub struct DrainHandle(watch::Sender<bool>);

/// A session's view of it.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl DrainHandle {
    /// A handle and what is given to sessions.
    #[must_use]
    pub fn new() -> (Self, Shutdown) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Shutdown(receiver))
    }

    /// Tells everybody; a repeat does nothing.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Whether draining has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when draining begins; never, when its handle is gone without that. Can be cancelled.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut receiver = self.0.clone();
        async move {
            if receiver.wait_for(|draining| *draining).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Why a listener turns a connection away before its protocol speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The listener has all the connections that it may have.
    TooManyConnections,
    /// This address has all the connections that it may have.
    TooManyFromAddress,
    /// The node is going down.
    Draining,
}

impl Refusal {
    /// The label in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooManyConnections => "too_many_connections",
            Self::TooManyFromAddress => "too_many_from_address",
            Self::Draining => "draining",
        }
    }
}

/// A protocol as a listener sees it.
pub trait Protocol: Send + Sync + 'static {
    /// In lower case, for metrics and logs: `smtp`, `imap`, `pop3`.
    fn name(&self) -> &'static str;

    /// Serves one connection to its end. When [`Shutdown::draining`] resolves it says goodbye soon; a session
    /// that does not is cut off at the end of the listener's drain time.
    fn serve(self: Arc<Self>, connection: Connection) -> BoxFuture<'static, ()>;

    /// The one line, with CRLF, that a client gets instead of a greeting.
    fn refusal(&self, why: Refusal) -> &'static str;
}
