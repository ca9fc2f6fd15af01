//! The states of a session (RFC 5321 4.1.4), each a type that a command consumes.
//!
//! ```text
//! Unnamed --EHLO--> Named --AUTH--> (authentication) --> Named
//!                   Named --MAIL--> Mailing --DATA--> (reception) --> Named
//!                                   Mailing --BDAT--> Chunking --BDAT LAST--> Named
//! ```
//!
//! Nothing here touches the world: a command and the terms of the session go in, and what to do comes out. What needs
//! the store (who is a recipient, taking a message in) is handed to the conversation with the state that it ends.

use securanet_gateway::{login::Mechanism, model::UnixMillis};

use crate::{
    envelope::{Accepted, Client, Envelope, too_many},
    grammar::{Command, CommandError, Hello, Hold, MailFrom, RcptTo, Reply, Secret},
    intake::Intake,
    refusal,
    settings::{Service, SmtpSettings},
    submission::submitter::Submitter,
    trace,
};

/// A message is held for at most so long (RFC 4865): 30 days.
const HOLD_SECONDS_MAX: u32 = 30 * 24 * 3600;

/// What a command's answer depends on besides the state.
pub(crate) struct Terms<'a> {
    pub(crate) settings: &'a SmtpSettings,
    /// STARTTLS can be done: there is a certificate, and TLS is not on yet.
    pub(crate) tls_offered: bool,
    /// TLS is on.
    pub(crate) is_secured: bool,
    /// The client has logged in.
    pub(crate) is_logged_in: bool,
    /// What to log in with, the best first. Only asked for with EHLO.
    pub(crate) mechanisms: Vec<Mechanism>,
    pub(crate) now: UnixMillis,
    /// Why no mail is taken right now. Only looked at for MAIL.
    pub(crate) closed: Option<Reply>,
}

/// Announced by a BDAT line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Chunk {
    pub(crate) octets: u64,
    pub(crate) last: bool,
}

/// Between two commands.
pub(crate) enum State {
    Unnamed(Unnamed),
    Named(Named),
    Mailing(Box<Mailing>),
    Chunking(Box<Chunking>),
}

/// Greeted, or under fresh TLS: nothing is known of the client.
pub(crate) struct Unnamed;

/// The client has said who it is.
pub(crate) struct Named {
    pub(crate) client: Client,
}

/// A transaction before its content.
pub(crate) struct Mailing {
    pub(crate) client: Client,
    pub(crate) envelope: Envelope,
    /// Whether a recipient was refused: DATA without any then has another reply.
    refused_any: bool,
}

/// A transaction with some chunks of its content.
pub(crate) struct Chunking {
    pub(crate) mailing: Mailing,
    pub(crate) intake: Intake,
}

/// What to do.
pub(crate) enum Next {
    /// Answer, and wait for a command.
    Answer(State, Reply),
    /// See who the client is (RFC 4954).
    Authenticate(Named, String, Option<Secret>),
    /// Ask whether the client may send so, and tell [`Named::begin`].
    Admit(Named, Box<MailFrom>),
    /// Ask who gets mail for this, and tell [`Mailing::admit`] or [`Mailing::refuse`].
    Resolve(Box<Mailing>, Box<RcptTo>),
    /// Take the message in that follows DATA.
    Data(Box<Mailing>),
    /// Take the first chunk in.
    FirstChunk(Box<Mailing>, Chunk),
    /// Take another chunk in.
    AnotherChunk(Box<Chunking>, Chunk),
    /// Answer DATA, which is refused; octets behind it are no commands.
    RefuseData(State, Reply),
    /// Pass over the chunk, then answer.
    SkipChunk(State, Chunk, Reply),
    /// Answer, and begin TLS.
    StartTls(Reply),
    /// Answer, and end the session.
    Close(Reply),
}

impl State {
    /// What the command means in this state.
    pub(crate) fn handle(self, command: Command, terms: &Terms<'_>) -> Next {
        if let Some(reply) = anywhere(&command) {
            return Next::Answer(self, reply);
        }
        match command {
            Command::Quit => Next::Close(Reply::new(221, (0, 0), "bye")),
            Command::Reset => Next::Answer(self.reset(), Reply::new(250, (0, 0), "ok")),
            Command::Hello(hello, name) => self.hello(Client { hello, name }, terms),
            command => match self {
                Self::Unnamed(state) => state.handle(command, terms),
                Self::Named(state) => state.handle(command, terms),
                Self::Mailing(state) => state.handle(command, terms),
                Self::Chunking(state) => state.handle(command),
            },
        }
    }

    /// Whether the client is in the middle of a message.
    pub(crate) const fn is_in_transaction(&self) -> bool {
        matches!(self, Self::Mailing(_) | Self::Chunking(_))
    }

    /// Without the transaction, if there was one.
    fn reset(self) -> Self {
        match self {
            Self::Unnamed(_) | Self::Named(_) => self,
            Self::Mailing(state) => Named::again(state.client),
            Self::Chunking(state) => Named::again(state.mailing.client),
        }
    }

