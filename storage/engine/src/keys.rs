//! The data format of a group's state: which tables there are and how their keys are built.
//!
//! A key is `group u32 | generation u32 | table u8 | fields`, every number big-endian, so that keys sort as
//! their fields do. A field of text stands last, or is followed by one zero octet (no text of ours contains
//! one). Values are records ([`securanet_model::record`]): a version, then postcard.
//!
//! Tables below 0x80 are **truth**: replicated, in snapshots, byte-equal on all replicas of a group once the
//! generation is stripped. Tables from 0x80 on are **derived**: each replica rebuilds them by itself.
//! A table's byte is frozen once a release wrote it; a table that is dropped leaves its byte unused.
//!
//! Who owns which: 0x01 to 0x0f the dispatch, 0x10 to 0x2f the directory, 0x30 to 0x3f the queue and the fan-in,
//! 0x40 to 0x6f the accounts (0x40 is shared with the queue, through `reachability`), 0x70 to 0x7f the queue's
//! outbound part, for which 0x30 to 0x3f has too little room.

use std::ops::Deref;

use securanet_kv::KeyRange;
use securanet_model::{Address, GroupId};

use crate::EngineError;

/// Where a group's state lives: every key of it begins with these eight bytes, big-endian.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Space {
    /// The group.
    pub group: GroupId,
    /// Raised when a snapshot is installed; below [`u32::MAX`], which is the replication room's own.
    pub generation: u32,
}

/// Octets of a [`Space`] at the beginning of each key.
pub const SPACE_OCTETS: usize = 8;

/// The first byte of a derived table; all below are truth.
pub const DERIVED_FROM: u8 = 0x80;

