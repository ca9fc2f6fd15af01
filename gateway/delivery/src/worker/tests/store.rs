//! A store of one shard group in memory that runs the real engine on the test's clock.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use securanet_engine::Space;
use securanet_gateway::{
    model::{
        AccountId, Address, Answer, Command, DomainId, EmailId, Epoch, Execute, Freshness, GroupId, KeyedHash, Query,
        Reply, RequestId, StoreError, TenantId, UnixMillis,
        account::AccountRef,
        content::{Ingested, NewMessage, Sealed},
        directory::{Cluster, DirectoryAnswer, DirectoryQuery, LocalRecipient, Resolution},
        outbound::{OutboundCommand, OutboundQuery, OutboundReply},
        policy,
        request::{Proposal, Topic},
    },
    store::{Answered, BoxFuture, Content, ContentSink, Executed, Store},
};
use securanet_kv::{Durability, KeyValue, memory::MemoryStore};
use tokio::{sync::watch, time::Instant};

use super::{super::Clock, GROUP};

/// The message that every item has, unless a test says otherwise.
const MESSAGE: &[u8] = b"From: ann@example.org\r\nSubject: hello\r\n\r\nIt works.\r\n";
const START: UnixMillis = UnixMillis::new(1_700_000_000_000);

pub(super) struct EngineStore {
    group: Mutex<MemoryStore>,
    began: Instant,
    watches: Mutex<BTreeMap<Topic, watch::Sender<u64>>>,
    available: AtomicBool,
    commands: AtomicU64,
    written: Arc<Mutex<Vec<String>>>,
    content: Mutex<&'static [u8]>,
    slow_content: Mutex<Duration>,
    /// Panics that are still to come.
    panics: Mutex<Panics>,
    /// Content cannot be read.
    no_content: AtomicBool,
    /// Outcomes are committed.
    settling: AtomicBool,
    /// Nothing more comes into the outbound queue.
    closed: AtomicBool,
    /// What addresses lead to, and policies, that are others than usual.
    resolutions: Mutex<BTreeMap<String, Resolution>>,
    policies: Mutex<BTreeMap<&'static str, &'static str>>,
}

/// How often the store panics at a question for what is due and at these commands.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Panics {
    pub(super) due: u32,
    pub(super) take: u32,
    pub(super) settle: u32,
}

fn panic_if(left: &mut u32, at: &str) {
    let panics = *left > 0;
    *left = left.saturating_sub(1);
    assert!(!panics, "a test's panic at {at}");
}

const SPACE: Space = Space { group: GROUP, generation: 0 };

/// What carries [`MESSAGE`].
pub(super) fn message() -> NewMessage {
    NewMessage {
        size_bytes: MESSAGE.len() as u64,
        recipe: Sealed::plain(1, Vec::new()),
        blobs: Vec::new(),
        summary: Sealed::plain(1, Vec::new()),
        thread_keys: Vec::new(),
        internal_date: None,
    }
}

impl EngineStore {
    pub(super) fn new() -> Self {
        Self {
            group: Mutex::new(MemoryStore::new()),
            began: Instant::now(),
            watches: Mutex::default(),
            available: AtomicBool::new(true),
            commands: AtomicU64::new(0),
            written: Arc::default(),
            content: Mutex::new(MESSAGE),
            slow_content: Mutex::default(),
            panics: Mutex::default(),
            no_content: AtomicBool::new(false),
            settling: AtomicBool::new(true),
            closed: AtomicBool::new(false),
            resolutions: Mutex::default(),
            policies: Mutex::default(),
        }
    }

    /// It panics so often from now on.
    pub(super) fn set_panics(&self, panics: Panics) {
        *self.panics.lock() = panics;
    }

    /// Panics that are still to come.
    pub(super) fn panics(&self) -> Panics {
        *self.panics.lock()
    }

    /// Whether content cannot be read.
    pub(super) fn refuse_content(&self, refuse: bool) {
        self.no_content.store(refuse, Ordering::SeqCst);
    }

    /// Whether outcomes are committed; otherwise whoever tells them gets no answer.
    pub(super) fn set_settling(&self, settling: bool) {
        self.settling.store(settling, Ordering::SeqCst);
    }

    /// Whether whoever puts something into the outbound queue gets no answer.
    pub(super) fn close_queue(&self, closed: bool) {
        self.closed.store(closed, Ordering::SeqCst);
    }

    /// The address leads there from now on.
    pub(super) fn resolve(&self, address: &str, to: Resolution) {
        self.resolutions.lock().insert(address.to_owned(), to);
    }

