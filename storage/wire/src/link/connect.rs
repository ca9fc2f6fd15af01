//! The side that asks: one [`Peer`] is one connection, made when it is first needed and again whenever it broke.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};

use super::{Credentials, Identity, LinkError, NodeName, error::explain};

/// A node that does not answer for so long is tried again later: two round trips of the slowest link in use, 120 ms, and
/// a busy machine at its end.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(700);
/// How often a connection is tried, and how long it may be silent.
const PING_INTERVAL: Duration = Duration::from_millis(500);
const PING_INTERVAL_SELDOM: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// What the other side may send ahead, for one stream and for all: a megabyte fills 80 ms of 100 Mbit/s.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 1 << 20;
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Who may be at an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Expect {
    /// Any node of this cluster.
    Anyone,
    /// This node.
    Node(NodeName),
}

/// Which connections are tried while nothing is asked over them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pings {
    /// Those that something always waits on.
    Always,
    /// The others: a break is noticed with the next request.
    WhileBusy,
    /// Those whose traffic has deadlines of its own, while it flows: pings at full speed would cost more than it does.
    Seldom,
}

impl Pings {
    const fn interval(self) -> Duration {
        match self {
            Self::Always | Self::WhileBusy => PING_INTERVAL,
            Self::Seldom => PING_INTERVAL_SELDOM,
        }
    }
}

/// Makes connections as this node.
#[derive(Clone)]
pub struct Link {
    credentials: Arc<Credentials>,
}

/// A connection to another node.
#[derive(Clone)]
pub struct Peer {
    channel: Channel,
    found: Arc<ArcSwapOption<Identity>>,
}

impl Link {
    /// A link with these credentials.
    #[must_use]
    pub const fn new(credentials: Arc<Credentials>) -> Self {
        Self { credentials }
    }

    /// Who this node is.
    #[must_use]
    pub fn identity(&self) -> Arc<Identity> {
        self.credentials.identity()
    }

    /// A connection to whoever is at `host:port`. Nothing is sent yet; each request makes the connection if there is none.
    /// Call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`LinkError::Address`].
    pub fn connect(&self, address: &str, expect: &Expect, pings: Pings) -> Result<Peer, LinkError> {
        let bad = || LinkError::Address(address.to_owned());
        let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(bad());
        }
        // Only what stands in the request's head; whom we speak to, the certificate says.
        let endpoint = Endpoint::from_static("http://node.securanet.internal")
            .http2_keep_alive_interval(pings.interval())
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(pings == Pings::Always)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let found = Arc::new(ArcSwapOption::empty());
        let dialled = (self.credentials.clone(), Arc::<str>::from(address), Arc::new(expect.clone()), found.clone());
        let connector = tower::service_fn(move |_| {
            let (credentials, address, expect, found) = dialled.clone();
            async move {
                let (stream, identity) = dial(&credentials, &address, &expect).await?;
                found.store(Some(Arc::new(identity)));
                Ok::<_, LinkError>(TokioIo::new(stream))
            }
        });
        Ok(Peer { channel: endpoint.connect_with_connector_lazy(connector), found })
    }
}

impl Peer {
    /// What tonic's clients take.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Who was there when the last connection was made.
    #[must_use]
    pub fn node(&self) -> Option<NodeName> {
        self.found.load().as_ref().map(|identity| identity.node.clone())
    }
}

async fn dial(
    credentials: &Credentials,
    address: &str,
    expect: &Expect,
) -> Result<(TlsStream<TcpStream>, Identity), LinkError> {
    let unreachable = |what: String| LinkError::Unreachable { address: address.to_owned(), what };
    let stream = handshake(credentials.client(), address).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let shown = shown.ok_or_else(|| unreachable("it shows no certificate".to_owned()))?;
    let identity = Identity::of_certificate(shown).map_err(|error| unreachable(error.to_string()))?;
    match expect {
        Expect::Node(expected) if identity.node != *expected => {
            Err(LinkError::WrongNode { address: address.to_owned(), found: identity.node, expected: expected.clone() })
        }
        _ => Ok((stream, identity)),
    }
}

/// A connection with TLS, made within [`CONNECT_TIMEOUT`].
pub(crate) async fn handshake(config: Arc<ClientConfig>, address: &str) -> Result<TlsStream<TcpStream>, LinkError> {
    let unreachable = |what: String| LinkError::Unreachable { address: address.to_owned(), what };
    let made = timeout(CONNECT_TIMEOUT, async {
        let tcp = TcpStream::connect(address).await.map_err(|error| unreachable(error.to_string()))?;
        tcp.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
        let name =
            ServerName::try_from("node.securanet.internal").map_err(|error| LinkError::Tls(error.to_string()))?;
        let tls = TlsConnector::from(config).connect(name, tcp).await;
        tls.map_err(|error| unreachable(explain(&error)))
    });
    made.await.map_err(|_| unreachable(format!("no answer within {CONNECT_TIMEOUT:?}")))?
}
