//! What an operator may set for IMAP, with the RFC's minima as floors.

use std::time::Duration;

use securanet_gateway::model::limits;

/// Settings of the IMAP service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImapSettings {
    /// Largest message that APPEND takes, in octets (RFC 7889 APPENDLIMIT). The store has its own limit too.
    pub message_size_bytes_max: u64,
    /// A session that sends nothing for this long ends (RFC 9051 5.4: at least 30 minutes after login).
    pub inactivity: Duration,
    /// A session that has not logged in after this long ends.
    pub login: Duration,
    /// Within this time a client must send the next octets of a literal that it has announced.
    pub literal_pause: Duration,
    /// While a client idles, it gets an untagged OK this often, so that middleboxes keep the connection and a
    /// dead client is noticed.
    pub idle_sign_of_life: Duration,
    /// Bad commands in a row after which the connection ends.
    pub bad_commands_max: u32,
    /// Failed logins after which the connection ends.
    pub failed_logins_max: u32,
}

impl Default for ImapSettings {
    fn default() -> Self {
        Self {
            message_size_bytes_max: limits::MESSAGE_SIZE_BYTES_MAX,
            inactivity: Duration::from_secs(30 * 60),
            login: Duration::from_secs(3 * 60),
            literal_pause: Duration::from_secs(5 * 60),
            idle_sign_of_life: Duration::from_secs(4 * 60),
            bad_commands_max: 20,
            failed_logins_max: 5,
        }
    }
}
