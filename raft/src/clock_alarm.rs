//! Tells operators that this node's clock is wrong: apart from those of the other voters, or behind that of its groups.
//!
//! A leader whose clock is apart stamps nothing and hands its groups over ([`crate::clocks`]). A group's clock never goes
//! back: it is the latest stamp of its entries. A node whose own clock was set back gives its requests deadlines that lie
//! behind it, once it is further behind than requests wait, and they are refused. Nothing is wrong with the mail then, and
//! nothing in the refusal names the cause: this does.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use securanet_model::limits;

use crate::{GroupStatus, clock_told};

/// Less is the ordinary difference between stamping and looking.
const AHEAD_MILLIS_MIN: u64 = 1000;
/// As long as it lasts, it is said again so often.
const AGAIN: Duration = Duration::from_secs(60);

/// What is wrong with the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wrong {
    /// It differs from what most voters say.
    Apart,
    /// Requests still end in time.
    Behind,
    /// Further than requests wait: all writes are refused.
    TooFarBehind,
}

/// Says it, at most once a minute, and at once when it gets worse or better.
#[derive(Default)]
pub(crate) struct ClockAlarm {
    told: Mutex<Option<(Instant, Wrong)>>,
}

impl ClockAlarm {
    /// Looks at all groups; what it said. `apart` is how far the clock is from those of the voters, if it is wrong.
    pub(crate) fn look(&self, apart: Option<i64>, statuses: &[GroupStatus], now: Instant) -> Option<Wrong> {
        if let Some(off) = apart {
            return self.is_news(Wrong::Apart, now).then(|| {
                let off = clock_told(off);
                tracing::error!(
                    "this node's clock is {off}: it writes nothing and hands over what it leads; set the clock"
                );
                Wrong::Apart
            });
        }
        let worst = statuses.iter().max_by_key(|status| status.clock_ahead_millis);
        let Some(worst) = worst.filter(|worst| worst.clock_ahead_millis >= AHEAD_MILLIS_MIN) else {
            *self.told.lock() = None;
            return None;
        };
        let too_far = worst.clock_ahead_millis >= limits::COMMIT_TIMEOUT_MILLIS;
        let behind = if too_far { Wrong::TooFarBehind } else { Wrong::Behind };
        if !self.is_news(behind, now) {
            return None;
        }
        let (group, behind_seconds) = (worst.group, worst.clock_ahead_millis / 1000);
        if too_far {
            tracing::error!(
                %group,
                behind_seconds,
                "this node's clock is behind what it was: mail is refused for now (451) until it catches up; set the clock"
            );
        } else {
            tracing::warn!(
                %group,
                behind_seconds,
                "this node's clock is behind what it was; mail goes on, but would be refused beyond 30 s"
            );
        }
        Some(behind)
    }

    fn is_news(&self, wrong: Wrong, now: Instant) -> bool {
        let mut told = self.told.lock();
        if told.is_some_and(|(at, told)| told == wrong && now.duration_since(at) < AGAIN) {
            return false;
        }
        *told = Some((now, wrong));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use securanet_model::GroupId;

    use super::*;

    fn ahead(clock_ahead_millis: u64) -> [GroupStatus; 1] {
        [GroupStatus {
            group: GroupId::new(1),
            replica: 1,
            leader: Some(1),
            is_leader: true,
            term: 1,
            voters: BTreeSet::new(),
            members: Vec::new(),
            committed: None,
            replayed: true,
            last_log: None,
            last_log_term: None,
            applied: None,
            flushed: None,
            purged: None,
            log_bytes: 0,
            waiting_requests: 0,
            proposals_in_flight: 0,
            clock_ahead_millis,
            hollow: false,
            hollow_blobs: 0,
            stopped: None,
        }]
    }

    #[test]
    fn a_clock_that_was_set_back_is_told_once_a_minute() {
        let (alarm, start) = (ClockAlarm::default(), Instant::now());
        let look = |millis, seconds| alarm.look(None, &ahead(millis), start + Duration::from_secs(seconds));
        assert_eq!(look(999, 0), None, "the ordinary difference");
        assert_eq!(look(60_000, 0), Some(Wrong::TooFarBehind));
        assert_eq!(look(59_000, 1), None);
        assert_eq!(look(58_000, 60), Some(Wrong::TooFarBehind));
        assert_eq!(look(0, 61), None);
        assert_eq!(look(60_000, 62), Some(Wrong::TooFarBehind), "set back again");
    }

    #[test]
    fn it_says_that_mail_is_refused_only_when_it_is_and_then_at_once() {
        let (alarm, start) = (ClockAlarm::default(), Instant::now());
        let look = |millis, seconds| alarm.look(None, &ahead(millis), start + Duration::from_secs(seconds));
        assert_eq!(look(29_999, 0), Some(Wrong::Behind));
        assert_eq!(look(30_000, 1), Some(Wrong::TooFarBehind));
        assert_eq!(look(29_000, 2), Some(Wrong::Behind));
        assert_eq!(look(1000, 3), None);
    }

    #[test]
    fn a_leader_apart_from_the_others_is_told_before_anything_else() {
        let (alarm, start) = (ClockAlarm::default(), Instant::now());
        assert_eq!(alarm.look(Some(-501), &ahead(60_000), start), Some(Wrong::Apart));
        assert_eq!(alarm.look(Some(-520), &ahead(60_000), start), None);
        assert_eq!(alarm.look(None, &ahead(60_000), start), Some(Wrong::TooFarBehind));
    }
}
