//! What a store says of itself when another node asks: its groups, its disk, what it waits for.
//!
//! It travels between nodes and is shown to operators; nobody keeps it.

use serde::{Deserialize, Serialize};

use crate::{GroupId, ReplicaId, outbound::OutboundDepth, request::Totals};

/// A store.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NodeReport {
    /// Its release.
    pub version: String,
    /// Free octets where its data directory is.
    pub disk_free_bytes: u64,
    /// Below this it takes no mail in.
    pub disk_reserve_bytes: u64,
    /// Blobs that it waits for: appends at the gate, and its hollow replicas as far as they have counted.
    pub blobs_awaited: u64,
    /// Octets that are still to come of those whose fetch has begun.
    pub blobs_awaited_bytes: u64,
    /// Its groups, ascending.
    pub groups: Vec<GroupReport>,
}

/// A group, as one of its replicas sees it. Indexes count the entries of the group's log.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GroupReport {
    /// Which.
    pub group: GroupId,
    /// The replica that says so.
    pub replica: ReplicaId,
    /// Whether that one leads.
    pub leads: bool,
    /// The replica that leads, as far as this one knows.
    pub leader: Option<ReplicaId>,
    /// The current term.
    pub term: u64,
    /// The members of the effective membership, ascending by replica.
    pub members: Vec<MemberReport>,
    /// Whether this replica lacks blobs that its state names.
    pub hollow: bool,
    /// How many it lacks, as far as it has counted them.
    pub hollow_blobs: u64,
    /// Whether all that was committed before its start is applied again.
    pub replayed: bool,
    /// Why it has stopped, if it has.
    pub stopped: Option<String>,
    /// The last entry of its log.
    pub last: Option<LogPosition>,
    /// The last entry that it has applied.
    pub applied: Option<u64>,
    /// How far the group's clock is ahead of its node's, in milliseconds.
    pub clock_ahead_millis: u64,
    /// Sums over the group.
    pub totals: Totals,
    /// Deliveries to other groups that are not settled.
    pub pending: u64,
    /// Recipients that no group would take.
    pub held: u64,
    /// Its outbound queue.
    pub outbound: OutboundDepth,
}

/// A member that has not answered its leader for so long is not heard.
pub const SILENT_MILLIS: u64 = 3_000;

impl GroupReport {
    /// Whether this replica leads, and hears a majority of the voters: one that has lost them leads on and commits nothing.
    #[must_use]
    pub fn is_led(&self) -> bool {
        let voters = || self.members.iter().filter(|member| member.voter);
        let heard = voters().filter(|member| member.replica == self.replica || member.is_heard());
        self.leads && heard.count() * 2 > voters().count()
    }
}

impl MemberReport {
    /// Whether it has answered its leader lately; true where that is not known.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.silent_millis.is_none_or(|silent| silent < SILENT_MILLIS)
    }
}

/// Where an entry stands. Of two replicas of a group, the one whose last entry is greater has all that the other one may
/// have acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct LogPosition {
    /// The term of the leader that made it.
    pub term: u64,
    /// Its index.
    pub index: u64,
}

/// A member of a group. How far it is and whether it answers is known to the leader alone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemberReport {
    /// Its replica.
    pub replica: ReplicaId,
    /// The node that it is on.
    pub node: String,
    /// Whether it votes.
    pub voter: bool,
    /// Entries that it lacks.
    pub lag: Option<u64>,
    /// Milliseconds since it last answered, or since its leader leads.
    pub silent_millis: Option<u64>,
    /// How far its node's clock is ahead of the median of the voters', in milliseconds; behind if negative.
    pub clock_off_millis: Option<i64>,
}
