//! The log store from openraft's side: what is durable when, and what a restart finds.

use std::{
    ops::ControlFlow,
    sync::{Mutex as StdMutex, mpsc},
};

use bytes::Bytes;
use openraft::{
    EntryPayload, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
    type_config::{TypeConfigExt, alias::OneshotReceiverOf},
};
use securanet_kv::{KvError, Read, Row, memory::MemoryStore};
use securanet_model::{BlobId, TenantId};

use super::*;
use crate::types::{Entry, Proposed, TypeConfig};

const GROUP: GroupId = GroupId::new(5);

type Appended = OneshotReceiverOf<TypeConfig, Result<(), std::io::Error>>;

/// A memory store whose durable writes wait for a permit, and fail when told to.
struct SlowDisk {
    store: MemoryStore,
    permits: StdMutex<mpsc::Receiver<Result<(), KvError>>>,
    synced_batches: StdMutex<Vec<usize>>,
}

impl SlowDisk {
    fn new() -> (Arc<Self>, mpsc::Sender<Result<(), KvError>>) {
        let (sender, permits) = mpsc::channel();
        let store = MemoryStore::new();
        (Arc::new(Self { store, permits: StdMutex::new(permits), synced_batches: StdMutex::default() }), sender)
    }
}

impl Read for SlowDisk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.store.get(key)
    }

    fn visit(
        &self,
        range: &KeyRange,
        direction: Direction,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        self.store.visit(range, direction, visit)
    }
}

impl KeyValue for SlowDisk {
    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<(), KvError> {
        if durability == Durability::Synced {
            self.permits.lock().unwrap().recv().unwrap_or(Ok(()))?;
            self.synced_batches.lock().unwrap().push(batch.changes().len());
        }
        self.store.write(batch, durability)
    }

    fn flush(&self) -> Result<(), KvError> {
        self.store.flush()
    }

    fn sync(&self) -> Result<(), KvError> {
        self.store.sync()
    }

    fn snapshot(&self) -> Box<dyn Read> {
        self.store.snapshot()
    }

    fn ingest(&self, rows: &mut dyn Iterator<Item = Row>) -> Result<(), KvError> {
        self.store.ingest(rows)
    }

    fn size_on_disk_bytes(&self) -> Result<u64, KvError> {
        self.store.size_on_disk_bytes()
    }

    fn compact(&self, range: &KeyRange) -> Result<(), KvError> {
        self.store.compact(range)
    }
}

fn panicking() -> FatalHook {
    Arc::new(|error| panic!("{error}"))
}

fn open(kv: Arc<dyn KeyValue>, cache_bytes_max: usize) -> (LogStore, GroupLog) {
    let store = LogStore::open(kv, cache_bytes_max, panicking()).unwrap();
    let log = store.group(GROUP).unwrap();
    (store, log)
}

fn log_id(index: u64) -> LogId {
    LogId::new(openraft::impls::leader_id_adv::LeaderId { term: 1, node_id: 1 }, index)
}

fn blob(number: u8) -> BlobId {
    BlobId { tenant: TenantId::new(1), hash: [number; 32] }
}

fn entry(index: u64, bytes: usize, blobs: &[u8]) -> Entry {
    let record = Bytes::from(vec![index as u8; bytes]);
    let blobs = blobs.iter().map(|number| blob(*number)).collect();
    Entry::new(log_id(index), EntryPayload::Normal(Proposed::from_record(record, blobs)))
}

fn begin_append(log: &mut GroupLog, entries: Vec<Entry>) -> Appended {
    let (sender, receiver) = TypeConfig::oneshot();
    let appended = log.append(entries, IOFlushed::<TypeConfig>::signal(sender));
    futures::executor::block_on(appended).unwrap();
    receiver
}

async fn append(log: &mut GroupLog, entries: Vec<Entry>) {
    begin_append(log, entries).await.unwrap().unwrap();
}

