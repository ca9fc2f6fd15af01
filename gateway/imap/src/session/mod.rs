//! One connection: it owns the socket, the clock and the deadlines, and hands commands to the state that they
//! find (RFC 9051 section 3).
//!
//! Commands are answered in the order in which they come, also when they are pipelined; responses are gathered
//! and leave when the client must be waited for. The session ends by LOGOUT or by an [`ImapError`], which
//! becomes a BYE where there is somebody to hear it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use securanet_gateway::{
    connection::{Connection, Shutdown},
    login::{Login, SaslContext},
    tls::TlsSettings,
};
use tokio::time::Instant;

use crate::{
    Imap,
    command::capability,
    error::ImapError,
    grammar::{
        self, Tag, append,
        framing::{Frame, Limits, LiteralHeader},
    },
    metric,
    response::{Code, Out, Tagged},
    session::{
        state::{Done, State, Then},
        wire::Wire,
    },
};

pub(crate) mod state;
mod transport;
pub(crate) mod wire;

/// Responses gathered beyond this are handed to the connection.
pub(crate) const GATHERED_OCTETS_MAX: usize = 32 * 1024;
/// Octets of refused commands that a client that has not logged in may have passed over.
const PASSED_OVER_OCTETS_MAX: u64 = 64 * 1024;

/// What a connection is and has, in any state.
pub(crate) struct Session {
    pub(crate) wire: Wire,
    pub(crate) out: Out,
    pub(crate) service: Arc<Imap>,
    pub(crate) peer: SocketAddr,
    pub(crate) trusted: bool,
    pub(crate) tls: Option<Arc<TlsSettings>>,
    pub(crate) failed_logins: u32,
    shutdown: Shutdown,
    bad_commands: u32,
    login_until: Instant,
}

/// What a client sent.
enum Incoming {
    /// A whole command, without its last line end.
    Command(Bytes),
    /// An APPEND up to its first message literal: the text before the literal's header, and the header.
    Append(Bytes, LiteralHeader),
    /// Something that was passed over, and what to answer.
    Refused(Option<Tag>, Tagged),
}

impl Session {
    pub(crate) fn new(service: Arc<Imap>, connection: Connection) -> Self {
        let login_until = Instant::now() + service.settings.login;
        Self {
            wire: Wire::new(connection.stream),
            out: Out::default(),
            service,
            peer: connection.peer,
            trusted: connection.trusted,
            tls: connection.tls,
            failed_logins: 0,
            shutdown: connection.shutdown,
            bad_commands: 0,
            login_until,
        }
    }

    /// Serves the connection to its end.
    pub(crate) async fn run(mut self) {
        let greeting = format!("* OK [CAPABILITY {}] SecuraNET Mail ready", capability::before_login(&self));
        self.out.text(&greeting);
        self.out.line_end();
        let mut state = State::begin();
        loop {
            let ended = match self.turn(state).await {
                Ok(Done { state: State::Logout, .. }) => None,
                Ok(Done { state: next, then: Then::Continue, .. }) => {
                    state = next;
                    continue;
                }
                Ok(Done { state: next, then, .. }) => match self.change_transport(then).await {
                    Ok(changed) => {
                        self = changed;
                        state = next;
                        continue;
                    }
                    Err(error) => {
                        metric::session_ended(Some(&error));
                        return tracing::info!(%error, "connection ends");
                    }
                },
                Err(error) => Some(error),
            };
            return self.farewell(ended).await;
        }
    }

    async fn farewell(mut self, error: Option<ImapError>) {
        metric::session_ended(error.as_ref());
        if let Some(error) = error {
            tracing::debug!(%error, "connection ends");
            match error.farewell() {
                Some(text) => {
                    self.out.bytes.clear();
                    self.out.untagged(&format!("BYE {text}"));
                }
                None => return,
            }
        }
        let bytes = std::mem::take(&mut self.out.bytes);
        if self.wire.write(&bytes).await.is_ok() {
            self.wire.close().await;
        }
    }

