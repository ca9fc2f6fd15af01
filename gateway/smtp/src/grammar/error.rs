//! Why a command line is none, and what the client is told. The client is always the culprit here.

use super::{path::PathError, reply::Reply};

/// What is wrong with a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Longer than its command may be (RFC 5321 4.5.3.1.4).
    #[error("command line too long")]
    TooLong,
    /// It ended with a bare LF (RFC 5321 2.3.8).
    #[error("lines end with CRLF")]
    BareLineFeed,
    /// Octets that are neither text nor UTF-8.
    #[error("command line has octets that are no text")]
    NotText,
    /// No command that we know.
    #[error("command not recognised")]
    Unknown,
    /// Not a mail client at all: a web browser talked into speaking to us.
    #[error("this is a mail server")]
    Foreign,
    /// Missing or superfluous arguments.
    #[error("syntax: {0}")]
    Arguments(&'static str),
    /// EHLO, HELO or LHLO without a proper name.
    #[error("syntax: give a host name or an address literal")]
    ClientName,
    /// MAIL's path.
    #[error("sender: {0}")]
    Sender(PathError),
    /// RCPT's path.
    #[error("recipient: {0}")]
    Recipient(PathError),
    /// An address with octets above 127 in a transaction without SMTPUTF8 (RFC 6531 3.5).
    #[error("the address needs SMTPUTF8")]
    NeedsUtf8,
    /// A parameter that was not announced.
    #[error("parameter not recognised")]
    UnknownParameter,
    /// A parameter with a value that it cannot have, or given twice.
    #[error("parameter {0}: bad value")]
    Parameter(&'static str),
    /// BDAT whose size cannot be read: what follows may be message data (RFC 3030 2), so the session ends.
    #[error("BDAT needs a size")]
    ChunkSize,
}

impl CommandError {
    /// What the client is told.
    #[must_use]
    pub fn reply(self) -> Reply {
        let (code, status) = match self {
            Self::TooLong | Self::BareLineFeed | Self::NotText => (500, (5, 2)),
            Self::Unknown => (500, (5, 1)),
            Self::Foreign => (554, (5, 1)),
            Self::Arguments(_) | Self::ClientName | Self::Parameter(_) | Self::ChunkSize => (501, (5, 4)),
            Self::Sender(_) => (501, (1, 7)),
            Self::Recipient(_) => (501, (1, 3)),
            Self::NeedsUtf8 => (553, (6, 7)),
            Self::UnknownParameter => (555, (5, 4)),
        };
        Reply::new(code, status, self.to_string())
    }

    /// Whether the session cannot go on, because octets that follow might be no commands.
    #[must_use]
    pub const fn ends_session(self) -> bool {
        matches!(self, Self::ChunkSize | Self::Foreign)
    }
}
