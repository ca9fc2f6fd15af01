//! A store that does what a test tells it, and remembers what it was asked.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    time::Duration,
};

use securanet_gateway::{
    login::make_verifiers,
    model::{
        AccountId, Address, Answer, Command, DomainId, DomainName, EmailId, Epoch, Execute, Freshness, GroupId,
        KeyedHash, MailboxId, Query, Reply, StoreError, TenantId, Uid, UnixMillis,
        account::{
            AccountAnswer, AccountCommand, AccountQuery, AccountRef, AccountRefusal, AccountReply, QuotaUsage, UidMap,
        },
        content::{Ingested, NewMessage, Sealed},
        delivery::{DeliverReply, Delivered, QueueCommand, QueueReply},
        directory::{
            Account, AccountStatus, Cluster, Credentials, DirectoryAnswer, DirectoryQuery, Domain, LocalRecipient,
            Onward, Quota, Resolution, Verifiers,
        },
        outbound::{AcceptedItem, OutboundCommand, OutboundReply},
        policy,
        request::{DomainUsage, Topic},
        sending::{RelayGrant, SenderRight},
    },
    store::{Answered, BoxFuture, Content, ContentSink, Executed, Store},
};
use tokio::sync::watch;

/// What happens to commits.
#[derive(Clone, Default)]
pub(crate) enum Commits {
    /// All is kept.
    #[default]
    Keep,
    /// Each Deliver has these outcomes.
    Outcomes(Vec<Delivered>),
    /// Each command has this reply.
    Reply(Reply),
    /// They fail.
    Fail(StoreError),
    /// They never answer.
    Hang,
}

/// A message that was finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) tenant: TenantId,
    pub(crate) trace: String,
    pub(crate) content: Vec<u8>,
    pub(crate) announced: Option<u64>,
}

/// What the store is told to be, and what it saw.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) addresses: HashMap<String, Resolution>,
    pub(crate) postmaster: Option<Resolution>,
    pub(crate) usage: HashMap<u64, QuotaUsage>,
    pub(crate) over_quota_reply: Option<&'static str>,
    /// Policies that are not at their default.
    pub(crate) policies: HashMap<&'static str, &'static str>,
    /// ann's rights to send as others.
    pub(crate) rights: HashMap<&'static str, SenderRight>,
    pub(crate) relays: Vec<RelayGrant>,
    /// ann's credentials.
    pub(crate) credentials: Option<Credentials>,
    pub(crate) domains: Vec<Domain>,
    pub(crate) domain_usage: Vec<DomainUsage>,
    pub(crate) not_accepting: Option<StoreError>,
    pub(crate) directory_fails: Option<StoreError>,
    pub(crate) put_fails: Option<StoreError>,
    pub(crate) write_fails: Option<StoreError>,
    pub(crate) finish_fails: Option<StoreError>,
    pub(crate) commits: Commits,
    /// What a copy in Sent is answered with, if it is not kept.
    pub(crate) keep_sent: Option<AccountRefusal>,
    /// A commit takes this long.
    pub(crate) commit_takes: Duration,
    pub(crate) puts: Vec<Put>,
    pub(crate) executed: Vec<Execute>,
    /// The nearest replica has heard of none of it.
    pub(crate) behind: bool,
    pub(crate) directory_asked: usize,
    pub(crate) quota_asked: usize,
}

/// The store.
#[derive(Clone, Default)]
pub(crate) struct Scripted {
    script: Arc<Mutex<Script>>,
    directory: watch::Sender<u64>,
}

pub(crate) fn account(id: u64, group: u32) -> LocalRecipient {
    LocalRecipient {
        account: AccountId::new(id),
        tenant: TenantId::new(1),
        domain: DomainId::new(1),
        group: GroupId::new(group),
        epoch: Epoch::new(1),
        address: Address::parse(&format!("user{id}@example.org")).unwrap(),
        folder: None,
        list_owner: None,
    }
}

/// Who sends on.
pub(crate) fn onward(by: &str, to: &str) -> Onward {
    Onward {
        address: Address::parse(to).unwrap(),
        by: Address::parse(by).unwrap(),
        tenant: TenantId::new(1),
        group: GroupId::new(2),
        through_list: false,
        list_owner: None,
    }
}

