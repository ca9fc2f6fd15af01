//! A connection that is ready for mail: what it is connected to, what the server can do, and in which state it is.

use securanet_gateway::model::outbound::Outcome;

use super::{Client, OpenFailure, capability::Capabilities, open, settings::Timeouts, wire::Wire};
use crate::route::Hop;

/// What the next transaction finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Nothing is under way.
    Ready,
    /// A transaction was begun and not finished: RSET comes first.
    MustReset,
    /// It is of no use any more.
    Broken,
}

/// A connection that has said EHLO, and STARTTLS and AUTH where they are due.
pub struct Session {
    pub(super) wire: Wire,
    pub(super) capabilities: Capabilities,
    /// The server's identity was checked.
    pub(super) authenticated: bool,
    pub(super) host: String,
    pub(super) tls: String,
    pub(super) timeouts: Timeouts,
    /// BDAT is wanted where it is offered.
    pub(super) chunking: bool,
    /// Transactions begun, and how many there may be.
    pub(super) used: u32,
    pub(super) used_max: u32,
    pub(super) state: State,
}

impl Session {
    /// Connects to a host by its addresses in turn and gets ready for mail.
    ///
    /// Where TLS is opportunistic and fails, a new connection without it is made (RFC 7435).
    ///
    /// # Errors
    /// [`OpenFailure`]; the next host may do better.
    pub async fn open(hop: &Hop, client: &Client) -> Result<Self, OpenFailure> {
        open::open(hop, client).await
    }

    /// Sees whether a host speaks SMTP: connects, hears the greeting, says EHLO and QUIT.
    ///
    /// # Errors
    /// [`OpenFailure`].
    pub async fn probe(hop: &Hop, client: &Client) -> Result<(), OpenFailure> {
        open::probe(hop, client).await
    }

    /// What the server offers.
    #[must_use]
    pub const fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// `name [address]:port`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TLS version, cipher and whether the certificate was checked; or why there is none.
    #[must_use]
    pub fn tls(&self) -> &str {
        &self.tls
    }

    /// Whether another message may be sent over it.
    #[must_use]
    pub fn reusable(&self) -> bool {
        self.state != State::Broken && self.used < self.used_max
    }

    /// Says QUIT, waits a moment for the answer and closes.
    pub async fn quit(mut self) {
        let within = self.timeouts.quit;
        if self.state != State::Broken && self.wire.write(b"QUIT\r\n", within).await.is_ok() {
            let _ = self.wire.reply(within).await;
        }
        self.wire.close(within).await;
    }
}

impl OpenFailure {
    /// Whether the fault is ours: no other host will do better.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        matches!(self.outcome, Outcome::NotTried { .. })
    }
}
