//! What an operator decides about speaking to other servers.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::settings::seconds;

/// Who we are, and what is tried.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientSettings {
    /// What we call ourselves in EHLO (RFC 5321 4.1.4: a name that resolves to us).
    pub helo_name: String,
    /// Addresses that we connect from; the first of the right family is taken. Empty: the system chooses.
    pub source_addresses: Vec<IpAddr>,
    /// PEM certificates of authorities that are trusted; default: the system's.
    pub roots: Option<PathBuf>,
    /// BDAT is used where a server offers CHUNKING (RFC 3030).
    pub chunking: bool,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// Messages sent over one connection, one after another. Default 100.
    pub messages_per_connection_max: u32,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            helo_name: "localhost".to_owned(),
            source_addresses: Vec::new(),
            roots: None,
            chunking: true,
            timeouts: Timeouts::default(),
            messages_per_connection_max: 100,
        }
    }
}

/// How long to wait for a server. The defaults are those of RFC 5321 4.5.3.2 where it has one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// For the connection. Default 30 s.
    #[serde(rename = "connect_seconds", with = "seconds")]
    pub connect: Duration,
    /// For one address before the next one is tried beside it (RFC 8305). Default 2 s: a mail host that is slow to
    /// answer has no second connection to spare.
    #[serde(rename = "next_address_seconds", with = "seconds")]
    pub next_address: Duration,
    /// For the greeting (4.5.3.2.1). Default 5 min.
    #[serde(rename = "greeting_seconds", with = "seconds")]
    pub greeting: Duration,
    /// For the answer to EHLO, HELO, STARTTLS, AUTH. Default 5 min.
    #[serde(rename = "hello_seconds", with = "seconds")]
    pub hello: Duration,
    /// For the TLS handshake. Default 60 s.
    #[serde(rename = "tls_seconds", with = "seconds")]
    pub tls: Duration,
    /// For the answer to MAIL (4.5.3.2.2). Default 5 min.
    #[serde(rename = "mail_seconds", with = "seconds")]
    pub mail: Duration,
    /// For the answer to RCPT (4.5.3.2.3). Default 5 min.
    #[serde(rename = "recipient_seconds", with = "seconds")]
    pub recipient: Duration,
    /// For the answer to DATA (4.5.3.2.4). Default 2 min.
    #[serde(rename = "data_seconds", with = "seconds")]
    pub data: Duration,
    /// For the server to take each block (4.5.3.2.5). Default 3 min.
    #[serde(rename = "block_seconds", with = "seconds")]
    pub block: Duration,
    /// For the answer to the final dot (4.5.3.2.6). Default 10 min.
    #[serde(rename = "final_dot_seconds", with = "seconds")]
    pub final_dot: Duration,
    /// For the answer to RSET. Default 30 s.
    #[serde(rename = "reset_seconds", with = "seconds")]
    pub reset: Duration,
    /// For the answer to QUIT. Default 5 s: nobody needs it.
    #[serde(rename = "quit_seconds", with = "seconds")]
    pub quit: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        Self {
            connect: Duration::from_secs(30),
            next_address: Duration::from_secs(2),
            greeting: minutes(5),
            hello: minutes(5),
            tls: minutes(1),
            mail: minutes(5),
            recipient: minutes(5),
            data: minutes(2),
            block: minutes(3),
            final_dot: minutes(10),
            reset: Duration::from_secs(30),
            quit: Duration::from_secs(5),
        }
    }
}
