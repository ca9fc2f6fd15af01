//! One account in memory, behind the trait that the real stores implement.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use parking_lot::Mutex;
use securanet_gateway::{
    login::make_verifiers,
    model::{
        AccountId, Address, Answer, Command, DomainId, EmailId, Epoch, Execute, Flags, GroupId, KeyedHash, MailboxId,
        MailboxName, ModSeq, Query, Reply, SpecialUse, StoreError, SystemFlags, TenantId, ThreadId, Token, Uid,
        UidValidity, UnixMillis,
        account::{
            AccountAnswer, AccountCommand, AccountQuery, AccountRef, AccountRefusal, AccountReply, AppendMessage,
            Changes, FlagChange, MailboxInfo, Message, MessageState, QuotaUsage, UidMap, UidSet,
        },
        content::{Ingested, NewMessage, Sealed},
        directory::{Account, AccountStatus, Cluster, Credentials, DirectoryAnswer, DirectoryQuery, Quota, Verifiers},
        record,
        request::Topic,
    },
    store::{BoxFuture, Content, ContentSink, Executed, Store},
};
use tokio::sync::watch;

use super::mime;

/// The prefix that delivered messages have.
pub(crate) const PREFIX: &str = "Return-Path: <bob@example.net>\r\n";

struct Stored {
    state: MessageState,
    prefix: &'static str,
    internal_date: UnixMillis,
}

struct Mailbox {
    id: MailboxId,
    special_use: Option<SpecialUse>,
    subscribed: bool,
    uid_next: Uid,
    highest_modseq: ModSeq,
    messages: BTreeMap<Uid, Stored>,
    vanished: Vec<(Uid, ModSeq)>,
}

struct State {
    mailboxes: BTreeMap<MailboxName, Mailbox>,
    dangling: BTreeSet<MailboxName>,
    contents: HashMap<EmailId, Arc<Vec<u8>>>,
    modseq: u64,
    next_id: u32,
    next_email: u64,
    quota: Quota,
    credentials: Credentials,
    accepting: Result<(), StoreError>,
    commits: u64,
}

/// The store of the tests.
pub(crate) struct Memory {
    state: Arc<Mutex<State>>,
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
        let mut state = State {
            mailboxes: BTreeMap::new(),
            dangling: BTreeSet::new(),
            contents: HashMap::new(),
            modseq: 1,
            next_id: 1,
            next_email: 1,
            quota: Quota::default(),
            credentials: Credentials { account, password: Some(verifiers()), app_passwords: Vec::new() },
            accepting: Ok(()),
            commits: 0,
        };
        state.create(MailboxName::inbox(), None);
        for special_use in SpecialUse::ALL {
            state.create(MailboxName::parse(special_use.default_name()).unwrap(), Some(special_use));
        }
        let (account, directory) = (watch::Sender::new(1), watch::Sender::new(1));
        Arc::new(Self { state: Arc::new(Mutex::new(state)), account, directory })
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

    pub(crate) fn refuse(&self, error: StoreError) {
        self.state.lock().accepting = Err(error);
    }

    pub(crate) fn suspend(&self) {
        let mut state = self.state.lock();
        state.credentials.account.status = AccountStatus::Suspended;
        state.credentials.account.credential_version += 1;
        drop(state);
        self.directory.send_modify(|index| *index += 1);
    }

    /// How many changes were committed.
    pub(crate) fn commits(&self) -> u64 {
        self.state.lock().commits
    }

    pub(crate) fn mailbox(&self, name: &str) -> MailboxId {
        self.state.lock().mailboxes[&MailboxName::parse(name).unwrap()].id
    }
}

