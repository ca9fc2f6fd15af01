//! One destination in memory: what waits for it, and at what pace it is spoken to.
//!
//! The policies, each by itself:
//!
//! - *Slow start.* A destination begins with one connection. Each transaction that it takes allows one more, up to the
//!   limit; a connection that fails or is lost takes it back to one.
//! - *Letters before bulk.* A message for few goes before one for many, as in the queue's own order; after
//!   [`LETTERS_IN_A_ROW`] letters a bulk message has its turn, so that neither waits for ever.
//! - *A share of memory by merit.* What has taken mail may keep much in memory, what has not yet little, what failed
//!   least: the dead cannot fill the memory that the living need.
//! - *One failure for all.* When no host of it could be reached, what waits for it is told the same without trying, for
//!   as long as that is news.
//!
//! Pure: the time is an argument.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::{sync::Notify, time::Instant};

/// So many letters go before a bulk message that waits.
const LETTERS_IN_A_ROW: u32 = 4;
/// Recipients in memory for each connection that a proven destination may have: one full transaction.
const WINDOW_PER_SESSION: usize = 100;
/// Recipients in memory for one that has taken nothing yet, or has failed: enough to try, and so few that hundreds of dead
/// ones leave room.
const WINDOW_UNPROVEN: usize = 5;

/// Recipients of one message that go out together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Load<T> {
    /// What is carried.
    pub(crate) letter: T,
    /// How many recipients it has.
    pub(crate) recipients: usize,
    /// Whether the whole message has many recipients.
    pub(crate) is_bulk: bool,
}

/// How a connection, or the attempt to have one, ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum SessionEnd<V> {
    /// It was closed in peace.
    Peace,
    /// It was lost, or the remote wanted to be left alone.
    Lost,
    /// There was none: nothing of the destination could be reached. All that waits is told this.
    Unreachable(V),
    /// What waits is told the same now; nothing is remembered.
    Told,
}

/// What is known of a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// Nothing yet.
    New,
    /// It has taken mail, and nothing has failed since.
    Proven,
    /// It failed last, here or before us, or has kept us waiting.
    Suspect,
}

impl Standing {
    /// All of them; the place of each is its number.
    pub(crate) const ALL: [Self; 3] = [Self::New, Self::Proven, Self::Suspect];
}

/// A destination.
#[derive(Debug)]
pub(crate) struct Destination<T, V> {
    letters: VecDeque<Load<T>>,
    bulk: VecDeque<Load<T>>,
    letters_in_a_row: u32,
    /// Recipients in memory: being taken, waiting, on their way, or not settled yet.
    pub(crate) in_hand: usize,
    /// Connections that are opened or open.
    pub(crate) sessions: usize,
    /// Those of them that wait for a letter.
    pub(crate) idle: usize,
    /// Wakes the idle ones.
    pub(crate) wake: Arc<Notify>,
    allowed: usize,
    pub(crate) standing: Standing,
    /// Somebody wanted to bring more than there was room for.
    pub(crate) starved: bool,
    /// It is in the scheduler's list of those that may be ready.
    pub(crate) listed: bool,
    /// The rate limit lets the next message go then.
    pub(crate) next_message: Option<Instant>,
    verdict: Option<(Instant, V)>,
    used: Instant,
}

