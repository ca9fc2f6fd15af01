//! Who leads a group, as this node knows it, and waiting for somebody to.

use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::sleep;

use crate::group::{Group, GroupRaft};

/// Pause before the second try of whatever needs a leader; doubles with each further one. Less than a round trip
/// between sites, so that a leader is found as soon as there is one.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause: an election takes some seconds, and all requests of a group wait for it.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Who leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Leader {
    pub(crate) replica: u64,
    /// Where it is.
    pub(crate) node: String,
}

impl Leader {
    /// The leader that this replica follows, or it itself; none while there is none that it knows of.
    pub(crate) fn of(raft: &GroupRaft) -> Option<Self> {
        let metrics = raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let replica = metrics.current_leader?;
        let node = metrics.membership_config.membership().get_node(&replica)?.node.clone();
        Some(Self { replica, node })
    }

    /// Waits until somebody is known to lead who is neither `asked` nor whom this replica follows already.
    pub(crate) async fn another(raft: &GroupRaft, asked: u64) -> Self {
        let mut metrics = raft.server_metrics();
        let before = metrics.borrow_watched().current_leader;
        loop {
            if let Some(leader) = Self::of(raft)
                && leader.replica != asked
                && Some(leader.replica) != before
            {
                return leader;
            }
            if metrics.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Ends when a replica is not known to lead, or openraft has stopped.
    pub(crate) async fn is_not(raft: &GroupRaft, replica: u64) {
        let mut metrics = raft.server_metrics();
        while metrics.borrow_watched().current_leader == Some(replica) {
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Pauses between tries of one request.
#[derive(Debug)]
pub(crate) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(PAUSE_MIN)
    }
}

impl Pauses {
    /// Waits for the next try, or until somebody else leads.
    pub(crate) async fn wait(&mut self, group: &Group) {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSE_MAX);
        // Whom it follows already is not another.
        let known = Leader::of(&group.raft).map_or(u64::MAX, |leader| leader.replica);
        tokio::select! {
            () = sleep(pause) => {}
            _ = Leader::another(&group.raft, known) => {}
        }
    }
}
