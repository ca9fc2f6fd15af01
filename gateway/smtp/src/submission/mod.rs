//! Submission (RFC 6409): mail from people and devices of ours, into the world.
//!
//! Who submits is settled at MAIL ([`submitter`]): an account that has logged in, or a device that the directory grants
//! relaying to, by its network or its certificate; nobody else. How much is bounded per hour ([`limit`]). The message's header is
//! looked at and completed while it comes in ([`header`], [`completion`]); nothing but the header is ever held.

pub(crate) mod completion;
pub(crate) mod header;
mod limit;
pub(crate) mod submitter;

use std::{net::IpAddr, sync::Arc, time::Duration};

use securanet_gateway::{
    client::StoreClient,
    login::{Authenticator, Login},
    model::{
        Address, GroupId, ReversePath, StoreError, TenantId,
        directory::{DirectoryAnswer, DirectoryQuery},
        limits,
        outbound::Origin,
        sending::{CertificateDigest, RelayGrant, SenderRight},
    },
};
use tokio::{sync::OnceCell, time::Instant};

use self::{
    limit::{Limits, Subject},
    submitter::{Policies, Submitter, Who},
};
use crate::{envelope::Outlet, grammar::Reply, refusal};

/// All questions about one sender together; longer than any failover takes.
const TIMEOUT: Duration = Duration::from_millis(limits::COMMIT_TIMEOUT_MILLIS);

/// What all sessions of submission share.
pub(crate) struct Submission {
    pub(crate) authenticator: Arc<Authenticator>,
    store: StoreClient,
    limits: Limits,
    shards: OnceCell<u32>,
}

/// Where a client is, and what it proved of itself before it said anything.
pub(crate) struct Client {
    pub(crate) peer: IpAddr,
    /// The TLS certificate that it has the key of.
    pub(crate) certificate: Option<CertificateDigest>,
}

/// Why a sender is not admitted.
pub(crate) enum NotAdmitted {
    /// It must log in first: nothing grants it anything as it is.
    LogIn,
    /// For another reason.
    Because(Reply),
}

impl From<Reply> for NotAdmitted {
    fn from(reply: Reply) -> Self {
        Self::Because(reply)
    }
}

impl Submission {
    pub(crate) fn new(store: StoreClient, authenticator: Arc<Authenticator>) -> Self {
        Self { authenticator, store, limits: Limits::default(), shards: OnceCell::new() }
    }

    /// Who submits a message from this sender. Counts the message.
    ///
    /// # Errors
    /// [`NotAdmitted`]
    pub(crate) async fn admit(
        &self,
        login: Option<&Login>,
        client: &Client,
        sender: &ReversePath,
    ) -> Result<Submitter, NotAdmitted> {
        let admitted = async {
            match login {
                Some(login) => self.account(login, sender).await,
                None => self.device(client, sender).await,
            }
        };
        match tokio::time::timeout(TIMEOUT, admitted).await {
            Ok(Ok(admitted)) => admitted,
            Ok(Err(error)) => {
                tracing::warn!(%error, %sender, "sender could not be looked up");
                Err(refusal::of_store(&error).into())
            }
            Err(_) => Err(refusal::no_commit().into()),
        }
    }

    async fn account(&self, login: &Login, sender: &ReversePath) -> Result<Result<Submitter, NotAdmitted>, StoreError> {
        let account = Arc::clone(&login.account);
        let policies = Policies::of(&self.store, account.id).await?;
        let outlet = Outlet { group: login.place.group, tenant: account.tenant, origin: Origin::Account(account.id) };
        let mut submitter = Submitter::new(self.store.clone(), Who::Account(account), outlet, policies);
        match sender {
            // Whose it is its From says (RFC 8098 2.1: receipts have the null sender).
            ReversePath::Null => {}
            ReversePath::Address(address) => {
                if submitter.admit_sender(address).await? == SenderRight::Refused {
                    return Ok(Err(not_yours(address).into()));
                }
            }
            ReversePath::Literal(_) => return Ok(Err(not_yours(sender).into())),
        }
        let Who::Account(account) = &submitter.who else { return Ok(Ok(submitter)) };
        let limit = submitter.policies.messages_per_hour;
        if !self.limits.take(Subject::Messages(account.id), limit, Instant::now()) {
            return Ok(Err(too_much("messages").into()));
        }
        Ok(Ok(submitter))
    }