async fn indexes(log: &mut GroupLog, from: u64, to: u64) -> Vec<u64> {
    let entries = log.try_get_log_entries(from..to).await.unwrap();
    for entry in &entries {
        let EntryPayload::Normal(proposed) = &entry.payload else { panic!("not what was appended") };
        assert!(proposed.record().iter().all(|byte| *byte == entry.index() as u8));
    }
    entries.iter().map(RaftEntry::index).collect()
}

#[tokio::test]
async fn appends_of_all_groups_share_a_sync_and_are_readable_before_it() {
    let (disk, permit) = SlowDisk::new();
    let store = LogStore::open(disk.clone(), 1000, panicking()).unwrap();
    let mut logs: Vec<_> = (1..=4).map(|group| store.group(GroupId::new(group)).unwrap()).collect();
    // The first append occupies the disk; the others gather behind it.
    let mut first = begin_append(&mut logs[0], vec![entry(0, 10, &[])]);
    while disk.permits.try_lock().is_ok() {
        std::thread::yield_now();
    }
    let others: Vec<_> = logs.iter_mut().skip(1).map(|log| begin_append(log, vec![entry(0, 10, &[])])).collect();
    assert_eq!(indexes(&mut logs[3], 0, 9).await, [0]);
    assert!(first.try_recv().is_err(), "nothing is durable yet");
    permit.send(Ok(())).unwrap();
    first.await.unwrap().unwrap();
    permit.send(Ok(())).unwrap();
    for other in others {
        other.await.unwrap().unwrap();
    }
    assert_eq!(*disk.synced_batches.lock().unwrap(), [1, 3]);
    drop(permit);
}

#[tokio::test]
async fn a_vote_is_durable_before_it_is_answered() {
    let store = MemoryStore::new();
    let (_log_store, mut log) = open(Arc::new(store.clone()), 1000);
    log.save_vote(&Vote::new(4, 1)).await.unwrap();
    let (_again, mut log) = open(Arc::new(store.crashed_copy()), 1000);
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new(4, 1)));
}

#[tokio::test]
async fn after_a_failed_sync_the_hook_is_called_once_and_nothing_is_written_any_more() {
    let (disk, permit) = SlowDisk::new();
    let failures = Arc::new(StdMutex::new(Vec::new()));
    let theirs = failures.clone();
    let hook: FatalHook = Arc::new(move |error| theirs.lock().unwrap().push(error.to_string()));
    let store = LogStore::open(disk.clone(), 1000, hook).unwrap();
    let mut log = store.group(GROUP).unwrap();
    permit.send(Err(KvError::Io { path: "log".to_owned(), message: "no space left".to_owned() })).unwrap();
    permit.send(Ok(())).unwrap();
    assert!(begin_append(&mut log, vec![entry(0, 10, &[])]).await.unwrap().is_err());
    assert!(begin_append(&mut log, vec![entry(1, 10, &[])]).await.unwrap().is_err());
    assert!(log.save_vote(&Vote::new(4, 1)).await.is_err());
    assert_eq!(*failures.lock().unwrap(), ["log: no space left"]);
    assert!(disk.synced_batches.lock().unwrap().is_empty());
    store.close();
    assert!(begin_append(&mut log, vec![entry(2, 10, &[])]).await.unwrap().is_err(), "closed");
}

