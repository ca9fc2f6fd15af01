//! One group's state as everybody sees it: where it is, how far it is applied, how far it is durable.
//!
//! Only [`super::StateMachine`] changes it. Readers take a view of a moment ([`Replica::view`]); a view and the
//! generation it is read in belong together, which is why both are taken under one lock.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::{Mutex, RwLock};
use securanet_engine::Space;
use securanet_kv::{Direction, Durability, KeyRange, KeyValue, Read, WriteBatch};
use securanet_model::{GroupId, record};
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch};

use crate::{
    FatalHook, RaftError,
    format::{self, LogIdRow, MembershipRow},
    metric::Rare,
    state::TakenSnapshot,
    types::{LogId, Membership},
    watches::Watches,
};

/// A snapshot is kept for so long after its last stream began: the log behind it may be purged meanwhile, and rows
/// that are gone stay on disk for it.
const HOLD: Duration = Duration::from_secs(600);

/// How far a state is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Position {
    /// The last entry that is in it.
    pub(crate) applied: Option<LogId>,
    /// The last membership that is in it.
    pub(crate) membership: Membership,
}

/// What applying sets off, beyond the state itself.
pub(crate) struct Effects {
    /// Told of what changed.
    pub(crate) watches: Arc<Watches>,
    /// Woken when the group's queue got something to fan out.
    pub(crate) fan_out: Arc<Notify>,
    /// Octets written since the last flush, all groups together.
    pub(crate) unflushed_bytes: Arc<AtomicU64>,
    /// Told when the state could not be made durable.
    pub(crate) fatal: FatalHook,
}

/// Which generation is read, and which is being taken in beside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Generations {
    pub(super) live: u32,
    pub(super) staged: Option<u32>,
}

/// One group's state.
pub(crate) struct Replica {
    group: GroupId,
    kv: Arc<dyn KeyValue>,
    generations: RwLock<Generations>,
    position: watch::Sender<Position>,
    flushed: Mutex<Position>,
    effects: Effects,
    /// Whether blobs that the state names may be missing here.
    hollow: watch::Sender<bool>,
    rare: Rare,
    /// A snapshot that is being sent, or was when it was cut off; and since when.
    sending: Mutex<Option<(TakenSnapshot, Instant)>>,
}

impl Replica {
    /// Opens a group's state and removes what a crash left of other generations.
    pub(crate) fn open(group: GroupId, kv: Arc<dyn KeyValue>, effects: Effects) -> Result<Self, RaftError> {
        let applied: Option<LogIdRow> = row(&*kv, group, "applied", &format::applied_key(group))?;
        let membership: Option<MembershipRow> = row(&*kv, group, "membership", &format::membership_key(group))?;
        let membership = membership
            .map_or_else(|| Ok(Membership::default()), MembershipRow::membership)
            .map_err(|error| RaftError::Row { group, row: "membership", error })?;
        let live = row(&*kv, group, "generation", &format::generation_key(group))?.unwrap_or(0);
        let hollow: Option<u32> = row(&*kv, group, "hollow", &format::hollow_key(group))?;
        let position = Position { applied: applied.map(LogId::from), membership };
        let replica = Self {
            group,
            kv,
            generations: RwLock::new(Generations { live, staged: None }),
            flushed: Mutex::new(position.clone()),
            position: watch::Sender::new(position),
            effects,
            hollow: watch::Sender::new(hollow == Some(live)),
            rare: Rare::of(group),
            sending: Mutex::new(None),
        };
        replica.remove_other_generations(live)?;
        Ok(replica)
    }

    fn remove_other_generations(&self, live: u32) -> Result<(), RaftError> {
        let prefix = |generation| format::space_prefix(self.group, generation);
        let others = [(0, live), (live + 1, format::OWN_GENERATION)];
        let mut batch = WriteBatch::new();
        for (from, to) in others.into_iter().filter(|(from, to)| from < to) {
            let range = KeyRange::new(prefix(from), prefix(to));
            if !self.kv.scan(&range, Direction::Forward, 1)?.is_empty() {
                batch.delete_range(range);
            }
        }
        if !batch.is_empty() {
            self.kv.write(batch, Durability::Volatile)?;
        }
        Ok(())
    }

    /// The counters of what seldom happens.
    pub(super) fn rare(&self) -> &Rare {
        &self.rare
    }

    /// Whose state it is.
    #[must_use]
    pub(crate) fn group(&self) -> GroupId {
        self.group
    }

    pub(super) fn kv(&self) -> &Arc<dyn KeyValue> {
        &self.kv
    }

    pub(super) fn generations(&self) -> &RwLock<Generations> {
        &self.generations
    }

    pub(crate) fn effects(&self) -> &Effects {
        &self.effects
    }

    /// Where the live state is.
    #[must_use]
    pub(crate) fn space(&self) -> Space {
        Space { group: self.group, generation: self.generations.read().live }
    }

    /// The live state of this moment, unmoved by what is applied later.
    #[must_use]
    pub(crate) fn view(&self) -> (Box<dyn Read>, Space) {
        // Both under the lock: between them an install could flip and remove the generation just read.
        let generations = self.generations.read();
        (self.kv.snapshot(), Space { group: self.group, generation: generations.live })
    }

