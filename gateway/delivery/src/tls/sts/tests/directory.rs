//! Policies that outlive a process, over the engine's own directory.

use securanet_engine::Space;
use securanet_gateway::{
    client::StoreClient,
    model::{
        Command, EmailId, Execute, Freshness, GroupId, Query, StoreError, TenantId, UnixMillis,
        account::AccountRef,
        directory::{DirectoryCommand, DirectoryQuery},
        request::{Proposal, Topic},
        sts::StsPolicyRow,
    },
    store::{Answered, BoxFuture, Content, ContentSink, Executed, Store},
};
use securanet_kv::{Durability, KeyValue, memory::MemoryStore};
use tokio::sync::watch;

use super::{Answer as Said, *};

const SPACE: Space = Space { group: GroupId::DIRECTORY, generation: 0 };

/// A directory in memory that can be away.
struct Directory {
    rows: parking_lot::Mutex<MemoryStore>,
    away: std::sync::atomic::AtomicBool,
    written: std::sync::atomic::AtomicUsize,
}

impl Directory {
    fn new() -> Arc<Self> {
        let directory =
            Arc::new(Self { rows: parking_lot::Mutex::new(MemoryStore::new()), away: false.into(), written: 0.into() });
        let initialise =
            DirectoryCommand::Initialise { cluster: [1; 16], content_key: [2; 32], login_key: [3; 32], shards: 1 };
        directory.apply(Execute {
            group: GroupId::DIRECTORY,
            request: securanet_gateway::client::request_id(),
            deadline: clock::now().plus_millis(1000),
            commands: vec![Command::Directory(initialise)],
        });
        directory
    }

    fn apply(&self, request: Execute) -> Vec<securanet_gateway::model::Reply> {
        let rows = self.rows.lock();
        let proposal = Proposal { stamp: clock::now(), requests: vec![request] };
        let applied = securanet_engine::apply(&*rows, SPACE, &proposal).unwrap();
        rows.write(applied.batch, Durability::Volatile).unwrap();
        applied.replies.into_iter().next().unwrap()
    }

    fn set_away(&self, away: bool) {
        self.away.store(away, std::sync::atomic::Ordering::Relaxed);
    }

    fn written(&self) -> usize {
        self.written.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// A process' memory over it.
    fn memory(self: &Arc<Self>) -> Arc<DirectoryMemory> {
        Arc::new(DirectoryMemory::new(StoreClient::new(self.clone()), 10))
    }

    fn put(&self, fetched: UnixMillis, policy: &str) {
        let domain = DomainName::parse("example.test").unwrap();
        let (id, text) = ("1".to_owned(), policy.to_owned());
        let row = StsPolicyRow { domain, id, text, fetched, max_age_seconds: 86_400 };
        self.apply(Execute {
            group: GroupId::DIRECTORY,
            request: securanet_gateway::client::request_id(),
            deadline: clock::now().plus_millis(1000),
            commands: vec![Command::Directory(DirectoryCommand::PutStsPolicy(row))],
        });
    }
}

impl Store for Directory {
    fn execute(&self, request: Execute) -> BoxFuture<'_, Result<Executed, StoreError>> {
        Box::pin(async move {
            if self.away.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(StoreError::Draining);
            }
            self.written.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(Executed { replies: self.apply(request), index: 0 })
        })
    }

    fn query(&self, _: GroupId, query: Query, _: Freshness) -> BoxFuture<'_, Result<Answered, StoreError>> {
        Box::pin(async move {
            if self.away.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(StoreError::Unavailable("away".to_owned()));
            }
            assert!(matches!(query, Query::Directory(DirectoryQuery::StsPolicy(_))), "{query:?}");
            Ok(Answered { answer: securanet_engine::answer(&*self.rows.lock(), SPACE, &query).unwrap(), index: 0 })
        })
    }

    fn watch(&self, _: Topic) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    fn put(&self, _: TenantId, _: Vec<u8>, _: Option<u64>) -> BoxFuture<'_, Result<Box<dyn ContentSink>, StoreError>> {
        Box::pin(async { Err(StoreError::NotFound) })
    }

    fn open(&self, _: GroupId, _: AccountRef, _: EmailId) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        Box::pin(async { Err(StoreError::NotFound) })
    }

    fn open_outbound(&self, _: GroupId, _: u64) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        Box::pin(async { Err(StoreError::NotFound) })
    }

    fn accepting(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[tokio::test]
async fn rfc_8461_10_2_a_process_that_starts_knows_what_another_fetched() {
    let directory = Directory::new();
    let mut world = world("mta-sts.example.test").await;
    world.restart_with(directory.memory());
    let known = world.policy().await;
    assert!(known.is_some());
    for _ in 0..3 {
        world.forget_dns();
        world.policy().await;
    }
    assert_eq!(directory.written(), 1, "what is no news is not written");
    world.suppress();
    world.restart_with(directory.memory());
    assert_eq!(world.policy().await, known);
    world.restart_with(Arc::new(ProcessMemory::new(10)));
    assert_eq!(world.policy().await, None, "without the directory it would be forgotten");
}

#[tokio::test]
async fn a_changed_policy_is_known_everywhere() {
    let directory = Directory::new();
    let mut world = world("mta-sts.example.test").await;
    world.restart_with(directory.memory());
    world.policy().await;
    let second = POLICY.replace("enforce", "testing");
    *world.answer.lock() = http(&second);
    world.dns_server.says("_mta-sts.example.test TXT", Said::records(&["TXT \"v=STSv1; id=2;\""]));
    world.forget_dns();
    world.policy_at_last().await;
    world.suppress();
    world.restart_with(directory.memory());
    assert_eq!(world.policy().await, StsPolicy::parse(second.as_bytes()));
}

#[tokio::test]
async fn without_the_directory_the_memory_of_the_process_holds() {
    let directory = Directory::new();
    let mut world = world("mta-sts.example.test").await;
    world.restart_with(directory.memory());
    directory.set_away(true);
    let known = world.policy().await;
    assert!(known.is_some(), "a policy is fetched and kept to");
    world.suppress();
    assert_eq!(world.policy().await, known);
}

#[tokio::test]
async fn rfc_8461_3_3_a_policy_is_fetched_again_when_half_its_life_is_over() {
    let directory = Directory::new();
    let half_over = clock::now().get() - 43_201_000;
    directory.put(UnixMillis::new(half_over), POLICY);
    let mut world = world("mta-sts.example.test").await;
    world.restart_with(directory.memory());
    assert!(world.policy_at_last().await.is_some());
    assert_eq!((world.asked(), directory.written()), (1, 1), "the same id, fetched again and written again");
    world.policy().await;
    assert_eq!((world.asked(), directory.written()), (1, 1));
}

#[tokio::test]
async fn what_has_ended_in_the_directory_holds_no_more() {
    let directory = Directory::new();
    directory.put(UnixMillis::new(clock::now().get() - 86_401_000), POLICY);
    let mut world = world("mta-sts.example.test").await;
    world.suppress();
    world.restart_with(directory.memory());
    assert_eq!(world.policy().await, None);
}
