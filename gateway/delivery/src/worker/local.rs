//! Recipients of ours whose mail waited in the queue ([`LOCAL_DESTINATION`]): no connection, but a delivery into the
//! accounts that the address leads to now.
//!
//! The recipient is resolved again, since days may have passed. A repeated attempt finds what an earlier one delivered:
//! each account's delivery has a key, the sender's repeat key where the message has a Message-ID (so what came to the
//! account on another way counts too), otherwise that of the recipient's place in the queue. There is no final dot and
//! nothing uncertain: whoever does not know what became of a commit tries again.
//!
//! What the shard refuses for a time is the recipient's own trouble and counts as a retry; a store that does not answer
//! is ours and counts nothing. Domain quotas are looked at when the message comes in, not here.

use std::{sync::Arc, time::Duration};

use securanet_gateway::{
    deposit,
    model::{
        Address, Command, GroupId, Reply, ReversePath, StoreError, TenantId,
        account::AccountRefusal,
        content::Ingested,
        delivery::{
            Deliver, DeliverReply, DeliverTo, Delivered, FanOut, FanOutTarget, QueueCommand, QueueReply, QuotaRule,
        },
        directory::{Destinations, DirectoryAnswer, DirectoryQuery, LocalRecipient, Onward, Resolution},
        limits,
        outbound::{LOCAL_DESTINATION, Outcome, Taken},
        policy::Scope,
    },
    store::Content,
};
use tokio::time::{Instant, timeout};

use super::{
    Core,
    attempt::{OUR_FAULT_SECONDS, too_late},
    destination::{Load, SessionEnd},
    letter::{self, Letter, Verdict, ours},
    onward::Sent,
};

/// One recipient: its questions, its content, its commit.
const PATIENCE: Duration = Duration::from_millis(2 * limits::COMMIT_TIMEOUT_MILLIS);
/// An account that its shard does not know as the directory has it is on its way, or the directory's answer was old.
const MOVING_SECONDS: u32 = 5;
/// Octets read at a time.
const PIECE_OCTETS: u64 = 64 * 1024;
/// Our Received field ends within this.
const TRACE_OCTETS_MAX: u64 = 4096;
const OVER_QUOTA_POLICY: &str = "smtp.over_quota_reply";

/// Delivers a first letter and those that follow it; the scheduler is told the end.
pub(crate) async fn run(core: Arc<Core>, name: Arc<str>, first: Load<Letter>) {
    let mut next = Some(first);
    while let Some(load) = next.take() {
        carry(&core, load.letter).await;
        core.scheduler.lock().succeeded(Instant::now(), &name);
        core.work.notify_one();
        if !core.shutdown.is_draining() {
            next = core.scheduler.lock().more(Instant::now(), &name);
        }
    }
    core.session_ended(&name, SessionEnd::Peace, &letter::not_tried(1, "the worker stops")).await;
}

/// Whether this is where mail for mailboxes of ours waits.
pub(crate) fn is_local(name: &str) -> bool {
    name == LOCAL_DESTINATION
}

async fn carry(core: &Core, letter: Letter) {
    let began = Instant::now();
    if !letter.lease.is_living() {
        return;
    }
    if core.shutdown.is_draining() {
        return letter.settle_all(began, &letter::not_tried(1, "the server is shutting down")).await;
    }
    if let Some(verdict) = too_late(&letter) {
        return letter.settle_all(began, &verdict).await;
    }
    let mut verdicts = Vec::with_capacity(letter.recipients.len());
    let mut delivery = Delivery { core, letter: &letter, messages: Vec::new() };
    for taken in &letter.recipients {
        let verdict = match timeout(PATIENCE, delivery.deliver(taken)).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(error)) => letter::not_tried(OUR_FAULT_SECONDS, error.to_string()),
            Err(_) => letter::not_tried(OUR_FAULT_SECONDS, "the store did not answer in time"),
        };
        verdicts.push(Some(verdict));
    }
    letter.settle(began, verdicts).await.done();
}

