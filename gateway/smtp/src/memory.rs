//! What the directory said lately, so that mail at traffic rate does not ask it again for each recipient.
//!
//! An entry holds while the directory has not changed since before it was asked for, and for five seconds at most:
//! the age that the design allows a gateway's view, for the case that word of a change is slow. Nothing depends on
//! an entry being right: a shard refuses an account that has moved or is gone, and the message then gets a
//! temporary failure and empties this memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use quick_cache::sync::Cache;
use securanet_gateway::model::{AccountId, directory::Resolution};
use tokio::sync::watch;

/// How long an entry may be used.
const AGE_MAX: Duration = Duration::from_secs(5);
/// Addresses remembered; about 300 octets each.
const ADDRESSES_MAX: usize = 20_000;
/// Accounts without a quota remembered; 40 octets each.
const ACCOUNTS_MAX: usize = 20_000;
/// A resolution to more accounts and addresses outside than this is not remembered: lists are large and their mail is
/// rare.
const RESOLUTION_PLACES_MAX: usize = 4;

/// When the directory was asked, by its own count of changes and by the clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    change: u64,
    round: u64,
    at: Instant,
}

/// Recent answers.
pub(crate) struct Memory {
    changes: watch::Receiver<u64>,
    /// Raised to forget everything.
    round: AtomicU64,
    resolutions: Cache<String, (Stamp, Arc<Resolution>)>,
    unlimited: Cache<AccountId, Stamp>,
}

impl Memory {
    /// `changes` counts the changes of the directory.
    pub(crate) fn new(changes: watch::Receiver<u64>) -> Self {
        Self {
            changes,
            round: AtomicU64::new(0),
            resolutions: Cache::new(ADDRESSES_MAX),
            unlimited: Cache::new(ACCOUNTS_MAX),
        }
    }

    /// Taken before the directory is asked.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { change: *self.changes.borrow(), round: self.round.load(Ordering::Acquire), at: Instant::now() }
    }

    /// What the directory said of the canonical address.
    pub(crate) fn resolution(&self, canonical: &str) -> Option<Arc<Resolution>> {
        self.resolutions.get(canonical).filter(|(stamp, _)| self.holds(*stamp)).map(|(_, resolution)| resolution)
    }

    /// Remembers what the directory said, asked at `stamp`.
    pub(crate) fn remember(&self, canonical: String, stamp: Stamp, resolution: &Arc<Resolution>) {
        let places = match resolution.as_ref() {
            Resolution::Local(found) => found.accounts.len() + found.onward.len(),
            _ => 0,
        };
        if places <= RESOLUTION_PLACES_MAX {
            self.resolutions.insert(canonical, (stamp, Arc::clone(resolution)));
        }
    }

    /// Whether the account is known to have no quota.
    pub(crate) fn is_unlimited(&self, account: AccountId) -> bool {
        self.unlimited.get(&account).is_some_and(|stamp| self.holds(stamp))
    }

    /// Remembers that the account had no quota when asked at `stamp`.
    pub(crate) fn remember_unlimited(&self, account: AccountId, stamp: Stamp) {
        self.unlimited.insert(account, stamp);
    }

    /// Forgets everything: a shard did not know an account as we do.
    pub(crate) fn forget(&self) {
        self.round.fetch_add(1, Ordering::AcqRel);
    }

    fn holds(&self, stamp: Stamp) -> bool {
        stamp.change == *self.changes.borrow()
            && stamp.round == self.round.load(Ordering::Acquire)
            && stamp.at.elapsed() < AGE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_until_the_directory_changes_or_all_is_forgotten() {
        let (changes, receiver) = watch::channel(7);
        let memory = Memory::new(receiver);
        let unknown = Arc::new(Resolution::Unknown);
        memory.remember("ann@example.org".to_owned(), memory.stamp(), &unknown);
        assert_eq!(memory.resolution("ann@example.org").as_deref(), Some(&Resolution::Unknown));
        changes.send_replace(8);
        assert_eq!(memory.resolution("ann@example.org"), None);
        memory.remember("ann@example.org".to_owned(), memory.stamp(), &unknown);
        memory.forget();
        assert_eq!(memory.resolution("ann@example.org"), None);
    }

    #[test]
    fn an_answer_asked_for_before_a_change_does_not_hold_after_it() {
        let (changes, receiver) = watch::channel(7);
        let memory = Memory::new(receiver);
        let asked = memory.stamp();
        changes.send_replace(8);
        memory.remember_unlimited(AccountId::new(1), asked);
        assert!(!memory.is_unlimited(AccountId::new(1)));
    }
}
