//! What crosses rooms: the harness that starts real servers, small clients, and the ledger of what was acknowledged.
//!
//! Tests use loopback addresses and free ports only, and end the processes that they started by their ids.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "everything here is a test: a panic is its failure")]

pub mod cluster;
pub mod dialogue;
pub mod figures;
pub mod imap;
pub mod ledger;
pub mod link;
pub mod marks;
pub mod power;
pub mod random;
pub mod release;
pub mod rude;
pub mod server;
pub mod wall;
pub mod world;
