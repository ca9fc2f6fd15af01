//! Shard groups: an account's mailboxes and messages; their commands, queries and answers.

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, BlobId, DomainId, EmailId, Epoch, Flags, MailboxId, MailboxName, ModSeq, RequestId, SpecialUse,
    TenantId, ThreadId, Uid, UidValidity, UnixMillis,
    content::{NewMessage, Sealed},
    directory::Quota,
};

/// A set of UIDs as sorted, disjoint, inclusive ranges.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct UidSet(Vec<(Uid, Uid)>);

impl UidSet {
    /// Every UID.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![(Uid::FIRST, Uid::new(u32::MAX))])
    }

    /// Builds a set from ranges in any order (each may be given backwards, may overlap or touch others).
    #[must_use]
    pub fn from_ranges(ranges: impl IntoIterator<Item = (Uid, Uid)>) -> Self {
        let mut ranges: Vec<_> = ranges.into_iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
        ranges.sort_unstable();
        let mut merged: Vec<(Uid, Uid)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(previous) if first <= previous.1.next() => previous.1 = previous.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// Builds a set from single UIDs in any order.
    #[must_use]
    pub fn from_uids(uids: impl IntoIterator<Item = Uid>) -> Self {
        Self::from_ranges(uids.into_iter().map(|uid| (uid, uid)))
    }

    /// The ranges, sorted, disjoint, not touching.
    #[must_use]
    pub fn ranges(&self) -> &[(Uid, Uid)] {
        &self.0
    }

    /// Whether the UID is in the set.
    #[must_use]
    pub fn contains(&self, uid: Uid) -> bool {
        let after = self.0.partition_point(|range| range.0 <= uid);
        after > 0 && self.0[after - 1].1 >= uid
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How STORE changes flags (RFC 9051 6.4.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum FlagChange {
    /// `FLAGS`
    Replace,
    /// `+FLAGS`
    Add,
    /// `-FLAGS`
    Remove,
}

/// One message of an APPEND.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AppendMessage {
    /// The message, already taken in.
    pub message: NewMessage,
    /// Its flags.
    pub flags: Flags,
}

/// A change of one account. The account's shard checks `epoch`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AccountCommand {
    /// Makes the account's INBOX and special-use mailboxes; a repeat changes only the quota.
    Provision {
        /// Its tenant.
        tenant: TenantId,
        /// Its domain.
        domain: DomainId,
        /// What it may hold.
        quota: Quota,
    },
    /// Removes everything of the account.
    Remove,
    /// Changes what the account may hold.
    SetQuota(Quota),
    /// RFC 9051 6.3.4; makes missing parents too.
    CreateMailbox {
        /// Its name.
        name: MailboxName,
        /// RFC 6154 5.2 CREATE-SPECIAL-USE.
        special_use: Option<SpecialUse>,
    },
    /// RFC 9051 6.3.5. INBOX cannot be deleted; one with children neither.
    DeleteMailbox {
        /// Its name.
        name: MailboxName,
    },
    /// RFC 9051 6.3.6. Children move too; renaming INBOX moves its messages into a new mailbox.
    RenameMailbox {
        /// Old name.
        from: MailboxName,
        /// New name.
        to: MailboxName,
    },
    /// RFC 9051 6.3.7 and 6.3.8. A name may be subscribed whether or not it exists.
    Subscribe {
        /// The name.
        name: MailboxName,
        /// On or off.
        subscribed: bool,
    },
    /// RFC 9051 6.3.12 and RFC 3502: all messages or none.
    Append {
        /// Where.
        mailbox: MailboxId,
        /// What, in order.
        messages: Vec<AppendMessage>,
    },
    /// RFC 9051 6.4.6, RFC 7162 3.1.3.
    StoreFlags {
        /// Where.
        mailbox: MailboxId,
        /// Which; UIDs that are not there are passed over.
        uids: UidSet,
        /// How.
        change: FlagChange,
        /// What.
        flags: Flags,
        /// Messages changed after this are left alone and reported.
        unchanged_since: Option<ModSeq>,
    },
    /// RFC 9051 6.4.7: all or none.
    Copy {
        /// From where.
        mailbox: MailboxId,
        /// Which.
        uids: UidSet,
        /// To where.
        to: MailboxId,
    },
    /// RFC 6851: all or none.
    Move {
        /// From where.
        mailbox: MailboxId,
        /// Which.
        uids: UidSet,
        /// To where.
        to: MailboxId,
    },
    /// RFC 9051 6.4.3, RFC 4315 UID EXPUNGE; POP3 QUIT.
    Expunge {
        /// Where.
        mailbox: MailboxId,
        /// Which.
        uids: UidSet,
        /// Only those with `\Deleted` (IMAP), or all of `uids` (POP3).
        deleted_only: bool,
    },
    /// Takes or renews the maildrop's lock (RFC 1939 3): held until `until` unless renewed.
    LockMaildrop {
        /// Who.
        session: RequestId,
        /// Until when; at most 10 minutes after the stamp.
        until: UnixMillis,
    },
    /// Gives the lock back; nothing happens when another holds it.
    UnlockMaildrop {
        /// Who.
        session: RequestId,
    },
    /// Puts a message into a mailbox, once per key: a repeat within [`crate::limits::SUPPRESSION_MILLIS`] is passed
    /// over and answered with a [`UidMap`] without UIDs. Keys share the table of a sender's repeats.
    Import {
        /// Where.
        mailbox: MailboxId,
        /// What.
        message: Box<AppendMessage>,
        /// What the importer calls it, hashed.
        key: crate::KeyedHash,
    },
    /// Keeps a message that the account submitted in its mailbox with the special use `\Sent`, with `\Seen`; once
    /// per key, as `Import`. For ten minutes an `Append` of the same Message-ID to that mailbox is answered with
    /// this copy. Refused as [`AccountRefusal::NotSent`] when a command before it in its [`crate::Execute`] was
    /// refused, or a recipient of one.
    KeepSent {
        /// What, as it was sent.
        message: Box<NewMessage>,
        /// Recognises the sender's repeat.
        key: crate::KeyedHash,
    },
}

/// Why a change of an account was refused. Nothing is changed then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum AccountRefusal {
    /// The account is not in this group (any more).
    #[error("account is not here")]
    NoAccount,
    /// It is here, but under another epoch.
    #[error("account moved: epoch is {0}")]
    WrongEpoch(Epoch),
    /// No such mailbox.
    #[error("mailbox does not exist")]
    NoMailbox,
    /// The name is taken.
    #[error("mailbox exists already")]
    MailboxExists,
    /// The special use is taken.
    #[error("another mailbox has that special use")]
    SpecialUseTaken,
    /// INBOX cannot be deleted, renamed onto, or made below a leaf.
    #[error("INBOX cannot be deleted or replaced")]
    Inbox,
    /// It has children.
    #[error("mailbox has children: delete or rename them first")]
    HasChildren,
    /// A name below itself.
    #[error("a mailbox cannot move below itself")]
    BelowItself,
    /// A bound of [`crate::limits`].
    #[error("at most {0} allowed")]
    TooMany(u64),
    /// RFC 5530 OVERQUOTA.
    #[error("quota exceeded")]
    OverQuota,
    /// Another session holds the maildrop.
    #[error("maildrop is locked by another session")]
    Locked,
    /// UIDs of the mailbox are used up (2^32): its owner must move the messages to a new one.
    #[error("mailbox has no UIDs left")]
    NoUidsLeft,
    /// The message of which this would be the copy in Sent was not taken in.
    #[error("the message was not sent")]
    NotSent,
}

