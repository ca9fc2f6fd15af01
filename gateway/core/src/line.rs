//! Lines and octets of a client, and answers to it: one owner for both directions of a connection.
//!
//! Every wait has a deadline and every buffer a bound, so that neither a client that trickles nor one that
//! does not read can hold a session. Answers are gathered and leave when the session next waits for input, so
//! that pipelined commands cost one write (RFC 2920, RFC 2449 6.6).
//!
//! Line ends are reported, not judged: what a bare LF means is the protocol's policy.
//!
//! Invariant: bytes read before TLS begins are never read as commands after it ([`LineStream::start_tls`]).

#[cfg(test)]
mod tests;

use std::{io, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};

use crate::{
    connection::{Stream, TlsInfo},
    tls::TlsSettings,
};

/// Octets asked from the transport at a time.
const READ_OCTETS: usize = 16 * 1024;
/// Answers gathered beyond this are written at once.
const WRITE_OCTETS: usize = 32 * 1024;
/// Octets of a line that is too long are passed over up to this many; a client that sends more is cut off.
const OVERLONG_OCTETS_MAX: usize = 1024 * 1024;
/// The client must take each piece of at most 32 KiB within this time: half a kilobyte a second is slower than
/// any link in use.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// The last answer must be taken within this time.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// What a client still sends is read for this long after our last answer.
const LINGER: Duration = Duration::from_secs(2);

/// How a line ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineEnding {
    /// CR LF.
    CrLf,
    /// LF without a CR before it.
    BareLf,
}

/// One line of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// The line without its ending. It may contain bare CRs.
    Complete {
        /// Its octets.
        bytes: Bytes,
        /// How it ended.
        ending: LineEnding,
    },
    /// The line was longer than allowed; all of it has been read and forgotten.
    TooLong {
        /// Its octets, ending included.
        octets: usize,
    },
}

/// Why a stream cannot be read from or written to any more. It ends the session.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The client ended the connection.
    #[error("client closed the connection{}", if *.partial { " in the middle of a line" } else { "" })]
    Closed {
        /// Octets of an unfinished line or literal were there.
        partial: bool,
    },
    /// The client sent nothing, or not enough, in time.
    #[error("client sent nothing in time")]
    ReadTimeout,
    /// The client did not take what we sent in time.
    #[error("client takes nothing")]
    WriteTimeout,
    /// The client sent an endless line.
    #[error("client sent a line of more than {OVERLONG_OCTETS_MAX} octets")]
    EndlessLine,
    /// The connection broke.
    #[error("connection broke: {0}")]
    Io(#[from] io::Error),
}

/// Why TLS could not be started. It ends the session.
#[derive(Debug, thiserror::Error)]
pub enum StartTlsError {
    /// Octets came behind the STARTTLS command before TLS: they are plaintext that an attacker may have put
    /// there to have it read as if it came under TLS (CVE-2011-0411), so nothing of this connection is trusted.
    #[error("client sent {octets} octets of plaintext behind STARTTLS")]
    PipelinedPlaintext {
        /// How many.
        octets: usize,
    },
    /// The answer to STARTTLS could not be sent.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The handshake failed or took too long.
    #[error("TLS handshake failed: {0}")]
    Handshake(io::Error),
}

