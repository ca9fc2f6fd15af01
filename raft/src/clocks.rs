//! The wall clocks of other nodes, as far as heartbeats tell: a leader whose own clock is wrong stamps nothing.
//!
//! A group's clock is the latest stamp of its entries and never goes back. A leader that is ten minutes ahead would take
//! all its groups along, and whoever leads next with the right time would refuse writes until it has caught up.
//!
//! So some heartbeats ask for the other node's clock. Its answer was true at some instant between the question and the
//! answer, so it is known but for half of that time (the slack). It is kept against this node's steady clock, not against
//! its wall clock: when that one jumps, it is apart from all others at once, and not only when they have been asked again.
//!
//! The voters judge, this node's own clock among them: it is right while at least half of them are not known to be further
//! from it than [`OFF_MILLIS_MAX`] (of two nobody knows which one is wrong, so both are right). A voter that was never
//! asked, or has been asked for less than [`SETTLED`], does not count for it: who has just been elected hears the others
//! first, which takes a round trip. One that stays silent counts for it, or a wrong clock and a dead node together would
//! stop the group.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use securanet_model::UnixMillis;
use tokio::time::Instant;

use crate::settings::Clock;

/// Further apart than the clocks of nodes that keep time.
const OFF_MILLIS_MAX: u64 = 500;
/// A node is asked so often.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// What a node said is believed for so long.
const FRESH: Duration = Duration::from_secs(10);
/// A less exact answer does not replace one that is younger than this.
const EXACT: Duration = Duration::from_secs(5);
/// Who has been silent for so long is not waited for.
const SETTLED: Duration = Duration::from_secs(1);

/// The clocks of all nodes that this one sends heartbeats to. Clones are the same.
#[derive(Clone)]
pub(crate) struct Clocks(Arc<Shared>);

struct Shared {
    wall: Clock,
    /// When the steady clock was 0.
    begun: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    questions: u64,
    nodes: BTreeMap<String, Asked>,
}

/// What a node was asked and has said.
#[derive(Default)]
struct Asked {
    /// The last question.
    question: Option<Question>,
    /// The first question since it last answered.
    unanswered_since: Option<Instant>,
    told: Option<Told>,
}

#[derive(Clone, Copy)]
struct Question {
    number: u64,
    at: Instant,
    /// How far this node's own wall clock was ahead of its steady one.
    own: i64,
}

/// A node's clock.
#[derive(Clone, Copy)]
struct Told {
    /// How far it is ahead of this node's steady clock, in milliseconds.
    ahead: i64,
    /// It may as well be so much less or more.
    slack: i64,
    at: Instant,
}

/// Whether a clock that is so far from the median of the voters' is wrong: its node leads no group.
#[must_use]
pub const fn is_wrong_clock(off_millis: i64) -> bool {
    off_millis.unsigned_abs() > OFF_MILLIS_MAX
}

/// How far a clock is from the median of the voters', for people.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "told to a tenth of a second")]
pub fn clock_told(off_millis: i64) -> String {
    let way = if off_millis < 0 { "behind" } else { "ahead of" };
    format!("{:.1} s {way} the others'", off_millis.unsigned_abs() as f64 / 1000.0)
}

impl Told {
    /// Whether it says more than what was told before: it is more exact, that one is old, or the clock has moved since.
    fn replaces(&self, last: &Self) -> bool {
        let moved = (self.ahead - last.ahead).saturating_abs() > self.slack + last.slack;
        self.slack <= last.slack || moved || self.at.duration_since(last.at) >= EXACT
    }
}

/// What is known of a voter's clock, against this node's wall clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    /// It is at least so far ahead, in milliseconds; behind if negative.
    Ahead(i64),
    /// It does not answer.
    Silent,
    /// It was not asked, or not long enough ago.
    NotYet,
}

/// This node's clock among those of a group's voters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// Entries may be stamped with it.
    Right,
    /// Not enough voters have said what theirs are.
    NotYet,
    /// It is ahead of the median of the voters' by so many milliseconds; behind if negative.
    Wrong(i64),
}

impl Clocks {
    pub(crate) fn new(wall: Clock) -> Self {
        Self(Arc::new(Shared { wall, begun: Instant::now(), state: Mutex::default() }))
    }

    /// This node's wall clock.
    pub(crate) fn wall(&self) -> UnixMillis {
        (self.0.wall)()
    }

    /// How far this node's wall clock is ahead of its steady one, in milliseconds.
    fn own(&self, now: Instant) -> i64 {
        signed(self.wall().get()).saturating_sub(millis(now.duration_since(self.0.begun)))
    }

    /// The number of a question for a node, when it is time for one: once a second, and at once when this node's own clock
    /// has jumped, since all may have.
    pub(crate) fn ask(&self, node: &str) -> Option<u64> {
        let now = Instant::now();
        let own = self.own(now);
        let mut state = self.0.state.lock();
        let number = state.questions + 1;
        let asked = state.nodes.entry(node.to_owned()).or_default();
        let is_early =
            |last: Question| now.duration_since(last.at) < ASK_EVERY && last.own.abs_diff(own) <= OFF_MILLIS_MAX;
        if asked.question.is_some_and(is_early) {
            return None;
        }
        asked.question = Some(Question { number, at: now, own });
        asked.unanswered_since.get_or_insert(now);
        state.questions = number;
        Some(number)
    }