    /// RFC 5321 4.1.4: a greeting in a session is a RSET too. RFC 2033 4.1: LMTP has its own.
    fn hello(self, client: Client, terms: &Terms<'_>) -> Next {
        let settings = terms.settings;
        if settings.is_lmtp() != (client.hello == Hello::Lhlo) {
            let text = if settings.is_lmtp() { "this is LMTP: say LHLO" } else { "this is SMTP: say EHLO" };
            return Next::Answer(self, Reply::new(500, (5, 1), text));
        }
        let reply = if client.hello == Hello::Helo {
            Reply::plain(250, settings.hostname.as_str().to_owned())
        } else {
            Reply::plain(250, extensions(terms))
        };
        Next::Answer(Named::again(client), reply)
    }
}

/// The reply to EHLO and LHLO. What is announced is done.
fn extensions(terms: &Terms<'_>) -> String {
    let mut text = format!(
        "{}\nPIPELINING\nSIZE {}\n8BITMIME\nSMTPUTF8\nCHUNKING\nENHANCEDSTATUSCODES",
        terms.settings.hostname, terms.settings.message_size_bytes_max,
    );
    if !terms.settings.is_lmtp() {
        text += "\nDSN";
    }
    if terms.settings.service == Service::Submission {
        text += &submission_extensions(terms);
    }
    if terms.tls_offered {
        text += "\nSTARTTLS";
    }
    text
}

/// What is announced to who submits. A client that has logged in need not be told how to.
fn submission_extensions(terms: &Terms<'_>) -> String {
    let latest = terms.now.plus_millis(u64::from(HOLD_SECONDS_MAX) * 1000);
    let mut text = format!("\nFUTURERELEASE {HOLD_SECONDS_MAX} {}\nDELIVERBY", trace::rfc3339(latest));
    if terms.is_secured {
        text += "\nREQUIRETLS";
    }
    if !terms.mechanisms.is_empty() && !terms.is_logged_in {
        let names: Vec<_> = terms.mechanisms.iter().map(|mechanism| mechanism.name()).collect();
        text = text + "\nAUTH " + &names.join(" ");
    }
    text
}

/// Commands that are the same in each state and change none.
fn anywhere(command: &Command) -> Option<Reply> {
    match command {
        Command::Noop => Some(Reply::new(250, (0, 0), "ok")),
        Command::Help => Some(Reply::new(214, (0, 0), "RFC 5321; see also RFC 3207, RFC 3030 and RFC 6531")),
        // RFC 5321 7.3: who does not verify says so, for lists too.
        Command::Verify | Command::Expand => Some(Reply::new(252, (0, 0), "names are not verified: send and see")),
        _ => None,
    }
}

fn out_of_order(text: &'static str) -> Reply {
    Reply::new(503, (5, 1), text)
}

/// What a command gets that has no place in a state. Octets of data behind it are never read as commands.
fn refuse(state: State, command: &Command, reply: Reply) -> Next {
    match *command {
        Command::Chunk { octets, last } => Next::SkipChunk(state, Chunk { octets, last }, reply),
        Command::Data => Next::RefuseData(state, reply),
        _ => Next::Answer(state, reply),
    }
}

fn misplaced(state: State, command: &Command, text: &'static str) -> Next {
    refuse(state, command, out_of_order(text))
}

fn start_tls(state: State, terms: &Terms<'_>) -> Next {
    if terms.tls_offered {
        Next::StartTls(Reply::new(220, (0, 0), "go ahead"))
    } else {
        Next::Answer(state, Reply::new(502, (5, 1), "TLS is not offered here, or on already"))
    }
}

impl Unnamed {
    fn handle(self, command: Command, terms: &Terms<'_>) -> Next {
        match command {
            Command::StartTls => start_tls(State::Unnamed(self), terms),
            command => misplaced(State::Unnamed(self), &command, "say who you are first"),
        }
    }
}

impl Named {
    /// A client between two transactions.
    pub(crate) const fn again(client: Client) -> State {
        State::Named(Self { client })
    }

    fn handle(self, command: Command, terms: &Terms<'_>) -> Next {
        match command {
            Command::Mail(mail) => self.mail(*mail, terms),
            Command::StartTls => start_tls(State::Named(self), terms),
            Command::Auth { mechanism, initial } => self.auth(mechanism, initial, terms),
            command => misplaced(State::Named(self), &command, "MAIL comes first"),
        }
    }

    /// RFC 4954 4: once, and where it is offered.
    fn auth(self, mechanism: String, initial: Option<Secret>, terms: &Terms<'_>) -> Next {
        if terms.settings.service != Service::Submission {
            return Next::Answer(State::Named(self), Reply::new(502, (5, 1), "no logging in here"));
        }
        if terms.is_logged_in {
            return Next::Answer(State::Named(self), out_of_order("you have logged in already"));
        }
        Next::Authenticate(self, mechanism, initial)
    }

