//! Commands and literals off the connection, responses onto it.
//!
//! It knows where commands end and nothing of what they say. Octets of a refused command are passed over to
//! its end, so that none of them is ever read as a command; how many is bounded, beyond it the session ends.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use securanet_gateway::{
    connection::{Stream, TlsInfo},
    line::{Line, LineStream, StartTlsError, StreamError},
    tls::TlsSettings,
};

use super::transport::Transport;
use crate::{
    error::ImapError,
    grammar::framing::{Frame, Framer, Limits, LiteralHeader, literal_header},
};

/// Octets kept of a line that is passed over: enough for any literal header at its end.
const TAIL_OCTETS: usize = 64;

/// A connection as a sequence of commands.
pub(crate) struct Wire {
    lines: LineStream<Transport>,
    framer: Framer,
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { lines: LineStream::new(Transport::Plain(stream)), framer: Framer::default() }
    }

    /// What the TLS handshake settled.
    pub(crate) fn tls(&self) -> Option<&Arc<TlsInfo>> {
        self.lines.get_ref().tls()
    }

    /// Looks at what has arrived of the next command.
    pub(crate) fn poll(&mut self, limits: &Limits) -> Frame {
        self.framer.poll(self.lines.buffered(), limits)
    }

    /// Takes the literal that was just found into the command; `false`: it is too large.
    pub(crate) fn accept(&mut self, header: &LiteralHeader, next: usize, limits: &Limits) -> bool {
        self.framer.accept(header, next, limits)
    }

    /// All that has arrived and was not taken.
    pub(crate) fn buffered(&self) -> &[u8] {
        self.lines.buffered()
    }

    /// Takes the octets that the framer has found; the next command begins behind them.
    pub(crate) fn take(&mut self, octets: usize) -> Bytes {
        self.framer = Framer::default();
        self.lines.consume(octets)
    }

    /// Takes what has arrived of a command before the line in whose middle it is.
    pub(crate) fn take_to_line(&mut self) {
        let octets = self.framer.line_begin();
        self.take(octets);
    }

    /// Waits for more octets. Can be cancelled.
    pub(crate) async fn fill(&mut self, deadline: Duration) -> Result<(), StreamError> {
        self.lines.fill_some(deadline).await
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), StreamError> {
        self.lines.write(bytes).await
    }

    pub(crate) async fn flush(&mut self) -> Result<(), StreamError> {
        self.lines.flush().await
    }

    /// One line inside a command: a SASL response, DONE, what follows a message literal.
    pub(crate) async fn line(&mut self, octets_max: usize, deadline: Duration) -> Result<Option<Bytes>, StreamError> {
        match self.lines.line(octets_max, deadline).await? {
            Line::Complete { bytes, .. } => Ok(Some(bytes)),
            Line::TooLong { .. } => Ok(None),
        }
    }

    /// Some octets of a literal.
    pub(crate) async fn some(&mut self, octets_max: u64, deadline: Duration) -> Result<Bytes, StreamError> {
        let octets_max = usize::try_from(octets_max).unwrap_or(usize::MAX);
        self.lines.read_some(octets_max, deadline).await
    }

    /// Passes over `octets`, then over the rest of the command: to the end of its line, and on through literals
    /// that the client sends without being asked. A literal that waits for us to ask ends the command: the
    /// tagged response tells the client not to send it.
    pub(crate) async fn pass_over(
        &mut self,
        mut octets: u64,
        octets_max: u64,
        deadline: Duration,
    ) -> Result<(), ImapError> {
        self.framer = Framer::default();
        let mut allowed = octets_max;
        loop {
            allowed = allowed.checked_sub(octets).ok_or(ImapError::UnwantedLiteral { octets })?;
            while octets > 0 {
                octets -= self.some(octets, deadline).await?.len() as u64;
            }
            match self.pass_over_line(&mut allowed, deadline).await? {
                Some(header) if header.without_asking => octets = header.octets,
                _ => return Ok(()),
            }
        }
    }

    async fn pass_over_line(
        &mut self,
        allowed: &mut u64,
        deadline: Duration,
    ) -> Result<Option<LiteralHeader>, ImapError> {
        let mut tail = Vec::with_capacity(2 * TAIL_OCTETS);
        loop {
            let buffered = self.lines.buffered();
            let end = memchr::memchr(b'\n', buffered);
            let seen = end.unwrap_or(buffered.len());
            tail.extend_from_slice(&buffered[seen.saturating_sub(TAIL_OCTETS)..seen]);
            tail.drain(..tail.len().saturating_sub(TAIL_OCTETS));
            let octets = seen + usize::from(end.is_some());
            self.lines.consume(octets);
            let octets = octets as u64;
            *allowed = allowed.checked_sub(octets).ok_or(ImapError::UnwantedLiteral { octets })?;
            if end.is_some() {
                return Ok(literal_header(tail.strip_suffix(b"\r").unwrap_or(&tail)).map(|(header, _)| header));
            }
            self.lines.flush().await?;
            self.lines.fill_some(deadline).await?;
        }
    }

    /// Begins TLS. What came behind STARTTLS in the clear ends the connection instead.
    pub(crate) async fn start_tls(mut self, tls: &TlsSettings) -> Result<Self, ImapError> {
        let octets = self.lines.buffered().len();
        if octets > 0 {
            return Err(StartTlsError::PipelinedPlaintext { octets }.into());
        }
        self.lines.flush().await?;
        let (Transport::Plain(stream), _) = self.lines.into_parts() else {
            return Err(StartTlsError::PipelinedPlaintext { octets: 0 }.into());
        };
        Ok(Self::new(stream.start_tls(tls).await.map_err(StartTlsError::Handshake)?))
    }

    /// Compresses from here on.
    pub(crate) async fn compress(mut self) -> Result<Self, ImapError> {
        self.lines.flush().await?;
        let (transport, first) = self.lines.into_parts();
        Ok(Self { lines: LineStream::new(transport.compressed(&first)), framer: Framer::default() })
    }

    /// Whether octets are compressed.
    pub(crate) fn is_compressed(&self) -> bool {
        matches!(self.lines.get_ref(), Transport::Deflate(_))
    }

    /// Writes the rest and closes.
    pub(crate) async fn close(self) {
        self.lines.close().await;
    }
}