/// Whom an address leads to.
pub(super) struct Found {
    accounts: Vec<LocalRecipient>,
    /// Those outside whom its mail is sent on to.
    pub(super) onward: Vec<Onward>,
    /// The sender of a full mailbox hears of it: the address leads to one account, and is nobody's duty to have.
    quota: QuotaRule,
}

impl Found {
    /// Whether it leads to one place only.
    pub(super) fn is_one(&self) -> bool {
        self.accounts.len() + self.onward.len() == 1
    }
}

/// The letter's message on its way into accounts.
pub(super) struct Delivery<'a> {
    pub(super) core: &'a Core,
    pub(super) letter: &'a Letter,
    /// The content, put once for each organisation.
    messages: Vec<(TenantId, Ingested)>,
}

impl Delivery<'_> {
    async fn deliver(&mut self, taken: &Taken) -> Result<Verdict, StoreError> {
        let Some(address) = taken.recipient.address.named() else {
            return Ok(refused((5, 1, 2), "a host without a name has no mailboxes here"));
        };
        let found = match self.find(address).await? {
            Ok(found) => found,
            Err(verdict) => return Ok(verdict),
        };
        let mut tenants: Vec<TenantId> = found.accounts.iter().map(|account| account.tenant).collect();
        tenants.sort_unstable();
        tenants.dedup();
        for tenant in tenants {
            let verdict = self.deliver_to(taken, &found, tenant).await?;
            if !verdict.outcome.is_success() {
                return Ok(verdict);
            }
        }
        // Last: what goes on does so once, however often a full mailbox is tried.
        match self.send_on(taken, &found).await? {
            Sent::Later(verdict) => Ok(verdict),
            Sent::Nowhere if found.accounts.is_empty() => {
                Ok(refused((5, 4, 6), "the message goes round in circles: the address has sent it on before"))
            }
            Sent::On => Ok(sent_on(&found)),
            Sent::Nowhere => Ok(delivered()),
        }
    }

    /// Whom the address leads to now, or why it leads to nobody.
    async fn find(&self, address: &Address) -> Result<Result<Found, Verdict>, StoreError> {
        let local = address.local();
        let is_role = local.eq_ignore_ascii_case("postmaster") || local.eq_ignore_ascii_case("abuse");
        let Destinations { accounts, onward } = match self.resolve(DirectoryQuery::Resolve(address.clone())).await? {
            Resolution::Local(found) => found,
            Resolution::Unknown | Resolution::Suspended if is_role => {
                match self.resolve(DirectoryQuery::ResolvePostmaster).await? {
                    Resolution::Local(found) => found,
                    Resolution::TooMany(at) => return Ok(Err(too_many(address, &at))),
                    _ => return Ok(Err(letter::not_tried(OUR_FAULT_SECONDS, "nobody is postmaster here"))),
                }
            }
            Resolution::TooMany(at) => return Ok(Err(too_many(address, &at))),
            Resolution::Unknown => return Ok(Err(refused((5, 1, 1), "there is no such mailbox here any more"))),
            Resolution::Suspended => return Ok(Err(refused((5, 2, 1), "the mailbox was disabled"))),
            Resolution::Foreign => return Ok(Err(refused((5, 1, 2), "the domain is not served here any more"))),
        };
        let by_itself = accounts.len() == 1 && onward.iter().all(|onward| onward.by == accounts[0].address);
        let quota = if by_itself && !is_role { QuotaRule::Enforced } else { QuotaRule::Admitted };
        Ok(Ok(Found { accounts, onward, quota }))
    }

    async fn resolve(&self, query: DirectoryQuery) -> Result<Resolution, StoreError> {
        self.core.client.resolve(query, |found| matches!(found, Resolution::Local(_))).await
    }

    /// Delivers to the accounts of one organisation.
    async fn deliver_to(&mut self, taken: &Taken, found: &Found, tenant: TenantId) -> Result<Verdict, StoreError> {
        let ingested = self.message(tenant).await?;
        let (sender, queue) = (&self.letter.head.view.sender, self.letter.handle.group);
        let mut targets: Vec<FanOutTarget> = Vec::new();
        for account in found.accounts.iter().filter(|account| account.tenant == tenant) {
            let key = deposit::repeat_key(&ingested, sender, account.account)
                .unwrap_or_else(|| deposit::waiting_key(queue, taken.place, account.account));
            // RFC 5321 3.9.2, as when mail is put into mailboxes at once.
            let owner = account.list_owner.clone().filter(|_| *sender != ReversePath::Null).map(ReversePath::Address);
            let prefix = deposit::recipient_prefix(owner.as_ref().unwrap_or(sender), &taken.recipient.address);
            let to = deposit::deliver_to(account, &prefix, Some(key));
            match targets.iter_mut().find(|target| target.group == account.group) {
                Some(target) => target.to.push(to),
                None => targets.push(FanOutTarget { group: account.group, to: vec![to] }),
            }
        }
        match <[FanOutTarget; 1]>::try_from(targets) {
            Ok([FanOutTarget { group, to }]) => self.to_one_group(group, to, ingested, found).await,
            Err(targets) => {
                let fan_out = FanOut { message: ingested.message, sender: sender.clone(), targets };
                self.to_several(queue, fan_out).await
            }
        }
    }

    async fn to_one_group(
        &self,
        group: GroupId,
        to: Vec<DeliverTo>,
        ingested: Ingested,
        found: &Found,
    ) -> Result<Verdict, StoreError> {
        let deliver = Deliver { key: None, message: ingested.message, to, quota: found.quota };
        let outcomes = match self.commit(group, Command::Deliver(deliver)).await? {
            Reply::Deliver(DeliverReply::Outcomes(outcomes)) => outcomes,
            other => return Err(out_of_turn(&other)),
        };
        let refusal = outcomes.into_iter().find_map(|outcome| match outcome {
            Delivered::Stored { .. } | Delivered::Repeat => None,
            Delivered::Refused(refusal) => Some(refusal),
        });
        match refusal {
            None => Ok(delivered()),
            Some(AccountRefusal::OverQuota) => self.over_quota(found).await,
            Some(AccountRefusal::NoAccount | AccountRefusal::WrongEpoch(_)) => {
                Ok(letter::not_tried(MOVING_SECONDS, "the mailbox is moving"))
            }
            Some(other) => Ok(ours(Outcome::TemporaryAnswer, (4, 2, 0), other.to_string())),
        }
    }

    async fn to_several(&self, queue: GroupId, fan_out: FanOut) -> Result<Verdict, StoreError> {
        match self.commit(queue, Command::Queue(QueueCommand::FanOut(fan_out))).await? {
            Reply::Queue(QueueReply::Queued(_)) => Ok(delivered()),
            Reply::Queue(QueueReply::WindowFull(group)) => Ok(window_full(group)),
            other => Err(out_of_turn(&other)),
        }
    }

    pub(super) async fn commit(&self, group: GroupId, command: Command) -> Result<Reply, StoreError> {
        let replies = self.core.client.execute(group, vec![command]).await?.replies;
        replies.into_iter().next().ok_or_else(|| StoreError::Internal("a reply is missing".to_owned()))
    }

    /// A full mailbox: tried again or not, as policy says of RCPT too.
    async fn over_quota(&self, found: &Found) -> Result<Verdict, StoreError> {
        let Some(account) = found.accounts.first() else { return Err(out_of_turn(&"nobody is over quota")) };
        let query = DirectoryQuery::Policy(OVER_QUOTA_POLICY.to_owned(), Scope::Account(account.account));
        let permanent = match self.core.client.look_up(query).await? {
            DirectoryAnswer::Policy(value) => value.is_some_and(|(value, _)| value == "552"),
            other => return Err(out_of_turn(&other)),
        };
        let outcome = if permanent { Outcome::Permanent } else { Outcome::TemporaryAnswer };
        Ok(ours(outcome, (if permanent { 5 } else { 4 }, 2, 2), "the mailbox is full"))
    }

    /// The letter's message as content of this organisation.
    pub(super) async fn message(&mut self, tenant: TenantId) -> Result<Ingested, StoreError> {
        if let Some((_, known)) = self.messages.iter().find(|(of, _)| *of == tenant)
            && known.lease_until > self.core.now()
        {
            return Ok(known.clone());
        }
        let store = self.core.client.store();
        let content = store.open_outbound(self.letter.handle.group, self.letter.head.view.item).await?;
        let ingested = self.put(tenant, &*content).await?;
        self.messages.retain(|(of, _)| *of != tenant);
        self.messages.push((tenant, ingested.clone()));
        Ok(ingested)
    }

    /// Puts the content with our Received field as its trace, as it was put when it came: so it has the same keys.
    async fn put(&self, tenant: TenantId, content: &dyn Content) -> Result<Ingested, StoreError> {
        let size = content.size_bytes();
        let start = content.read(0..size.min(TRACE_OCTETS_MAX)).await?;
        let trace = &start[..trace_octets(&start)];
        let mut at = trace.len() as u64;
        let mut sink = self.core.client.store().put(tenant, trace.to_vec(), Some(size - at)).await?;
        while at < size {
            let end = size.min(at + PIECE_OCTETS);
            sink.write(&content.read(at..end).await?).await?;
            at = end;
        }
        sink.finish().await
    }
}

