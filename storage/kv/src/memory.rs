//! The memory adapter: for tests and simulation. `crash()` goes back to what was durable.

use std::{collections::BTreeMap, ops::{Bound, ControlFlow}, sync::Arc};

use parking_lot::RwLock;

use crate::port::{Change, Direction, Durability, KeyRange, KeyValue, KvError, Read, Row, WriteBatch};

type Map = BTreeMap<Vec<u8>, Arc<[u8]>>;

/// A store in memory.
#[derive(Clone, Default)]
pub struct MemoryStore {
    state: Arc<RwLock<State>>,
}

#[derive(Default)]
struct State {
    now: Arc<Map>,
    durable: Arc<Map>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Loses what was not durable, as a power cut does.
    pub fn crash(&self) {
        let mut state = self.state.write();
        state.now = state.durable.clone();
    }

    /// An independent store that holds what this one would hold after a crash.
    #[must_use]
    pub fn crashed_copy(&self) -> Self {
        let durable = self.state.read().durable.clone();
        Self { state: Arc::new(RwLock::new(State { now: durable.clone(), durable })) }
    }
}

fn change(map: &mut Map, change: Change) {
    match change {
        Change::Put(key, value) => {
            map.insert(key, value.into());
        }
        Change::Delete(key) => {
            map.remove(&key);
        }
        Change::DeleteRange(range) => map.retain(|key, _| !contains(&range, key)),
    }
}

fn contains(range: &KeyRange, key: &[u8]) -> bool {
    key >= range.start.as_slice() && range.end.as_ref().is_none_or(|end| key < end.as_slice())
}

fn visit(map: &Map, range: &KeyRange, direction: Direction, visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>) {
    if range.end.as_ref().is_some_and(|end| *end <= range.start) {
        return;
    }
    let end = range.end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(end.as_slice()));
    let mut rows = map.range::<[u8], _>((Bound::Included(range.start.as_slice()), end));
    let mut next = || match direction {
        Direction::Forward => rows.next(),
        Direction::Backward => rows.next_back(),
    };
    while let Some((key, value)) = next() {
        if visit(key, value).is_break() {
            return;
        }
    }
}

struct MemorySnapshot(Arc<Map>);

impl Read for MemorySnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.0.get(key).map(|value| value.to_vec()))
    }

    fn visit(
        &self,
        range: &KeyRange,
        direction: Direction,
        each: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        visit(&self.0, range, direction, each);
        Ok(())
    }
}

impl Read for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.state.read().now.get(key).map(|value| value.to_vec()))
    }

    fn visit(
        &self,
        range: &KeyRange,
        direction: Direction,
        each: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        let now = self.state.read().now.clone();
        visit(&now, range, direction, each);
        Ok(())
    }
}

impl KeyValue for MemoryStore {
    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<(), KvError> {
        let mut state = self.state.write();
        let map = Arc::make_mut(&mut state.now);
        batch.into_iter().for_each(|each| change(map, each));
        if durability == Durability::Synced {
            state.durable = state.now.clone();
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), KvError> {
        let mut state = self.state.write();
        state.durable = state.now.clone();
        Ok(())
    }

    fn sync(&self) -> Result<(), KvError> {
        self.flush()
    }

    fn snapshot(&self) -> Box<dyn Read> {
        Box::new(MemorySnapshot(self.state.read().now.clone()))
    }

    fn ingest(&self, rows: &mut dyn Iterator<Item = Row>) -> Result<(), KvError> {
        let mut state = self.state.write();
        for (key, value) in rows {
            let value: Arc<[u8]> = value.into();
            Arc::make_mut(&mut state.now).insert(key.clone(), value.clone());
            Arc::make_mut(&mut state.durable).insert(key, value);
        }
        Ok(())
    }

    fn size_on_disk_bytes(&self) -> Result<u64, KvError> {
        Ok(self.state.read().durable.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum())
    }

    fn compact(&self, _range: &KeyRange) -> Result<(), KvError> {
        Ok(())
    }
}