impl<T, V: Clone> Destination<T, V> {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            letters: VecDeque::new(),
            bulk: VecDeque::new(),
            letters_in_a_row: 0,
            in_hand: 0,
            sessions: 0,
            idle: 0,
            wake: Arc::default(),
            allowed: 1,
            standing: Standing::New,
            starved: false,
            listed: false,
            next_message: None,
            verdict: None,
            used: now,
        }
    }

    /// Recipients that it may have in memory; `scarce`: memory is half full.
    pub(crate) fn window(&self, scarce: bool) -> usize {
        let full = match self.standing {
            Standing::New | Standing::Suspect => return WINDOW_UNPROVEN,
            Standing::Proven => WINDOW_PER_SESSION * self.allowed,
        };
        if scarce { full / 10 } else { full }
    }

    /// Loads that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.letters.len() + self.bulk.len()
    }

    pub(crate) fn push(&mut self, now: Instant, load: Load<T>) {
        self.used = now;
        if load.is_bulk { self.bulk.push_back(load) } else { self.letters.push_back(load) }
    }

    /// Puts one back in its place that was only looked at.
    pub(crate) fn push_back_unused(&mut self, load: Load<T>) {
        if load.is_bulk { self.bulk.push_back(load) } else { self.letters.push_back(load) }
    }

    /// Puts one back that was taken out and not tried.
    pub(crate) fn push_front(&mut self, load: Load<T>) {
        if load.is_bulk { self.bulk.push_front(load) } else { self.letters.push_front(load) }
    }

    /// The next one in order.
    pub(crate) fn pop(&mut self) -> Option<Load<T>> {
        let bulk_has_waited = self.letters_in_a_row >= LETTERS_IN_A_ROW && !self.bulk.is_empty();
        if bulk_has_waited || self.letters.is_empty() {
            self.letters_in_a_row = 0;
            return self.bulk.pop_front();
        }
        self.letters_in_a_row += 1;
        self.letters.pop_front()
    }

    /// Whether one more connection is worth while and allowed.
    pub(crate) fn wants_session(&self, sessions_max: usize) -> bool {
        self.waiting() > self.idle && self.sessions < self.allowed.min(sessions_max)
    }

    /// A transaction was taken: one more connection is allowed.
    pub(crate) fn succeeded(&mut self, now: Instant, sessions_max: usize) {
        self.used = now;
        (self.standing, self.verdict) = (Standing::Proven, None);
        self.allowed = (self.allowed + 1).min(sessions_max);
    }

    /// A connection failed or was lost.
    pub(crate) fn slow_down(&mut self, now: Instant) {
        self.used = now;
        self.allowed = 1;
        self.standing = Standing::Suspect;
    }

    /// Nothing of it can be reached; that is news until `until`.
    pub(crate) fn unreachable(&mut self, now: Instant, until: Instant, verdict: V) {
        self.slow_down(now);
        self.verdict = Some((until, verdict));
    }

    /// What was found not long ago, if nothing of it could be reached then.
    pub(crate) fn verdict(&self, now: Instant) -> Option<&V> {
        self.verdict.as_ref().filter(|(until, _)| now < *until).map(|(_, verdict)| verdict)
    }

    /// All that waits, out of memory.
    pub(crate) fn drain(&mut self) -> Vec<Load<T>> {
        self.letters.drain(..).chain(self.bulk.drain(..)).collect()
    }

    /// Whether nothing would be lost by forgetting it: nothing in memory, and not used for `after`.
    pub(crate) fn is_forgettable(&self, now: Instant, after: Duration) -> bool {
        self.in_hand == 0 && self.sessions == 0 && now.duration_since(self.used) >= after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Plain = Destination<u32, &'static str>;

    fn load(letter: u32, is_bulk: bool) -> Load<u32> {
        Load { letter, recipients: 1, is_bulk }
    }

    #[test]
    fn it_starts_slowly_and_falls_back_to_one() {
        let now = Instant::now();
        let mut destination = Plain::new(now);
        (0..50).for_each(|letter| destination.push(now, load(letter, false)));
        let mut allowed = Vec::new();
        for step in 0..6 {
            allowed.push(destination.allowed);
            if step == 3 { destination.slow_down(now) } else { destination.succeeded(now, 4) }
        }
        assert_eq!(allowed, [1, 2, 3, 4, 1, 2]);
        (0..10).for_each(|_| destination.succeeded(now, 4));
        assert_eq!(destination.allowed, 4, "the limit");
        destination.sessions = 4;
        assert!(!destination.wants_session(4));
    }

    #[test]
    fn a_connection_is_opened_only_for_what_no_idle_one_takes() {
        let now = Instant::now();
        let mut destination = Plain::new(now);
        (destination.sessions, destination.idle, destination.allowed) = (1, 1, 9);
        destination.push(now, load(1, false));
        assert!(!destination.wants_session(9));
        destination.push(now, load(2, false));
        assert!(destination.wants_session(9));
    }

    #[test]
    fn letters_go_before_bulk_and_bulk_has_its_turn() {
        let now = Instant::now();
        let mut destination = Plain::new(now);
        (100..103).for_each(|letter| destination.push(now, load(letter, true)));
        (0..6).for_each(|letter| destination.push(now, load(letter, false)));
        let order: Vec<u32> = std::iter::from_fn(|| destination.pop()).map(|load| load.letter).collect();
        assert_eq!(order, [0, 1, 2, 3, 100, 4, 5, 101, 102]);
    }

    #[test]
    fn the_dead_get_little_memory_and_the_proven_much() {
        let now = Instant::now();
        let mut destination = Plain::new(now);
        assert_eq!((destination.window(false), destination.window(true)), (5, 5));
        (0..4).for_each(|_| destination.succeeded(now, 20));
        assert_eq!((destination.window(false), destination.window(true)), (500, 50));
        destination.slow_down(now);
        assert_eq!((destination.window(false), destination.window(true)), (5, 5));
    }

    #[test]
    fn a_verdict_is_news_for_a_while_and_ends_with_a_success() {
        let now = Instant::now();
        let later = now + Duration::from_secs(60);
        let mut destination = Plain::new(now);
        destination.unreachable(now, later, "refused");
        assert_eq!(destination.verdict(now), Some(&"refused"));
        assert_eq!(destination.verdict(later), None);
        destination.succeeded(now, 20);
        assert_eq!(destination.verdict(now), None);
    }
}
