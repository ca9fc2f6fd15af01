//! One group's log, as openraft wants it.
//!
//! Appending returns when the entries are readable; they are durable when the callback says so. Votes and
//! truncations wait until they are durable, a purge does not. Reading hits memory nearly always; what is only on
//! disk is read in place, because it is rare (a lagging follower, replay after a crash).

use std::{
    fmt::Debug,
    io,
    ops::{Bound, ControlFlow, Range, RangeBounds},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::Stream;
use openraft::{
    LogState, OptionalSend, RaftLogReader,
    entry::RaftEntry,
    storage::{IOFlushed, RaftLogStorage},
};
use securanet_kv::{Direction, KeyValue, WriteBatch};
use securanet_model::{GroupId, record};
use tokio::sync::oneshot;

use crate::{
    RaftError,
    format::{self, LogIdRow, VoteRow},
    log::{
        LogStore,
        pins::Pins,
        tail::{LogEnds, Tail},
        writer::{Job, Then, Writer},
    },
    types::{Entry, LogId, TypeConfig, Vote},
};

/// One read for replication or apply takes at most this many octets (or one entry, if it is larger).
const READ_BYTES_MAX: u64 = 1024 * 1024;

/// One group's log. Clones are the same log.
#[derive(Clone)]
pub(crate) struct GroupLog {
    tail: Arc<Tail>,
    kv: Arc<dyn KeyValue>,
    writer: Arc<Writer>,
    pins: Arc<Pins>,
    dead_bytes: Arc<AtomicU64>,
}

impl GroupLog {
    pub(super) fn new(store: &LogStore, tail: Arc<Tail>) -> Self {
        let (kv, writer) = (store.kv.clone(), store.writer.clone());
        Self { tail, kv, writer, pins: store.pins.clone(), dead_bytes: store.dead_bytes.clone() }
    }

    /// Whose log it is.
    #[must_use]
    pub(crate) fn group(&self) -> GroupId {
        self.tail.group()
    }

    /// Where the log begins and ends, and its size.
    pub(crate) fn ends(&self) -> LogEnds {
        self.tail.ends()
    }

    /// Whether this replica has ever voted, or followed a leader.
    pub(crate) fn has_voted(&self) -> bool {
        self.tail.vote().is_some()
    }

    /// Entries from `start` to before `end`, as far as the log has them.
    fn read(&self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        if start >= end {
            return Ok(Vec::new());
        }
        let recent = self.tail.read(start, end);
        if recent.on_disk.is_empty() {
            return Ok(recent.entries);
        }
        let mut entries = self.read_disk(recent.on_disk)?;
        entries.extend(recent.entries);
        Ok(entries)
    }

    fn read_disk(&self, indexes: Range<u64>) -> Result<Vec<Entry>, RaftError> {
        let group = self.group();
        let range = format::entry_range(group, indexes.start, Some(indexes.end));
        let (mut entries, mut failure, mut next) = (Vec::new(), None, indexes.start);
        self.kv.visit(&range, Direction::Forward, &mut |_, value| match format::decode_entry(value) {
            Ok(entry) if entry.index() == next => {
                next += 1;
                entries.push(entry);
                ControlFlow::Continue(())
            }
            Ok(entry) => {
                let message = format!("entry {} where entry {next} is expected", entry.index());
                failure = Some(RaftError::Log { group, message });
                ControlFlow::Break(())
            }
            Err(error) => {
                failure = Some(RaftError::Row { group, row: "entry", error });
                ControlFlow::Break(())
            }
        })?;
        if failure.is_none() && next != indexes.end {
            let message = format!("it ends at entry {next} where entry {} is expected", indexes.end);
            failure = Some(RaftError::Log { group, message });
        }
        failure.map_or(Ok(entries), Err)
    }

    async fn write_durably(&self, batch: WriteBatch) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        let bytes = batch.size_bytes();
        self.writer.submit(Job { batch, bytes, then: Then::Durable(sender) });
        receiver.await.unwrap_or_else(|_| Err(io::Error::other("the log is closed")))
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<TypeConfig> for GroupLog {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        self.read(start, end)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.tail.vote())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(start, self.tail.end_within(start, end, READ_BYTES_MAX))
    }

    /// In steps of at most [`READ_BYTES_MAX`]: what a restart applies may be larger than memory.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        let end = end.min(self.tail.ends().last.map_or(0, |last| last.index + 1));
        let steps = futures::stream::unfold((self.clone(), start), move |(log, next)| async move {
            if next >= end {
                return None;
            }
            let step_end = log.tail.end_within(next, end, READ_BYTES_MAX);
            let step = match log.read(next, step_end) {
                Ok(entries) => entries.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            let next = if step.iter().any(Result::is_err) { end } else { step_end };
            Some((futures::stream::iter(step), (log, next)))
        });
        futures::StreamExt::flatten(steps)
    }
}

impl RaftLogStorage<TypeConfig> for GroupLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let ends = self.tail.ends();
        Ok(LogState { last_purged_log_id: ends.purged, last_log_id: ends.last })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let mut batch = WriteBatch::new();
        batch.put(format::vote_key(self.group()), record::encode(&VoteRow::from(vote)));
        self.write_durably(batch).await?;
        self.tail.set_vote(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let group = self.group();
        let (mut batch, mut bytes, mut last) = (WriteBatch::new(), 0, None);
        for entry in entries {
            let (index, row) = (entry.index(), format::encode_entry(&entry));
            self.pins.entry_appended(group, &entry);
            self.tail.append(entry, row.len()).map_err(|message| RaftError::Log { group, message })?;
            bytes += row.len();
            batch.put(format::entry_key(group, index), row);
            last = Some(index);
        }
        let Some(last) = last else {
            callback.io_completed(Ok(()));
            return Ok(());
        };
        let then = Then::Appended { tail: self.tail.clone(), last, flushed: callback };
        self.writer.submit(Job { batch, bytes, then });
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let from = last_log_id.map_or(0, |id| id.index + 1);
        let mut batch = WriteBatch::new();
        batch.delete_range(format::entry_range(self.group(), from, None));
        // All appends before this one are done when it is, so that none of them can call an entry durable that
        // takes the index of a truncated one.
        self.write_durably(batch).await?;
        self.tail.truncate(from, last_log_id);
        self.pins.truncated(self.group(), from);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let (group, ends) = (self.group(), self.tail.ends());
        if ends.purged >= Some(log_id) {
            return Ok(());
        }
        let from = ends.purged.map_or(0, |id| id.index + 1);
        self.dead_bytes.fetch_add(self.tail.purge(log_id), Ordering::Relaxed);
        self.pins.purged(group, log_id.index);
        let mut batch = WriteBatch::new();
        batch.put(format::purged_key(group), record::encode(&LogIdRow::from(log_id)));
        batch.delete_range(format::entry_range(group, from, Some(log_id.index + 1)));
        let bytes = batch.size_bytes();
        self.writer.submit(Job { batch, bytes, then: Then::Eventually });
        Ok(())
    }
}
