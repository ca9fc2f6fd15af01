//! Names of POP3's metrics, with what they count.
//!
//! | metric | kind, labels | meaning |
//! |---|---|---|
//! | `securanet_pop3_maildrops_total` | counter: outcome | maildrops asked for: `opened`, `in_use`, `failed` |
//! | `securanet_pop3_messages_retrieved_total` | counter | whole messages sent (RETR) |
//! | `securanet_pop3_octets_sent_total` | counter | octets of messages sent (RETR and TOP), before dot-stuffing |
//! | `securanet_pop3_messages_deleted_total` | counter | messages deleted by committed QUITs |
//! | `securanet_pop3_sessions_total` | counter: end | how sessions ended: `quit`, `closed`, `timeout`, `drained`, `revoked`, `errors`, `lost`, `tls` |

use metrics::{counter, describe_counter};

const MAILDROPS: &str = "securanet_pop3_maildrops_total";
const RETRIEVED: &str = "securanet_pop3_messages_retrieved_total";
const OCTETS: &str = "securanet_pop3_octets_sent_total";
const DELETED: &str = "securanet_pop3_messages_deleted_total";
const SESSIONS: &str = "securanet_pop3_sessions_total";

/// Tells the recorder what each metric means; called once, after the recorder is installed.
pub fn describe() {
    describe_counter!(MAILDROPS, "maildrops asked for");
    describe_counter!(RETRIEVED, "whole messages sent");
    describe_counter!(OCTETS, "octets of messages sent, before dot-stuffing");
    describe_counter!(DELETED, "messages deleted by committed QUITs");
    describe_counter!(SESSIONS, "sessions by how they ended");
}

pub(crate) fn maildrop(outcome: &'static str) {
    counter!(MAILDROPS, "outcome" => outcome).increment(1);
}

pub(crate) fn retrieved() {
    counter!(RETRIEVED).increment(1);
}

pub(crate) fn octets_sent(octets: u64) {
    counter!(OCTETS).increment(octets);
}

pub(crate) fn deleted(messages: u64) {
    counter!(DELETED).increment(messages);
}

pub(crate) fn session_ended(end: &'static str) {
    counter!(SESSIONS, "end" => end).increment(1);
}
