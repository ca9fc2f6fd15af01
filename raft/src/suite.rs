//! openraft's own suite for logs and state machines, on ours.

use std::sync::{Arc, atomic::AtomicU64};

use openraft::{
    StorageError,
    testing::log::{StoreBuilder, Suite},
};
use securanet_kv::{
    KeyValue,
    memory::MemoryStore,
    rocks::{Profile, RocksStore},
};
use securanet_model::GroupId;

use crate::{
    log::{GroupLog, LogStore},
    state::{Effects, Replica, StateMachine},
    types::TypeConfig,
    watches::Watches,
};

/// Makes fresh stores for each test of the suite.
struct Fresh<F>(F);

impl<F, G> StoreBuilder<TypeConfig, GroupLog, StateMachine, (LogStore, G)> for Fresh<F>
where
    F: Fn() -> (Arc<dyn KeyValue>, Arc<dyn KeyValue>, G) + Send + Sync,
    G: Send + Sync + 'static,
{
    async fn build(&self) -> Result<((LogStore, G), GroupLog, StateMachine), StorageError<TypeConfig>> {
        let (log, state, guard) = (self.0)();
        let group = GroupId::new(7);
        let fatal: crate::FatalHook = Arc::new(|error| panic!("{error}"));
        let store = LogStore::open(log, 64, fatal.clone()).unwrap();
        let log = store.group(group).unwrap();
        let effects = Effects {
            watches: Arc::new(Watches::new(10)),
            fan_out: Arc::default(),
            unflushed_bytes: Arc::new(AtomicU64::new(0)),
            fatal,
        };
        let replica = Arc::new(Replica::open(group, state, effects).unwrap());
        Ok(((store, guard), log, StateMachine::new(replica)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_suite_passes_in_memory() {
    let fresh = || -> (Arc<dyn KeyValue>, Arc<dyn KeyValue>, ()) {
        (Arc::new(MemoryStore::new()), Arc::new(MemoryStore::new()), ())
    };
    Suite::test_all(Fresh(fresh)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openrafts_suite_passes_on_rocksdb() {
    let fresh = || -> (Arc<dyn KeyValue>, Arc<dyn KeyValue>, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let open = |name, profile| Arc::new(RocksStore::open(directory.path().join(name), profile).unwrap());
        (open("log", Profile::log()), open("state", Profile::state()), directory)
    };
    Suite::test_all(Fresh(fresh)).await.unwrap();
}
