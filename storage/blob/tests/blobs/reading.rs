//! Ranges and damage.

use securanet_blob::{BlobError, Verified};
use securanet_kv::{Durability, KeyValue, WriteBatch, memory::MemoryStore};

use crate::support::{MIB, blobs, content, damage, hasher, name, put, read_all, rows};

#[test]
fn every_range_up_to_a_chunk_can_be_read() {
    let store = blobs(MemoryStore::new());
    let content = content(1, 5 * MIB / 2);
    let (id, _) = put(&store, &content, 5);
    let mut open = store.open(id).unwrap();
    let edges = [0, 1, 1000, MIB - 1, MIB, MIB + 1, 2 * MIB - 1, 2 * MIB, 5 * MIB / 2 - 1, 5 * MIB / 2];
    for start in edges {
        for end in edges.into_iter().filter(|end| (start..=start + MIB).contains(end)) {
            let range = start as u64..end as u64;
            assert!(store.read(id, range.clone()).unwrap() == content[start..end], "{range:?}");
            assert!(open.read(range.clone()).unwrap() == content[start..end], "{range:?} of the open one");
        }
    }
}

#[test]
fn small_steps_forward_and_back_give_the_content() {
    let store = blobs(MemoryStore::new());
    let content = content(1, MIB + 5000);
    let (id, _) = put(&store, &content, 5);
    assert!(read_all(&store, id) == content);
    let mut open = store.open(id).unwrap();
    for start in (0..content.len() - 7000).rev().step_by(6999) {
        let range = start as u64..start as u64 + 7000;
        assert!(open.read(range).unwrap() == content[start..start + 7000]);
    }
}

#[test]
fn ranges_that_do_not_fit_are_refused() {
    let store = blobs(MemoryStore::new());
    let (id, _) = put(&store, &content(1, 2 * MIB), 5);
    let size = 2 * MIB as u64;
    #[allow(clippy::reversed_empty_ranges, reason = "that is what is tried")]
    let bad = [0..size + 1, size..size + 1, 5..4, 0..MIB as u64 + 1, u64::MAX - 1..u64::MAX];
    for range in bad {
        let refused = store.read(id, range.clone());
        assert!(matches!(refused, Err(BlobError::Range { size_bytes, .. }) if size_bytes == size), "{range:?}");
        assert!(matches!(store.open(id).unwrap().read(range), Err(BlobError::Range { .. })));
    }
    let absent = name(b"absent");
    assert!(matches!(store.read(absent, 0..0), Err(BlobError::Missing(id)) if id == absent));
    assert!(matches!(store.open(absent).err(), Some(BlobError::Missing(_))));
    assert_eq!(store.size_bytes(absent).unwrap(), None);
    assert_eq!(store.verify(absent, &hasher).unwrap(), Verified::Missing);
}

#[test]
fn a_damaged_chunk_is_an_error_that_names_the_blob() {
    let kv = MemoryStore::new();
    let store = blobs(kv.clone());
    let (id, _) = put(&store, &content(1, 3 * MIB), 5);
    damage(&kv, 2);
    let error = store.read(id, 0..10).unwrap_err();
    assert!(error.is_damage());
    assert!(error.to_string().contains(&id.to_string()) && error.to_string().contains("chunk 0"), "{error}");
    assert!(matches!(store.verify(id, &hasher).unwrap(), Verified::Damaged { what } if what.contains("chunk 0")));
    store.read(id, 2 * MIB as u64..2 * MIB as u64 + 10).unwrap();
}

#[test]
fn a_lost_chunk_is_damage() {
    let kv = MemoryStore::new();
    let store = blobs(kv.clone());
    let (id, _) = put(&store, &content(1, 3 * MIB), 5);
    let last_chunk = rows(&kv).into_iter().rfind(|(key, _)| key[0] == 2).unwrap().0;
    let mut batch = WriteBatch::new();
    batch.delete(last_chunk);
    kv.write(batch, Durability::Synced).unwrap();
    assert!(matches!(store.verify(id, &|_| None).unwrap(), Verified::Damaged { what } if what.contains("missing")));
}

#[test]
fn content_under_a_wrong_name_is_found_with_the_key_only() {
    let store = blobs(MemoryStore::new());
    let wrong = name(b"something else");
    let content = content(1, 40_000);
    store.put(wrong, &mut &*content, 40_000, crate::support::no_lease(5)).unwrap();
    assert_eq!(store.verify(wrong, &|_| None).unwrap(), Verified::Whole { size_bytes: 40_000, hashed: false });
    assert!(matches!(store.verify(wrong, &hasher).unwrap(), Verified::Damaged { what } if what.contains("hash")));
}
