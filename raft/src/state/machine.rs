//! The state machine that openraft drives: applies entries one after another, and flips to installed snapshots.
//!
//! An entry that cannot be applied (an unknown record, state that contradicts itself, a dead disk) stops the
//! replica: skipping it would let replicas differ. openraft then refuses everything for this group, and `status`
//! says why.
//!
//! Applying runs on the runtime's threads, not on one of its own: it nearly always reads from memory, and a hop
//! to another thread and back would cost as much as applying a small command does.

use std::{io, sync::Arc};

use futures::{Stream, TryStreamExt};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    entry::RaftEntry,
    storage::{EntryResponder, RaftStateMachine, Snapshot},
};
use securanet_engine::Applied;
use securanet_kv::{Durability, WriteBatch};
use securanet_model::{
    Command, Reply,
    delivery::QueueCommand,
    outbound::{OutboundCommand, OutboundReply},
    record,
    request::{Proposal, Topic},
};

use crate::{
    RaftError,
    format::{self, LogIdRow, MembershipRow},
    runtime,
    state::{Position, Replica, SnapshotData, TakenSnapshot},
    types::{Entry, LogId, Membership, Proposed, Replies, SnapshotMeta, TypeConfig},
};

/// A snapshot as openraft passes it around.
type RaftSnapshot = openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>;

/// The only writer of a [`Replica`].
pub(crate) struct StateMachine {
    replica: Arc<Replica>,
    applied_key: Vec<u8>,
}

/// What applying one entry comes to.
#[derive(Default)]
struct Change {
    batch: WriteBatch,
    replies: Replies,
    touched: Vec<Topic>,
    membership: Option<Membership>,
    fan_out: bool,
}

impl StateMachine {
    pub(crate) fn new(replica: Arc<Replica>) -> Self {
        let applied_key = format::applied_key(replica.group());
        Self { replica, applied_key }
    }

    fn apply_entry(&self, entry: &Entry) -> Result<Replies, RaftError> {
        let id = entry.log_id();
        let mut change = match &entry.payload {
            EntryPayload::Blank => Change::default(),
            EntryPayload::Normal(proposed) => self.apply_proposal(proposed)?,
            EntryPayload::Membership(members) => self.apply_membership(id, members),
        };
        change.batch.put(self.applied_key.as_slice(), record::encode(&LogIdRow::from(id)));
        let bytes = change.batch.size_bytes();
        self.replica.kv().write(change.batch, Durability::Volatile)?;
        self.replica.advance(id, change.membership, bytes);
        let effects = self.replica.effects();
        effects.watches.changed(&change.touched, id.index);
        if change.fan_out {
            effects.fan_out.notify_one();
        }
        Ok(change.replies)
    }

    fn apply_proposal(&self, proposed: &Proposed) -> Result<Change, RaftError> {
        let group = self.replica.group();
        let proposal = proposed.proposal().map_err(|error| RaftError::Row { group, row: "proposal", error })?;
        let Applied { batch, replies, touched, recalled } =
            securanet_engine::apply(&**self.replica.kv(), self.replica.space(), proposal)
                .map_err(|error| RaftError::Engine { group, error })?;
        self.replica.rare().applied(recalled, replies.iter().flatten().filter(|reply| is_fenced(reply)).count());
        Ok(Change { batch, replies: Replies(replies), touched, membership: None, fan_out: fans_out(proposal) })
    }

    fn apply_membership(&self, id: LogId, members: &openraft::Membership<u64, crate::types::Member>) -> Change {
        let membership = Membership::new(Some(id), members.clone());
        let mut batch = WriteBatch::new();
        let row = record::encode(&MembershipRow::from(&membership));
        batch.put(format::membership_key(self.replica.group()), row);
        Change { batch, membership: Some(membership), ..Change::default() }
    }
}

/// Whether an intent came after its lease had ended.
fn is_fenced(reply: &Reply) -> bool {
    let Reply::Outbound(reply) = reply else { return false };
    match reply {
        OutboundReply::LeaseEnded => true,
        OutboundReply::Intended(may) => may.contains(&false),
        _ => false,
    }
}

