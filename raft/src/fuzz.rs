//! Entries for fuzzing what is read from disk or from peers: must not panic, and what decodes encodes again.

use securanet_model::record;

use crate::{format, state::snapshot::Chunk};

/// A row of the log.
///
/// # Panics
/// When a decoded row does not survive a round trip: a bug.
pub fn fuzz_log_row(data: &[u8]) {
    let Ok(entry) = format::decode_entry(data) else { return };
    let again = format::decode_entry(&format::encode_entry(&entry));
    assert_eq!(again.as_ref(), Ok(&entry));
    if let openraft::EntryPayload::Normal(proposed) = &entry.payload {
        // Decoding a foreign proposal may fail, not panic.
        drop(proposed.proposal());
    }
}

/// A chunk of a snapshot.
///
/// # Panics
/// When a decoded chunk does not survive a round trip: a bug.
pub fn fuzz_snapshot_chunk(data: &[u8]) {
    let Ok(chunk) = Chunk::decode(data) else { return };
    let again = Chunk::decode(&record::encode(&chunk));
    assert_eq!(again.as_ref(), Ok(&chunk));
}
