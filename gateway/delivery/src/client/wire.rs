//! One connection to a server: commands out, replies in, each with a deadline.
//!
//! While we write we read too: a server that answers pipelined commands before it takes more of them would
//! otherwise wait for us as we wait for it (RFC 2920 3.1).

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::client::TlsStream;

use super::reply::{Reply, ReplyError};

/// Octets read at a time.
const READ_OCTETS: usize = 8 * 1024;
/// Replies that wait to be looked at while we write: a thousand recipients at two hundred octets, and room.
const UNREAD_OCTETS_MAX: usize = 1024 * 1024;

/// Why a connection is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The server ended it.
    #[error("the server closed the connection")]
    Closed,
    /// No answer came in time.
    #[error("the server did not answer within {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// The server did not take what we sent in time.
    #[error("the server took nothing for {} s", .0.as_secs_f32())]
    Stuck(Duration),
    /// The server sends what is no reply.
    #[error("the server sent {0}")]
    Garbage(#[from] ReplyError),
    /// The server sends more replies than there were commands.
    #[error("the server sent replies without end")]
    Flood,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(io::Error),
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::WriteZero => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// The octets below: TCP, or TLS over it.
pub(super) enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection by lines and replies.
pub(super) struct Wire {
    stream: Stream,
    input: BytesMut,
    /// The server has closed its side; what is in `input` is the last of it.
    ended: bool,
}

impl Wire {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, input: BytesMut::new(), ended: false }
    }

    /// The TCP connection below, for TLS to begin on it. Octets that came before are a forgery (CVE-2021-38371) or
    /// nonsense: `None` then.
    pub(super) fn into_clear(self) -> Option<TcpStream> {
        match self.stream {
            Stream::Clear(tcp) if self.input.is_empty() => Some(tcp),
            _ => None,
        }
    }

    /// Writes all of it. Each piece that the server takes has `progress` to be taken.
    pub(super) async fn write(&mut self, mut octets: &[u8], progress: Duration) -> Result<(), WireError> {
        while !octets.is_empty() {
            let step = poll_fn(|cx| self.poll_write_some(cx, octets));
            let written = timeout(progress, step).await.map_err(|_| WireError::Stuck(progress))??;
            octets.advance(written);
        }
        let flushed = poll_fn(|cx| self.poll_flush(cx));
        timeout(progress, flushed).await.map_err(|_| WireError::Stuck(progress))?
    }

    /// Whether the server has said something that nobody asked for yet, or has gone.
    pub(super) fn has_spoken(&self) -> bool {
        self.ended || !self.input.is_empty()
    }

    /// The next reply.
    pub(super) async fn reply(&mut self, within: Duration) -> Result<Reply, WireError> {
        let deadline = sleep(within);
        tokio::pin!(deadline);
        loop {
            if let Some(reply) = Reply::take(&mut self.input)? {
                return Ok(reply);
            }
            if self.ended {
                return Err(WireError::Closed);
            }
            tokio::select! {
                read = poll_fn(|cx| self.poll_read_some(cx)) => read?,
                () = &mut deadline => return Err(WireError::Silent(within)),
            }
        }
    }

    /// Closes our side, without waiting long.
    pub(super) async fn close(mut self, within: Duration) {
        let closing = async {
            match &mut self.stream {
                Stream::Clear(tcp) => tcp.shutdown().await,
                Stream::Tls(tls) => tls.shutdown().await,
            }
        };
        let _ = timeout(within, closing).await;
    }

    /// Writes some octets, reading whatever comes while they do not go.
    fn poll_write_some(&mut self, cx: &mut Context<'_>, octets: &[u8]) -> Poll<Result<usize, WireError>> {
        loop {
            match Pin::new(&mut self.stream).poll_write(cx, octets) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(WireError::Closed)),
                Poll::Ready(written) => return Poll::Ready(written.map_err(WireError::from)),
                Poll::Pending => ready!(self.poll_read_beside(cx))?,
            }
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        loop {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Ready(flushed) => return Poll::Ready(flushed.map_err(WireError::from)),
                Poll::Pending => ready!(self.poll_read_beside(cx))?,
            }
        }
    }

    /// Reads while writing. A server that closes its side while we write may still take what we send: the end is
    /// noted, and writing goes on until it fails.
    fn poll_read_beside(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        if self.ended {
            return Poll::Pending;
        }
        self.poll_read_some(cx)
    }

    fn poll_read_some(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        if self.input.len() >= UNREAD_OCTETS_MAX {
            return Poll::Ready(Err(WireError::Flood));
        }
        let mut octets = [0; READ_OCTETS];
        let mut buffer = ReadBuf::new(&mut octets);
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)).map_err(WireError::from);
        match read {
            // A server that goes without closing TLS is gone all the same.
            Err(WireError::Closed) => self.ended = true,
            Err(error) => return Poll::Ready(Err(error)),
            Ok(()) if buffer.filled().is_empty() => self.ended = true,
            Ok(()) => self.input.extend_from_slice(buffer.filled()),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Clear(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Clear(tcp) => Pin::new(tcp).poll_write(cx, octets),
            Self::Tls(tls) => Pin::new(tls).poll_write(cx, octets),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Clear(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Clear(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