    /// One command, from its first octet to its tagged response.
    async fn turn(&mut self, state: State) -> Result<Done, ImapError> {
        let login = state.login().cloned();
        let incoming = self.next(login.as_ref()).await?;
        let (tag, done) = {
            let handled = self.handle(state, incoming);
            tokio::select! {
                biased;
                done = handled => done?,
                () = ended(login.as_ref()) => return Err(ImapError::Interrupted),
            }
        };
        metric::command_answered(done.tagged.status);
        match &tag {
            Some(tag) => self.out.tagged(tag, &done.tagged),
            None => {
                self.out.text("* ");
                self.out.status(&done.tagged);
            }
        }
        if done.tagged.status == crate::response::Status::Bad {
            self.bad_commands += 1;
            if self.bad_commands >= self.service.settings.bad_commands_max {
                return Err(self.give_up(ImapError::TooManyBadCommands(self.bad_commands)).await);
            }
        } else {
            self.bad_commands = 0;
        }
        if self.failed_logins >= self.service.settings.failed_logins_max {
            return Err(self.give_up(ImapError::TooManyLogins(self.failed_logins)).await);
        }
        self.send_gathered().await?;
        Ok(done)
    }

    /// Sends the answer that is still gathered, so that a BYE follows it.
    async fn give_up(&mut self, error: ImapError) -> ImapError {
        self.send().await.err().unwrap_or(error)
    }

    async fn handle(&mut self, state: State, incoming: Incoming) -> Result<(Option<Tag>, Done), ImapError> {
        match incoming {
            Incoming::Command(text) => match grammar::parse(&text) {
                Ok(parsed) => {
                    let done = state.handle(self, &parsed.tag, parsed.command).await?;
                    Ok((Some(parsed.tag), done))
                }
                Err(error) => Ok((Tag::of(first_line(&text)), state.answer(error.into()))),
            },
            Incoming::Append(before, header) => match append::parse_head(&before) {
                Ok(head) => {
                    let tag = head.tag.clone();
                    Ok((Some(tag), state.append(self, head, header).await?))
                }
                Err(error) => {
                    self.pass_over_literal(&header, &state).await?;
                    Ok((Tag::of(first_line(&before)), state.answer(error.into())))
                }
            },
            Incoming::Refused(tag, tagged) => Ok((tag, state.answer(tagged))),
        }
    }

    /// Waits for the next command.
    async fn next(&mut self, login: Option<&Login>) -> Result<Incoming, ImapError> {
        let limits = if login.is_some() { Limits::KNOWN } else { Limits::STRANGER };
        let until = match login {
            Some(_) => Instant::now() + self.service.settings.inactivity,
            None => self.login_until,
        };
        loop {
            match self.wire.poll(&limits) {
                Frame::More => self.wait(until, login).await?,
                Frame::Command { end, next } => return Ok(Incoming::Command(self.wire.take(next).slice(..end))),
                Frame::Literal { header, begin, next } => {
                    if append::is_message_literal(&self.wire.buffered()[..begin]) {
                        return Ok(Incoming::Append(self.wire.take(next).slice(..begin), header));
                    }
                    if header.binary || !self.wire.accept(&header, next, &limits) {
                        return self.refuse_literal(&header, next, login).await;
                    }
                    if !header.without_asking {
                        self.out.continuation("OK");
                        self.send_gathered().await?;
                    }
                }
                Frame::TooLong => {
                    let tag = Tag::of(first_line(self.wire.buffered()));
                    self.wire.take_to_line();
                    self.pass_over(0, login.is_some()).await?;
                    return Ok(Incoming::Refused(tag, Tagged::bad("Command is too long")));
                }
            }
        }
    }

    async fn refuse_literal(
        &mut self,
        header: &LiteralHeader,
        next: usize,
        login: Option<&Login>,
    ) -> Result<Incoming, ImapError> {
        let tag = Tag::of(first_line(self.wire.buffered()));
        self.wire.take(next);
        if header.without_asking {
            self.pass_over(header.octets, login.is_some()).await?;
        }
        let tagged = if header.binary {
            Tagged::bad("A literal8 is no part of this command")
        } else {
            Tagged::bad("Literal is too large for this command").code(Code::TOO_BIG)
        };
        Ok(Incoming::Refused(tag, tagged))
    }

    /// Passes over a message literal and all behind it, unless the client waits to be asked for it.
    pub(crate) async fn pass_over_literal(&mut self, header: &LiteralHeader, state: &State) -> Result<(), ImapError> {
        if header.without_asking { self.pass_over(header.octets, state.login().is_some()).await } else { Ok(()) }
    }