pub(crate) fn domain(id: u32, quota: Quota) -> Domain {
    let name = DomainName::parse(&format!("d{id}.example")).unwrap();
    Domain { id: DomainId::new(id), tenant: TenantId::new(1), name, catch_all: None, quota }
}

/// ann's password is `sesame`.
fn credentials() -> Credentials {
    static ONCE: OnceLock<Verifiers> = OnceLock::new();
    let verifiers = ONCE.get_or_init(|| make_verifiers("sesame", true).unwrap()).clone();
    let account = Account {
        id: AccountId::new(1),
        tenant: TenantId::new(1),
        domain: DomainId::new(1),
        address: Address::parse("ann@example.org").unwrap(),
        display_name: "Ann \"A\" Lee".to_owned(),
        status: AccountStatus::Active,
        quota: Quota::default(),
        group: GroupId::new(1),
        epoch: Epoch::new(1),
        credential_version: 1,
        created: UnixMillis::new(0),
    };
    Credentials { account, password: Some(verifiers), app_passwords: Vec::new() }
}

impl Scripted {
    /// ann's password is another now.
    pub(crate) fn change_password(&self) {
        if let Some(credentials) = &mut self.script().credentials {
            credentials.account.credential_version += 1;
        }
        self.directory_changed();
    }

    /// ann (group 1) and bob (group 2) of example.org, a list of both, sue who is suspended, a postmaster.
    pub(crate) fn new() -> Self {
        let store = Self::default();
        let local = |accounts: &[LocalRecipient]| Resolution::Local(accounts.to_vec().into());
        let mut script = store.script();
        let (ann, bob) = (account(1, 1), account(2, 2));
        script.addresses = [
            ("ann@example.org", local(std::slice::from_ref(&ann))),
            ("bob@example.org", local(std::slice::from_ref(&bob))),
            ("eve@example.org", local(&[account(5, 1)])),
            ("all@example.org", local(&[ann, bob])),
            ("sue@example.org", Resolution::Suspended),
        ]
        .map(|(address, resolution)| (address.to_owned(), resolution))
        .into();
        script.credentials = Some(credentials());
        script.postmaster = Some(local(&[account(9, 1)]));
        drop(script);
        store
    }

    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// Word of a change of the directory gets around.
    pub(crate) fn directory_changed(&self) {
        self.directory.send_modify(|change| *change += 1);
    }

    /// What was put, in order; it must have been committed too.
    pub(crate) fn contents(&self) -> Vec<Vec<u8>> {
        self.script().puts.iter().map(|put| put.content.clone()).collect()
    }

    /// All commands, in order.
    pub(crate) fn commands(&self) -> Vec<Command> {
        self.script().executed.iter().flat_map(|request| request.commands.clone()).collect()
    }

