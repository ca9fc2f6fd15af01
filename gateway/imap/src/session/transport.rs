//! The bytes of a connection, compressed or not (RFC 4978 COMPRESS=DEFLATE: raw deflate, RFC 1951).
//!
//! Compression stands between the line stream and TLS and is invisible to both. What is written is compressed
//! as it comes; a flush ends it at an octet border (a "sync flush"), so that the client can read all of it.
//! Reading inflates into the reader's own buffer, so a small packet cannot swell here.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use securanet_gateway::connection::{Stream, TlsInfo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Compressed octets read at a time.
const READ_OCTETS: usize = 16 * 1024;
/// Compressed octets made at a time.
const SCRATCH_OCTETS: usize = 16 * 1024;
/// Compressed octets that may wait for the connection; more make the writer wait.
const PENDING_OCTETS_MAX: usize = 64 * 1024;

/// A client's stream, perhaps compressed.
pub(crate) enum Transport {
    /// As it is.
    Plain(Stream),
    /// Compressed in both directions.
    Deflate(Box<Deflate>),
}

/// Both directions of a compressed stream.
pub(crate) struct Deflate {
    stream: Stream,
    inflate: Decompress,
    /// Compressed octets that have arrived.
    input: BytesMut,
    /// The inflater filled the last buffer and may hold more.
    swollen: bool,
    deflate: Compress,
    /// Compressed octets that wait for the connection.
    output: BytesMut,
    /// Something was compressed since the last sync flush.
    dirty: bool,
    scratch: Box<[u8]>,
}

impl Transport {
    /// What the TLS handshake settled.
    pub(crate) fn tls(&self) -> Option<&Arc<TlsInfo>> {
        match self {
            Self::Plain(stream) => stream.tls(),
            Self::Deflate(deflate) => deflate.stream.tls(),
        }
    }

    /// Compresses from here on; `first` are octets that were read behind the command: compressed ones.
    pub(crate) fn compressed(self, first: &Bytes) -> Self {
        let stream = match self {
            Self::Plain(stream) => stream,
            already @ Self::Deflate(_) => return already,
        };
        Self::Deflate(Box::new(Deflate {
            stream,
            inflate: Decompress::new(false),
            input: BytesMut::from(&first[..]),
            swollen: false,
            deflate: Compress::new(Compression::fast(), false),
            output: BytesMut::new(),
            dirty: false,
            scratch: vec![0; SCRATCH_OCTETS].into_boxed_slice(),
        }))
    }
}

impl Deflate {
    /// Inflates what is there. `None`: more is needed first.
    fn inflate(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<Option<()>> {
        if self.input.is_empty() && !self.swollen {
            return Ok(None);
        }
        let target = buf.initialize_unfilled();
        let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
        let status = self.inflate.decompress(&self.input, target, FlushDecompress::None).map_err(io::Error::other)?;
        let read = usize::try_from(self.inflate.total_in() - read).unwrap_or(usize::MAX);
        let written = usize::try_from(self.inflate.total_out() - written).unwrap_or(usize::MAX);
        self.swollen = written == target.len();
        self.input.advance(read);
        buf.advance(written);
        match status {
            _ if written > 0 => Ok(Some(())),
            Status::StreamEnd => Ok(Some(())),
            _ if self.input.is_empty() || read > 0 => Ok(None),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "compressed stream is damaged")),
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut octets = [0; READ_OCTETS];
        let mut buf = ReadBuf::new(&mut octets);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        self.input.extend_from_slice(buf.filled());
        Poll::Ready(Ok(buf.filled().len()))
    }

    fn compress(&mut self, mut bytes: &[u8], flush: FlushCompress) -> io::Result<()> {
        loop {
            let (read, written) = (self.deflate.total_in(), self.deflate.total_out());
            self.deflate.compress(bytes, &mut self.scratch, flush).map_err(io::Error::other)?;
            let read = usize::try_from(self.deflate.total_in() - read).unwrap_or(usize::MAX);
            let written = usize::try_from(self.deflate.total_out() - written).unwrap_or(usize::MAX);
            self.output.extend_from_slice(&self.scratch[..written]);
            bytes = &bytes[read..];
            if bytes.is_empty() && written < self.scratch.len() {
                return Ok(());
            }
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Deflate {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.inflate(buf)?.is_some() {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Deflate {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.output.len() > PENDING_OCTETS_MAX {
            ready!(self.poll_drain(cx))?;
        }
        self.dirty = true;
        self.compress(bytes, FlushCompress::None)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.dirty {
            self.compress(&[], FlushCompress::Sync)?;
            self.dirty = false;
        }
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Deflate(deflate) => Pin::new(&mut **deflate).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Deflate(deflate) => Pin::new(&mut **deflate).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Deflate(deflate) => Pin::new(&mut **deflate).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Deflate(deflate) => Pin::new(&mut **deflate).poll_shutdown(cx),
        }
    }
}
