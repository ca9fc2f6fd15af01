//! Reading and writing rows: order, bounds, batches, snapshots.

use std::ops::ControlFlow;

use securanet_kv::{Direction, Durability, KeyRange, WriteBatch};

use crate::subject::{Subject, batch, everything, keys, row};

#[test]
fn get_gives_the_last_value_or_nothing() {
    for subject in Subject::all() {
        let kv = subject.kv();
        assert_eq!(kv.get(b"a").unwrap(), None);
        kv.write(batch(&[("a", "1"), ("empty", "")]), Durability::Buffered).unwrap();
        kv.write(batch(&[("a", "2")]), Durability::Buffered).unwrap();
        assert_eq!(kv.get(b"a").unwrap(), Some(b"2".to_vec()));
        assert_eq!(kv.get(b"empty").unwrap(), Some(Vec::new()));
        assert_eq!(kv.get(b"").unwrap(), None);
    }
}

#[test]
fn the_empty_key_is_a_key() {
    for subject in Subject::all() {
        let kv = subject.kv();
        kv.write(batch(&[("", "first"), ("a", "1")]), Durability::Buffered).unwrap();
        assert_eq!(kv.get(b"").unwrap(), Some(b"first".to_vec()));
        assert_eq!(keys(kv, &everything(), Direction::Forward), ["", "a"]);
        let mut gone = WriteBatch::new();
        gone.delete("");
        kv.write(gone, Durability::Buffered).unwrap();
        assert_eq!(keys(kv, &everything(), Direction::Backward), ["a"]);
    }
}

#[test]
fn ranges_include_their_start_and_exclude_their_end_in_both_directions() {
    for subject in Subject::all() {
        let kv = subject.kv();
        kv.write(batch(&[("a", ""), ("b", ""), ("ba", ""), ("c", ""), ("d", "")]), Durability::Buffered).unwrap();
        let range = KeyRange::new("b", "d");
        assert_eq!(keys(kv, &range, Direction::Forward), ["b", "ba", "c"]);
        assert_eq!(keys(kv, &range, Direction::Backward), ["c", "ba", "b"]);
        let open = KeyRange { start: b"c".to_vec(), end: None };
        assert_eq!(keys(kv, &open, Direction::Forward), ["c", "d"]);
        assert_eq!(keys(kv, &open, Direction::Backward), ["d", "c"]);
        assert_eq!(keys(kv, &KeyRange::new("bb", "bz"), Direction::Forward), Vec::<String>::new());
        assert_eq!(keys(kv, &KeyRange::prefix("b").after(b"b"), Direction::Forward), ["ba"]);
    }
}

#[test]
fn a_range_that_ends_before_it_starts_is_empty() {
    for subject in Subject::all() {
        let kv = subject.kv();
        kv.write(batch(&[("a", ""), ("b", ""), ("c", "")]), Durability::Buffered).unwrap();
        for range in [KeyRange::new("b", "b"), KeyRange::new("c", "a")] {
            assert_eq!(keys(kv, &range, Direction::Forward), Vec::<String>::new());
            assert_eq!(keys(kv, &range, Direction::Backward), Vec::<String>::new());
            assert_eq!(keys(kv.snapshot().as_ref(), &range, Direction::Backward), Vec::<String>::new());
            let mut nothing = WriteBatch::new();
            nothing.delete_range(range.clone());
            kv.write(nothing, Durability::Buffered).unwrap();
            kv.compact(&range).unwrap();
        }
        assert_eq!(keys(kv, &everything(), Direction::Forward), ["a", "b", "c"]);
    }
}

#[test]
fn a_scan_gives_no_more_rows_than_asked_for() {
    for subject in Subject::all() {
        let kv = subject.kv();
        kv.write(batch(&[("a", "1"), ("b", "2"), ("c", "3")]), Durability::Buffered).unwrap();
        assert_eq!(kv.scan(&everything(), Direction::Forward, 0).unwrap(), []);
        assert_eq!(kv.scan(&everything(), Direction::Forward, 2).unwrap(), [row(b"a", b"1"), row(b"b", b"2")]);
        assert_eq!(kv.scan(&everything(), Direction::Backward, 1).unwrap(), [row(b"c", b"3")]);
    }
}

