//! Typed access to a [`Store`]: the right group, a fresh request id, a deadline, the tries, and the one reply.

use std::{sync::Arc, time::Duration};

use securanet_model::{
    Answer, Command, Execute, GroupId, Query, Reply, RequestId, StoreError,
    account::{AccountAnswer, AccountCommand, AccountQuery, AccountRef, AccountReply},
    delivery::{QueueAnswer, QueueCommand, QueueQuery, QueueReply},
    directory::{DirectoryAnswer, DirectoryCommand, DirectoryQuery, DirectoryReply},
    limits,
};

use crate::{
    clock,
    store::{Executed, Store},
};

/// Pause between two tries of a request that could not be committed.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// A handle on the store for protocol code. Cheap to clone.
#[derive(Clone)]
pub struct StoreClient {
    store: Arc<dyn Store>,
}

/// An account as a session knows it: where it is and who it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccountPlace {
    /// Its shard.
    pub group: GroupId,
    /// Its id and epoch.
    pub account: AccountRef,
}

impl StoreClient {
    /// Wraps a store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The store itself: content, watches, `accepting`.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Commits commands to one group; tries again with the same request id until the commit timeout.
    ///
    /// # Errors
    /// [`StoreError`] of the last try.
    pub async fn execute(&self, group: GroupId, commands: Vec<Command>) -> Result<Executed, StoreError> {
        let deadline = clock::now().plus_millis(limits::COMMIT_TIMEOUT_MILLIS);
        let request = Execute { group, request: request_id(), deadline, commands };
        loop {
            match self.store.execute(request.clone()).await {
                Err(StoreError::Unavailable(_)) if clock::now().plus_millis(1000) < deadline => {
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
                done => return done,
            }
        }
    }

    async fn execute_one(&self, group: GroupId, command: Command) -> Result<Reply, StoreError> {
        let mut executed = self.execute(group, vec![command]).await?;
        match executed.replies.pop() {
            Some(Reply::Unknown) => Err(StoreError::Unavailable("the outcome is not known".to_owned())),
            Some(reply) => Ok(reply),
            None => Err(unexpected("no reply")),
        }
    }

    /// Changes one account.
    ///
    /// # Errors
    /// [`StoreError`]; a refusal is a reply, not an error.
    pub async fn account(&self, place: AccountPlace, command: AccountCommand) -> Result<AccountReply, StoreError> {
        match self.execute_one(place.group, Command::Account(place.account, command)).await? {
            Reply::Account(reply) => Ok(reply),
            other => Err(unexpected(other)),
        }
    }

    /// Asks about one account.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ask_account(&self, place: AccountPlace, query: AccountQuery) -> Result<AccountAnswer, StoreError> {
        match self.store.query(place.group, Query::Account(place.account, query), None).await? {
            Answer::Account(answer) => Ok(answer),
            other => Err(unexpected(other)),
        }
    }

    /// Changes the directory.
    ///
    /// # Errors
    /// [`StoreError`]; a refusal is a reply, not an error.
    pub async fn directory(&self, command: DirectoryCommand) -> Result<DirectoryReply, StoreError> {
        match self.execute_one(GroupId::DIRECTORY, Command::Directory(command)).await? {
            Reply::Directory(reply) => Ok(reply),
            other => Err(unexpected(other)),
        }
    }

    /// Changes one group's part of the queue.
    ///
    /// # Errors
    /// [`StoreError`]; a refusal is a reply, not an error.
    pub async fn queue(&self, group: GroupId, command: QueueCommand) -> Result<QueueReply, StoreError> {
        match self.execute_one(group, Command::Queue(command)).await? {
            Reply::Queue(reply) => Ok(reply),
            other => Err(unexpected(other)),
        }
    }

    /// Asks about one group's part of the queue.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ask_queue(&self, group: GroupId, query: QueueQuery) -> Result<QueueAnswer, StoreError> {
        match self.store.query(group, Query::Queue(query), None).await? {
            Answer::Queue(answer) => Ok(answer),
            other => Err(unexpected(other)),
        }
    }

    /// Asks the directory.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ask_directory(&self, query: DirectoryQuery) -> Result<DirectoryAnswer, StoreError> {
        match self.store.query(GroupId::DIRECTORY, Query::Directory(query), None).await? {
            Answer::Directory(answer) => Ok(answer),
            other => Err(unexpected(other)),
        }
    }
}

/// A fresh request id.
#[must_use]
pub fn request_id() -> RequestId {
    RequestId::new(uuid::Uuid::now_v7().into_bytes())
}

fn unexpected(what: impl std::fmt::Debug) -> StoreError {
    StoreError::Internal(format!("the store answered out of turn: {what:?}"))
}
