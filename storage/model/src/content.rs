//! Message content as the engine and the log see it: sealed bytes, lengths, names of blobs.
//!
//! The store's front splits, compresses and seals a message *before* it is proposed, so that neither the
//! log nor the engine ever holds plaintext once encryption is switched on.

use serde::{Deserialize, Serialize};

use crate::{BlobId, KeyId, KeyedHash, UnixMillis};

/// How sealed bytes were compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Codec {
    /// Not compressed.
    Plain,
    /// One zstd frame.
    Zstd,
}

/// Bytes that only the store's front can open: compressed, then (key id not 0) encrypted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sealed {
    /// Layout of what is inside, for whoever opens it.
    pub format: u8,
    /// How it was compressed.
    pub codec: Codec,
    /// With which key it was encrypted.
    pub key: KeyId,
    /// The sealed bytes.
    #[serde(with = "bytes_field")]
    pub bytes: Vec<u8>,
}

impl Sealed {
    /// Bytes as they are: neither compressed nor encrypted.
    #[must_use]
    pub const fn plain(format: u8, bytes: Vec<u8>) -> Self {
        Self { format, codec: Codec::Plain, key: KeyId::new(0), bytes }
    }
}

/// A blob as a message names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct BlobRef {
    /// The blob.
    pub id: BlobId,
    /// Size of its decoded, uncompressed bytes.
    pub size_bytes: u64,
}

/// A message ready to be named by a command: its parts are durable, its small bytes are here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NewMessage {
    /// Octets of the message as a client fetches it, without a recipient's own prefix.
    pub size_bytes: u64,
    /// The recipe with all inline bytes.
    pub recipe: Sealed,
    /// The blobs that the recipe names, distinct, sorted.
    pub blobs: Vec<BlobRef>,
    /// A record of [`crate::summary::Summary`].
    pub summary: Sealed,
    /// Keyed hashes of Message-ID, In-Reply-To and References, own id first: they make the threads.
    pub thread_keys: Vec<KeyedHash>,
    /// When the message came to be, as IMAP shows it; `None`: the time of the commit.
    pub internal_date: Option<UnixMillis>,
}

/// What the store's front answers once a message has been taken in and its blobs are durable.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ingested {
    /// What commands carry.
    pub message: NewMessage,
    /// How many Received fields the message had when it came (RFC 5321 6.3), trace not counted.
    pub received_count: u32,
    /// Keyed hash of Message-ID and of the bytes before our own trace: recognises a sender's repeat.
    pub repeat_key: KeyedHash,
    /// The Message-ID as written, for traces and logs; at most 255 octets.
    pub message_id: Option<String>,
    /// The addresses of the Delivered-To fields that it came with, in canonical form: the first hundred,
    /// which are the newest. Who
    /// sends it on knows by them that it was here before.
    pub delivered_to: Vec<String>,
    /// Until when the store keeps the blobs for a command that will name them.
    pub lease_until: UnixMillis,
}

/// `serde_bytes` for a `Vec<u8>`: one length and one copy, instead of an element at a time.
pub mod bytes_field {
    use std::fmt;

    use serde::{Deserializer, Serializer, de::Visitor};

    /// Serialises as bytes.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    /// Deserialises bytes.
    ///
    /// # Errors
    /// Those of the deserializer.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}
