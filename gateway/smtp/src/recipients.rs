//! Who gets mail for an address, decided at RCPT: the earlier a refusal, the fewer bounces in the world.
//!
//! | found | reply |
//! |---|---|
//! | no such mailbox | 550 5.1.1 |
//! | not our domain, and nobody submits: no relaying, by construction | 550 5.7.1 |
//! | not our domain, and the device that submits may not send there | 550 5.7.1 |
//! | a host without a name, for who submits; unless policy `submission.address_literals` is `send` | 550 5.1.2 |
//! | a rewritten sender ([`Srs`]) that we did not make, or too long ago | 550 5.1.1 |
//! | a rewritten sender, for mail that is no bounce | 550 5.7.1 |
//! | suspended | 550 5.2.1 |
//! | account or domain full | 452 4.2.2 or 552 5.2.2, policy `smtp.over_quota_reply` |
//! | it leads to more than one message can go to, or too deep | 451 4.3.5 |
//! | the store does not answer | 451 4.3.0 |
//!
//! `postmaster` (with or without a domain) and `abuse` are accepted whatever the directory says of them; when nobody
//! has the address it goes to the cluster's postmaster (RFC 5321 4.5.1, RFC 2142 4). What an address of ours sends on
//! gets its sender here: a list's owner (RFC 5321 3.9.2), the same one where that is ours, else a rewritten one. A
//! bounce to a rewritten one goes back to whom it was made of. Quotas are looked at only where
//! an address leads to one account: of a full member of a list the sender could not be told.

use std::{sync::Arc, time::Duration};

use securanet_gateway::{
    client::{AccountPlace, StoreClient},
    clock,
    model::{
        Address, GroupId, LiteralAddress, RecipientAddress, ReversePath, StoreError, TenantId,
        account::{AccountAnswer, AccountQuery, AccountRef, QuotaUsage},
        directory::{Destinations, DirectoryAnswer, DirectoryQuery, Domain, LocalRecipient, Onward, Resolution},
        limits,
        outbound::Notify,
        policy::Scope,
        request::Topic,
    },
    srs::Srs,
};
use tokio::sync::OnceCell;

use crate::{
    envelope::{Accepted, SentOn},
    grammar::{ForwardPath, MailFrom, RcptTo, Reply},
    memory::Memory,
    refusal,
    rooms::{self, DomainRooms},
    submission::submitter::{Submitter, Who},
};

/// All questions about one recipient together; longer than any failover takes.
const TIMEOUT: Duration = Duration::from_millis(limits::COMMIT_TIMEOUT_MILLIS);
/// Asking for a policy: without it the reply is temporary, so it need not be waited for long.
const POLICY_TIMEOUT: Duration = Duration::from_secs(5);
const OVER_QUOTA_POLICY: &str = "smtp.over_quota_reply";
const SUCCESS_REPORTS_POLICY: &str = "smtp.success_reports";
const LITERALS_POLICY: &str = "submission.address_literals";

/// Asks the directory and the shards about recipients.
pub(crate) struct Recipients {
    store: StoreClient,
    memory: Memory,
    rooms: DomainRooms,
    cluster: OnceCell<Fixed>,
}

/// What never changes of a cluster.
struct Fixed {
    srs: Srs,
    shards: u32,
}

impl Recipients {
    pub(crate) fn new(store: StoreClient) -> Self {
        let memory = Memory::new(store.store().watch(Topic::Directory));
        Self { rooms: DomainRooms::new(store.clone()), memory, store, cluster: OnceCell::new() }
    }

    /// Begins to watch what domains use.
    pub(crate) fn start(&self) {
        self.rooms.start();
    }

    /// A shard did not know an account as the directory's answer had it.
    pub(crate) fn forget(&self) {
        self.memory.forget();
    }

    /// Who gets the mail; `mail` is the envelope's sender with what was announced.
    ///
    /// # Errors
    /// The reply that refuses the recipient.
    pub(crate) async fn admit(
        &self,
        rcpt: &RcptTo,
        mail: &MailFrom,
        submitter: Option<&Submitter>,
    ) -> Result<Accepted, Reply> {
        let decision = self.decide(&rcpt.recipient, mail, submitter);
        match tokio::time::timeout(TIMEOUT, decision).await {
            Ok(Ok(decision)) => decision,
            Ok(Err(error)) => {
                tracing::warn!(%error, recipient = %rcpt.recipient, "recipient could not be looked up");
                Err(refusal::of_store(&error))
            }
            Err(_) => Err(refusal::no_commit()),
        }
    }

