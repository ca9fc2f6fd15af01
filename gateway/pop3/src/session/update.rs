//! UPDATE (RFC 1939 6): what was marked is deleted, in one commit, and the lock is given back with it.

use std::sync::Arc;

use securanet_gateway::{
    client::AccountPlace,
    model::{
        Command, MailboxId, Reply as StoreReply, StoreError,
        account::{AccountCommand, AccountReply, UidSet},
    },
};

use super::{End, Link, Pop3};
use crate::{
    lease::Lease,
    metric,
    reply::{Code, Reply},
};

/// A client that has said QUIT.
pub(super) struct Update {
    pop3: Arc<Pop3>,
    link: Link,
    place: AccountPlace,
    mailbox: MailboxId,
    marked: UidSet,
    lease: Lease,
}

impl Update {
    pub(super) const fn new(
        pop3: Arc<Pop3>,
        link: Link,
        place: AccountPlace,
        mailbox: MailboxId,
        marked: UidSet,
        lease: Lease,
    ) -> Self {
        Self { pop3, link, place, mailbox, marked, lease }
    }

    /// Deletes, answers, ends. `+OK` is written only after the commit.
    pub(super) async fn run(mut self) -> End {
        let reply = if self.marked.is_empty() { self.unlock().await } else { self.delete().await };
        let sent = self.link.reply(&reply).await;
        self.link.close(sent.err().unwrap_or(End::Quit)).await
    }

    /// Nothing is to be kept safe here, so that nothing can fail for the client.
    async fn unlock(&mut self) -> Reply {
        if let Err(error) = self.pop3.client.account(self.place, self.lease.unlock()).await {
            tracing::debug!(%error, "maildrop lock not given back: it ends by itself");
        }
        Reply::ok("goodbye")
    }

    async fn delete(&mut self) -> Reply {
        if let Err(error) = self.lease.keep().await {
            tracing::info!(%error, "maildrop lost before its deletions");
            return Reply::err(Some(Code::InUse), "the maildrop is another session's: nothing deleted");
        }
        match self.commit().await {
            Ok(deleted) => {
                metric::deleted(deleted as u64);
                tracing::info!(deleted, "messages deleted");
                Reply::ok(format_args!("{deleted} messages deleted, goodbye"))
            }
            Err(error) => {
                tracing::warn!(%error, "messages not deleted");
                Reply::err(Some(Code::SysTemp), "deletion not confirmed: some messages may be left")
            }
        }
    }

    async fn commit(&self) -> Result<usize, StoreError> {
        let uids = self.marked.clone();
        let expunge = AccountCommand::Expunge { mailbox: self.mailbox, uids, deleted_only: false };
        let commands = [expunge, self.lease.unlock()].map(|command| Command::Account(self.place.account, command));
        let executed = self.pop3.client.execute(self.place.group, commands.into()).await?;
        match executed.replies.into_iter().next() {
            Some(StoreReply::Account(AccountReply::Expunged(gone))) => Ok(gone.len()),
            other => Err(StoreError::Unavailable(format!("the shard answered {other:?}"))),
        }
    }
}
