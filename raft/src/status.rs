//! What operators see of a group on this node.

use std::collections::BTreeSet;

use securanet_model::GroupId;

/// One group, as this node sees it. Indexes count the entries of the group's log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupStatus {
    /// Which group.
    pub group: GroupId,
    /// This node's replica of it.
    pub replica: u64,
    /// The replica that leads, if one is known.
    pub leader: Option<u64>,
    /// Whether that is this one.
    pub is_leader: bool,
    /// The current term.
    pub term: u64,
    /// The voters of the effective membership.
    pub voters: BTreeSet<u64>,
    /// The members of the effective membership, ascending by replica.
    pub members: Vec<MemberStatus>,
    /// Whether all that was committed before this start is applied again.
    pub replayed: bool,
    /// The last entry of the log.
    pub last_log: Option<u64>,
    /// The term of the leader that made it.
    pub last_log_term: Option<u64>,
    /// The last entry that is known here to be committed.
    pub committed: Option<u64>,
    /// The last entry applied.
    pub applied: Option<u64>,
    /// The last entry whose effects are durable in the state.
    pub flushed: Option<u64>,
    /// The last entry purged from the log.
    pub purged: Option<u64>,
    /// Octets of the entries in the log.
    pub log_bytes: u64,
    /// Requests that wait to be proposed.
    pub waiting_requests: usize,
    /// Proposals that are not committed yet.
    pub proposals_in_flight: usize,
    /// How far the group's clock (the latest stamp of its entries) is ahead of this node's, in milliseconds. A leader
    /// whose clock is behind by more than requests wait refuses all writes until it has caught up.
    pub clock_ahead_millis: u64,
    /// Whether this replica lacks blobs that its state names: it installed a snapshot and is still getting them. It is
    /// no survivor then.
    pub hollow: bool,
    /// How many it lacks, as far as it has counted them.
    pub hollow_blobs: u64,
    /// Why the group has stopped, if it has: an operator must look.
    pub stopped: Option<String>,
}

/// A member of a group, as this node sees it. How far it is and whether it answers is known to the leader alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberStatus {
    /// Its replica.
    pub replica: u64,
    /// The node that it is on.
    pub node: String,
    /// Whether it votes.
    pub voter: bool,
    /// Whether it leads.
    pub leader: bool,
    /// The last entry that it has durably and that is the leader's; none on other nodes than the leader's, and of a
    /// member that has nothing yet.
    pub matched: Option<u64>,
    /// Milliseconds since it last answered, or since its leader leads; none on other nodes than the leader's.
    pub silent_millis: Option<u64>,
    /// How far the clock of a voter's node is ahead of the median of the voters', in milliseconds; behind if negative. None
    /// on other nodes than the leader's, and of one that has not said. [`crate::is_wrong_clock`] says whether that is too far.
    pub clock_off_millis: Option<i64>,
}