    async fn device(
        &self,
        client: &Client,
        sender: &ReversePath,
    ) -> Result<Result<Submitter, NotAdmitted>, StoreError> {
        let is_from = |grant: &RelayGrant| grant.is_from(client.peer, client.certificate.as_ref());
        let grants: Vec<RelayGrant> = self.relays().await?.into_iter().filter(is_from).collect();
        if grants.is_empty() {
            return Ok(Err(NotAdmitted::LogIn));
        }
        let ReversePath::Address(address) = sender else { return Ok(Err(not_yours(sender).into())) };
        let Some(grant) = grants.into_iter().find(|grant| grant.may_send_as(address)) else {
            return Ok(Err(not_yours(address).into()));
        };
        let Some(tenant) = self.tenant(address).await? else { return Ok(Err(not_yours(address).into())) };
        let outlet =
            Outlet { group: self.group(&grant.name).await?, tenant, origin: Origin::Relay(grant.name.clone()) };
        let policies = Policies::of_device();
        let who = Who::Device { grant: Arc::new(grant), sender: address.clone() };
        Ok(Ok(Submitter::new(self.store.clone(), who, outlet, policies)))
    }

    /// Counts one more recipient of a submitter.
    ///
    /// # Errors
    /// The reply, when there were too many.
    pub(crate) fn count_recipient(&self, submitter: &Submitter) -> Result<(), Reply> {
        let (subject, limit) = match &submitter.who {
            Who::Account(account) => (Subject::Recipients(account.id), submitter.policies.recipients_per_hour),
            Who::Device { grant, .. } => (Subject::Relay(grant.name.clone()), grant.recipients_per_hour.into()),
        };
        if self.limits.take(subject, limit, Instant::now()) { Ok(()) } else { Err(too_much("recipients")) }
    }

    async fn relays(&self) -> Result<Vec<RelayGrant>, StoreError> {
        match self.store.look_up(DirectoryQuery::RelayGrants).await? {
            DirectoryAnswer::RelayGrants(grants) => Ok(grants),
            other => Err(StoreError::Internal(format!("not relay grants: {other:?}"))),
        }
    }

    async fn tenant(&self, address: &Address) -> Result<Option<TenantId>, StoreError> {
        match self.store.look_up(DirectoryQuery::Domain(address.domain().clone())).await? {
            DirectoryAnswer::Domain(domain) => Ok(domain.map(|domain| domain.tenant)),
            other => Err(StoreError::Internal(format!("not a domain: {other:?}"))),
        }
    }

    /// Devices have no shard: each grant's mail waits in one that its name picks.
    async fn group(&self, name: &str) -> Result<GroupId, StoreError> {
        let shards = *self.shards.get_or_try_init(|| self.ask_shards()).await?;
        let hash = blake3::hash(name.as_bytes());
        let mut first = [0; 4];
        first.copy_from_slice(&hash.as_bytes()[..4]);
        Ok(GroupId::new(1 + u32::from_be_bytes(first) % shards.max(1)))
    }

    async fn ask_shards(&self) -> Result<u32, StoreError> {
        match self.store.look_up(DirectoryQuery::Cluster).await? {
            DirectoryAnswer::Cluster(Some(cluster)) => Ok(cluster.shards),
            other => Err(StoreError::Internal(format!("not the cluster: {other:?}"))),
        }
    }
}

/// RFC 6409 6.1: who sends as somebody else.
pub(crate) fn not_yours(address: impl std::fmt::Display) -> Reply {
    Reply::new(550, (7, 1), format!("you may not send as {address}"))
}

fn too_much(what: &str) -> Reply {
    Reply::new(450, (7, 1), format!("too many {what} in the last hour: try again later"))
}
