//! How failed logins slow down the next ones: by address, by account, and by both together.
//!
//! Each attempt is booked on two accounts of failures: its address's (an IPv4 address or an IPv6 /64) and its
//! user name's (whether or not there is such a user, so that nothing can be learnt). After five free failures
//! each further one doubles the wait before the next password is looked at, up to eight seconds; after a
//! limit the next attempts are turned away without being looked at. Failures leak away with time.
//!
//! A slow-down by user name alone would let anybody lock anybody out, and one by address alone would let one
//! phone with an old password lock its whole office out. So an (address, user) pair that has logged in before
//! is booked on an account of its own and not on those two: attackers elsewhere, or beside it, do not touch
//! it, and guessing from within it is slowed down as everywhere.
//!
//! Attempts that are turned away, that fail for our reasons, or whose client goes away count nothing.
//!
//! Bounds: 100,000 accounts of failures, some 20 MB; beyond that the least used are forgotten, which gives their
//! addresses a fresh start.

use std::{net::IpAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::admission::network_of;

const LEDGERS_MAX: usize = 100_000;
/// This many failures cost nothing: people mistype.
const FREE_FAILURES: f64 = 5.0;
const FIRST_WAIT: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(8);

/// Names a user without naming it: a keyed hash of the canonical login name.
pub(crate) type Subject = [u8; 16];

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    Subject(Subject),
    Pair(IpAddr, Subject),
}

/// What bounds one kind of ledger.
#[derive(Clone, Copy)]
struct Terms {
    /// From this many failures on, attempts are turned away.
    limit: f64,
    /// One failure is forgotten in this time.
    leak: Duration,
    /// Whether attempts under way count towards the limit: where many may come at once from anywhere.
    counts_pending: bool,
}

impl Key {
    const fn terms(self) -> Terms {
        match self {
            // Sustained: three guesses a minute. What comes at once is bounded by the connections of an address.
            Self::Address(_) => Terms { limit: 50.0, leak: Duration::from_secs(20), counts_pending: false },
            // Sustained: six guesses a minute, from the whole world together.
            Self::Subject(_) => Terms { limit: 100.0, leak: Duration::from_secs(10), counts_pending: true },
            Self::Pair(..) => Terms { limit: 50.0, leak: Duration::from_secs(20), counts_pending: true },
        }
    }
}

/// The failures of one key.
struct Ledger {
    failures: f64,
    at: Instant,
    pending: u32,
}

impl Ledger {
    fn leak(&mut self, now: Instant, terms: Terms) {
        let leaked = now.saturating_duration_since(self.at).as_secs_f64() / terms.leak.as_secs_f64();
        self.failures = (self.failures - leaked).max(0.0);
        self.at = now;
    }

    /// How long attempts must be turned away; zero: this one is looked at.
    fn shut_for(&self, terms: Terms) -> Duration {
        let pending = if terms.counts_pending { f64::from(self.pending) } else { 0.0 };
        let over = self.failures + pending - terms.limit;
        if over < 0.0 { Duration::ZERO } else { terms.leak.mul_f64(over + 1.0) }
    }

    fn wait(&self) -> Duration {
        let paid = self.failures.round() - FREE_FAILURES;
        if paid < 0.0 { Duration::ZERO } else { FIRST_WAIT.mul_f64(paid.min(10.0).exp2()).min(WAIT_MAX) }
    }
}

/// All ledgers of this process.
pub(crate) struct Slowdown {
    ledgers: Cache<Key, Arc<Mutex<Ledger>>>,
}

/// An attempt that may go on after its wait. Dropping it without a word takes it back.
pub(crate) struct Attempt {
    slowdown: Arc<Slowdown>,
    booked: Vec<(Key, Arc<Mutex<Ledger>>)>,
    pair: Key,
    /// How long the client must be let wait before its password is looked at.
    pub(crate) wait: Duration,
}

impl Slowdown {
    pub(crate) fn new() -> Self {
        Self { ledgers: Cache::new(LEDGERS_MAX) }
    }

    /// Books an attempt; the error says for how long such attempts are turned away. `address` is `None` where
    /// the address says nothing about the client.
    pub(crate) fn begin(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        subject: Subject,
        now: Instant,
    ) -> Result<Attempt, Duration> {
        let network = address.map_or(IpAddr::from([0; 4]), network_of);
        let pair = Key::Pair(network, subject);
        let keys = match (self.ledgers.get(&pair), address) {
            (Some(known), _) => vec![(pair, known)],
            (None, Some(_)) => vec![self.ledger(Key::Address(network), now), self.ledger(Key::Subject(subject), now)],
            (None, None) => vec![self.ledger(Key::Subject(subject), now)],
        };
        let mut wait = Duration::ZERO;
        for (key, ledger) in &keys {
            let mut ledger = ledger.lock();
            ledger.leak(now, key.terms());
            let shut = ledger.shut_for(key.terms());
            if !shut.is_zero() {
                return Err(shut);
            }
            wait = wait.max(ledger.wait());
        }
        for (_, ledger) in &keys {
            ledger.lock().pending += 1;
        }
        Ok(Attempt { slowdown: self.clone(), booked: keys, pair, wait })
    }

