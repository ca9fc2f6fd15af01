//! Names of SMTP's metrics, in one place, with what they count.
//!
//! | metric | kind, labels | meaning |
//! |---|---|---|
//! | `securanet_smtp_messages_total` | counter: protocol, outcome | messages received whole: `kept`, `deferred` (4xx), `refused` (5xx); in LMTP by the best of the replies |
//! | `securanet_smtp_octets_total` | counter: protocol | octets of messages kept |
//! | `securanet_smtp_recipients_total` | counter: protocol, outcome | RCPT: `accepted`, `deferred` (4xx), `refused` (5xx) |
//! | `securanet_smtp_repeats_total` | counter: protocol | deliveries that were there already: a sender's repeat |
//! | `securanet_smtp_sent_copies_total` | counter: outcome | copies in Sent of submitted mail: `kept`, `repeat` (was there already), `over_quota`, `failed`, `not_sent` (the message was not taken in) |
//! | `securanet_smtp_data_faults_total` | counter: protocol, fault | messages with `nul`, `bare_lf` or `bare_cr` that were refused |
//! | `securanet_smtp_commit_seconds` | histogram: protocol | from the end of a message to its reply |

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

use crate::grammar::{DataFault, Reply};

const MESSAGES: &str = "securanet_smtp_messages_total";
const OCTETS: &str = "securanet_smtp_octets_total";
const RECIPIENTS: &str = "securanet_smtp_recipients_total";
const REPEATS: &str = "securanet_smtp_repeats_total";
const SENT_COPIES: &str = "securanet_smtp_sent_copies_total";
const DATA_FAULTS: &str = "securanet_smtp_data_faults_total";
const COMMIT_SECONDS: &str = "securanet_smtp_commit_seconds";

/// Tells the recorder what each metric means; called once, after the recorder is installed.
pub fn describe() {
    describe_counter!(MESSAGES, "messages received whole, by what became of them");
    describe_counter!(OCTETS, Unit::Bytes, "octets of messages kept");
    describe_counter!(RECIPIENTS, "recipients named by clients, by what became of them");
    describe_counter!(REPEATS, "deliveries that were there already because their sender repeated them");
    describe_counter!(SENT_COPIES, "copies in Sent of submitted mail, by what became of them");
    describe_counter!(DATA_FAULTS, "messages refused for a NUL or a bare newline");
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "from the end of a message to its reply");
}

/// The label of a reply.
pub(crate) const fn outcome(reply: &Reply) -> &'static str {
    match reply.code() {
        ..400 => "kept",
        400..500 => "deferred",
        _ => "refused",
    }
}

pub(crate) fn message(protocol: &'static str, outcome: &'static str) {
    counter!(MESSAGES, "protocol" => protocol, "outcome" => outcome).increment(1);
}

pub(crate) fn kept(protocol: &'static str, octets: u64, took: Duration) {
    counter!(OCTETS, "protocol" => protocol).increment(octets);
    histogram!(COMMIT_SECONDS, "protocol" => protocol).record(took.as_secs_f64());
}

pub(crate) fn recipient(protocol: &'static str, reply: &Reply) {
    let outcome = if reply.is_positive() { "accepted" } else { outcome(reply) };
    counter!(RECIPIENTS, "protocol" => protocol, "outcome" => outcome).increment(1);
}

pub(crate) fn repeats(protocol: &'static str, deliveries: u64) {
    if deliveries > 0 {
        counter!(REPEATS, "protocol" => protocol).increment(deliveries);
    }
}

pub(crate) fn sent_copy(outcome: &'static str) {
    counter!(SENT_COPIES, "outcome" => outcome).increment(1);
}

pub(crate) fn data_fault(protocol: &'static str, fault: DataFault) {
    let fault = match fault {
        DataFault::Nul => "nul",
        DataFault::BareLineFeed => "bare_lf",
        DataFault::BareCarriageReturn => "bare_cr",
    };
    counter!(DATA_FAULTS, "protocol" => protocol, "fault" => fault).increment(1);
}
