//! Leases: what keeps a blob that nobody names yet.