    /// What the client asks to be told of, as far as policy lets it: of successes a stranger may hear nothing, from us
    /// or from a server that the mail is sent on to. Failures are told in any case.
    pub(crate) async fn may_hear(&self, notify: Notify, submitter: Option<&Submitter>) -> Notify {
        if submitter.is_some() || !matches!(notify, Notify::On { success: true, .. }) {
            return notify;
        }
        let query = DirectoryQuery::Policy(SUCCESS_REPORTS_POLICY.to_owned(), Scope::Cluster);
        match tokio::time::timeout(POLICY_TIMEOUT, self.store.look_up(query)).await {
            Ok(Ok(DirectoryAnswer::Policy(Some((value, _))))) if value == "true" => notify,
            // Not to know is no reason to tell what an administrator may not want told.
            _ => notify.without_success(),
        }
    }

    async fn decide(
        &self,
        recipient: &ForwardPath,
        mail: &MailFrom,
        submitter: Option<&Submitter>,
    ) -> Result<Result<Accepted, Reply>, StoreError> {
        let address = match recipient {
            ForwardPath::Address(address) => address,
            ForwardPath::Postmaster => return self.postmaster(&mail.sender).await,
            ForwardPath::Literal(address) => return self.literal(address, submitter).await,
        };
        if Srs::is_rewritten(address)
            && let Some(domain) = self.domain(address).await?
        {
            return self.way_back(address, domain.tenant, mail).await;
        }
        let resolution = self.resolve(address, submitter.is_some()).await?;
        match resolution.as_ref() {
            Resolution::Foreign => Ok(outside(address, submitter)),
            resolution => self.inside(address, resolution, mail, submitter.is_some()).await,
        }
    }

    /// An address of ours.
    async fn inside(
        &self,
        address: &Address,
        resolution: &Resolution,
        mail: &MailFrom,
        submitted: bool,
    ) -> Result<Result<Accepted, Reply>, StoreError> {
        let role = is_role(address);
        let found = match resolution {
            Resolution::Foreign => return Ok(Err(no_relay())),
            Resolution::Unknown | Resolution::Suspended if role => return self.postmaster(&mail.sender).await,
            Resolution::Unknown => return Ok(Err(Reply::new(550, (1, 1), "no such mailbox here"))),
            Resolution::Suspended => return Ok(Err(Reply::new(550, (2, 1), "mailbox is disabled"))),
            Resolution::TooMany(at) => return Ok(Err(too_many_places(&address.to_string(), at))),
            Resolution::Local(found) => found.clone(),
        };
        if let ([account], false) = (found.accounts.as_slice(), role)
            && found.onward.iter().all(|onward| onward.by == account.address)
            && !self.has_room(account, mail.size_octets.unwrap_or(0)).await?
        {
            return Ok(Err(self.over_quota(account).await));
        }
        self.local(found, role, &mail.sender, submitted).await.map(Ok)
    }

    async fn local(
        &self,
        found: Destinations,
        role: bool,
        sender: &ReversePath,
        submitted: bool,
    ) -> Result<Accepted, StoreError> {
        let Destinations { accounts, onward } = found;
        Ok(Accepted::Local { accounts, onward: self.sent_on(onward, sender, submitted).await?, role })
    }

    /// A host without a name (RFC 5321 4.1.3), for who submits and as its policy says.
    async fn literal(
        &self,
        address: &LiteralAddress,
        submitter: Option<&Submitter>,
    ) -> Result<Result<Accepted, Reply>, StoreError> {
        let scope = match submitter.map(|submitter| &submitter.who) {
            None => return Ok(Err(no_relay())),
            Some(Who::Account(account)) => Scope::Account(account.id),
            Some(Who::Device { grant, .. }) if !grant.may_send_to_literals() => return Ok(Err(not_for_devices())),
            Some(Who::Device { sender, .. }) => {
                self.domain(sender).await?.map_or(Scope::Cluster, |domain| Scope::Domain(domain.id))
            }
        };
        match self.store.look_up(DirectoryQuery::Policy(LITERALS_POLICY.to_owned(), scope)).await? {
            DirectoryAnswer::Policy(Some((value, _))) if value == "send" => {
                Ok(Ok(Accepted::Outside { destination: RecipientAddress::from(address.clone()).host() }))
            }
            DirectoryAnswer::Policy(_) => {
                Ok(Err(Reply::new(550, (1, 2), "hosts without a name are not sent to: give a domain")))
            }
            other => Err(StoreError::Internal(format!("not a policy: {other:?}"))),
        }
    }

