//! The values of an account's rows.
//!
//! Each is written as a [`securanet_model::record`]. They are frozen once a release wrote them: a field is only
//! ever added behind a new version byte. Numbers are postcard's varints, so the rows that every delivery rewrites
//! stay below a hundred octets.

use securanet_model::{
    DomainId, EmailId, Epoch, Flags, KeyedHash, MailboxId, MailboxName, ModSeq, RequestId, SpecialUse, SystemFlags,
    TenantId, ThreadId, Uid, UidValidity, UnixMillis, content::Sealed, directory::Quota,
};
use serde::{Deserialize, Serialize};

/// Counters, quota and usage of an account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct AccountRow {
    pub(super) epoch: Epoch,
    pub(super) tenant: TenantId,
    pub(super) domain: DomainId,
    pub(super) quota: Quota,
    pub(super) used: Used,
    /// The last mod-sequence given.
    pub(super) modseq: ModSeq,
    /// The last mailbox id given.
    pub(super) last_mailbox: u32,
    /// The last email id given.
    pub(super) last_email: u64,
    /// The last UIDVALIDITY given.
    pub(super) last_uid_validity: u32,
    /// The highest UIDVALIDITY that any name has lost, by deletion or renaming.
    pub(super) retired_uid_validity: u32,
    pub(super) mailboxes: u32,
    pub(super) subscriptions: u32,
    /// One bit for each special use that a mailbox has, in the order of [`SpecialUse::ALL`].
    pub(super) special_uses: u8,
    /// Entries in the change log.
    pub(super) changes: u64,
    /// The change log is whole after this mod-sequence.
    pub(super) changes_floor: ModSeq,
}

/// Octets and messages; one in several mailboxes counts once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Used {
    pub(super) bytes: u64,
    pub(super) messages: u64,
}

impl Used {
    pub(super) fn plus(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_add(other.bytes), messages: self.messages.saturating_add(other.messages) }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self { bytes: self.bytes.saturating_sub(other.bytes), messages: self.messages.saturating_sub(other.messages) }
    }

    /// Whether this and `more` stay within the quota.
    pub(super) fn fits(self, more: Self, quota: Quota) -> bool {
        let sum = self.plus(more);
        quota.bytes_max.is_none_or(|max| sum.bytes <= max) && quota.messages_max.is_none_or(|max| sum.messages <= max)
    }
}

/// What seldom changes of a mailbox.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct MailboxRow {
    pub(super) name: MailboxName,
    pub(super) special_use: Option<SpecialUse>,
    pub(super) uid_validity: UidValidity,
}

/// What every message changes of a mailbox.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct MailboxCounters {
    pub(super) uid_next: Uid,
    pub(super) highest_modseq: ModSeq,
    pub(super) messages: u64,
    pub(super) unseen: u64,
    pub(super) deleted: u64,
    pub(super) size_bytes: u64,
    pub(super) deleted_size_bytes: u64,
    /// Expunges after this mod-sequence are all remembered.
    pub(super) horizon: ModSeq,
    /// UIDs in the tombstones.
    pub(super) tombstones: u64,
}

impl MailboxCounters {
    /// Those of a mailbox that `modseq` makes.
    pub(super) fn empty(modseq: ModSeq) -> Self {
        Self {
            uid_next: Uid::FIRST,
            highest_modseq: modseq,
            messages: 0,
            unseen: 0,
            deleted: 0,
            size_bytes: 0,
            deleted_size_bytes: 0,
            horizon: ModSeq::ZERO,
            tombstones: 0,
        }
    }

    /// Counts an instance in.
    pub(super) fn add(&mut self, instance: &Instance) {
        self.messages += 1;
        self.size_bytes = self.size_bytes.saturating_add(instance.size_bytes);
        self.unseen += u64::from(instance.is_unseen());
        self.deleted += u64::from(instance.is_deleted());
        self.deleted_size_bytes = self.deleted_size_bytes.saturating_add(instance.deleted_size_bytes());
    }

    /// Counts an instance out, as it was when it was counted in.
    pub(super) fn subtract(&mut self, instance: &Instance) {
        self.messages -= 1;
        self.size_bytes = self.size_bytes.saturating_sub(instance.size_bytes);
        self.unseen -= u64::from(instance.is_unseen());
        self.deleted -= u64::from(instance.is_deleted());
        self.deleted_size_bytes = self.deleted_size_bytes.saturating_sub(instance.deleted_size_bytes());
    }
}

