//! A gateway at a node: serves wishes, and leaves those that it cannot end to another one.
//!
//! When the node dies, whoever waits outside goes to another gateway: with the same request, as long as its deadline is
//! not over. Behind that a sender of mail repeats its message as a new request.

use std::{sync::Arc, time::Duration};

use securanet_blob::{BlobStore, Lease};
use securanet_model::{
    Address, Answer, Command, Execute, Flags, Freshness, GroupId, KeyedHash, Keyword, MailboxName, ModSeq, Query,
    Reply, ReversePath, StoreError, Uid,
    account::{AccountAnswer, AccountCommand, AccountQuery, AccountReply, FlagChange, MailboxInfo, UidSet},
    content::NewMessage,
    delivery::{Deliver, DeliverReply, Delivered, FanOut, FanOutTarget, QueueCommand, QueueReply, QuotaRule},
    outbound::{
        Acceptance, EnvelopeOptions, Notify, Origin, Outbound, OutboundCommand, OutboundRecipient, OutboundReply,
    },
};
use securanet_raft::Groups;
use tokio::time::{sleep, timeout};

use crate::{
    ledger::{Want, Wish, Written},
    support::{account, blob, deliver_to, message, now, provision, request_id},
    world::{ACCOUNTS, World, group_of},
};

/// How long a sender waits for one gateway, and for all of them.
const TRY: Duration = Duration::from_millis(1500);
const DEADLINE_MILLIS: u64 = 6000;
/// How often a sender repeats a message that nobody acknowledged.
const REPEATS_MAX: u32 = 4;
/// Octets of a blob.
const BLOB_BYTES: usize = 20_000;

/// A wish that is given back when whoever has it dies.
struct Held {
    world: World,
    wish: Option<Wish>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(wish) = self.wish.take() {
            self.world.ledger.lock().unwrap().give_back(wish);
        }
    }
}

/// What a try came to.
enum Tried {
    Ended,
    /// Another try, perhaps elsewhere.
    Again,
    /// Nobody knows.
    Unknown,
}

pub(crate) async fn session(world: World, node: usize, groups: Groups, blobs: Arc<BlobStore>, session: usize) {
    sleep(Duration::from_millis(7 * session as u64)).await;
    loop {
        let wish = world.ledger.lock().unwrap().take(world.now());
        if wish.is_none() {
            sleep(Duration::from_millis(20)).await;
            continue;
        }
        let mut held = Held { world: world.clone(), wish };
        let Some(wish) = held.wish.as_mut() else { continue };
        let sight = Sight { world: &world, groups: &groups, blobs: &blobs };
        let tried = sight.serve(wish).await;
        let ended = matches!(tried, Tried::Ended);
        tracing::info!(target: "simulation", node, id = wish.id, want = ?wish.want, ended, "tried");
        match (tried, held.wish.take()) {
            (Tried::Unknown, Some(wish)) => unknown(&world, wish),
            (Tried::Again, wish) => {
                held.wish = wish;
                drop(held);
                sleep(Duration::from_millis(10)).await;
            }
            _ => world.ledger.lock().unwrap().ended(),
        }
    }
}

/// Nobody knows what became of a request, and its deadline is over.
fn unknown(world: &World, wish: Wish) {
    let mut ledger = world.ledger.lock().unwrap();
    ledger.ended();
    let from = world.now() + 50;
    match wish.want {
        // Its sender will try again, and is recognised.
        Want::Deposit { account, number, with_blob, repeats } if number.is_multiple_of(2) && repeats < REPEATS_MAX => {
            ledger.want(from, Want::Deposit { account, number, with_blob, repeats: repeats + 1 });
        }
        Want::Provision { .. } => ledger.want(from, wish.want),
        _ => world.trace.count("outcome unknown", 1),
    }
}

struct Sight<'a> {
    world: &'a World,
    groups: &'a Groups,
    blobs: &'a BlobStore,
}