    /// The policy has this value from now on.
    pub(super) fn set_policy(&self, key: &'static str, value: &'static str) {
        self.policies.lock().insert(key, value);
    }

    /// Opening an item's content takes so long from now on.
    pub(super) fn set_slow_content(&self, slow: Duration) {
        *self.slow_content.lock() = slow;
    }

    /// The message that every item has from now on.
    pub(super) fn set_content(&self, content: &'static str) {
        *self.content.lock() = content.as_bytes();
    }

    fn now(&self) -> UnixMillis {
        START.plus_millis(u64::try_from(self.began.elapsed().as_millis()).unwrap())
    }

    /// The clock of this store's world.
    pub(super) fn clock(self: &Arc<Self>) -> Clock {
        let store = self.clone();
        Arc::new(move || store.now())
    }

    /// Whether it commits and answers.
    pub(super) fn set_available(&self, available: bool) {
        self.available.store(available, Ordering::SeqCst);
    }

    /// Commands committed so far.
    pub(super) fn commands(&self) -> u64 {
        self.commands.load(Ordering::SeqCst)
    }

    /// Messages that were taken in, as text.
    pub(super) fn written(&self) -> Vec<String> {
        self.written.lock().clone()
    }

    /// Commits one command.
    pub(super) async fn command(&self, command: OutboundCommand) -> OutboundReply {
        let request = RequestId::new(uuid::Uuid::new_v4().into_bytes());
        let commands = vec![Command::Outbound(command)];
        let execute = Execute { group: GROUP, request, deadline: self.now(), commands };
        match self.execute(execute).await.unwrap().replies.pop() {
            Some(Reply::Outbound(reply)) => reply,
            other => panic!("{other:?}"),
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        let available = self.available.load(Ordering::SeqCst);
        if available { Ok(()) } else { Err(StoreError::Unavailable("no quorum".to_owned())) }
    }

    fn apply(&self, mut request: Execute) -> Vec<Reply> {
        // Deadlines are of the wall clock, which does not know this world's time.
        request.deadline = self.now().plus_millis(30_000);
        self.commands.fetch_add(1, Ordering::SeqCst);
        let group = self.group.lock();
        let proposal = Proposal { stamp: self.now(), requests: vec![request] };
        let mut applied = securanet_engine::apply(&*group, SPACE, &proposal).unwrap();
        group.write(applied.batch, Durability::Volatile).unwrap();
        drop(group);
        for topic in applied.touched {
            self.sender(topic).send_modify(|times| *times += 1);
        }
        applied.replies.remove(0)
    }

    fn sender(&self, topic: Topic) -> watch::Sender<u64> {
        self.watches.lock().entry(topic).or_insert_with(|| watch::Sender::new(0)).clone()
    }

    fn directory(&self, query: &DirectoryQuery) -> DirectoryAnswer {
        match query {
            DirectoryQuery::Cluster => DirectoryAnswer::Cluster(Some(Cluster {
                id: [0; 16],
                content_key: [0; 32],
                login_key: [0; 32],
                shards: 1,
            })),
            DirectoryQuery::Policy(key, _) => {
                let value = self.policies.lock().get(key.as_str()).copied();
                let value = value.or_else(|| policy::find(key).map(|policy| policy.default));
                DirectoryAnswer::Policy(value.map(|value| (value.to_owned(), None)))
            }
            DirectoryQuery::ResolvePostmaster => DirectoryAnswer::Resolution(Resolution::Local(vec![account()].into())),
            DirectoryQuery::DkimKeys(_) => DirectoryAnswer::DkimKeys(Vec::new()),
            DirectoryQuery::Resolve(address) if self.resolutions.lock().contains_key(&address.canonical()) => {
                DirectoryAnswer::Resolution(self.resolutions.lock()[&address.canonical()].clone())
            }
            DirectoryQuery::Resolve(address) if address.domain().as_str() == "example.org" => {
                DirectoryAnswer::Resolution(Resolution::Local(vec![local(address)].into()))
            }
            DirectoryQuery::Resolve(_) => DirectoryAnswer::Resolution(Resolution::Foreign),
            other => panic!("a question that no worker asks: {other:?}"),
        }
    }
}

/// The account that all addresses of example.org lead to.
pub(super) fn account() -> LocalRecipient {
    local(&Address::parse("ann@example.org").unwrap())
}

fn local(address: &Address) -> LocalRecipient {
    LocalRecipient {
        account: AccountId::new(7),
        tenant: TenantId::new(1),
        domain: DomainId::new(1),
        group: GROUP,
        epoch: Epoch::new(1),
        address: address.clone(),
        folder: None,
        list_owner: None,
    }
}

impl Store for EngineStore {
    fn execute(&self, request: Execute) -> BoxFuture<'_, Result<Executed, StoreError>> {
        Box::pin(async move {
            self.check()?;
            match &request.commands[..] {
                [Command::Outbound(OutboundCommand::Take { .. })] => panic_if(&mut self.panics.lock().take, "taking"),
                [Command::Outbound(OutboundCommand::Settle(_))] => panic_if(&mut self.panics.lock().settle, "settling"),
                _ => {}
            }
            let is_fact = |command: &Command| matches!(command, Command::Outbound(OutboundCommand::Settle(_)));
            if !self.settling.load(Ordering::SeqCst) && request.commands.iter().any(is_fact) {
                return Err(StoreError::Busy);
            }
            let comes_in = |command: &Command| matches!(command, Command::Outbound(OutboundCommand::Accept(_)));
            if self.closed.load(Ordering::SeqCst) && request.commands.iter().any(comes_in) {
                return Err(StoreError::Busy);
            }
            Ok(Executed { replies: self.apply(request), index: 1 })
        })
    }

