//! A node in memory that can lose what was not durable at any instant, and commands for it.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    ops::ControlFlow,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use securanet_kv::{Direction, Durability, KeyRange, KeyValue, KvError, Read, Row, WriteBatch, memory::MemoryStore};
use securanet_model::{
    AccountId, Answer, BlobId, Command, DomainId, EmailId, Epoch, Execute, Freshness, GroupId, MailboxName, Query,
    Reply, RequestId, StoreError, TenantId, UnixMillis,
    account::{AccountAnswer, AccountCommand, AccountQuery, AccountRef, UidSet},
    content::{BlobRef, Codec, NewMessage, Sealed},
    delivery::{Deliver, DeliverTo, QuotaRule},
    directory::Quota,
};
use securanet_raft::{FatalHook, Groups, Settings, Stores};

/// xorshift64: the same numbers on each run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// A memory store whose crash can be taken together with others, and that fails or flushes when told to.
pub(crate) struct Disk {
    store: MemoryStore,
    /// Held for writing while a crash is taken of several disks at one instant.
    instant: Arc<RwLock<()>>,
    /// When not 0: one volatile write in so many is followed by a flush that nobody asked for, as RocksDB does.
    flush_one_in: u64,
    random: Mutex<Random>,
    /// Writes left before the disk is full; `u64::MAX` is never.
    pub(crate) writes_left: AtomicU64,
    /// Set while the disk does not answer.
    pub(crate) stalled: AtomicBool,
}

impl Disk {
    fn new(store: MemoryStore, instant: Arc<RwLock<()>>, flush_one_in: u64, seed: u64) -> Arc<Self> {
        let random = Mutex::new(Random::new(seed));
        Arc::new(Self {
            store,
            instant,
            flush_one_in,
            random,
            writes_left: AtomicU64::new(u64::MAX),
            stalled: AtomicBool::new(false),
        })
    }

    fn full(&self) -> Result<(), KvError> {
        let left = self.writes_left.load(Ordering::SeqCst);
        if left == 0 {
            return Err(KvError::Io { path: "disk".to_owned(), message: "No space left on device".to_owned() });
        }
        if left != u64::MAX {
            self.writes_left.store(left - 1, Ordering::SeqCst);
        }
        Ok(())
    }
}

impl Read for Disk {
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

impl KeyValue for Disk {
    fn write(&self, batch: WriteBatch, durability: Durability) -> Result<(), KvError> {
        while self.stalled.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _instant = self.instant.read().unwrap();
        self.full()?;
        self.store.write(batch, durability)?;
        if self.flush_one_in > 0 && self.random.lock().unwrap().below(self.flush_one_in) == 0 {
            self.store.flush()?;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), KvError> {
        let _instant = self.instant.read().unwrap();
        self.full()?;
        self.store.flush()
    }

    fn sync(&self) -> Result<(), KvError> {
        self.flush()
    }

    fn snapshot(&self) -> Box<dyn Read> {
        self.store.snapshot()
    }

    fn ingest(&self, rows: &mut dyn Iterator<Item = Row>) -> Result<(), KvError> {
        let _instant = self.instant.read().unwrap();
        self.store.ingest(rows)
    }

    fn size_on_disk_bytes(&self) -> Result<u64, KvError> {
        self.store.size_on_disk_bytes()
    }

    fn compact(&self, range: &KeyRange) -> Result<(), KvError> {
        self.store.compact(range)
    }
}

/// The disks of a node.
pub(crate) struct Disks {
    pub(crate) log: Arc<Disk>,
    pub(crate) state: Arc<Disk>,
    pub(crate) blob: Arc<Disk>,
    instant: Arc<RwLock<()>>,
    crashed: AtomicBool,
}

impl Disks {
    pub(crate) fn new() -> Self {
        Self::over([MemoryStore::new(), MemoryStore::new(), MemoryStore::new()], 0, 1)
    }

