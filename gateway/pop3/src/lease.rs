//! The exclusive lock of a maildrop (RFC 1939 3), as a lease that only an active session keeps.
//!
//! The lock is a row in the account's shard with an end two minutes away. A session renews it, when less than
//! half of that is left, before it executes a command and between the pieces of a message that it sends. So
//! - a gateway that dies keeps a maildrop from its owner for two minutes at most, and
//! - so does a session whose client is gone without a word: it sends no commands, so it renews nothing. If the
//!   client was only slow and nobody else has come, its next command takes the lock again and all is well; if
//!   somebody else has, the session ends without deleting anything.
//!
//! The end is counted on this machine's monotonic clock from the moment before the shard was asked, less a
//! second, so that we never believe in a lease longer than the shard does.

use std::time::Duration;

use securanet_gateway::{
    client::{AccountPlace, StoreClient, request_id},
    clock,
    model::{
        RequestId, StoreError,
        account::{AccountCommand, AccountRefusal, AccountReply},
    },
};
use tokio::time::Instant;

const LEASE: Duration = Duration::from_secs(120);
const RENEW_BELOW: Duration = Duration::from_secs(60);
const SAFETY: Duration = Duration::from_secs(1);

/// Why a maildrop is not (any more) this session's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaseError {
    #[error("another session has it")]
    InUse,
    #[error("the account refuses it: {0}")]
    Refused(AccountRefusal),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A session's hold on its maildrop.
pub(crate) struct Lease {
    client: StoreClient,
    place: AccountPlace,
    session: RequestId,
    until: Instant,
}

impl Lease {
    /// Takes the lock.
    pub(crate) async fn take(client: StoreClient, place: AccountPlace) -> Result<Self, LeaseError> {
        let mut lease = Self { client, place, session: request_id(), until: Instant::now() };
        lease.renew().await?;
        Ok(lease)
    }

    /// Makes sure that the lock is held for some time; asks the shard only when it must.
    pub(crate) async fn keep(&mut self) -> Result<(), LeaseError> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left > RENEW_BELOW {
            return Ok(());
        }
        match self.renew().await {
            // It is still ours; the next command tries again.
            Err(LeaseError::Store(_)) if self.until > Instant::now() => Ok(()),
            outcome => outcome,
        }
    }

    /// The command that gives the lock back.
    pub(crate) const fn unlock(&self) -> AccountCommand {
        AccountCommand::UnlockMaildrop { session: self.session }
    }

    /// Gives the lock back without anything else. When that fails the lease ends by itself.
    pub(crate) async fn release(self) {
        if let Err(error) = self.client.account(self.place, self.unlock()).await {
            tracing::debug!(%error, "maildrop lock not given back: it ends by itself");
        }
    }

    async fn renew(&mut self) -> Result<(), LeaseError> {
        let asked = Instant::now();
        let until = clock::now().plus_millis(u64::try_from(LEASE.as_millis()).unwrap_or(u64::MAX));
        let command = AccountCommand::LockMaildrop { session: self.session, until };
        match self.client.account(self.place, command).await? {
            AccountReply::Done => {
                self.until = asked + LEASE - SAFETY;
                Ok(())
            }
            AccountReply::Refused(AccountRefusal::Locked) => Err(LeaseError::InUse),
            AccountReply::Refused(why) => Err(LeaseError::Refused(why)),
            other => Err(StoreError::Internal(format!("the shard answered a lock with {other:?}")).into()),
        }
    }
}
