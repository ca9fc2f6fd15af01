//! Dialogues named by RFC and section, over a small store in memory; and properties of the parsers.

mod account;
mod append;
mod client;
mod compress;
mod faults;
mod fetch;
mod fuzz;
mod grammar;
mod idle;
mod login;
mod mailboxes;
mod mime;
mod qresync;
mod search;
mod select;
mod store;
mod sync;
mod tls;

pub(crate) use client::Server;