impl Sight<'_> {
    async fn serve(&self, wish: &mut Wish) -> Tried {
        if let Some(deadline) = wish.deadline
            && deadline <= now()
        {
            return Tried::Unknown;
        }
        let deadline = *wish.deadline.get_or_insert_with(|| now().plus_millis(DEADLINE_MILLIS));
        let id = wish.id;
        let make = |group: u32, command: Command| Execute {
            group: GroupId::new(group),
            request: request_id(id),
            deadline,
            commands: vec![command],
        };
        let request = match (&mut wish.request, &mut wish.want) {
            (Some(request), _) => request.clone(),
            (None, Want::Look { account }) => return self.look(*account).await,
            (None, Want::Register { account, value, instead_of }) => {
                let Some((mailbox, modseq)) = self.register(*account).await else { return Tried::Again };
                *instead_of = Some(modseq);
                make(group_of(*account), store(*account, &mailbox, *value, modseq))
            }
            (None, want) => {
                let (group, command) = command(want);
                make(group, command)
            }
        };
        wish.request = Some(request.clone());
        if let Want::Deposit { number, with_blob: true, .. } | Want::FanOut { number } = wish.want {
            self.put(number).await;
        }
        match timeout(TRY, self.groups.execute(request)).await {
            Ok(Ok((replies, _))) => self.told(wish, &replies),
            Ok(Err(error @ (StoreError::Internal(_) | StoreError::Damaged(_) | StoreError::NoGroup(_)))) => {
                self.world.break_promise(format!("{wish:?}: {error}"));
                Tried::Ended
            }
            Ok(Err(_)) | Err(_) => Tried::Again,
        }
    }

    /// A gateway puts content into the store of its own node.
    async fn put(&self, number: u64) {
        let content = content_of(number);
        let lease = Lease { now: now(), until: now().plus_millis(600_000) };
        let put = self.blobs.put(blob(number), &mut content.as_slice(), content.len() as u64, lease);
        if let Err(error) = put.and_then(|_| self.blobs.sync()) {
            self.world.break_promise(format!("blob {number}: {error}"));
        }
    }

    fn told(&self, wish: &Wish, replies: &[Reply]) -> Tried {
        let world = self.world;
        let mut ledger = world.ledger.lock().unwrap();
        match (&wish.want, &replies[0]) {
            (_, Reply::Unknown) => return Tried::Unknown,
            (Want::Provision { account }, Reply::Account(AccountReply::Done)) => {
                tracing::debug!(target: "simulation", account, "provisioned");
            }
            (
                Want::Deposit { account, number, with_blob, repeats },
                Reply::Deliver(DeliverReply::Outcomes(outcomes)),
            ) => {
                let told = ledger.deposits.entry((*account, *number)).or_default();
                told.acknowledged = true;
                if *with_blob && matches!(outcomes[0], Delivered::Stored { .. }) {
                    ledger.with_blobs.insert(*number);
                }
                let told = ledger.deposits.entry((*account, *number)).or_default();
                match &outcomes[0] {
                    Delivered::Stored { uid, .. } => {
                        if told.uid.is_some_and(|before| before != uid.get()) {
                            let what = format!("message {number} is in mailbox {account} twice: {told:?} and {uid:?}");
                            ledger.break_promise(what);
                        } else {
                            told.uid = Some(uid.get());
                        }
                    }
                    Delivered::Repeat => world.trace.count("duplicate suppressed", 1),
                    refused => ledger.break_promise(format!("{:?}: {refused:?}", wish.want)),
                }
                // Some senders do not hear it.
                if number.is_multiple_of(8) && *repeats == 0 {
                    let (account, number, with_blob) = (*account, *number, *with_blob);
                    ledger.want(world.now() + 100, Want::Deposit { account, number, with_blob, repeats: 1 });
                }
            }
            (Want::FanOut { number }, Reply::Queue(QueueReply::Queued(_))) => {
                ledger.with_blobs.insert(*number);
                ledger.fan_outs.insert(*number, crate::ledger::Told { acknowledged: true, uid: None });
            }
            (Want::Send { group, number }, Reply::Outbound(OutboundReply::Accepted(_))) => {
                ledger.sends.insert((*group, *number), crate::ledger::Told { acknowledged: true, uid: None });
            }
            (
                Want::Register { account, value, instead_of: Some(instead_of) },
                Reply::Account(AccountReply::Stored { messages, modified }),
            ) => match messages.first() {
                Some(state) if modified.is_empty() => {
                    let modseq = state.modseq.get();
                    let written = Written { instead_of: instead_of.get(), modseq, value: *value };
                    ledger.written.entry(*account).or_default().push(written);
                    ledger.held(*account, modseq, *value);
                    world.trace.count("register written", 1);
                }
                _ => world.trace.count("register lost a race", 1),
            },
            (want, reply) => ledger.break_promise(format!("{want:?} was answered {reply:?}")),
        }
        Tried::Ended
    }

    async fn ask(&self, account_id: u64, query: AccountQuery) -> Option<AccountAnswer> {
        let group = GroupId::new(group_of(account_id));
        let query = Query::Account(account(account_id), query);
        match timeout(TRY, self.groups.query(group, query, Freshness::Now)).await {
            Ok(Ok((Answer::Account(answer), _))) => Some(answer),
            Ok(Ok((other, _))) => {
                self.world.break_promise(format!("an account was answered {other:?}"));
                None
            }
            Ok(Err(_)) | Err(_) => None,
        }
    }

    async fn inbox(&self, account_id: u64) -> Option<Box<MailboxInfo>> {
        let before = *self.world.ledger.lock().unwrap().shown.entry(account_id).or_default();
        match self.ask(account_id, AccountQuery::MailboxByName(MailboxName::inbox())).await? {
            AccountAnswer::Mailbox(Some(mailbox)) => {
                let now = (mailbox.uid_next.get(), mailbox.highest_modseq.get());
                self.world.ledger.lock().unwrap().shows(account_id, before, now);
                Some(mailbox)
            }
            other => {
                self.world.break_promise(format!("account {account_id} has no INBOX: {other:?}"));
                None
            }
        }
    }

    async fn look(&self, account_id: u64) -> Tried {
        self.inbox(account_id).await.map_or(Tried::Again, |_| Tried::Ended)
    }

    /// What the register holds: read linearizably, so it is no older than what was acknowledged before.
    async fn register(&self, account_id: u64) -> Option<(MailboxInfo, ModSeq)> {
        let acknowledged = {
            let ledger = self.world.ledger.lock().unwrap();
            let written = ledger.written.get(&account_id);
            written.and_then(|written| written.iter().map(|written| written.modseq).max()).unwrap_or_default()
        };
        let mailbox = self.inbox(account_id).await?;
        let states = AccountQuery::States { mailbox: mailbox.id, uids: UidSet::from_uids([Uid::FIRST]), rows_max: 1 };
        let AccountAnswer::States(states) = self.ask(account_id, states).await? else { return None };
        let state = states.first()?;
        let mut ledger = self.world.ledger.lock().unwrap();
        if state.modseq.get() < acknowledged {
            let what = format!("account {account_id}: a read shows {} after {acknowledged}", state.modseq.get());
            ledger.break_promise(what);
        }
        ledger.held(account_id, state.modseq.get(), value_of(&state.flags));
        Some((*mailbox, state.modseq))
    }
}

