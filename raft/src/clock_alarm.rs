//! Tells operators that this node's clock is behind that of its groups.
//!
//! A group's clock never goes back: it is the latest stamp of its entries. A node whose own clock was set back gives
//! its requests deadlines that lie behind it, once it is further behind than requests wait, and they are refused. Nothing is
//! wrong with the mail then, and nothing in the refusal names the cause: this does.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use securanet_model::limits;

use crate::GroupStatus;

/// Less is the ordinary difference between stamping and looking.
const AHEAD_MILLIS_MIN: u64 = 1000;
/// As long as it lasts, it is said again so often.
const AGAIN: Duration = Duration::from_secs(60);

/// How far behind the clock is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Behind {
    /// Requests still end in time.
    Little,
    /// Further than requests wait: all writes are refused.
    TooFar,
}

/// Says it, at most once a minute, and at once when it gets worse or better.
#[derive(Default)]
pub(crate) struct ClockAlarm {
    told: Mutex<Option<(Instant, Behind)>>,
}

impl ClockAlarm {
    /// Looks at all groups; what it said.
    pub(crate) fn look(&self, statuses: &[GroupStatus], now: Instant) -> Option<Behind> {
        let worst = statuses.iter().max_by_key(|status| status.clock_ahead_millis);
        let Some(worst) = worst.filter(|worst| worst.clock_ahead_millis >= AHEAD_MILLIS_MIN) else {
            *self.told.lock() = None;
            return None;
        };
        let too_far = worst.clock_ahead_millis >= limits::COMMIT_TIMEOUT_MILLIS;
        let behind = if too_far { Behind::TooFar } else { Behind::Little };
        let mut told = self.told.lock();
        if told.is_some_and(|(at, told)| told == behind && now.duration_since(at) < AGAIN) {
            return None;
        }
        *told = Some((now, behind));
        let (group, behind_seconds) = (worst.group, worst.clock_ahead_millis / 1000);
        match behind {
            Behind::TooFar => tracing::error!(
                %group,
                behind_seconds,
                "this node's clock is behind what it was: mail is refused for now (451) until it catches up; set the clock"
            ),
            Behind::Little => tracing::warn!(
                %group,
                behind_seconds,
                "this node's clock is behind what it was; mail goes on, but would be refused beyond 30 s"
            ),
        }
        Some(behind)
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
        let look = |millis, seconds| alarm.look(&ahead(millis), start + Duration::from_secs(seconds));
        assert_eq!(look(999, 0), None, "the ordinary difference");
        assert_eq!(look(60_000, 0), Some(Behind::TooFar));
        assert_eq!(look(59_000, 1), None);
        assert_eq!(look(58_000, 60), Some(Behind::TooFar));
        assert_eq!(look(0, 61), None);
        assert_eq!(look(60_000, 62), Some(Behind::TooFar), "set back again");
    }

    #[test]
    fn it_says_that_mail_is_refused_only_when_it_is_and_then_at_once() {
        let (alarm, start) = (ClockAlarm::default(), Instant::now());
        let look = |millis, seconds| alarm.look(&ahead(millis), start + Duration::from_secs(seconds));
        assert_eq!(look(29_999, 0), Some(Behind::Little));
        assert_eq!(look(30_000, 1), Some(Behind::TooFar));
        assert_eq!(look(29_000, 2), Some(Behind::Little));
        assert_eq!(look(1000, 3), None);
    }
}
