//! The keys that name content: derived per tenant from the cluster's content key.
//!
//! A name is a keyed hash, so that who sees names (the engine, a log, another tenant) cannot test whether a known
//! file is among them. Each purpose and each tenant has a key of its own: the same bytes have unrelated names in
//! two tenants, and nothing is deduplicated across them.

use securanet_model::{BlobId, KeyedHash, TenantId};

// The contexts of BLAKE3's key derivation: fixed for ever, because stored names depend on them.
const BLOB_CONTEXT: &str = "securanet-mail 2025 content key v1: names of blobs";
const THREAD_CONTEXT: &str = "securanet-mail 2025 content key v1: message ids of threads";
const REPEAT_CONTEXT: &str = "securanet-mail 2025 content key v1: repeats of messages";

/// The cluster's content key (`content_key` of the directory's cluster record). No `Debug`: it is a secret.
#[derive(Clone)]
pub struct ContentKeys {
    content_key: [u8; 32],
}

impl ContentKeys {
    /// Wraps the cluster's content key.
    #[must_use]
    pub const fn new(content_key: [u8; 32]) -> Self {
        Self { content_key }
    }

    /// The hasher whose output names a tenant's blobs, fed with their decoded bytes.
    #[must_use]
    pub fn blob_hasher(&self, tenant: TenantId) -> blake3::Hasher {
        self.hasher(BLOB_CONTEXT, tenant)
    }

    /// The name of a blob with these decoded bytes.
    #[must_use]
    pub fn blob_id(&self, tenant: TenantId, content: &[u8]) -> BlobId {
        BlobId { tenant, hash: *self.blob_hasher(tenant).update(content).finalize().as_bytes() }
    }

    /// Hashes message ids, each in its one spelling.
    pub(crate) fn thread_hasher(&self, tenant: TenantId) -> blake3::Hasher {
        self.hasher(THREAD_CONTEXT, tenant)
    }

    /// Hashes whole messages.
    pub(crate) fn repeat_hasher(&self, tenant: TenantId) -> blake3::Hasher {
        self.hasher(REPEAT_CONTEXT, tenant)
    }

    fn hasher(&self, context: &str, tenant: TenantId) -> blake3::Hasher {
        let mut derive = blake3::Hasher::new_derive_key(context);
        derive.update(&self.content_key).update(&tenant.get().to_be_bytes());
        blake3::Hasher::new_keyed(derive.finalize().as_bytes())
    }
}

/// The first half of a keyed hash: 128 bits tell apart what one account ever sees.
pub(crate) fn keyed_hash(hasher: &blake3::Hasher) -> KeyedHash {
    let mut hash = [0; 16];
    hasher.finalize_xof().fill(&mut hash);
    KeyedHash(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_purposes_and_clusters_have_unrelated_names() {
        let keys = ContentKeys::new([1; 32]);
        let tenant = TenantId::new(7);
        let names = [
            keys.blob_id(tenant, b"x").hash,
            keys.blob_id(TenantId::new(8), b"x").hash,
            ContentKeys::new([2; 32]).blob_id(tenant, b"x").hash,
            *keys.thread_hasher(tenant).update(b"x").finalize().as_bytes(),
            *keys.repeat_hasher(tenant).update(b"x").finalize().as_bytes(),
        ];
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    #[test]
    fn names_never_change() {
        let id = ContentKeys::new([1; 32]).blob_id(TenantId::new(7), b"content");
        assert_eq!(id.to_string(), "7-29770a709392e6c3bd84af8a33f82b34b7f860e36203cafaea8b1360d3c3608c");
    }
}