/// UIDs that a copy, move or append made: source (where there is one) and destination, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct UidMap {
    /// UIDVALIDITY of the destination; `None` when nothing was made.
    pub uid_validity: Option<UidValidity>,
    /// UIDs in the source, ascending; empty for an append.
    pub from: Vec<Uid>,
    /// UIDs in the destination, same order.
    pub to: Vec<Uid>,
}

/// What a change of an account answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AccountReply {
    /// Done; nothing to tell.
    Done,
    /// The mailbox that was made.
    Created(MailboxId),
    /// To `Append`, `Import`, `KeepSent`, `Copy` and `Move`.
    Uids(UidMap),
    /// To `StoreFlags`: the messages as they are now; and those left alone (RFC 7162 MODIFIED).
    Stored {
        /// Each message that the command named and that fits `unchanged_since`, changed or not.
        messages: Vec<MessageState>,
        /// Those changed since.
        modified: Vec<Uid>,
    },
    /// To `Expunge`: what is gone, ascending.
    Expunged(Vec<Uid>),
    /// Nothing was changed, because.
    Refused(AccountRefusal),
}

/// A mailbox with its counters: everything that STATUS, LIST and SELECT show, in O(1).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MailboxInfo {
    /// Its id (RFC 8474 MAILBOXID).
    pub id: MailboxId,
    /// Its name.
    pub name: MailboxName,
    /// Its special use.
    pub special_use: Option<SpecialUse>,
    /// Whether it is subscribed.
    pub subscribed: bool,
    /// UIDVALIDITY.
    pub uid_validity: UidValidity,
    /// The next UID.
    pub uid_next: Uid,
    /// RFC 7162 HIGHESTMODSEQ.
    pub highest_modseq: ModSeq,
    /// Number of messages.
    pub messages: u64,
    /// Those without `\Seen`.
    pub unseen: u64,
    /// Those with `\Deleted`.
    pub deleted: u64,
    /// Sum of sizes in octets (RFC 8438).
    pub size_bytes: u64,
    /// Sum of sizes of those with `\Deleted` (RFC 9208 DELETED-STORAGE).
    pub deleted_size_bytes: u64,
    /// Expunged UIDs are remembered from this mod-sequence on (QRESYNC).
    pub horizon: ModSeq,
    /// Keywords in use or once used, for the FLAGS response; at most 256.
    pub keywords: Vec<crate::Keyword>,
}