/// Octets of the Received field that a message begins with; 0 where it begins with something else.
fn trace_octets(start: &[u8]) -> usize {
    if !start.starts_with(b"Received:") {
        return 0;
    }
    let ends = memchr::memchr_iter(b'\n', start).map(|at| at + 1);
    ends.into_iter().find(|&end| !matches!(start.get(end), None | Some(b' ' | b'\t'))).unwrap_or(0)
}

pub(super) fn window_full(group: GroupId) -> Verdict {
    letter::not_tried(OUR_FAULT_SECONDS, format!("too much mail is on its way to group {group}"))
}

fn delivered() -> Verdict {
    ours(Outcome::Delivered { notifies: false }, (2, 0, 0), "put into the mailbox")
}

/// What is told of a success with those outside whom the address leads to. RFC 3461 5.2.7.1: of one, the next server
/// tells. 5.2.7.3: a list with an owner has its mail when it is given to the list. 5.2.7.2: any other address that leads
/// to several has expanded.
fn sent_on(found: &Found) -> Verdict {
    let (outcome, what) = if found.onward.iter().all(|to| to.through_list) {
        (Outcome::Delivered { notifies: false }, "given to the list")
    } else if found.is_one() {
        (Outcome::Delivered { notifies: true }, "sent on")
    } else {
        (Outcome::Expanded, "sent on to several")
    };
    ours(outcome, (2, 0, 0), what)
}

