//! The vocabulary that every room shares: ids, addresses, names, commands, queries, replies, limits.
//!
//! It is the lowest crate, so it holds values only: no clock, no randomness, no sockets, no storage.
//! A gateway and a store can talk about everything with these types and nothing else; whatever one of
//! them needs beyond that stays in its own crate.
//!
//! Invariants: an address, a mailbox name or an id that exists is valid (their constructors are the only
//! door). Enums that travel in a record are frozen: variants are appended, never reordered or removed,
//! because [`record`] writes their position.

pub mod account;
pub mod address;
pub mod content;
pub mod delivery;
pub mod directory;
pub mod dkim;
pub mod ids;
pub mod limits;
pub mod literal;
pub mod mailbox;
pub mod nodes;
pub mod outbound;
pub mod policy;
pub mod recipient_address;
pub mod record;
pub mod report;
pub mod request;
pub mod sending;
pub mod sts;
pub mod summary;
pub mod time;
pub mod tls_report;

pub use address::{Address, AddressError, DomainName, ReversePath};
pub use ids::*;
pub use literal::{HostLiteral, LiteralAddress};
pub use mailbox::{Flags, Keyword, MailboxName, SpecialUse, SystemFlags};
pub use nodes::{NodeName, SiteName};
pub use recipient_address::RecipientAddress;
pub use request::{Answer, Command, Execute, Freshness, Query, Reply, StoreError, Token};
pub use time::UnixMillis;
