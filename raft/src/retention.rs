//! Which log entries may be purged: those behind the durable state, but for what a lagging voter still needs.
//!
//! Policy: an entry is never purged before the state that it made is durable. Behind that, a group alone purges
//! everything at once. With other voters the log is kept for the slowest of them, until it is older than
//! [`RetentionPolicy::age`] or the logs of this node together are larger than [`RetentionPolicy::bytes`]; from
//! then on that voter gets a snapshot instead.

use std::time::Duration;

/// How long the log is kept for a lagging voter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetentionPolicy {
    /// Octets of the logs of all groups of this node.
    pub bytes: u64,
    /// Since when the slowest voter has not moved.
    pub age: Duration,
}

impl Default for RetentionPolicy {
    /// 8 GiB, 24 hours.
    fn default() -> Self {
        Self { bytes: 8 << 30, age: Duration::from_secs(24 * 3600) }
    }
}

/// What decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogSituation {
    /// The last entry whose effects are durable in the state.
    pub flushed: Option<u64>,
    /// The last entry that the slowest other voter has; `None` when there is no other voter.
    pub slowest_voter: Option<u64>,
    /// How long that voter has not moved.
    pub slowest_stalled: Duration,
    /// Octets of the logs of all groups of this node.
    pub bytes: u64,
}

impl RetentionPolicy {
    /// The last entry that may be purged.
    #[must_use]
    pub fn purge_upto(&self, situation: LogSituation) -> Option<u64> {
        let flushed = situation.flushed?;
        let given_up = situation.bytes > self.bytes || situation.slowest_stalled > self.age;
        match situation.slowest_voter {
            Some(slowest) if !given_up => Some(flushed.min(slowest)),
            _ => Some(flushed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_kept_until_durable_and_for_the_slowest_voter_within_bounds() {
        let policy = RetentionPolicy { bytes: 1000, age: Duration::from_secs(60) };
        let cases = [
            // flushed, slowest voter, its stall in seconds, bytes of log, may purge up to
            (None, None, 0, 5000, None),
            (None, Some(7), 90, 5000, None),
            (Some(10), None, 0, 0, Some(10)),
            (Some(10), Some(7), 0, 0, Some(7)),
            (Some(10), Some(12), 0, 0, Some(10)),
            (Some(10), Some(7), 60, 1000, Some(7)),
            (Some(10), Some(7), 61, 0, Some(10)),
            (Some(10), Some(7), 0, 1001, Some(10)),
        ];
        for (flushed, slowest_voter, stalled, bytes, expected) in cases {
            let slowest_stalled = Duration::from_secs(stalled);
            let situation = LogSituation { flushed, slowest_voter, slowest_stalled, bytes };
            assert_eq!(policy.purge_upto(situation), expected, "{situation:?}");
        }
    }
}
