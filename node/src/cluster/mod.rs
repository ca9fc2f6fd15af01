//! The node among others: how it came in, whom it knows, what it serves them, and who is where in the groups.
//!
//! A store that is a member of a cluster says so in its data directory ([`membership`]). Group 0 keeps who the members are;
//! each node remembers the others ([`known`]), so that it finds them again before it can read group 0. Certificates are
//! signed by any store, with the key of the cluster's authority, which is in group 0 ([`authority`]).

pub(crate) mod authority;
pub(crate) mod follow;
pub(crate) mod homes;
pub(crate) mod join;
pub(crate) mod known;
pub(crate) mod member;
pub(crate) mod membership;
mod placer;
pub(crate) mod renewal;
pub(crate) mod reports;
pub(crate) mod service;
