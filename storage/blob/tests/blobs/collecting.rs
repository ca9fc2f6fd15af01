//! A blob is deleted only when nobody names it, nobody logged it, nobody holds it and its grace is over.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use securanet_blob::{
    BlobError, BlobStore, Lease, Verified,
    collect::{Collected, Collector, Reachability},
};
use securanet_kv::{
    KeyRange, KeyValue,
    memory::MemoryStore,
    rocks::{Profile, RocksStore},
};
use securanet_model::BlobId;
use tempfile::TempDir;

use crate::support::{Broken, GRACE_MILLIS, MIB, at, blobs, content, hasher, name, no_lease, put, rows};

/// Groups that say what the test tells them.
struct Groups {
    replayed: Cell<bool>,
    named: RefCell<BTreeSet<BlobId>>,
    logged: Cell<u64>,
    settled: Cell<u64>,
}

impl Groups {
    fn new() -> Self {
        Self { replayed: Cell::new(true), named: RefCell::default(), logged: Cell::new(0), settled: Cell::new(0) }
    }

    fn settle(&self) {
        self.settled.set(self.logged.get());
    }
}

impl Reachability for Groups {
    type Position = u64;

    fn is_replayed(&self) -> bool {
        self.replayed.get()
    }

    fn reachable(&self, blobs: &[BlobId]) -> Result<Vec<bool>, BlobError> {
        Ok(blobs.iter().map(|id| self.named.borrow().contains(id)).collect())
    }

    fn position(&self) -> Result<u64, BlobError> {
        Ok(self.logged.get())
    }

    fn is_settled(&self, position: &u64) -> Result<bool, BlobError> {
        Ok(*position <= self.settled.get())
    }
}

const LATER: u64 = 5 + GRACE_MILLIS;

fn step(collector: &mut Collector<u64>, store: &BlobStore, groups: &Groups, now: u64) -> Collected {
    collector.step(store, groups, at(now)).unwrap()
}

/// Steps until a pass has ended, and what it deleted.
fn pass(store: &BlobStore, groups: &Groups, now: u64) -> u64 {
    let mut collector = Collector::new(3);
    let mut blobs = 0;
    for _ in 0..1000 {
        let collected = step(&mut collector, store, groups, now);
        blobs += collected.blobs;
        if collected.pass_ended {
            return blobs;
        }
    }
    panic!("the pass did not end");
}

#[test]
fn what_nobody_names_is_deleted_and_the_rest_stays() {
    let kv = MemoryStore::new();
    let store = blobs(kv.clone());
    let groups = Groups::new();
    let ids: Vec<_> = (0..20).map(|seed| put(&store, &content(seed, 20_000), 5).0).collect();
    let large = put(&store, &content(99, 3 * MIB), 5).0;
    groups.named.borrow_mut().extend(&ids[..10]);
    assert_eq!(pass(&store, &groups, LATER), 11);
    let mut left = ids[..10].to_vec();
    left.sort_unstable();
    assert_eq!(store.list(None, 100).unwrap(), left);
    assert!(!store.contains(large).unwrap());
    assert_eq!(rows(&kv).len(), 20, "a header and a chunk each");
    assert_eq!(pass(&store, &groups, LATER), 0);
}

#[test]
fn nothing_happens_while_a_group_replays() {
    let store = blobs(MemoryStore::new());
    let groups = Groups::new();
    groups.replayed.set(false);
    let (id, _) = put(&store, &content(1, 100), 5);
    let mut collector = Collector::new(10);
    for _ in 0..5 {
        assert_eq!(step(&mut collector, &store, &groups, LATER), Collected::default());
    }
    assert!(store.contains(id).unwrap());
}

#[test]
fn the_grace_protects_also_after_a_restart() {
    let kv = MemoryStore::new();
    let (id, _) = put(&blobs(kv.clone()), &content(1, 100), 5);
    let store = blobs(kv);
    let groups = Groups::new();
    assert_eq!(pass(&store, &groups, LATER - 1), 0);
    assert!(store.contains(id).unwrap());
    assert_eq!(pass(&store, &groups, LATER), 1);
}