/// A message in a mailbox, the part that changes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MessageState {
    /// Its UID.
    pub uid: Uid,
    /// Its mod-sequence.
    pub modseq: ModSeq,
    /// Its flags.
    pub flags: Flags,
    /// Which message it is.
    pub email: EmailId,
}

/// A message in a mailbox with what never changes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Message {
    /// The part that changes.
    pub state: MessageState,
    /// Its thread.
    pub thread: ThreadId,
    /// Octets, the recipient's prefix included (RFC822.SIZE).
    pub size_bytes: u64,
    /// Octets of the recipient's prefix, which stands before everything that the summary counts.
    pub prefix_size_bytes: u64,
    /// INTERNALDATE.
    pub internal_date: UnixMillis,
    /// RFC 8514 SAVEDATE.
    pub saved_date: UnixMillis,
    /// A record of [`crate::summary::Summary`], when asked for. The store's front opens it: what a gateway
    /// gets is plain with key 0.
    pub summary: Option<Sealed>,
}

/// What an account uses and may use (RFC 9208).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct QuotaUsage {
    /// Octets used; a message in several mailboxes counts once.
    pub bytes: u64,
    /// Messages used; a message in several mailboxes counts once.
    pub messages: u64,
    /// What is allowed.
    pub quota: Quota,
}

/// What has changed in a mailbox since a mod-sequence (RFC 7162).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Changes {
    /// The mailbox as it is now.
    pub mailbox: MailboxInfo,
    /// New and changed messages, ascending by UID.
    pub messages: Vec<MessageState>,
    /// UIDs expunged since; when `since` lies before the horizon: every UID below `uid_next` that is not there.
    pub vanished: UidSet,
}

