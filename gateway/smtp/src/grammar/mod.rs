//! SMTP's bytes as values and back: commands, paths, parameters, replies, message data.
//!
//! Pure: bytes in, values out. No socket, no clock, no store; what a value means for a session is decided in
//! `session`. Written for a server, though nothing here would stop a client from using it.

pub mod command;
pub mod content;
pub mod error;
pub mod mailboxes;
pub mod parameter;
pub mod path;
pub mod reply;

pub use command::{ClientName, Command, Hello, Secret};
pub use content::{ContentScanner, DataFault, Scan};
pub use error::CommandError;
pub use parameter::{Body, By, Hold, MailFrom, OriginalRecipient, RcptTo};
pub use path::{ForwardPath, PathError};
pub use reply::Reply;
