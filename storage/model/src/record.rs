//! How a value becomes a record: one byte of version, then postcard.
//!
//! Everything written to disk or sent starts with its version, from the first commit on. A record of an
//! unknown version is an error, never skipped: the reader does not know what it would lose.

use serde::{Serialize, de::DeserializeOwned};

/// The version that this code writes.
pub const VERSION: u8 = 1;

/// Why a record could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// There is not even a version byte.
    #[error("the record is empty")]
    Empty,
    /// It was written by a newer release.
    #[error("the record has version {found}; this release reads up to {VERSION}: run the release that wrote it")]
    UnknownVersion {
        /// The version byte found.
        found: u8,
    },
    /// The bytes do not decode.
    #[error("the record is damaged: {0}")]
    Damaged(String),
}

/// Encodes a value as a record of the current version.
///
/// # Panics
/// Never for the types of this crate: they contain nothing that postcard refuses.
#[must_use]
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    encode_into(value, Vec::with_capacity(64))
}

/// Encodes a value behind what `buffer` already holds.
#[must_use]
#[allow(clippy::expect_used, reason = "writing to a Vec fails only for a type that postcard cannot express")]
pub fn encode_into<T: Serialize + ?Sized>(value: &T, mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.push(VERSION);
    postcard::to_extend(value, buffer).expect("a model type is always encodable")
}

/// Decodes a record.
///
/// # Errors
/// [`RecordError`] when it is empty, of an unknown version, or damaged.
pub fn decode<T: DeserializeOwned>(record: &[u8]) -> Result<T, RecordError> {
    match record.split_first() {
        None => Err(RecordError::Empty),
        Some((&VERSION, body)) => postcard::from_bytes(body).map_err(|error| RecordError::Damaged(error.to_string())),
        Some((&found, _)) => Err(RecordError::UnknownVersion { found }),
    }
}
