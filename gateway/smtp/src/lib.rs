//! SMTP and LMTP as a server: mail from strangers' servers into our mailboxes, and from our people into the world.
//!
//! A listener hands each connection to [`Smtp`]. The session parses ([`grammar`]), asks the directory who a recipient
//! is, streams the message into the store while it comes in, commits it, and only then says 250. It relays for
//! nobody but those who submit: who has logged in, and devices that the directory names; both on listeners of
//! submission alone.
//!
//! What it promises: data ends at CRLF.CRLF only; after a refusal no octet of data is read as a command; a
//! temporary failure keeps nothing; every wait has a deadline and every buffer a bound.

mod commit;
mod envelope;
pub mod fuzz;
pub mod grammar;
mod intake;
mod memory;
pub mod metric;
mod plan;
mod recipients;
mod refusal;
mod rooms;
mod server;
mod session;
mod settings;
mod submission;

mod trace;

pub use server::Smtp;
pub use settings::{Service, SmtpSettings};