/// A connection read by lines and octets. Reads may be cancelled at any await: nothing read is lost.
pub struct LineStream<S = Stream> {
    stream: S,
    input: BytesMut,
    output: BytesMut,
    /// Octets of an overlong line that were passed over, while its end has not come.
    passed_over: usize,
    /// `input[..searched]` has no LF.
    searched: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> LineStream<S> {
    /// Wraps a stream.
    #[must_use]
    pub fn new(stream: S) -> Self {
        Self { stream, input: BytesMut::new(), output: BytesMut::new(), passed_over: 0, searched: 0 }
    }

    /// The next line; `octets_max` counts its ending. The whole line must come within `deadline`.
    /// What was gathered to be written is written first when the client must be waited for.
    ///
    /// # Errors
    /// [`StreamError`]; the session is over then.
    pub async fn line(&mut self, octets_max: usize, deadline: Duration) -> Result<Line, StreamError> {
        if let Some(line) = self.take_line(octets_max)? {
            return Ok(line);
        }
        self.flush().await?;
        let deadline = Instant::now() + deadline;
        loop {
            self.fill(deadline).await?;
            if let Some(line) = self.take_line(octets_max)? {
                return Ok(line);
            }
        }
    }

    /// Some octets as they come: at least one and at most `octets_max`, which is at least one.
    ///
    /// # Errors
    /// [`StreamError`]; the session is over then.
    pub async fn read_some(&mut self, octets_max: usize, deadline: Duration) -> Result<Bytes, StreamError> {
        if self.input.is_empty() {
            self.flush().await?;
            self.fill(Instant::now() + deadline).await?;
        }
        let taken = self.input.len().min(octets_max);
        Ok(self.consume(taken))
    }

    /// Exactly `octets` octets, which the caller has bounded, all within `deadline`.
    ///
    /// # Errors
    /// [`StreamError`]; the session is over then.
    pub async fn read_exact(&mut self, octets: usize, deadline: Duration) -> Result<Bytes, StreamError> {
        if self.input.len() < octets {
            self.flush().await?;
        }
        let deadline = Instant::now() + deadline;
        while self.input.len() < octets {
            self.fill(deadline).await?;
        }
        Ok(self.consume(octets))
    }

    /// Octets that were read and not yet taken.
    #[must_use]
    pub fn buffered(&self) -> &[u8] {
        &self.input
    }

    /// Takes up to `octets` of [`Self::buffered`], without waiting.
    pub fn consume(&mut self, octets: usize) -> Bytes {
        self.searched = 0;
        let taken = octets.min(self.input.len());
        self.input.split_to(taken).freeze()
    }

    /// Puts octets back, to be read first.
    pub fn unread(&mut self, bytes: &[u8]) {
        let mut input = BytesMut::with_capacity(bytes.len() + self.input.len());
        input.extend_from_slice(bytes);
        input.extend_from_slice(&self.input);
        self.input = input;
        self.searched = 0;
    }

    /// Waits until at least one more octet is buffered, or fails as a read does. Writes nothing: for select
    /// loops (IDLE) that flush by themselves.
    ///
    /// # Errors
    /// [`StreamError`]; the session is over then.
    pub async fn fill_some(&mut self, deadline: Duration) -> Result<(), StreamError> {
        self.fill(Instant::now() + deadline).await
    }

    /// Gathers octets to be written; writes when there are many.
    ///
    /// # Errors
    /// [`StreamError::WriteTimeout`], [`StreamError::Io`]; the session is over then.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        for piece in bytes.chunks(WRITE_OCTETS) {
            self.output.extend_from_slice(piece);
            if self.output.len() >= WRITE_OCTETS {
                self.write_out().await?;
            }
        }
        Ok(())
    }

    /// Writes what was gathered.
    ///
    /// # Errors
    /// [`StreamError::WriteTimeout`], [`StreamError::Io`]; the session is over then.
    pub async fn flush(&mut self) -> Result<(), StreamError> {
        if self.output.is_empty() {
            return Ok(());
        }
        self.write_out().await?;
        timeout(WRITE_TIMEOUT, self.stream.flush()).await.map_err(|_| StreamError::WriteTimeout)??;
        Ok(())
    }

    /// [`Self::write`] and [`Self::flush`].
    ///
    /// # Errors
    /// Theirs.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        self.write(bytes).await?;
        self.flush().await
    }

    /// Writes the rest, closes our side (TLS: close_notify) and reads for a moment what the client still sends:
    /// octets that nobody has read would make the system reset the connection, and the last answer might be
    /// lost with it.
    pub async fn close(mut self) {
        let said = async {
            self.flush().await?;
            self.stream.shutdown().await?;
            Ok::<_, StreamError>(())
        };
        if !matches!(timeout(CLOSE_TIMEOUT, said).await, Ok(Ok(()))) {
            return;
        }
        let rest = async {
            let mut passed_over = 0;
            while passed_over < OVERLONG_OCTETS_MAX {
                self.input.clear();
                match self.stream.read_buf(&mut self.input).await {
                    Ok(octets) if octets > 0 => passed_over += octets,
                    _ => return,
                }
            }
        };
        let _ = timeout(LINGER, rest).await;
    }

    /// The stream below, to be looked at.
    #[must_use]
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream, and what was read from it and not taken (IMAP COMPRESS: it is compressed data already). What
    /// was gathered must have been flushed.
    #[must_use]
    pub fn into_parts(self) -> (S, Bytes) {
        debug_assert!(self.output.is_empty(), "flush before taking the stream apart");
        (self.stream, self.input.freeze())
    }

    async fn write_out(&mut self) -> Result<(), StreamError> {
        while !self.output.is_empty() {
            let written = timeout(WRITE_TIMEOUT, self.stream.write_buf(&mut self.output))
                .await
                .map_err(|_| StreamError::WriteTimeout)??;
            if written == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
        }
        Ok(())
    }

    async fn fill(&mut self, deadline: Instant) -> Result<(), StreamError> {
        self.input.reserve(READ_OCTETS);
        let read =
            timeout_at(deadline, self.stream.read_buf(&mut self.input)).await.map_err(|_| StreamError::ReadTimeout)?;
        match read {
            Ok(0) => Err(self.closed()),
            Ok(_) => Ok(()),
            // A TLS client that goes without close_notify, and one that resets, are gone all the same.
            Err(error) if is_gone(&error) => Err(self.closed()),
            Err(error) => Err(error.into()),
        }
    }

    fn closed(&self) -> StreamError {
        StreamError::Closed { partial: !self.input.is_empty() || self.passed_over > 0 }
    }

    /// Octets as if they had been read.
    pub(crate) fn give(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// A line that is complete in the buffer. Passes over what is too long.
    pub(crate) fn take_line(&mut self, octets_max: usize) -> Result<Option<Line>, StreamError> {
        let Some(end) = memchr::memchr(b'\n', &self.input[self.searched..]).map(|at| self.searched + at + 1) else {
            self.searched = self.input.len();
            if self.passed_over + self.input.len() > octets_max {
                self.passed_over += self.input.len();
                self.consume(self.input.len());
            }
            return if self.passed_over > OVERLONG_OCTETS_MAX { Err(StreamError::EndlessLine) } else { Ok(None) };
        };
        let mut bytes = self.consume(end);
        let octets = std::mem::take(&mut self.passed_over) + end;
        if octets > octets_max {
            return Ok(Some(Line::TooLong { octets }));
        }
        bytes.truncate(end - 1);
        let ending = if bytes.ends_with(b"\r") { LineEnding::CrLf } else { LineEnding::BareLf };
        if ending == LineEnding::CrLf {
            bytes.truncate(end - 2);
        }
        Ok(Some(Line::Complete { bytes, ending }))
    }
}

impl LineStream<Stream> {
    /// What the TLS handshake settled; `None` in the clear.
    #[must_use]
    pub fn tls(&self) -> Option<&Arc<TlsInfo>> {
        self.stream.tls()
    }

    /// Writes what was gathered (the answer to STARTTLS) and begins TLS on the same connection. The session
    /// starts anew then: whatever it knew of the client it forgets (RFC 3207 4.2).
    ///
    /// # Errors
    /// [`StartTlsError`]; the connection is closed then.
    pub async fn start_tls(mut self, tls: &TlsSettings) -> Result<Self, StartTlsError> {
        let octets = self.input.len();
        if octets > 0 {
            return Err(StartTlsError::PipelinedPlaintext { octets });
        }
        self.flush().await?;
        let stream = self.stream.start_tls(tls).await.map_err(StartTlsError::Handshake)?;
        Ok(Self::new(stream))
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}
