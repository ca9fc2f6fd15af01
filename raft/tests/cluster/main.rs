//! Several nodes in one process, over real gRPC on loopback, with links that are slowed down and cut.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic here is the failure")]

mod anywhere;
mod clocks;
mod damage;
mod fan_out;
mod freshness;
mod gate;
mod links;
mod membership;
mod nodes;
mod packing;
mod placement;
mod recover;
mod replication;
mod sites;
mod snapshots;
#[path = "../support/mod.rs"]
mod support;
mod traffic;
