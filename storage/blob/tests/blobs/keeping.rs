//! Putting, syncing, listing, deleting.

use std::sync::Arc;

use securanet_blob::{BlobError, BlobStore, Lease, Put, Verified};
use securanet_kv::{
    KeyValue,
    memory::MemoryStore,
    rocks::{Profile, RocksStore},
};

use crate::support::{
    Broken, GRACE_MILLIS, MIB, Unsyncable, at, blobs, content, damage, hasher, name, no_lease, put, read_all, rows,
};

#[test]
fn content_of_any_size_comes_back() {
    let directory = tempfile::TempDir::new().unwrap();
    let disk = RocksStore::open(directory.path(), Profile::blob()).unwrap();
    for store in [blobs(MemoryStore::new()), blobs(disk)] {
        for size in [0, 1, 16 * 1024, MIB - 1, MIB, MIB + 1, 2 * MIB, 5 * MIB / 2] {
            let content = content(size as u64, size);
            let (id, found) = put(&store, &content, 5);
            assert_eq!(found, Put::New, "{size}");
            assert!(store.contains(id).unwrap());
            assert_eq!(store.size_bytes(id).unwrap(), Some(size as u64));
            assert!(read_all(&store, id) == content, "{size}");
            let whole = Verified::Whole { size_bytes: size as u64, hashed: true };
            assert_eq!(store.verify(id, &hasher).unwrap(), whole);
        }
    }
}

#[test]
fn content_is_kept_once_and_not_even_read_again() {
    let kv = MemoryStore::new();
    let store = blobs(kv.clone());
    let content = content(1, 50_000);
    let (id, _) = put(&store, &content, 5);
    let before = rows(&kv);
    let again = store.put(id, &mut Broken(&[]), 50_000, no_lease(6)).unwrap();
    assert_eq!(again, Put::Known);
    assert_eq!(rows(&kv), before);
}

#[test]
fn the_same_content_of_another_tenant_is_another_blob() {
    let store = blobs(MemoryStore::new());
    let content = content(1, 50_000);
    let (id, _) = put(&store, &content, 5);
    let other = securanet_model::BlobId { tenant: securanet_model::TenantId::new(8), ..id };
    assert!(!store.contains(other).unwrap());
}

#[test]
fn what_compresses_takes_less_and_what_does_not_takes_hardly_more() {
    let kv = MemoryStore::new();
    let store = blobs(kv.clone());
    put(&store, &b"the same line again and again\r\n".repeat(10_000), 5);
    assert!(kv.size_on_disk_bytes().unwrap() < 10_000);
    let kv = MemoryStore::new();
    let store = blobs(kv.clone());
    let mut noise = blake3::Hasher::new().finalize_xof();
    let mut random = vec![0; 2 * MIB];
    noise.fill(&mut random);
    put(&store, &random, 5);
    assert!(kv.size_on_disk_bytes().unwrap() < 2 * MIB as u64 + 300);
}

#[test]
fn content_of_another_size_than_announced_is_refused_and_not_there() {
    let store = blobs(MemoryStore::new());
    for size in [40_000, 3 * MIB] {
        let content = content(1, size);
        let id = name(&content);
        for announced in [size - 1, size + 1, size + MIB, 0, usize::MAX] {
            let refused = store.put(id, &mut &*content, announced as u64, no_lease(5));
            assert!(
                matches!(refused, Err(BlobError::Size { announced_bytes, .. }) if announced_bytes == announced as u64)
            );
            assert!(!store.contains(id).unwrap());
        }
        let broken = store.put(id, &mut Broken(&content[..size / 2]), size as u64, no_lease(5));
        assert!(matches!(broken, Err(BlobError::Content(_))));
        assert!(!store.contains(id).unwrap());
        assert_eq!(put(&store, &content, 5).1, Put::New, "a refused put does not stand in the way");
        assert!(read_all(&store, id) == content);
    }
}

