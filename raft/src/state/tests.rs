//! Snapshots: what goes out comes in, and a crash between any two steps leaves one whole state.

use std::sync::{Arc, atomic::AtomicU64};

use openraft::storage::RaftStateMachine;
use securanet_kv::{Direction, Durability, KeyRange, KeyValue, Row, WriteBatch, memory::MemoryStore};
use securanet_model::GroupId;

use super::{Effects, Position, Replica, SnapshotData, Staging, StateMachine, TakenSnapshot};
use crate::{
    RaftError, format,
    types::{LogId, Membership},
    watches::Watches,
};

const GROUP: GroupId = GroupId::new(3);

fn replica(kv: &MemoryStore) -> Arc<Replica> {
    let effects = Effects {
        watches: Arc::new(Watches::new(10)),
        fan_out: Arc::default(),
        unflushed_bytes: Arc::new(AtomicU64::new(0)),
        fatal: Arc::new(|error| panic!("{error}")),
    };
    Arc::new(Replica::open(GROUP, Arc::new(kv.clone()), effects).unwrap())
}

fn log_id(index: u64) -> LogId {
    LogId::new(openraft::impls::leader_id_adv::LeaderId { term: 2, node_id: 1 }, index)
}

/// A store whose live generation holds rows that name `index`, durably.
fn store_at(index: u64, rows: u32) -> MemoryStore {
    let kv = MemoryStore::new();
    let mut batch = WriteBatch::new();
    for row in 0..rows {
        let key = [format::space_prefix(GROUP, 0), vec![(row % 0x7f) as u8], row.to_be_bytes().to_vec()].concat();
        batch.put(key, vec![index as u8; 3000]);
    }
    // A derived row, and one of another group: neither belongs into a snapshot.
    batch.put([format::space_prefix(GROUP, 0), vec![0x80]].concat(), b"derived");
    batch.put([format::space_prefix(GroupId::new(4), 0), vec![1]].concat(), b"another group's");
    batch.put(format::applied_key(GROUP), securanet_model::record::encode(&format::LogIdRow::from(log_id(index))));
    kv.write(batch, Durability::Volatile).unwrap();
    kv.flush().unwrap();
    kv
}

/// The truth rows of the live generation, keys stripped.
fn live_rows(kv: &MemoryStore) -> Vec<Row> {
    let space = replica(kv).space();
    let prefix = format::space_prefix(GROUP, space.generation);
    let mut range = KeyRange::prefix(prefix.clone());
    range.end = Some([prefix.as_slice(), &[0x80]].concat());
    let rows = kv.snapshot().scan(&range, Direction::Forward, usize::MAX).unwrap();
    rows.into_iter().map(|(key, value)| (key[prefix.len()..].to_vec(), value)).collect()
}

fn generations_on_disk(kv: &MemoryStore) -> Vec<u32> {
    let rows =
        kv.snapshot().scan(&KeyRange::prefix(GROUP.get().to_be_bytes()), Direction::Forward, usize::MAX).unwrap();
    let mut generations: Vec<_> =
        rows.iter().map(|(key, _)| u32::from_be_bytes(key[4..8].try_into().unwrap())).collect();
    generations.dedup();
    generations
}

async fn take(kv: &MemoryStore) -> TakenSnapshot {
    let snapshot = StateMachine::new(replica(kv)).get_current_snapshot().await.unwrap().unwrap();
    let SnapshotData::Taken(taken) = snapshot.snapshot else { panic!("no rows") };
    taken
}

#[tokio::test]
async fn a_snapshot_goes_from_one_replica_to_another_in_chunks() {
    let (from, to) = (store_at(9, 1000), store_at(4, 10));
    let taken = take(&from).await;
    let chunks: Vec<_> = taken.chunks().map(Result::unwrap).collect();
    assert!(chunks.len() > 4 && chunks.iter().all(|chunk| chunk.len() < 1_100_000), "{} chunks", chunks.len());
    let receiver = replica(&to);
    let mut machine = StateMachine::new(receiver.clone());
    let meta = taken.meta().clone();
    machine.install_snapshot(&meta, taken.into()).await.unwrap();
    assert_eq!(machine.applied_state().await.unwrap().0, Some(log_id(9)));
    assert_eq!((receiver.space().generation, receiver.flushed()), (1, Some(log_id(9))));
    assert_eq!(live_rows(&to), live_rows(&from));
    assert_eq!(generations_on_disk(&to), [1, format::OWN_GENERATION], "the old generation is gone");
    // Again: the next generation is another one.
    let (meta, taken) = (take(&from).await.meta().clone(), take(&from).await);
    machine.install_snapshot(&meta, taken.into()).await.unwrap();
    assert_eq!(receiver.space().generation, 2);
}