    /// Passes over octets and the rest of the command.
    pub(crate) async fn pass_over(&mut self, octets: u64, known: bool) -> Result<(), ImapError> {
        let known_max = self.service.settings.message_size_bytes_max.saturating_mul(2);
        let octets_max = if known { known_max } else { PASSED_OVER_OCTETS_MAX };
        self.wire.pass_over(octets, octets_max, self.service.settings.literal_pause).await
    }

    /// Some octets of a literal that was announced; everything gathered is sent first when they must be waited for.
    pub(crate) async fn literal(&mut self, octets_max: u64) -> Result<Bytes, ImapError> {
        self.hand_over().await?;
        let pause = self.service.settings.literal_pause;
        self.wire.some(octets_max, pause).await.map_err(|error| timed_out(error, true))
    }

    /// Waits for octets, with everything sent that was gathered.
    async fn wait(&mut self, until: Instant, login: Option<&Login>) -> Result<(), ImapError> {
        self.send().await?;
        let left = until.saturating_duration_since(Instant::now());
        tokio::select! {
            biased;
            () = self.shutdown.draining() => Err(ImapError::Draining),
            () = ended(login) => Err(ImapError::LoginEnded),
            filled = self.wire.fill(left) => filled.map_err(|error| timed_out(error, login.is_some())),
        }
    }

    /// Waits for octets, or until the other future is ready (IDLE); `true`: octets came.
    pub(crate) async fn wait_or(
        &mut self,
        login: &Login,
        left: Duration,
        other: impl Future<Output = ()>,
    ) -> Result<bool, ImapError> {
        self.send().await?;
        tokio::select! {
            biased;
            () = self.shutdown.draining() => Err(ImapError::Draining),
            () = login.ended() => Err(ImapError::LoginEnded),
            filled = self.wire.fill(left) => filled.map(|()| true).map_err(|error| timed_out(error, true)),
            () = other => Ok(false),
        }
    }

    /// Hands what was gathered to the connection and flushes it.
    pub(crate) async fn send(&mut self) -> Result<(), ImapError> {
        self.hand_over().await?;
        Ok(self.wire.flush().await?)
    }

    /// Hands what was gathered to the connection when it is much.
    pub(crate) async fn send_gathered(&mut self) -> Result<(), ImapError> {
        if self.out.bytes.len() >= GATHERED_OCTETS_MAX { self.hand_over().await } else { Ok(()) }
    }

    /// Hands what was gathered to the connection, so that octets written next come behind it.
    pub(crate) async fn hand_over(&mut self) -> Result<(), ImapError> {
        self.wire.write(&self.out.bytes).await?;
        self.out.bytes.clear();
        self.out.bytes.shrink_to(2 * GATHERED_OCTETS_MAX);
        Ok(())
    }

    /// How long the client may still take to log in.
    pub(crate) fn login_time_left(&self) -> Duration {
        self.login_until.saturating_duration_since(Instant::now())
    }

    /// What an exchange of credentials must know of the connection.
    pub(crate) fn sasl_context(&self) -> SaslContext {
        SaslContext { peer: self.peer.ip(), tls: self.wire.tls().cloned(), trusted: self.trusted }
    }

    async fn change_transport(mut self, then: Then) -> Result<Self, ImapError> {
        self.hand_over().await?;
        match (then, &self.tls) {
            (Then::StartTls, Some(tls)) => self.wire = self.wire.start_tls(tls).await?,
            (Then::Compress, _) => self.wire = self.wire.compress().await?,
            _ => {}
        }
        Ok(self)
    }
}

async fn ended(login: Option<&Login>) {
    match login {
        Some(login) => login.ended().await,
        None => std::future::pending().await,
    }
}

fn timed_out(error: securanet_gateway::line::StreamError, known: bool) -> ImapError {
    match error {
        securanet_gateway::line::StreamError::ReadTimeout if known => ImapError::Inactive,
        securanet_gateway::line::StreamError::ReadTimeout => ImapError::NoLogin,
        error => error.into(),
    }
}

fn first_line(text: &[u8]) -> &[u8] {
    &text[..memchr::memchr(b'\n', text).unwrap_or(text.len())]
}
