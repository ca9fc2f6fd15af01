//! Dialogues of SMTP, LMTP and submission, named by RFC and section, against a scripted store.
//!
//! Each is a text: `C:` what the client sends (lines that follow each other leave in one write), `S:` what the server
//! says (a `*` at the end stands for anything), `S: EOF` when it closes. Time is tokio's own and stands still, so
//! a timeout of hours is tested in no time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod auth;
mod bounds;
mod delivery;
mod forwarding;
mod lmtp;
mod recipients;
mod relay;
mod rfc3030;
mod rfc3207;
mod rfc5321;
mod rfc6531;
mod sent;
mod server;
mod smuggling;
mod store;
mod submission;
