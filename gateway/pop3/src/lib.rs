//! POP3 (RFC 1939) with CAPA (RFC 2449), STLS (RFC 2595), AUTH (RFC 5034), UTF8 (RFC 6856) and the response codes
//! of RFC 2449 and RFC 3206, over an account's INBOX.
//!
//! The grammar ([`command`], [`reply`], [`stuffing`], [`top`], [`maildrop`]) is octets in, values out. The session
//! is three states, each consumed by the next, and the only part that touches sockets, clock and store:
//!
//! ```text
//! Authorization ──login, lock──► Transaction ──QUIT──► Update
//!       │ QUIT, end                   │ end: nothing is deleted
//!       ▼                             ▼
//! ```
//!
//! Promises: `+OK` to QUIT is written only after the deletions are committed (P1); a session that ends in any
//! other way deletes nothing; a maildrop is one session's at a time, and a session that is dead cannot keep it
//! (`lease`); a message comes out octet by octet as it went in, whether or not the client asked for UTF8 (a
//! raw header in UTF-8 is no reason to withhold a message).
//!
//! It deliberately has no APOP (it needs passwords in the clear at the server), no LAST, no LOGIN-DELAY.

pub mod command;
pub mod fuzz;
mod lease;
pub mod maildrop;
mod metric;
pub mod reply;
mod session;
pub mod stuffing;
pub mod top;

pub use metric::describe;
pub use session::Pop3;