    fn over([log, state, blob]: [MemoryStore; 3], flush_one_in: u64, seed: u64) -> Self {
        let instant = Arc::<RwLock<()>>::default();
        Self {
            log: Disk::new(log, instant.clone(), flush_one_in, seed),
            state: Disk::new(state, instant.clone(), flush_one_in, seed ^ 0x5555),
            blob: Disk::new(blob, instant.clone(), 0, seed),
            instant,
            crashed: AtomicBool::new(false),
        }
    }

    /// What a power cut at this instant would leave; the new disks flush by themselves with the given odds.
    pub(crate) fn crashed(&self, flush_one_in: u64, seed: u64) -> Self {
        let _instant = self.instant.write().unwrap();
        self.crashed.store(true, Ordering::SeqCst);
        let left = [&self.log, &self.state, &self.blob].map(|disk| disk.store.crashed_copy());
        Self::over(left, flush_one_in, seed)
    }

    /// What a power cut at this instant leaves, when the log's disk has by itself written the first `kept` of what was
    /// not durable; and how many of the log's writes are lost.
    pub(crate) fn crashed_keeping(&self, kept: usize) -> (Self, usize) {
        let lost = self.log.store.writes_pending().saturating_sub(kept);
        self.log.store.crash_keeping(kept);
        (self.crashed(0, 1), lost)
    }

    /// What a power cut at this instant would leave; it does not happen.
    pub(crate) fn peek(&self) -> Self {
        let _instant = self.instant.write().unwrap();
        Self::over([&self.log, &self.state, &self.blob].map(|disk| disk.store.crashed_copy()), 0, 1)
    }

    /// Does it, unless the power is gone already.
    pub(crate) fn before_crash(&self, then: impl FnOnce()) -> bool {
        let _instant = self.instant.read().unwrap();
        let before = !self.crashed.load(Ordering::SeqCst);
        if before {
            then();
        }
        before
    }

    pub(crate) fn stores(&self) -> Stores {
        Stores::over(self.log.clone(), self.state.clone(), self.blob.clone())
    }
}

pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis::new(since.as_millis() as u64)
}

/// Panics of the syncing thread would go unseen: whoever expects no fatal error collects them and looks.
pub(crate) fn collect_fatal() -> (FatalHook, Arc<Mutex<Vec<KvError>>>) {
    let errors = Arc::<Mutex<Vec<KvError>>>::default();
    let theirs = errors.clone();
    (Arc::new(move |error| theirs.lock().unwrap().push(error.clone())), errors)
}

pub(crate) fn settings(shards: u32) -> Settings {
    let mut settings = Settings::alone("node", shards, Arc::new(now));
    settings.fatal = Arc::new(|error| panic!("a disk failed: {error}"));
    settings
}

/// Opens a node and waits until it answers.
pub(crate) async fn open(settings: Settings, disks: &Disks) -> Groups {
    let groups = Groups::open(settings, &disks.stores()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), groups.ready()).await.expect("the groups became ready");
    groups
}

pub(crate) fn request_id(number: u64) -> RequestId {
    let mut bytes = [0xaa; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    RequestId::new(bytes)
}

pub(crate) fn execute(group: u32, request: u64, commands: Vec<Command>) -> Execute {
    let deadline = now().plus_millis(20_000);
    Execute { group: GroupId::new(group), request: request_id(request), deadline, commands }
}

pub(crate) fn account(id: u64) -> AccountRef {
    AccountRef { id: AccountId::new(id), epoch: Epoch::new(0) }
}

pub(crate) fn provision(id: u64) -> Command {
    let quota = Quota { bytes_max: None, messages_max: None };
    let provision = AccountCommand::Provision { tenant: TenantId::new(1), domain: DomainId::new(1), quota };
    Command::Account(account(id), provision)
}

pub(crate) fn blob(number: u64) -> BlobId {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&number.to_be_bytes());
    BlobId { tenant: TenantId::new(1), hash }
}

/// What others have said too, in another order.
pub(crate) fn sealed_text(number: u64) -> Sealed {
    let saying = |number: u64| {
        let mut random = Random::new(number);
        format!("{:x} {:x} {:x} {:x}\r\n", random.next(), random.next(), random.next(), random.next())
    };
    let mut random = Random::new(number);
    let text: String = (0..25).map(|_| saying(1000 + random.below(60))).collect();
    sealed(&text)
}

