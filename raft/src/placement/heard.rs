//! The members of a view, from what the leader knows, and since when each has been heard without a pause.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use securanet_model::ReplicaId;

use super::Member;
use crate::{GroupStatus, MemberStatus, is_wrong_clock};

/// Since when the members of one group have been heard. Look again and again, at most some seconds apart.
#[derive(Clone, Debug, Default)]
pub struct Heard(BTreeMap<u64, Instant>);

impl Heard {
    /// The members as the leader's status has them; `hollow` is what they were asked
    /// ([`crate::Groups::member_states`]). None of a node that does not lead, which forgets everything.
    pub fn look(
        &mut self,
        status: &GroupStatus,
        hollow: &BTreeMap<ReplicaId, Option<bool>>,
        now: Instant,
    ) -> Option<Vec<Member>> {
        if !status.is_leader {
            self.0.clear();
            return None;
        }
        self.0.retain(|replica, _| status.members.iter().any(|member| member.replica == *replica));
        let last = status.last_log.unwrap_or_default();
        let member = |member: &MemberStatus| {
            let replica = ReplicaId::new(member.replica);
            let silent = member.silent_millis.map_or(Duration::MAX, Duration::from_millis);
            let mut found = Member {
                replica,
                node: member.node.clone(),
                voter: member.voter,
                lag: member.matched.map(|matched| last.saturating_sub(matched)),
                silent,
                steady: Duration::ZERO,
                hollow: hollow.get(&replica).copied().flatten(),
                wrong_clock: member.clock_off_millis.is_some_and(is_wrong_clock),
            };
            if found.lives() && !found.wrong_clock {
                found.steady = now.duration_since(*self.0.entry(member.replica).or_insert(now));
            } else {
                self.0.remove(&member.replica);
            }
            found
        };
        Some(status.members.iter().map(member).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use securanet_model::GroupId;

    use super::*;

    fn status(silent_millis: u64) -> GroupStatus {
        let member = |replica: u64, matched, silent_millis| MemberStatus {
            replica,
            node: format!("node-{replica}"),
            voter: replica == 1,
            leader: replica == 1,
            matched,
            silent_millis: Some(silent_millis),
            clock_off_millis: None,
        };
        GroupStatus {
            group: GroupId::new(1),
            replica: 1,
            leader: Some(1),
            is_leader: true,
            term: 1,
            voters: BTreeSet::from([1]),
            members: vec![member(1, Some(100), 0), member(2, Some(40), silent_millis), member(3, None, 0)],
            replayed: true,
            last_log: Some(100),
            last_log_term: None,
            committed: Some(100),
            applied: Some(100),
            flushed: None,
            purged: None,
            log_bytes: 0,
            waiting_requests: 0,
            proposals_in_flight: 0,
            clock_ahead_millis: 0,
            hollow: false,
            hollow_blobs: 0,
            stopped: None,
        }
    }

    #[test]
    fn a_member_is_steady_since_it_was_last_silent() {
        let (mut heard, start) = (Heard::default(), Instant::now());
        let hollow = BTreeMap::from([(ReplicaId::new(1), Some(false)), (ReplicaId::new(2), None)]);
        let mut steady = |silent_millis: u64, seconds: u64| {
            let at = start + Duration::from_secs(seconds);
            let members = heard.look(&status(silent_millis), &hollow, at).unwrap();
            assert_eq!(members.iter().map(|member| member.lag).collect::<Vec<_>>(), [Some(0), Some(60), None]);
            assert_eq!(members.iter().map(|member| member.hollow).collect::<Vec<_>>(), [Some(false), None, None]);
            members.iter().map(|member| member.steady.as_secs()).collect::<Vec<_>>()
        };
        assert_eq!(steady(0, 0), [0, 0, 0]);
        assert_eq!(steady(4999, 20), [20, 20, 20]);
        assert_eq!(steady(5000, 25), [25, 0, 25]);
        assert_eq!(steady(100, 30), [30, 0, 30]);
        assert_eq!(steady(100, 60), [60, 30, 60]);
        let mut off = status(0);
        off.members[1].clock_off_millis = Some(-501);
        let members = heard.look(&off, &hollow, start + Duration::from_secs(60)).unwrap();
        assert_eq!(members.iter().map(|member| member.wrong_clock).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(members[1].steady, Duration::ZERO, "one with a wrong clock may not lead");
        let follower = GroupStatus { is_leader: false, ..status(0) };
        assert_eq!(heard.look(&follower, &hollow, start), None);
        let again = heard.look(&status(0), &hollow, start + Duration::from_secs(61)).unwrap();
        assert!(again.iter().all(|member| member.steady.is_zero()), "who leads anew has heard nobody yet");
    }
}
