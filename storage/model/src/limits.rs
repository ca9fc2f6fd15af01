//! Bounds that more than one room must agree on. A bound that only one room needs stands in that room.

/// A leaf part of this many encoded bytes or more is kept as a blob; smaller ones ride in the Raft entry.
pub const BLOB_PART_SIZE_BYTES_MIN: u64 = 16 * 1024;
/// A blob is stored in chunks of at most this size, so that reading never needs more memory than this.
pub const BLOB_CHUNK_SIZE_BYTES_MAX: usize = 1024 * 1024;
/// Largest message by default (`message_size_bytes_max` configures it).
pub const MESSAGE_SIZE_BYTES_MAX: u64 = 50 * 1024 * 1024;
/// A request's deadline is at most this far away, so that remembered results stay bounded.
pub const REQUEST_DEADLINE_MILLIS_MAX: u64 = 120_000;
/// A commit that takes longer than this is answered with a temporary failure.
pub const COMMIT_TIMEOUT_MILLIS: u64 = 30_000;
/// What gateways look up in the directory may be this old; a replica that is further behind asks its leader.
pub const DIRECTORY_LAG_MILLIS: u32 = 5_000;
/// A sender's repeat of a message that we already hold is suppressed for this long.
pub const SUPPRESSION_MILLIS: u64 = 72 * 3600 * 1000;
/// Deliveries of one (queue group, target group) pair that may be unsettled at the same time.
pub const FANOUT_WINDOW_MAX: u64 = 10_000;
/// Recipients of one message.
pub const RECIPIENTS_MAX: usize = 1000;
/// Mailboxes of one account.
pub const MAILBOXES_MAX: usize = 10_000;
/// Distinct keywords on one message.
pub const KEYWORDS_PER_MESSAGE_MAX: usize = 64;
/// Members that one distribution list may resolve to, nested lists and what its members forward to included; an alias
/// on the way to a member counts for nothing. So many places, too, may an account's forwarding lead to.
pub const GROUP_MEMBERS_MAX: usize = 10_000;
/// How deep distribution lists, aliases and forwardings may point at each other.
pub const ALIAS_DEPTH_MAX: usize = 16;
/// Expunged UIDs that a mailbox remembers for QRESYNC; older ones move its horizon forward.
pub const TOMBSTONES_PER_MAILBOX_MAX: u64 = 50_000;
/// Entries of an account's change log; older ones are forgotten (JMAP: cannotCalculateChanges).
pub const CHANGES_PER_ACCOUNT_MAX: u64 = 100_000;
/// A lease of the outbound queue lives so long after it was granted or renewed, on its group's clock; its holder counts
/// on its own clock from before it asked, less a second.
pub const OUTBOUND_LEASE_MILLIS: u64 = 6_000;
/// Addresses that an account's mail is sent on to.
pub const FORWARDING_TARGETS_MAX: usize = 20;
/// Messages for the world that one acceptance takes in: one for each sender and each address of ours that sends on.
/// Their recipients together are at most [`RECIPIENTS_MAX`].
pub const ACCEPTED_OUTBOUND_MAX: usize = 100;
/// Messages for mailboxes that one acceptance takes in: one for each organisation.
pub const ACCEPTED_FAN_OUT_MAX: usize = 8;
