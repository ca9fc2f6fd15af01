//! How a command ended, and how refusals and failures below become that.
//!
//! What the client may see is fixed text; what a store says about itself goes to the log.

use std::borrow::Cow;

use securanet_gateway::{
    line::StreamError,
    model::{StoreError, account::AccountRefusal},
};

use super::Code;
use crate::{
    error::ImapError,
    grammar::{SyntaxError, command::MailboxArgError},
};

/// `OK`, `NO` or `BAD`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Status {
    Ok,
    No,
    Bad,
}

impl Status {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::No => "NO",
            Self::Bad => "BAD",
        }
    }
}

/// A status response as it ends a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tagged {
    pub(crate) status: Status,
    pub(crate) code: Option<Code>,
    pub(crate) text: Cow<'static, str>,
}

impl Tagged {
    pub(crate) fn ok(text: impl Into<Cow<'static, str>>) -> Self {
        Self { status: Status::Ok, code: None, text: text.into() }
    }

    pub(crate) fn no(text: impl Into<Cow<'static, str>>) -> Self {
        Self { status: Status::No, code: None, text: text.into() }
    }

    pub(crate) fn bad(text: impl Into<Cow<'static, str>>) -> Self {
        Self { status: Status::Bad, code: None, text: text.into() }
    }

    pub(crate) fn code(mut self, code: Code) -> Self {
        self.code = Some(code);
        self
    }
}

/// Why a command's handler stops early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The command is answered with this; the session goes on.
    Refused(Tagged),
    /// The session ends.
    Fatal(ImapError),
}

impl From<Tagged> for Stop {
    fn from(tagged: Tagged) -> Self {
        Self::Refused(tagged)
    }
}

impl From<ImapError> for Stop {
    fn from(error: ImapError) -> Self {
        Self::Fatal(error)
    }
}

impl From<StreamError> for Stop {
    fn from(error: StreamError) -> Self {
        Self::Fatal(error.into())
    }
}

impl From<SyntaxError> for Stop {
    fn from(error: SyntaxError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<MailboxArgError> for Stop {
    fn from(error: MailboxArgError) -> Self {
        Self::Refused(Tagged::no(error.to_string()).code(Code::CANNOT))
    }
}

impl From<AccountRefusal> for Stop {
    fn from(refusal: AccountRefusal) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<SyntaxError> for Tagged {
    fn from(error: SyntaxError) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<AccountRefusal> for Tagged {
    fn from(refusal: AccountRefusal) -> Self {
        use AccountRefusal as R;
        let code = match &refusal {
            R::NoAccount | R::WrongEpoch(_) => Code::UNAVAILABLE,
            R::NoMailbox => Code::NON_EXISTENT,
            R::MailboxExists => Code::ALREADY_EXISTS,
            R::SpecialUseTaken => Code::USE_ATTRIBUTE,
            R::Inbox | R::BelowItself | R::NotSent => Code::CANNOT,
            R::HasChildren => Code::HAS_CHILDREN,
            R::TooMany(_) | R::NoUidsLeft => Code::LIMIT,
            R::OverQuota => Code::OVER_QUOTA,
            R::Locked => Code::IN_USE,
        };
        let mut text = refusal.to_string();
        if let Some(first) = text.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        Self::no(text).code(code)
    }
}

impl From<StoreError> for Tagged {
    fn from(error: StoreError) -> Self {
        use StoreError as S;
        match &error {
            S::Unavailable(_) | S::Draining | S::Busy | S::NotLeader { .. } => {
                tracing::info!(%error, "store cannot answer");
                Self::no("Service is temporarily unavailable, try again").code(Code::UNAVAILABLE)
            }
            S::DiskFull { .. } => {
                tracing::error!(%error, "store takes nothing in");
                Self::no("Server has no room for mail right now").code(Code::UNAVAILABLE)
            }
            S::TooLarge { limit_bytes } => {
                Self::no(format!("Message is larger than {limit_bytes} octets")).code(Code::TOO_BIG)
            }
            S::NotFound => Self::no("Message is gone").code(Code::EXPUNGE_ISSUED),
            S::Damaged(_) => {
                tracing::error!(%error, "stored data is damaged: run the scrub");
                Self::no("Stored data is damaged, an operator has been told").code(Code::CORRUPTION)
            }
            S::NoGroup(_) | S::Internal(_) => {
                tracing::error!(%error, "store answered a fault");
                Self::no("Internal fault").code(Code::SERVER_BUG)
            }
        }
    }
}