impl State {
    fn create(&mut self, name: MailboxName, special_use: Option<SpecialUse>) -> MailboxId {
        let id = MailboxId::new(self.next_id);
        self.next_id += 1;
        let subscribed = self.dangling.remove(&name);
        let mailbox = Mailbox {
            id,
            special_use,
            subscribed,
            uid_next: Uid::FIRST,
            highest_modseq: ModSeq::new(self.modseq),
            messages: BTreeMap::new(),
            vanished: Vec::new(),
        };
        self.mailboxes.insert(name, mailbox);
        id
    }

    fn by_id(&mut self, id: MailboxId) -> Option<&mut Mailbox> {
        self.mailboxes.values_mut().find(|mailbox| mailbox.id == id)
    }

    fn add(
        &mut self,
        name: &MailboxName,
        message: Vec<u8>,
        prefix: &'static str,
        flags: Flags,
        date: Option<UnixMillis>,
    ) -> Uid {
        let email = EmailId::new(self.next_email);
        self.next_email += 1;
        self.contents.insert(email, Arc::new(message));
        self.instance(name, email, prefix, flags, date.unwrap_or(UnixMillis::new(1_700_000_000_000)))
    }

    fn instance(
        &mut self,
        name: &MailboxName,
        email: EmailId,
        prefix: &'static str,
        flags: Flags,
        internal_date: UnixMillis,
    ) -> Uid {
        self.modseq += 1;
        let modseq = ModSeq::new(self.modseq);
        let mailbox = self.mailboxes.get_mut(name).unwrap();
        let uid = mailbox.uid_next;
        mailbox.uid_next = uid.next();
        mailbox.highest_modseq = modseq;
        mailbox
            .messages
            .insert(uid, Stored { state: MessageState { uid, modseq, flags, email }, prefix, internal_date });
        uid
    }

    fn size(&self, email: EmailId) -> u64 {
        self.contents[&email].len() as u64
    }

    fn used(&self) -> u64 {
        self.contents.values().map(|content| content.len() as u64).sum()
    }

    fn info(&self, name: &MailboxName) -> Option<MailboxInfo> {
        let mailbox = self.mailboxes.get(name)?;
        let with = |flag: SystemFlags| {
            mailbox.messages.values().filter(move |stored| stored.state.flags.system.contains(flag))
        };
        let size = |stored: &Stored| self.size(stored.state.email);
        let mut keywords: Vec<_> =
            mailbox.messages.values().flat_map(|stored| stored.state.flags.keywords().to_vec()).collect();
        keywords.sort();
        keywords.dedup();
        Some(MailboxInfo {
            id: mailbox.id,
            name: name.clone(),
            special_use: mailbox.special_use,
            subscribed: mailbox.subscribed,
            uid_validity: UidValidity::new(1000),
            uid_next: mailbox.uid_next,
            highest_modseq: mailbox.highest_modseq,
            messages: mailbox.messages.len() as u64,
            unseen: (mailbox.messages.len() - with(SystemFlags::SEEN).count()) as u64,
            deleted: with(SystemFlags::DELETED).count() as u64,
            size_bytes: mailbox.messages.values().map(size).sum(),
            deleted_size_bytes: with(SystemFlags::DELETED).map(size).sum(),
            horizon: ModSeq::ZERO,
            keywords,
        })
    }

    fn name_of(&self, id: MailboxId) -> Option<MailboxName> {
        self.mailboxes.iter().find(|(_, mailbox)| mailbox.id == id).map(|(name, _)| name.clone())
    }

    fn apply(&mut self, command: AccountCommand) -> AccountReply {
        self.commits += 1;
        self.try_apply(command).unwrap_or_else(AccountReply::Refused)
    }