#[test]
fn a_crash_at_any_point_leaves_the_whole_blob_or_none() {
    for size in [40_000, 7 * MIB / 2] {
        let content = content(1, size);
        let id = name(&content);
        for kept in 0..6 {
            let kv = MemoryStore::new();
            let store = blobs(kv.clone());
            put(&store, &content, 5);
            let writes = kv.writes_pending();
            kv.crash_keeping(kept);
            let expected = if kept >= writes {
                Verified::Whole { size_bytes: size as u64, hashed: true }
            } else {
                Verified::Missing
            };
            assert_eq!(store.verify(id, &hasher).unwrap(), expected, "{kept} of {writes} writes kept");
            put(&store, &content, 6);
            store.sync().unwrap();
            kv.crash();
            assert!(read_all(&store, id) == content);
        }
    }
}

#[test]
fn a_synced_blob_survives_whoever_put_it() {
    let kv = MemoryStore::new();
    let store = blobs(kv.clone());
    let content = content(1, 40_000);
    let (id, _) = put(&store, &content, 5);
    assert_eq!(put(&store, &content, 5).1, Put::Known);
    store.sync().unwrap();
    kv.crash();
    assert!(read_all(&store, id) == content);
}

#[test]
fn a_failed_sync_is_fatal_and_stays_so() {
    let store = blobs(Unsyncable(MemoryStore::new()));
    put(&store, &content(1, 100), 5);
    for _ in 0..2 {
        let error = store.sync().unwrap_err();
        assert!(error.is_fatal(), "{error}");
        assert!(error.to_string().contains("input/output error"), "{error}");
    }
}

#[test]
fn blobs_are_listed_in_order_page_by_page() {
    let store = blobs(MemoryStore::new());
    let mut ids: Vec<_> = (0..25).map(|seed| put(&store, &content(seed, 100), 5).0).collect();
    ids.sort_unstable();
    let (mut listed, mut after) = (Vec::<securanet_model::BlobId>::new(), None);
    loop {
        let page = store.list(after, 10).unwrap();
        after = page.last().copied();
        listed.extend(&page);
        if page.len() < 10 {
            break;
        }
    }
    assert_eq!(listed, ids);
    assert_eq!(store.list(None, 0).unwrap(), []);
}

#[test]
fn a_blob_with_a_damaged_header_is_written_anew() {
    let kv = MemoryStore::new();
    let store = blobs(kv.clone());
    let content = content(1, 40_000);
    let (id, _) = put(&store, &content, 5);
    damage(&kv, 1);
    assert!(matches!(store.contains(id), Err(BlobError::Damaged { .. })));
    assert!(!store.hold(id, no_lease(6)).unwrap(), "whoever asks for it gets it from elsewhere");
    assert_eq!(put(&store, &content, 6).1, Put::New);
    assert!(read_all(&store, id) == content);
}

#[test]
fn delete_removes_every_row_unless_somebody_holds_the_blob() {
    let kv = MemoryStore::new();
    let store = blobs(kv.clone());
    let content = content(1, 3 * MIB);
    let (id, _) = put(&store, &content, 5);
    let open = store.open(id).unwrap();
    assert!(!store.delete(id, at(6)).unwrap());
    drop(open);
    store.hold(id, Lease { now: at(6), until: at(6 + 2 * GRACE_MILLIS) }).unwrap();
    assert!(!store.delete(id, at(7)).unwrap(), "under a lease that outlasts the grace");
    assert!(store.delete(id, at(6 + 2 * GRACE_MILLIS)).unwrap());
    assert_eq!(rows(&kv), []);
}

#[test]
fn many_put_the_same_and_different_blobs_at_once() {
    let directory = tempfile::TempDir::new().unwrap();
    let kv = RocksStore::open(directory.path(), Profile::blob()).unwrap();
    let store = Arc::new(BlobStore::new(Arc::new(kv)));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..6 {
                    let shared = content(1000 + round, 3 * MIB / 2);
                    let own = content(round * 4 + thread, 30_000);
                    for content in [shared, own] {
                        let (id, _) = put(store, &content, 5);
                        store.sync().unwrap();
                        assert!(read_all(store, id) == content);
                    }
                }
            });
        }
    });
    assert_eq!(store.list(None, 100).unwrap().len(), 6 + 24);
}
