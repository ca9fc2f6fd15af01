//! The keys of an account's rows.
//!
//! | table | key behind the table's byte | value | bound |
//! |---|---|---|---|
//! | `AccountState` | account | [`records::AccountRow`] | 1 an account |
//! | `Mailbox` | account, mailbox | [`records::MailboxRow`] | `MAILBOXES_MAX` |
//! | `MailboxCounters` | account, mailbox | [`records::MailboxCounters`] | 1 a mailbox |
//! | `MailboxKeywords` | account, mailbox | the keywords, in order of first use | 256 keywords |
//! | `MailboxByName` | account, lower-case name, 0, name | mailbox | 1 a mailbox |
//! | `Subscription` | account, name | nothing | `MAILBOXES_MAX` |
//! | `Instance` | account, mailbox, uid | [`records::Instance`] | the quota |
//! | `InstanceByModSeq` | account, mailbox, modseq, uid | nothing | 1 an instance |
//! | `Tombstones` | account, mailbox, modseq | `UidSet` | `TOMBSTONES_PER_MAILBOX_MAX` UIDs |
//! | `Email` | account, email | [`records::EmailHead`], then the sealed summary | the quota |
//! | `EmailContent` | account, email | [`records::EmailContent`] | 1 an email |
//! | `EmailBlobs` | account, email | the blobs' ids | 1 an email that has blobs |
//! | `EmailInstance` | account, email, mailbox, uid | nothing | 1 an instance |
//! | `ThreadKey` | account, keyed hash | [`records::ThreadKey`] | 8 an email |
//! | `ChangeLog` | account, modseq | what changed, sorted | `CHANGES_PER_ACCOUNT_MAX` entries |
//! | `MaildropLock` | account | [`records::MaildropLock`] | 1 an account |
//! | `Repeat` | day, account, keyed hash | the delivery's stamp | four days of deliveries |
//! | `SentCopy` | account, keyed hash of a Message-ID | [`records::SentCopy`] | `sent::REMEMBERED_MAX` |
//! | `DomainUsage` | domain | [`records::DomainUsageRow`] | 1 a domain |
//! | `AccountsGroup` | | [`records::GroupRow`] | 1 |
//!
//! All of it is truth: replicas agree on it byte by byte. The content stands apart from the email and the email
//! apart from its instances, so that a list of flags reads neither envelopes nor bodies. What a delivery rewrites
//! (account, counters, domain) is kept apart from what it only reads, and small.
//!
//! [`records::AccountRow`]: super::records::AccountRow
//! [`records::MailboxRow`]: super::records::MailboxRow
//! [`records::MailboxCounters`]: super::records::MailboxCounters
//! [`records::Instance`]: super::records::Instance
//! [`records::EmailHead`]: super::records::EmailHead
//! [`records::EmailContent`]: super::records::EmailContent
//! [`records::ThreadKey`]: super::records::ThreadKey
//! [`records::MaildropLock`]: super::records::MaildropLock
//! [`records::SentCopy`]: super::records::SentCopy
//! [`records::DomainUsageRow`]: super::records::DomainUsageRow
//! [`records::GroupRow`]: super::records::GroupRow

use securanet_kv::KeyRange;
use securanet_model::{AccountId, EmailId, KeyedHash, MailboxId, MailboxName, ModSeq, Uid};

use crate::keys::{Key, Space, Table};

/// The tables whose keys begin with the account: what goes when it goes.
pub(super) const OF_ONE_ACCOUNT: [Table; 17] = [
    Table::AccountState,
    Table::Mailbox,
    Table::MailboxCounters,
    Table::MailboxKeywords,
    Table::MailboxByName,
    Table::Subscription,
    Table::Instance,
    Table::InstanceByModSeq,
    Table::Tombstones,
    Table::Email,
    Table::EmailContent,
    Table::EmailBlobs,
    Table::EmailInstance,
    Table::ThreadKey,
    Table::ChangeLog,
    Table::MaildropLock,
    Table::SentCopy,
];

/// Builds the keys of one account.
#[derive(Clone, Copy, Debug)]
pub(super) struct AccountKeys {
    space: Space,
    account: AccountId,
}

impl AccountKeys {
    pub(super) fn new(space: Space, account: AccountId) -> Self {
        Self { space, account }
    }

    pub(super) fn account(self) -> AccountId {
        self.account
    }

