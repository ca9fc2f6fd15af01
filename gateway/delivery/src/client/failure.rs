//! How things end with a server, in the words of the queue.

use securanet_gateway::model::outbound::Outcome;

use super::{reply::Reply, wire::WireError};

/// Octets of an answer that are kept; the queue takes a thousand.
pub(super) const ANSWER_OCTETS_MAX: usize = 1000;
/// What failed through a fault of ours is tried again after this long.
pub(super) const OUR_FAULT_PAUSE_SECONDS: u32 = 60;

/// How an attempt ended for a recipient, as [`securanet_gateway::model::outbound::Attempt`] wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecipientOutcome {
    /// How it ended.
    pub outcome: Outcome,
    /// RFC 3463 status.
    pub status: (u8, u16, u16),
    /// The host that was spoken to, as `name [address]:port`.
    pub host: Option<String>,
    /// TLS version, cipher and whether the certificate was checked, or why there was none.
    pub tls: Option<String>,
    /// The server's answer, or what went wrong in our words.
    pub answer: String,
    /// Whether `answer` came from the server.
    pub answer_is_remote: bool,
}

/// How it ended, without where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ending {
    pub(super) outcome: Outcome,
    pub(super) status: (u8, u16, u16),
    pub(super) answer: String,
    pub(super) is_remote: bool,
}

impl Ending {
    /// By the first digit of the server's answer; 421 closes the connection and says nothing of the mail, and what
    /// is neither 4xx nor 5xx where neither 2xx nor 3xx was due is as good as garbage.
    pub(super) fn of_reply(reply: &Reply, otherwise: (u16, u16)) -> Self {
        let outcome = if reply.is_permanent() { Outcome::Permanent } else { Outcome::TemporaryAnswer };
        Self { outcome, status: reply.status(otherwise), answer: reply.text(ANSWER_OCTETS_MAX), is_remote: true }.sane()
    }

    /// The same, but temporary whatever the digit says.
    pub(super) fn temporary(reply: &Reply, outcome: Outcome, otherwise: (u16, u16)) -> Self {
        let (_, subject, detail) = reply.status(otherwise);
        Self { outcome, status: (4, subject, detail), answer: reply.text(ANSWER_OCTETS_MAX), is_remote: true }
    }

    /// The conversation broke off.
    pub(super) fn lost(during: &str, error: &WireError) -> Self {
        let outcome = match error {
            WireError::Garbage(_) | WireError::Flood => Outcome::TemporaryAnswer,
            _ => Outcome::TemporaryConnection,
        };
        let status = if matches!(error, WireError::Garbage(_) | WireError::Flood) { (4, 5, 0) } else { (4, 4, 2) };
        Self { outcome, status, answer: format!("{during}: {error}"), is_remote: false }
    }

    /// The server took it.
    pub(super) fn delivered(reply: &Reply, notifies: bool) -> Self {
        let outcome = Outcome::Delivered { notifies };
        Self { outcome, status: reply.status((0, 0)), answer: reply.text(ANSWER_OCTETS_MAX), is_remote: true }
    }

    /// A fault of ours.
    pub(super) fn ours(answer: String, again_after: u32) -> Self {
        Self { outcome: Outcome::NotTried { again_after }, status: (4, 3, 0), answer, is_remote: false }
    }

    /// Something that this server can never do for this mail.
    pub(super) fn impossible(status: (u8, u16, u16), answer: &str) -> Self {
        Self { outcome: Outcome::Permanent, status, answer: answer.to_owned(), is_remote: false }
    }

    /// A class of 2 is no failure: a positive code where none was due.
    const fn sane(mut self) -> Self {
        if self.status.0 == 2 {
            self.status = (4, 5, 0);
        }
        self
    }
}