#[test]
fn whoever_puts_or_holds_a_known_blob_begins_its_grace_anew() {
    let kv = MemoryStore::new();
    let store = blobs(kv.clone());
    let groups = Groups::new();
    let (first, _) = put(&store, &content(1, 100), 5);
    let (second, _) = put(&store, &content(2, 100), 5);
    put(&store, &content(1, 100), LATER);
    assert!(store.hold(second, no_lease(LATER)).unwrap());
    let store = blobs(kv);
    assert_eq!(pass(&store, &groups, LATER + 1), 0, "even though the memory of it is gone");
    assert!(store.contains(first).unwrap() && store.contains(second).unwrap());
    assert_eq!(pass(&store, &groups, LATER + GRACE_MILLIS), 2);
}

#[test]
fn leases_and_readers_protect() {
    let store = blobs(MemoryStore::new());
    let groups = Groups::new();
    let (read, _) = put(&store, &content(1, 100), 5);
    let leased = content(2, 100);
    let until = at(LATER + 500);
    store.put(name(&leased), &mut &*leased, 100, Lease { now: at(5), until }).unwrap();
    let open = store.open(read).unwrap();
    assert_eq!(pass(&store, &groups, LATER), 0);
    drop(open);
    assert_eq!(pass(&store, &groups, LATER), 1);
    assert_eq!(pass(&store, &groups, LATER + 499), 0);
    assert_eq!(pass(&store, &groups, LATER + 500), 1);
}

#[test]
fn a_suspect_waits_until_what_was_logged_is_settled() {
    let store = blobs(MemoryStore::new());
    let groups = Groups::new();
    groups.logged.set(9);
    let (id, _) = put(&store, &content(1, 100), 5);
    let mut collector = Collector::new(10);
    for _ in 0..5 {
        let collected = step(&mut collector, &store, &groups, LATER);
        assert_eq!(collected, Collected::default());
    }
    // The entry that was in the log is applied, and names the blob.
    groups.named.borrow_mut().insert(id);
    groups.settle();
    step(&mut collector, &store, &groups, LATER);
    assert!(store.contains(id).unwrap());
}

#[test]
fn whoever_touches_a_suspect_saves_it_though_nobody_names_it_yet() {
    let store = blobs(MemoryStore::new());
    let groups = Groups::new();
    groups.logged.set(1);
    let touched: [fn(&Arc<BlobStore>, BlobId); 3] = [
        |store, id| assert!(store.hold(id, no_lease(LATER)).unwrap()),
        |store, _| _ = put(store, &content(1, 100), LATER),
        |store, id| drop(store.open(id).unwrap()),
    ];
    for touch in touched {
        let (id, _) = put(&store, &content(1, 100), 5);
        groups.settled.set(0);
        let mut collector = Collector::new(10);
        step(&mut collector, &store, &groups, LATER);
        touch(&store, id);
        groups.settle();
        assert_eq!(step(&mut collector, &store, &groups, LATER).blobs, 0);
        assert!(store.contains(id).unwrap());
        store.delete(id, at(LATER)).unwrap();
    }
}

#[test]
fn groups_that_cannot_tell_keep_everything() {
    struct Silent;
    impl Reachability for Silent {
        type Position = ();
        fn is_replayed(&self) -> bool {
            true
        }
        fn reachable(&self, blobs: &[BlobId]) -> Result<Vec<bool>, BlobError> {
            Ok(vec![false; blobs.len() - 1])
        }
        fn position(&self) -> Result<(), BlobError> {
            Ok(())
        }
        fn is_settled(&self, (): &()) -> Result<bool, BlobError> {
            Ok(true)
        }
    }
    let store = blobs(MemoryStore::new());
    let (id, _) = put(&store, &content(1, 100), 5);
    let mut collector = Collector::new(10);
    for _ in 0..3 {
        assert!(matches!(collector.step(&store, &Silent, at(LATER)), Err(BlobError::Groups(_))));
    }
    assert!(store.contains(id).unwrap());
}