fn refused(status: (u8, u16, u16), why: &str) -> Verdict {
    ours(Outcome::Permanent, status, why)
}

/// Tried again for as long as mail is: somebody may put it right.
fn too_many(address: &Address, at: &Address) -> Verdict {
    tracing::error!(%address, %at, "leads to more than mail can be put to at once: see what members and catch-alls there lead to");
    ours(Outcome::TemporaryAnswer, (4, 3, 5), format!("{address} leads to too many recipients, at {at}"))
}

pub(super) fn out_of_turn(what: &impl std::fmt::Debug) -> StoreError {
    StoreError::Internal(format!("the store answered out of turn: {what:?}"))
}

#[cfg(test)]
mod tests {
    use super::trace_octets;

    #[test]
    fn the_trace_is_the_first_received_field_with_its_continuations() {
        let cases = [
            ("Received: a\r\n\tb;\r\n c\r\nFrom: x\r\n", 22),
            ("Received: a\r\n\r\nbody", 13),
            ("Received: a\r\nReceived: b\r\n", 13),
            ("From: x\r\nReceived: a\r\n", 0),
            ("Received: a\r\n\tb", 0),
            ("", 0),
        ];
        for (start, octets) in cases {
            assert_eq!(trace_octets(start.as_bytes()), octets, "{start:?}");
        }
    }
}