/// A table of the state. Each variant says its key's fields and its value's record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Table {
    // ---- Dispatch: lib.rs, requests.rs.
    /// No field: the group's clock and how far requests were collected.
    Clock = 0x01,
    /// `deadline u64 | request id 16`: the replies to a request.
    Requests = 0x02,
    /// `forget at u64 | deadline u64 | request id 16`: empty; requests whose deadline was too far away.
    RequestsFar = 0x03,

    // ---- Directory: directory/.
    /// No field: the cluster's fixed facts.
    Cluster = 0x10,
    /// No field: the next ids.
    DirectoryCounters = 0x11,
    /// `domain u32`: a domain.
    Domain = 0x12,
    /// `name text`: the domain's id.
    DomainByName = 0x13,
    /// `account u64`: an account.
    Account = 0x14,
    /// `account u64`: its credentials.
    Credentials = 0x15,
    /// `domain text 0 | local part text`: what the address is (account, alias or list).
    Address = 0x16,
    /// `domain text 0 | local part text`: an alias.
    Alias = 0x17,
    /// `domain text 0 | local part text`: a list.
    List = 0x18,
    /// `domain text 0 | local part text 0 | kind u8 | who refers`: empty; who names the address.
    Referrer = 0x19,
    /// `scope u8 | id u64 | policy text`: a policy's value.
    Policy = 0x1a,
    /// `domain u32 | selector text`: a key that signs the domain's mail.
    DkimKey = 0x1b,
    /// `account u64 | kind u8 | domain text 0 | local part text`: a grant of sending.
    SendingGrant = 0x1f,
    /// `name text`: a relay grant.
    RelayGrant = 0x20,
    /// `domain text`: the MTA-STS policy of a foreign domain.
    StsPolicy = 0x21,
    /// `ends u64 | domain text`: empty; these policies by their end.
    StsPolicyByEnd = 0x22,
    /// No field: how many of them there are and how long their texts are together.
    StsCounters = 0x23,
    /// `day u32 | domain text`: what was counted of TLS towards a foreign domain, and how far reporting it has come.
    TlsReport = 0x24,
    /// `due u64 | day u32 | domain text`: empty; those that are to be sent.
    TlsReportDue = 0x25,
    /// `day u32`: how many of them a day has.
    TlsDay = 0x26,
    /// `account u64`: where the account's mail is sent on to.
    Forwarding = 0x27,
    /// `name text`: a node of the cluster.
    Node = 0x28,
    /// `digest 32`: a token that lets a node in.
    JoinToken = 0x29,
    /// No field: the next replica id.
    NodeCounters = 0x2a,
    /// No field: the cluster's authority.
    Authority = 0x2b,

    // ---- Queue and fan-in: queue/, fanin.rs.
    /// No field: the next item's number and the depths.
    QueueCounters = 0x30,
    /// `item u64`: the message of an item, once, and who sent it when.
    QueueItem = 0x31,
    /// `item u64`: how many deliveries of the item are open and how many recipients are held.
    QueueItemState = 0x32,
    /// `target group u32`: the next sequence to that group and below which all are settled.
    QueueTarget = 0x33,
    /// `target group u32 | sequence u64`: a delivery that is not settled.
    QueuePending = 0x34,
    /// `item u64 | target group u32 | position u32`: a recipient that its group refused.
    QueueHeld = 0x35,
    /// `queue group u32`: below which sequences of that queue are settled and collected here.
    FanInSource = 0x38,
    /// `queue group u32 | sequence u64`: a delivery of that queue that was applied here.
    FanInKey = 0x39,

    // ---- Shared by accounts and queue: reachability.rs.
    /// `tenant u32 | hash 32 | owner kind u8 | owner`: empty; who names a blob.
    BlobReachability = 0x40,
    // ---- Accounts (0x41 to 0x6f): account/, whose tables.rs says more.
    /// `account u64`: counters, quota and usage of an account.
    AccountState = 0x41,
    /// `account u64 | mailbox u32`: what seldom changes of a mailbox.
    Mailbox = 0x42,
    /// `account u64 | mailbox u32`: what every message changes of a mailbox.
    MailboxCounters = 0x43,
    /// `account u64 | mailbox u32`: the keywords that the mailbox has seen; no row when none.
    MailboxKeywords = 0x44,
    /// `account u64 | name in ASCII lower case, text 0 | name text`: the mailbox's id.
    MailboxByName = 0x45,
    /// `account u64 | name text`: empty; a subscribed name.
    Subscription = 0x46,
    /// `account u64 | mailbox u32 | uid u32`: a message in a mailbox.
    Instance = 0x47,
    /// `account u64 | mailbox u32 | modseq u64 | uid u32`: empty; the instances by their last change.
    InstanceByModSeq = 0x48,
    /// `account u64 | mailbox u32 | modseq u64`: the UIDs that this change expunged.
    Tombstones = 0x49,
    /// `account u64 | email u64`: a message's sizes, dates, thread and summary.
    Email = 0x4a,
    /// `account u64 | email u64`: a message's prefix and recipe.
    EmailContent = 0x4b,
    /// `account u64 | email u64`: the blobs that the recipe names; no row when none.
    EmailBlobs = 0x4c,
    /// `account u64 | email u64 | mailbox u32 | uid u32`: empty; where a message sits.
    EmailInstance = 0x4d,
    /// `account u64 | keyed hash 16`: the thread of a Message-ID and how many messages name it.
    ThreadKey = 0x4e,
    /// `account u64 | modseq u64`: what this change changed.
    ChangeLog = 0x4f,
    /// `account u64`: who holds the maildrop until when.
    MaildropLock = 0x50,
    /// `day u32 | account u64 | keyed hash 16`: when a message that may be repeated was delivered.
    Repeat = 0x51,
    /// `domain u32`: what a domain's accounts use here.
    DomainUsage = 0x52,
    /// No field: counts of the group that belong to no account.
    AccountsGroup = 0x53,
    /// `account u64 | keyed hash 16`: the copy in Sent of a submitted message of this Message-ID.
    SentCopy = 0x54,

    // ---- Outbound: queue/outbound/, whose rows.rs has the records.
    /// No field: the next numbers, the depths, and how early each line of the timeline begins.
    OutboundCounters = 0x70,
    /// `item u64`: what never changes of an item, until it is forgotten.
    OutboundItem = 0x71,
    /// `item u64`: why an item is still open; no row once it is closed.
    OutboundItemState = 0x72,
    /// `item u64`: the message of an open item.
    OutboundContent = 0x73,
    /// `item u64 | position u32`: a recipient and where it is.
    OutboundRecipient = 0x74,
    /// `item u64 | position u32 | attempt u32`: how an attempt ended.
    OutboundAttempt = 0x75,
    /// `destination text 0 | class u8 | due u64 | item u64 | position u32`: empty; a recipient that waits.
    OutboundWaiting = 0x76,
    /// `destination text 0 | item u64 | position u32`: empty; one that waits because nothing could be reached.
    OutboundUnreached = 0x77,
    /// `destination text`: counts, the first recipient that waits, and since when it cannot be reached.
    OutboundDestination = 0x78,
    /// `line u8 | time u64 | who`: empty; destinations, timers, leases and closed items by their time.
    OutboundTimeline = 0x79,
    /// `epoch u64`: a lease.
    OutboundLease = 0x7a,
    /// `epoch u64 | item u64 | position u32`: empty; a recipient that a worker has.
    OutboundTaken = 0x7b,
    /// `kind u8 | who`: how many recipients of a sender have no end.
    OutboundSender = 0x7c,
    /// `message id text 0 | item u64`: empty.
    OutboundMessageId = 0x7d,
    /// `day u32 | keyed hash 16`: when a message that may be repeated was taken in, and as which item.
    OutboundRepeat = 0x7e,
}