    fn mail(self, mail: MailFrom, terms: &Terms<'_>) -> Next {
        match &terms.closed {
            Some(reply) if reply.code() == 421 => return Next::Close(reply.clone()),
            Some(reply) => return Next::Answer(State::Named(self), reply.clone()),
            None => {}
        }
        let octets_max = terms.settings.message_size_bytes_max;
        if mail.size_octets.is_some_and(|octets| octets > octets_max) {
            return Next::Answer(State::Named(self), refusal::too_large(octets_max));
        }
        if terms.settings.service == Service::Submission {
            return match check_submitted(&mail, terms) {
                Ok(()) => Next::Admit(self, Box::new(mail)),
                Err(reply) => Next::Answer(State::Named(self), reply),
            };
        }
        if mail.for_submission() {
            return Next::Answer(State::Named(self), CommandError::UnknownParameter.reply());
        }
        let (state, reply) = self.begin(Envelope::new(mail));
        Next::Answer(state, reply)
    }

    /// The sender is admitted.
    fn begin(self, envelope: Envelope) -> (State, Reply) {
        let mailing = Mailing { client: self.client, envelope, refused_any: false };
        (State::Mailing(Box::new(mailing)), Reply::new(250, (1, 0), "sender ok"))
    }

    /// The submitter may send so.
    pub(crate) fn submit(self, mail: MailFrom, submitter: Submitter, now: UnixMillis) -> (State, Reply) {
        self.begin(Envelope::submitted(mail, submitter, now))
    }
}

/// Parameters that were announced with bounds.
fn check_submitted(mail: &MailFrom, terms: &Terms<'_>) -> Result<(), Reply> {
    if mail.require_tls && !terms.is_secured {
        return Err(CommandError::UnknownParameter.reply());
    }
    let hold_seconds = match mail.hold {
        None => 0,
        Some(Hold::For(seconds)) => u64::from(seconds),
        Some(Hold::Until(at)) => at.millis_since(terms.now).div_ceil(1000),
    };
    if hold_seconds > u64::from(HOLD_SECONDS_MAX) {
        return Err(Reply::new(501, (5, 4), "a message is held for 30 days at most"));
    }
    // RFC 4865 4.2: what must be there before it may leave cannot be done.
    let by = mail.by.map(|by| u64::try_from(by.seconds).unwrap_or(0));
    if mail.hold.is_some() && by.is_some_and(|by| by <= hold_seconds) {
        return Err(Reply::new(501, (5, 4), "BY is over before the message may leave"));
    }
    Ok(())
}

impl Mailing {
    fn handle(self: Box<Self>, command: Command, terms: &Terms<'_>) -> Next {
        match command {
            Command::Rcpt(rcpt) => self.rcpt(rcpt, terms),
            Command::Data | Command::Chunk { .. } if self.envelope.recipients.is_empty() => {
                let reply = if self.refused_any {
                    Reply::new(554, (5, 1), "no valid recipients")
                } else {
                    out_of_order("RCPT comes first")
                };
                refuse(State::Mailing(self), &command, reply)
            }
            Command::Data => Next::Data(self),
            Command::Chunk { octets, last } => Next::FirstChunk(self, Chunk { octets, last }),
            command => misplaced(State::Mailing(self), &command, "a message is on its way: finish it, or RSET"),
        }
    }

    fn rcpt(mut self: Box<Self>, rcpt: Box<RcptTo>, terms: &Terms<'_>) -> Next {
        if rcpt.has_utf8 && !self.envelope.mail.utf8 {
            self.refused_any = true;
            return Next::Answer(State::Mailing(self), CommandError::NeedsUtf8.reply());
        }
        if self.envelope.recipients.len() >= terms.settings.recipients_allowed() {
            return Next::Answer(State::Mailing(self), too_many());
        }
        Next::Resolve(self, rcpt)
    }

    /// The recipient exists.
    pub(crate) fn admit(mut self: Box<Self>, rcpt: RcptTo, accepted: Accepted) -> (State, Reply) {
        let reply = match self.envelope.add(rcpt, accepted) {
            Ok(()) => Reply::new(250, (1, 5), "recipient ok"),
            Err(reply) => reply,
        };
        (State::Mailing(self), reply)
    }

    /// The recipient is refused.
    pub(crate) fn refuse(mut self: Box<Self>) -> State {
        self.refused_any = true;
        State::Mailing(self)
    }
}

impl Chunking {
    /// RFC 3030 2: only more chunks, or RSET.
    fn handle(self: Box<Self>, command: Command) -> Next {
        match command {
            Command::Chunk { octets, last } => Next::AnotherChunk(self, Chunk { octets, last }),
            command => misplaced(State::Chunking(self), &command, "BDAT LAST ends the message, or RSET"),
        }
    }
}
