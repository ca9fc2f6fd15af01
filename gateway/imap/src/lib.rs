//! IMAP4rev1 and IMAP4rev2 (RFC 3501, RFC 9051) for the mailboxes of a store.
//!
//! [`Imap`] is the protocol that a listener serves. Its rooms: [`grammar`] turns octets into commands and knows
//! nothing else; `response` writes what the server says; `session` owns a connection, its clock and its
//! deadlines; `command` and `fetch` say what each command does; `mailbox` is a session's picture of its mailbox;
//! `search` answers the keys that need a message's octets.
//!
//! What it does not do: it stores nothing and keeps nothing across sessions but who was told first of a message
//! (`\Recent`). Every answer that promises something waits for the store's commit (promise P1).
//!
//! Invariants: commands are answered in order; sequence numbers change only where RFC 9051 7.5.1 allows it; no
//! message is ever held whole in memory; every wait for a client has a deadline.

mod command;
mod error;
mod fetch;
pub mod fuzz;
pub mod grammar;
mod mailbox;
pub mod metric;
mod response;
mod search;
mod session;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use securanet_gateway::{
    client::StoreClient,
    connection::{Connection, Protocol, Refusal},
    login::Authenticator,
    store::BoxFuture,
};
use tracing::Instrument as _;

pub use crate::{error::ImapError, settings::ImapSettings};

/// The IMAP service of a node: one for all its listeners.
pub struct Imap {
    store: StoreClient,
    authenticator: Arc<Authenticator>,
    settings: ImapSettings,
    recents: mailbox::Recents,
}

impl Imap {
    /// A service over a store.
    #[must_use]
    pub fn new(store: StoreClient, authenticator: Arc<Authenticator>, settings: ImapSettings) -> Self {
        Self { store, authenticator, settings, recents: mailbox::Recents::default() }
    }
}

impl Protocol for Imap {
    fn name(&self) -> &'static str {
        "imap"
    }

    fn serve(self: Arc<Self>, connection: Connection) -> BoxFuture<'static, ()> {
        let span = tracing::info_span!("imap", connection = %connection.id, peer = %connection.peer);
        Box::pin(session::Session::new(self, connection).run().instrument(span))
    }

    fn refusal(&self, why: Refusal) -> &'static str {
        match why {
            Refusal::TooManyConnections => "* BYE [UNAVAILABLE] Too many connections\r\n",
            Refusal::TooManyFromAddress => "* BYE [UNAVAILABLE] Too many connections from your address\r\n",
            Refusal::Draining => "* BYE [UNAVAILABLE] Server is shutting down\r\n",
        }
    }
}
