//! The transport seam: gRPC over the connections that turmoil simulates.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::Mutex,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, stream};
use hyper_util::rt::TokioIo;
use securanet_raft::{Groups, PeerClass, Peers};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::{Channel, Endpoint, Server, Uri, server::Connected};
use turmoil::net::{TcpListener, TcpStream};

use crate::world::name;

const PORT: u16 = 7000;
/// A connection over which nothing comes back for this and the next time is given up.
const PING: Duration = Duration::from_millis(300);
const PING_PATIENCE: Duration = Duration::from_millis(600);

/// Sites that nodes stand in, in turn: three nodes are each alone, further ones are near one of them.
const SITES: usize = 3;

/// Reaches all nodes by their names.
pub(crate) struct Wires {
    near: Vec<String>,
    channels: Mutex<HashMap<(String, PeerClass), Channel>>,
}

impl Wires {
    /// Of this one of so many nodes.
    pub(crate) fn of(node: usize, nodes: usize) -> Self {
        let near = (0..nodes).filter(|other| other % SITES == node % SITES).map(name).collect();
        Self { near, channels: Mutex::default() }
    }
}

impl Peers for Wires {
    fn channel(&self, node: &str, class: PeerClass) -> Option<Channel> {
        let new = || {
            let endpoint = Endpoint::from_shared(format!("http://{node}:{PORT}")).unwrap();
            let endpoint = endpoint.connect_timeout(Duration::from_millis(400)).http2_keep_alive_interval(PING);
            let endpoint = endpoint.keep_alive_timeout(PING_PATIENCE).keep_alive_while_idle(true);
            endpoint.connect_with_connector_lazy(tower::service_fn(|uri: Uri| async move {
                let stream = TcpStream::connect((uri.host().unwrap_or_default(), PORT)).await?;
                Ok::<_, io::Error>(TokioIo::new(stream))
            }))
        };
        let mut channels = self.channels.lock().unwrap();
        Some(channels.entry((node.to_owned(), class)).or_insert_with(new).clone())
    }

    fn is_near(&self, node: &str) -> Option<bool> {
        Some(self.near.iter().any(|near| near == node))
    }
}

/// Answers other nodes, as long as the node lives.
pub(crate) async fn serve(groups: &Groups) -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    let server = Server::builder().http2_keepalive_interval(Some(PING)).http2_keepalive_timeout(Some(PING_PATIENCE));
    let mut server = server;
    let router = server.add_service(groups.replication().into_server());
    Ok(router.serve_with_incoming(Box::pin(incoming(listener))).await?)
}

fn incoming(listener: TcpListener) -> impl Stream<Item = io::Result<Wire>> {
    stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| Wire(stream));
        Some((accepted, listener))
    })
}

struct Wire(TcpStream);

impl Connected for Wire {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
