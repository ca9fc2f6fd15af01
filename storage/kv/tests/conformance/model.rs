//! Any sequence of acts against the simplest model that can be right.

use std::sync::Arc;

use proptest::prelude::*;
use securanet_kv::{
    Direction, Durability, KeyRange, KeyValue, Read, Row, WriteBatch,
    memory::MemoryStore,
    rocks::{Profile, RocksStore},
};
use tempfile::TempDir;

use crate::subject::everything;

/// What is done to a store.
#[derive(Clone, Debug)]
enum Act {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    DeleteRange(Vec<u8>, Option<Vec<u8>>),
    Flush,
    Compact,
    Check(Vec<u8>, Option<Vec<u8>>, bool),
}

/// Short keys over few bytes, so that they meet; with 0 and 255.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0_u8, 1, 97, 254, 255]), 0..4)
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (key(), prop::collection::vec(any::<u8>(), 0..12)).prop_map(|(key, value)| Act::Put(key, value)),
        2 => key().prop_map(Act::Delete),
        1 => (key(), prop::option::of(key())).prop_map(|(start, end)| Act::DeleteRange(start, end)),
        1 => Just(Act::Flush),
        1 => Just(Act::Compact),
        4 => (key(), prop::option::of(key()), any::<bool>()).prop_map(|(start, end, up)| Act::Check(start, end, up)),
    ]
}

fn model_scan(model: &[Row], range: &KeyRange, direction: Direction) -> Vec<Row> {
    let inside = |key: &Vec<u8>| *key >= range.start && range.end.as_ref().is_none_or(|end| key < end);
    let mut rows: Vec<Row> = model.iter().filter(|(key, _)| inside(key)).cloned().collect();
    rows.sort();
    if direction == Direction::Backward {
        rows.reverse();
    }
    rows
}

fn model_act(model: &mut Vec<Row>, act: &Act) {
    match act {
        Act::Put(key, value) => {
            model.retain(|(own, _)| own != key);
            model.push((key.clone(), value.clone()));
        }
        Act::Delete(key) => model.retain(|(own, _)| own != key),
        Act::DeleteRange(start, end) => {
            model.retain(|(own, _)| own < start || end.as_ref().is_some_and(|end| own >= end));
        }
        Act::Flush | Act::Compact | Act::Check(..) => {}
    }
}

fn store_act(kv: &dyn KeyValue, act: &Act, model: &[Row]) {
    let mut batch = WriteBatch::new();
    match act.clone() {
        Act::Put(key, value) => batch.put(key, value),
        Act::Delete(key) => batch.delete(key),
        Act::DeleteRange(start, end) => batch.delete_range(KeyRange { start, end }),
        Act::Flush => kv.flush().unwrap(),
        Act::Compact => kv.compact(&everything()).unwrap(),
        Act::Check(start, end, up) => {
            let direction = if up { Direction::Forward } else { Direction::Backward };
            let range = KeyRange { start, end };
            assert_eq!(kv.scan(&range, direction, usize::MAX).unwrap(), model_scan(model, &range, direction));
        }
    }
    if !batch.is_empty() {
        kv.write(batch, Durability::Volatile).unwrap();
    }
}

/// Asserts that a snapshot shows what the model held when it was taken.
fn check_snapshot(snapshot: &dyn Read, model: &[Row]) {
    for direction in [Direction::Forward, Direction::Backward] {
        let rows = snapshot.scan(&everything(), direction, usize::MAX).unwrap();
        assert_eq!(rows, model_scan(model, &everything(), direction));
    }
    for (key, value) in model {
        assert_eq!(snapshot.get(key).unwrap().as_ref(), Some(value));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_sequence_of_acts_gives_what_a_list_of_rows_would(
        acts in prop::collection::vec(act(), 1..60),
        at in 0_usize..60,
    ) {
        let rocks = TempDir::new().unwrap();
        let stores: [Arc<dyn KeyValue>; 2] = [
            Arc::new(MemoryStore::new()),
            Arc::new(RocksStore::open(rocks.path(), Profile::state()).unwrap()),
        ];
        let mut model = Vec::new();
        let mut snapshots = None;
        for (number, act) in acts.iter().enumerate() {
            if number == at {
                snapshots = Some((stores.clone().map(|kv| kv.snapshot()), model.clone()));
            }
            stores.iter().for_each(|kv| store_act(kv.as_ref(), act, &model));
            model_act(&mut model, act);
        }
        stores.iter().for_each(|kv| check_snapshot(kv.snapshot().as_ref(), &model));
        if let Some((snapshots, model)) = snapshots {
            snapshots.iter().for_each(|snapshot| check_snapshot(snapshot.as_ref(), &model));
        }
    }
}
