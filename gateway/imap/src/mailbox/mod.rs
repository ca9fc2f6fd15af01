//! A session's picture of its account and of the mailbox that it has open.
//!
//! The store has the truth; a [`View`] has the UIDs that this client was told of, in the order of their
//! sequence numbers, and how far it has seen. What has changed since is fetched as one answer and told at the
//! moments that RFC 9051 7.5.1 allows.

mod account;
mod recent;
pub(crate) mod row;
mod selection;
mod sync;
mod view;

pub(crate) use account::{Account, STATE_ROWS_MAX, out_of_turn};
pub(crate) use recent::Recents;
pub(crate) use selection::{Selection, intersection, uid_set};
pub(crate) use view::View;
