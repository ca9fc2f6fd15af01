//! One account in memory, behind the trait that the real stores implement, with faults to order.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use parking_lot::Mutex;
use securanet_gateway::{
    login::make_verifiers,
    model::{
        AccountId, Address, Answer, Command, DomainId, EmailId, Epoch, Execute, Flags, Freshness, GroupId, KeyedHash,
        MailboxId, MailboxName, Query, Reply, StoreError, TenantId, Uid, UnixMillis,
        account::{AccountCommand, AccountRef, AccountReply},
        content::{Ingested, NewMessage, Sealed},
        directory::{Account, AccountStatus, Cluster, Credentials, DirectoryAnswer, DirectoryQuery, Quota, Verifiers},
        request::Topic,
    },
    store::{Answered, BoxFuture, Content, ContentSink, Executed, Store},
};
use tokio::sync::watch;

use super::account::State;

/// The prefix that delivered messages have.
pub(crate) const PREFIX: &str = "Return-Path: <bob@example.net>\r\n";

/// What goes wrong.
#[derive(Clone, Default)]
pub(crate) struct Faults {
    /// `accepting` says this.
    pub(crate) intake: Option<StoreError>,
    /// Every change ends so.
    pub(crate) commits: Option<StoreError>,
    /// Reading a message fails behind this many octets.
    pub(crate) reads_end: Option<u64>,
}

/// The store of the tests.
pub(crate) struct Memory {
    state: Mutex<State>,
    credentials: Mutex<Credentials>,
    pub(crate) faults: Mutex<Faults>,
    account: watch::Sender<u64>,
    directory: watch::Sender<u64>,
}

fn verifiers() -> Verifiers {
    static ONCE: OnceLock<Verifiers> = OnceLock::new();
    ONCE.get_or_init(|| make_verifiers("sesame", true).unwrap()).clone()
}

impl Memory {
    pub(crate) fn new() -> Arc<Self> {
        let account = Account {
            id: AccountId::new(7),
            tenant: TenantId::new(1),
            domain: DomainId::new(1),
            address: Address::parse("ann@example.org").unwrap(),
            display_name: "Ann".to_owned(),
            status: AccountStatus::Active,
            quota: Quota::default(),
            group: GroupId::new(2),
            epoch: Epoch::new(0),
            credential_version: 1,
            created: UnixMillis::new(0),
        };
        Arc::new(Self {
            state: Mutex::new(State::new()),
            credentials: Mutex::new(Credentials { account, password: Some(verifiers()), app_passwords: Vec::new() }),
            faults: Mutex::default(),
            account: watch::Sender::new(1),
            directory: watch::Sender::new(1),
        })
    }

    /// Delivers a message into INBOX, as SMTP would.
    pub(crate) fn deliver(&self, message: &str) -> Uid {
        let message = [PREFIX, message].concat();
        let uid = self.state.lock().add(&MailboxName::inbox(), message.into_bytes(), PREFIX, Flags::default(), None);
        self.account.send_modify(|index| *index += 1);
        uid
    }

    /// Delivers some messages.
    pub(crate) fn fill(&self, count: usize) {
        for at in 0..count {
            self.deliver(&format!("Subject: {at}\r\n\r\nx\r\n"));
        }
    }

    /// Changes the account as another session would.
    pub(crate) fn change(&self, command: AccountCommand) -> AccountReply {
        let reply = self.state.lock().apply(command);
        self.account.send_modify(|index| *index += 1);
        reply
    }

    pub(crate) fn set_quota(&self, quota: Quota) {
        self.state.lock().quota = quota;
    }

    pub(crate) fn suspend(&self) {
        let mut credentials = self.credentials.lock();
        credentials.account.status = AccountStatus::Suspended;
        credentials.account.credential_version += 1;
        drop(credentials);
        self.directory.send_modify(|index| *index += 1);
    }

    /// How many changes were committed.
    pub(crate) fn commits(&self) -> u64 {
        self.state.lock().commits
    }

    pub(crate) fn mailbox(&self, name: &str) -> MailboxId {
        self.state.lock().mailboxes[&MailboxName::parse(name).unwrap()].id
    }