#[test]
fn puts_that_were_cut_off_are_swept_when_their_grace_is_over() {
    let kv = MemoryStore::new();
    let store = blobs(kv.clone());
    let groups = Groups::new();
    let cut = content(1, 3 * MIB);
    store.put(name(&cut), &mut Broken(&cut[..5 * MIB / 2]), cut.len() as u64, no_lease(5)).unwrap_err();
    assert_eq!(rows(&kv).len(), 3, "two chunks and the note that they are unfinished");
    pass(&store, &groups, 5 + GRACE_MILLIS);
    assert_eq!(rows(&kv).len(), 3);
    pass(&store, &groups, 6 + GRACE_MILLIS);
    assert_eq!(rows(&kv), []);
}

/// Opens the blob, or puts it and opens it, until it is open; then it must be whole.
fn use_blob(store: &Arc<BlobStore>, content: &[u8], now: &AtomicU64) {
    let id = name(content);
    let mut open = loop {
        match store.open(id) {
            Ok(open) => break open,
            Err(BlobError::Missing(_)) => _ = put(store, content, now.load(Ordering::SeqCst)),
            Err(error) => panic!("{error}"),
        }
    };
    std::thread::yield_now();
    assert!(open.read(0..content.len() as u64).unwrap() == content);
    assert!(matches!(store.verify(id, &hasher).unwrap(), Verified::Whole { .. }));
}

#[test]
fn what_is_open_stays_whole_while_collection_races_with_puts() {
    let directory = TempDir::new().unwrap();
    let kv = Arc::new(RocksStore::open(directory.path(), Profile::blob()).unwrap());
    let store = Arc::new(BlobStore::with_grace_millis(kv.clone(), GRACE_MILLIS));
    let (groups, stop, now) = (Groups::new(), AtomicBool::new(false), AtomicU64::new(5));
    std::thread::scope(|scope| {
        let users: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| (0..300).for_each(|round| use_blob(&store, &content(round % 3, 20_000), &now))))
            .collect();
        scope.spawn(|| {
            users.into_iter().for_each(|user| user.join().unwrap());
            stop.store(true, Ordering::SeqCst);
        });
        let (mut collector, mut deleted) = (Collector::new(2), 0);
        while !stop.load(Ordering::SeqCst) {
            // Time flies: the grace of everything is over at each step, so only being open protects.
            let time = now.fetch_add(2 * GRACE_MILLIS, Ordering::SeqCst) + 2 * GRACE_MILLIS;
            deleted += step(&mut collector, &store, &groups, time).blobs;
        }
        assert!(deleted > 0, "collection never raced");
    });
    pass(&store, &groups, now.load(Ordering::SeqCst) + GRACE_MILLIS);
    assert_eq!(rows(kv.as_ref()), []);
}

#[test]
fn deleting_gives_space_back_on_disk() {
    let directory = TempDir::new().unwrap();
    let disk = RocksStore::open(directory.path(), Profile::blob()).unwrap();
    let kv: Arc<dyn KeyValue> = Arc::new(disk);
    let store = BlobStore::with_grace_millis(kv.clone(), GRACE_MILLIS);
    let groups = Groups::new();
    let everything = KeyRange { start: Vec::new(), end: None };
    for seed in 0..60 {
        let (id, _) = put(&store, &content(seed, 600_000), 5);
        if seed % 6 == 0 {
            groups.named.borrow_mut().insert(id);
        }
    }
    kv.compact(&everything).unwrap();
    let full = kv.size_on_disk_bytes().unwrap();
    assert_eq!(pass(&store, &groups, LATER), 50);
    kv.compact(&everything).unwrap();
    let rest = kv.size_on_disk_bytes().unwrap();
    assert!(rest < full / 3, "{rest} of {full}");
}
