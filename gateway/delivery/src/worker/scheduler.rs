//! Which letter goes when, over which of how many connections: all that is in memory, and its bounds.
//!
//! Recipients are *claimed* before they are taken from the queue, so that all groups together never bring more than the
//! memory's bound; a claim ends when its recipient is settled. Destinations that may be spoken to stand in one line and
//! take turns. What limits connections is, in this order: the bound of the process (of which destinations that
//! failed last get a quarter), the destination's own pace, and the rate limits. A connection that has waited long for its
//! host's first word does not count: another may be opened in its place, up to as many again. So hosts that take
//! connections and never speak cannot use up the bound.
//!
//! Nothing is here that the queue does not have: dropping it all loses nothing but the attempts that have not begun.
//!
//! Pure: the time is an argument. The driver is in `attempt`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::destination::{Destination, Load, SessionEnd, Standing};

/// Bounds and rates.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Recipients in memory.
    pub(crate) recipients_max: usize,
    /// Connections of the process.
    pub(crate) sessions_max: usize,
    /// Connections to one destination.
    pub(crate) sessions_per_destination_max: usize,
    /// Pause between two messages to one destination; zero: none.
    pub(crate) pause_per_destination: Duration,
    /// Pause between two messages to anybody; zero: none.
    pub(crate) pause: Duration,
    /// How long an unreachable destination is not tried again for what comes meanwhile.
    pub(crate) unreachable_for: Duration,
}

/// Of all bounds, destinations that failed last get this part together.
const SUSPECTS_PART: usize = 4;
/// Of memory, destinations that have taken nothing yet get this part together: they may be dead, and what has proved to live
/// must not wait until that is clear.
const NEW_PART: usize = 2;
/// A destination's pace is forgotten when it was not used for so long.
const FORGET_AFTER: Duration = Duration::from_secs(1800);
/// When more destinations are known than this, those that may be forgotten are looked for.
const DESTINATIONS_MANY: usize = 10_000;

/// All that is in memory.
#[derive(Debug)]
pub(crate) struct Scheduler<T, V> {
    limits: Limits,
    destinations: HashMap<Arc<str>, Destination<T, V>>,
    /// Where routes led last what the queue knows by another name: that is where its memory is counted.
    led_to: HashMap<Arc<str>, Arc<str>>,
    /// Those that may want a connection, in turn.
    ready: VecDeque<Arc<str>>,
    /// Those that a rate limit keeps.
    later: BTreeSet<(Instant, Arc<str>)>,
    /// Recipients in memory, by their destinations' standing.
    in_hand: [usize; Standing::ALL.len()],
    sessions: usize,
    suspect_sessions: usize,
    /// Connections that wait for a host that does not answer; not among `sessions`.
    slow: usize,
    /// Which destinations' open connections count as suspects' (they did when they were opened).
    opened_as_suspect: BTreeMap<Arc<str>, usize>,
    next_message: Option<Instant>,
    starved: bool,
    forget_at: usize,
}

/// What became of a load that was offered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Offered<T, V> {
    /// It waits for its turn.
    Waits,
    /// It is told what was found not long ago.
    Told(Load<T>, V),
}