/// Sealed as the store's front does it with what shrinks.
pub(crate) fn sealed(text: &str) -> Sealed {
    let bytes = securanet_blob::frame::compress(text.as_bytes()).unwrap();
    Sealed { codec: Codec::Zstd, ..Sealed::plain(1, bytes) }
}

/// A message that is recognised by its internal date; every third one has text in it.
pub(crate) fn message(number: u64, blobs: &[BlobId]) -> NewMessage {
    let has_text = number.is_multiple_of(3);
    NewMessage {
        size_bytes: 100,
        recipe: if has_text { sealed_text(number) } else { Sealed::plain(1, vec![b'm'; 60]) },
        blobs: blobs.iter().map(|&id| BlobRef { id, size_bytes: 20_000 }).collect(),
        summary: Sealed::plain(1, vec![b's'; 20]),
        thread_keys: Vec::new(),
        internal_date: Some(UnixMillis::new(number)),
    }
}

pub(crate) fn deliver_to(id: u64) -> DeliverTo {
    DeliverTo {
        account: account(id),
        folder: None,
        prefix: Sealed::plain(1, Vec::new()),
        prefix_size_bytes: 0,
        repeat_key: None,
    }
}

pub(crate) fn deliver(id: u64, number: u64, blobs: &[BlobId]) -> Command {
    let message = message(number, blobs);
    Command::Deliver(Deliver { key: None, message, to: vec![deliver_to(id)], quota: QuotaRule::Enforced })
}

pub(crate) async fn ask_account(groups: &Groups, group: u32, id: u64, query: AccountQuery) -> AccountAnswer {
    ask_account_as(groups, group, id, query, Freshness::Now).await
}

async fn ask_account_as(
    groups: &Groups,
    group: u32,
    id: u64,
    query: AccountQuery,
    freshness: Freshness,
) -> AccountAnswer {
    let query = Query::Account(account(id), query);
    match groups.query(GroupId::new(group), query, freshness).await.unwrap().0 {
        Answer::Account(answer) => answer,
        other => panic!("{other:?}"),
    }
}

/// The numbers of the messages in an account's INBOX, in UID order, with their email ids.
pub(crate) async fn inbox(groups: &Groups, group: u32, id: u64) -> Vec<(u64, EmailId)> {
    inbox_with_ids(groups, group, id, Freshness::Now).await
}

async fn inbox_with_ids(groups: &Groups, group: u32, id: u64, freshness: Freshness) -> Vec<(u64, EmailId)> {
    let by_name = AccountQuery::MailboxByName(MailboxName::inbox());
    let AccountAnswer::Mailbox(Some(mailbox)) = ask_account_as(groups, group, id, by_name, freshness).await else {
        panic!("no INBOX");
    };
    let query =
        AccountQuery::Messages { mailbox: mailbox.id, uids: UidSet::all(), with_summary: false, rows_max: 1000 };
    let AccountAnswer::Messages(messages) = ask_account_as(groups, group, id, query, freshness).await else {
        panic!("no messages")
    };
    assert!(messages.len() < 1000, "the test outgrew its page");
    messages.iter().map(|message| (message.internal_date.get(), message.state.email)).collect()
}

pub(crate) async fn inbox_numbers(groups: &Groups, group: u32, id: u64) -> Vec<u64> {
    inbox_as(groups, group, id, Freshness::Now).await
}

/// The same from a replica that is this new.
pub(crate) async fn inbox_as(groups: &Groups, group: u32, id: u64, freshness: Freshness) -> Vec<u64> {
    inbox_with_ids(groups, group, id, freshness).await.into_iter().map(|(number, _)| number).collect()
}

pub(crate) async fn run(groups: &Groups, request: Execute) -> Result<Vec<Reply>, StoreError> {
    groups.execute(request).await.map(|(replies, _)| replies)
}
