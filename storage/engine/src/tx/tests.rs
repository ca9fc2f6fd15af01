//! The overlay behaves as the store would with every change already written.

use proptest::prelude::*;
use securanet_kv::{Durability, KeyValue, memory::MemoryStore};
use securanet_model::GroupId;

use super::*;

const SPACE: Space = Space { group: GroupId::new(1), generation: 0 };

fn rows(read: &dyn Read, range: &KeyRange, direction: Direction) -> Vec<Row> {
    read.scan(range, direction, usize::MAX).unwrap()
}

fn all() -> KeyRange {
    KeyRange { start: Vec::new(), end: None }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    Clear(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..40_u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => (0..40_u8).prop_map(Step::Delete),
        1 => (0..40_u8, 0..40_u8).prop_map(|(start, end)| Step::Clear(start, end)),
    ]
}

fn run(tx: &mut Tx<'_>, steps: &[Step]) {
    for step in steps {
        match *step {
            Step::Put(key, value) => tx.put([key], vec![value]),
            Step::Delete(key) => tx.delete([key]),
            Step::Clear(start, end) => tx.delete_range(KeyRange::new([start], [end])),
        }
    }
}

fn store_of(rows: &[(u8, u8)]) -> MemoryStore {
    let store = MemoryStore::new();
    let mut batch = WriteBatch::new();
    rows.iter().for_each(|&(key, value)| batch.put([key], [value]));
    store.write(batch, Durability::Volatile).unwrap();
    store
}

proptest! {
    #[test]
    fn reading_through_the_overlay_is_reading_what_the_batch_writes(
        base in proptest::collection::vec((0..40_u8, any::<u8>()), 0..30),
        steps in proptest::collection::vec(step(), 0..30),
        range in (0..40_u8, 0..40_u8),
        break_after in 1..10_usize,
    ) {
        let store = store_of(&base);
        let mut tx = Tx::new(&store, SPACE);
        run(&mut tx, &steps);
        let after = MemoryStore::new();
        after.ingest(&mut rows(&store, &all(), Direction::Forward).into_iter()).unwrap();
        let mut again = Tx::new(&store, SPACE);
        run(&mut again, &steps);
        after.write(again.finish().0, Durability::Volatile).unwrap();
        for range in [all(), KeyRange::new([range.0], [range.1])] {
            for direction in [Direction::Forward, Direction::Backward] {
                prop_assert_eq!(rows(&tx, &range, direction), rows(&after, &range, direction));
                prop_assert_eq!(
                    tx.scan(&range, direction, break_after).unwrap(),
                    after.scan(&range, direction, break_after).unwrap()
                );
            }
        }
        for key in 0..40_u8 {
            prop_assert_eq!(tx.get(&[key]).unwrap(), after.get(&[key]).unwrap());
            prop_assert_eq!(tx.contains(&[key]).unwrap(), after.get(&[key]).unwrap().is_some());
        }
    }

    #[test]
    fn rolling_back_leaves_nothing_and_releasing_leaves_all(
        base in proptest::collection::vec((0..40_u8, any::<u8>()), 0..30),
        kept in proptest::collection::vec(step(), 0..15),
        nested in proptest::collection::vec(step(), 0..15),
        undone in proptest::collection::vec(step(), 0..15),
    ) {
        let store = store_of(&base);
        let mut expected = Tx::new(&store, SPACE);
        run(&mut expected, &kept);
        expected.touch(Topic::Directory);
        let mut tx = Tx::new(&store, SPACE);
        run(&mut tx, &kept);
        tx.touch(Topic::Directory);
        let outer = tx.savepoint();
        run(&mut tx, &undone);
        let inner = tx.savepoint();
        run(&mut tx, &nested);
        tx.touch(Topic::Account(securanet_model::AccountId::new(1)));
        tx.release(inner);
        let refused = tx.savepoint();
        run(&mut tx, &nested);
        tx.rollback(refused);
        tx.rollback(outer);
        prop_assert_eq!(tx.finish(), expected.finish());
    }
}

#[test]
fn a_record_comes_back_from_the_overlay_and_from_the_base() {
    let store = MemoryStore::new();
    let key = SPACE.key(Table::DomainByName).octets(b"example.org");
    let mut tx = Tx::new(&store, SPACE);
    tx.put_record(key.clone(), &7_u32);
    assert_eq!(tx.get_record::<u32>(&key), Ok(Some(7)));
    store.write(tx.finish().0, Durability::Volatile).unwrap();
    let tx = Tx::new(&store, SPACE);
    assert_eq!(tx.view().get_record::<u32>(&key), Ok(Some(7)));
}

#[test]
fn a_damaged_record_is_an_error_not_a_missing_one() {
    let store = MemoryStore::new();
    let mut tx = Tx::new(&store, SPACE);
    tx.put(*b"k", vec![99, 1]);
    assert!(matches!(tx.get_record::<u32>(b"k"), Err(EngineError::Record(_))));
}