impl<T, V: Clone> Scheduler<T, V> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            destinations: HashMap::new(),
            led_to: HashMap::new(),
            ready: VecDeque::new(),
            later: BTreeSet::new(),
            in_hand: [0; Standing::ALL.len()],
            sessions: 0,
            suspect_sessions: 0,
            slow: 0,
            opened_as_suspect: BTreeMap::new(),
            next_message: None,
            starved: false,
            forget_at: DESTINATIONS_MANY,
        }
    }

    fn destination(&mut self, now: Instant, name: &Arc<str>) -> &mut Destination<T, V> {
        self.destinations.entry(name.clone()).or_insert_with(|| Destination::new(now))
    }

    /// The name under which a destination of the queue is known here.
    pub(crate) fn known_as(&self, name: &str) -> Arc<str> {
        self.led_to.get(name).cloned().unwrap_or_else(|| Arc::from(name))
    }

    /// Claims memory for up to `wanted` recipients; gives how many may be taken. `failing`: the queue knows that the
    /// destination failed last.
    pub(crate) fn claim(&mut self, now: Instant, name: &Arc<str>, wanted: usize, failing: bool) -> usize {
        self.forget(now);
        let scarce = self.is_scarce();
        let total_left = self.limits.recipients_max.saturating_sub(self.in_hand());
        let destination = self.destination(now, name);
        if failing && destination.in_hand == 0 && destination.sessions == 0 {
            destination.standing = Standing::Suspect;
        }
        let standing = destination.standing;
        let window = destination.window(scarce).saturating_sub(destination.in_hand);
        let left = total_left.min(self.left_of(standing));
        let granted = wanted.min(window).min(left);
        self.in_hand[standing as usize] += granted;
        self.starved |= granted < wanted && left < window;
        let destination = self.destination(now, name);
        destination.starved |= granted < wanted && window <= left;
        destination.in_hand += granted;
        granted
    }

    /// Whether memory is half full.
    fn is_scarce(&self) -> bool {
        self.in_hand() * 2 >= self.limits.recipients_max
    }

    /// What is left of the part of memory that destinations of this standing have.
    fn left_of(&self, standing: Standing) -> usize {
        let part = match standing {
            Standing::New => NEW_PART,
            Standing::Proven => 1,
            Standing::Suspect => SUSPECTS_PART,
        };
        (self.limits.recipients_max / part).saturating_sub(self.in_hand[standing as usize])
    }

    /// Does something to a destination that may change its standing.
    fn with<R>(&mut self, now: Instant, name: &Arc<str>, done: impl FnOnce(&mut Destination<T, V>) -> R) -> R {
        let destination = self.destination(now, name);
        let before = destination.standing;
        let result = done(destination);
        let (after, count) = (destination.standing, destination.in_hand);
        let of_before = &mut self.in_hand[before as usize];
        *of_before = of_before.saturating_sub(count);
        self.in_hand[after as usize] += count;
        result
    }

    /// Ends claims: the recipients are settled, or were not taken. Whether looking for more is worth while.
    pub(crate) fn release(&mut self, name: &Arc<str>, count: usize) -> bool {
        let scarce = self.is_scarce();
        let Some(destination) = self.destinations.get_mut(name) else { return false };
        destination.in_hand = destination.in_hand.saturating_sub(count);
        let of_standing = &mut self.in_hand[destination.standing as usize];
        *of_standing = of_standing.saturating_sub(count);
        // Not at each one: a look reads a page, so there should be room for one.
        let has_room = destination.starved && destination.in_hand * 2 <= destination.window(scarce);
        if has_room {
            destination.starved = false;
        }
        let in_hand: usize = self.in_hand.iter().sum();
        let has_memory = self.starved && in_hand * 4 <= self.limits.recipients_max * 3;
        if has_memory {
            self.starved = false;
        }
        has_room || has_memory
    }

    /// Moves a claim to another destination: the one that routes give to what the queue knows as `queued`.
    pub(crate) fn reclaim(
        &mut self,
        now: Instant,
        queued: Option<&str>,
        (from, to): (&Arc<str>, &Arc<str>),
        count: usize,
    ) {
        if self.led_to.len() >= DESTINATIONS_MANY {
            self.led_to.clear();
        }
        if let Some(queued) = queued {
            self.led_to.insert(Arc::from(queued), to.clone());
        }
        self.release(from, count);
        let destination = self.destination(now, to);
        destination.in_hand += count;
        let standing = destination.standing;
        self.in_hand[standing as usize] += count;
    }

    /// Takes in what was taken from the queue; its recipients are claimed. `insists`: what was found before is no reason
    /// not to try.
    pub(crate) fn offer(&mut self, now: Instant, name: &Arc<str>, load: Load<T>, insists: bool) -> Offered<T, V> {
        let destination = self.destination(now, name);
        if let Some(verdict) = destination.verdict(now).filter(|_| !insists) {
            return Offered::Told(load, verdict.clone());
        }
        destination.push(now, load);
        if destination.idle > 0 {
            destination.wake.notify_one();
        }
        self.list(name);
        Offered::Waits
    }

    fn list(&mut self, name: &Arc<str>) {
        let Some(destination) = self.destinations.get_mut(name) else { return };
        if !destination.listed && destination.wants_session(self.limits.sessions_per_destination_max) {
            destination.listed = true;
            self.ready.push_back(name.clone());
        }
    }

    /// The next connection to open, with its first letter; its end is told by [`Self::ended`].
    pub(crate) fn start(&mut self, now: Instant) -> Option<(Arc<str>, Load<T>)> {
        self.bring_later_ones(now);
        if self.sessions >= self.limits.sessions_max || self.next_message.is_some_and(|next| now < next) {
            return None;
        }
        for _ in 0..self.ready.len() {
            let name = self.ready.pop_front()?;
            let suspects_full = self.suspect_sessions * SUSPECTS_PART >= self.limits.sessions_max;
            let per_destination = self.limits.sessions_per_destination_max;
            let Some(destination) = self.destinations.get_mut(&name) else { continue };
            destination.listed = false;
            if !destination.wants_session(per_destination) {
                continue;
            }
            if let Some(next) = destination.next_message.filter(|next| now < *next) {
                destination.listed = true;
                self.later.insert((next, name));
                continue;
            }
            let suspect = destination.standing == Standing::Suspect;
            if suspect && suspects_full {
                destination.listed = true;
                self.ready.push_back(name);
                continue;
            }
            let Some(load) = destination.pop() else { continue };
            destination.sessions += 1;
            self.sessions += 1;
            if suspect {
                self.suspect_sessions += 1;
                *self.opened_as_suspect.entry(name.clone()).or_default() += 1;
            }
            self.pace(now, &name);
            self.list(&name);
            return Some((name, load));
        }
        None
    }

    fn bring_later_ones(&mut self, now: Instant) {
        while self.later.first().is_some_and(|(when, _)| *when <= now) {
            if let Some((_, name)) = self.later.pop_first() {
                self.ready.push_back(name);
            }
        }
    }

    /// A message goes out: rate limits count it.
    fn pace(&mut self, now: Instant, name: &Arc<str>) {
        let (pause, of_destination) = (self.limits.pause, self.limits.pause_per_destination);
        if !pause.is_zero() {
            self.next_message = Some(self.next_message.map_or(now, |next| next.max(now)) + pause);
        }
        if let Some(destination) = self.destinations.get_mut(name).filter(|_| !of_destination.is_zero()) {
            destination.next_message =
                Some(destination.next_message.map_or(now, |next| next.max(now)) + of_destination);
        }
    }

    /// When a rate limit lets the next one go, if one keeps somebody.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let later = self.later.first().map(|(when, _)| *when);
        let anybody = self.next_message.filter(|_| !self.ready.is_empty());
        later.into_iter().chain(anybody).min()
    }

    /// The next letter for an open connection to this destination.
    pub(crate) fn more(&mut self, now: Instant, name: &Arc<str>) -> Option<Load<T>> {
        if self.next_message.is_some_and(|next| now < next) {
            return None;
        }
        let destination = self.destinations.get_mut(name)?;
        if destination.next_message.is_some_and(|next| now < next) {
            return None;
        }
        let load = destination.pop()?;
        self.pace(now, name);
        Some(load)
    }

    /// An open connection waits for a letter (`true`) or does not any more. Gives what wakes it.
    pub(crate) fn idle(&mut self, now: Instant, name: &Arc<str>, waits: bool) -> Arc<Notify> {
        let destination = self.destination(now, name);
        destination.idle = if waits { destination.idle + 1 } else { destination.idle.saturating_sub(1) };
        destination.wake.clone()
    }

    /// A connection has waited long for its host: it counts no more, as long as there are not too many such, and a
    /// destination that is new stands as one that failed. Whether it counts no more; [`Self::awake`] ends that.
    pub(crate) fn slow(&mut self, now: Instant, name: &Arc<str>) -> bool {
        self.with(now, name, |destination| {
            if destination.standing == Standing::New {
                destination.standing = Standing::Suspect;
            }
        });
        let counts_no_more = self.slow < self.limits.sessions_max;
        if counts_no_more {
            self.slow += 1;
            self.sessions = self.sessions.saturating_sub(1);
        }
        counts_no_more
    }

    /// A slow connection counts again: its host has answered, or failed.
    pub(crate) fn awake(&mut self) {
        self.slow = self.slow.saturating_sub(1);
        self.sessions += 1;
    }

    /// Leaves a letter that was not tried to the destination's other connections; gives it back when there is none.
    pub(crate) fn leave_to_company(&mut self, name: &Arc<str>, load: Load<T>) -> Option<Load<T>> {
        let Some(destination) = self.destinations.get_mut(name).filter(|destination| destination.sessions > 1) else {
            return Some(load);
        };
        destination.push_front(load);
        destination.wake.notify_one();
        None
    }

    /// A transaction was taken.
    pub(crate) fn succeeded(&mut self, now: Instant, name: &Arc<str>) {
        let sessions_max = self.limits.sessions_per_destination_max;
        self.with(now, name, |destination| destination.succeeded(now, sessions_max));
        self.list(name);
    }

    /// A connection has ended; gives what waited and is told the same.
    pub(crate) fn ended(&mut self, now: Instant, name: &Arc<str>, end: SessionEnd<V>) -> Vec<Load<T>> {
        self.sessions = self.sessions.saturating_sub(1);
        if let Some(count) = self.opened_as_suspect.get_mut(name) {
            *count -= 1;
            self.suspect_sessions = self.suspect_sessions.saturating_sub(1);
            if *count == 0 {
                self.opened_as_suspect.remove(name);
            }
        }
        let until = now + self.limits.unreachable_for;
        let told = self.with(now, name, |destination| {
            destination.sessions = destination.sessions.saturating_sub(1);
            match end {
                SessionEnd::Peace => Vec::new(),
                SessionEnd::Lost => {
                    destination.slow_down(now);
                    Vec::new()
                }
                SessionEnd::Unreachable(verdict) => {
                    destination.unreachable(now, until, verdict);
                    destination.drain()
                }
                SessionEnd::Told => destination.drain(),
            }
        });
        self.list(name);
        told
    }

    /// All that waits, out of memory: the worker stops, or a lease was lost (`which` says whose).
    pub(crate) fn drain(&mut self, mut which: impl FnMut(&T) -> bool) -> Vec<(Arc<str>, Load<T>)> {
        let mut drained = Vec::new();
        for (name, destination) in &mut self.destinations {
            for load in destination.drain() {
                if which(&load.letter) {
                    drained.push((name.clone(), load));
                } else {
                    destination.push_back_unused(load);
                }
            }
        }
        drained
    }

    /// Recipients in memory.
    pub(crate) fn in_hand(&self) -> usize {
        self.in_hand.iter().sum()
    }

    /// Connections open or being opened.
    #[cfg(test)]
    const fn sessions(&self) -> usize {
        self.sessions
    }

    /// Paces of destinations that nobody has used for long are forgotten, when there are many.
    fn forget(&mut self, now: Instant) {
        if self.destinations.len() < self.forget_at {
            return;
        }
        self.destinations.retain(|_, destination| destination.listed || !destination.is_forgettable(now, FORGET_AFTER));
        // So that a world of living ones is not walked at each claim.
        self.forget_at = (self.destinations.len() * 2).max(DESTINATIONS_MANY);
    }
}

#[cfg(test)]
mod tests;