    fn try_apply(&mut self, command: AccountCommand) -> Result<AccountReply, AccountRefusal> {
        use AccountCommand as C;
        match command {
            C::CreateMailbox { name, special_use } => {
                if self.mailboxes.contains_key(&name) {
                    return Err(AccountRefusal::MailboxExists);
                }
                if special_use.is_some() && self.mailboxes.values().any(|own| own.special_use == special_use) {
                    return Err(AccountRefusal::SpecialUseTaken);
                }
                for parent in std::iter::successors(name.parent(), MailboxName::parent) {
                    if !self.mailboxes.contains_key(&parent) {
                        self.create(parent, None);
                    }
                }
                Ok(AccountReply::Created(self.create(name, special_use)))
            }
            C::DeleteMailbox { name } => self.delete(&name),
            C::RenameMailbox { from, to } => self.rename(&from, &to),
            C::Subscribe { name, subscribed } => {
                match self.mailboxes.get_mut(&name) {
                    Some(mailbox) => mailbox.subscribed = subscribed,
                    None if subscribed => drop(self.dangling.insert(name)),
                    None => drop(self.dangling.remove(&name)),
                }
                Ok(AccountReply::Done)
            }
            C::Append { mailbox, messages } => self.append(mailbox, messages),
            C::StoreFlags { mailbox, uids, change, flags, unchanged_since } => {
                self.store_flags(mailbox, &uids, change, &flags, unchanged_since)
            }
            C::Copy { mailbox, uids, to } => self.copy(mailbox, &uids, to),
            C::Move { mailbox, uids, to } => {
                let reply = self.copy(mailbox, &uids, to)?;
                self.expunge(mailbox, &uids, false)?;
                Ok(reply)
            }
            C::Expunge { mailbox, uids, deleted_only } => {
                Ok(AccountReply::Expunged(self.expunge(mailbox, &uids, deleted_only)?))
            }
            other => panic!("IMAP does not say {other:?}"),
        }
    }

    fn delete(&mut self, name: &MailboxName) -> Result<AccountReply, AccountRefusal> {
        if name.is_inbox() {
            return Err(AccountRefusal::Inbox);
        }
        if self.mailboxes.keys().any(|other| other.is_below(name)) {
            return Err(AccountRefusal::HasChildren);
        }
        self.mailboxes.remove(name).map(|_| AccountReply::Done).ok_or(AccountRefusal::NoMailbox)
    }

    fn rename(&mut self, from: &MailboxName, to: &MailboxName) -> Result<AccountReply, AccountRefusal> {
        if self.mailboxes.contains_key(to) {
            return Err(AccountRefusal::MailboxExists);
        }
        let mailbox = self.mailboxes.remove(from).ok_or(AccountRefusal::NoMailbox)?;
        self.mailboxes.insert(to.clone(), mailbox);
        Ok(AccountReply::Done)
    }

    fn append(&mut self, id: MailboxId, messages: Vec<AppendMessage>) -> Result<AccountReply, AccountRefusal> {
        let name = self.name_of(id).ok_or(AccountRefusal::NoMailbox)?;
        let new: u64 = messages.iter().map(|append| append.message.size_bytes).sum();
        if self.quota.bytes_max.is_some_and(|max| self.used() + new > max) {
            return Err(AccountRefusal::OverQuota);
        }
        let add = |append: AppendMessage| {
            self.add(&name, append.message.recipe.bytes, "", append.flags, append.message.internal_date)
        };
        let to = messages.into_iter().map(add).collect();
        Ok(AccountReply::Uids(UidMap { uid_validity: Some(UidValidity::new(1000)), from: Vec::new(), to }))
    }

    fn store_flags(
        &mut self,
        id: MailboxId,
        uids: &UidSet,
        change: FlagChange,
        flags: &Flags,
        unchanged_since: Option<ModSeq>,
    ) -> Result<AccountReply, AccountRefusal> {
        self.modseq += 1;
        let modseq = ModSeq::new(self.modseq);
        let mailbox = self.by_id(id).ok_or(AccountRefusal::NoMailbox)?;
        let (mut messages, mut modified) = (Vec::new(), Vec::new());
        for (uid, stored) in mailbox.messages.iter_mut().filter(|(uid, _)| uids.contains(**uid)) {
            if unchanged_since.is_some_and(|since| stored.state.modseq > since) {
                modified.push(*uid);
                continue;
            }
            let own = stored.state.flags.clone();
            let new = match change {
                FlagChange::Replace => flags.clone(),
                FlagChange::Add => own.clone().plus(flags),
                FlagChange::Remove => own.clone().minus(flags),
            };
            if new != own {
                stored.state.flags = new;
                stored.state.modseq = modseq;
                mailbox.highest_modseq = modseq;
            }
            messages.push(stored.state.clone());
        }
        Ok(AccountReply::Stored { messages, modified })
    }

