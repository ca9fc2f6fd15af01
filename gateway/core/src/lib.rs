//! What all protocols share: the store they talk to, listeners, TLS, the PROXY header, limits, login, rewritten senders.
//!
//! A gateway is stateless by construction: this crate and those above it name neither the engine nor a
//! key-value store nor Raft. They know [`store::Store`]: [`remote`] reaches stores over the network, a node that is one has its own.

mod admission;
mod certificate;
pub mod client;
pub mod clock;
pub mod connection;
pub mod deposit;
mod entrance;
pub mod error;
pub mod fuzz;
pub mod line;
pub mod listener;
pub mod login;
pub mod metric;
pub mod proxy;
pub mod remote;
mod seen;
pub mod signing;
pub mod srs;
pub mod store;
mod stream;
pub mod tls;

/// How nodes reach each other, for whoever wires a process.
pub use securanet_wire::link;

/// The vocabulary, for the protocol crates that see the store only through this crate.
pub use securanet_model as model;
