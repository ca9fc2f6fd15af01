//! The border between gateways and stores: one request, its answer, and why there may be none.

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, BlobId, DomainId, Epoch, GroupId, RequestId, UnixMillis,
    account::{AccountAnswer, AccountCommand, AccountQuery, AccountRef, AccountReply},
    delivery::{Deliver, DeliverReply, QueueAnswer, QueueCommand, QueueQuery, QueueReply},
    directory::{DirectoryAnswer, DirectoryCommand, DirectoryQuery, DirectoryReply},
    nodes::NodeName,
    outbound::{OutboundAnswer, OutboundCommand, OutboundQuery, OutboundReply},
};

/// One change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Of the directory (group 0 only).
    Directory(DirectoryCommand),
    /// Of one account (shards only).
    Account(AccountRef, AccountCommand),
    /// Mail into accounts of this group (shards only).
    Deliver(Deliver),
    /// Of this group's part of the queue (shards only).
    Queue(QueueCommand),
    /// Of this group's outbound queue (shards only).
    Outbound(OutboundCommand),
    /// The group was rebuilt from what one replica had. It stands only in logs that `securanet group recover` has written:
    /// no request may carry it.
    Recover(Recover),
}

/// What a group does that was rebuilt from what one replica had: changes that were acknowledged may be lost, and numbers that
/// were given out with them must not be given out again for something else. So all counters jump.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Recover {
    /// The directory: ids of domains, accounts and replicas jump, and these nodes are removed.
    Directory {
        /// The nodes that were given up.
        lost: Vec<NodeName>,
    },
    /// A shard: the numbers of items, leases and deliveries in its queues jump.
    Queues {
        /// Groups 1 to this one are shards.
        shards: u32,
    },
    /// Accounts of a shard: each mailbox gets a new UIDVALIDITY, and the numbers of mailboxes, emails and changes jump. UIDs
    /// and the mod-sequences of messages stay.
    Accounts {
        /// From this one.
        first: AccountId,
        /// To this one.
        last: AccountId,
    },
}

/// What a change answers. Refusals are replies too: they were decided by apply, in order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// To `Directory`.
    Directory(DirectoryReply),
    /// To `Account`.
    Account(AccountReply),
    /// To `Deliver`.
    Deliver(DeliverReply),
    /// To `Queue`.
    Queue(QueueReply),
    /// The request's deadline lies behind the group's clock: it was not applied now, and whether an earlier
    /// try of it was is not known any more.
    Unknown,
    /// The command does not belong into this kind of group.
    WrongGroup,
    /// To `Outbound`.
    Outbound(OutboundReply),
    /// To `Recover`.
    Recovered {
        /// Mailboxes that have a new UIDVALIDITY.
        mailboxes: u64,
    },
}

/// One request: commands that one group commits together, in order, in one entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Execute {
    /// Which group.
    pub group: GroupId,
    /// The same on each try, so that a repeat gets the first try's reply.
    pub request: RequestId,
    /// After this nobody waits any more; at most [`crate::limits::REQUEST_DEADLINE_MILLIS_MAX`] away. The same
    /// on each try: a repeat is recognised by request id and deadline together.
    pub deadline: UnixMillis,
    /// What to do. Each is applied by itself: a refused one does not undo the others.
    pub commands: Vec<Command>,
}

/// What one log entry carries: the requests that its group applies in order, under one stamp.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Proposal {
    /// The leader's clock when it proposed; apply takes the maximum of all stamps so far.
    pub stamp: UnixMillis,
    /// The requests.
    pub requests: Vec<Execute>,
}

/// One question.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Query {
    /// To the directory.
    Directory(DirectoryQuery),
    /// About one account.
    Account(AccountRef, AccountQuery),
    /// About this group's part of the queue.
    Queue(QueueQuery),
    /// What this group's accounts use, by domain.
    DomainUsage,
    /// Whether any message of this group names these blobs (collection and scrub).
    BlobsReachable(Vec<BlobId>),
    /// All blobs that this group names, ascending after `after`, for the scrub.
    Blobs {
        /// The last one of the page before.
        after: Option<BlobId>,
        /// At most this many (1 to 10,000).
        rows_max: u32,
    },
    /// Counts of the group for status: accounts, mailboxes, messages, bytes.
    Totals,
    /// About this group's outbound queue.
    Outbound(OutboundQuery),
}

