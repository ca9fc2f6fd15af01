//! Logging in: one authenticator for all protocols.
//!
//! A protocol hands over a user name and a password, or runs a SASL exchange, and gets a [`Login`] or one of few
//! errors. What stands behind it, each in a file of its own:
//!
//! - [`password`]: what is kept of a password, and how it is made;
//! - `hasher`: argon2id, bounded by cores, one computation for all who ask the same;
//! - `memory`: verified credentials are remembered for ten minutes, as keyed hashes;
//! - `slowdown`: what failures cost the attempts after them;
//! - [`encoding`], `plain`, `scram`: the grammar and the arithmetic of the mechanisms;
//! - `open`: open logins, ended when their account changes.
//!
//! **An unknown user and a wrong password look alike.** Both take two questions to the directory (as the nearest replica
//! knows it; then as it is now, where the password may have been changed), the same slow-down, and one argon2id
//! computation: an app password tells by its form which single verifier it could fit, and where
//! there is nothing to compare with, a verifier that nothing fits takes its place. SCRAM answers for unknown
//! users with a salt derived from their name under the cluster's login key: the same on each gateway at each
//! time. What SCRAM cannot hide is that two names which are one account's have one salt.
//!
//! A suspended account is told so only after its password was right.

mod authenticator;
pub mod encoding;
mod exchange;
mod hasher;
mod memory;
mod open;
pub mod password;
pub(crate) mod plain;
pub(crate) mod scram;
mod slowdown;
#[cfg(test)]
mod tests;

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use securanet_model::{
    StoreError, directory,
    directory::{DirectoryAnswer, DirectoryQuery},
};

pub use self::{
    authenticator::{Authenticator, LoginSettings},
    exchange::Exchange,
    password::{NewAppPassword, Password, PasswordError, make_app_password, make_verifiers},
};
use crate::{
    client::{AccountPlace, StoreClient},
    connection::{Connection, Stream, TlsInfo},
};

/// The directory answers from the next replica; if it does not, the client is told to come again.
const DIRECTORY_TIMEOUT: Duration = Duration::from_secs(10);

/// A SASL mechanism that we speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// The old `LOGIN`, never standardised, still what some clients speak.
    Login,
    /// RFC 7677.
    ScramSha256,
    /// RFC 7677 with RFC 9266 channel binding.
    ScramSha256Plus,
}

impl Mechanism {
    /// The mechanism with this name, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Plain, Self::Login, Self::ScramSha256, Self::ScramSha256Plus]
            .into_iter()
            .find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }

    /// Its registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
        }
    }
}

impl LoginError {
    /// The label in metrics and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Disabled => "disabled",
            Self::PrivacyRequired => "privacy_required",
            Self::TooManyAttempts { .. } => "too_many_attempts",
            Self::Malformed(_) => "malformed",
            Self::Cancelled => "cancelled",
            Self::Store(_) => "unavailable",
        }
    }
}

/// What an exchange must know of its connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SaslContext {
    /// The client's address.
    pub peer: IpAddr,
    /// The connection's TLS.
    pub tls: Option<Arc<TlsInfo>>,
    /// The listener trusts the peer's network.
    pub trusted: bool,
}

impl SaslContext {
    /// The context of a stream as it is now; ask again after STARTTLS.
    #[must_use]
    pub fn new(stream: &Stream, peer: IpAddr, trusted: bool) -> Self {
        Self { peer, tls: stream.tls().cloned(), trusted }
    }

    /// The context of a connection before its session takes it apart.
    #[must_use]
    pub fn of(connection: &Connection) -> Self {
        Self::new(&connection.stream, connection.peer.ip(), connection.trusted)
    }

    /// Whether a secret may be sent: TLS is on, or the network is trusted.
    #[must_use]
    pub const fn is_private(&self) -> bool {
        self.trusted || self.tls.is_some()
    }
}

/// Why nobody was logged in.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoginError {
    /// Wrong user, wrong password, no right to act as another: one answer for all (RFC 3206 AUTH, RFC 5530
    /// AUTHENTICATIONFAILED, SMTP 535 5.7.8).
    #[error("wrong user name or password")]
    Refused,
    /// The password was right, and the account is suspended (SMTP 535 5.7.8 too; the text may say it).
    #[error("the account is suspended")]
    Disabled,
    /// Neither TLS nor a trusted network (RFC 5530 PRIVACYREQUIRED, SMTP 538 5.7.11).
    #[error("logging in needs TLS")]
    PrivacyRequired,
    /// Too many failures from this address or for this account (temporary; SMTP 454 4.7.0).
    #[error("too many failed logins: try again in {} seconds", retry_after.as_secs().max(1))]
    TooManyAttempts {
        /// When it makes sense to try again.
        retry_after: Duration,
    },
    /// What the client sent is no message of the mechanism (SMTP 501 5.5.2, IMAP BAD).
    #[error("malformed message: {0}")]
    Malformed(&'static str),
    /// The client cancelled the exchange with `*`. Protocols say this; the authenticator never does.
    #[error("cancelled")]
    Cancelled,
    /// The directory gave no answer, or too many logins are being computed (temporary; SMTP 454 4.7.0).
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What comes after a step of an exchange.
pub enum SaslStep {
    /// Send this (base64 is the protocol's), and give the response to the next step.
    Challenge(Vec<u8>),
    /// The client is who it says.
    Done(Login),
}

/// A client that has logged in. Cheap to clone; while a clone lives, the account is watched.
#[derive(Clone)]
pub struct Login {
    /// The account as it was then.
    pub account: Arc<directory::Account>,
    /// Where its mailboxes are.
    pub place: AccountPlace,
    open: Arc<open::OpenLogin>,
}

impl Login {
    /// Resolves, within a second, when the account's credentials change, it is suspended, deleted or moved:
    /// the session must end then. Can be cancelled and asked again.
    pub async fn ended(&self) {
        self.open.ended().await;
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.account.address)
    }
}

/// Looks up in the directory, with a deadline.
async fn look_up(client: &StoreClient, query: DirectoryQuery) -> Result<DirectoryAnswer, StoreError> {
    in_time(client.look_up(query)).await
}

/// Asks the directory as it is now, with a deadline.
async fn ask(client: &StoreClient, query: DirectoryQuery) -> Result<DirectoryAnswer, StoreError> {
    in_time(client.ask_directory(query)).await
}

async fn in_time(
    asked: impl Future<Output = Result<DirectoryAnswer, StoreError>>,
) -> Result<DirectoryAnswer, StoreError> {
    tokio::time::timeout(DIRECTORY_TIMEOUT, asked)
        .await
        .unwrap_or_else(|_| Err(StoreError::Unavailable("the directory does not answer".to_owned())))
}