    /// A node has answered. An answer to an earlier question than the last one is not looked at.
    pub(crate) fn answered(&self, node: &str, number: u64, wall: UnixMillis) {
        let now = Instant::now();
        let mut state = self.0.state.lock();
        let Some(asked) = state.nodes.get_mut(node) else { return };
        let Some(Question { at: asked_at, .. }) = asked.question.filter(|last| last.number == number) else { return };
        if asked.unanswered_since.take().is_none() {
            return;
        }
        let slack = now.duration_since(asked_at) / 2;
        let between = asked_at + slack;
        let ahead = signed(wall.get()).saturating_sub(millis(between.duration_since(self.0.begun)));
        let told = Told { ahead, slack: millis(slack), at: now };
        if asked.told.is_none_or(|last| told.replaces(&last)) {
            asked.told = Some(told);
        }
    }

    /// How this node's clock stands among those of a group's voters, given the nodes of the others.
    pub(crate) fn standing<'n>(&self, others: impl Iterator<Item = &'n str>) -> Standing {
        let known: Vec<Known> = others.map(|node| self.known(node)).collect();
        standing(&known)
    }

    /// How far each of these clocks is from the median of them all, in milliseconds, this node's own first; none of who has
    /// not said.
    pub(crate) fn off<'n>(&self, others: impl Iterator<Item = &'n str>) -> (i64, BTreeMap<String, i64>) {
        let known: BTreeMap<String, Known> = others.map(|node| (node.to_owned(), self.known(node))).collect();
        let median = median(&known.values().copied().collect::<Vec<_>>());
        let off = known.into_iter().filter_map(|(node, known)| match known {
            Known::Ahead(ahead) => Some((node, ahead.saturating_sub(median))),
            Known::Silent | Known::NotYet => None,
        });
        (median.saturating_neg(), off.collect())
    }

    /// How far the clocks of all nodes that have said are ahead of this one's, in milliseconds.
    pub(crate) fn all(&self) -> Vec<(String, i64)> {
        let nodes: Vec<String> = self.0.state.lock().nodes.keys().cloned().collect();
        let ahead = |node: String| match self.known(&node) {
            Known::Ahead(ahead) => Some((node, ahead)),
            Known::Silent | Known::NotYet => None,
        };
        nodes.into_iter().filter_map(ahead).collect()
    }

    fn known(&self, node: &str) -> Known {
        let now = Instant::now();
        let own = self.own(now);
        let state = self.0.state.lock();
        let Some(asked) = state.nodes.get(node) else { return Known::NotYet };
        match asked.told.filter(|told| now.duration_since(told.at) < FRESH) {
            Some(told) => {
                let ahead = told.ahead.saturating_sub(own);
                // As near as what is known allows.
                Known::Ahead(ahead.signum() * (ahead.saturating_abs() - told.slack).max(0))
            }
            None if asked.unanswered_since.is_some_and(|since| now.duration_since(since) >= SETTLED) => Known::Silent,
            None => Known::NotYet,
        }
    }
}

/// This node's clock among what is known of the other voters'.
fn standing(others: &[Known]) -> Standing {
    let voters = others.len() + 1;
    let against = others.iter().filter(|known| matches!(known, Known::Ahead(ahead) if is_wrong_clock(*ahead))).count();
    let not_yet = others.iter().filter(|known| **known == Known::NotYet).count();
    if against * 2 > voters {
        Standing::Wrong(median(others).saturating_neg())
    } else if (against + not_yet) * 2 > voters {
        Standing::NotYet
    } else {
        Standing::Right
    }
}

/// How far the median of all voters' clocks is ahead of this one's: who has not said is taken to agree with it, and of two
/// in the middle it is the one that is nearer.
fn median(others: &[Known]) -> i64 {
    let ahead = |known: &Known| if let Known::Ahead(ahead) = known { *ahead } else { 0 };
    let mut all: Vec<i64> = others.iter().map(ahead).chain([0]).collect();
    all.sort_unstable();
    let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
    if low.unsigned_abs() < high.unsigned_abs() { low } else { high }
}