    /// The senders of mail that is sent on. One of ours stays where it was checked; a stranger who names one is a stranger.
    async fn sent_on(
        &self,
        onward: Vec<Onward>,
        sender: &ReversePath,
        submitted: bool,
    ) -> Result<Vec<SentOn>, StoreError> {
        if onward.is_empty() {
            return Ok(Vec::new());
        }
        let ours = match sender {
            ReversePath::Address(address) if submitted => self.domain(address).await?.is_some(),
            ReversePath::Address(_) | ReversePath::Null | ReversePath::Literal(_) => false,
        };
        let (srs, now) = (&self.cluster().await?.srs, clock::now());
        let sent_on = onward.into_iter().map(|onward| SentOn {
            sender: srs.sent_on(&onward, sender, ours, now),
            to: onward.address,
            by: onward.by,
            tenant: onward.tenant,
            group: onward.group,
            through_list: onward.through_list,
        });
        Ok(sent_on.collect())
    }

    /// A bounce of what was sent on goes to whom it came from.
    async fn way_back(
        &self,
        address: &Address,
        tenant: TenantId,
        mail: &MailFrom,
    ) -> Result<Result<Accepted, Reply>, StoreError> {
        if mail.sender != ReversePath::Null {
            return Ok(Err(Reply::new(550, (7, 1), "only bounces are for this address: write to the sender itself")));
        }
        let fixed = self.cluster().await?;
        let sender = match fixed.srs.restore(address, clock::now()) {
            Ok(sender) => sender,
            Err(error) => return Ok(Err(Reply::new(550, (1, 1), format!("no such mailbox here: {error}")))),
        };
        let resolution = self.resolve(&sender, true).await?;
        if *resolution != Resolution::Foreign {
            return self.inside(&sender, &resolution, mail, false).await;
        }
        let group = shard_of(&sender, fixed.shards);
        let back =
            SentOn { to: sender, sender: ReversePath::Null, by: address.clone(), tenant, group, through_list: false };
        Ok(Ok(Accepted::Local { accounts: Vec::new(), onward: vec![back], role: true }))
    }

    /// The domain of an address, if it is ours.
    async fn domain(&self, address: &Address) -> Result<Option<Domain>, StoreError> {
        match self.store.look_up(DirectoryQuery::Domain(address.domain().clone())).await? {
            DirectoryAnswer::Domain(domain) => Ok(domain),
            other => Err(StoreError::Internal(format!("not a domain: {other:?}"))),
        }
    }

    async fn cluster(&self) -> Result<&Fixed, StoreError> {
        let ask = || async {
            match self.store.look_up(DirectoryQuery::Cluster).await? {
                DirectoryAnswer::Cluster(Some(cluster)) => {
                    Ok(Fixed { srs: Srs::new(&cluster.login_key), shards: cluster.shards })
                }
                other => Err(StoreError::Internal(format!("not the cluster: {other:?}"))),
            }
        };
        self.cluster.get_or_try_init(ask).await
    }

    async fn resolve(&self, address: &Address, submitted: bool) -> Result<Arc<Resolution>, StoreError> {
        let canonical = address.canonical();
        if let Some(resolution) = self.memory.resolution(&canonical) {
            return Ok(resolution);
        }
        let stamp = self.memory.stamp();
        // What lets nobody's mail in is asked for certain; whoever submits may send to others.
        let is_enough = |found: &Resolution| match found {
            Resolution::Local(_) => true,
            Resolution::Foreign => submitted,
            Resolution::Unknown | Resolution::Suspended | Resolution::TooMany(_) => false,
        };
        let resolution = Arc::new(self.store.resolve(DirectoryQuery::Resolve(address.clone()), is_enough).await?);
        self.memory.remember(canonical, stamp, &resolution);
        Ok(resolution)
    }

