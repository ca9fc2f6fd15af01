//! One group on the memory adapter, with a clock that the test moves.

use std::collections::BTreeMap;

use securanet_engine::{Space, answer, apply};
use securanet_kv::{Direction, Durability, KeyValue, Read, memory::MemoryStore};
use securanet_model::{
    AccountId, Answer, BlobId, Command, DomainId, Epoch, Execute, Flags, GroupId, KeyedHash, Keyword, MailboxId,
    MailboxName, ModSeq, Query, Reply, RequestId, SystemFlags, TenantId, Uid, UnixMillis,
    account::{
        AccountAnswer, AccountCommand, AccountQuery, AccountRef, AccountReply, AppendMessage, Changes, MailboxInfo,
        Message, MessageState, QuotaUsage, UidSet,
    },
    content::{BlobRef, NewMessage, Sealed},
    delivery::{Deliver, DeliverReply, DeliverTo, Delivered, QuotaRule},
    directory::Quota,
    request::{Proposal, Topic},
};

/// Tables from here on are the accounts' and what they share; below are the dispatch's and the queue's.
const ACCOUNT_TABLES_FROM: u8 = 0x40;

/// When the tests begin, in milliseconds: 2023-11-14T22:13:20Z.
pub(crate) const START_MILLIS: u64 = 1_700_000_000_000;

pub(crate) const SPACE: Space = Space { group: GroupId::new(3), generation: 0 };

