//! What a group knows of its log in memory: vote, ends, sizes, and its newest entries.
//!
//! The newest entries are a cache that reading for apply and replication nearly always hits. It is bounded in
//! bytes, except that an entry stays until it is durable: before that the disk cannot answer for it. Those are
//! few, because proposals in flight are.

use std::collections::VecDeque;

use openraft::entry::RaftEntry;
use parking_lot::Mutex;
use securanet_model::GroupId;

use crate::types::{Entry, LogId, Vote};

/// The known part of a group's log.
pub(super) struct Tail {
    group: GroupId,
    cache_bytes_max: usize,
    state: Mutex<State>,
}

struct State {
    vote: Option<Vote>,
    purged: Option<LogId>,
    last: Option<LogId>,
    /// Octets of each row, for the entries from `first` on, as far as the log goes.
    sizes: VecDeque<u32>,
    first: u64,
    log_bytes: u64,
    /// The newest entries, consecutive, the last one being `last`.
    cache: VecDeque<Entry>,
    cache_bytes: usize,
    /// Entries before this index are durable.
    durable_before: u64,
}

/// The ends of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct LogEnds {
    /// The last entry that was purged.
    pub(crate) purged: Option<LogId>,
    /// The last entry; the last purged one when there is none.
    pub(crate) last: Option<LogId>,
    /// Octets of all entries.
    pub(crate) bytes: u64,
}

/// What memory can say about a range.
pub(super) struct Recent {
    /// The part of the range that must be read from disk: all indexes from the first one to before the second.
    pub(super) on_disk: std::ops::Range<u64>,
    /// The entries behind it.
    pub(super) entries: Vec<Entry>,
}

impl Tail {
    pub(super) fn new(group: GroupId, vote: Option<Vote>, purged: Option<LogId>, cache_bytes_max: usize) -> Self {
        let first = purged.map_or(0, |id| id.index + 1);
        let state = State {
            vote,
            purged,
            last: purged,
            sizes: VecDeque::new(),
            first,
            log_bytes: 0,
            cache: VecDeque::new(),
            cache_bytes: 0,
            durable_before: first,
        };
        Self { group, cache_bytes_max, state: Mutex::new(state) }
    }

    pub(super) const fn group(&self) -> GroupId {
        self.group
    }

    pub(super) fn vote(&self) -> Option<Vote> {
        self.state.lock().vote
    }

    pub(super) fn set_vote(&self, vote: Vote) {
        self.state.lock().vote = Some(vote);
    }

    pub(super) fn ends(&self) -> LogEnds {
        let state = self.state.lock();
        LogEnds { purged: state.purged, last: state.last, bytes: state.log_bytes }
    }

    /// Takes the next entry in; `row_bytes` is the size of its row. An error names the gap.
    pub(super) fn append(&self, entry: Entry, row_bytes: usize) -> Result<(), String> {
        let mut state = self.state.lock();
        let index = entry.index();
        if state.sizes.is_empty() && state.purged.is_none() {
            state.first = index;
        }
        let expected = state.first + state.sizes.len() as u64;
        if index != expected {
            return Err(format!("entry {index} where entry {expected} is expected"));
        }
        state.last = Some(entry.log_id());
        state.sizes.push_back(u32::try_from(row_bytes).unwrap_or(u32::MAX));
        state.log_bytes += row_bytes as u64;
        state.cache_bytes += row_bytes;
        state.cache.push_back(entry);
        Ok(())
    }

    /// Entries up to `index` are durable.
    pub(super) fn durable_to(&self, index: u64) {
        let mut state = self.state.lock();
        state.durable_before = state.durable_before.max(index + 1);
        self.evict(&mut state);
    }

    /// All entries are durable.
    pub(super) fn durable_to_end(&self) {
        let mut state = self.state.lock();
        state.durable_before = state.first + state.sizes.len() as u64;
        self.evict(&mut state);
    }

    fn evict(&self, state: &mut State) {
        while state.cache_bytes > self.cache_bytes_max
            && state.cache.front().is_some_and(|entry| entry.index() < state.durable_before)
        {
            state.drop_oldest();
        }
    }

    /// Entries from `index` on are gone.
    pub(super) fn truncate(&self, index: u64, last: Option<LogId>) {
        let mut state = self.state.lock();
        let keep = usize::try_from(index.saturating_sub(state.first)).unwrap_or(usize::MAX);
        if state.sizes.len() <= keep {
            return;
        }
        while state.sizes.len() > keep {
            let size = state.sizes.pop_back().unwrap_or_default();
            state.log_bytes -= u64::from(size);
            if state.cache.pop_back().is_some() {
                state.cache_bytes -= size as usize;
            }
        }
        state.last = if state.sizes.is_empty() { state.purged } else { last };
        state.durable_before = state.durable_before.min(index);
    }

    /// Entries up to `upto` are gone; the log may end before it (a snapshot reached further). Gives their octets.
    pub(super) fn purge(&self, upto: LogId) -> u64 {
        let mut state = self.state.lock();
        let before = state.log_bytes;
        while !state.sizes.is_empty() && state.first <= upto.index {
            if state.cache.front().is_some_and(|entry| entry.index() == state.first) {
                state.drop_oldest();
            }
            let size = state.sizes.pop_front().unwrap_or_default();
            state.log_bytes -= u64::from(size);
            state.first += 1;
        }
        state.purged = state.purged.max(Some(upto));
        if state.sizes.is_empty() {
            state.last = state.purged;
            state.first = upto.index + 1;
            state.durable_before = state.first;
        }
        before - state.log_bytes
    }

    /// Entries from `start` to before `end`, as far as the log has them.
    pub(super) fn read(&self, start: u64, end: u64) -> Recent {
        let state = self.state.lock();
        let log_end = state.first + state.sizes.len() as u64;
        let (start, end) = (start.max(state.first), end.min(log_end));
        let cache_first = log_end - state.cache.len() as u64;
        let split = cache_first.clamp(start, end.max(start));
        let skip = usize::try_from(split - cache_first.min(split)).unwrap_or(usize::MAX);
        let count = usize::try_from(end.saturating_sub(split)).unwrap_or_default();
        let entries = state.cache.iter().skip(skip).take(count).cloned().collect();
        Recent { on_disk: start..split, entries }
    }

    /// How far entries from `start` to before `end` go when they may have `bytes_max` together; at least one.
    pub(super) fn end_within(&self, start: u64, end: u64, bytes_max: u64) -> u64 {
        let state = self.state.lock();
        let skip = usize::try_from(start.saturating_sub(state.first)).unwrap_or(usize::MAX);
        let (mut next, mut bytes) = (start, 0);
        for size in state.sizes.iter().skip(skip) {
            bytes += u64::from(*size);
            if next >= end || (next > start && bytes > bytes_max) {
                break;
            }
            next += 1;
        }
        next.max(start + 1).min(end)
    }
}

impl State {
    fn drop_oldest(&mut self) {
        if let Some(entry) = self.cache.pop_front() {
            let at = usize::try_from(entry.index().saturating_sub(self.first)).unwrap_or(usize::MAX);
            self.cache_bytes -= self.sizes.get(at).copied().unwrap_or_default() as usize;
        }
    }
}
