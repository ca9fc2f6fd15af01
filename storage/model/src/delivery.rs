//! Taking mail in: deliveries into accounts, and the fan-out of mail for several groups.
//!
//! Mail for one group is one [`Deliver`] there. Mail for several groups is one [`FanOut`] in one queue group;
//! its worker then delivers to each target group under a [`DeliveryKey`], which the target applies at most
//! once, and settles the sequence with whatever the target answered.

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, EmailId, GroupId, KeyedHash, MailboxId, ReversePath, Uid, UnixMillis,
    account::{AccountRef, AccountRefusal},
    content::{NewMessage, Sealed},
};

/// One delivery of the fan-out, once and for all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct DeliveryKey {
    /// The queue group that holds the item.
    pub queue: GroupId,
    /// Counts the deliveries from that queue to one target group, from 1, without gaps.
    pub sequence: u64,
    /// All sequences below this one are settled at the queue: the target forgets their keys and refuses them.
    pub settled_below: u64,
}

/// Whether an account over its quota still gets the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum QuotaRule {
    /// It does not: the answer is `OverQuota` (LMTP, one recipient).
    Enforced,
    /// It does: room was checked at RCPT, and what was acknowledged is not lost.
    Admitted,
}

/// One account that gets a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeliverTo {
    /// Which account.
    pub account: AccountRef,
    /// Folder from the subaddress; INBOX when it does not exist. Any text.
    pub folder: Option<String>,
    /// The recipient's own header fields, sealed, with CRLFs.
    pub prefix: Sealed,
    /// Octets of the prefix.
    pub prefix_size_bytes: u64,
    /// Recognises a sender's repeat: keyed hash of envelope and message for this account; `None` never suppresses.
    pub repeat_key: Option<KeyedHash>,
}

/// A message for accounts of one group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Deliver {
    /// Present for fan-out deliveries.
    pub key: Option<DeliveryKey>,
    /// The message.
    pub message: NewMessage,
    /// To whom: 1 to [`crate::limits::GROUP_MEMBERS_MAX`] accounts, distinct.
    pub to: Vec<DeliverTo>,
    /// About quotas.
    pub quota: QuotaRule,
}

/// What became of one recipient of a [`Deliver`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Delivered {
    /// It is in the mailbox.
    Stored {
        /// Where.
        mailbox: MailboxId,
        /// Under which UID.
        uid: Uid,
        /// As which message.
        email: EmailId,
    },
    /// A sender's repeat: it was there already.
    Repeat,
    /// It was not stored, because.
    Refused(AccountRefusal),
}

/// What a [`Deliver`] answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DeliverReply {
    /// One outcome per recipient, in order.
    Outcomes(Vec<Delivered>),
    /// This key was applied before and every recipient has the message: nothing was done now. (A repeat of a
    /// delivery that refused somebody gets its `Outcomes` again.)
    AlreadyApplied,
    /// The key is settled at its queue, or further ahead than the window: a late or broken sender.
    KeyRefused,
}

/// A message for accounts of several groups, kept in one queue group until each has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FanOut {
    /// The message.
    pub message: NewMessage,
    /// From whom.
    pub sender: ReversePath,
    /// To whom, by group; groups distinct.
    pub targets: Vec<FanOutTarget>,
}

/// The recipients of a fan-out in one group.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FanOutTarget {
    /// The group.
    pub group: GroupId,
    /// The accounts.
    pub to: Vec<DeliverTo>,
}

/// A change of a group's part of the queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum QueueCommand {
    /// Takes an item in; each target gets the next sequence of its group.
    FanOut(FanOut),
    /// The target group answered: the sequence is done. Refused recipients move to the held table.
    Settle {
        /// Which group answered.
        target: GroupId,
        /// Which sequence.
        sequence: u64,
        /// Recipients that it refused, with their position in the target's list.
        refused: Vec<(u32, AccountRefusal)>,
    },
    /// A held recipient's mail is tried again, under a new sequence; its item stays until that is settled.
    Release {
        /// Which.
        held: HeldKey,
        /// Another account that gets it instead: the one that refused it may be gone for good.
        to: Option<HeldTo>,
    },
    /// A held recipient's mail is given up. With the last delivery and the last held recipient its item goes too.
    Discard(HeldKey),
}

/// Which held recipient. The account stands in it, so that a key that somebody kept never means another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct HeldKey {
    /// The item's number in its queue group.
    pub item: u64,
    /// The group that refused it.
    pub target: GroupId,
    /// Tells held recipients of the same item and group apart.
    pub position: u32,
    /// The account that was to get it.
    pub account: AccountId,
}

/// Where a held recipient's mail goes instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeldTo {
    /// The account's group.
    pub group: GroupId,
    /// The account.
    pub account: AccountRef,
}

/// A recipient that its group refused after the mail was acknowledged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HeldRecipient {
    /// Which.
    pub key: HeldKey,
    /// Why its group refused it.
    pub refusal: AccountRefusal,
    /// When that came to the queue.
    pub since: UnixMillis,
    /// When the item was queued.
    pub queued: UnixMillis,
    /// Who sent the item.
    pub sender: ReversePath,
    /// Octets of the message, without the recipient's own header fields.
    pub size_bytes: u64,
}

/// What a change of the queue answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum QueueReply {
    /// The item's number in this queue group.
    Queued(u64),
    /// Done (or done before).
    Settled,
    /// The window to this target group is full: try later (451).
    WindowFull(GroupId),
    /// Pending again under this sequence.
    Released(u64),
    /// Given up.
    Discarded,
    /// No such recipient is held (any more): nothing was changed.
    NotHeld,
}

/// A delivery that the fan-out worker has to make.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PendingDelivery {
    /// To which group.
    pub target: GroupId,
    /// What, its key included.
    pub deliver: Deliver,
    /// When it became pending: when the item was queued, or a held recipient of it released.
    pub queued: UnixMillis,
}

/// A question about a group's part of the queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum QueueQuery {
    /// Unsettled deliveries, oldest first per target.
    Pending {
        /// At most this many (1 to 1,000).
        rows_max: u32,
    },
    /// Depths.
    Depth,
    /// Held recipients, by item.
    Held {
        /// The last one of the page before; `None`: the first page.
        after: Option<HeldKey>,
        /// At most this many (1 to 1,000).
        rows_max: u32,
    },
}

/// What the queue answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum QueueAnswer {
    /// To `Pending`.
    Pending(Vec<PendingDelivery>),
    /// To `Depth`.
    Depth {
        /// Unsettled deliveries.
        pending: u64,
        /// Recipients that no group would take: an operator decides.
        held: u64,
        /// When the oldest unsettled one was queued.
        oldest: Option<UnixMillis>,
    },
    /// To `Held`: the page; the empty one is the end.
    Held(Vec<HeldRecipient>),
}