    fn ledger(&self, key: Key, now: Instant) -> (Key, Arc<Mutex<Ledger>>) {
        let fresh = || Arc::new(Mutex::new(Ledger { failures: 0.0, at: now, pending: 0 }));
        let ledger = self.ledgers.get_or_insert_with(&key, || Ok::<_, std::convert::Infallible>(fresh()));
        (key, ledger.unwrap_or_else(|never| match never {}))
    }
}

impl Attempt {
    /// The password was right: the pair is known from now on.
    pub(crate) fn succeeded(self, now: Instant) {
        let (_, ledger) = self.slowdown.ledger(self.pair, now);
        ledger.lock().failures = 0.0;
    }

    /// The password was wrong.
    pub(crate) fn failed(self, now: Instant) {
        for (key, ledger) in &self.booked {
            let mut ledger = ledger.lock();
            ledger.leak(now, key.terms());
            ledger.failures += 1.0;
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        for (_, ledger) in &self.booked {
            let mut ledger = ledger.lock();
            ledger.pending = ledger.pending.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: Subject = [1; 16];
    const BOB: Subject = [2; 16];

    fn ip(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    fn fail(slowdown: &Arc<Slowdown>, address: Option<IpAddr>, subject: Subject, times: usize, now: Instant) {
        for _ in 0..times {
            slowdown.begin(address, subject, now).ok().unwrap().failed(now);
        }
    }

    fn wait(slowdown: &Arc<Slowdown>, address: Option<IpAddr>, subject: Subject, now: Instant) -> Result<u64, u64> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap();
        slowdown.begin(address, subject, now).map(|attempt| millis(attempt.wait)).map_err(millis)
    }

    #[test]
    fn waits_double_after_five_free_failures_and_leak_away() {
        let (slowdown, start) = (Arc::new(Slowdown::new()), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..12 {
            waits.push(wait(&slowdown, ip(1), ANN, start).unwrap());
            fail(&slowdown, ip(1), ANN, 1, start);
        }
        assert_eq!(waits, [0, 0, 0, 0, 0, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!(wait(&slowdown, ip(1), ANN, start + Duration::from_secs(300)), Ok(0));
    }

    #[test]
    fn another_address_and_another_user_wait_for_their_own_failures_only() {
        let (slowdown, now) = (Arc::new(Slowdown::new()), Instant::now());
        fail(&slowdown, ip(1), ANN, 8, now);
        assert_eq!(wait(&slowdown, ip(2), BOB, now), Ok(0));
        assert_eq!(wait(&slowdown, ip(1), BOB, now), Ok(4000));
        assert_eq!(wait(&slowdown, ip(2), ANN, now), Ok(4000));
    }

    #[test]
    fn beyond_the_limit_attempts_are_turned_away_until_one_failure_has_leaked() {
        let (slowdown, now) = (Arc::new(Slowdown::new()), Instant::now());
        for user in 0..50 {
            fail(&slowdown, ip(1), [user; 16], 1, now);
        }
        assert_eq!(wait(&slowdown, ip(1), BOB, now), Err(20_000));
        assert!(wait(&slowdown, ip(1), BOB, now + Duration::from_secs(21)).is_ok());
        assert_eq!(wait(&slowdown, ip(2), BOB, now), Ok(0));
    }

    #[test]
    fn who_logged_in_from_there_before_is_not_touched_by_the_failures_of_others() {
        let (slowdown, now) = (Arc::new(Slowdown::new()), Instant::now());
        slowdown.begin(ip(1), ANN, now).ok().unwrap().succeeded(now);
        for last in 10..60 {
            fail(&slowdown, ip(last), ANN, 2, now);
        }
        assert!(wait(&slowdown, ip(99), ANN, now).is_err());
        assert_eq!(wait(&slowdown, ip(1), ANN, now), Ok(0));
        fail(&slowdown, ip(1), ANN, 6, now);
        assert_eq!(wait(&slowdown, ip(1), ANN, now), Ok(1000));
    }

    #[test]
    fn attempts_under_way_count_towards_the_limit_of_a_user() {
        let (slowdown, now) = (Arc::new(Slowdown::new()), Instant::now());
        let under_way: Vec<_> = (0..100).map(|last| slowdown.begin(ip(last), ANN, now).ok().unwrap()).collect();
        assert!(wait(&slowdown, ip(200), ANN, now).is_err());
        drop(under_way);
        assert_eq!(wait(&slowdown, ip(200), ANN, now), Ok(0));
    }
}
