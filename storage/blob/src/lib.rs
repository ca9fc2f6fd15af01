//! Message content at rest: what is kept beside the log and the state.
//!
//! Two halves. The content side takes a message apart, compresses and seals it, and puts it together again.
//! The blob side ([`store`]) keeps the large parts: one copy per node of each distinct content, named by tenant
//! and keyed hash, in chunks with checksums; [`collect`] deletes what nobody names any more, [`lease`] holds
//! what somebody is about to name, [`scrub`] looks whether everything is still there and whole.
//!
//! It knows nothing of groups and logs: who names a blob is told to it through traits.

pub mod collect;
pub mod error;
pub mod lease;
pub mod scrub;
pub mod store;

pub use error::BlobError;
pub use store::{BlobStore, Lease, OpenBlob, Put, Verified};