#[tokio::test]
async fn entries_beyond_the_cache_are_read_from_disk_and_reads_are_bounded_in_bytes() {
    let (_store, mut log) = open(Arc::new(MemoryStore::new()), 3000);
    for index in 0..50 {
        append(&mut log, vec![entry(index, 1000, &[])]).await;
    }
    assert_eq!(indexes(&mut log, 0, 100).await, (0..50).collect::<Vec<_>>());
    assert_eq!(indexes(&mut log, 46, 49).await, [46, 47, 48]);
    assert_eq!(indexes(&mut log, 45, 49).await, [45, 46, 47, 48]);
    for index in 50..53 {
        append(&mut log, vec![entry(index, 700_000, &[])]).await;
    }
    let limited = |entries: Vec<Entry>| entries.iter().map(RaftEntry::index).collect::<Vec<_>>();
    assert_eq!(limited(log.limited_get_log_entries(48, 53).await.unwrap()), [48, 49, 50]);
    assert_eq!(limited(log.limited_get_log_entries(51, 53).await.unwrap()), [51], "one is always given");
    let streamed: Vec<_> = futures::StreamExt::collect(log.entries_stream(40..53).await).await;
    let streamed: Vec<_> = streamed.into_iter().map(|entry| entry.unwrap().index()).collect();
    assert_eq!(streamed, (40..53).collect::<Vec<_>>());
}

#[tokio::test]
async fn truncated_and_purged_entries_are_gone_also_after_a_restart() {
    let disk = MemoryStore::new();
    let (store, mut log) = open(Arc::new(disk.clone()), 1_000_000);
    append(&mut log, (0..20).map(|index| entry(index, 10, &[])).collect()).await;
    log.truncate_after(Some(log_id(14))).await.unwrap();
    append(&mut log, vec![entry(15, 30, &[])]).await;
    log.purge(log_id(4)).await.unwrap();
    let bytes = log.ends().bytes;
    let check = |log: &GroupLog| {
        let ends = log.ends();
        assert_eq!((ends.purged, ends.last, ends.bytes), (Some(log_id(4)), Some(log_id(15)), bytes));
    };
    check(&log);
    assert_eq!(indexes(&mut log, 0, 100).await, (5..16).collect::<Vec<_>>());
    store.close();
    let (_again, mut log) = open(Arc::new(disk.crashed_copy()), 20);
    check(&log);
    assert_eq!(indexes(&mut log, 0, 100).await, (5..16).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_purge_that_a_crash_lost_is_no_loss() {
    let disk = MemoryStore::new();
    let (_store, mut log) = open(Arc::new(disk.clone()), 1000);
    append(&mut log, (0..5).map(|index| entry(index, 10, &[])).collect()).await;
    log.purge(log_id(2)).await.unwrap();
    let (_again, mut log) = open(Arc::new(disk.crashed_copy()), 1000);
    assert_eq!(indexes(&mut log, 0, 9).await, [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn a_blob_is_pinned_while_an_unpurged_entry_names_it() {
    let disk = MemoryStore::new();
    let (store, mut log) = open(Arc::new(disk.clone()), 1000);
    append(&mut log, vec![entry(0, 10, &[1]), entry(1, 10, &[1, 2]), entry(2, 10, &[3])]).await;
    let pinned = |store: &LogStore| [1, 2, 3].map(|number| store.pins().contains(&blob(number)));
    assert_eq!(pinned(&store), [true, true, true]);
    log.purge(log_id(0)).await.unwrap();
    assert_eq!(pinned(&store), [true, true, true]);
    log.truncate_after(Some(log_id(1))).await.unwrap();
    assert_eq!(pinned(&store), [true, true, false]);
    store.close();
    let (again, mut log) = open(Arc::new(disk.crashed_copy()), 1000);
    assert_eq!(pinned(&again), [true, true, false]);
    log.purge(log_id(1)).await.unwrap();
    assert_eq!(pinned(&again), [false, false, false]);
}

#[tokio::test]
async fn a_hole_in_the_log_is_found_when_it_is_opened() {
    let disk = MemoryStore::new();
    let (_store, mut log) = open(Arc::new(disk.clone()), 1000);
    append(&mut log, (0..5).map(|index| entry(index, 10, &[])).collect()).await;
    let mut batch = WriteBatch::new();
    batch.delete(format::entry_key(GROUP, 2));
    disk.write(batch, Durability::Synced).unwrap();
    let store = LogStore::open(Arc::new(disk), 1000, panicking()).unwrap();
    assert!(matches!(store.group(GROUP).err().unwrap(), RaftError::Log { .. }));
}