impl Table {
    /// Whether the table is truth: replicated, in snapshots, compared between replicas.
    #[must_use]
    pub const fn is_truth(self) -> bool {
        (self as u8) < DERIVED_FROM
    }
}

impl Space {
    /// The eight bytes that each key of the space begins with.
    #[must_use]
    pub fn prefix(self) -> [u8; SPACE_OCTETS] {
        let mut prefix = [0; SPACE_OCTETS];
        prefix[..4].copy_from_slice(&self.group.get().to_be_bytes());
        prefix[4..].copy_from_slice(&self.generation.to_be_bytes());
        prefix
    }

    /// All keys of the space.
    #[must_use]
    pub fn range(self) -> KeyRange {
        KeyRange::prefix(self.prefix())
    }

    /// The keys of the space's truth: what a snapshot holds and what replicas are compared by.
    #[must_use]
    pub fn truth(self) -> KeyRange {
        let mut end = self.prefix().to_vec();
        end.push(DERIVED_FROM);
        KeyRange::new(self.prefix(), end)
    }

    /// The beginning of a key of a table.
    #[must_use]
    pub fn key(self, table: Table) -> Key {
        let mut key = Vec::with_capacity(48);
        key.extend_from_slice(&self.prefix());
        key.push(table as u8);
        Key(key)
    }
}

/// A key under construction: fields are appended in order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key(Vec<u8>);

impl Key {
    /// Appends one octet.
    #[must_use]
    pub fn u8(mut self, field: u8) -> Self {
        self.0.push(field);
        self
    }

    /// Appends a number.
    #[must_use]
    pub fn u32(mut self, field: u32) -> Self {
        self.0.extend_from_slice(&field.to_be_bytes());
        self
    }

    /// Appends a number.
    #[must_use]
    pub fn u64(mut self, field: u64) -> Self {
        self.0.extend_from_slice(&field.to_be_bytes());
        self
    }

    /// Appends octets: of fixed length, or as the last field.
    #[must_use]
    pub fn octets(mut self, field: &[u8]) -> Self {
        self.0.extend_from_slice(field);
        self
    }

    /// Appends a text and the zero octet that ends it.
    #[must_use]
    pub fn text(self, field: &str) -> Self {
        self.octets(field.as_bytes()).u8(0)
    }

    /// Appends an address in canonical form as `domain 0 local part`: the addresses of a domain stand together.
    #[must_use]
    pub fn address(self, address: &Address) -> Self {
        self.text(address.domain().as_str()).octets(address.local_canonical().as_bytes())
    }