/// A question about one account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AccountQuery {
    /// All mailboxes, sorted by name.
    Mailboxes,
    /// Subscribed names that have no mailbox, sorted.
    DanglingSubscriptions,
    /// One mailbox by name (case-sensitive but for INBOX).
    MailboxByName(MailboxName),
    /// One mailbox by id.
    MailboxById(MailboxId),
    /// States of messages, ascending by UID, at most `limits` rows: ask again from the last UID + 1.
    States {
        /// Where.
        mailbox: MailboxId,
        /// Which.
        uids: UidSet,
        /// At most this many (1 to 10,000).
        rows_max: u32,
    },
    /// Messages with all that never changes.
    Messages {
        /// Where.
        mailbox: MailboxId,
        /// Which.
        uids: UidSet,
        /// Whether summaries are wanted.
        with_summary: bool,
        /// At most this many (1 to 1,000).
        rows_max: u32,
    },
    /// What changed since.
    Changes {
        /// Where.
        mailbox: MailboxId,
        /// Changes after this.
        since: ModSeq,
    },
    /// What the account uses.
    Quota,
    /// The mailboxes and UIDs in which a message sits.
    Instances(EmailId),
    /// The content of a message. Only the store's front asks this.
    Content(EmailId),
    /// The per-account change log after a mod-sequence (the later JMAP states).
    ChangeLog {
        /// Changes after this.
        since: ModSeq,
        /// At most this many (1 to 10,000).
        rows_max: u32,
    },
    /// Who holds the maildrop's lock at `now`.
    MaildropLock {
        /// The asker's time.
        now: UnixMillis,
    },
}

/// The content of one message in one account, sealed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MessageContent {
    /// The recipient's own header fields (Return-Path, Delivered-To), before the message.
    pub prefix: Sealed,
    /// Octets of the prefix.
    pub prefix_size_bytes: u64,
    /// The recipe.
    pub recipe: Sealed,
    /// Octets of prefix and message.
    pub size_bytes: u64,
    /// The blobs that the recipe names.
    pub blobs: Vec<BlobId>,
}

/// What kind of thing a change-log row is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Changed {
    /// A mailbox was made.
    MailboxCreated(MailboxId),
    /// A mailbox's name, use or subscription changed.
    MailboxUpdated(MailboxId),
    /// A mailbox was deleted.
    MailboxDestroyed(MailboxId),
    /// A message came.
    EmailCreated(EmailId),
    /// A message's flags or mailboxes changed.
    EmailUpdated(EmailId),
    /// A message is in no mailbox any more.
    EmailDestroyed(EmailId),
}

/// What an account answers. `None` where there is no such thing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AccountAnswer {
    /// The account or the mailbox is not here.
    Refused(AccountRefusal),
    /// To `Mailboxes`.
    Mailboxes(Vec<MailboxInfo>),
    /// To `DanglingSubscriptions`.
    Names(Vec<MailboxName>),
    /// To `MailboxByName` and `MailboxById`.
    Mailbox(Option<Box<MailboxInfo>>),
    /// To `States`.
    States(Vec<MessageState>),
    /// To `Messages`.
    Messages(Vec<Message>),
    /// To `Changes`.
    Changes(Box<Changes>),
    /// To `Quota`.
    Quota(QuotaUsage),
    /// To `Instances`.
    Instances(Vec<(MailboxId, Uid)>),
    /// To `Content`.
    Content(Option<Box<MessageContent>>),
    /// To `ChangeLog`: rows in order; `None` when `since` lies before the log's beginning.
    ChangeLog(Option<Vec<(ModSeq, Changed)>>),
    /// To `MaildropLock`.
    MaildropLock(Option<RequestId>),
}

/// An account named in a command or query: which, and under which epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct AccountRef {
    /// Which.
    pub id: AccountId,
    /// Under which epoch the sender knows it.
    pub epoch: Epoch,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_set_is_sorted_merged_and_searchable() {
        let uid = Uid::new;
        let set = UidSet::from_ranges([(uid(9), uid(7)), (uid(1), uid(2)), (uid(3), uid(3)), (uid(8), uid(12))]);
        assert_eq!(set.ranges(), [(uid(1), uid(3)), (uid(7), uid(12))]);
        let inside: Vec<u32> = (0..15).filter(|&n| set.contains(uid(n))).collect();
        assert_eq!(inside, [1, 2, 3, 7, 8, 9, 10, 11, 12]);
        assert!(UidSet::all().contains(uid(u32::MAX)));
    }
}
