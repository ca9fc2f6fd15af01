//! The key-value port: what the engine, the log and the blobs need of a disk, and nothing more.
//!
//! Two adapters stand behind it and pass one conformance suite: [`memory`], whose `crash()` goes back to what
//! was durable, and [`rocks`], the only place that knows RocksDB. The port has no merge operators and no
//! compaction filters, so that whatever is written can be understood by reading it.
//!
//! Three kinds of writing, by [`Durability`]: volatile (survives a crash from the next [`KeyValue::flush`] on),
//! buffered (from the next [`KeyValue::sync`] on) and synced (when `write` returns). A store uses one kind
//! only: mixing volatile with the others in one store is refused by nobody and understood by nobody.

pub mod memory;
pub mod port;
pub mod rocks;

pub use port::{Direction, Durability, KeyRange, KeyValue, KvError, Read, Row, Visit, WriteBatch};
