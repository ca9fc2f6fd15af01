//! One log entry's changes, collected over the state as it was: later commands read what earlier ones wrote.
//!
//! [`Tx`] is an ordered overlay of raw keys over a base that it never changes; [`Tx::finish`] turns it into one
//! batch. A savepoint costs a copy of each key written while it is open; rolling back puts the overlay back as
//! it was, so a refused command leaves nothing, not even a woken watch. [`ReadView`] is the reading half,
//! the same over a snapshot (queries) and over a `Tx` (commands).
//!
//! Invariant: an overlay entry is younger than every cleared range, so the batch is "clear, then put".

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    ops::{Bound, ControlFlow},
};

use securanet_kv::{Direction, KeyRange, KvError, Read, Row, WriteBatch};
use securanet_model::{record, request::Topic};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    EngineError,
    keys::{Fields, Key, Space, Table},
};

/// Reads a group's state, typed.
#[derive(Clone, Copy)]
pub(crate) struct ReadView<'a> {
    read: &'a dyn Read,
    space: Space,
}

impl<'a> ReadView<'a> {
    pub(crate) fn new(read: &'a dyn Read, space: Space) -> Self {
        Self { read, space }
    }

    /// The beginning of a key of a table of this group.
    pub(crate) fn key(&self, table: Table) -> Key {
        self.space.key(table)
    }

    /// The group.
    pub(crate) fn space(&self) -> Space {
        self.space
    }

    /// Whether the key has a value.
    pub(crate) fn contains(&self, key: &[u8]) -> Result<bool, EngineError> {
        Ok(self.read.get(key)?.is_some())
    }

    /// The value of a key, decoded.
    pub(crate) fn get_record<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, EngineError> {
        self.read.get(key)?.map(|value| record::decode(&value)).transpose().map_err(Into::into)
    }

    /// At most `rows_max` rows in order, raw.
    pub(crate) fn scan(
        &self,
        range: &KeyRange,
        direction: Direction,
        rows_max: usize,
    ) -> Result<Vec<Row>, EngineError> {
        Ok(self.read.scan(range, direction, rows_max)?)
    }

