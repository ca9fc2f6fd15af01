//! Accounts as a store's front sees them: commands in, replies and answers out, nothing of the engine's inside
//! but the keys of its rows.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic in a test is the failure")]

mod bounds;
mod delivery;
mod mailboxes;
mod messages;
mod naive;
mod naive_messages;
mod property;
mod rows;
mod sent;
mod steps;
mod world;