#[tokio::test]
async fn a_snapshot_is_unmoved_by_what_is_written_later() {
    let from = store_at(9, 10);
    let taken = take(&from).await;
    let expected = live_rows(&from);
    let mut batch = WriteBatch::new();
    batch.delete_range(KeyRange::prefix(format::space_prefix(GROUP, 0)));
    from.write(batch, Durability::Volatile).unwrap();
    let to = MemoryStore::new();
    let mut machine = StateMachine::new(replica(&to));
    machine.install_snapshot(&taken.meta().clone(), taken.into()).await.unwrap();
    assert_eq!(live_rows(&to), expected);
}

/// Opens what a crash now would leave: it is the old state or the new one, whole, and nothing else is on disk.
fn check_crash(to: &MemoryStore, old: &[Row], new: &[Row], flipped: bool, step: &str) {
    let left = to.crashed_copy();
    let opened = replica(&left);
    let (expected, index) = if flipped { (new, 9) } else { (old, 4) };
    assert_eq!(opened.applied(), Some(log_id(index)), "{step}");
    assert_eq!(live_rows(&left), expected, "{step}");
    assert_eq!(generations_on_disk(&left).len(), 2, "{step}: rows of other generations are removed");
}

#[tokio::test]
async fn a_crash_between_any_two_steps_of_an_install_leaves_one_whole_state() {
    // Also when the store flushes by itself after a step, as RocksDB does when a buffer is full.
    for flush_by_itself in [false, true] {
        let (from, to) = (store_at(9, 700), store_at(4, 10));
        let (old, new) = (live_rows(&to), live_rows(&from));
        let check = |flipped, step: &str| {
            check_crash(&to, &old, &new, flipped, step);
            if flush_by_itself {
                to.flush().unwrap();
                check_crash(&to, &old, &new, flipped || step == "flip written", step);
            }
        };
        let receiver = replica(&to);
        let mut staging = Staging::begin(receiver.clone()).unwrap();
        check(false, "begun");
        for chunk in take(&from).await.chunks() {
            staging.add(&chunk.unwrap()).unwrap();
            check(false, "chunk");
        }
        let mut staged = staging.finish().unwrap();
        check(false, "staged");
        staged.write_flip().unwrap();
        check(false, "flip written");
        to.flush().unwrap();
        check(true, "flushed");
        let old_generation = staged.go_live();
        check(true, "live");
        super::staging::remove_generation(&receiver, old_generation).unwrap();
        check(true, "old rows removed");
        drop(staged);
        check(true, "done");
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_short_or_out_of_turn_is_refused_and_leaves_nothing() {
    let (from, to) = (store_at(9, 700), store_at(4, 10));
    let receiver = replica(&to);
    let chunks: Vec<_> = take(&from).await.chunks().map(Result::unwrap).collect();
    let (first, last) = (&chunks[0], &chunks[chunks.len() - 1]);
    let streams: [&[&Vec<u8>]; 5] = [&[], &[first], &[first, &chunks[1]], &[first, last], &[first, &chunks[1], last]];
    for stream in streams {
        let mut staging = Staging::begin(receiver.clone()).unwrap();
        stream.iter().for_each(|chunk| staging.add(chunk).unwrap());
        assert!(matches!(staging.finish().err().unwrap(), RaftError::Snapshot { .. }));
    }
    for wrong in [&chunks[1], last] {
        let mut staging = Staging::begin(receiver.clone()).unwrap();
        assert!(matches!(staging.add(wrong), Err(RaftError::Snapshot { .. })));
    }
    assert_eq!(generations_on_disk(&to), [0, format::OWN_GENERATION]);
    assert_eq!(receiver.all_views().1.len(), 1, "nothing is staged any more");
}

#[tokio::test]
async fn only_one_snapshot_arrives_at_a_time_and_what_it_names_is_seen() {
    let to = store_at(4, 10);
    let receiver = replica(&to);
    let staging = Staging::begin(receiver.clone()).unwrap();
    assert!(matches!(Staging::begin(receiver.clone()).err().unwrap(), RaftError::Snapshot { .. }));
    let generations: Vec<_> = receiver.all_views().1.iter().map(|space| space.generation).collect();
    assert_eq!(generations, [0, 1]);
    drop(staging);
    Staging::begin(receiver).unwrap();
}

#[tokio::test]
async fn the_position_that_openraft_may_purge_to_is_the_flushed_one() {
    let kv = store_at(4, 10);
    let receiver = replica(&kv);
    let mut machine = StateMachine::new(receiver.clone());
    receiver.advance(log_id(6), None, 10);
    let mut builder = machine.try_create_snapshot_builder(false).await.unwrap();
    let built = openraft::RaftSnapshotBuilder::build_snapshot(&mut builder).await.unwrap();
    assert_eq!(built.meta.last_log_id, Some(log_id(4)));
    receiver.set_flushed(Position { applied: Some(log_id(6)), membership: Membership::default() });
    receiver.set_flushed(Position { applied: Some(log_id(5)), membership: Membership::default() });
    assert_eq!(receiver.flushed(), Some(log_id(6)), "it does not go back");
}
