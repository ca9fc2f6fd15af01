//! Names of IMAP's metrics, with what they count.
//!
//! | metric | kind, labels | meaning |
//! |---|---|---|
//! | `securanet_imap_commands_total` | counter: status | commands answered: `OK`, `NO`, `BAD` |
//! | `securanet_imap_messages_appended_total` | counter | messages of committed APPENDs |
//! | `securanet_imap_octets_appended_total` | counter | their octets |
//! | `securanet_imap_octets_sent_total` | counter | octets of message sections sent, before compression |
//! | `securanet_imap_messages_searched_total` | counter | messages opened because a SEARCH asked for their text |
//! | `securanet_imap_sessions_total` | counter: end | how sessions ended: `logout`, `lost`, `inactive`, `errors`, `drained`, `revoked`, `mailbox_gone`, `tls`, `store` |

use metrics::{Unit, counter, describe_counter};
use securanet_gateway::line::StreamError;

use crate::{error::ImapError, response::Status};

const COMMANDS: &str = "securanet_imap_commands_total";
const APPENDED: &str = "securanet_imap_messages_appended_total";
const OCTETS_APPENDED: &str = "securanet_imap_octets_appended_total";
const OCTETS_SENT: &str = "securanet_imap_octets_sent_total";
const SEARCHED: &str = "securanet_imap_messages_searched_total";
const SESSIONS: &str = "securanet_imap_sessions_total";

/// Tells the recorder what each metric means; called once, after the recorder is installed.
pub fn describe() {
    describe_counter!(COMMANDS, "commands answered, by status");
    describe_counter!(APPENDED, "messages of committed APPENDs");
    describe_counter!(OCTETS_APPENDED, Unit::Bytes, "octets of messages of committed APPENDs");
    describe_counter!(OCTETS_SENT, Unit::Bytes, "octets of message sections sent, before compression");
    describe_counter!(SEARCHED, "messages opened because a SEARCH asked for their text");
    describe_counter!(SESSIONS, "sessions by how they ended");
}

pub(crate) fn command_answered(status: Status) {
    counter!(COMMANDS, "status" => status.name()).increment(1);
}

pub(crate) fn appended(messages: usize, octets: u64) {
    counter!(APPENDED).increment(messages as u64);
    counter!(OCTETS_APPENDED).increment(octets);
}

pub(crate) fn octets_sent(octets: u64) {
    counter!(OCTETS_SENT).increment(octets);
}

pub(crate) fn message_searched() {
    counter!(SEARCHED).increment(1);
}

/// `None`: by LOGOUT.
pub(crate) fn session_ended(error: Option<&ImapError>) {
    let end = match error {
        None => "logout",
        Some(ImapError::Stream(StreamError::ReadTimeout) | ImapError::Inactive | ImapError::NoLogin) => "inactive",
        Some(ImapError::Stream(_)) => "lost",
        Some(ImapError::TooManyBadCommands(_) | ImapError::TooManyLogins(_) | ImapError::UnwantedLiteral { .. }) => {
            "errors"
        }
        Some(ImapError::StartTls(_)) => "tls",
        Some(ImapError::Draining) => "drained",
        Some(ImapError::LoginEnded | ImapError::Interrupted) => "revoked",
        Some(ImapError::MailboxGone) => "mailbox_gone",
        Some(ImapError::ContentLost(_)) => "store",
    };
    counter!(SESSIONS, "end" => end).increment(1);
}
