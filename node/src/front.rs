//! The store in this process, as gateways see it: content goes to the blob room, commands and queries to the groups.
//!
//! What gateways hand over in the clear (a recipient's header fields) is sealed here before it is proposed, and what
//! they get (summaries) is opened here: below this border nobody reads a message.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use securanet_blob::{
    BlobError, BlobStore,
    intake::{Intake, Spool},
    reader::Reader,
    seal,
};
use securanet_gateway::{
    client, clock,
    connection::Shutdown,
    model::{
        Answer, Command, EmailId, Execute, Freshness, GroupId, Query, Reply, StoreError, TenantId,
        account::{AccountAnswer, AccountQuery, AccountRef, MessageContent},
        content::{Ingested, Sealed},
        delivery::{DeliverTo, FanOut, QueueCommand},
        directory::{DirectoryCommand, DirectoryReply},
        limits::COMMIT_TIMEOUT_MILLIS,
        outbound::{OutboundAnswer, OutboundCommand, OutboundQuery},
        request::Topic,
    },
    store::{Answered, BoxFuture, Content, ContentSink, Executed, Store},
};
use securanet_raft::Groups;
use tokio::{sync::watch, time::timeout};

use crate::disk::DiskWatch;

/// A message waits at most this long for memory; its sender's patience is minutes (RFC 5321 4.5.3.2).
const MEMORY_PATIENCE: Duration = Duration::from_secs(30);

/// The store of this node.
pub(crate) struct Front {
    groups: Groups,
    intake: Arc<Intake>,
    blobs: Arc<BlobStore>,
    disk: Arc<DiskWatch>,
    shutdown: Shutdown,
}

impl Front {
    /// Puts the rooms together.
    pub(crate) fn new(
        groups: Groups,
        intake: Arc<Intake>,
        blobs: Arc<BlobStore>,
        disk: Arc<DiskWatch>,
        shutdown: Shutdown,
    ) -> Self {
        Self { groups, intake, blobs, disk, shutdown }
    }

    /// Asks for content. It never changes, so that what this replica has is as good as what its leader has; only when it
    /// has none it may be behind.
    async fn find(&self, group: GroupId, query: Query) -> Result<Answer, StoreError> {
        let (answer, _) = self.groups.query(group, query.clone(), Freshness::Any).await?;
        match answer {
            Answer::Account(AccountAnswer::Content(Some(_))) | Answer::Outbound(OutboundAnswer::Content(Some(_))) => {
                Ok(answer)
            }
            _ => Ok(self.groups.query(group, query, Freshness::Now).await?.0),
        }
    }

    async fn open_content(&self, group: GroupId, content: MessageContent) -> Result<Box<dyn Content>, StoreError> {
        let reader = if content.blobs.is_empty() {
            Reader::open(&self.blobs, &content).map_err(told)?
        } else {
            self.open_blobs(group, content).await?
        };
        Ok(Box::new(Open(Arc::new(reader))) as Box<dyn Content>)
    }

    /// Opens a message whose parts may be elsewhere: a replica that installed a snapshot gets what it lacks when it is read.
    async fn open_blobs(&self, group: GroupId, content: MessageContent) -> Result<Reader, StoreError> {
        let content = Arc::new(content);
        let open = || {
            let (blobs, content) = (self.blobs.clone(), content.clone());
            blocking(move || match Reader::open(&blobs, &content) {
                Err(BlobError::Missing(_)) => Ok(None),
                opened => opened.map(Some),
            })
        };
        if let Some(reader) = open().await? {
            return Ok(reader);
        }
        self.groups.fetch(group, &content.blobs).await?;
        open().await?.ok_or_else(|| StoreError::Unavailable("parts of the message came and are gone".to_owned()))
    }
}

/// What a gateway is told; a disk that lost writes ends the process instead.
fn told(error: BlobError) -> StoreError {
    if error.is_fatal() {
        tracing::error!(%error, "fatal: sync failed; the process ends, nothing acknowledged is lost");
        std::process::abort();
    }
    match error {
        BlobError::TooLarge { limit_bytes } => StoreError::TooLarge { limit_bytes },
        BlobError::Busy => StoreError::Busy,
        BlobError::Damaged { .. } | BlobError::Missing(_) | BlobError::Sealed(_) | BlobError::Record(_) => {
            tracing::error!(%error, "stored content is damaged; run a scrub");
            StoreError::Damaged(error.to_string())
        }
        other => StoreError::Internal(other.to_string()),
    }
}

/// Commits one change of the directory before there is a gateway.
pub(crate) async fn commit(groups: &Groups, command: DirectoryCommand) -> anyhow::Result<DirectoryReply> {
    let deadline = clock::now().plus_millis(COMMIT_TIMEOUT_MILLIS);
    let commands = vec![Command::Directory(command)];
    let request = Execute { group: GroupId::DIRECTORY, request: client::request_id(), deadline, commands };
    match groups.execute(request).await?.0.pop() {
        Some(Reply::Directory(reply)) => Ok(reply),
        other => anyhow::bail!("the directory answered {other:?}"),
    }
}

fn seal_prefixes(recipients: &mut [DeliverTo]) -> Result<(), StoreError> {
    for recipient in recipients {
        let prefix = std::mem::replace(&mut recipient.prefix, Sealed::plain(1, Vec::new()));
        recipient.prefix = seal::seal_prefix(prefix).map_err(told)?;
    }
    Ok(())
}

