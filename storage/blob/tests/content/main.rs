//! Message content: what a message shows of itself, and that it comes back octet for octet.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is the failure")]

mod corpus;
mod envelope;
mod intake;
mod round_trip;
mod structure;
mod support;