/// A message in a mailbox. Its size is here too, so that counting never reads the email.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Instance {
    pub(super) email: EmailId,
    pub(super) modseq: ModSeq,
    pub(super) saved_date: UnixMillis,
    pub(super) size_bytes: u64,
    pub(super) flags: Flags,
}

impl Instance {
    pub(super) fn is_unseen(&self) -> bool {
        !self.flags.system.contains(SystemFlags::SEEN)
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.flags.system.contains(SystemFlags::DELETED)
    }

    fn deleted_size_bytes(&self) -> u64 {
        if self.is_deleted() { self.size_bytes } else { 0 }
    }
}

/// What a message is, apart from its content. The summary stands behind it in the same row: a reader that does
/// not want it decodes an [`EmailHead`] and stops there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct EmailHead {
    pub(super) thread: ThreadId,
    /// Octets of prefix and message.
    pub(super) size_bytes: u64,
    pub(super) prefix_size_bytes: u64,
    pub(super) internal_date: UnixMillis,
    /// How many blobs its row in `EmailBlobs` names; 0 when there is no such row.
    pub(super) blobs: u32,
    /// The keys that this message is counted in, distinct.
    pub(super) thread_keys: Vec<KeyedHash>,
}

/// An email row as it is read when the summary is wanted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Email {
    pub(super) head: EmailHead,
    pub(super) summary: Sealed,
}

/// An email row as it is written: the same octets as [`Email`], without a copy of the summary.
#[derive(Serialize)]
pub(super) struct EmailOut<'m> {
    pub(super) head: EmailHead,
    pub(super) summary: &'m Sealed,
}

/// A message's content.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct EmailContent {
    pub(super) prefix: Sealed,
    pub(super) recipe: Sealed,
}

/// A message's content as it is written: the same octets as [`EmailContent`], without a copy.
#[derive(Serialize)]
pub(super) struct EmailContentOut<'m> {
    pub(super) prefix: &'m Sealed,
    pub(super) recipe: &'m Sealed,
}

/// The thread of a Message-ID.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct ThreadKey {
    pub(super) thread: ThreadId,
    /// Messages that are counted in; the row goes with the last one.
    pub(super) messages: u64,
}

/// Who holds the maildrop.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct MaildropLock {
    pub(super) session: RequestId,
    pub(super) until: UnixMillis,
}

/// The copy in Sent of a submitted message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct SentCopy {
    pub(super) mailbox: MailboxId,
    pub(super) uid: Uid,
    /// When it was kept.
    pub(super) at: UnixMillis,
}

/// What a domain's accounts use in this group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct DomainUsageRow {
    pub(super) accounts: u64,
    pub(super) used: Used,
}

/// Counts of the group that belong to no account.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct GroupRow {
    pub(super) repeats_suppressed: u64,
    /// Repeat rows of the days before this one are gone.
    pub(super) repeats_from_day: u32,
}

#[cfg(test)]
mod tests {
    use securanet_model::record;

    use super::*;

    #[test]
    fn the_head_of_an_email_is_read_without_its_summary() {
        let head = EmailHead {
            thread: ThreadId::new(7),
            size_bytes: 4096,
            prefix_size_bytes: 60,
            internal_date: UnixMillis::new(1_700_000_000_000),
            blobs: 0,
            thread_keys: vec![KeyedHash([3; 16])],
        };
        let summary = Sealed::plain(1, vec![9; 500]);
        let written = record::encode(&EmailOut { head: head.clone(), summary: &summary });
        assert_eq!(record::decode::<EmailHead>(&written), Ok(head.clone()));
        assert_eq!(record::decode::<Email>(&written), Ok(Email { head, summary }));
    }

    #[test]
    fn content_is_read_as_it_was_written() {
        let content = EmailContent { prefix: Sealed::plain(1, vec![1]), recipe: Sealed::plain(1, vec![2; 40]) };
        let written = record::encode(&EmailContentOut { prefix: &content.prefix, recipe: &content.recipe });
        assert_eq!(record::decode::<EmailContent>(&written), Ok(content));
    }

