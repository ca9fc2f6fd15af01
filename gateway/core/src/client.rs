//! Typed access to a [`Store`]: the right group, a fresh request id, a deadline, the tries, and the one reply.

use std::{sync::Arc, time::Duration};

use securanet_model::{
    Answer, Command, Execute, Freshness, GroupId, Query, Reply, RequestId, StoreError,
    account::{AccountAnswer, AccountCommand, AccountQuery, AccountRef, AccountReply},
    delivery::{QueueAnswer, QueueCommand, QueueQuery, QueueReply},
    directory::{DirectoryAnswer, DirectoryCommand, DirectoryQuery, DirectoryReply, Resolution},
    limits,
};

use crate::{
    clock,
    seen::Seen,
    store::{Answered, Executed, Store},
};

/// Pause between two tries of a request that could not be committed.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// A handle on the store for protocol code. Cheap to clone.
#[derive(Clone)]
pub struct StoreClient {
    store: Arc<dyn Store>,
    /// Of the session that it belongs to.
    seen: Option<Arc<Seen>>,
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
        Self { store, seen: None }
    }

    /// One for a session with an account. It answers from any replica that has what this session wrote and read before,
    /// and nearly always without asking another node.
    #[must_use]
    pub fn for_session(&self) -> Self {
        Self { store: self.store.clone(), seen: Some(Arc::default()) }
    }

    /// What is asked next about the session's account holds all that anybody was acknowledged before: a mailbox is opened.
    pub fn refresh(&self) {
        if let Some(seen) = &self.seen {
            seen.forget();
        }
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
                done => {
                    if let (Ok(executed), Some(seen)) = (&done, &self.seen) {
                        seen.changed(group, executed.index);
                    }
                    return done;
                }
            }
        }
    }

    async fn execute_one(&self, group: GroupId, command: Command) -> Result<(Reply, u64), StoreError> {
        let mut executed = self.execute(group, vec![command]).await?;
        match executed.replies.pop() {
            Some(Reply::Unknown) => Err(StoreError::Unavailable("the outcome is not known".to_owned())),
            Some(reply) => Ok((reply, executed.index)),
            None => Err(unexpected("no reply")),
        }
    }

    /// Changes one account.
    ///
    /// # Errors
    /// [`StoreError`]; a refusal is a reply, not an error.
    pub async fn account(&self, place: AccountPlace, command: AccountCommand) -> Result<AccountReply, StoreError> {
        match self.execute_one(place.group, Command::Account(place.account, command)).await? {
            (Reply::Account(reply), index) => {
                // A change comes after all that was acknowledged before it.
                if let Some(seen) = &self.seen {
                    seen.saw(place, index);
                }
                Ok(reply)
            }
            (other, _) => Err(unexpected(other)),
        }
    }

    /// Asks about one account.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ask_account(&self, place: AccountPlace, query: AccountQuery) -> Result<AccountAnswer, StoreError> {
        let freshness = self.seen.as_ref().map_or(Freshness::Now, |seen| seen.freshness(place));
        let Answered { answer, index } =
            self.store.query(place.group, Query::Account(place.account, query), freshness).await?;
        if let Some(seen) = &self.seen {
            seen.saw(place, index);
        }
        match answer {
            Answer::Account(answer) => Ok(answer),
            other => Err(unexpected(other)),
        }
    }

    /// What an account may hold and holds, as the nearest replica knows it, which is at most
    /// [`limits::DIRECTORY_LAG_MILLIS`] behind.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn look_at_account(&self, place: AccountPlace, query: AccountQuery) -> Result<AccountAnswer, StoreError> {
        let freshness = Freshness::Within(limits::DIRECTORY_LAG_MILLIS);
        match self.store.query(place.group, Query::Account(place.account, query), freshness).await?.answer {
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
            (Reply::Directory(reply), _) => Ok(reply),
            (other, _) => Err(unexpected(other)),
        }
    }

    /// Changes one group's part of the queue.
    ///
    /// # Errors
    /// [`StoreError`]; a refusal is a reply, not an error.
    pub async fn queue(&self, group: GroupId, command: QueueCommand) -> Result<QueueReply, StoreError> {
        match self.execute_one(group, Command::Queue(command)).await? {
            (Reply::Queue(reply), _) => Ok(reply),
            (other, _) => Err(unexpected(other)),
        }
    }

    /// Asks about one group's part of the queue.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ask_queue(&self, group: GroupId, query: QueueQuery) -> Result<QueueAnswer, StoreError> {
        match self.store.query(group, Query::Queue(query), Freshness::Now).await?.answer {
            Answer::Queue(answer) => Ok(answer),
            other => Err(unexpected(other)),
        }
    }

    /// Asks the directory as it is now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ask_directory(&self, query: DirectoryQuery) -> Result<DirectoryAnswer, StoreError> {
        self.directory_as(query, Freshness::Now).await
    }

    /// Asks the directory as the nearest replica knows it, which is at most [`limits::DIRECTORY_LAG_MILLIS`] behind. What
    /// refuses somebody for good is asked again with [`Self::ask_directory`]: it may have been put right a moment ago.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn look_up(&self, query: DirectoryQuery) -> Result<DirectoryAnswer, StoreError> {
        self.directory_as(query, Freshness::Within(limits::DIRECTORY_LAG_MILLIS)).await
    }

    /// Looks up where mail for an address goes; asks for certain where that is not enough to go by.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn resolve(
        &self,
        query: DirectoryQuery,
        is_enough: impl Fn(&Resolution) -> bool,
    ) -> Result<Resolution, StoreError> {
        let resolution = |answer| match answer {
            DirectoryAnswer::Resolution(resolution) => Ok(resolution),
            other => Err(unexpected(other)),
        };
        let near = resolution(self.look_up(query.clone()).await?)?;
        if is_enough(&near) { Ok(near) } else { resolution(self.ask_directory(query).await?) }
    }

    async fn directory_as(&self, query: DirectoryQuery, freshness: Freshness) -> Result<DirectoryAnswer, StoreError> {
        match self.store.query(GroupId::DIRECTORY, Query::Directory(query), freshness).await?.answer {
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