    /// All keys that begin with this one.
    #[must_use]
    pub fn range(&self) -> KeyRange {
        KeyRange::prefix(self.0.as_slice())
    }

    /// Keys from this one to before `end`.
    #[must_use]
    pub fn to(self, end: Self) -> KeyRange {
        KeyRange::new(self.0, end.0)
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Key> for Vec<u8> {
    fn from(key: Key) -> Self {
        key.0
    }
}

/// The fields of a stored key, read in order.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'k>(&'k [u8]);

impl<'k> Fields<'k> {
    /// The fields behind space and table.
    ///
    /// # Errors
    /// [`EngineError::Inconsistent`] when the key is shorter than these.
    pub fn of(key: &'k [u8]) -> Result<Self, EngineError> {
        key.get(SPACE_OCTETS + 1..).map(Self).ok_or_else(|| short(key))
    }

    /// The next octet.
    ///
    /// # Errors
    /// [`EngineError::Inconsistent`] when there is none.
    pub fn u8(&mut self) -> Result<u8, EngineError> {
        Ok(self.array::<1>()?[0])
    }

    /// The next number.
    ///
    /// # Errors
    /// [`EngineError::Inconsistent`] when there are not enough octets.
    pub fn u32(&mut self) -> Result<u32, EngineError> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next number.
    ///
    /// # Errors
    /// [`EngineError::Inconsistent`] when there are not enough octets.
    pub fn u64(&mut self) -> Result<u64, EngineError> {
        self.array().map(u64::from_be_bytes)
    }

    /// The next octets.
    ///
    /// # Errors
    /// [`EngineError::Inconsistent`] when there are not enough.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], EngineError> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or_else(|| short(self.0))?;
        self.0 = rest;
        Ok(*field)
    }

    /// The next text, which a zero octet ends.
    ///
    /// # Errors
    /// [`EngineError::Inconsistent`] when there is no end or it is not UTF-8.
    pub fn text(&mut self) -> Result<&'k str, EngineError> {
        let end = self.0.iter().position(|&octet| octet == 0).ok_or_else(|| short(self.0))?;
        let (field, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        std::str::from_utf8(field).map_err(|_| short(field))
    }

    /// All that is left.
    #[must_use]
    pub const fn rest(self) -> &'k [u8] {
        self.0
    }
}

fn short(key: &[u8]) -> EngineError {
    EngineError::Inconsistent(format!("a key ends too early or is no text: {key:02x?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: Space = Space { group: GroupId::new(3), generation: 7 };

    #[test]
    fn a_key_is_space_table_and_big_endian_fields() {
        let key = SPACE.key(Table::QueuePending).u32(0x0102).u64(9);
        assert_eq!(&*key, [0, 0, 0, 3, 0, 0, 0, 7, 0x34, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 9]);
        let mut fields = Fields::of(&key).unwrap();
        assert_eq!((fields.u32(), fields.u64(), fields.rest()), (Ok(0x0102), Ok(9), &[][..]));
        assert!(fields.u8().is_err(), "nothing is left");
    }

    #[test]
    fn addresses_of_a_domain_stand_together_without_case() {
        let key = |text: &str| SPACE.key(Table::Address).address(&Address::parse(text).unwrap());
        assert_eq!(key("Ann@EXAMPLE.org"), key("ann@example.org"));
        assert!(key("zoe@a.example") < key("ann@a.example.net"), "a domain's addresses are not interleaved");
        let domain = SPACE.key(Table::Address).text("a.example").range();
        assert!(!key("ann@a.example.net").starts_with(&domain.start));
    }

    #[test]
    fn the_truth_of_a_space_ends_where_derived_tables_begin() {
        let range = SPACE.truth();
        let end = range.end.unwrap();
        assert!(SPACE.key(Table::BlobReachability).as_ref() < end.as_slice());
        assert!(Table::BlobReachability.is_truth());
        assert_eq!(end.last(), Some(&0x80));
    }
}