    fn copy(&mut self, id: MailboxId, uids: &UidSet, to: MailboxId) -> Result<AccountReply, AccountRefusal> {
        let target = self.name_of(to).ok_or(AccountRefusal::NoMailbox)?;
        let mailbox = self.by_id(id).ok_or(AccountRefusal::NoMailbox)?;
        let chosen: Vec<_> = mailbox
            .messages
            .values()
            .filter(|stored| uids.contains(stored.state.uid))
            .map(|stored| (stored.state.clone(), stored.prefix, stored.internal_date))
            .collect();
        let mut map = UidMap { uid_validity: Some(UidValidity::new(1000)), ..UidMap::default() };
        for (state, prefix, date) in chosen {
            map.from.push(state.uid);
            map.to.push(self.instance(&target, state.email, prefix, state.flags, date));
        }
        Ok(AccountReply::Uids(map))
    }

    fn expunge(&mut self, id: MailboxId, uids: &UidSet, deleted_only: bool) -> Result<Vec<Uid>, AccountRefusal> {
        self.modseq += 1;
        let modseq = ModSeq::new(self.modseq);
        let mailbox = self.by_id(id).ok_or(AccountRefusal::NoMailbox)?;
        let goes = |stored: &Stored| {
            uids.contains(stored.state.uid)
                && (!deleted_only || stored.state.flags.system.contains(SystemFlags::DELETED))
        };
        let gone: Vec<Uid> =
            mailbox.messages.values().filter(|stored| goes(stored)).map(|stored| stored.state.uid).collect();
        for uid in &gone {
            mailbox.messages.remove(uid);
            mailbox.vanished.push((*uid, modseq));
            mailbox.highest_modseq = modseq;
        }
        Ok(gone)
    }

    fn answer(&mut self, query: AccountQuery) -> AccountAnswer {
        use AccountQuery as Q;
        match query {
            Q::Mailboxes => {
                AccountAnswer::Mailboxes(self.mailboxes.keys().filter_map(|name| self.info(name)).collect())
            }
            Q::DanglingSubscriptions => AccountAnswer::Names(self.dangling.iter().cloned().collect()),
            Q::MailboxByName(name) => AccountAnswer::Mailbox(self.info(&name).map(Box::new)),
            Q::Quota => AccountAnswer::Quota(QuotaUsage {
                bytes: self.used(),
                messages: self.contents.len() as u64,
                quota: self.quota,
            }),
            Q::States { mailbox, uids, rows_max } => match self.by_id(mailbox) {
                None => AccountAnswer::Refused(AccountRefusal::NoMailbox),
                Some(mailbox) => AccountAnswer::States(
                    mailbox
                        .messages
                        .values()
                        .map(|stored| stored.state.clone())
                        .filter(|state| uids.contains(state.uid))
                        .take(rows_max as usize)
                        .collect(),
                ),
            },
            Q::Messages { mailbox, uids, with_summary, rows_max } => {
                self.messages(mailbox, &uids, with_summary, rows_max)
            }
            Q::Changes { mailbox, since } => self.changes(mailbox, since),
            other => panic!("IMAP does not ask {other:?}"),
        }
    }