fn seal_fan_out(fan_out: &mut FanOut) -> Result<(), StoreError> {
    fan_out.targets.iter_mut().try_for_each(|target| seal_prefixes(&mut target.to))
}

fn seal_command(command: &mut Command) -> Result<(), StoreError> {
    match command {
        Command::Deliver(deliver) => seal_prefixes(&mut deliver.to),
        Command::Queue(QueueCommand::FanOut(fan_out)) => seal_fan_out(fan_out),
        Command::Outbound(
            OutboundCommand::Accept(acceptance) | OutboundCommand::Report { message: Some(acceptance), .. },
        ) => acceptance.fan_out.iter_mut().try_for_each(seal_fan_out),
        _ => Ok(()),
    }
}

fn open_summaries(answer: &mut Answer) -> Result<(), StoreError> {
    let Answer::Account(AccountAnswer::Messages(messages)) = answer else { return Ok(()) };
    for message in messages {
        if let Some(summary) = &message.summary {
            message.summary = Some(seal::open_summary(summary).map_err(told)?);
        }
    }
    Ok(())
}

/// Work that may wait for a disk belongs on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(told),
        Err(error) => Err(StoreError::Internal(format!("a task of the store ended: {error}"))),
    }
}

impl Store for Front {
    fn execute(&self, mut request: Execute) -> BoxFuture<'_, Result<Executed, StoreError>> {
        Box::pin(async move {
            request.commands.iter_mut().try_for_each(seal_command)?;
            let (replies, index) = self.groups.execute(request).await?;
            Ok(Executed { replies, index })
        })
    }

    fn query(&self, group: GroupId, query: Query, freshness: Freshness) -> BoxFuture<'_, Result<Answered, StoreError>> {
        Box::pin(async move {
            let (mut answer, index) = self.groups.query(group, query, freshness).await?;
            open_summaries(&mut answer)?;
            Ok(Answered { answer, index })
        })
    }

    fn watch(&self, topic: Topic) -> watch::Receiver<u64> {
        self.groups.watch(topic)
    }

    fn put(
        &self,
        tenant: TenantId,
        trace: Vec<u8>,
        size_hint_bytes: Option<u64>,
    ) -> BoxFuture<'_, Result<Box<dyn ContentSink>, StoreError>> {
        Box::pin(async move {
            self.accepting()?;
            let bytes = self.intake.admission_bytes(trace.len(), size_hint_bytes);
            let reservation = match self.intake.budget().try_reserve(bytes) {
                Some(reservation) => reservation,
                None => {
                    timeout(MEMORY_PATIENCE, self.intake.budget().reserve(bytes)).await.map_err(|_| StoreError::Busy)?
                }
            };
            let spool = self.intake.begin_with(tenant, trace, size_hint_bytes, reservation).map_err(told)?;
            Ok(Box::new(Sink { intake: self.intake.clone(), spool }) as Box<dyn ContentSink>)
        })
    }

    fn open(
        &self,
        group: GroupId,
        account: AccountRef,
        email: EmailId,
    ) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        Box::pin(async move {
            let query = Query::Account(account, AccountQuery::Content(email));
            match self.find(group, query).await? {
                Answer::Account(AccountAnswer::Content(Some(content))) => self.open_content(group, *content).await,
                _ => Err(StoreError::NotFound),
            }
        })
    }

    fn open_outbound(&self, group: GroupId, item: u64) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        Box::pin(async move {
            let query = Query::Outbound(OutboundQuery::Content(item));
            let Answer::Outbound(OutboundAnswer::Content(Some(message))) = self.find(group, query).await? else {
                return Err(StoreError::NotFound);
            };
            // What leaves has no recipient's prefix.
            let content = MessageContent {
                size_bytes: message.size_bytes,
                prefix: Sealed::plain(1, Vec::new()),
                recipe: message.recipe,
                blobs: message.blobs.iter().map(|blob| blob.id).collect(),
                prefix_size_bytes: 0,
            };
            self.open_content(group, content).await
        })
    }

    fn accepting(&self) -> Result<(), StoreError> {
        if self.shutdown.is_draining() {
            return Err(StoreError::Draining);
        }
        self.disk.accepting()
    }
}

/// A message being taken in.
struct Sink {
    intake: Arc<Intake>,
    spool: Spool,
}

impl ContentSink for Sink {
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            match self.spool.write(bytes) {
                Err(BlobError::Busy) => {}
                done => return done.map_err(told),
            }
            let shortfall = self.spool.shortfall_bytes(bytes.len());
            let reservation = timeout(MEMORY_PATIENCE, self.intake.budget().reserve(shortfall)).await;
            self.spool.top_up(reservation.map_err(|_| StoreError::Busy)?);
            self.spool.write(bytes).map_err(told)
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Ingested, StoreError>> {
        Box::pin(async move {
            let spool = self.spool;
            if spool.may_block() {
                blocking(move || spool.finish(clock::now())).await
            } else {
                spool.finish(clock::now()).map_err(told)
            }
        })
    }
}

/// A message open for reading.
struct Open(Arc<Reader>);

impl Content for Open {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes()
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        Box::pin(async move {
            if !self.0.may_block() {
                return self.0.read(range).map_err(told);
            }
            let reader = self.0.clone();
            blocking(move || reader.read(range)).await
        })
    }
}
