//! Message content at rest: what is kept beside the log and the state.
//!
//! Two halves. The content side takes a message apart, compresses and seals it ([`intake`]), and puts it together
//! again ([`reader`]); on the way in it finds the message's structure, envelope and preview.
//! The blob side ([`store`]) keeps the large parts: one copy per node of each distinct content, named by tenant
//! and keyed hash, in chunks with checksums; [`collect`] deletes what nobody names any more and leaves
//! what somebody is about to name; [`scrub`] looks whether everything is still there and whole.
//!
//! It knows nothing of groups and logs: who names a blob is told to it through traits.

pub mod budget;
mod codec;
pub mod collect;
mod deposit;
mod envelope;
pub mod error;
pub mod frame;
pub mod fuzz;
mod identity;
pub mod intake;
pub mod keys;
mod lease;
mod mime;
mod open;
mod preview;
pub mod reader;
mod recipe;
pub mod scrub;
pub mod seal;
pub mod store;
mod stored;
mod suspects;
mod sync;

pub use budget::{Budget, Reservation};
pub use error::BlobError;
pub use intake::{Intake, IntakeSettings, Spool};
pub use keys::ContentKeys;
pub use open::OpenBlob;
pub use reader::Reader;
pub use seal::{open_summary, seal_prefix};
pub use store::{BlobStore, Lease, Put, Verified};