pub(crate) struct World {
    pub(crate) store: MemoryStore,
    pub(crate) space: Space,
    pub(crate) now: UnixMillis,
    /// Everything that was applied.
    pub(crate) log: Vec<Proposal>,
    /// What the last command woke.
    pub(crate) touched: Vec<Topic>,
    requests: u128,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            store: MemoryStore::new(),
            space: SPACE,
            now: UnixMillis::new(START_MILLIS),
            log: Vec::new(),
            touched: Vec::new(),
            requests: 0,
        }
    }

    /// A world with account 1, without quota.
    pub(crate) fn with_account() -> Self {
        let mut world = Self::new();
        assert_eq!(world.change(1, provision(Quota::default())), AccountReply::Done);
        world
    }

    pub(crate) fn pass_millis(&mut self, millis: u64) {
        self.now = self.now.plus_millis(millis);
    }

    pub(crate) fn run(&mut self, command: Command) -> Reply {
        self.requests += 1;
        let execute = Execute {
            group: self.space.group,
            request: RequestId::new(self.requests.to_be_bytes()),
            deadline: self.now.plus_millis(60_000),
            commands: vec![command],
        };
        let proposal = Proposal { stamp: self.now, requests: vec![execute] };
        let replies = self.replay(&proposal);
        self.log.push(proposal);
        replies.into_iter().flatten().next().expect("one command has one reply")
    }

    pub(crate) fn replay(&mut self, proposal: &Proposal) -> Vec<Vec<Reply>> {
        let applied = apply(&self.store, self.space, proposal).unwrap();
        self.store.write(applied.batch, Durability::Volatile).unwrap();
        self.touched = applied.touched;
        applied.replies
    }

    pub(crate) fn change(&mut self, account: u64, command: AccountCommand) -> AccountReply {
        match self.run(Command::Account(account_ref(account), command)) {
            Reply::Account(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn deliver(&mut self, deliver: Deliver) -> Vec<Delivered> {
        match self.run(Command::Deliver(deliver)) {
            Reply::Deliver(DeliverReply::Outcomes(outcomes)) => outcomes,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn answer(&self, query: &Query) -> Answer {
        answer(&self.store, self.space, query).unwrap()
    }

    pub(crate) fn ask(&self, account: u64, query: AccountQuery) -> AccountAnswer {
        match self.answer(&Query::Account(account_ref(account), query)) {
            Answer::Account(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn mailboxes(&self, account: u64) -> Vec<MailboxInfo> {
        match self.ask(account, AccountQuery::Mailboxes) {
            AccountAnswer::Mailboxes(mailboxes) => mailboxes,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn names(&self, account: u64) -> Vec<String> {
        self.mailboxes(account).iter().map(|mailbox| mailbox.name.to_string()).collect()
    }

    pub(crate) fn mailbox(&self, account: u64, mailbox: &str) -> MailboxInfo {
        match self.ask(account, AccountQuery::MailboxByName(name(mailbox))) {
            AccountAnswer::Mailbox(Some(info)) => *info,
            other => panic!("{mailbox}: {other:?}"),
        }
    }

    pub(crate) fn id(&self, account: u64, mailbox: &str) -> MailboxId {
        self.mailbox(account, mailbox).id
    }

    pub(crate) fn states(&self, account: u64, mailbox: MailboxId) -> Vec<MessageState> {
        match self.ask(account, AccountQuery::States { mailbox, uids: UidSet::all(), rows_max: 10_000 }) {
            AccountAnswer::States(states) => states,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn uids(&self, account: u64, mailbox: &str) -> Vec<u32> {
        self.states(account, self.id(account, mailbox)).iter().map(|state| state.uid.get()).collect()
    }

    pub(crate) fn messages(&self, account: u64, mailbox: MailboxId, with_summary: bool) -> Vec<Message> {
        let query = AccountQuery::Messages { mailbox, uids: UidSet::all(), with_summary, rows_max: 1000 };
        match self.ask(account, query) {
            AccountAnswer::Messages(messages) => messages,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn changes(&self, account: u64, mailbox: MailboxId, since: ModSeq) -> Changes {
        match self.ask(account, AccountQuery::Changes { mailbox, since }) {
            AccountAnswer::Changes(changes) => *changes,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn quota(&self, account: u64) -> QuotaUsage {
        match self.ask(account, AccountQuery::Quota) {
            AccountAnswer::Quota(usage) => usage,
            other => panic!("{other:?}"),
        }
    }

    /// Appends one message of 100 octets and answers its UID.
    pub(crate) fn append(&mut self, account: u64, mailbox: &str, flags: Flags) -> u32 {
        let mailbox = self.id(account, mailbox);
        let messages = vec![AppendMessage { message: message(100), flags }];
        match self.change(account, AccountCommand::Append { mailbox, messages }) {
            AccountReply::Uids(map) => map.to[0].get(),
            other => panic!("{other:?}"),
        }
    }

    /// The rows of accounts, the space's prefix taken off.
    pub(crate) fn rows(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let prefix = self.space.prefix();
        let rows = self.store.scan(&self.space.range(), Direction::Forward, usize::MAX).unwrap();
        rows.into_iter()
            .map(|(key, value)| (key[prefix.len()..].to_vec(), value))
            .filter(|(key, _)| key[0] >= ACCOUNT_TABLES_FROM)
            .collect()
    }
}

pub(crate) fn account_ref(account: u64) -> AccountRef {
    AccountRef { id: AccountId::new(account), epoch: Epoch::new(1) }
}

pub(crate) fn provision(quota: Quota) -> AccountCommand {
    AccountCommand::Provision { tenant: TenantId::new(1), domain: DomainId::new(1), quota }
}

pub(crate) fn name(name: &str) -> MailboxName {
    MailboxName::parse(name).unwrap()
}

pub(crate) fn uids(uids: impl IntoIterator<Item = u32>) -> UidSet {
    UidSet::from_uids(uids.into_iter().map(Uid::new))
}

pub(crate) fn hash(n: u8) -> KeyedHash {
    KeyedHash([n; 16])
}

pub(crate) fn blob(n: u8) -> BlobId {
    BlobId { tenant: TenantId::new(1), hash: [n; 32] }
}

/// Flags from words: system flags by their names, anything else a keyword.
pub(crate) fn flags(words: &str) -> Flags {
    let mut system = SystemFlags::NONE;
    let mut keywords = Vec::new();
    for word in words.split_whitespace() {
        match SystemFlags::NAMED.iter().find(|(_, name)| *name == word) {
            Some((flag, _)) => system = system.union(*flag),
            None => keywords.push(Keyword::parse(word).unwrap()),
        }
    }
    Flags::new(system, keywords)
}

/// A message of so many octets, without blobs and thread keys.
pub(crate) fn message(size_bytes: u64) -> NewMessage {
    NewMessage {
        size_bytes,
        recipe: Sealed::plain(1, format!("recipe {size_bytes}").into_bytes()),
        blobs: Vec::new(),
        summary: Sealed::plain(1, format!("summary {size_bytes}").into_bytes()),
        thread_keys: Vec::new(),
        internal_date: None,
    }
}

/// A message that names these blobs and thread keys.
pub(crate) fn message_with(size_bytes: u64, blobs: &[u8], thread_keys: &[u8]) -> NewMessage {
    NewMessage {
        blobs: blobs.iter().map(|&n| BlobRef { id: blob(n), size_bytes: 20_000 }).collect(),
        thread_keys: thread_keys.iter().map(|&n| hash(n)).collect(),
        ..message(size_bytes)
    }
}

/// A recipient without subaddress, with a prefix of 10 octets.
pub(crate) fn to(account: u64) -> DeliverTo {
    DeliverTo {
        account: account_ref(account),
        folder: None,
        prefix: Sealed::plain(1, format!("to {account}").into_bytes()),
        prefix_size_bytes: 10,
        repeat_key: None,
    }
}

pub(crate) fn delivery(message: NewMessage, to: impl IntoIterator<Item = DeliverTo>) -> Deliver {
    Deliver { key: None, message, to: to.into_iter().collect(), quota: QuotaRule::Enforced }
}
