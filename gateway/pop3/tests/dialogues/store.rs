//! A scripted store: one account, its INBOX, its maildrop lock, and a gate that holds commits back.

use std::{
    ops::Range,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use securanet_gateway::{
    clock,
    login::make_verifiers,
    model::{
        AccountId, Address, Answer, Command, DomainId, EmailId, Epoch, Execute, Flags, Freshness, GroupId, MailboxId,
        ModSeq, Query, Reply, RequestId, StoreError, TenantId, ThreadId, Uid, UidValidity, UnixMillis,
        account::{
            AccountAnswer, AccountCommand, AccountQuery, AccountRef, AccountRefusal, AccountReply, MailboxInfo,
            Message, MessageState,
        },
        directory::{Account, AccountStatus, Credentials, DirectoryAnswer, DirectoryQuery, Quota, Verifiers},
        request::Topic,
    },
    store::{Answered, BoxFuture, Content, ContentSink, Executed, Store},
};
use tokio::{
    sync::{Semaphore, watch},
    time::{Duration, Instant},
};

const INBOX: MailboxId = MailboxId::new(1);

/// A message: where it stands, which one it is, its octets.
pub(crate) type Stored = (Uid, EmailId, Arc<Vec<u8>>);

/// What the tests look at and change.
pub(crate) struct ScriptedStore {
    pub(crate) messages: Mutex<Vec<Stored>>,
    account: Mutex<Account>,
    lock: Mutex<Option<(RequestId, Instant)>>,
    directory: watch::Sender<u64>,
    /// Commits wait for a permit each.
    pub(crate) gate: Semaphore,
    /// Commits fail.
    pub(crate) broken: AtomicBool,
    pub(crate) commits: AtomicUsize,
}

impl ScriptedStore {
    /// An account `ann@example.org` with password `sesame` and these messages (UID, email id, content).
    pub(crate) fn new(messages: &[(u32, u64, &[u8])]) -> Arc<Self> {
        let typed = |(uid, email, content): &(u32, u64, &[u8])| {
            (Uid::new(*uid), EmailId::new(*email), Arc::new(content.to_vec()))
        };
        Arc::new(Self {
            messages: Mutex::new(messages.iter().map(typed).collect()),
            account: Mutex::new(ann()),
            lock: Mutex::new(None),
            directory: watch::Sender::new(1),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            broken: AtomicBool::new(false),
            commits: AtomicUsize::new(0),
        })
    }

    pub(crate) fn uids(&self) -> Vec<u32> {
        self.messages.lock().iter().map(|(uid, ..)| uid.get()).collect()
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.lock.lock().is_some_and(|(_, until)| until > Instant::now())
    }

    pub(crate) fn suspend(&self) {
        self.account.lock().status = AccountStatus::Suspended;
        self.account.lock().credential_version += 1;
        self.directory.send_modify(|index| *index += 1);
    }

    fn apply(&self, command: AccountCommand) -> AccountReply {
        match command {
            AccountCommand::LockMaildrop { session, until } => self.take_lock(session, until),
            AccountCommand::UnlockMaildrop { session } => {
                let mut lock = self.lock.lock();
                *lock = lock.filter(|(holder, _)| *holder != session);
                AccountReply::Done
            }
            AccountCommand::Expunge { mailbox: INBOX, uids, deleted_only: false } => {
                let mut messages = self.messages.lock();
                let gone = messages.iter().map(|(uid, ..)| *uid).filter(|uid| uids.contains(*uid)).collect();
                messages.retain(|(uid, ..)| !uids.contains(*uid));
                AccountReply::Expunged(gone)
            }
            other => panic!("POP3 does not send {other:?}"),
        }
    }

    fn take_lock(&self, session: RequestId, until: UnixMillis) -> AccountReply {
        let now = Instant::now();
        let mut lock = self.lock.lock();
        if lock.is_some_and(|(holder, until)| holder != session && until > now) {
            return AccountReply::Refused(AccountRefusal::Locked);
        }
        *lock = Some((session, now + Duration::from_millis(until.millis_since(clock::now()))));
        AccountReply::Done
    }

    fn answer(&self, query: AccountQuery) -> AccountAnswer {
        match query {
            AccountQuery::MailboxByName(name) if name.is_inbox() => AccountAnswer::Mailbox(Some(Box::new(inbox()))),
            AccountQuery::Messages { mailbox: INBOX, uids, with_summary: false, rows_max } => {
                let messages = self.messages.lock();
                let wanted = messages.iter().filter(|(uid, ..)| uids.contains(*uid)).take(rows_max as usize);
                AccountAnswer::Messages(wanted.map(|(uid, email, content)| message(*uid, *email, content)).collect())
            }
            other => panic!("POP3 does not ask {other:?}"),
        }
    }

    fn directory(&self, query: DirectoryQuery) -> DirectoryAnswer {
        let account = self.account.lock().clone();
        match query {
            DirectoryQuery::Credentials(name) if name == "ann@example.org" => {
                let password = Some(sesame());
                DirectoryAnswer::Credentials(Some(Box::new(Credentials {
                    account,
                    password,
                    app_passwords: Vec::new(),
                })))
            }
            DirectoryQuery::Credentials(_) => DirectoryAnswer::Credentials(None),
            DirectoryQuery::AccountById(_) => DirectoryAnswer::Account(Some(account)),
            DirectoryQuery::Policy(..) => DirectoryAnswer::Policy(None),
            other => panic!("a login does not ask {other:?}"),
        }
    }
}

impl Store for ScriptedStore {
    fn execute(&self, request: Execute) -> BoxFuture<'_, Result<Executed, StoreError>> {
        Box::pin(async move {
            self.gate.acquire().await.map_err(|_| StoreError::Draining)?.forget();
            if self.broken.load(Ordering::SeqCst) {
                return Err(StoreError::Draining);
            }
            let apply = |command| match command {
                Command::Account(_, command) => Reply::Account(self.apply(command)),
                other => panic!("POP3 does not send {other:?}"),
            };
            let replies = request.commands.into_iter().map(apply).collect();
            self.commits.fetch_add(1, Ordering::SeqCst);
            Ok(Executed { replies, index: 1 })
        })
    }

    fn query(&self, _: GroupId, query: Query, _: Freshness) -> BoxFuture<'_, Result<Answered, StoreError>> {
        Box::pin(async move {
            let answer = match query {
                Query::Account(_, query) => Answer::Account(self.answer(query)),
                Query::Directory(query) => Answer::Directory(self.directory(query)),
                other => panic!("POP3 does not ask {other:?}"),
            };
            Ok(Answered { answer, index: 0 })
        })
    }

    fn watch(&self, _: Topic) -> watch::Receiver<u64> {
        self.directory.subscribe()
    }

    fn put(&self, _: TenantId, _: Vec<u8>, _: Option<u64>) -> BoxFuture<'_, Result<Box<dyn ContentSink>, StoreError>> {
        panic!("POP3 brings nothing in")
    }

    fn open(&self, _: GroupId, _: AccountRef, wanted: EmailId) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        let found = self.messages.lock().iter().find(|(_, email, _)| *email == wanted).map(|found| found.2.clone());
        Box::pin(async move {
            match found {
                Some(content) => Ok(Box::new(Opened(content)) as Box<dyn Content>),
                None => Err(StoreError::NotFound),
            }
        })
    }

    fn open_outbound(&self, _: GroupId, _: u64) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        Box::pin(async { Err(StoreError::NotFound) })
    }

    fn accepting(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

struct Opened(Arc<Vec<u8>>);

impl Content for Opened {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<bytes::Bytes, StoreError>> {
        let end = usize::try_from(range.end).unwrap().min(self.0.len());
        let piece = bytes::Bytes::copy_from_slice(&self.0[usize::try_from(range.start).unwrap()..end]);
        Box::pin(async move { Ok(piece) })
    }
}

fn sesame() -> Verifiers {
    static ONCE: LazyLock<Verifiers> = LazyLock::new(|| make_verifiers("sesame", false).unwrap());
    ONCE.clone()
}

fn ann() -> Account {
    Account {
        id: AccountId::new(0x1f),
        tenant: TenantId::new(1),
        domain: DomainId::new(1),
        address: Address::parse("ann@example.org").unwrap(),
        display_name: String::new(),
        status: AccountStatus::Active,
        quota: Quota::default(),
        group: GroupId::new(1),
        epoch: Epoch::new(0),
        credential_version: 1,
        created: UnixMillis::new(0),
    }
}

fn inbox() -> MailboxInfo {
    MailboxInfo {
        id: INBOX,
        name: securanet_gateway::model::MailboxName::inbox(),
        special_use: None,
        subscribed: true,
        uid_validity: UidValidity::new(1),
        uid_next: Uid::new(u32::MAX),
        highest_modseq: ModSeq::new(1),
        messages: 0,
        unseen: 0,
        deleted: 0,
        size_bytes: 0,
        deleted_size_bytes: 0,
        horizon: ModSeq::new(1),
        keywords: Vec::new(),
    }
}

fn message(uid: Uid, email: EmailId, content: &[u8]) -> Message {
    Message {
        state: MessageState { uid, modseq: ModSeq::new(1), flags: Flags::default(), email },
        thread: ThreadId::new(1),
        size_bytes: content.len() as u64,
        prefix_size_bytes: 0,
        internal_date: UnixMillis::new(0),
        saved_date: UnixMillis::new(0),
        summary: None,
    }
}
