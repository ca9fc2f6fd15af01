//! SMTP and LMTP as a server: mail from strangers' servers into our mailboxes.
//!
//! A listener hands each connection to [`Smtp`]. The session parses ([`grammar`]), asks the directory who a recipient
//! is, streams the message into the store while it comes in, commits it, and only then says 250. It relays nothing
//! and logs nobody in.
//!
//! What it promises: data ends at CRLF.CRLF only; after a refusal no octet of data is read as a command; a
//! temporary failure keeps nothing; every wait has a deadline and every buffer a bound.

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
mod submit;
mod trace;

pub use server::Smtp;
pub use settings::SmtpSettings;
