//! IMAP4rev1 and IMAP4rev2 for the mailboxes of a store, over [`securanet_gateway::store::Store`].

pub mod grammar;
