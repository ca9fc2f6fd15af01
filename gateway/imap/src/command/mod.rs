//! What each command does, by the state that allows it (RFC 9051 section 6).
//!
//! A handler gets the session and what its state knows, writes untagged responses and answers with the tagged
//! one. Refusals and store failures travel as [`crate::response::Stop`].

pub(crate) mod any;
pub(crate) mod append;
pub(crate) mod authenticated;
pub(crate) mod capability;
pub(crate) mod close;
pub(crate) mod compress;
pub(crate) mod copy;
pub(crate) mod expunge;
pub(crate) mod idle;
pub(crate) mod list;
pub(crate) mod mailboxes;
pub(crate) mod not_authenticated;
pub(crate) mod quota;
pub(crate) mod search;
pub(crate) mod select;
pub(crate) mod selected;
pub(crate) mod status;
pub(crate) mod store;
