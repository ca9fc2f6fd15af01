//! How this store is: for its own status, and for other nodes that ask.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use metrics::gauge;
use securanet_gateway::{
    clock,
    connection::Shutdown,
    model::{
        Answer, GroupId, Query, ReplicaId,
        delivery::{QueueAnswer, QueueQuery},
        outbound::{OutboundAnswer, OutboundDepth, OutboundQuery},
        report::{GroupReport, LogPosition, MemberReport, NodeReport},
        request::Totals,
    },
};
use securanet_raft::{GroupStatus, Groups, MemberStatus};
use tokio::time::timeout;

use crate::{cluster::member::replica_says, disk::DiskWatch};

/// What a replica itself says is there at once, unless it has nothing yet.
const LOCAL_PATIENCE: Duration = Duration::from_millis(200);
/// How often the queues' ages are measured.
const MEASURE: Duration = Duration::from_secs(10);

const OLDEST_DUE: &str = "securanet_outbound_oldest_due_seconds";
const DISK_RESERVE: &str = "securanet_disk_reserve_bytes";

/// Says how this store is.
pub(crate) struct Reporter {
    groups: Groups,
    disk: Arc<DiskWatch>,
}

/// Tells the recorder what is measured here.
pub(crate) fn describe() {
    metrics::describe_gauge!(
        OLDEST_DUE,
        "since when the longest due work of a group's outbound queue is due; on the leader's node, 0 elsewhere"
    );
    metrics::describe_gauge!(DISK_RESERVE, "below so much free space no mail is taken in");
}

impl Reporter {
    pub(crate) fn new(groups: Groups, disk: Arc<DiskWatch>) -> Arc<Self> {
        Arc::new(Self { groups, disk })
    }

    /// As it is now. Asks nobody else and waits for no majority.
    pub(crate) async fn report(&self) -> NodeReport {
        let (blobs_awaited, blobs_awaited_bytes) = self.groups.awaited();
        NodeReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            disk_free_bytes: self.disk.free_bytes(),
            disk_reserve_bytes: self.disk.reserve_bytes(),
            blobs_awaited,
            blobs_awaited_bytes,
            groups: join_all(self.groups.status().into_iter().map(|status| self.group(status))).await,
        }
    }

    async fn group(&self, status: GroupStatus) -> GroupReport {
        let totals = self.says(status.group, Query::Totals);
        let queue = self.says(status.group, Query::Queue(QueueQuery::Depth));
        let outbound = self.says(status.group, Query::Outbound(OutboundQuery::Depth));
        let (totals, queue, outbound) = tokio::join!(totals, queue, outbound);
        let totals = if let Some(Answer::Totals(totals)) = totals { totals } else { Totals::default() };
        let (pending, held) = match queue {
            Some(Answer::Queue(QueueAnswer::Depth { pending, held, .. })) => (pending, held),
            // The directory has no queue.
            _ => (0, 0),
        };
        let outbound = match outbound {
            Some(Answer::Outbound(OutboundAnswer::Depth(depth))) => depth,
            _ => OutboundDepth::default(),
        };
        let last = status.last_log.unwrap_or_default();
        GroupReport {
            group: status.group,
            replica: ReplicaId::new(status.replica),
            leads: status.is_leader,
            leader: status.leader.map(ReplicaId::new),
            term: status.term,
            members: status.members.iter().map(|member| member_report(member, status.is_leader, last)).collect(),
            hollow: status.hollow,
            hollow_blobs: status.hollow_blobs,
            replayed: status.replayed,
            stopped: status.stopped,
            last: status.last_log_term.zip(status.last_log).map(|(term, index)| LogPosition { term, index }),
            applied: status.applied,
            clock_ahead_millis: status.clock_ahead_millis,
            totals,
            pending,
            held,
            outbound,
        }
    }

    /// What this replica of a group says, which may be behind: an operator asks when there is no leader, too.
    async fn says(&self, group: GroupId, query: Query) -> Option<Answer> {
        timeout(LOCAL_PATIENCE, replica_says(&self.groups, group, query)).await.ok()?.ok()
    }

    /// Measures what nobody else does, until the node drains.
    pub(crate) async fn measure_until(self: Arc<Self>, shutdown: Shutdown) {
        gauge!(DISK_RESERVE).set(float(self.disk.reserve_bytes()));
        let draining = shutdown.draining();
        tokio::pin!(draining);
        loop {
            for status in self.groups.status().iter().filter(|status| status.group != GroupId::DIRECTORY) {
                let depth = self.says(status.group, Query::Outbound(OutboundQuery::Depth)).await;
                let due = match depth {
                    Some(Answer::Outbound(OutboundAnswer::Depth(depth))) if status.is_leader => due_seconds(&depth),
                    _ => None,
                };
                gauge!(OLDEST_DUE, "group" => status.group.to_string()).set(float(due.unwrap_or_default()));
            }
            tokio::select! {
                () = &mut draining => return,
                () = tokio::time::sleep(MEASURE) => {}
            }
        }
    }
}

/// For how many seconds the longest due work of an outbound queue has been due.
pub(crate) fn due_seconds(depth: &OutboundDepth) -> Option<u64> {
    depth.next_due.map(|due| clock::now().millis_since(due) / 1000)
}

fn member_report(member: &MemberStatus, leads: bool, last: u64) -> MemberReport {
    MemberReport {
        replica: ReplicaId::new(member.replica),
        node: member.node.clone(),
        voter: member.voter,
        lag: leads.then(|| last.saturating_sub(member.matched.unwrap_or_default())),
        silent_millis: member.silent_millis,
        clock_off_millis: member.clock_off_millis,
    }
}

#[allow(clippy::cast_precision_loss, reason = "gauges are floats")]
const fn float(value: u64) -> f64 {
    value as f64
}
