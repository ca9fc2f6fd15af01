//! The way of one connection from `accept` to its protocol.
//!
//! Everything here happens before a protocol speaks and is bounded in time, so that a peer that sends nothing
//! holds a place only as long as these deadlines.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use ipnet::IpNet;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tracing::Instrument;

use crate::{
    admission::{Admission, Place},
    connection::{Connection, ConnectionId, Protocol, Refusal, Shutdown, Stream},
    listener::ListenerSettings,
    metric,
    proxy::{self, Header, Source},
    tls::TlsSettings,
};

/// A proxy sends its header with its first segment; the specification asks to wait three seconds at least.
const PROXY_HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// A refusal is one segment into an empty buffer; who does not take it in this time does not read.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Silent peers are found by TCP after about ten minutes, in the middle of a 29-minute IDLE too.
const KEEPALIVE: Duration = Duration::from_secs(300);
const KEEPALIVE_PERIOD: Duration = Duration::from_secs(60);

/// What a listener gives each of its connections.
pub(crate) struct Entrance {
    pub(crate) settings: Arc<ListenerSettings>,
    pub(crate) tls: Option<Arc<TlsSettings>>,
    pub(crate) protocol: Arc<dyn Protocol>,
    pub(crate) shutdown: Shutdown,
    pub(crate) admission: Arc<Admission>,
}

/// Why a connection did not reach its protocol.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("{}", .0.name())]
    Refused(Refusal),
    #[error("PROXY header: {0}")]
    ProxyHeader(io::Error),
    #[error("TLS handshake: {0}")]
    Handshake(io::Error),
    #[error("connection broke: {0}")]
    Broken(io::Error),
}

impl Entrance {
    /// Brings a connection to its protocol and serves it to its end.
    pub(crate) async fn enter(self: Arc<Self>, tcp: TcpStream, transport_peer: SocketAddr, place: Place) {
        let id = ConnectionId::next();
        let listener = self.settings.name.as_str();
        let protocol = self.protocol.name();
        let span = tracing::info_span!("connection", %id, protocol, listener, peer = tracing::field::Empty);
        async {
            if let Err(stopped) = self.admit(tcp, transport_peer, id).await {
                tracing::debug!(peer = %transport_peer.ip(), reason = %stopped, "connection stopped at the entrance");
                self.count(&stopped);
            }
        }
        .instrument(span)
        .await;
        drop(place);
    }

    async fn admit(&self, tcp: TcpStream, transport_peer: SocketAddr, id: ConnectionId) -> Result<(), Stopped> {
        prepare(&tcp);
        let here = tcp.local_addr().map_err(Stopped::Broken)?;
        let from_proxy = holds(&self.settings.proxy_networks, transport_peer.ip());
        let (stream, source) = if from_proxy {
            read_header(tcp).await.map_err(Stopped::ProxyHeader)?
        } else {
            (Stream::from_tcp(tcp), Source::Transport)
        };
        let (peer, local) = match source {
            Source::Client { peer, local } => (peer, local),
            Source::Transport => (canonical(transport_peer), canonical(here)),
        };
        tracing::Span::current().record("peer", tracing::field::display(peer.ip()));
        let trusted = holds(&self.settings.trusted_networks, peer.ip());
        let proxy_itself = from_proxy && source == Source::Transport;
        let seat = if trusted || proxy_itself { Ok(None) } else { self.admission.seat(peer.ip()).map(Some) };
        let seat = match seat {
            Ok(seat) => seat,
            Err(why) => return Err(self.turn_away(stream, why).await),
        };
        let stream = self.secure(stream).await?;
        let open = metric::OpenConnection::new(self.protocol.name(), &self.settings.name);
        tracing::debug!(%local, "connection opened");
        let connection = Connection {
            stream,
            peer,
            local,
            id,
            tls: self.tls.clone(),
            shutdown: self.shutdown.clone(),
            trusted,
            listener: self.settings.clone(),
        };
        self.protocol.clone().serve(connection).await;
        tracing::debug!("connection closed");
        drop((open, seat));
        Ok(())
    }

    async fn secure(&self, stream: Stream) -> Result<Stream, Stopped> {
        match &self.tls {
            Some(tls) if self.settings.implicit_tls => stream.start_tls(tls).await.map_err(Stopped::Handshake),
            _ => Ok(stream),
        }
    }

    /// Says why, in one line. Under implicit TLS nothing is said: a handshake would cost us more than it costs
    /// the one who has too many connections already.
    async fn turn_away(&self, mut stream: Stream, why: Refusal) -> Stopped {
        if !self.settings.implicit_tls {
            let line = self.protocol.refusal(why);
            let said = async {
                stream.write_all(line.as_bytes()).await?;
                stream.shutdown().await
            };
            let _ = timeout(REFUSAL_TIMEOUT, said).await;
        }
        Stopped::Refused(why)
    }

    fn count(&self, stopped: &Stopped) {
        let reason = match stopped {
            Stopped::Refused(why) => why.name(),
            Stopped::ProxyHeader(_) => "proxy_header",
            Stopped::Handshake(_) => "tls_handshake",
            Stopped::Broken(_) => "broken",
        };
        metric::connection_refused(self.protocol.name(), &self.settings.name, reason);
    }
}

/// Says why to a connection that has no task of its own yet, without waiting, and closes it.
pub(crate) fn turn_away_at_once(tcp: TcpStream, line: &'static str) {
    use std::io::Write;
    // A line fits into the empty buffer of a fresh socket; if not, closing is all that can be done.
    if let Ok(mut tcp) = tcp.into_std() {
        let _ = tcp.write(line.as_bytes());
    }
}

fn prepare(tcp: &TcpStream) {
    // Answers are gathered by us already; without this the last piece of each would wait for an acknowledgement.
    let _ = tcp.set_nodelay(true);
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_PERIOD);
    let _ = socket2::SockRef::from(tcp).set_tcp_keepalive(&keepalive);
}

async fn read_header(mut tcp: TcpStream) -> io::Result<(Stream, Source)> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no PROXY header in time");
    let (header, mut bytes) = timeout(PROXY_HEADER_TIMEOUT, read_until_header(&mut tcp)).await.map_err(late)??;
    let first = bytes.split_off(header.octets).freeze();
    Ok((Stream::from_proxied_tcp(tcp, first), header.source))
}

async fn read_until_header(io: &mut (impl AsyncRead + Unpin)) -> io::Result<(Header, BytesMut)> {
    let mut bytes = BytesMut::with_capacity(512);
    loop {
        if io.read_buf(&mut bytes).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed within the PROXY header"));
        }
        // The grammar bounds the header, so the buffer is bounded too.
        match proxy::parse(&bytes) {
            Ok(Some(header)) => return Ok((header, bytes)),
            Ok(None) => {}
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}

fn holds(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