    fn messages(&mut self, id: MailboxId, uids: &UidSet, with_summary: bool, rows_max: u32) -> AccountAnswer {
        let contents = self.contents.clone();
        let Some(mailbox) = self.by_id(id) else { return AccountAnswer::Refused(AccountRefusal::NoMailbox) };
        let chosen = mailbox.messages.values().filter(|stored| uids.contains(stored.state.uid));
        let message = |stored: &Stored| {
            let content = &contents[&stored.state.email];
            let own = &content[stored.prefix.len()..];
            Message {
                state: stored.state.clone(),
                thread: ThreadId::new(stored.state.email.get()),
                size_bytes: content.len() as u64,
                prefix_size_bytes: stored.prefix.len() as u64,
                internal_date: stored.internal_date,
                saved_date: UnixMillis::new(1_700_000_100_000),
                summary: with_summary.then(|| Sealed::plain(1, record::encode(&mime::summary(own)))),
            }
        };
        AccountAnswer::Messages(chosen.take(rows_max as usize).map(message).collect())
    }

    fn changes(&mut self, id: MailboxId, since: ModSeq) -> AccountAnswer {
        let info = self.name_of(id).and_then(|name| self.info(&name));
        let (Some(info), Some(mailbox)) = (info, self.by_id(id)) else {
            return AccountAnswer::Refused(AccountRefusal::NoMailbox);
        };
        let states = mailbox.messages.values().map(|stored| stored.state.clone());
        let vanished = mailbox.vanished.iter().filter(|(_, modseq)| *modseq > since).map(|(uid, _)| *uid);
        AccountAnswer::Changes(Box::new(Changes {
            mailbox: info,
            messages: states.filter(|state| state.modseq > since).collect(),
            vanished: UidSet::from_uids(vanished),
        }))
    }

    fn directory(&self, query: DirectoryQuery) -> DirectoryAnswer {
        match query {
            DirectoryQuery::Credentials(name) => {
                let own = name == "ann@example.org";
                DirectoryAnswer::Credentials(own.then(|| Box::new(self.credentials.clone())))
            }
            DirectoryQuery::AccountById(_) => DirectoryAnswer::Account(Some(self.credentials.account.clone())),
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

    fn query(&self, _: GroupId, query: Query, _: Option<Token>) -> BoxFuture<'_, Result<Answer, StoreError>> {
        let answer = match query {
            Query::Account(_, query) => Answer::Account(self.state.lock().answer(query)),
            Query::Directory(query) => Answer::Directory(self.state.lock().directory(query)),
            other => panic!("IMAP does not ask {other:?}"),
        };
        Box::pin(async { Ok(answer) })
    }

    fn watch(&self, topic: Topic) -> watch::Receiver<u64> {
        match topic {
            Topic::Account(_) => self.account.subscribe(),
            Topic::Directory => self.directory.subscribe(),
        }
    }

    fn put(&self, _: TenantId, _: Vec<u8>, _: Option<u64>) -> BoxFuture<'_, Result<Box<dyn ContentSink>, StoreError>> {
        Box::pin(async { Ok(Box::new(Sink(Vec::new())) as Box<dyn ContentSink>) })
    }

    fn open(&self, _: GroupId, _: AccountRef, email: EmailId) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        let content = self.state.lock().contents.get(&email).cloned().ok_or(StoreError::NotFound);
        Box::pin(async { content.map(|content| Box::new(Open(content)) as Box<dyn Content>) })
    }

    fn accepting(&self) -> Result<(), StoreError> {
        self.state.lock().accepting.clone()
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
        Box::pin(async move { Ok(Ingested { message, received_count: 0, repeat_key, message_id: None, lease_until }) })
    }
}

/// Gives at most 1000 octets at a time, so that ranges are always read in pieces.
struct Open(Arc<Vec<u8>>);

impl Content for Open {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        let begin = usize::try_from(range.start).unwrap().min(self.0.len());
        let end = usize::try_from(range.end).unwrap().min(self.0.len()).min(begin + 1000);
        let piece = Bytes::copy_from_slice(&self.0[begin..end]);
        Box::pin(async move { Ok(piece) })
    }
}