    fn directory(&self, query: DirectoryQuery) -> DirectoryAnswer {
        match query {
            DirectoryQuery::Credentials(name) => {
                let own = name == "ann@example.org";
                DirectoryAnswer::Credentials(own.then(|| Box::new(self.credentials.lock().clone())))
            }
            DirectoryQuery::AccountById(_) => DirectoryAnswer::Account(Some(self.credentials.lock().account.clone())),
            DirectoryQuery::Policy(..) => DirectoryAnswer::Policy(Some(("true".to_owned(), None))),
            DirectoryQuery::Cluster => DirectoryAnswer::Cluster(Some(Cluster {
                id: [1; 16],
                content_key: [2; 32],
                login_key: [3; 32],
                shards: 1,
            })),
            other => panic!("a login does not ask {other:?}"),
        }
    }
}

impl Store for Memory {
    fn execute(&self, request: Execute) -> BoxFuture<'_, Result<Executed, StoreError>> {
        if let Some(error) = self.faults.lock().commits.clone() {
            return Box::pin(async { Err(error) });
        }
        let mut state = self.state.lock();
        let apply = |command| match command {
            Command::Account(_, command) => Reply::Account(state.apply(command)),
            other => panic!("IMAP does not say {other:?}"),
        };
        let replies = request.commands.into_iter().map(apply).collect();
        drop(state);
        self.account.send_modify(|index| *index += 1);
        Box::pin(async { Ok(Executed { replies, index: 1 }) })
    }

    fn query(&self, _: GroupId, query: Query, _: Freshness) -> BoxFuture<'_, Result<Answered, StoreError>> {
        let answer = match query {
            Query::Account(_, query) => Answer::Account(self.state.lock().answer(query)),
            Query::Directory(query) => Answer::Directory(self.directory(query)),
            other => panic!("IMAP does not ask {other:?}"),
        };
        Box::pin(async { Ok(Answered { answer, index: 0 }) })
    }

    fn watch(&self, topic: Topic) -> watch::Receiver<u64> {
        match topic {
            Topic::Account(_) => self.account.subscribe(),
            Topic::Directory | Topic::Outbound(_) => self.directory.subscribe(),
        }
    }

    fn put(&self, _: TenantId, _: Vec<u8>, _: Option<u64>) -> BoxFuture<'_, Result<Box<dyn ContentSink>, StoreError>> {
        Box::pin(async { Ok(Box::new(Sink(Vec::new())) as Box<dyn ContentSink>) })
    }

    fn open(&self, _: GroupId, _: AccountRef, email: EmailId) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        let content = self.state.lock().contents.get(&email).cloned().ok_or(StoreError::NotFound);
        let reads_end = self.faults.lock().reads_end;
        Box::pin(async move { content.map(|content| Box::new(Open { content, reads_end }) as Box<dyn Content>) })
    }

    fn open_outbound(&self, _: GroupId, _: u64) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        Box::pin(async { Err(StoreError::NotFound) })
    }

    fn accepting(&self) -> Result<(), StoreError> {
        self.faults.lock().intake.clone().map_or(Ok(()), Err)
    }
}

struct Sink(Vec<u8>);

impl ContentSink for Sink {
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), StoreError>> {
        self.0.extend_from_slice(bytes);
        Box::pin(async { Ok(()) })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Ingested, StoreError>> {
        let message = NewMessage {
            size_bytes: self.0.len() as u64,
            recipe: Sealed::plain(1, self.0),
            blobs: Vec::new(),
            summary: Sealed::plain(1, Vec::new()),
            thread_keys: Vec::new(),
            internal_date: None,
        };
        let lease_until = UnixMillis::new(u64::MAX);
        let repeat_key = KeyedHash([0; 16]);
        Box::pin(async move {
            Ok(Ingested {
                message,
                received_count: 0,
                repeat_key,
                message_id: None,
                delivered_to: Vec::new(),
                lease_until,
            })
        })
    }
}

/// Gives at most 1000 octets at a time, so that ranges are always read in pieces.
struct Open {
    content: Arc<Vec<u8>>,
    reads_end: Option<u64>,
}

impl Content for Open {
    fn size_bytes(&self) -> u64 {
        self.content.len() as u64
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        if self.reads_end.is_some_and(|end| range.start >= end) {
            return Box::pin(async { Err(StoreError::Damaged("as ordered".to_owned())) });
        }
        let begin = usize::try_from(range.start).unwrap().min(self.content.len());
        let end = usize::try_from(range.end).unwrap().min(self.content.len()).min(begin + 1000);
        let piece = Bytes::copy_from_slice(&self.content[begin..end]);
        Box::pin(async move { Ok(piece) })
    }
}
