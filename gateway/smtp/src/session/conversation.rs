//! The driver of a session: it owns the stream and the clock, reads commands, does what the states decide, answers.
//!
//! Answers are gathered and written when the client must be waited for, so that a batch of pipelined commands costs
//! one write (RFC 2920). A client is sent away with 421 after too many errors, refused recipients or commands without
//! a message, when it is silent for too long, and when the node drains; a message whose commit has begun is
//! always answered.
//!
//! Log lines stand in the listener's span, which names connection and peer; `mail` follows a message.
//!
//! Failures: whatever breaks the stream ends the session; nothing is kept of an unfinished transaction.

use std::{net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use futures::FutureExt;
use securanet_gateway::{
    clock,
    connection::{Connection, Shutdown},
    line::{Line, LineEnding, LineStream, StartTlsError, StreamError},
    listener::BareNewline,
    login::Login,
    model::sending::CertificateDigest,
    tls::TlsSettings,
};

use super::state::{Mailing, Named, Next, State, Terms, Unnamed};
use crate::{
    grammar::{
        Command, CommandError, Hello, MailFrom, RcptTo, Reply,
        command::{self, AUTH_LINE_OCTETS_MAX, LINE_OCTETS_MAX},
    },
    metric, refusal,
    server::Smtp,
    submission::{self, NotAdmitted},
};

/// How long a client in the middle of a message is waited for once the node drains.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// How a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// We have said all there is to say.
    #[error("done")]
    Done,
    /// The stream broke or the client is gone.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// STARTTLS failed.
    #[error(transparent)]
    StartTls(#[from] StartTlsError),
}

/// What a client did wrong since its last message.
#[derive(Default)]
struct Tally {
    errors: u32,
    refused_recipients: u32,
    commands: u32,
}

/// A session being driven.
pub(crate) struct Conversation {
    pub(super) smtp: Arc<Smtp>,
    pub(super) io: LineStream,
    pub(super) peer: IpAddr,
    pub(super) bare_newline: BareNewline,
    /// The listener trusts the client's network: logging in without TLS is allowed.
    pub(super) trusted: bool,
    /// Who the client is, once it has logged in.
    pub(super) login: Option<Login>,
    pub(super) failed_logins: u32,
    tls: Option<Arc<TlsSettings>>,
    shutdown: Shutdown,
    draining: Pin<Box<dyn Future<Output = ()> + Send>>,
    tally: Tally,
    /// Replies are written here before they go to the stream, so that none allocates.
    scratch: Vec<u8>,
}

impl Conversation {
    pub(crate) fn new(smtp: Arc<Smtp>, connection: Connection) -> Self {
        Self {
            smtp,
            peer: connection.peer.ip(),
            bare_newline: connection.listener.bare_newline_for(connection.peer.ip()),
            trusted: connection.trusted,
            login: None,
            failed_logins: 0,
            tls: connection.tls,
            draining: Box::pin(connection.shutdown.draining()),
            shutdown: connection.shutdown,
            io: LineStream::new(connection.stream),
            tally: Tally::default(),
            scratch: Vec::with_capacity(256),
        }
    }

    /// Talks until the end.
    pub(crate) async fn run(mut self) {
        tracing::debug!("session begins");
        let end = match self.greet().await {
            Ok(()) => self.talk().await,
            Err(end) => end,
        };
        tracing::debug!(%end, "session ends");
    }

    async fn greet(&mut self) -> Result<(), End> {
        let kind = if self.smtp.settings.is_lmtp() { "LMTP" } else { "ESMTP" };
        let greeting = Reply::plain(220, format!("{} {kind} SecuraNET Mail", self.smtp.settings.hostname));
        self.answer(&greeting).await
    }

    async fn talk(mut self) -> End {
        let mut state = State::Unnamed(Unnamed);
        loop {
            let command = match self.command(state.is_in_transaction()).await {
                Ok(command) => command,
                Err(end) => return self.end(end).await,
            };
            let next = match command {
                Ok(command) => {
                    let terms = self.terms(&command);
                    state.handle(command, &terms)
                }
                Err(error) if error.ends_session() => Next::Close(error.reply()),
                Err(error) => Next::Answer(state, error.reply()),
            };
            if let Next::StartTls(reply) = next {
                self = match self.start_tls(&reply).await {
                    Ok(secured) => secured,
                    Err(end) => return end,
                };
                state = State::Unnamed(Unnamed);
                continue;
            }
            state = match self.perform(next).await {
                Ok(state) => state,
                Err(end) => return self.end(end).await,
            };
        }
    }

    /// The next command, or what is wrong with it.
    async fn command(&mut self, in_transaction: bool) -> Result<Result<Command, CommandError>, End> {
        let patience = self.smtp.settings.command_timeout;
        let octets_max = if self.smtp.submission.is_some() { AUTH_LINE_OCTETS_MAX } else { LINE_OCTETS_MAX };
        let line = loop {
            if self.shutdown.is_draining() {
                // Who is in the middle of a message may finish it.
                let patience = if in_transaction { DRAIN_PATIENCE.min(patience) } else { Duration::ZERO };
                match self.io.line(octets_max, patience).await {
                    Err(StreamError::ReadTimeout) => return Err(self.say_farewell(&refusal::draining()).await),
                    line => break line,
                }
            }
            tokio::select! {
                biased;
                () = ended(self.login.as_ref()) => return Err(self.say_farewell(&revoked()).await),
                line = self.io.line(octets_max, patience) => break line,
                () = &mut self.draining => {}
            }
        };
        Ok(match line? {
            Line::TooLong { .. } => Err(CommandError::TooLong),
            Line::Complete { ending: LineEnding::BareLf, .. } => Err(CommandError::BareLineFeed),
            Line::Complete { bytes, ending: LineEnding::CrLf } => command::parse(&bytes),
        })
    }

    fn terms(&self, command: &Command) -> Terms<'_> {
        let closed = match command {
            Command::Mail(_) if self.shutdown.is_draining() => Some(refusal::draining()),
            Command::Mail(_) => self.smtp.store.store().accepting().err().map(|error| refusal::of_store(&error)),
            _ => None,
        };
        let is_secured = self.io.tls().is_some();
        let mechanisms = match (&self.smtp.submission, command) {
            (Some(submission), Command::Hello(Hello::Ehlo, _)) => submission.authenticator.mechanisms(&self.sasl()),
            _ => Vec::new(),
        };
        Terms {
            settings: &self.smtp.settings,
            tls_offered: self.tls.is_some() && !is_secured,
            is_secured,
            is_logged_in: self.login.is_some(),
            mechanisms,
            now: clock::now(),
            closed,
        }
    }

    async fn perform(&mut self, next: Next) -> Result<State, End> {
        match next {
            Next::Answer(state, reply) => {
                self.answer(&reply).await?;
                self.count(&reply).await?;
                Ok(state)
            }
            Next::Authenticate(state, mechanism, initial) => self.authenticate(state, &mechanism, initial).await,
            Next::Admit(state, mail) => self.admit(state, *mail).await,
            Next::Resolve(mailing, rcpt) => self.resolve(mailing, *rcpt).await,
            Next::Data(mailing) => {
                let state = self.receive_data(*mailing).await?;
                self.message_done(state)
            }
            Next::FirstChunk(mailing, chunk) => {
                let chunking = self.begin_chunks(*mailing).await;
                self.receive_chunk(chunking, chunk).await.and_then(|state| self.message_done(state))
            }
            Next::AnotherChunk(chunking, chunk) => {
                self.receive_chunk(*chunking, chunk).await.and_then(|state| self.message_done(state))
            }
            Next::RefuseData(state, reply) => {
                self.refuse_data(&reply).await?;
                self.count(&reply).await?;
                Ok(state)
            }
            Next::SkipChunk(state, chunk, reply) => {
                self.skip_chunk(chunk, &reply).await?;
                self.answer(&reply).await?;
                self.count(&reply).await?;
                Ok(state)
            }
            Next::Close(reply) => Err(self.say_farewell(&reply).await),
            Next::StartTls(_) => Err(End::Done),
        }
    }

    /// Whether the client may send from this sender.
    async fn admit(&mut self, state: Named, mail: MailFrom) -> Result<State, End> {
        let smtp = Arc::clone(&self.smtp);
        let Some(submission) = &smtp.submission else { return Err(End::Done) };
        let certificate = self.io.tls().and_then(|tls| tls.client_certificate).map(CertificateDigest);
        let client = submission::Client { peer: self.peer, certificate };
        let (state, reply) = match submission.admit(self.login.as_ref(), &client, &mail.sender).await {
            Ok(submitter) => state.submit(mail, submitter, clock::now()),
            Err(not_admitted) => {
                let reply = match not_admitted {
                    NotAdmitted::LogIn => self.log_in_first(),
                    NotAdmitted::Because(reply) => reply,
                };
                tracing::info!(
                    account = self.login.as_ref().map(|login| login.account.address.to_string()),
                    from = %mail.sender, code = reply.code(), status = reply.status(), "sender refused"
                );
                (State::Named(state), reply)
            }
        };
        self.answer(&reply).await?;
        if reply.code() == refusal::draining().code() {
            return Err(End::Done);
        }
        self.count(&reply).await?;
        Ok(state)
    }

    /// RFC 4954 6, RFC 3207 4.
    fn log_in_first(&self) -> Reply {
        let needs_tls = self.tls.is_some() && !self.sasl().is_private();
        Reply::new(530, (7, 0), if needs_tls { "begin TLS and log in first" } else { "log in first" })
    }

    async fn resolve(&mut self, mailing: Box<Mailing>, mut rcpt: RcptTo) -> Result<State, End> {
        let protocol = self.smtp.protocol();
        let submitter = mailing.envelope.submitter.clone();
        let mut admitted = self.smtp.recipients.admit(&rcpt, &mailing.envelope.mail, submitter.as_deref()).await;
        if let (Ok(_), Some(submission), Some(submitter)) = (&admitted, &self.smtp.submission, &submitter)
            && let Err(reply) = submission.count_recipient(submitter)
        {
            admitted = Err(reply);
        }
        let (state, reply) = match admitted {
            Ok(accepted) => {
                rcpt.notify = self.smtp.recipients.may_hear(rcpt.notify, submitter.as_deref()).await;
                mailing.admit(rcpt, accepted)
            }
            Err(reply) => {
                tracing::info!(
                    from = %mailing.envelope.mail.sender, to = %rcpt.recipient,
                    code = reply.code(), status = reply.status(), "recipient refused"
                );
                self.tally.refused_recipients += 1;
                (mailing.refuse(), reply)
            }
        };
        metric::recipient(protocol, &reply);
        self.answer(&reply).await?;
        if reply.code() == 421 {
            return Err(End::Done);
        }
        if self.tally.refused_recipients > self.smtp.settings.refused_recipients_max {
            return Err(self.say_farewell(&Reply::new(421, (7, 0), "too many refused recipients")).await);
        }
        Ok(state)
    }

    /// After a message the client begins with a clean sheet.
    fn message_done(&mut self, state: State) -> Result<State, End> {
        if !state.is_in_transaction() {
            self.tally = Tally::default();
        }
        Ok(state)
    }

    /// Counts what the client did, and sends it away when it was too much.
    pub(super) async fn count(&mut self, reply: &Reply) -> Result<(), End> {
        self.tally.commands += 1;
        if matches!(reply.code(), 500..=504 | 553 | 555) {
            self.tally.errors += 1;
        }
        let (settings, tally) = (&self.smtp.settings, &self.tally);
        if tally.errors > settings.errors_max {
            return Err(self.say_farewell(&Reply::new(421, (7, 0), "too many errors")).await);
        }
        if tally.commands > settings.commands_max {
            return Err(self.say_farewell(&Reply::new(421, (7, 0), "too many commands without a message")).await);
        }
        Ok(())
    }

    /// Whether the client's credentials have changed since it logged in.
    pub(super) fn is_revoked(&self) -> bool {
        self.login.as_ref().is_some_and(|login| login.ended().now_or_never().is_some())
    }

    /// Gathers a reply to be written.
    pub(super) async fn answer(&mut self, reply: &Reply) -> Result<(), End> {
        self.scratch.clear();
        reply.write(&mut self.scratch);
        Ok(self.io.write(&self.scratch).await?)
    }

    /// The last reply of a session.
    pub(super) async fn say_farewell(&mut self, reply: &Reply) -> End {
        match self.answer(reply).await {
            Ok(()) => End::Done,
            Err(end) => end,
        }
    }

    /// Ends the session: says what there is to say to a client that is silent, writes the rest, closes.
    async fn end(mut self, end: End) -> End {
        let end = match end {
            End::Stream(StreamError::ReadTimeout) => {
                let _ = self.answer(&Reply::new(421, (4, 2), "you were silent for too long")).await;
                end
            }
            end => end,
        };
        self.io.close().await;
        end
    }

    async fn start_tls(mut self, reply: &Reply) -> Result<Self, End> {
        let Some(tls) = self.tls.clone() else { return Err(End::Done) };
        let octets = self.io.buffered().len();
        if octets > 0 {
            // Whoever wrote that may have wanted it to be read under TLS.
            let refusal = Reply::new(554, (5, 1), "nothing may follow STARTTLS before TLS");
            let _ = self.answer(&refusal).await;
            return Err(self.end(StartTlsError::PipelinedPlaintext { octets }.into()).await);
        }
        self.answer(reply).await?;
        self.io = self.io.start_tls(&tls).await?;
        // RFC 3207 4.2: what was known of the client before is not known any more.
        self.login = None;
        Ok(self)
    }
}

/// Resolves when the login is no longer good.
async fn ended(login: Option<&Login>) {
    match login {
        Some(login) => login.ended().await,
        None => std::future::pending().await,
    }
}

/// What a client is told whose credentials have changed.
pub(super) fn revoked() -> Reply {
    Reply::new(421, (7, 0), "your credentials have changed: log in again")
}