    async fn postmaster(&self, sender: &ReversePath) -> Result<Result<Accepted, Reply>, StoreError> {
        let is_enough = |found: &Resolution| matches!(found, Resolution::Local(_));
        match self.store.resolve(DirectoryQuery::ResolvePostmaster, is_enough).await? {
            Resolution::Local(found) => self.local(found, true, sender, false).await.map(Ok),
            Resolution::TooMany(at) => Ok(Err(too_many_places("postmaster", &at))),
            other => {
                tracing::error!(?other, "nobody gets postmaster's mail: create an account or alias postmaster");
                Ok(Err(Reply::new(451, (3, 5), "nobody is postmaster here yet")))
            }
        }
    }

    async fn has_room(&self, account: &LocalRecipient, octets: u64) -> Result<bool, StoreError> {
        if !self.rooms.fits(account.domain, octets) {
            return Ok(false);
        }
        if self.memory.is_unlimited(account.account) {
            return Ok(true);
        }
        let stamp = self.memory.stamp();
        let usage = self.usage(account, false).await?;
        if usage.quota.bytes_max.is_none() && usage.quota.messages_max.is_none() {
            self.memory.remember_unlimited(account.account, stamp);
        }
        let fits = |usage: &QuotaUsage| rooms::fits(&usage.quota, usage.bytes, usage.messages, octets);
        // Nobody is refused for what was expunged a moment ago.
        Ok(fits(&usage) || fits(&self.usage(account, true).await?))
    }

    /// What an account holds: for certain, or as the nearest replica knows it.
    async fn usage(&self, account: &LocalRecipient, certain: bool) -> Result<QuotaUsage, StoreError> {
        let id = AccountRef { id: account.account, epoch: account.epoch };
        let place = AccountPlace { group: account.group, account: id };
        let usage = if certain {
            self.store.ask_account(place, AccountQuery::Quota).await?
        } else {
            self.store.look_at_account(place, AccountQuery::Quota).await?
        };
        match usage {
            AccountAnswer::Quota(usage) => Ok(usage),
            AccountAnswer::Refused(refusal) => {
                self.memory.forget();
                Err(StoreError::Unavailable(format!("account {}: {refusal}", account.account)))
            }
            other => Err(StoreError::Internal(format!("not a quota: {other:?}"))),
        }
    }

    /// What the sender of a message for a full account is told.
    pub(crate) async fn over_quota(&self, account: &LocalRecipient) -> Reply {
        let query = DirectoryQuery::Policy(OVER_QUOTA_POLICY.to_owned(), Scope::Account(account.account));
        let permanent = match tokio::time::timeout(POLICY_TIMEOUT, self.store.look_up(query)).await {
            Ok(Ok(DirectoryAnswer::Policy(Some((value, _))))) => value == "552",
            // Not to know is no reason to bounce.
            _ => false,
        };
        Reply::new(if permanent { 552 } else { 452 }, (2, 2), "mailbox is full")
    }
}

/// What has no account waits in a shard that its address picks.
fn shard_of(address: &Address, shards: u32) -> GroupId {
    let mut first = [0; 4];
    first.copy_from_slice(&blake3::hash(address.canonical().as_bytes()).as_bytes()[..4]);
    GroupId::new(1 + u32::from_be_bytes(first) % shards.max(1))
}

fn is_role(address: &Address) -> bool {
    address.local().eq_ignore_ascii_case("postmaster") || address.local().eq_ignore_ascii_case("abuse")
}

/// A recipient in the world, for who may send there. A domain name is canonical: A-labels in lower case.
fn outside(address: &Address, submitter: Option<&Submitter>) -> Result<Accepted, Reply> {
    match submitter.map(|submitter| &submitter.who) {
        None => return Err(no_relay()),
        Some(Who::Account(_)) => {}
        Some(Who::Device { grant, .. }) if grant.may_send_to(address.domain()) => {}
        Some(Who::Device { .. }) => return Err(not_for_devices()),
    }
    Ok(Accepted::Outside { destination: address.domain().as_str().to_owned() })
}

/// Rather no mail at all than some members who get none: what is wrong is ours to put right.
fn too_many_places(recipient: &str, at: &Address) -> Reply {
    tracing::error!(
        recipient,
        %at,
        "mail is refused for a time: the recipient leads to more members than mail can be put to at once, or too deep; \
         see what members of the address named here lead to, and the catch-alls of their domains"
    );
    Reply::new(451, (3, 5), "this address leads to too many recipients: its administrator has been told, try later")
}

fn not_for_devices() -> Reply {
    Reply::new(550, (7, 1), "devices here may not send to that domain")
}

fn no_relay() -> Reply {
    Reply::new(550, (7, 1), "not a domain of ours: no relaying")
}
