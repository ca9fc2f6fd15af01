//! Tells operators that this node's clock is behind that of its groups.
//!
//! A group's clock never goes back: it is the latest stamp of its entries. A node whose own clock was set back gives
//! its requests deadlines that lie behind it, and they are refused. Nothing is wrong with the mail then, and nothing in
//! the refusal names the cause: this does.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::GroupStatus;

/// Less is the ordinary difference between stamping and looking.
const AHEAD_MILLIS_MIN: u64 = 1000;
/// As long as it lasts, it is said again so often.
const AGAIN: Duration = Duration::from_secs(60);

/// Says it, at most once a minute.
#[derive(Default)]
pub(crate) struct ClockAlarm {
    told: Mutex<Option<Instant>>,
}

impl ClockAlarm {
    /// Looks at all groups; whether it said something.
    pub(crate) fn look(&self, statuses: &[GroupStatus], now: Instant) -> bool {
        let worst = statuses.iter().max_by_key(|status| status.clock_ahead_millis);
        let Some(worst) = worst.filter(|worst| worst.clock_ahead_millis >= AHEAD_MILLIS_MIN) else {
            *self.told.lock() = None;
            return false;
        };
        let mut told = self.told.lock();
        if told.is_some_and(|told| now.duration_since(told) < AGAIN) {
            return false;
        }
        *told = Some(now);
        tracing::error!(
            group = %worst.group,
            behind_seconds = worst.clock_ahead_millis / 1000,
            "this node's clock is behind what it was: mail is refused for now (451) until it catches up; set the clock"
        );
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
            applied: None,
            flushed: None,
            purged: None,
            log_bytes: 0,
            waiting_requests: 0,
            proposals_in_flight: 0,
            clock_ahead_millis,
            hollow: false,
            stopped: None,
        }]
    }

    #[test]
    fn a_clock_that_was_set_back_is_told_once_a_minute() {
        let (alarm, start) = (ClockAlarm::default(), Instant::now());
        assert!(!alarm.look(&ahead(999), start), "the ordinary difference");
        assert!(alarm.look(&ahead(60_000), start));
        assert!(!alarm.look(&ahead(59_000), start + Duration::from_secs(1)));
        assert!(alarm.look(&ahead(1000), start + Duration::from_secs(60)));
        assert!(!alarm.look(&ahead(0), start + Duration::from_secs(61)));
        assert!(alarm.look(&ahead(60_000), start + Duration::from_secs(62)), "set back again");
    }
}
