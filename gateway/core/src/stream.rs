//! A client's byte stream: TCP or anything like it, in the clear or under TLS.
//!
//! One type for all, so that a session does not care and can change from clear to TLS in the middle
//! (STARTTLS). It does no buffering of its own except bytes that were read too far by the PROXY header's
//! reader and are handed out first.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use crate::{metric, proxy, tls::TlsSettings};

/// What a TLS handshake settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`, as traces and Received fields write it.
    pub version: &'static str,
    /// The cipher suite's IANA name.
    pub cipher: String,
    /// The server name that the client asked for (RFC 6066 3), in lower case.
    pub server_name: Option<String>,
    /// RFC 9266 `tls-exporter` channel binding; only on TLS 1.3, where it is unique without more conditions.
    pub exporter: Option<[u8; 32]>,
    /// SHA-256 of the certificate that the client proved to have the key of.
    pub client_certificate: Option<[u8; 32]>,
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Io for T {}

/// The transport below TLS.
struct Clear {
    /// Bytes already read from `io`; they come first.
    first: Bytes,
    /// Nothing has been read yet, and a PROXY header is not expected: if one comes, it is an error.
    guarded: bool,
    io: ClearIo,
}

enum ClearIo {
    Tcp(TcpStream),
    Any(Box<dyn Io>),
}

enum Layer {
    Clear(Clear),
    Tls(Box<TlsStream<Clear>>, Arc<TlsInfo>),
}

/// A client's byte stream.
pub struct Stream {
    layer: Layer,
}

impl Stream {
    /// A client's TCP connection. If it begins with a PROXY header, reading fails with `InvalidData`: only
    /// configured proxies may say who the client is, and nothing else a client sends looks like that.
    #[must_use]
    pub fn from_tcp(tcp: TcpStream) -> Self {
        Self::clear(Clear { first: Bytes::new(), guarded: true, io: ClearIo::Tcp(tcp) })
    }

    /// A proxy's TCP connection behind its header; `first` are bytes already read from it.
    #[must_use]
    pub(crate) fn from_proxied_tcp(tcp: TcpStream, first: Bytes) -> Self {
        Self::clear(Clear { first, guarded: false, io: ClearIo::Tcp(tcp) })
    }

    /// Any other transport (tests: [`tokio::io::duplex`]).
    #[must_use]
    pub fn from_io(io: impl AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static) -> Self {
        Self::clear(Clear { first: Bytes::new(), guarded: true, io: ClearIo::Any(Box::new(io)) })
    }

    const fn clear(clear: Clear) -> Self {
        Self { layer: Layer::Clear(clear) }
    }

    /// Does the server's side of a TLS handshake, within the settings' deadline.
    ///
    /// Whoever calls this in the middle of a session makes sure that no plaintext read before is kept
    /// (see [`crate::line::LineStream::start_tls`]).
    ///
    /// # Errors
    /// `TimedOut`; what the handshake failed on; `InvalidInput` when TLS is on already.
    pub async fn start_tls(self, tls: &TlsSettings) -> io::Result<Self> {
        let Layer::Clear(clear) = self.layer else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "TLS is on already"));
        };
        let handshake = tls.acceptor().accept(clear);
        let stream = tokio::time::timeout(tls.handshake_timeout(), handshake)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "TLS handshake took too long"))??;
        let info = Arc::new(TlsInfo::of(stream.get_ref().1));
        metric::handshake_done(info.version);
        Ok(Self { layer: Layer::Tls(Box::new(stream), info) })
    }

    /// What the TLS handshake settled; `None` in the clear.
    #[must_use]
    pub fn tls(&self) -> Option<&Arc<TlsInfo>> {
        match &self.layer {
            Layer::Clear(_) => None,
            Layer::Tls(_, info) => Some(info),
        }
    }
}

impl TlsInfo {
    fn of(connection: &rustls::ServerConnection) -> Self {
        let modern = connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
        // RFC 9266 4.1: this label, a context of length zero, 32 octets.
        let exporter = modern
            .then(|| connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b"")).ok())
            .flatten();
        Self {
            version: if modern { "TLSv1.3" } else { "TLSv1.2" },
            cipher: connection
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("unknown")
                .replace("TLS13_", "TLS_"),
            server_name: connection.server_name().map(str::to_ascii_lowercase),
            exporter,
            client_certificate: connection.peer_certificates().and_then(<[_]>::first).map(|shown| sha256(shown)),
        }
    }
}

fn sha256(octets: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, octets);
    let mut out = [0; 32];
    out.copy_from_slice(digest.as_ref());
    out
}

impl AsyncRead for Clear {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let taken = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first[..taken]);
            self.first.advance(taken);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = match &mut self.io {
            ClearIo::Tcp(io) => Pin::new(io).poll_read(cx, buf),
            ClearIo::Any(io) => Pin::new(io).poll_read(cx, buf),
        };
        if self.guarded && read.is_ready() {
            self.guarded = false;
            if proxy::begins(&buf.filled()[before..]) {
                let what = "a PROXY header from a peer that is no configured proxy";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, what)));
            }
        }
        read
    }
}

impl AsyncWrite for Clear {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            ClearIo::Tcp(io) => Pin::new(io).poll_write(cx, bytes),
            ClearIo::Any(io) => Pin::new(io).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            ClearIo::Tcp(io) => Pin::new(io).poll_flush(cx),
            ClearIo::Any(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            ClearIo::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            ClearIo::Any(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.layer {
            Layer::Clear(io) => Pin::new(io).poll_read(cx, buf),
            Layer::Tls(io, _) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.layer {
            Layer::Clear(io) => Pin::new(io).poll_write(cx, bytes),
            Layer::Tls(io, _) => Pin::new(io).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.layer {
            Layer::Clear(io) => Pin::new(io).poll_flush(cx),
            Layer::Tls(io, _) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.layer {
            Layer::Clear(io) => Pin::new(io).poll_shutdown(cx),
            Layer::Tls(io, _) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