    /// Each record as the first release wrote it: one that comes out otherwise is a
    /// format that changed without a new version.
    #[test]
    fn rows_are_written_as_the_first_release_wrote_them() {
        let sample = sample();
        let written: Vec<String> = vec![
            hex(&sample.account),
            hex(&sample.mailbox),
            hex(&sample.counters),
            hex(&sample.instance),
            hex(&sample.email),
            hex(&sample.content),
            hex(&sample.thread_key),
            hex(&sample.lock),
            hex(&sample.domain),
            hex(&sample.group),
        ];
        assert_eq!(written, FIRST_RELEASE);
    }

    #[test]
    fn rows_that_came_later_are_written_as_the_first_release_with_them_wrote_them() {
        let copy = SentCopy { mailbox: MailboxId::new(6), uid: Uid::new(300), at: UnixMillis::new(1_700_000_000_000) };
        assert_eq!(hex(&copy), "0106ac0280d095ffbc31");
    }

    const FIRST_RELEASE: [&str; 10] = [
        "010102030104000c0d05060780e2cfaa0608090a1fac020b",
        "0105494e424f58010381e2cfaa06",
        "010e0f10111213141516",
        "01171880d095ffbc311901010a24466f72776172646564",
        "01212223242501262626262626262626262626262626262700000128",
        "01290000012a2b0000012c",
        "011a1b",
        "011c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1d",
        "011e0c0d",
        "011f20",
    ];

    fn hex<T: Serialize>(row: &T) -> String {
        record::encode(row).iter().map(|octet| format!("{octet:02x}")).collect()
    }

    struct Sample {
        account: AccountRow,
        mailbox: MailboxRow,
        counters: MailboxCounters,
        instance: Instance,
        email: Email,
        content: EmailContent,
        thread_key: ThreadKey,
        lock: MaildropLock,
        domain: DomainUsageRow,
        group: GroupRow,
    }

    fn sample() -> Sample {
        let used = Used { bytes: 12, messages: 13 };
        let flags = Flags::new(SystemFlags::SEEN, securanet_model::Keyword::parse("$Forwarded"));
        Sample {
            account: AccountRow {
                epoch: Epoch::new(1),
                tenant: TenantId::new(2),
                domain: DomainId::new(3),
                quota: Quota { bytes_max: Some(4), messages_max: None },
                used,
                modseq: ModSeq::new(5),
                last_mailbox: 6,
                last_email: 7,
                last_uid_validity: 1_700_000_000,
                retired_uid_validity: 8,
                mailboxes: 9,
                subscriptions: 10,
                special_uses: 31,
                changes: 300,
                changes_floor: ModSeq::new(11),
            },
            mailbox: MailboxRow {
                name: MailboxName::inbox(),
                special_use: Some(SpecialUse::Sent),
                uid_validity: UidValidity::new(1_700_000_001),
            },
            counters: MailboxCounters {
                uid_next: Uid::new(14),
                highest_modseq: ModSeq::new(15),
                messages: 16,
                unseen: 17,
                deleted: 18,
                size_bytes: 19,
                deleted_size_bytes: 20,
                horizon: ModSeq::new(21),
                tombstones: 22,
            },
            instance: Instance {
                email: EmailId::new(23),
                modseq: ModSeq::new(24),
                saved_date: UnixMillis::new(1_700_000_000_000),
                size_bytes: 25,
                flags,
            },
            email: Email {
                head: EmailHead {
                    thread: ThreadId::new(33),
                    size_bytes: 34,
                    prefix_size_bytes: 35,
                    internal_date: UnixMillis::new(36),
                    blobs: 37,
                    thread_keys: vec![KeyedHash([38; 16])],
                },
                summary: Sealed::plain(39, vec![40]),
            },
            content: EmailContent { prefix: Sealed::plain(41, vec![42]), recipe: Sealed::plain(43, vec![44]) },
            thread_key: ThreadKey { thread: ThreadId::new(26), messages: 27 },
            lock: MaildropLock { session: RequestId::new([28; 16]), until: UnixMillis::new(29) },
            domain: DomainUsageRow { accounts: 30, used },
            group: GroupRow { repeats_suppressed: 31, repeats_from_day: 32 },
        }
    }
}
