//! The memory of verified credentials: why ten connections of one client cost one argon2id computation.
//!
//! After a password has been verified, a tag of it is kept for ten minutes: HMAC-SHA-256, under a key drawn at
//! random when the process began and kept nowhere, of (account, credential version, password). A later login
//! whose tag is there costs one HMAC. Wrong passwords leave nothing. A change of credentials or status raises
//! the account's credential version, so that no old tag can match from the moment the directory's change is
//! applied here; the tags themselves are dropped when the watch on the directory tells of it, and at the end
//! of their ten minutes, which no use extends.
//!
//! What an attacker gains who reads this process's memory: the key and the tags of those who logged in during
//! the last ten minutes, and with them a fast check of guesses. The same attacker reads the passwords of the
//! next ten minutes in the clear; the tags add little to that. Nothing of it is on disk.
//!
//! Bounds: 100,000 tags (some 15 MB), eight an account; the oldest go first.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use parking_lot::Mutex;
use securanet_model::AccountId;
use tokio::time::Instant;

/// How long a verified password is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);
const TAGS_MAX: usize = 100_000;
/// A main password and some app passwords.
const TAGS_PER_ACCOUNT_MAX: usize = 8;

/// A keyed hash of whose password, of which version, and the password.
pub(crate) type Tag = [u8; 32];

/// The memory of one process.
#[derive(Default)]
pub(crate) struct Memory(Mutex<Tags>);

#[derive(Default)]
struct Tags {
    by_account: HashMap<AccountId, Remembered>,
    /// In order of their end, since all live equally long. May name tags that are gone already.
    ends: VecDeque<(Instant, AccountId, Tag)>,
}

struct Remembered {
    version: u64,
    tags: Vec<Tag>,
}

impl Memory {
    /// Whether this password of this version was verified less than ten minutes ago.
    pub(crate) fn knows(&self, account: AccountId, version: u64, tag: &Tag, now: Instant) -> bool {
        let mut tags = self.0.lock();
        tags.expire(now);
        // The tag is a keyed hash: how long this comparison takes says nothing about a password.
        tags.by_account.get(&account).is_some_and(|known| known.version == version && known.tags.contains(tag))
    }

    /// Remembers a password that was verified just now. Tags of other versions are dropped.
    pub(crate) fn remember(&self, account: AccountId, version: u64, tag: Tag, now: Instant) {
        let mut tags = self.0.lock();
        tags.expire(now);
        let known = tags.by_account.entry(account).or_insert_with(|| Remembered { version, tags: Vec::new() });
        if known.version > version || known.tags.contains(&tag) {
            return;
        }
        if known.version < version {
            *known = Remembered { version, tags: Vec::new() };
        }
        if known.tags.len() >= TAGS_PER_ACCOUNT_MAX {
            known.tags.remove(0);
        }
        known.tags.push(tag);
        tags.ends.push_back((now + REMEMBERED, account, tag));
        if tags.ends.len() > TAGS_MAX {
            tags.drop_first();
        }
    }

    /// Forgets all of an account that is older than this version; everything without one.
    pub(crate) fn forget(&self, account: AccountId, version: Option<u64>) {
        let mut tags = self.0.lock();
        let old = |known: &Remembered| version.is_none_or(|version| known.version < version);
        if tags.by_account.get(&account).is_some_and(old) {
            tags.by_account.remove(&account);
        }
    }

    /// Drops what has reached its end.
    pub(crate) fn expire(&self, now: Instant) {
        self.0.lock().expire(now);
    }

    /// All accounts with a tag.
    pub(crate) fn accounts(&self) -> Vec<AccountId> {
        self.0.lock().by_account.keys().copied().collect()
    }
}

impl Tags {
    fn expire(&mut self, now: Instant) {
        while self.ends.front().is_some_and(|(end, ..)| *end <= now) {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        let Some((_, account, tag)) = self.ends.pop_front() else { return };
        if let Some(known) = self.by_account.get_mut(&account) {
            known.tags.retain(|other| *other != tag);
            if known.tags.is_empty() {
                self.by_account.remove(&account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: AccountId = AccountId::new(1);

    #[test]
    fn a_tag_lives_ten_minutes_however_often_it_is_used() {
        let (memory, start) = (Memory::default(), Instant::now());
        memory.remember(ANN, 1, [1; 32], start);
        let later = start + REMEMBERED - Duration::from_millis(1);
        assert!(memory.knows(ANN, 1, &[1; 32], later));
        memory.remember(ANN, 1, [1; 32], later);
        assert!(!memory.knows(ANN, 1, &[1; 32], start + REMEMBERED));
        assert!(memory.accounts().is_empty());
    }

    #[test]
    fn a_tag_of_another_version_never_matches() {
        let (memory, now) = (Memory::default(), Instant::now());
        memory.remember(ANN, 1, [1; 32], now);
        assert!(!memory.knows(ANN, 2, &[1; 32], now));
        memory.remember(ANN, 2, [2; 32], now);
        assert!(!memory.knows(ANN, 1, &[1; 32], now));
        memory.remember(ANN, 1, [1; 32], now);
        assert!(!memory.knows(ANN, 1, &[1; 32], now), "a late verification of an old password is not kept");
        memory.forget(ANN, Some(2));
        assert!(memory.knows(ANN, 2, &[2; 32], now));
        memory.forget(ANN, Some(3));
        assert!(!memory.knows(ANN, 2, &[2; 32], now));
    }

    #[test]
    fn an_account_has_eight_tags_and_the_oldest_goes_first() {
        let (memory, now) = (Memory::default(), Instant::now());
        for tag in 0..9 {
            memory.remember(ANN, 1, [tag; 32], now);
        }
        assert!(!memory.knows(ANN, 1, &[0; 32], now));
        assert!(memory.knows(ANN, 1, &[1; 32], now) && memory.knows(ANN, 1, &[8; 32], now));
    }

    #[test]
    fn the_memory_is_bounded() {
        let (memory, now) = (Memory::default(), Instant::now());
        for account in 0..=TAGS_MAX as u64 {
            memory.remember(AccountId::new(account), 1, [1; 32], now);
        }
        assert_eq!(memory.accounts().len(), TAGS_MAX);
        assert!(!memory.knows(AccountId::new(0), 1, &[1; 32], now));
    }
}
