//! What only a disk can show: space, damage, locks, a process that dies.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use securanet_kv::{
    Direction, Durability, KeyRange, KeyValue, KvError, Read, WriteBatch,
    rocks::{Profile, RocksStore},
};
use tempfile::TempDir;

use crate::subject::{Subject, batch, everything, step};

/// Names the directory to the process that is to die in it.
const DOOMED: &str = "SECURANET_KV_TEST_DOOMED";

/// Runs one test of this file again in a process of its own, which ends without any tidying.
fn die_in(test: &str, directory: &Path) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(DOOMED, directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success(), "the process was to die");
}

#[test]
fn a_killed_process_leaves_whole_batches_in_order() {
    // Small buffers, so that RocksDB flushes some of the volatile writes by itself.
    let profile = Profile::state().with_write_buffer_bytes(1 << 20);
    let pair = |number: u32| {
        let mut batch = WriteBatch::new();
        batch.put([b"a", number.to_be_bytes().as_slice()].concat(), vec![1; 1000]);
        batch.put([b"b", number.to_be_bytes().as_slice()].concat(), vec![1; 1000]);
        batch
    };
    if let Some(directory) = std::env::var_os(DOOMED) {
        let store = RocksStore::open(directory, profile).unwrap();
        (0..3000).for_each(|number| store.write(pair(number), Durability::Volatile).unwrap());
        std::process::abort();
    }
    let directory = TempDir::new().unwrap();
    die_in("disk::a_killed_process_leaves_whole_batches_in_order", directory.path());
    let store = RocksStore::open(directory.path(), profile).unwrap();
    let numbers = |table: &str| -> Vec<u32> {
        let rows = store.scan(&KeyRange::prefix(table), Direction::Forward, usize::MAX).unwrap();
        rows.iter().map(|(key, _)| u32::from_be_bytes(key[1..].try_into().unwrap())).collect()
    };
    let left = numbers("a");
    assert!(!left.is_empty(), "some buffers were full");
    assert_eq!(left, (0..left.len() as u32).collect::<Vec<_>>());
    assert_eq!(left, numbers("b"));
}

#[test]
fn a_killed_process_leaves_what_it_buffered() {
    if let Some(directory) = std::env::var_os(DOOMED) {
        let store = RocksStore::open(directory, Profile::log()).unwrap();
        store.write(batch(&[("a", "1")]), Durability::Buffered).unwrap();
        std::process::abort();
    }
    let directory = TempDir::new().unwrap();
    die_in("disk::a_killed_process_leaves_what_it_buffered", directory.path());
    let store = RocksStore::open(directory.path(), Profile::log()).unwrap();
    assert_eq!(store.get(b"a").unwrap(), Some(b"1".to_vec()));
}

#[test]
fn deleted_rows_give_their_space_back() {
    for subject in Subject::all() {
        let kv = subject.kv();
        let mut noise = 88_172_645_463_325_252;
        for key in 0_u32..64 {
            let value: Vec<u8> = std::iter::repeat_with(|| step(&mut noise)).take(100_000).collect();
            let mut batch = WriteBatch::new();
            batch.put(key.to_be_bytes(), value);
            kv.write(batch, Durability::Buffered).unwrap();
        }
        kv.flush().unwrap();
        kv.compact(&everything()).unwrap();
        let full = kv.size_on_disk_bytes().unwrap();
        assert!(full > 6_000_000, "{}: {full}", subject.name());
        let mut batch = WriteBatch::new();
        // All but every eighth: files that keep a little must shrink too.
        (0_u32..64).filter(|key| key % 8 != 0).for_each(|key| batch.delete(key.to_be_bytes()));
        kv.write(batch, Durability::Buffered).unwrap();
        kv.flush().unwrap();
        kv.compact(&everything()).unwrap();
        let rest = kv.size_on_disk_bytes().unwrap();
        assert!(rest < full / 4, "{}: {rest} of {full}", subject.name());
        assert_eq!(kv.get(&8_u32.to_be_bytes()).unwrap().map(|value| value.len()), Some(100_000));
    }
}

#[test]
fn a_store_is_opened_by_one_at_a_time_and_the_error_names_it() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("deep").join("log");
    let store = RocksStore::open(&path, Profile::log()).unwrap();
    let error = RocksStore::open(&path, Profile::log()).err().unwrap();
    assert!(error.to_string().contains("deep/log"), "{error}");
    assert!(!store.is_write_stopped().unwrap());
    drop(store);
    RocksStore::open(&path, Profile::log()).unwrap();
}

#[test]
fn what_an_interrupted_ingestion_left_is_removed() {
    let directory = TempDir::new().unwrap();
    let leftover = directory.path().join("ingest").join("0");
    fs::create_dir_all(&leftover).unwrap();
    fs::write(leftover.join("0.sst"), b"half a table").unwrap();
    let store = RocksStore::open(directory.path(), Profile::state()).unwrap();
    assert!(!directory.path().join("ingest").exists());
    store.ingest(&mut [(b"a".to_vec(), b"1".to_vec())].into_iter()).unwrap();
    assert_eq!(store.get(b"a").unwrap(), Some(b"1".to_vec()));
}

#[test]
fn damage_on_disk_is_told_as_damage() {
    let directory = TempDir::new().unwrap();
    let store = RocksStore::open(directory.path(), Profile::state()).unwrap();
    let mut noise = 1;
    let value: Vec<u8> = std::iter::repeat_with(|| step(&mut noise)).take(5000).collect();
    let mut batch = WriteBatch::new();
    batch.put("key", value);
    store.write(batch, Durability::Volatile).unwrap();
    store.flush().unwrap();
    drop(store);
    let mut files = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let table = files.find(|path| path.extension().is_some_and(|end| end == "sst")).unwrap();
    let mut bytes = fs::read(&table).unwrap();
    bytes[1000] ^= 1;
    fs::write(&table, bytes).unwrap();
    let store = RocksStore::open(directory.path(), Profile::state()).unwrap();
    let error = store.get(b"key").unwrap_err();
    assert!(matches!(error, KvError::Damaged { .. }), "{error}");
    let error = store.scan(&everything(), Direction::Forward, 10).unwrap_err();
    assert!(matches!(error, KvError::Damaged { .. }), "{error}");
}

#[test]
fn the_block_cache_is_as_large_as_it_was_asked_for() {
    for (asked_bytes, given_bytes) in [(24 << 20, 24 << 20), (1, 1 << 20)] {
        let directory = TempDir::new().unwrap();
        for profile in [Profile::log(), Profile::state(), Profile::blob()] {
            let path = directory.path().join(format!("{asked_bytes}-{}", profile.cache_bytes()));
            let store = RocksStore::open(path, profile.with_cache_bytes(asked_bytes)).unwrap();
            assert_eq!(store.cache_bytes_max(), Ok(given_bytes));
        }
    }
}
