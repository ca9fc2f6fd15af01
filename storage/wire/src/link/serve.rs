//! The side that answers: one listener for all that nodes ask of each other.
//!
//! A connection reaches a service only after its handshake; each request of it carries a [`PeerInfo`] that says who asks.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    service::Routes,
    transport::{Server, server::Connected},
};

use super::{
    Credentials, Identity, LinkError, NodeName,
    connect::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES},
    error::explain,
};

/// Nodes are near and have much to say: one that does not finish its handshake in this time is no node.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The side that asks notices a break first; this is for one that vanished.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls given up before they were begun; each is some hundred octets until then.
const RESET_STREAMS_MAX: usize = 4096;
/// After accept has failed, which is for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Requests under way get so long to end once the process is told to stop; their callers ask again elsewhere.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// What peers together may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Handshakes at a time; more wait in the kernel's queue.
    pub handshakes_max: usize,
    /// Connections of all nodes.
    pub connections_max: usize,
    /// Connections of one node.
    pub connections_per_node_max: usize,
    /// Requests under way on one connection; more wait with the one who asks.
    pub streams_per_connection_max: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            handshakes_max: 64,
            connections_max: 4096,
            connections_per_node_max: 64,
            streams_per_connection_max: 4096,
        }
    }
}

/// Who asks: an extension of each request.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Which node.
    pub identity: Arc<Identity>,
    /// From where.
    pub address: SocketAddr,
}

/// Serves until `stop` ends; then requests under way are finished.
///
/// # Errors
/// [`LinkError::Serve`].
pub async fn serve(
    listener: TcpListener,
    credentials: Arc<Credentials>,
    routes: Routes,
    bounds: Bounds,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), LinkError> {
    // One is handed over at a time; more than a few never wait, since nothing is awaited there.
    let (ready, connections) = mpsc::channel::<io::Result<Connection>>(16);
    let door = Door {
        credentials,
        ready,
        all: Arc::new(Semaphore::new(bounds.connections_max)),
        by_node: Arc::default(),
        per_node_max: bounds.connections_per_node_max,
    };
    let server = Server::builder()
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .max_concurrent_streams(bounds.streams_per_connection_max)
        // Peers give many calls up at a time when their deadlines pass together; they are no strangers.
        .http2_max_pending_accept_reset_streams(Some(RESET_STREAMS_MAX))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .add_routes(routes)
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), stop);
    tokio::pin!(server);
    let done = tokio::select! {
        done = &mut server => Some(done),
        // It ends when the server takes no more connections.
        () = accept(listener, door, bounds.handshakes_max) => timeout(STOP_PATIENCE, server).await.ok(),
    };
    done.unwrap_or(Ok(())).map_err(|error| LinkError::Serve(error.to_string()))
}

/// What one connection has to pass.
#[derive(Clone)]
struct Door {
    credentials: Arc<Credentials>,
    ready: mpsc::Sender<io::Result<Connection>>,
    all: Arc<Semaphore>,
    by_node: Arc<ByNode>,
    per_node_max: usize,
}

/// Connections of each node.
type ByNode = Mutex<HashMap<NodeName, usize>>;

async fn accept(listener: TcpListener, door: Door, handshakes_max: usize) {
    let mut handshakes = JoinSet::new();
    loop {
        while handshakes.len() >= handshakes_max {
            handshakes.join_next().await;
        }
        let accepted = tokio::select! {
            () = door.ready.closed() => return,
            Some(_) = handshakes.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                handshakes.spawn(door.clone().let_in(stream, address));
            }
            Err(error) => {
                tracing::warn!(%error, "a node's connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Door {
    async fn let_in(self, stream: TcpStream, address: SocketAddr) {
        match timeout(HANDSHAKE_TIMEOUT, self.greet(stream, address)).await {
            // It is only gone when the server stops.
            Ok(Ok(connection)) => drop(self.ready.send(Ok(connection)).await),
            Ok(Err(why)) => tracing::warn!(peer = %address, why, "a peer was refused"),
            Err(_) => tracing::warn!(peer = %address, why = "no handshake in time", "a peer was refused"),
        }
    }

    async fn greet(&self, stream: TcpStream, address: SocketAddr) -> Result<Connection, String> {
        let permit = self.all.clone().try_acquire_owned().map_err(|_| "too many connections of nodes".to_owned())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let stream = TlsAcceptor::from(self.credentials.server()).accept(stream).await;
        let stream = stream.map_err(|error| explain(&error))?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let identity = shown.ok_or_else(|| "it shows no certificate".to_owned())?;
        let identity = Arc::new(Identity::of_certificate(identity).map_err(|error| error.to_string())?);
        let counted = Counted::new(&self.by_node, &identity.node, self.per_node_max)
            .ok_or_else(|| format!("node {} has too many connections already", identity.node))?;
        let info = PeerInfo { identity, address };
        Ok(Connection { stream, info, _all: permit, _counted: counted })
    }
}

/// One connection of a node, counted for as long as it is there.
struct Counted(Arc<ByNode>, NodeName);

impl Counted {
    fn new(by_node: &Arc<ByNode>, node: &NodeName, max: usize) -> Option<Self> {
        let mut counts = by_node.lock();
        let count = counts.entry(node.clone()).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Self(by_node.clone(), node.clone()))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.0.lock();
        if let Some(count) = counts.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.1);
            }
        }
    }
}

/// A connection whose peer is known.
struct Connection {
    stream: TlsStream<TcpStream>,
    info: PeerInfo,
    _all: OwnedSemaphorePermit,
    _counted: Counted,
}

impl Connected for Connection {
    type ConnectInfo = PeerInfo;

    fn connect_info(&self) -> PeerInfo {
        self.info.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