fn signed(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::time::advance;

    use super::*;

    /// Clocks of a node whose wall clock can be set.
    fn clocks() -> (Clocks, Arc<AtomicU64>) {
        let set = Arc::new(AtomicU64::new(1_000_000));
        let (ahead, begun) = (set.clone(), Instant::now());
        let wall: Clock =
            Arc::new(move || UnixMillis::new(ahead.load(Ordering::Relaxed) + begun.elapsed().as_millis() as u64));
        (Clocks::new(wall), set)
    }

    /// A node whose clock is so far ahead answers after this round trip.
    async fn tell(clocks: &Clocks, node: &str, ahead: i64, round_trip_millis: u64) {
        let number = clocks.ask(node).unwrap();
        advance(Duration::from_millis(round_trip_millis / 2)).await;
        let wall = UnixMillis::new(clocks.wall().get().saturating_add_signed(ahead));
        advance(Duration::from_millis(round_trip_millis / 2)).await;
        clocks.answered(node, number, wall);
    }

    fn three(clocks: &Clocks) -> Standing {
        clocks.standing(["b", "c"].into_iter())
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_is_wrong_when_most_voters_are_known_to_be_elsewhere() {
        let (clocks, _) = clocks();
        assert_eq!(clocks.standing(std::iter::empty()), Standing::Right, "alone");
        assert_eq!(three(&clocks), Standing::NotYet, "nobody was asked");
        tell(&clocks, "b", -600_000, 80).await;
        assert_eq!(three(&clocks), Standing::NotYet, "either of them may be wrong");
        tell(&clocks, "c", -600_100, 80).await;
        assert_eq!(three(&clocks), Standing::Wrong(599_960), "known but for half a round trip");
        advance(ASK_EVERY).await;
        tell(&clocks, "c", 400, 80).await;
        assert_eq!(three(&clocks), Standing::Right, "it is b that is wrong");
        let (own, off) = clocks.off(["b", "c"].into_iter());
        assert_eq!((own, off["b"], off["c"]), (0, -599_960, 360));
        assert_eq!(clocks.all(), [("b".to_owned(), -599_960), ("c".to_owned(), 360)]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_is_waited_for_a_second_and_then_no_more() {
        let (clocks, _) = clocks();
        tell(&clocks, "b", -600_000, 80).await;
        assert!(clocks.ask("c").is_some() && clocks.ask("c").is_none(), "once a second");
        advance(SETTLED - Duration::from_millis(1)).await;
        assert_eq!(three(&clocks), Standing::NotYet);
        advance(Duration::from_millis(1)).await;
        assert_eq!(three(&clocks), Standing::Right, "or a wrong clock and a dead node together would stop the group");
        tell(&clocks, "b", 0, 80).await;
        advance(FRESH).await;
        assert_eq!(clocks.off(["b"].into_iter()), (0, BTreeMap::new()), "too long ago");
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_of_the_own_clock_is_known_at_once() {
        let (clocks, set) = clocks();
        for node in ["b", "c"] {
            tell(&clocks, node, 10, 20).await;
        }
        assert_eq!(three(&clocks), Standing::Right);
        set.fetch_add(600_000, Ordering::Relaxed);
        assert_eq!(three(&clocks), Standing::Wrong(599_980));
        assert!(clocks.ask("b").is_some() && clocks.ask("b").is_none(), "all may have jumped");
        set.fetch_sub(1_000_000, Ordering::Relaxed);
        assert_eq!(three(&clocks), Standing::Wrong(-400_000));
        set.fetch_add(400_000, Ordering::Relaxed);
        assert_eq!(three(&clocks), Standing::Right);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_clocks_jump_the_next_answers_say_so_however_inexact_they_are() {
        let (clocks, set) = clocks();
        for node in ["b", "c"] {
            tell(&clocks, node, 0, 20).await;
        }
        set.fetch_add(600_000, Ordering::Relaxed);
        assert_eq!(three(&clocks), Standing::Wrong(599_990));
        for node in ["b", "c"] {
            tell(&clocks, node, 0, 300).await;
        }
        assert_eq!(three(&clocks), Standing::Right);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_known_less_exactly_does_not_replace_what_is_new_and_says_less() {
        let (clocks, _) = clocks();
        for node in ["b", "c"] {
            tell(&clocks, node, -700, 100).await;
            advance(ASK_EVERY).await;
            tell(&clocks, node, -700, 1000).await;
        }
        assert_eq!(three(&clocks), Standing::Wrong(650));
        advance(EXACT).await;
        for node in ["b", "c"] {
            tell(&clocks, node, -700, 1000).await;
        }
        assert_eq!(three(&clocks), Standing::Right, "it may be 200 ms as well");
        clocks.answered("b", 1, UnixMillis::new(0));
        clocks.answered("nobody", 1, UnixMillis::new(0));
        assert_eq!(three(&clocks), Standing::Right, "nobody had asked");
    }

    #[test]
    fn of_two_both_are_right_and_of_five_three_decide() {
        use Known::{Ahead, NotYet, Silent};
        assert_eq!(standing(&[Ahead(9000)]), Standing::Right);
        assert_eq!(standing(&[NotYet]), Standing::Right);
        assert_eq!(standing(&[Ahead(9000), Ahead(-9000), Ahead(0), Silent]), Standing::Right);
        assert_eq!(standing(&[Ahead(9000), Ahead(8000), Ahead(7000), Silent]), Standing::Wrong(-7000));
        assert_eq!(standing(&[Ahead(9000), Ahead(8000), NotYet, Silent]), Standing::NotYet);
        assert_eq!(standing(&[Ahead(501), Ahead(500)]), Standing::Right);
        assert_eq!(median(&[Ahead(9000)]), 0, "the nearer one");
        assert_eq!(median(&[Ahead(-9000), Ahead(-800), Ahead(-700)]), -700);
    }
}
