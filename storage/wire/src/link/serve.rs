//! The side that answers: one listener for all that nodes ask of each other.
//!
//! A connection reaches a service only after its handshake; each request of a node carries a [`PeerInfo`] that says who
//! asks. Nodes and strangers are served by two servers that share nothing but the listener.

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
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
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
/// Connections and requests of who has no certificate yet: an operator makes one join at a time.
const STRANGERS_MAX: usize = 16;
const STRANGER_STREAMS_MAX: u32 = 4;
const STRANGER_PATIENCE: Duration = Duration::from_secs(45);
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

/// Whether a node is let in although its certificate is good; the reason when not.
pub type Admits = Arc<dyn Fn(&Identity) -> Result<(), String> + Send + Sync>;

/// What a listener serves, and to whom.
pub struct Served {
    /// To nodes of the cluster.
    pub nodes: Routes,
    /// To who shows no certificate; `None`: nothing.
    pub strangers: Option<Routes>,
    /// Which nodes those are.
    pub admits: Admits,
}

impl Served {
    /// For all nodes of the cluster, and for them only.
    #[must_use]
    pub fn to_nodes(nodes: Routes) -> Self {
        Self { nodes, strangers: None, admits: Arc::new(|_| Ok(())) }
    }
}

/// Who asks: an extension of each request of a node.
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
    served: Served,
    bounds: Bounds,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), LinkError> {
    // One is handed over at a time; more than a few never wait, since nothing is awaited there.
    let (nodes, node_connections) = mpsc::channel::<io::Result<Connection<PeerInfo>>>(16);
    let (strangers, stranger_connections) = mpsc::channel::<io::Result<Connection<()>>>(16);
    let door = Door {
        credentials,
        nodes,
        strangers: served.strangers.as_ref().map(|_| strangers),
        admits: served.admits,
        all: Arc::new(Semaphore::new(bounds.connections_max)),
        all_strangers: Arc::new(Semaphore::new(STRANGERS_MAX)),
        by_node: Arc::default(),
        per_node_max: bounds.connections_per_node_max,
    };
    let (stopping, stopped) = watch::channel(false);
    let until = |mut stopped: watch::Receiver<bool>| async move { drop(stopped.wait_for(|stopped| *stopped).await) };
    let server = server(bounds.streams_per_connection_max)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .add_routes(served.nodes)
        .serve_with_incoming_shutdown(ReceiverStream::new(node_connections), until(stopped.clone()));
    let for_strangers = server_for_strangers()
        .add_routes(served.strangers.unwrap_or_default())
        .serve_with_incoming_shutdown(ReceiverStream::new(stranger_connections), until(stopped));
    let both = async { tokio::try_join!(server, for_strangers).map(drop) };
    tokio::pin!(both);
    let stop = async {
        stop.await;
        stopping.send_replace(true);
        // What comes from here on ends the servers, or the patience below.
        std::future::pending::<()>().await;
    };
    let done = tokio::select! {
        done = &mut both => Some(done),
        () = stop => None,
        // It ends when the server takes no more connections.
        () = accept(listener, door, bounds.handshakes_max) => timeout(STOP_PATIENCE, both).await.ok(),
    };
    done.unwrap_or(Ok(())).map_err(|error| LinkError::Serve(error.to_string()))
}

fn server(streams_max: u32) -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .max_concurrent_streams(streams_max)
        // Peers give many calls up at a time when their deadlines pass together; they are no strangers.
        .http2_max_pending_accept_reset_streams(Some(RESET_STREAMS_MAX))
}

fn server_for_strangers() -> Server {
    server(STRANGER_STREAMS_MAX).max_connection_age(STRANGER_PATIENCE).timeout(STRANGER_PATIENCE)
}

/// What one connection has to pass.
#[derive(Clone)]
struct Door {
    credentials: Arc<Credentials>,
    nodes: mpsc::Sender<io::Result<Connection<PeerInfo>>>,
    strangers: Option<mpsc::Sender<io::Result<Connection<()>>>>,
    admits: Admits,
    all: Arc<Semaphore>,
    all_strangers: Arc<Semaphore>,
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
            () = door.nodes.closed() => return,
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
            Ok(Ok(())) => {}
            Ok(Err(why)) => tracing::warn!(peer = %address, why, "a peer was refused"),
            Err(_) => tracing::warn!(peer = %address, why = "no handshake in time", "a peer was refused"),
        }
    }

    async fn greet(&self, stream: TcpStream, address: SocketAddr) -> Result<(), String> {
        let room = self.all.clone().try_acquire_owned().map_err(|_| "too many connections of nodes".to_owned())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let stream = TlsAcceptor::from(self.credentials.server()).accept(stream).await;
        let stream = stream.map_err(|error| explain(&error))?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let Some(shown) = shown else { return self.greet_stranger(stream).await };
        let identity = Arc::new(Identity::of_certificate(shown).map_err(|error| error.to_string())?);
        (self.admits)(&identity)?;
        let counted = Counted::new(&self.by_node, &identity.node, self.per_node_max)
            .ok_or_else(|| format!("node {} has too many connections already", identity.node))?;
        let info = PeerInfo { identity, address };
        // It is only gone when the server stops.
        drop(self.nodes.send(Ok(Connection { stream, info, _room: room, _counted: Some(counted) })).await);
        Ok(())
    }

    async fn greet_stranger(&self, stream: TlsStream<TcpStream>) -> Result<(), String> {
        let strangers = self.strangers.as_ref().ok_or_else(|| "it shows no certificate".to_owned())?;
        let room = self.all_strangers.clone().try_acquire_owned();
        let room = room.map_err(|_| "too many connections of nodes that want to come in".to_owned())?;
        drop(strangers.send(Ok(Connection { stream, info: (), _room: room, _counted: None })).await);
        Ok(())
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

/// A connection, and what is known of its peer.
struct Connection<I> {
    stream: TlsStream<TcpStream>,
    info: I,
    _room: OwnedSemaphorePermit,
    _counted: Option<Counted>,
}

impl<I: Clone + Send + Sync + 'static> Connected for Connection<I> {
    type ConnectInfo = I;

    fn connect_info(&self) -> I {
        self.info.clone()
    }
}

impl<I: Unpin> AsyncRead for Connection<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<I: Unpin> AsyncWrite for Connection<I> {
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
