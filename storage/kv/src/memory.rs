//! The memory adapter: for tests and simulation. [`MemoryStore::crash`] goes back to what was durable.
//!
//! It is stricter than a disk: nothing becomes durable by chance, and a `sync` does nothing for volatile
//! writes. So code that forgets the right call loses its data here, in a test, and not in a power cut.
//! Writes that are not durable yet are remembered with what they replaced; durable ones cost nothing more.
//! A snapshot is O(1) to take; the first write after it copies the map.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use parking_lot::RwLock;

use crate::port::{Change, Direction, Durability, KeyRange, KeyValue, KvError, Read, Row, Visit, WriteBatch};

type Map = BTreeMap<Vec<u8>, Arc<[u8]>>;

/// What a row was before a write: its value, or nothing.
type Before = (Vec<u8>, Option<Arc<[u8]>>);

/// A store in memory. Clones show the same store.
#[derive(Clone, Default)]
pub struct MemoryStore {
    state: Arc<RwLock<State>>,
}

#[derive(Default)]
struct State {
    now: Arc<Map>,
    /// Writes that are not durable, oldest first.
    pending: Vec<Pending>,
}

struct Pending {
    durability: Durability,
    before: Vec<Before>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Loses what was not durable, as a power cut does.
    pub fn crash(&self) {
        self.crash_keeping(0);
    }

    /// Loses what was not durable except the first `writes` of it: a disk may have written some of them by itself.
    pub fn crash_keeping(&self, writes: usize) {
        let mut state = self.state.write();
        state.undo_from(writes);
        state.pending.clear();
    }

    /// How many writes a crash would lose.
    #[must_use]
    pub fn writes_pending(&self) -> usize {
        self.state.read().pending.len()
    }

    /// An independent store that holds what this one would hold after a crash.
    #[must_use]
    pub fn crashed_copy(&self) -> Self {
        let state = self.state.read();
        let mut now = state.now.clone();
        undo(&mut now, &state.pending);
        Self { state: Arc::new(RwLock::new(State { now, pending: Vec::new() })) }
    }
}

impl State {
    fn undo_from(&mut self, first: usize) {
        let first = first.min(self.pending.len());
        undo(&mut self.now, &self.pending[first..]);
    }

    fn apply(&mut self, change: Change, before: &mut Vec<Before>) {
        let map = Arc::make_mut(&mut self.now);
        match change {
            Change::Put(key, value) => {
                let old = map.insert(key.clone(), value.into());
                before.push((key, old));
            }
            Change::Delete(key) => {
                if let Some(old) = map.remove(&key) {
                    before.push((key, Some(old)));
                }
            }
            Change::DeleteRange(range) => {
                let keys: Vec<Vec<u8>> = rows(map, &range).map(|(key, _)| key.clone()).collect();
                before.extend(keys.into_iter().map(|key| {
                    let old = map.remove(&key);
                    (key, old)
                }));
            }
        }
    }
}

/// Takes writes back, the latest first.
fn undo(map: &mut Arc<Map>, pending: &[Pending]) {
    if pending.is_empty() {
        return;
    }
    let map = Arc::make_mut(map);
    for (key, value) in pending.iter().rev().flat_map(|write| write.before.iter().rev()) {
        match value {
            Some(value) => map.insert(key.clone(), value.clone()),
            None => map.remove(key),
        };
    }
}

fn rows<'a>(map: &'a Map, range: &'a KeyRange) -> impl DoubleEndedIterator<Item = (&'a Vec<u8>, &'a Arc<[u8]>)> {
    let end = match &range.end {
        // A BTreeMap panics on a range that ends before it starts; to us it is empty.
        Some(end) => Bound::Excluded(end.as_slice().max(range.start.as_slice())),
        None => Bound::Unbounded,
    };
    map.range::<[u8], _>((Bound::Included(range.start.as_slice()), end))
}

fn visit(map: &Map, range: &KeyRange, direction: Direction, each: Visit<'_>) {
    let mut rows = rows(map, range);
    let mut next = || match direction {
        Direction::Forward => rows.next(),
        Direction::Backward => rows.next_back(),
    };
    while let Some((key, value)) = next() {
        if each(key, value).is_break() {
            return;
        }
    }
}

struct MemorySnapshot(Arc<Map>);

impl Read for MemorySnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.0.get(key).map(|value| value.to_vec()))
    }

    fn visit(&self, range: &KeyRange, direction: Direction, each: Visit<'_>) -> Result<(), KvError> {
        visit(&self.0, range, direction, each);
        Ok(())
    }
}

impl Read for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.state.read().now.get(key).map(|value| value.to_vec()))
    }

    fn visit(&self, range: &KeyRange, direction: Direction, each: Visit<'_>) -> Result<(), KvError> {
        // Not under the lock: `each` may read or write this store.
        let now = self.state.read().now.clone();
        visit(&now, range, direction, each);
        Ok(())
    }
}

impl KeyValue for MemoryStore {
    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<(), KvError> {
        let mut state = self.state.write();
        let mut before = Vec::new();
        batch.into_iter().for_each(|change| state.apply(change, &mut before));
        state.pending.push(Pending { durability, before });
        if durability == Durability::Synced {
            state.pending.clear();
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), KvError> {
        self.state.write().pending.clear();
        Ok(())
    }

    fn sync(&self) -> Result<(), KvError> {
        let mut state = self.state.write();
        let volatile = state.pending.iter().position(|write| write.durability == Durability::Volatile);
        let durable = volatile.unwrap_or(state.pending.len());
        state.pending.drain(..durable);
        Ok(())
    }

    fn snapshot(&self) -> Box<dyn Read> {
        Box::new(MemorySnapshot(self.state.read().now.clone()))
    }

    fn ingest(&self, rows: &mut dyn Iterator<Item = Row>) -> Result<(), KvError> {
        let mut fresh: Vec<Row> = Vec::new();
        for row in rows {
            if fresh.last().is_some_and(|last| last.0 >= row.0) {
                return Err(KvError::Unordered { path: "memory".to_owned() });
            }
            fresh.push(row);
        }
        let mut state = self.state.write();
        let map = Arc::make_mut(&mut state.now);
        map.extend(fresh.into_iter().map(|(key, value)| (key, value.into())));
        // As on a disk: what the store held before goes to disk first, or replaying it would hide the new rows.
        state.pending.clear();
        Ok(())
    }

    fn size_on_disk_bytes(&self) -> Result<u64, KvError> {
        Ok(self.state.read().now.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum())
    }

    fn compact(&self, _range: &KeyRange) -> Result<(), KvError> {
        Ok(())
    }
}
