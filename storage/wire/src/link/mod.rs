//! How nodes reach each other: HTTP/2 over TLS 1.3 on one port, each side with a certificate of the cluster's authority.
//!
//! A certificate says who its node is and of which cluster ([`Identity`]); nothing else about a peer is believed. The files
//! are read again when they change ([`Credentials::watch`]), and each new connection uses what was read last: that is why
//! the connector and the acceptor are ours and not tonic's, which take their certificates once. TLS sessions are never
//! resumed, since a resumed one would outlive the authority that vouched for it.
//!
//! A node without a certificate yet is a stranger ([`stranger()`]): it reaches what strangers are served and nothing else, to
//! come in with the token that it was given ([`JoinTicket`]).
//!
//! A connection that dies without a word is noticed by HTTP/2 pings: the side that asks pings every 500 ms and gives up
//! after 2 s. Every await here has a deadline, and everything that a peer makes us keep has a bound ([`Bounds`]).

mod connect;
mod credentials;
mod error;
mod identity;
mod serve;
mod stranger;
#[cfg(test)]
mod tests;
mod token;
mod verify;

pub use connect::{Expect, Link, Peer, Pings};
pub use credentials::{Credentials, LinkFiles};
pub use error::LinkError;
pub use identity::{ClusterId, Identity, IdentityError, NodeName};
pub use serve::{Admits, Bounds, PeerInfo, Served, serve};
pub use stranger::stranger;
pub use token::{JoinTicket, TicketError, fingerprint, sha256};
