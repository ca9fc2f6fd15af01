//! Logging in: one authenticator for all protocols.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use securanet_model::{StoreError, directory};

use crate::{
    client::{AccountPlace, StoreClient},
    connection::{Stream, TlsInfo},
};

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

    /// Whether a secret may be sent: TLS is on, or the network is trusted.
    #[must_use]
    pub fn is_private(&self) -> bool {
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
}

impl Login {
    /// Resolves, within a second, when the account's credentials change, it is suspended, deleted or moved:
    /// the session must end then. Can be cancelled and asked again.
    pub async fn ended(&self) {
        std::future::pending::<()>().await;
    }
}

/// Checks passwords and runs SASL exchanges for all protocols of this process.
pub struct Authenticator {
    client: StoreClient,
}

impl Authenticator {
    /// An authenticator over a store. Call it inside a tokio runtime.
    #[must_use]
    pub fn new(client: StoreClient) -> Arc<Self> {
        Arc::new(Self { client })
    }

    /// Checks a user name and a password, as USER and PASS, LOGIN and PLAIN bring them. Takes longer when
    /// attempts from this address or for this account have failed.
    ///
    /// # Errors
    /// [`LoginError`]
    pub async fn password(&self, user: &str, password: &[u8], peer: IpAddr) -> Result<Login, LoginError> {
        let _ = (user, password, peer, &self.client);
        Err(LoginError::Refused)
    }

    /// The mechanisms to offer, the best first; none without privacy.
    #[must_use]
    pub fn mechanisms(&self, context: &SaslContext) -> Vec<Mechanism> {
        let _ = context;
        Vec::new()
    }

    /// Begins an exchange.
    #[must_use]
    pub fn start(self: &Arc<Self>, mechanism: Mechanism, context: SaslContext) -> Exchange {
        Exchange { authenticator: self.clone(), mechanism, context }
    }
}

/// One SASL exchange (RFC 4422), with octets already decoded from base64.
pub struct Exchange {
    authenticator: Arc<Authenticator>,
    mechanism: Mechanism,
    context: SaslContext,
}

impl Exchange {
    /// Takes the client's next response. The first step gets the initial response, or nothing where the client
    /// sent none: it answers with the challenge that the mechanism begins with (empty where the client speaks
    /// first). After an error the exchange is over.
    ///
    /// # Errors
    /// [`LoginError`]
    pub async fn step(&mut self, response: &[u8]) -> Result<SaslStep, LoginError> {
        let _ = (response, &self.authenticator, self.mechanism, &self.context);
        Err(LoginError::Refused)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.account.address)
    }
}
