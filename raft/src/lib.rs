//! securanet-raft.
