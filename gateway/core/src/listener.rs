//! A listening address and what is settled there before a protocol speaks.
//!
//! Order of a connection: accepted, counted by listener and by the address of the TCP peer (a proxy's address
//! is exempt), PROXY header read if the peer is a configured proxy, counted by the client's address, TLS if it
//! is implicit, handed to the protocol. Each step has a deadline, each of these tasks belongs to the listener,
//! which joins them when it drains.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures::FutureExt;
use ipnet::IpNet;
use socket2::{Domain, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinError, JoinSet},
};

use crate::{
    admission::Admission,
    connection::{Protocol, Refusal, Shutdown},
    entrance::{self, Entrance},
    error::SetupError,
    metric,
    tls::TlsSettings,
};

/// Connections that the system keeps for us until they are accepted.
const BACKLOG: i32 = 1024;
/// After `accept` failed (usually: no file descriptors left) we wait this long, since it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a bare LF in message data means (SMTP).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum BareNewline {
    /// It becomes CRLF; a lone dot that results is content.
    #[default]
    Normalise,
    /// 550 5.6.11 and close.
    Reject,
}

/// A listener, as configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerSettings {
    /// Its name in logs, metrics and errors.
    pub name: String,
    /// Where it listens; port 0 lets the system choose.
    pub address: SocketAddr,
    /// TLS from the first byte (RFC 8314), instead of STARTTLS.
    pub implicit_tls: bool,
    /// Peers in these networks are proxies: each of their connections must begin with a PROXY header. From
    /// anybody else such a header is what it would be without us: a protocol error.
    pub proxy_networks: Vec<IpNet>,
    /// Clients in these networks may log in without TLS (old devices); empty by default.
    pub trusted_networks: Vec<IpNet>,
    /// Connections at the same time, all addresses together.
    pub connections_max: usize,
    /// Connections at the same time from one IPv4 address or one IPv6 /64. Trusted networks and proxies are
    /// not counted by address.
    pub connections_per_address_max: usize,
    /// What a bare LF in message data means.
    pub bare_newline: BareNewline,
    /// The same for clients of some networks; the first that holds the client counts.
    pub bare_newline_networks: Vec<(IpNet, BareNewline)>,
    /// How long sessions may take to end once draining has begun; then they are cut off.
    pub drain: Duration,
}

impl ListenerSettings {
    /// A listener with the defaults: STARTTLS, no proxies, no trusted networks, 10,000 connections, 50 of one
    /// address, bare LF normalised, 20 s to drain.
    #[must_use]
    pub fn new(name: &str, address: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            address,
            implicit_tls: false,
            proxy_networks: Vec::new(),
            trusted_networks: Vec::new(),
            connections_max: 10_000,
            connections_per_address_max: 50,
            bare_newline: BareNewline::default(),
            bare_newline_networks: Vec::new(),
            drain: Duration::from_secs(20),
        }
    }

    /// What a bare LF from this client means.
    #[must_use]
    pub fn bare_newline_for(&self, client: IpAddr) -> BareNewline {
        let own = self.bare_newline_networks.iter().find(|(network, _)| network.contains(&client));
        own.map_or(self.bare_newline, |(_, meaning)| *meaning)
    }
}

/// A listening socket with its protocol.
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    entrance: Arc<Entrance>,
}

impl Listener {
    /// Begins to listen; connections wait until [`Self::serve`]. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`SetupError`] names the listener and the remedy.
    pub fn bind(
        settings: ListenerSettings,
        tls: Option<Arc<TlsSettings>>,
        protocol: Arc<dyn Protocol>,
        shutdown: Shutdown,
    ) -> Result<Self, SetupError> {
        if settings.implicit_tls && tls.is_none() {
            return Err(SetupError::NoCertificate { listener: settings.name });
        }
        let failed = |source: io::Error| SetupError::Bind {
            listener: settings.name.clone(),
            address: settings.address,
            remedy: remedy(&source),
            source,
        };
        let socket = listen(settings.address).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        let admission = Admission::new(settings.connections_max, settings.connections_per_address_max);
        let entrance = Entrance { settings: Arc::new(settings), tls, protocol, shutdown, admission };
        Ok(Self { socket, address, entrance: Arc::new(entrance) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until draining begins; then stops to listen, waits for the sessions and cuts off those that have
    /// not ended within the listener's drain time.
    pub async fn serve(self) {
        let name = self.entrance.settings.name.clone();
        tracing::info!(listener = name, address = %self.address, protocol = self.entrance.protocol.name(), "listening");
        let mut sessions = JoinSet::new();
        let draining = self.entrance.shutdown.draining();
        tokio::pin!(draining);
        loop {
            tokio::select! {
                biased;
                () = &mut draining => break,
                Some(ended) = sessions.join_next() => note_panic(ended),
                accepted = self.socket.accept() => match accepted {
                    Ok((tcp, peer)) => self.admit(tcp, peer, &mut sessions),
                    Err(error) => {
                        metric::accept_failed(&name);
                        tracing::warn!(listener = name, %error, "connection not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        self.drain(sessions).await;
    }

    fn admit(&self, tcp: TcpStream, peer: SocketAddr, sessions: &mut JoinSet<()>) {
        match self.entrance.admission.place() {
            Ok(place) => {
                sessions.spawn(self.entrance.clone().enter(tcp, peer, place));
            }
            Err(why) => self.refuse(tcp, why),
        }
    }

    fn refuse(&self, tcp: TcpStream, why: Refusal) {
        let (settings, protocol) = (&self.entrance.settings, &self.entrance.protocol);
        metric::connection_refused(protocol.name(), &settings.name, why.name());
        // Under implicit TLS a line in the clear would only puzzle the client.
        let line = if settings.implicit_tls { "" } else { protocol.refusal(why) };
        entrance::turn_away_at_once(tcp, line);
    }

    async fn drain(self, mut sessions: JoinSet<()>) {
        // Those that the system accepted for us hear why, instead of a reset.
        while let Some(Ok((tcp, _))) = self.socket.accept().now_or_never() {
            self.refuse(tcp, Refusal::Draining);
        }
        drop(self.socket);
        let settings = &self.entrance.settings;
        let all = async {
            while let Some(ended) = sessions.join_next().await {
                note_panic(ended);
            }
        };
        if tokio::time::timeout(settings.drain, all).await.is_err() {
            tracing::warn!(
                listener = settings.name,
                sessions = sessions.len(),
                "sessions cut off at the end of draining"
            );
        }
        sessions.shutdown().await;
        tracing::info!(listener = settings.name, "listener closed");
    }
}

/// A session that panicked has ended like any other, for everybody but us.
fn note_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "session panicked: a fault of ours, please report it");
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // Connections of the process before us may linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "stop what listens there, or choose another port",
        io::ErrorKind::PermissionDenied => "ports below 1024 need the capability CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrNotAvailable => "use an address of this machine",
        _ => "check the address",
    }
}
