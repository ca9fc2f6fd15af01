//! What survives: each kind of durability, and ingestion.

use securanet_kv::{Direction, Durability, KeyRange, KeyValue, KvError, Read, memory::MemoryStore};

use crate::subject::{Subject, batch, everything, keys, row};

#[test]
fn volatile_writes_vanish_together_unless_flushed() {
    for subject in Subject::each(Durability::Volatile) {
        let kv = subject.kv();
        kv.write(batch(&[("a", "1"), ("b", "1")]), Durability::Volatile).unwrap();
        kv.flush().unwrap();
        kv.write(batch(&[("a", "2"), ("c", "2")]), Durability::Volatile).unwrap();
        let mut more = batch(&[("d", "3")]);
        more.delete_range(KeyRange::new("b", "c"));
        kv.write(more, Durability::Volatile).unwrap();
        kv.sync().unwrap();
        let crashed = subject.crashed();
        let rows = crashed.kv().scan(&everything(), Direction::Forward, 10).unwrap();
        assert_eq!(rows, [row(b"a", b"1"), row(b"b", b"1")], "a sync is no flush");
        kv.flush().unwrap();
        let crashed = subject.crashed();
        let rows = crashed.kv().scan(&everything(), Direction::Forward, 10).unwrap();
        assert_eq!(rows, [row(b"a", b"2"), row(b"c", b"2"), row(b"d", b"3")]);
    }
}

#[test]
fn buffered_writes_survive_once_synced() {
    for subject in Subject::each(Durability::Buffered) {
        let kv = subject.kv();
        kv.write(batch(&[("a", "1"), ("b", "1")]), Durability::Buffered).unwrap();
        let mut change = batch(&[("c", "1")]);
        change.delete("a");
        kv.write(change, Durability::Buffered).unwrap();
        kv.sync().unwrap();
        assert_eq!(keys(subject.crashed().kv(), &everything(), Direction::Forward), ["b", "c"]);
    }
}

#[test]
fn synced_writes_survive() {
    for subject in Subject::each(Durability::Synced) {
        let kv = subject.kv();
        kv.write(batch(&[("a", "1")]), Durability::Buffered).unwrap();
        kv.write(batch(&[("b", "1")]), Durability::Synced).unwrap();
        assert_eq!(keys(subject.crashed().kv(), &everything(), Direction::Forward), ["a", "b"]);
    }
}

#[test]
fn memory_forgets_what_was_not_made_durable() {
    let store = MemoryStore::new();
    for number in ["1", "2", "3"] {
        store.write(batch(&[("a", number)]), Durability::Buffered).unwrap();
    }
    assert_eq!(store.writes_pending(), 3);
    store.crash_keeping(2);
    assert_eq!(store.get(b"a").unwrap(), Some(b"2".to_vec()));
    store.write(batch(&[("b", "")]), Durability::Buffered).unwrap();
    store.crash();
    assert_eq!(keys(&store, &everything(), Direction::Forward), ["a"]);
    store.crash();
    assert_eq!(keys(&store, &everything(), Direction::Forward), ["a"], "what survived one crash survives the next");
}

#[test]
fn everything_is_there_after_a_clean_end() {
    for subject in Subject::each(Durability::Buffered) {
        subject.kv().write(batch(&[("a", "1")]), Durability::Buffered).unwrap();
        subject.kv().sync().unwrap();
        assert_eq!(subject.reopened().kv().get(b"a").unwrap(), Some(b"1".to_vec()));
    }
}

#[test]
fn ingested_rows_replace_and_are_durable() {
    for subject in Subject::all() {
        let kv = subject.kv();
        kv.write(batch(&[("a", "old"), ("c", "old")]), Durability::Volatile).unwrap();
        let snapshot = kv.snapshot();
        let large = vec![7_u8; 300_000];
        let mut rows = vec![row(b"b", b"new"), row(b"c", b"new"), row(b"d", &large)].into_iter();
        kv.ingest(&mut rows).unwrap();
        kv.ingest(&mut std::iter::empty()).unwrap();
        assert_eq!(snapshot.get(b"c").unwrap(), Some(b"old".to_vec()));
        let crashed = subject.crashed();
        for read in [kv, crashed.kv()] {
            assert_eq!(keys(read, &everything(), Direction::Forward), ["a", "b", "c", "d"]);
            assert_eq!(read.get(b"c").unwrap(), Some(b"new".to_vec()));
            assert_eq!(read.get(b"d").unwrap(), Some(large.clone()));
        }
        kv.write(batch(&[("b", "newest")]), Durability::Buffered).unwrap();
        assert_eq!(kv.get(b"b").unwrap(), Some(b"newest".to_vec()));
    }
}

#[test]
fn rows_to_ingest_must_ascend() {
    for subject in Subject::all() {
        for rows in [vec![row(b"b", b""), row(b"a", b"")], vec![row(b"a", b""), row(b"a", b"")]] {
            let refused = subject.kv().ingest(&mut rows.into_iter());
            assert!(matches!(refused, Err(KvError::Unordered { .. })), "{refused:?}");
            assert_eq!(keys(subject.kv(), &everything(), Direction::Forward), Vec::<String>::new());
        }
    }
}
