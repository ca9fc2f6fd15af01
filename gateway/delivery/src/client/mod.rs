//! The client's side of SMTP (RFC 5321): one connection to one host, from the greeting to QUIT.
//!
//! Failures are sorted as the queue wants them: of the connection, of TLS, of what the server answered, ours. A
//! failure to get ready for mail says nothing about any message, so it is never permanent.

mod auth;
mod capability;
mod command;
mod connect;
mod content;
mod failure;
mod open;
pub(crate) mod reply;
pub(crate) mod scram;
mod session;
mod settings;
#[cfg(test)]
mod tests;
mod transaction;
mod wire;

use std::sync::Arc;

use securanet_gateway::model::outbound::Outcome;

pub use capability::Capabilities;
pub use command::Envelope;
pub use content::Octets;
use failure::Ending;
pub use failure::RecipientOutcome;
pub use session::Session;
pub use settings::{ClientSettings, Timeouts};
pub use transaction::{Sent, Verdict};

use crate::{settings::SettingsError, tls::TlsClient};

/// What the queue keeps of a host's name and of TLS.
const HOST_OCTETS_MAX: usize = 300;
const TLS_OCTETS_MAX: usize = 200;

/// What all connections share. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    settings: Arc<ClientSettings>,
    tls: Arc<TlsClient>,
}

impl Client {
    /// Reads the trusted certificates.
    ///
    /// # Errors
    /// [`SettingsError`] when there are none.
    pub fn new(settings: ClientSettings) -> Result<Self, SettingsError> {
        let tls = Arc::new(TlsClient::new(settings.roots.as_deref())?);
        if securanet_gateway::model::DomainName::parse(&settings.helo_name).is_err()
            && !settings.helo_name.starts_with('[')
        {
            return Err(SettingsError::Name { key: "helo_name", name: settings.helo_name });
        }
        Ok(Self { settings: Arc::new(settings), tls })
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> &ClientSettings {
        &self.settings
    }
}

/// How far a conversation came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// TCP.
    Connect,
    /// The server's first word.
    Greeting,
    /// EHLO or HELO.
    Hello,
    /// The answer to STARTTLS.
    StartTls,
    /// TLS itself.
    Handshake,
    /// AUTH.
    Auth,
}

impl Stage {
    const fn text(self) -> &'static str {
        match self {
            Self::Connect => "connecting",
            Self::Greeting => "waiting for the greeting",
            Self::Hello => "saying EHLO",
            Self::StartTls => "starting TLS",
            Self::Handshake => "in the TLS handshake",
            Self::Auth => "logging in",
        }
    }
}

/// Why a host is not ready for mail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenFailure {
    /// `name [address]:port`, or the name where no address was connected to.
    pub host: String,
    /// How far it came.
    pub stage: Stage,
    /// Never [`Outcome::Permanent`].
    pub outcome: Outcome,
    /// RFC 3463 status; class 4.
    pub status: (u8, u16, u16),
    /// The server's answer, or what went wrong in our words.
    pub answer: String,
    /// Whether `answer` came from the server.
    pub answer_is_remote: bool,
    /// What TLS there was.
    pub tls: Option<String>,
    /// It was waited for in vain: no other address of the host is tried.
    silent: bool,
}

impl OpenFailure {
    fn new(host: &str, stage: Stage, ending: Ending, tls: Option<String>) -> Self {
        let mut host = host.to_owned();
        host.truncate(host.floor_char_boundary(HOST_OCTETS_MAX));
        Self {
            host,
            stage,
            outcome: ending.outcome,
            status: ending.status,
            answer: ending.answer,
            answer_is_remote: ending.is_remote,
            tls,
            silent: false,
        }
    }
}

#[cfg(test)]
impl OpenFailure {
    /// A failed connection, for tests of those who hear of one.
    pub(crate) fn of_test(host: &str, stage: Stage, answer: &str) -> Self {
        let answer = answer.to_owned();
        let of_tls = matches!(stage, Stage::StartTls | Stage::Handshake);
        let outcome = if of_tls { Outcome::TemporaryTls } else { Outcome::TemporaryConnection };
        Self::new(host, stage, Ending { outcome, status: (4, 4, 1), answer, is_remote: false }, None)
    }
}

impl From<OpenFailure> for RecipientOutcome {
    fn from(failure: OpenFailure) -> Self {
        Self {
            outcome: failure.outcome,
            status: failure.status,
            host: Some(failure.host),
            tls: failure.tls,
            answer: failure.answer,
            answer_is_remote: failure.answer_is_remote,
        }
    }
}