    /// The beginning of all of the account's rows in a table of [`OF_ONE_ACCOUNT`].
    pub(super) fn table(self, table: Table) -> Key {
        self.space.key(table).u64(self.account.get())
    }

    /// The account's only row in the table.
    pub(super) fn state(self) -> Key {
        self.table(Table::AccountState)
    }

    pub(super) fn maildrop_lock(self) -> Key {
        self.table(Table::MaildropLock)
    }

    /// The row (or all rows) of a mailbox in one of the tables whose keys go on with the mailbox.
    pub(super) fn mailbox(self, table: Table, mailbox: MailboxId) -> Key {
        self.table(table).u32(mailbox.get())
    }

    pub(super) fn name(self, name: &MailboxName) -> Key {
        self.names_without_case(name).octets(name.as_str().as_bytes())
    }

    /// The beginning of the rows of all names that differ from this one only in the case of ASCII letters.
    pub(super) fn names_without_case(self, name: &MailboxName) -> Key {
        self.table(Table::MailboxByName).text(&name.as_str().to_ascii_lowercase())
    }

    /// The beginning of the rows of all names below this one, in any case.
    pub(super) fn names_below(self, name: &MailboxName) -> Key {
        let below = name.as_str().to_ascii_lowercase() + "/";
        self.table(Table::MailboxByName).octets(below.as_bytes())
    }

    pub(super) fn subscription(self, name: &MailboxName) -> Key {
        self.table(Table::Subscription).octets(name.as_str().as_bytes())
    }

    pub(super) fn instance(self, mailbox: MailboxId, uid: Uid) -> Key {
        self.mailbox(Table::Instance, mailbox).u32(uid.get())
    }

    /// The instances with UIDs from `first` to `last`, both included.
    pub(super) fn instances(self, mailbox: MailboxId, (first, last): (Uid, Uid)) -> KeyRange {
        KeyRange { start: self.instance(mailbox, first).into(), end: self.instance(mailbox, last).range().end }
    }

    pub(super) fn by_modseq(self, mailbox: MailboxId, modseq: ModSeq, uid: Uid) -> Key {
        self.mailbox(Table::InstanceByModSeq, mailbox).u64(modseq.get()).u32(uid.get())
    }

    pub(super) fn tombstones(self, mailbox: MailboxId, modseq: ModSeq) -> Key {
        self.mailbox(Table::Tombstones, mailbox).u64(modseq.get())
    }

    /// The rows of a mailbox's table by mod-sequence that lie after `since`.
    pub(super) fn after(self, table: Table, mailbox: MailboxId, since: ModSeq) -> KeyRange {
        let all = self.mailbox(table, mailbox);
        KeyRange { start: all.clone().u64(since.get().saturating_add(1)).into(), end: all.range().end }
    }

    /// The row of an email in one of the tables whose keys go on with the email.
    pub(super) fn email(self, table: Table, email: EmailId) -> Key {
        self.table(table).u64(email.get())
    }

    pub(super) fn email_instance(self, email: EmailId, mailbox: MailboxId, uid: Uid) -> Key {
        self.email(Table::EmailInstance, email).u32(mailbox.get()).u32(uid.get())
    }

    pub(super) fn thread_key(self, key: &KeyedHash) -> Key {
        self.table(Table::ThreadKey).octets(&key.0)
    }

    pub(super) fn sent_copy(self, own: &KeyedHash) -> Key {
        self.table(Table::SentCopy).octets(&own.0)
    }

    pub(super) fn changes(self, modseq: ModSeq) -> Key {
        self.table(Table::ChangeLog).u64(modseq.get())
    }

    /// The change log's rows after `since`.
    pub(super) fn changes_after(self, since: ModSeq) -> KeyRange {
        KeyRange {
            start: self.changes(ModSeq::new(since.get().saturating_add(1))).into(),
            end: self.table(Table::ChangeLog).range().end,
        }
    }

    /// What a sender's repeat delivered on `day` is recognised by.
    pub(super) fn repeat(self, day: u32, key: &KeyedHash) -> Key {
        self.repeats(day).octets(&key.0)
    }

    /// All of the account's repeat rows of a day.
    pub(super) fn repeats(self, day: u32) -> Key {
        self.space.key(Table::Repeat).u32(day).u64(self.account.get())
    }
}