#[test]
fn a_visit_ends_where_it_is_broken_and_may_use_the_store() {
    for subject in Subject::all() {
        let kv = subject.kv();
        kv.write(batch(&[("a", "1"), ("b", "2"), ("c", "3")]), Durability::Buffered).unwrap();
        let mut seen = Vec::new();
        kv.visit(&everything(), Direction::Forward, &mut |key, _| {
            seen.push(kv.get(key).unwrap().unwrap());
            kv.write(batch(&[("aa", "later")]), Durability::Buffered).unwrap();
            if key == b"b" { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
        assert_eq!(seen, [b"1", b"2"], "a visit shows the store as it was when it began");
    }
}

#[test]
fn prefixes_of_0xff_reach_to_their_end() {
    for subject in Subject::all() {
        let kv = subject.kv();
        let all: [&[u8]; 6] =
            [b"\xfe", b"\xfe\xff", b"\xfe\xff\xff\x01", b"\xff", b"\xff\xff", b"\xff\xff\xff\xff\x01"];
        let mut batch = WriteBatch::new();
        all.iter().for_each(|key| batch.put(*key, *key));
        kv.write(batch, Durability::Buffered).unwrap();
        let found = |prefix: &[u8], direction| -> Vec<Vec<u8>> {
            let rows = kv.scan(&KeyRange::prefix(prefix), direction, usize::MAX).unwrap();
            rows.into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(found(b"\xff", Direction::Forward), all[3..]);
        assert_eq!(found(b"\xff\xff", Direction::Forward), all[4..]);
        assert_eq!(found(b"\xfe\xff", Direction::Forward), all[1..3]);
        assert_eq!(found(b"\xff\xff", Direction::Backward), [all[5], all[4]]);
        assert_eq!(found(b"", Direction::Forward), all);
    }
}

#[test]
fn later_changes_of_a_batch_win() {
    for subject in Subject::all() {
        let kv = subject.kv();
        kv.write(batch(&[("a", "old"), ("b", "old"), ("z", "old")]), Durability::Buffered).unwrap();
        let mut batch = WriteBatch::new();
        batch.put("a", "1");
        batch.delete("a");
        batch.delete("b");
        batch.put("b", "2");
        batch.put("c", "gone");
        batch.delete_range(KeyRange::new("c", "d"));
        batch.put("cc", "3");
        kv.write(batch, Durability::Buffered).unwrap();
        let rows = kv.scan(&everything(), Direction::Forward, 10).unwrap();
        assert_eq!(rows, [row(b"b", b"2"), row(b"cc", b"3"), row(b"z", b"old")]);
    }
}

#[test]
fn delete_range_removes_its_rows_and_no_others() {
    for subject in Subject::all() {
        let kv = subject.kv();
        kv.write(batch(&[("a", ""), ("b", ""), ("bb", ""), ("c", ""), ("d", "")]), Durability::Buffered).unwrap();
        let mut batch = WriteBatch::new();
        batch.delete_range(KeyRange::new("b", "c"));
        kv.write(batch, Durability::Buffered).unwrap();
        assert_eq!(keys(kv, &everything(), Direction::Forward), ["a", "c", "d"]);
        assert_eq!(kv.get(b"bb").unwrap(), None);
        kv.compact(&everything()).unwrap();
        assert_eq!(keys(kv, &everything(), Direction::Backward), ["d", "c", "a"]);
    }
}

#[test]
fn delete_range_without_an_end_reaches_all_that_was_written_so_far() {
    for subject in Subject::all() {
        let kv = subject.kv();
        kv.write(batch(&[("a", ""), ("b", ""), ("c", "")]), Durability::Buffered).unwrap();
        let mut batch = WriteBatch::new();
        batch.put("x", "in the same batch");
        batch.delete_range(KeyRange { start: b"b".to_vec(), end: None });
        batch.put("y", "after it");
        kv.write(batch, Durability::Buffered).unwrap();
        assert_eq!(keys(kv, &everything(), Direction::Forward), ["a", "y"]);
        let mut batch = WriteBatch::new();
        batch.delete_range(everything());
        kv.write(batch.clone(), Durability::Buffered).unwrap();
        kv.write(batch, Durability::Buffered).unwrap();
        assert_eq!(keys(kv, &everything(), Direction::Forward), Vec::<String>::new());
    }
}

#[test]
fn a_snapshot_does_not_move_and_outlives_the_store() {
    for subject in Subject::all() {
        let kv = subject.kv();
        kv.write(batch(&[("a", "1"), ("b", "2"), ("c", "3")]), Durability::Buffered).unwrap();
        let snapshot = kv.snapshot();
        let mut change = batch(&[("a", "new"), ("d", "4")]);
        change.delete("b");
        kv.write(change, Durability::Buffered).unwrap();
        kv.flush().unwrap();
        kv.compact(&everything()).unwrap();
        let later = kv.snapshot();
        drop(subject);
        assert_eq!(snapshot.get(b"a").unwrap(), Some(b"1".to_vec()));
        assert_eq!(snapshot.get(b"b").unwrap(), Some(b"2".to_vec()));
        assert_eq!(snapshot.get(b"d").unwrap(), None);
        assert_eq!(keys(snapshot.as_ref(), &everything(), Direction::Forward), ["a", "b", "c"]);
        assert_eq!(keys(snapshot.as_ref(), &KeyRange::new("b", "c"), Direction::Backward), ["b"]);
        assert_eq!(keys(later.as_ref(), &everything(), Direction::Forward), ["a", "c", "d"]);
    }
}

#[test]
fn writers_on_many_threads_do_not_disturb_each_other() {
    for subject in Subject::all() {
        let kv = subject.kv();
        std::thread::scope(|scope| {
            for writer in 0_u8..4 {
                scope.spawn(move || {
                    for number in 0_u8..100 {
                        let mut batch = WriteBatch::new();
                        batch.put([writer, number], [number]);
                        kv.write(batch, Durability::Buffered).unwrap();
                    }
                });
            }
        });
        assert_eq!(kv.scan(&everything(), Direction::Forward, 1000).unwrap().len(), 400);
    }
}