    fn query(&self, group: GroupId, query: Query, _: Freshness) -> BoxFuture<'_, Result<Answered, StoreError>> {
        Box::pin(async move {
            self.check()?;
            if matches!(query, Query::Outbound(OutboundQuery::Due { .. })) {
                panic_if(&mut self.panics.lock().due, "looking");
            }
            let answer = match query {
                Query::Directory(query) if group == GroupId::DIRECTORY => Answer::Directory(self.directory(&query)),
                query => securanet_engine::answer(&*self.group.lock(), SPACE, &query).unwrap(),
            };
            Ok(Answered { answer, index: 0 })
        })
    }

    fn watch(&self, topic: Topic) -> watch::Receiver<u64> {
        self.sender(topic).subscribe()
    }

    fn put(&self, _: TenantId, _: Vec<u8>, _: Option<u64>) -> BoxFuture<'_, Result<Box<dyn ContentSink>, StoreError>> {
        Box::pin(async {
            self.check()?;
            Ok(Box::new(Sink { text: Vec::new(), written: self.written.clone() }) as Box<dyn ContentSink>)
        })
    }

    fn open(&self, _: GroupId, _: AccountRef, _: EmailId) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        Box::pin(async { Err(StoreError::NotFound) })
    }

    fn open_outbound(&self, group: GroupId, item: u64) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        use securanet_gateway::model::outbound::{OutboundAnswer, OutboundQuery as Asked};
        Box::pin(async move {
            self.check()?;
            if self.no_content.load(Ordering::SeqCst) {
                return Err(StoreError::Unavailable("no replica has it".to_owned()));
            }
            let slow = *self.slow_content.lock();
            tokio::time::sleep(slow).await;
            let asked = self.query(group, Query::Outbound(Asked::Content(item)), Freshness::Now).await?.answer;
            if matches!(asked, Answer::Outbound(OutboundAnswer::Content(None))) {
                return Err(StoreError::NotFound);
            }
            Ok(Box::new(Fixed(*self.content.lock())) as Box<dyn Content>)
        })
    }

    fn accepting(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

struct Sink {
    text: Vec<u8>,
    written: Arc<Mutex<Vec<String>>>,
}

impl ContentSink for Sink {
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), StoreError>> {
        self.text.extend_from_slice(bytes);
        Box::pin(async { Ok(()) })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Ingested, StoreError>> {
        let text = String::from_utf8_lossy(&self.text).into_owned();
        let header = text.split("\r\n\r\n").next().unwrap_or_default();
        let delivered_to = header.lines().filter_map(|line| line.strip_prefix("Delivered-To: "));
        let delivered_to = delivered_to.map(str::to_owned).collect();
        self.written.lock().push(text);
        Box::pin(async {
            let repeat_key = KeyedHash([0; 16]);
            Ok(Ingested {
                message: message(),
                received_count: 0,
                repeat_key,
                message_id: None,
                delivered_to,
                lease_until: START,
            })
        })
    }
}

struct Fixed(&'static [u8]);

impl Content for Fixed {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        let range = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
        Box::pin(async move { Ok(Bytes::from_static(&self.0[range])) })
    }
}