fn content_of(number: u64) -> Vec<u8> {
    (0..BLOB_BYTES as u64).map(|at| ((at * number) >> 3) as u8).collect()
}

/// Whether a blob is there as it was put.
pub(crate) fn read_blob(blobs: &Arc<BlobStore>, number: u64) -> Result<(), String> {
    let mut open = blobs.open(blob(number)).map_err(|error| error.to_string())?;
    let read = open.read(0..BLOB_BYTES as u64).map_err(|error| error.to_string())?;
    (read == content_of(number)).then_some(()).ok_or_else(|| "it is another one".to_owned())
}

/// The register's value, as a keyword says it.
pub(crate) fn value_of(flags: &Flags) -> u64 {
    flags.keywords().iter().find_map(|keyword| keyword.as_str().strip_prefix('v')?.parse().ok()).unwrap_or(0)
}

fn store(account_id: u64, mailbox: &MailboxInfo, value: u64, instead_of: ModSeq) -> Command {
    let store = AccountCommand::StoreFlags {
        mailbox: mailbox.id,
        uids: UidSet::from_uids([Uid::FIRST]),
        change: FlagChange::Replace,
        flags: Flags::new(Default::default(), [Keyword::parse(&format!("v{value}")).unwrap()]),
        unchanged_since: Some(instead_of),
    };
    Command::Account(account(account_id), store)
}

fn repeat_key(number: u64) -> Option<KeyedHash> {
    let mut key = [7; 16];
    key[..8].copy_from_slice(&number.to_be_bytes());
    number.is_multiple_of(2).then_some(KeyedHash(key))
}

fn command(want: &mut Want) -> (u32, Command) {
    let content = |number: u64, with_blob: bool| -> NewMessage {
        let blobs = if with_blob { vec![blob(number)] } else { Vec::new() };
        message(number, &blobs)
    };
    match want {
        Want::Provision { account } => (group_of(*account), provision(*account)),
        Want::Deposit { account, number, with_blob, .. } => {
            let mut to = deliver_to(*account);
            to.repeat_key = repeat_key(*number);
            let message = content(*number, *with_blob);
            let deliver = Deliver { key: None, message, to: vec![to], quota: QuotaRule::Enforced };
            (group_of(*account), Command::Deliver(deliver))
        }
        Want::FanOut { number } => {
            let targets = [1, 2].map(|group| {
                let to = ACCOUNTS.iter().filter(|(_, of)| *of == group).map(|(id, _)| deliver_to(*id)).collect();
                FanOutTarget { group: GroupId::new(group), to }
            });
            let message = content(*number, true);
            let fan_out = FanOut { message, sender: ReversePath::Null, targets: targets.to_vec() };
            (1, Command::Queue(QueueCommand::FanOut(fan_out)))
        }
        Want::Send { group, number } => (*group, Command::Outbound(OutboundCommand::Accept(Box::new(letter(*number))))),
        Want::Register { .. } | Want::Look { .. } => {
            unreachable!("they are read first")
        }
    }
}

fn letter(number: u64) -> Acceptance {
    let address = Address::parse(&format!("n{number}@far.example")).unwrap();
    let to = OutboundRecipient {
        destination: address.domain().as_str().to_owned(),
        address: address.into(),
        notify: Notify::Never,
        original: None,
    };
    let outbound = Outbound {
        message: message(number, &[]),
        sender: ReversePath::Address(Address::parse("ann@a.example").unwrap()),
        recipients: vec![to],
        options: EnvelopeOptions::default(),
        origin: Origin::Account(account(11).id),
        message_id: None,
        trace_id: format!("n{number}"),
        hold_until: None,
        repeat_key: None,
    };
    Acceptance { fan_out: Vec::new(), outbound: vec![outbound] }
}
