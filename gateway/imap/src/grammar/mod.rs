//! The grammar of RFC 9051 and RFC 3501 with the extensions that we speak: bytes in, values out.
//!
//! Nothing here knows a socket, a clock or a store. [`framing`] says where a command ends and where a literal
//! begins; [`parse`] turns the whole text of a command, its literals inside, into a [`command::Command`].
//! `APPEND` alone is parsed in pieces ([`append`]), because its literals are messages and are never held whole.
//!
//! Bounds: the framing limits octets, [`search`] limits nesting and the number of keys; every parser runs in
//! time linear in its input, but for the patterns of LIST, which cost (pattern x name) and are both short.
//! Failures: one [`SyntaxError`] that says what was expected and at which octet. Nothing panics.

pub mod append;
pub mod command;
pub mod cursor;
pub mod date;
pub mod fetch;
pub mod flags;
pub mod framing;
pub mod list;
pub mod pattern;
pub mod search;
pub mod set;
pub mod status;
pub mod tag;
pub mod utf7;

pub use command::{Command, Parsed, parse};
pub use cursor::{Cursor, SyntaxError};
pub use set::SequenceSet;
pub use tag::Tag;
