//! SMTP and LMTP as a server: mail from strangers into our mailboxes.

pub mod fuzz;
pub mod grammar;
