//! How much an account or a device may submit in an hour.
//!
//! Counted by each gateway process in its own memory, in twelve slots of five minutes: never more than the limit in
//! any hour, give or take a slot, at one gateway; a restart forgets. That is enough against an account whose
//! password was stolen, which is what the limits are for; they are no accounting.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use securanet_gateway::model::AccountId;
use tokio::time::Instant;

const SLOT: Duration = Duration::from_secs(300);
const SLOTS: usize = 12;
/// With more subjects than this, those that were silent for an hour are forgotten before another is added.
const SUBJECTS_SWEPT: usize = 4096;

/// What is counted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Subject {
    Messages(AccountId),
    Recipients(AccountId),
    /// Recipients of the devices of a relay grant.
    Relay(String),
}

/// Counts of the last hour.
#[derive(Clone, Copy, Debug)]
struct Window {
    slots: [u32; SLOTS],
    /// When the newest slot began.
    begun: Instant,
}

/// Counts by subject.
#[derive(Default)]
pub(super) struct Limits {
    windows: Mutex<HashMap<Subject, Window>>,
}

impl Window {
    /// Makes the slot of `now` the newest.
    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.begun).as_secs() / SLOT.as_secs();
        let passed = usize::try_from(passed).unwrap_or(SLOTS);
        self.slots.rotate_right(passed % SLOTS);
        self.slots[..passed.min(SLOTS)].fill(0);
        self.begun += SLOT * u32::try_from(passed).unwrap_or(0);
    }

    fn sum(&self) -> u64 {
        self.slots.iter().map(|&count| u64::from(count)).sum()
    }
}

impl Limits {
    /// Counts one more, if the limit allows it; a limit of 0 allows everything.
    pub(super) fn take(&self, subject: Subject, limit: u64, now: Instant) -> bool {
        if limit == 0 {
            return true;
        }
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= SUBJECTS_SWEPT && !windows.contains_key(&subject) {
            windows.retain(|_, window| now.saturating_duration_since(window.begun) < SLOT * 13);
        }
        let window = windows.entry(subject).or_insert(Window { slots: [0; SLOTS], begun: now });
        window.advance(now);
        let allowed = window.sum() < limit;
        if allowed {
            window.slots[0] += 1;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_the_limit_in_an_hour_and_then_again() {
        let (limits, start) = (Limits::default(), Instant::now());
        let take = |minutes: u64| {
            limits.take(Subject::Messages(AccountId::new(1)), 3, start + Duration::from_secs(minutes * 60))
        };
        assert!(take(0) && take(10) && take(59));
        assert!(!take(59), "three in the last hour");
        assert!(take(61), "the first is over an hour ago");
        assert!(!take(62));
        assert!(take(71) && !take(72));
        assert!(take(600) && take(600) && take(600) && !take(600), "long after");
    }

    #[test]
    fn subjects_are_counted_apart_and_no_limit_counts_nothing() {
        let (limits, now) = (Limits::default(), Instant::now());
        let (ann, bob) = (AccountId::new(1), AccountId::new(2));
        assert!(limits.take(Subject::Messages(ann), 1, now) && !limits.take(Subject::Messages(ann), 1, now));
        assert!(limits.take(Subject::Recipients(ann), 1, now) && limits.take(Subject::Messages(bob), 1, now));
        assert!(limits.take(Subject::Relay("printers".to_owned()), 1, now));
        assert!((0..100).all(|_| limits.take(Subject::Messages(AccountId::new(3)), 0, now)));
        assert_eq!(limits.windows.lock().unwrap().len(), 4);
    }

    #[test]
    fn the_silent_are_forgotten() {
        let (limits, start) = (Limits::default(), Instant::now());
        for id in 0..SUBJECTS_SWEPT as u64 {
            limits.take(Subject::Messages(AccountId::new(id)), 1, start);
        }
        limits.take(Subject::Messages(AccountId::new(u64::MAX)), 1, start + Duration::from_secs(4000));
        assert_eq!(limits.windows.lock().unwrap().len(), 1);
    }
}
