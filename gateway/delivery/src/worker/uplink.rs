//! Whether it is our own way into the world that is dead, and not each of many destinations.
//!
//! When several different destinations gave no sign of life and nothing in the world has given one for minutes, the
//! likelier fault is ours: such failures count as no retry, and an alert is raised. Any answer is a sign of life, also a
//! refused connection, a 4xx or a 5xx: something beyond our uplink has spoken. One dead destination is never a
//! verdict about us, however often it is tried.
//!
//! Pure: the time is an argument.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

use crate::client::{OpenFailure, Stage};

/// So many different destinations must be silent: two or three can be dead together by chance.
const SILENT_MIN: usize = 5;
/// Nothing has answered for so long. A shorter time would take the pause of a small server for an outage.
const SILENCE: Duration = Duration::from_secs(300);
/// Names remembered: more prove nothing further.
const REMEMBERED_MAX: usize = 100;

/// The verdict's evidence.
#[derive(Debug)]
pub(crate) struct Uplink {
    answered: Instant,
    silent: BTreeSet<String>,
    alert: bool,
}

/// What an attempt to reach a destination says about the uplink.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sign {
    /// Something out there has answered, with whatever words.
    Life,
    /// Nothing came back.
    Silence,
}

impl Sign {
    /// What a failure to reach a host says. A refused connection was answered, by the host or by something before it.
    pub(crate) fn of(failure: &OpenFailure) -> Self {
        let nothing_came = failure.stage == Stage::Connect && !failure.answer.contains("refused");
        if nothing_came { Self::Silence } else { Self::Life }
    }
}

/// What changed with a sign.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// The uplink is taken for dead from now on: an operator should look.
    Died,
    /// It lives again.
    Revived,
}

impl Uplink {
    /// An uplink that is taken for alive.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { answered: now, silent: BTreeSet::new(), alert: false }
    }

    /// Takes what an attempt at a destination has shown.
    pub(crate) fn saw(&mut self, now: Instant, destination: &str, sign: Sign) -> Change {
        match sign {
            Sign::Life => {
                self.answered = now;
                self.silent.clear();
                if std::mem::take(&mut self.alert) { Change::Revived } else { Change::None }
            }
            Sign::Silence => {
                if self.silent.len() < REMEMBERED_MAX && !self.silent.contains(destination) {
                    self.silent.insert(destination.to_owned());
                }
                let died = !self.alert && self.is_dead(now);
                self.alert |= died;
                if died { Change::Died } else { Change::None }
            }
        }
    }

    /// Whether silence is our own fault right now.
    pub(crate) fn is_dead(&self, now: Instant) -> bool {
        self.silent.len() >= SILENT_MIN && now.duration_since(self.answered) >= SILENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn five_silent_destinations_and_five_minutes_without_an_answer_are_our_own_fault() {
        let start = Instant::now();
        let mut uplink = Uplink::new(start);
        for (number, seconds) in [(1, 10), (2, 20), (3, 30), (4, 299)] {
            assert_eq!(uplink.saw(after(start, seconds), &number.to_string(), Sign::Silence), Change::None);
        }
        assert!(!uplink.is_dead(after(start, 1000)), "four are not enough");
        assert_eq!(uplink.saw(after(start, 299), "5", Sign::Silence), Change::None, "not yet five minutes");
        assert!(!uplink.is_dead(after(start, 299)));
        assert!(uplink.is_dead(after(start, 300)));
        assert_eq!(uplink.saw(after(start, 301), "5", Sign::Silence), Change::Died);
        assert_eq!(uplink.saw(after(start, 302), "6", Sign::Silence), Change::None, "one alert is enough");
    }

    #[test]
    fn one_destination_tried_often_is_only_one() {
        let start = Instant::now();
        let mut uplink = Uplink::new(start);
        for second in 0..1000 {
            uplink.saw(after(start, second), "dead.example", Sign::Silence);
        }
        assert!(!uplink.is_dead(after(start, 1000)));
    }

    #[test]
    fn any_answer_ends_the_verdict() {
        let start = Instant::now();
        let mut uplink = Uplink::new(start);
        for number in 0..200 {
            uplink.saw(after(start, 400), &number.to_string(), Sign::Silence);
        }
        assert!(uplink.is_dead(after(start, 400)));
        assert_eq!(uplink.saw(after(start, 401), "alive.example", Sign::Life), Change::Revived);
        assert!(!uplink.is_dead(after(start, 401)));
        assert_eq!(uplink.saw(after(start, 402), "alive.example", Sign::Life), Change::None);
    }
}
