//! How old what a follower has applied may be, by what its leader's heartbeats tell.
//!
//! A heartbeat says how far its group was committed. Once the replica has applied that much, it holds all that was
//! acknowledged before the heartbeat was sent. What it waited on its way is not known and is not counted: a connection
//! between nodes on which nothing moves for some two seconds is given up, and with it the heartbeats in it.

use parking_lot::Mutex;
use tokio::time::Instant;

/// What a replica has heard.
#[derive(Default)]
pub(crate) struct Heard(Mutex<State>);

#[derive(Default)]
struct State {
    /// What was committed when this heartbeat came is applied.
    since: Option<Instant>,
    /// A later heartbeat, and how far the group was: not applied yet.
    awaited: Option<(Instant, u64)>,
}

impl Heard {
    /// A heartbeat came that said how far the group is; how far the replica is.
    pub(crate) fn note(&self, now: Instant, committed: u64, applied: u64) {
        let mut state = self.0.lock();
        state.look(applied);
        // One that is waited for is not replaced by the next, or under load none would ever be reached.
        if state.awaited.is_none() {
            state.awaited = Some((now, committed));
            state.look(applied);
        }
    }

    /// When a replica that is this far last had all that was acknowledged.
    pub(crate) fn since(&self, applied: u64) -> Option<Instant> {
        let mut state = self.0.lock();
        state.look(applied);
        state.since
    }
}

impl State {
    fn look(&mut self, applied: u64) {
        if let Some((at, _)) = self.awaited.take_if(|(_, committed)| *committed <= applied) {
            self.since = Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_replica_is_as_new_as_the_last_heartbeat_whose_commits_it_has_applied() {
        let (heard, start) = (Heard::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(heard.since(100), None, "nothing was heard");
        heard.note(at(1), 10, 10);
        assert_eq!(heard.since(10), Some(at(1)));
        heard.note(at(2), 20, 10);
        assert_eq!(heard.since(19), Some(at(1)), "what was committed then is not applied");
        heard.note(at(3), 30, 15);
        assert_eq!(heard.since(20), Some(at(2)), "the one that was waited for");
        heard.note(at(4), 31, 25);
        assert_eq!(heard.since(30), Some(at(2)));
        assert_eq!(heard.since(31), Some(at(4)));
    }
}
