//! Collection: deleting what nobody names any more, a bounded step at a time.
//!
//! Nothing counts references, so nothing can be counted wrong: collection asks the groups. A pass goes over all
//! blobs in order of their ids. Of each page, blobs whose grace is over and that nobody holds become suspects; the
//! groups say which of those they name, and those are absolved. The rest waits until everything that the groups had
//! logged or applied by then is durable and gone from their logs. Then the groups are asked once more, and what
//! they still do not name, and nobody has touched since, is deleted.
//!
//! Why that is enough: a command can name a blob only after its content was put or held on this node. Either that
//! came before suspicion: then the header's time is fresh, or the entry was in the log by the remembered position
//! and is settled now. Or it came after: then it took the suspicion away.
//!
//! A step does nothing while any group still replays its log, and asks nobody to wait for it: call it every few
//! seconds. Forgetting a collector's state (a restart) only means that the pass begins anew.

use std::collections::VecDeque;

use securanet_model::{BlobId, UnixMillis};

use crate::{BlobError, BlobStore};

/// Batches of suspects that wait at the same time; with them a pass goes on while logs are purged slowly.
const BATCHES_MAX: usize = 64;

/// What the groups of this node know about blobs. Implemented where groups live.
pub trait Reachability {
    /// How far each group has logged and applied. Whoever makes one takes it *after* everything that was logged or
    /// applied before the call.
    type Position;

    /// Whether every local group has finished replaying its log since this node started.
    fn is_replayed(&self) -> bool;

    /// For each blob, in order, whether any live or staged generation of any local group names it, as applied now;
    /// also whether an open snapshot or a backup does.
    ///
    /// # Errors
    /// Why it cannot be told, as [`BlobError::Groups`] or [`BlobError::Kv`]; nothing is deleted then.
    fn reachable(&self, blobs: &[BlobId]) -> Result<Vec<bool>, BlobError>;

    /// Where the groups are now.
    ///
    /// # Errors
    /// Why it cannot be told.
    fn position(&self) -> Result<Self::Position, BlobError>;

    /// Whether all that was logged by then is applied (or was overwritten), the state with it is flushed, and no
    /// local log holds an entry of it any more that names a blob. A group that knows the blobs of its unpurged
    /// entries may count them in [`Reachability::reachable`] instead and need not wait for the purge here.
    ///
    /// # Errors
    /// Why it cannot be told.
    fn is_settled(&self, position: &Self::Position) -> Result<bool, BlobError>;
}

/// What a step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Collected {
    /// Blobs deleted.
    pub blobs: u64,
    /// Octets of their rows.
    pub stored_bytes: u64,
    /// Puts that never came to an end, swept.
    pub unfinished: u64,
    /// Whether the step ended a pass over all blobs: until the next, nothing more is to be found.
    pub pass_ended: bool,
}

/// The state of a collection. One per store; its steps must not run at the same time.
pub struct Collector<P> {
    rows_max: usize,
    after: Option<BlobId>,
    listed_all: bool,
    waiting: VecDeque<Batch<P>>,
}

struct Batch<P> {
    position: P,
    suspects: Vec<BlobId>,
}

/// What a step does next: decided from what is known, executed apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    /// Groups still replay: nothing may be concluded.
    Wait,
    /// Look at the next page of blobs.
    List,
    /// All suspects are settled and judged, all blobs were listed: begin anew.
    EndPass,
}

impl<P> Collector<P> {
    /// A collector that looks at up to `rows_max` blobs a step (1 to 10,000).
    #[must_use]
    pub fn new(rows_max: usize) -> Self {
        Self { rows_max: rows_max.clamp(1, 10_000), after: None, listed_all: false, waiting: VecDeque::new() }
    }

    /// Does the next step: judges suspects that are settled by now, looks at one more page.
    ///
    /// # Errors
    /// Those of the disk and of the groups; what was not judged is judged by a later pass.
    pub fn step<G>(&mut self, store: &BlobStore, groups: &G, now: UnixMillis) -> Result<Collected, BlobError>
    where
        G: Reachability<Position = P> + ?Sized,
    {
        let mut collected = Collected::default();
        if !groups.is_replayed() {
            return Ok(collected);
        }
        self.judge(store, groups, now, &mut collected)?;
        match self.next() {
            Next::Wait => {}
            Next::List => self.list(store, groups, now)?,
            Next::EndPass => {
                collected.unfinished = store.sweep(now, self.rows_max)? as u64;
                collected.pass_ended = true;
                (self.after, self.listed_all) = (None, false);
            }
        }
        Ok(collected)
    }

    fn next(&self) -> Next {
        match (self.listed_all, self.waiting.len()) {
            (true, 0) => Next::EndPass,
            (false, waiting) if waiting < BATCHES_MAX => Next::List,
            _ => Next::Wait,
        }
    }

    /// Judges the oldest batch if it is settled.
    fn judge<G>(
        &mut self,
        store: &BlobStore,
        groups: &G,
        now: UnixMillis,
        collected: &mut Collected,
    ) -> Result<(), BlobError>
    where
        G: Reachability<Position = P> + ?Sized,
    {
        match self.waiting.front() {
            Some(batch) if groups.is_settled(&batch.position)? => {}
            _ => return Ok(()),
        }
        let Some(Batch { suspects, .. }) = self.waiting.pop_front() else { return Ok(()) };
        for id in unnamed(store, groups, now, suspects)? {
            if let Some(stored_bytes) = store.delete_suspect(id, now)? {
                collected.blobs += 1;
                collected.stored_bytes += stored_bytes;
            }
        }
        Ok(())
    }

    fn list<G>(&mut self, store: &BlobStore, groups: &G, now: UnixMillis) -> Result<(), BlobError>
    where
        G: Reachability<Position = P> + ?Sized,
    {
        let page = store.list(self.after, self.rows_max)?;
        let mut suspects = Vec::new();
        for &id in &page {
            if store.suspect(id, now)? {
                suspects.push(id);
            }
        }
        let suspects = unnamed(store, groups, now, suspects)?;
        if !suspects.is_empty() {
            // After asking: whatever is logged by now and not applied must be settled before they are judged.
            self.waiting.push_back(Batch { position: groups.position()?, suspects });
        }
        self.listed_all = page.len() < self.rows_max;
        self.after = page.last().copied().or(self.after);
        Ok(())
    }
}

/// The suspects that no group names; the others are absolved.
fn unnamed<G>(store: &BlobStore, groups: &G, now: UnixMillis, suspects: Vec<BlobId>) -> Result<Vec<BlobId>, BlobError>
where
    G: Reachability + ?Sized,
{
    if suspects.is_empty() {
        return Ok(suspects);
    }
    let named = groups.reachable(&suspects)?;
    if named.len() != suspects.len() {
        return Err(BlobError::Groups(format!("asked for {} blobs, told of {}", suspects.len(), named.len())));
    }
    let mut unnamed = Vec::new();
    for (id, named) in suspects.into_iter().zip(named) {
        if named {
            store.absolve(id, now);
        } else {
            unnamed.push(id);
        }
    }
    Ok(unnamed)
}
