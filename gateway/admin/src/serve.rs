//! The server: HTTP/1.1 over the socket that the node has bound.
//!
//! Bounds: connections are counted, a connection that does not send a whole request head in time is closed (an
//! idle one too), and draining lets what is under way finish for a while and then cuts it.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use securanet_gateway::connection::Shutdown;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::guard::Peer;

/// Connections at a time: operators, probes and scrapes, and an import that sends several messages at once.
const CONNECTIONS_MAX: usize = 256;
/// A request's head is there within this time; also how long an idle connection is kept.
const HEAD_PATIENCE: Duration = Duration::from_secs(30);
/// What is under way when the node drains has this long to finish.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);
/// Pause after a failed accept: it fails because something ran out, and spinning would not bring it back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until the node drains. `listener` is bound already, so that its port is known.
///
/// # Errors
/// Those of the socket.
pub async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) -> io::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "admin api listens");
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let draining = shutdown.draining();
    tokio::pin!(draining);
    loop {
        let accepted = tokio::select! {
            () = &mut draining => break,
            accepted = accept(&listener, &room) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer, permit)) => {
                let (router, shutdown) = (router.clone(), shutdown.clone());
                connections.spawn(async move {
                    connection(stream, peer, router, &shutdown).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin api cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    let all_done = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN_PATIENCE, all_done).await.is_err() {
        tracing::warn!("admin requests under way are cut off");
    }
    Ok(())
}

/// The next connection, once there is room for one.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, shutdown: &Shutdown) {
    let service = TowerToHyperService::new(router.layer(Extension(Peer(peer))));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
    let serving = server.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.draining() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "an admin connection broke");
    }
}
