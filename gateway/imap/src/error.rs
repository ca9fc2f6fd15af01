//! Why an IMAP connection ends, and what its client is told.
//!
//! A command that cannot be done is no error here: it is a tagged NO or BAD ([`crate::response::Tagged`]), and
//! the session goes on. What is here ends the session. Each variant names the culprit; [`ImapError::farewell`]
//! is the client's side of it, `Display` is the log's.

use securanet_gateway::line::{StartTlsError, StreamError};

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub enum ImapError {
    /// The client is gone, too slow, or its connection broke.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The client sent nothing for too long (RFC 9051 5.4).
    #[error("client was inactive")]
    Inactive,
    /// The client did not log in in time.
    #[error("client did not log in in time")]
    NoLogin,
    /// The client sends what is no IMAP.
    #[error("client sent {0} bad commands")]
    TooManyBadCommands(u32),
    /// The client tried too many logins.
    #[error("client failed to log in {0} times")]
    TooManyLogins(u32),
    /// The client sends more than it was allowed to, without asking (RFC 7888 `+`).
    #[error("client sends a literal of {octets} octets that nobody asked for")]
    UnwantedLiteral {
        /// Its size as announced.
        octets: u64,
    },
    /// TLS could not be started.
    #[error(transparent)]
    StartTls(#[from] StartTlsError),
    /// The node is going down.
    #[error("the node is draining")]
    Draining,
    /// The account's credentials or status changed.
    #[error("the account changed: its sessions end")]
    LoginEnded,
    /// The same, while a command was being answered.
    #[error("the account changed in the middle of a command: its sessions end")]
    Interrupted,
    /// The selected mailbox was deleted by another session.
    #[error("the selected mailbox was deleted")]
    MailboxGone,
    /// A store failed in the middle of a literal whose size was announced: only closing keeps the client from
    /// taking something else for the rest of it.
    #[error("a message could not be read to its end: {0}")]
    ContentLost(securanet_gateway::model::StoreError),
}

impl ImapError {
    /// What BYE says; `None`: nobody listens, or a half-sent literal would swallow it.
    #[must_use]
    pub const fn farewell(&self) -> Option<&'static str> {
        match self {
            Self::Stream(StreamError::ReadTimeout) | Self::Inactive => Some("Inactive for too long"),
            Self::Stream(_) | Self::StartTls(_) | Self::ContentLost(_) | Self::Interrupted => None,
            Self::NoLogin => Some("No login in time"),
            Self::TooManyBadCommands(_) => Some("Too many bad commands"),
            Self::TooManyLogins(_) => Some("Too many failed logins"),
            Self::UnwantedLiteral { .. } => Some("[TOOBIG] Literal is too large"),
            Self::Draining => Some("[UNAVAILABLE] Server is shutting down, please reconnect"),
            Self::LoginEnded => Some("[UNAVAILABLE] Account has changed, please log in again"),
            Self::MailboxGone => Some("Selected mailbox was deleted"),
        }
    }
}
