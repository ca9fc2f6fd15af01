//! Who keeps a blob that nobody names: readers, writers, and whoever is about to name it.
//!
//! Two kinds of holding. A [`Pin`] lasts as long as it lives: while a blob is written, held or read. A lease lasts
//! until a time. Beside them stands suspicion: collection marks what it believes to be unnamed, and any pin takes
//! the mark away for good. So a blob that anybody touched after collection looked at it is not deleted, whatever
//! the clocks say. Deletion happens under the same lock under which pins are taken.
//!
//! Kept in memory: after a restart the time in the blob's header and the grace take its place. Bounded by what is
//! open, by leases that outlast the grace (rare) and by the suspects of one collection.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use parking_lot::Mutex;
use securanet_model::{BlobId, UnixMillis};

/// Deletion holds a lock while the disk is written; with this many, others seldom wait for it.
const SHARDS: usize = 16;

/// All holders of a node's blobs.
#[derive(Default)]
pub(crate) struct Leases {
    shards: [Mutex<HashMap<BlobId, Holding>>; SHARDS],
}

/// Who holds one blob.
#[derive(Clone, Copy, Debug)]
struct Holding {
    pins: u32,
    until: UnixMillis,
    suspect: bool,
}

impl Holding {
    const NONE: Self = Self { pins: 0, until: UnixMillis::new(0), suspect: false };

    fn is_held(&self, now: UnixMillis) -> bool {
        self.pins > 0 || self.until > now
    }

    fn is_needed(&self, now: UnixMillis) -> bool {
        self.suspect || self.is_held(now)
    }
}

/// Keeps a blob while it lives.
pub(crate) struct Pin {
    leases: Arc<Leases>,
    id: BlobId,
}

impl Pin {
    /// Which blob.
    pub(crate) const fn id(&self) -> BlobId {
        self.id
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut shard = self.leases.shard(&self.id).lock();
        if let Entry::Occupied(mut entry) = shard.entry(self.id) {
            let holding = entry.get_mut();
            holding.pins -= 1;
            // Not by the clock, which is not known here: whoever has a lease stays until leases are tidied.
            if !holding.is_needed(UnixMillis::new(0)) {
                entry.remove();
            }
        }
    }
}

impl Leases {
    fn shard(&self, id: &BlobId) -> &Mutex<HashMap<BlobId, Holding>> {
        &self.shards[usize::from(id.hash[0]) % SHARDS]
    }

    /// Pins a blob, here or not, and clears it of suspicion.
    pub(crate) fn pin(self: &Arc<Self>, id: BlobId) -> Pin {
        let mut shard = self.shard(&id).lock();
        let holding = shard.entry(id).or_insert(Holding::NONE);
        holding.pins += 1;
        holding.suspect = false;
        Pin { leases: self.clone(), id }
    }

    /// Keeps a blob until a time.
    pub(crate) fn keep(&self, id: BlobId, until: UnixMillis) {
        let mut shard = self.shard(&id).lock();
        let holding = shard.entry(id).or_insert(Holding::NONE);
        holding.until = holding.until.max(until);
    }

    /// Marks a blob as suspect if nobody holds it and `is_unneeded` says so under the lock.
    pub(crate) fn suspect<E>(
        &self,
        id: BlobId,
        now: UnixMillis,
        is_unneeded: impl FnOnce() -> Result<bool, E>,
    ) -> Result<bool, E> {
        let mut shard = self.shard(&id).lock();
        let holding = shard.get(&id).copied().unwrap_or(Holding::NONE);
        let suspect = !holding.is_held(now) && is_unneeded()?;
        if suspect {
            shard.insert(id, Holding { suspect, ..holding });
        }
        Ok(suspect)
    }

    /// Takes a mark away.
    pub(crate) fn clear(&self, id: BlobId, now: UnixMillis) {
        let mut shard = self.shard(&id).lock();
        if let Entry::Occupied(mut entry) = shard.entry(id) {
            entry.get_mut().suspect = false;
            if !entry.get().is_needed(now) {
                entry.remove();
            }
        }
    }