    /// The live state, and the one that is being staged, of this moment.
    #[must_use]
    pub(crate) fn all_views(&self) -> (Box<dyn Read>, Vec<Space>) {
        let generations = self.generations.read();
        let spaces = [Some(generations.live), generations.staged];
        let spaces = spaces.into_iter().flatten().map(|generation| Space { group: self.group, generation });
        (self.kv.snapshot(), spaces.collect())
    }

    /// How far it is applied.
    pub(crate) fn position(&self) -> Position {
        self.position.borrow().clone()
    }

    /// The last applied entry.
    #[must_use]
    pub(crate) fn applied(&self) -> Option<LogId> {
        self.position.borrow().applied
    }

    /// Changes when the applied position does.
    pub(crate) fn watch_position(&self) -> watch::Receiver<Position> {
        self.position.subscribe()
    }

    /// The last entry that a flush has made durable.
    #[must_use]
    pub(crate) fn flushed(&self) -> Option<LogId> {
        self.flushed.lock().applied
    }

    pub(super) fn flushed_position(&self) -> Position {
        self.flushed.lock().clone()
    }

    /// A flush that began when the state was at `position` has ended well.
    pub(crate) fn set_flushed(&self, position: Position) {
        let mut flushed = self.flushed.lock();
        if position.applied > flushed.applied {
            *flushed = position;
        }
    }

    /// An entry was applied.
    pub(super) fn advance(&self, applied: LogId, membership: Option<Membership>, bytes: usize) {
        if self.applied().is_some_and(|before| before.leader_id != applied.leader_id) {
            self.rare.leader_changed();
        }
        if membership.as_ref().is_some_and(|membership| membership.membership().get_joint_config().len() > 1) {
            self.rare.joint_configuration();
        }
        self.position.send_modify(|position| {
            position.applied = Some(applied);
            if let Some(membership) = membership {
                position.membership = membership;
            }
        });
        self.effects.unflushed_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// The state was replaced by another one: whoever watches anything has to look.
    pub(super) fn replace(&self, position: Position) {
        self.rare.snapshot_installed();
        let index = position.applied.map_or(0, |id| id.index);
        self.position.send_replace(position);
        self.effects.watches.everything_changed(index);
    }

    /// Whether blobs that the state names may be missing here.
    #[must_use]
    pub(crate) fn is_hollow(&self) -> bool {
        *self.hollow.borrow()
    }

    pub(crate) fn watch_hollow(&self) -> watch::Receiver<bool> {
        self.hollow.subscribe()
    }

    pub(super) fn set_hollow(&self) {
        self.hollow.send_replace(true);
    }

    /// Every blob that this generation names is durable here. The row goes with the next flush: until then a restart
    /// only looks again.
    pub(crate) fn set_filled(&self, generation: u32) -> Result<(), RaftError> {
        // Under the lock, so that no install comes between.
        let generations = self.generations.read();
        if generations.live == generation {
            let mut batch = WriteBatch::new();
            batch.delete(format::hollow_key(self.group));
            self.kv.write(batch, Durability::Volatile)?;
            self.hollow.send_replace(false);
        }
        Ok(())
    }

    /// A snapshot is being sent: until it has arrived, whoever asks gets the same one, so that a stream that is cut off
    /// can go on.
    pub(crate) fn hold_snapshot(&self, taken: &TakenSnapshot) {
        *self.sending.lock() = Some((taken.clone(), Instant::now()));
    }

    /// It has arrived.
    pub(crate) fn release_snapshot(&self, taken: &TakenSnapshot) {
        let mut sending = self.sending.lock();
        if sending.as_ref().is_some_and(|(held, _)| held.id() == taken.id()) {
            *sending = None;
        }
    }

    /// The snapshot that somebody may go on with.
    pub(super) fn held_snapshot(&self) -> Option<TakenSnapshot> {
        let mut sending = self.sending.lock();
        if sending.as_ref().is_some_and(|(_, since)| since.elapsed() > HOLD) {
            *sending = None;
        }
        sending.as_ref().map(|(taken, _)| taken.clone())
    }

    /// Forgets a snapshot that nobody went on with.
    pub(crate) fn tidy_snapshot(&self) {
        drop(self.held_snapshot());
    }

    /// Makes the state of all groups durable, together. Failure is fatal to the process.
    pub(super) fn flush(&self) -> Result<(), RaftError> {
        self.kv.flush().inspect_err(|error| (self.effects.fatal)(error))?;
        Ok(())
    }

    /// The voters of the last applied membership.
    pub(crate) fn voters(&self) -> BTreeSet<u64> {
        self.position.borrow().membership.voter_ids().collect()
    }
}

/// A row of a group, decoded; none where there is none.
pub(crate) fn row<T: DeserializeOwned>(
    kv: &dyn KeyValue,
    group: GroupId,
    row: &'static str,
    key: &[u8],
) -> Result<Option<T>, RaftError> {
    let value = kv.get(key)?;
    value.map(|value| record::decode(&value)).transpose().map_err(|error| RaftError::Row { group, row, error })
}
