//! What an operator decides about SMTP and LMTP. What belongs to a listener (bare newlines, TLS, networks, limits
//! of connections) stands in [`securanet_gateway::listener::ListenerSettings`].

use std::time::Duration;

use securanet_gateway::model::{DomainName, limits};

/// RFC 5321 4.5.3.1.8: a server takes at least this many recipients.
const RECIPIENTS_MIN: usize = 100;

/// Whom a server serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// SMTP with the world's servers: mail for our mailboxes, and nothing else.
    Exchange,
    /// LMTP (RFC 2033) instead of SMTP. Never on port 25.
    Lmtp,
    /// Submission (RFC 6409): mail from our people and devices to anybody.
    Submission,
}

/// Settings of one server.
#[derive(Clone, Debug)]
pub struct SmtpSettings {
    /// What we call ourselves in greetings and Received fields.
    pub hostname: DomainName,
    /// Whom it serves.
    pub service: Service,
    /// Largest message in octets, announced by SIZE; trace fields that we add are not counted. Default 50 MiB.
    pub message_size_bytes_max: u64,
    /// Recipients of one message: 100 to 1,000; what lies outside is brought to the nearer end. Default 1,000.
    pub recipients_max: usize,
    /// Waiting for a command (RFC 5321 4.5.3.2.7 asks for 5 minutes, the default).
    pub command_timeout: Duration,
    /// Waiting for more of a message (RFC 5321 4.5.3.2.5 lets a client pause for 3 minutes; default 5).
    pub data_timeout: Duration,
    /// Waiting for a whole message: nobody holds memory for longer by trickling. Default 2 hours, which lets
    /// 50 MiB come at 60 kbit/s.
    pub message_timeout: Duration,
    /// Wrong commands before a client is sent away with 421. Default 20.
    pub errors_max: u32,
    /// Refused recipients before a client is sent away with 421: it tries names out. Default 200.
    pub refused_recipients_max: u32,
    /// Commands between two messages, recipients not counted, before a client is sent away with 421. Default 1,000.
    pub commands_max: u32,
}

impl SmtpSettings {
    /// SMTP with the defaults.
    #[must_use]
    pub const fn new(hostname: DomainName) -> Self {
        Self {
            hostname,
            service: Service::Exchange,
            message_size_bytes_max: limits::MESSAGE_SIZE_BYTES_MAX,
            recipients_max: limits::RECIPIENTS_MAX,
            command_timeout: Duration::from_secs(5 * 60),
            data_timeout: Duration::from_secs(5 * 60),
            message_timeout: Duration::from_secs(2 * 3600),
            errors_max: 20,
            refused_recipients_max: 200,
            commands_max: 1000,
        }
    }

    /// LMTP with the defaults.
    #[must_use]
    pub fn lmtp(hostname: DomainName) -> Self {
        Self { service: Service::Lmtp, ..Self::new(hostname) }
    }

    /// Submission with the defaults.
    #[must_use]
    pub fn submission(hostname: DomainName) -> Self {
        Self { service: Service::Submission, ..Self::new(hostname) }
    }

    /// Whether it speaks LMTP.
    #[must_use]
    pub(crate) fn is_lmtp(&self) -> bool {
        self.service == Service::Lmtp
    }

    /// [`Self::recipients_max`] within its range.
    #[must_use]
    pub(crate) fn recipients_allowed(&self) -> usize {
        self.recipients_max.clamp(RECIPIENTS_MIN, limits::RECIPIENTS_MAX)
    }
}