    /// Does `delete` under the lock if the blob is still suspect and nobody holds it; the mark is gone afterwards.
    pub(crate) fn if_still_suspect<T>(&self, id: BlobId, now: UnixMillis, delete: impl FnOnce() -> T) -> Option<T> {
        let mut shard = self.shard(&id).lock();
        let holding = shard.get(&id).copied()?;
        let done = (holding.suspect && !holding.is_held(now)).then(delete);
        let rest = Holding { suspect: false, ..holding };
        if rest.is_needed(now) {
            shard.insert(id, rest);
        } else {
            shard.remove(&id);
        }
        done
    }

    /// Does `delete` under the lock if nobody holds the blob.
    pub(crate) fn if_unheld<T>(&self, id: BlobId, now: UnixMillis, delete: impl FnOnce() -> T) -> Option<T> {
        let shard = self.shard(&id).lock();
        let is_held = shard.get(&id).is_some_and(|holding| holding.is_held(now));
        (!is_held).then(delete)
    }

    /// Forgets leases that are over.
    pub(crate) fn tidy(&self, now: UnixMillis) {
        self.shards.iter().for_each(|shard| shard.lock().retain(|_, holding| holding.is_needed(now)));
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use securanet_model::TenantId;

    use super::*;

    const ID: BlobId = BlobId { tenant: TenantId::new(1), hash: [3; 32] };

    fn at(millis: u64) -> UnixMillis {
        UnixMillis::new(millis)
    }

    fn suspect(leases: &Leases, now: u64) -> bool {
        leases.suspect(ID, at(now), || Ok::<_, Infallible>(true)).unwrap()
    }

    #[test]
    fn a_suspect_that_nobody_touches_is_deleted() {
        let leases = Leases::default();
        assert!(suspect(&leases, 5));
        assert_eq!(leases.if_still_suspect(ID, at(6), || "deleted"), Some("deleted"));
        assert_eq!(leases.if_still_suspect(ID, at(6), || "twice"), None);
        assert_eq!(leases.len(), 0);
    }

    #[test]
    fn whoever_touches_a_suspect_saves_it_even_when_done() {
        let leases = Arc::new(Leases::default());
        assert!(suspect(&leases, 5));
        drop(leases.pin(ID));
        assert_eq!(leases.if_still_suspect(ID, at(6), || ()), None);
        assert_eq!(leases.len(), 0);
    }

    #[test]
    fn pins_and_leases_keep_out_suspicion_and_deletion() {
        let leases = Arc::new(Leases::default());
        let (first, second) = (leases.pin(ID), leases.pin(ID));
        assert!(!suspect(&leases, 5));
        drop(first);
        assert!(!suspect(&leases, 5));
        assert_eq!(leases.if_unheld(ID, at(5), || ()), None);
        drop(second);
        assert!(suspect(&leases, 5));
        leases.keep(ID, at(100));
        assert_eq!(leases.if_still_suspect(ID, at(99), || ()), None);
        assert!(!suspect(&leases, 99));
        assert!(suspect(&leases, 100), "the lease is over");
        leases.clear(ID, at(100));
        assert_eq!(leases.len(), 0);
    }

    #[test]
    fn a_lease_outlives_the_pin_and_is_forgotten_when_over() {
        let leases = Arc::new(Leases::default());
        let pin = leases.pin(ID);
        leases.keep(ID, at(100));
        leases.keep(ID, at(50));
        drop(pin);
        assert_eq!(leases.if_unheld(ID, at(99), || ()), None);
        leases.tidy(at(99));
        assert_eq!(leases.len(), 1);
        leases.tidy(at(100));
        assert_eq!(leases.len(), 0);
        assert_eq!(leases.if_unheld(ID, at(99), || "deleted"), Some("deleted"));
    }

    #[test]
    fn what_is_still_needed_is_no_suspect() {
        let leases = Leases::default();
        assert!(!leases.suspect(ID, at(5), || Ok::<_, Infallible>(false)).unwrap());
        assert_eq!(leases.suspect(ID, at(5), || Err("disk")), Err("disk"));
        assert_eq!(leases.len(), 0);
    }
}
