//! Identifiers as newtypes, so that one cannot stand where another is meant.
//!
//! Ids of accounts, mailboxes, messages and threads come from counters that never go back (promise P3);
//! none of them is a Raft index, because an index means nothing after an account has moved.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name($inner);

        impl $name {
            /// Wraps a raw value.
            #[must_use]
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The raw value.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A Raft group: 0 is the directory, 1 and above are shards.
    GroupId(u32)
}
id! {
    /// A customer organisation inside a cluster; above domains. Part of every blob's name.
    TenantId(u32)
}
id! {
    /// A mail domain of ours.
    DomainId(u32)
}
id! {
    /// An account. Never reused.
    AccountId(u64)
}
id! {
    /// How often an account has moved between groups; a shard refuses another epoch than its own.
    Epoch(u32)
}
id! {
    /// A mailbox, unique within its account. Never reused.
    MailboxId(u32)
}
id! {
    /// RFC 9051 2.3.1.1 unique identifier of a message in a mailbox. Never 0.
    Uid(u32)
}
id! {
    /// RFC 9051 2.3.1.1 UIDVALIDITY of a mailbox. Never 0.
    UidValidity(u32)
}
id! {
    /// RFC 7162 mod-sequence: one counter per account, below 2^63. Never 0.
    ModSeq(u64)
}
id! {
    /// RFC 8474 EMAILID (and POP3 UIDL): a message's identity within its account.
    EmailId(u64)
}
id! {
    /// RFC 8474 THREADID: a conversation within its account.
    ThreadId(u64)
}
id! {
    /// One replica of one group; never reused within the group.
    ReplicaId(u64)
}
id! {
    /// A device password of an account.
    AppPasswordId(u32)
}
id! {
    /// The key a [`crate::content::Sealed`] value was encrypted with; 0 means not encrypted.
    KeyId(u32)
}

impl GroupId {
    /// Group 0, the directory.
    pub const DIRECTORY: Self = Self(0);
}

impl Uid {
    /// The first UID of a mailbox.
    pub const FIRST: Self = Self(1);

    /// The UID after this one; saturates at the end of the 32-bit space.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl ModSeq {
    /// Before the first change.
    pub const ZERO: Self = Self(0);

    /// The mod-sequence after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Names one request of a client, the same on each try of it (a UUIDv7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId([u8; 16]);

impl RequestId {
    /// Wraps the sixteen bytes of a UUID.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The sixteen bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).fmt(f)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A blob's name: tenant and keyed BLAKE3 of its decoded, uncompressed bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlobId {
    /// Whose content it is; the key of the hash is the tenant's.
    pub tenant: TenantId,
    /// Keyed BLAKE3 of the decoded bytes.
    pub hash: [u8; 32],
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-", self.tenant)?;
        self.hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A 16-byte keyed hash: what the engine compares where it must not see plaintext.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyedHash(pub [u8; 16]);
