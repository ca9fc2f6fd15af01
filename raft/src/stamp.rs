//! The time that a leader stamps its entries with: its wall clock, while the other voters agree with it.

use std::collections::BTreeMap;

use openraft::{RaftMetrics, async_runtime::watch::WatchReceiver};
use securanet_model::{ReplicaId, StoreError, UnixMillis};

use crate::{
    clocks::{Standing, clock_told, is_wrong_clock},
    group::Group,
    types::TypeConfig,
};

impl Group {
    /// The time for an entry; none while this node's clock is wrong, or has not been compared yet: then nothing is proposed.
    pub(crate) fn stamp(&self) -> Option<UnixMillis> {
        (self.clock_standing() == Standing::Right).then(|| self.network().clocks().wall())
    }

    /// How this node's clock stands among those of the voters.
    fn clock_standing(&self) -> Standing {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let others = metrics.membership_config.voter_ids().filter(|voter| *voter != self.replica_id());
        let others = others.filter_map(|voter| membership.get_node(&voter));
        self.network().clocks().standing(others.map(|member| member.node.as_str()))
    }

    /// How far this node's clock is from the voters', in milliseconds, if it is wrong. Also for some seconds after it has
    /// handed the group over.
    pub(crate) fn clock_apart(&self) -> Option<i64> {
        if let Standing::Wrong(off) = self.clock_standing() { Some(off) } else { None }
    }

    /// How far the members' clocks are from the median of the voters', in milliseconds; behind if negative. Only those that
    /// have said what theirs are, and this node's own.
    pub(crate) fn clocks_off(&self, metrics: &RaftMetrics<TypeConfig>) -> BTreeMap<u64, i64> {
        let membership = metrics.membership_config.membership();
        let node = |replica: &u64| membership.get_node(replica).map_or("", |member| member.node.as_str());
        let others = metrics.membership_config.voter_ids().filter(|voter| *voter != self.replica_id());
        let others: Vec<u64> = others.collect();
        let (own, off) = self.network().clocks().off(others.iter().map(node));
        let of = |replica: &u64| Some((*replica, *off.get(node(replica))?));
        others.iter().filter_map(of).chain([(self.replica_id(), own)]).collect()
    }

    /// Refuses one whose clock is wrong: it would lead and write nothing.
    pub(crate) fn check_clock(&self, replica: ReplicaId) -> Result<(), StoreError> {
        let off = self.clocks_off(&self.raft.metrics().borrow_watched());
        match off.get(&replica.get()).copied().filter(|off| is_wrong_clock(*off)) {
            None => Ok(()),
            Some(off) => {
                Err(self.refuse(format!("the clock of replica {replica}'s node is {}: set it", clock_told(off))))
            }
        }
    }
}
