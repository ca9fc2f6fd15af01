//! The cluster harness: real processes in sites, every way between sites through a [link](crate::link), load with a ledger of
//! what was acknowledged, and a nemesis that breaks things by a seed.
//!
//! - [`sites`]: nodes, their files and the links between them; [`node`] is one process.
//! - [`console`]: the same from a command line (`src/bin/sites.rs`).
//! - [`load`]: senders, submitters and people at IMAP; [`ledger`] and [`mailbox`] keep what they were told.
//! - [`chains`]: values that are read and written everywhere; [`history`] says whether that was linearizable.
//! - [`nemesis`]: faults; each proves that it took effect.
//! - [`check`]: what must be true afterwards; [`replicas`] compares what the stores have on their disks.
//! - [`branches`]: what seldom happens, counted.

pub mod branches;
pub mod chains;
pub mod check;
pub mod console;
pub mod form;
pub mod history;
pub mod http;
pub mod ledger;
pub mod load;
pub mod mailbox;
pub mod nemesis;
pub mod node;
pub mod person;
pub mod ports;
pub mod replicas;
pub mod resync;
pub mod sites;
pub mod small_disk;