/// Sums over a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Accounts.
    pub accounts: u64,
    /// Messages; one in several mailboxes counts once.
    pub messages: u64,
    /// Octets of those messages.
    pub bytes: u64,
    /// Sender's repeats suppressed since the group exists.
    pub repeats_suppressed: u64,
}

/// What a domain's accounts use in one group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DomainUsage {
    /// The domain.
    pub domain: DomainId,
    /// Octets.
    pub bytes: u64,
    /// Messages.
    pub messages: u64,
}

/// The answer to a question.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// To `Directory`.
    Directory(DirectoryAnswer),
    /// To `Account`.
    Account(AccountAnswer),
    /// To `Queue`.
    Queue(QueueAnswer),
    /// To `DomainUsage`.
    DomainUsage(Vec<DomainUsage>),
    /// To `BlobsReachable`: in the same order.
    BlobsReachable(Vec<bool>),
    /// To `Blobs`.
    Blobs(Vec<BlobId>),
    /// To `Totals`.
    Totals(Totals),
    /// The question does not belong into this kind of group.
    WrongGroup,
    /// To `Outbound`.
    Outbound(OutboundAnswer),
}

/// How far a session has seen: a replica that has applied less does not answer it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Token {
    /// The group.
    pub group: GroupId,
    /// The account's epoch.
    pub epoch: Epoch,
    /// The group's applied index.
    pub index: u64,
}

/// How new an answer must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Freshness {
    /// All that was acknowledged before the question. Where another store leads the group, that costs a round trip to it.
    Now,
    /// All that the token names: a session reads what it wrote, and never goes back.
    AtLeast(Token),
    /// All that was acknowledged longer ago than this many milliseconds; a replica that has not heard from its leader for so
    /// long does as for [`Freshness::Now`].
    Within(u32),
    /// Whatever the replica has: for what never changes.
    Any,
}

/// What a watch tells of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Topic {
    /// Anything in the account's mailboxes.
    Account(AccountId),
    /// Anything in the directory (human rate).
    Directory,
    /// Work came into a group's outbound queue, or became due in it.
    Outbound(GroupId),
}

/// Why a store gave no reply. It names the culprit and says what the client may be told.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum StoreError {
    /// No quorum, no leader, or the commit took too long. What was sent may or may not be applied later.
    #[error("the store cannot commit: {0}")]
    Unavailable(String),
    /// The node is shutting down.
    #[error("the store is shutting down")]
    Draining,
    /// A disk is below its reserve; reads go on.
    #[error("the disk is below its reserve of {reserve_bytes} bytes: free some space or lower `disk_reserve_bytes`")]
    DiskFull {
        /// The configured reserve.
        reserve_bytes: u64,
    },
    /// The memory set aside for messages in transit is in use.
    #[error("too much mail is being taken in right now")]
    Busy,
    /// The message is larger than allowed.
    #[error("the message is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// There is no such group here.
    #[error("there is no group {0} here")]
    NoGroup(GroupId),
    /// No such message, or it is gone.
    #[error("there is no such message")]
    NotFound,
    /// Bytes on disk are not what they were: an operator must look (scrub).
    #[error("stored data is damaged: {0}")]
    Damaged(String),
    /// A fault of ours.
    #[error("internal fault: {0}")]
    Internal(String),
    /// Another node leads the group. Who reaches stores over the network asks there at once; protocols never see it.
    #[error("another node leads the group: {}", leader.as_deref().unwrap_or("which one is not known"))]
    NotLeader {
        /// The name of the node that leads, if it is known.
        leader: Option<String>,
    },
}
