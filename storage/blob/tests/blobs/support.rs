//! Content, names and stores for these tests.

use std::{
    io::{self, Read},
    sync::Arc,
};

use securanet_blob::{BlobStore, Lease, Put};
use securanet_kv::{Direction, Durability, KeyRange, KeyValue, KvError, Row, Visit, WriteBatch, memory::MemoryStore};
use securanet_model::{BlobId, TenantId, UnixMillis};

pub(crate) const MIB: usize = 1024 * 1024;
pub(crate) const GRACE_MILLIS: u64 = 1000;
pub(crate) const TENANT: TenantId = TenantId::new(7);

/// The key of the only tenant.
pub(crate) fn hasher(tenant: TenantId) -> Option<blake3::Hasher> {
    (tenant == TENANT).then(|| blake3::Hasher::new_keyed(&[42; 32]))
}

pub(crate) fn name(content: &[u8]) -> BlobId {
    let hash = hasher(TENANT).unwrap().update(content).finalize();
    BlobId { tenant: TENANT, hash: *hash.as_bytes() }
}

/// Content of this size, distinct by seed; half of it compresses.
pub(crate) fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut noise = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut content = Vec::with_capacity(size + 64);
    while content.len() < size {
        for _ in 0..4 {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            content.extend_from_slice(&noise.to_be_bytes());
        }
        content.extend_from_slice(b"with kind regards, your sender  ");
    }
    content.truncate(size);
    content
}

pub(crate) fn at(millis: u64) -> UnixMillis {
    UnixMillis::new(millis)
}

/// A lease that ends at once: only the grace keeps.
pub(crate) fn no_lease(now: u64) -> Lease {
    Lease { now: at(now), until: at(now) }
}

pub(crate) fn blobs(kv: impl KeyValue) -> Arc<BlobStore> {
    Arc::new(BlobStore::with_grace_millis(Arc::new(kv), GRACE_MILLIS))
}

pub(crate) fn put(store: &BlobStore, content: &[u8], now: u64) -> (BlobId, Put) {
    let id = name(content);
    let put = store.put(id, &mut &*content, content.len() as u64, no_lease(now)).unwrap();
    (id, put)
}

pub(crate) fn read_all(store: &Arc<BlobStore>, id: BlobId) -> Vec<u8> {
    let mut open = store.open(id).unwrap();
    let mut all = Vec::new();
    while (all.len() as u64) < open.size_bytes() {
        let start = all.len() as u64;
        all.extend(open.read(start..open.size_bytes().min(start + 100_000)).unwrap());
    }
    all
}

/// All rows of a store.
pub(crate) fn rows(kv: &dyn KeyValue) -> Vec<Row> {
    kv.scan(&KeyRange { start: Vec::new(), end: None }, Direction::Forward, usize::MAX).unwrap()
}

/// Changes one bit in the middle of the first value whose key begins with this table's byte.
pub(crate) fn damage(kv: &dyn KeyValue, table: u8) {
    let (key, mut value) = rows(kv).into_iter().find(|(key, _)| key[0] == table).unwrap();
    let middle = value.len() / 2;
    value[middle] ^= 4;
    let mut batch = WriteBatch::new();
    batch.put(key, value);
    kv.write(batch, Durability::Synced).unwrap();
}

/// Content that breaks off with an error after some bytes.
pub(crate) struct Broken<'a>(pub(crate) &'a [u8]);

impl Read for Broken<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self.0.read(out)? {
            0 => Err(io::Error::other("connection lost")),
            length => Ok(length),
        }
    }
}

/// A store whose disk refuses to sync.
pub(crate) struct Unsyncable(pub(crate) MemoryStore);

impl securanet_kv::Read for Unsyncable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.0.get(key)
    }

    fn visit(&self, range: &KeyRange, direction: Direction, visit: Visit<'_>) -> Result<(), KvError> {
        self.0.visit(range, direction, visit)
    }
}

impl KeyValue for Unsyncable {
    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<(), KvError> {
        self.0.write(batch, durability)
    }

    fn flush(&self) -> Result<(), KvError> {
        self.0.flush()
    }

    fn sync(&self) -> Result<(), KvError> {
        Err(KvError::Io { path: "blob".to_owned(), message: "input/output error".to_owned() })
    }

    fn snapshot(&self) -> Box<dyn securanet_kv::Read> {
        self.0.snapshot()
    }

    fn ingest(&self, rows: &mut dyn Iterator<Item = Row>) -> Result<(), KvError> {
        self.0.ingest(rows)
    }

    fn size_on_disk_bytes(&self) -> Result<u64, KvError> {
        self.0.size_on_disk_bytes()
    }

    fn compact(&self, range: &KeyRange) -> Result<(), KvError> {
        self.0.compact(range)
    }
}