/// Whether the proposal may have put something into the group's queue.
fn fans_out(proposal: &Proposal) -> bool {
    let mut commands = proposal.requests.iter().flat_map(|request| &request.commands);
    commands.any(|command| match command {
        Command::Queue(command) => matches!(command, QueueCommand::FanOut(_) | QueueCommand::Release { .. }),
        Command::Outbound(OutboundCommand::Accept(acceptance)) => !acceptance.fan_out.is_empty(),
        Command::Outbound(OutboundCommand::Report { message, .. }) => {
            message.as_ref().is_some_and(|acceptance| !acceptance.fan_out.is_empty())
        }
        _ => false,
    })
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), io::Error> {
        let position = self.replica.position();
        Ok((position.applied, position.membership))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let replies = self.apply_entry(&entry).inspect_err(|error| {
                tracing::error!(%error, index = entry.index(), "an entry cannot be applied: this replica stops");
            })?;
            if let Some(responder) = responder {
                responder.send(replies);
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Self::SnapshotBuilder> {
        // Asked to force it while nothing is applied: there is only a position to give, the one before all entries.
        if force && let Some(taken) = self.take_snapshot() {
            return Some(Builder { replica: self.replica.clone(), snapshot: Built::Now(taken) });
        }
        let flushed = self.replica.flushed_position();
        if flushed.applied.is_none() && !force {
            return None;
        }
        Some(Builder { replica: self.replica.clone(), snapshot: Built::Flushed(flushed) })
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        Builder { replica: self.replica.clone(), snapshot: Built::Flushed(self.replica.flushed_position()) }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> Result<(), io::Error> {
        let staged = snapshot.into_staged(&self.replica, meta)?;
        let replica = self.replica.clone();
        blocking(move || staged.install(&replica)).await?;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<RaftSnapshot>, io::Error> {
        // Taken anew, but for one that is being sent: it costs nothing, and an old one would keep old rows from being
        // compacted away.
        let taken = self.replica.held_snapshot().or_else(|| self.take_snapshot());
        Ok(taken.map(|taken| Snapshot { meta: taken.meta().clone(), snapshot: taken.into() }))
    }
}

impl StateMachine {
    /// The state as it is now, none when nothing was applied yet. Nobody applies meanwhile: openraft asks for one
    /// thing at a time.
    fn take_snapshot(&self) -> Option<TakenSnapshot> {
        let Position { applied, membership } = self.replica.position();
        let (view, space) = self.replica.view();
        Some(TakenSnapshot::new(view, space, applied?, membership))
    }
}

/// Says how far the state is durable. openraft purges no further than the last snapshot it knows of, so this is
/// what lets it purge; for the rows themselves it asks [`RaftStateMachine::get_current_snapshot`].
pub(crate) struct Builder {
    replica: Arc<Replica>,
    snapshot: Built,
}

enum Built {
    /// As far as it is durable already.
    Flushed(Position),
    /// As it was when the builder was made; made durable first.
    Now(TakenSnapshot),
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<RaftSnapshot, io::Error> {
        let taken = match &self.snapshot {
            Built::Flushed(Position { applied, membership }) => {
                let meta = SnapshotMeta { last_log_id: *applied, last_membership: membership.clone() };
                return Ok(Snapshot { meta, snapshot: SnapshotData::PositionOnly });
            }
            Built::Now(taken) => taken.clone(),
        };
        let (replica, meta) = (self.replica.clone(), taken.meta().clone());
        blocking(move || replica.flush()).await?;
        let position = Position { applied: meta.last_log_id, membership: meta.last_membership.clone() };
        self.replica.set_flushed(position);
        Ok(Snapshot { meta, snapshot: taken.into() })
    }
}

/// Runs what waits for the disk on a thread that may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, RaftError> + Send + 'static) -> io::Result<T> {
    Ok(runtime::spawn_blocking(work).await.map_err(io::Error::other)??)
}