    fn directory(&self, query: &DirectoryQuery) -> Result<DirectoryAnswer, StoreError> {
        let mut script = self.script();
        script.directory_asked += 1;
        if let Some(error) = &script.directory_fails {
            return Err(error.clone());
        }
        let resolved = match query {
            DirectoryQuery::Resolve(address) => {
                let ours = address.domain().as_str().ends_with("example.org");
                let absent = if ours { Resolution::Unknown } else { Resolution::Foreign };
                script.addresses.get(&address.canonical()).cloned().unwrap_or(absent)
            }
            DirectoryQuery::ResolvePostmaster => script.postmaster.clone().unwrap_or(Resolution::Unknown),
            DirectoryQuery::Policy(key, _) if key != "smtp.over_quota_reply" => {
                let value = script.policies.get(key.as_str()).copied();
                let value = value.or_else(|| policy::find(key).map(|policy| policy.default));
                return Ok(DirectoryAnswer::Policy(value.map(|value| (value.to_owned(), None))));
            }
            DirectoryQuery::Policy(..) => {
                let value = script.over_quota_reply.map(|value| (value.to_owned(), None));
                return Ok(DirectoryAnswer::Policy(value));
            }
            DirectoryQuery::Domains(page) => {
                let rest = script.domains.iter().filter(|d| Some(d.name.as_str()) > page.after.as_deref());
                return Ok(DirectoryAnswer::Domains(rest.cloned().collect()));
            }
            DirectoryQuery::Cluster => {
                let cluster = Cluster { id: [0; 16], content_key: [0; 32], login_key: [0; 32], shards: 2 };
                return Ok(DirectoryAnswer::Cluster(Some(cluster)));
            }
            DirectoryQuery::Credentials(name) => {
                let known = script.credentials.as_ref().filter(|_| name == "ann@example.org").cloned();
                return Ok(DirectoryAnswer::Credentials(known.map(Box::new)));
            }
            DirectoryQuery::AccountById(_) => {
                let account = script.credentials.as_ref().map(|credentials| credentials.account.clone());
                return Ok(DirectoryAnswer::Account(account));
            }
            DirectoryQuery::SenderRight(_, address) => {
                let own = address.local_canonical().split('+').next() == Some("ann")
                    && address.domain().as_str() == "example.org";
                let right = script.rights.get(address.canonical().as_str()).copied();
                let absent = if own { SenderRight::Own } else { SenderRight::Refused };
                return Ok(DirectoryAnswer::SenderRight(right.unwrap_or(absent)));
            }
            DirectoryQuery::RelayGrants => return Ok(DirectoryAnswer::RelayGrants(script.relays.clone())),
            DirectoryQuery::Domain(name) => {
                let ours = (name.as_str() == "example.org").then(|| domain(1, Quota::default()));
                return Ok(DirectoryAnswer::Domain(ours));
            }
            other => panic!("not asked by SMTP: {other:?}"),
        };
        Ok(DirectoryAnswer::Resolution(resolved))
    }

    /// Nobody has been heard of, and mailboxes were full.
    fn answer_from_behind(&self, group: GroupId, query: Query) -> Result<Answer, StoreError> {
        match query {
            Query::Directory(DirectoryQuery::Resolve(_)) => {
                Ok(Answer::Directory(DirectoryAnswer::Resolution(Resolution::Unknown)))
            }
            Query::Directory(DirectoryQuery::ResolvePostmaster) => {
                Ok(Answer::Directory(DirectoryAnswer::Resolution(Resolution::Foreign)))
            }
            Query::Directory(DirectoryQuery::SenderRight(..)) => {
                Ok(Answer::Directory(DirectoryAnswer::SenderRight(SenderRight::Refused)))
            }
            Query::Account(_, AccountQuery::Quota) => {
                let quota = Quota { bytes_max: Some(1), messages_max: Some(1) };
                let usage = QuotaUsage { bytes: 2, messages: 2, quota };
                Ok(Answer::Account(AccountAnswer::Quota(usage)))
            }
            query => self.answer(group, query),
        }
    }

    fn answer(&self, group: GroupId, query: Query) -> Result<Answer, StoreError> {
        match query {
            Query::Directory(query) => self.directory(&query).map(Answer::Directory),
            Query::Account(account, AccountQuery::Quota) => {
                let mut script = self.script();
                script.quota_asked += 1;
                let usage = script.usage.get(&account.id.get()).copied().unwrap_or_default();
                Ok(Answer::Account(AccountAnswer::Quota(usage)))
            }
            Query::DomainUsage if group == GroupId::new(1) => {
                Ok(Answer::DomainUsage(self.script().domain_usage.clone()))
            }
            Query::DomainUsage => Ok(Answer::DomainUsage(Vec::new())),
            other => panic!("not asked by SMTP: {other:?}"),
        }
    }
}

fn keep(command: &Command, keep_sent: Option<&AccountRefusal>) -> Reply {
    let stored = |at: usize| Delivered::Stored {
        mailbox: MailboxId::new(1),
        uid: Uid::new(u32::try_from(at).unwrap() + 1),
        email: EmailId::new(1),
    };
    match command {
        Command::Deliver(deliver) => {
            Reply::Deliver(DeliverReply::Outcomes((0..deliver.to.len()).map(stored).collect()))
        }
        Command::Queue(QueueCommand::FanOut(_)) => Reply::Queue(QueueReply::Queued(1)),
        Command::Outbound(OutboundCommand::Accept(_)) => {
            Reply::Outbound(OutboundReply::Accepted(vec![AcceptedItem { item: 1, repeat: false }]))
        }
        Command::Account(_, AccountCommand::KeepSent { .. }) => Reply::Account(match keep_sent {
            Some(refusal) => AccountReply::Refused(refusal.clone()),
            None => AccountReply::Uids(UidMap { to: vec![Uid::new(1)], ..UidMap::default() }),
        }),
        other => panic!("not sent by SMTP: {other:?}"),
    }
}