    /// Shows rows in order, raw, until `each` breaks or fails.
    pub(crate) fn visit(
        &self,
        range: &KeyRange,
        direction: Direction,
        mut each: impl FnMut(Fields<'_>, &[u8]) -> Result<ControlFlow<()>, EngineError>,
    ) -> Result<(), EngineError> {
        let mut failed = None;
        self.read.visit(range, direction, &mut |key, value| match Fields::of(key)
            .and_then(|fields| each(fields, value))
        {
            Ok(flow) => flow,
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Shows rows in order, decoded, until `each` breaks or fails.
    pub(crate) fn visit_records<T: DeserializeOwned>(
        &self,
        range: &KeyRange,
        direction: Direction,
        mut each: impl FnMut(Fields<'_>, T) -> Result<ControlFlow<()>, EngineError>,
    ) -> Result<(), EngineError> {
        self.visit(range, direction, |fields, value| each(fields, record::decode(value)?))
    }
}

/// Where a [`Tx`] can go back to.
#[must_use = "a savepoint is released or rolled back to"]
pub(crate) struct Savepoint {
    journal_length: usize,
}

/// How to take back one change of the overlay.
enum Undo {
    /// The key had this entry (`None`: no entry).
    Key(Vec<u8>, Option<Option<Vec<u8>>>),
    /// The newest cleared range was added and these entries were dropped for it.
    Clear(Vec<(Vec<u8>, Option<Vec<u8>>)>),
    /// The topic was added.
    Touch(Topic),
}

/// A read-your-writes overlay. See the card of this file.
pub(crate) struct Tx<'a> {
    base: &'a dyn Read,
    space: Space,
    /// Written keys; `None` is a deletion.
    overlay: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    cleared: Vec<KeyRange>,
    touched: BTreeSet<Topic>,
    journal: Vec<Undo>,
    savepoints_open: usize,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(base: &'a dyn Read, space: Space) -> Self {
        Self {
            base,
            space,
            overlay: BTreeMap::new(),
            cleared: Vec::new(),
            touched: BTreeSet::new(),
            journal: Vec::new(),
            savepoints_open: 0,
        }
    }

    /// The beginning of a key of a table of this group.
    pub(crate) fn key(&self, table: Table) -> Key {
        self.space.key(table)
    }

    /// The state as it is with all changes so far.
    pub(crate) fn view(&self) -> ReadView<'_> {
        ReadView::new(self, self.space)
    }

    /// Whether the key has a value.
    pub(crate) fn contains(&self, key: &[u8]) -> Result<bool, EngineError> {
        match self.overlay.get(key) {
            Some(own) => Ok(own.is_some()),
            None if self.is_cleared(key) => Ok(false),
            None => Ok(self.base.get(key)?.is_some()),
        }
    }

    /// The value of a key, decoded.
    pub(crate) fn get_record<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, EngineError> {
        match self.overlay.get(key) {
            Some(own) => own.as_deref().map(record::decode).transpose().map_err(Into::into),
            None if self.is_cleared(key) => Ok(None),
            None => self.base.get(key)?.map(|value| record::decode(&value)).transpose().map_err(Into::into),
        }
    }

    /// Sets a key to a record.
    pub(crate) fn put_record<T: Serialize + ?Sized>(&mut self, key: impl Into<Vec<u8>>, value: &T) {
        self.set(key.into(), Some(record::encode(value)));
    }

    /// Sets a key to raw bytes; for rows whose key says everything the value is empty.
    pub(crate) fn put(&mut self, key: impl Into<Vec<u8>>, value: Vec<u8>) {
        self.set(key.into(), Some(value));
    }

    /// Removes a key.
    pub(crate) fn delete(&mut self, key: impl Into<Vec<u8>>) {
        self.set(key.into(), None);
    }

    /// Removes a range of keys, without looking at them. Each costs every later read of a key a comparison, and
    /// the disk a marker: for whole tables and for collections in bulk, not for single rows.
    pub(crate) fn delete_range(&mut self, range: KeyRange) {
        let Some(bounds) = bounds(&range) else { return };
        let keys: Vec<Vec<u8>> = self.overlay.range::<[u8], _>(bounds).map(|(key, _)| key.clone()).collect();
        let dropped = keys.into_iter().filter_map(|key| self.overlay.remove_entry(&key)).collect();
        if self.savepoints_open > 0 {
            self.journal.push(Undo::Clear(dropped));
        }
        self.cleared.push(range);
    }

    /// Wakes the watches of a topic once the entry is applied.
    pub(crate) fn touch(&mut self, topic: Topic) {
        if self.touched.insert(topic) && self.savepoints_open > 0 {
            self.journal.push(Undo::Touch(topic));
        }
    }

    /// Opens a savepoint; they nest.
    pub(crate) fn savepoint(&mut self) -> Savepoint {
        self.savepoints_open += 1;
        Savepoint { journal_length: self.journal.len() }
    }

    /// Closes a savepoint and keeps what was done since.
    pub(crate) fn release(&mut self, _savepoint: Savepoint) {
        self.savepoints_open -= 1;
        if self.savepoints_open == 0 {
            self.journal.clear();
        }
    }

    /// Closes a savepoint and takes back what was done since.
    pub(crate) fn rollback(&mut self, savepoint: Savepoint) {
        while self.journal.len() > savepoint.journal_length {
            match self.journal.pop() {
                Some(Undo::Key(key, Some(entry))) => drop(self.overlay.insert(key, entry)),
                Some(Undo::Key(key, None)) => drop(self.overlay.remove(&key)),
                Some(Undo::Clear(dropped)) => {
                    self.cleared.pop();
                    self.overlay.extend(dropped);
                }
                Some(Undo::Touch(topic)) => drop(self.touched.remove(&topic)),
                None => {}
            }
        }
        self.release(savepoint);
    }

    /// The changes as one batch, and the topics, sorted.
    pub(crate) fn finish(self) -> (WriteBatch, Vec<Topic>) {
        let mut batch = WriteBatch::new();
        self.cleared.into_iter().for_each(|range| batch.delete_range(range));
        for (key, entry) in self.overlay {
            match entry {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        (batch, self.touched.into_iter().collect())
    }

    fn set(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let journalled = self.savepoints_open > 0;
        match self.overlay.entry(key) {
            Entry::Occupied(mut entry) => {
                let before = entry.insert(value);
                if journalled {
                    self.journal.push(Undo::Key(entry.key().clone(), Some(before)));
                }
            }
            Entry::Vacant(entry) => {
                if journalled {
                    self.journal.push(Undo::Key(entry.key().clone(), None));
                }
                entry.insert(value);
            }
        }
    }

    fn is_cleared(&self, key: &[u8]) -> bool {
        self.cleared
            .iter()
            .any(|range| key >= range.start.as_slice() && range.end.as_deref().is_none_or(|end| key < end))
    }
}

impl Read for Tx<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        match self.overlay.get(key) {
            Some(own) => Ok(own.clone()),
            None if self.is_cleared(key) => Ok(None),
            None => self.base.get(key),
        }
    }

    fn visit(
        &self,
        range: &KeyRange,
        direction: Direction,
        each: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        let Some(bounds) = bounds(range) else { return Ok(()) };
        let mut own_rows = self.overlay.range::<[u8], _>(bounds);
        let mut next_own = || match direction {
            Direction::Forward => own_rows.next(),
            Direction::Backward => own_rows.next_back(),
        };
        let mut own = next_own();
        let mut stopped = false;
        self.base.visit(range, direction, &mut |key, value| {
            while let Some((own_key, own_value)) = own {
                let order = in_direction(own_key.as_slice().cmp(key), direction);
                if order == Ordering::Greater {
                    break;
                }
                own = next_own();
                let flow = own_value.as_ref().map_or(ControlFlow::Continue(()), |own_value| each(own_key, own_value));
                stopped = flow.is_break();
                if stopped || order == Ordering::Equal {
                    return flow;
                }
            }
            if self.is_cleared(key) {
                return ControlFlow::Continue(());
            }
            let flow = each(key, value);
            stopped = flow.is_break();
            flow
        })?;
        while let (false, Some((key, value))) = (stopped, own) {
            stopped = value.as_ref().is_some_and(|value| each(key, value).is_break());
            own = next_own();
        }
        Ok(())
    }
}

fn in_direction(order: Ordering, direction: Direction) -> Ordering {
    match direction {
        Direction::Forward => order,
        Direction::Backward => order.reverse(),
    }
}

type Bounds<'k> = (Bound<&'k [u8]>, Bound<&'k [u8]>);

/// The bounds of a range for a map; none when the range is empty (a map would panic).
fn bounds(range: &KeyRange) -> Option<Bounds<'_>> {
    let end = match &range.end {
        Some(end) if *end <= range.start => return None,
        Some(end) => Bound::Excluded(end.as_slice()),
        None => Bound::Unbounded,
    };
    Some((Bound::Included(range.start.as_slice()), end))
}

#[cfg(test)]
mod tests;