impl Store for Scripted {
    fn execute(&self, request: Execute) -> BoxFuture<'_, Result<Executed, StoreError>> {
        Box::pin(async move {
            let (commits, takes) = {
                let mut script = self.script();
                script.executed.push(request.clone());
                (script.commits.clone(), script.commit_takes)
            };
            tokio::time::sleep(takes).await;
            let replies = match commits {
                Commits::Keep => {
                    let keep_sent = self.script().keep_sent.clone();
                    request.commands.iter().map(|command| keep(command, keep_sent.as_ref())).collect()
                }
                Commits::Outcomes(outcomes) => {
                    vec![Reply::Deliver(DeliverReply::Outcomes(outcomes)); request.commands.len()]
                }
                Commits::Reply(reply) => vec![reply; request.commands.len()],
                Commits::Fail(error) => return Err(error),
                Commits::Hang => std::future::pending().await,
            };
            Ok(Executed { replies, index: 1 })
        })
    }

    fn query(&self, group: GroupId, query: Query, freshness: Freshness) -> BoxFuture<'_, Result<Answered, StoreError>> {
        Box::pin(async move {
            if self.script().behind && freshness != Freshness::Now {
                return Ok(Answered { answer: self.answer_from_behind(group, query)?, index: 0 });
            }
            Ok(Answered { answer: self.answer(group, query)?, index: 0 })
        })
    }

    fn watch(&self, _: Topic) -> watch::Receiver<u64> {
        self.directory.subscribe()
    }

    fn put(
        &self,
        tenant: TenantId,
        trace: Vec<u8>,
        announced: Option<u64>,
    ) -> BoxFuture<'_, Result<Box<dyn ContentSink>, StoreError>> {
        Box::pin(async move {
            if let Some(error) = &self.script().put_fails {
                return Err(error.clone());
            }
            let put = Put { tenant, trace: String::from_utf8(trace).unwrap(), content: Vec::new(), announced };
            Ok(Box::new(Sink { store: self.clone(), put }) as Box<dyn ContentSink>)
        })
    }

    fn open(&self, _: GroupId, _: AccountRef, _: EmailId) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        panic!("SMTP reads no mail");
    }

    fn open_outbound(&self, _: GroupId, _: u64) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        Box::pin(async { Err(StoreError::NotFound) })
    }

    fn accepting(&self) -> Result<(), StoreError> {
        self.script().not_accepting.clone().map_or(Ok(()), Err)
    }
}

struct Sink {
    store: Scripted,
    put: Put,
}

impl ContentSink for Sink {
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            assert!(!bytes.is_empty());
            self.put.content.extend_from_slice(bytes);
            self.store.script().write_fails.clone().map_or(Ok(()), Err)
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Ingested, StoreError>> {
        Box::pin(async move {
            let mut script = self.store.script();
            if let Some(error) = &script.finish_fails {
                return Err(error.clone());
            }
            let text = String::from_utf8_lossy(&self.put.content).into_owned();
            let size_bytes = (self.put.trace.len() + self.put.content.len()) as u64;
            let message_id = text.lines().find_map(|line| line.strip_prefix("Message-ID: ")).map(str::to_owned);
            let received_count = text.lines().filter(|line| line.starts_with("Received:")).count();
            let delivered_to =
                text.lines().filter_map(|line| line.strip_prefix("Delivered-To: ")).map(str::to_owned).collect();
            let sealed = Sealed::plain(1, self.put.content.clone());
            script.puts.push(self.put);
            Ok(Ingested {
                message: NewMessage {
                    size_bytes,
                    recipe: sealed.clone(),
                    blobs: Vec::new(),
                    summary: sealed,
                    thread_keys: Vec::new(),
                    internal_date: None,
                },
                received_count: u32::try_from(received_count).unwrap(),
                repeat_key: KeyedHash([1; 16]),
                message_id,
                delivered_to,
                lease_until: UnixMillis::new(0),
            })
        })
    }
}
