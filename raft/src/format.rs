//! What is written to disk: rows of the log, of the replica's own space in the state, and their keys. Frozen.
//!
//! Our own structs stand between openraft's and the disk, so that a new release of openraft cannot change what
//! an old data directory means. Each value is a versioned record; fields and variants are appended, never
//! reordered.
//!
//! The log store, all groups in one instance; integers big-endian:
//! ```text
//! group u32 | 0x01              IdentityRow   which replica this is; written before its first vote
//! group u32 | 0x02              VoteRow       the last vote
//! group u32 | 0x03              LogIdRow      the last purged entry
//! group u32 | 0x04              FenceRow      replicas that were given up: nothing of theirs is taken; absent is none
//! group u32 | 0x10 | index u64  EntryRow      an entry
//! ```
//! The state store, in the space that no engine generation uses:
//! ```text
//! group u32 | 0xffffffff | 0x01 AppliedRow    the last applied entry; in the same batch as what it did
//! group u32 | 0xffffffff | 0x02 MembershipRow the last applied membership
//! group u32 | 0xffffffff | 0x03 u32           the current generation (the flip row); absent is 0
//! group u32 | 0xffffffff | 0x04 u32           a generation that may name blobs which are not here; absent is none
//! ```

use std::collections::BTreeSet;

use bytes::Bytes;
use openraft::{EntryPayload, entry::RaftEntry};
use securanet_kv::KeyRange;
use securanet_model::{
    BlobId, GroupId,
    record::{self, RecordError},
};
use serde::{Deserialize, Serialize};

use crate::types::{Entry, LogId, Member, Membership, Proposed, Vote};

/// `serde_bytes` for [`Bytes`].
pub(crate) mod byte_string {
    use bytes::Bytes;
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        securanet_model::content::bytes_field::deserialize(deserializer).map(Bytes::from)
    }
}

const IDENTITY: u8 = 0x01;
const VOTE: u8 = 0x02;
const PURGED: u8 = 0x03;
const FENCE: u8 = 0x04;
const ENTRY: u8 = 0x10;

/// Generation of a group's space in the state that holds the replica's own rows.
pub(crate) const OWN_GENERATION: u32 = u32::MAX;
const APPLIED: u8 = 0x01;
const MEMBERSHIP: u8 = 0x02;
const GENERATION: u8 = 0x03;
const HOLLOW: u8 = 0x04;

fn log_key(group: GroupId, kind: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(13);
    key.extend_from_slice(&group.get().to_be_bytes());
    key.push(kind);
    key
}

fn state_key(group: GroupId, kind: u8) -> Vec<u8> {
    let mut key = space_prefix(group, OWN_GENERATION);
    key.push(kind);
    key
}

/// What every key of a generation of a group begins with.
pub(crate) fn space_prefix(group: GroupId, generation: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(9);
    key.extend_from_slice(&group.get().to_be_bytes());
    key.extend_from_slice(&generation.to_be_bytes());
    key
}

pub(crate) fn identity_key(group: GroupId) -> Vec<u8> {
    log_key(group, IDENTITY)
}

pub(crate) fn vote_key(group: GroupId) -> Vec<u8> {
    log_key(group, VOTE)
}

pub(crate) fn purged_key(group: GroupId) -> Vec<u8> {
    log_key(group, PURGED)
}

pub(crate) fn fence_key(group: GroupId) -> Vec<u8> {
    log_key(group, FENCE)
}

pub(crate) fn entry_key(group: GroupId, index: u64) -> Vec<u8> {
    let mut key = log_key(group, ENTRY);
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// The index in an entry's key.
pub(crate) fn index_of(key: &[u8]) -> Option<u64> {
    key.get(5..).and_then(|index| index.try_into().ok()).map(u64::from_be_bytes)
}

/// Entries from `from` to before `to`; to the end of the group's log without `to`.
pub(crate) fn entry_range(group: GroupId, from: u64, to: Option<u64>) -> KeyRange {
    let end = to.map_or_else(|| log_key(group, ENTRY + 1), |to| entry_key(group, to));
    KeyRange::new(entry_key(group, from), end)
}

pub(crate) fn applied_key(group: GroupId) -> Vec<u8> {
    state_key(group, APPLIED)
}

pub(crate) fn membership_key(group: GroupId) -> Vec<u8> {
    state_key(group, MEMBERSHIP)
}

pub(crate) fn generation_key(group: GroupId) -> Vec<u8> {
    state_key(group, GENERATION)
}

pub(crate) fn hollow_key(group: GroupId) -> Vec<u8> {
    state_key(group, HOLLOW)
}

/// Which replica of a group lives here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct IdentityRow {
    /// Its replica id.
    pub(crate) replica: u64,
}

/// The replicas of a group that an operator has given up. Their ids are never given out again.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct FenceRow {
    pub(crate) replicas: BTreeSet<u64>,
}

/// A [`LogId`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct LogIdRow {
    term: u64,
    leader: u64,
    index: u64,
}

impl From<LogId> for LogIdRow {
    fn from(id: LogId) -> Self {
        Self { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
    }
}

impl From<LogIdRow> for LogId {
    fn from(row: LogIdRow) -> Self {
        let leader = openraft::impls::leader_id_adv::LeaderId { term: row.term, node_id: row.leader };
        Self::new(leader, row.index)
    }
}

/// A [`Vote`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct VoteRow {
    term: u64,
    replica: u64,
    committed: bool,
}

impl From<&Vote> for VoteRow {
    fn from(vote: &Vote) -> Self {
        Self { term: vote.leader_id.term, replica: vote.leader_id.node_id, committed: vote.committed }
    }
}

impl From<VoteRow> for Vote {
    fn from(row: VoteRow) -> Self {
        let mut vote = Self::new(row.term, row.replica);
        vote.committed = row.committed;
        vote
    }
}

/// A membership: one configuration, or two while it changes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct MembersRow {
    configurations: Vec<Vec<u64>>,
    members: Vec<(u64, String)>,
}

impl From<&openraft::Membership<u64, Member>> for MembersRow {
    fn from(membership: &openraft::Membership<u64, Member>) -> Self {
        let configurations = membership.get_joint_config().iter().map(|ids| ids.iter().copied().collect()).collect();
        let members = membership.nodes().map(|(id, member)| (*id, member.node.clone())).collect();
        Self { configurations, members }
    }
}

impl MembersRow {
    /// The membership, if its parts fit together.
    fn membership(self) -> Result<openraft::Membership<u64, Member>, RecordError> {
        let configurations = self.configurations.into_iter().map(|ids| ids.into_iter().collect()).collect();
        let members: std::collections::BTreeMap<u64, Member> =
            self.members.into_iter().map(|(id, node)| (id, Member { node })).collect();
        openraft::Membership::new(configurations, members).map_err(|error| RecordError::Damaged(error.to_string()))
    }
}

/// A [`Membership`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct MembershipRow {
    id: Option<LogIdRow>,
    members: MembersRow,
}

impl From<&Membership> for MembershipRow {
    fn from(membership: &Membership) -> Self {
        Self { id: membership.log_id().map(LogIdRow::from), members: membership.membership().into() }
    }
}

impl MembershipRow {
    pub(crate) fn membership(self) -> Result<Membership, RecordError> {
        Ok(Membership::new(self.id.map(LogId::from), self.members.membership()?))
    }
}

/// A log entry. The blobs stand outside the proposal's own record, so that they can be seen without decoding it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct EntryRow {
    id: LogIdRow,
    payload: PayloadRow,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
enum PayloadRow {
    /// The first entry of a leader.
    Blank,
    /// Requests.
    Proposal {
        blobs: Vec<BlobId>,
        #[serde(with = "byte_string")]
        record: Bytes,
    },
    /// A membership.
    Members(MembersRow),
}

/// The row of an entry.
#[must_use]
pub(crate) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let (payload, size) = match &entry.payload {
        EntryPayload::Blank => (PayloadRow::Blank, 0),
        EntryPayload::Normal(proposed) => {
            let (record, blobs) = (proposed.record().clone(), proposed.blobs().to_vec());
            let size = record.len() + 37 * blobs.len();
            (PayloadRow::Proposal { blobs, record }, size)
        }
        EntryPayload::Membership(membership) => (PayloadRow::Members(membership.into()), 64),
    };
    record::encode_into(&EntryRow { id: entry.log_id.into(), payload }, Vec::with_capacity(size + 48))
}

/// The entry of a row.
///
/// # Errors
/// [`RecordError`] when the row is damaged or of a newer release.
pub(crate) fn decode_entry(row: &[u8]) -> Result<Entry, RecordError> {
    let row: EntryRow = record::decode(row)?;
    let payload = match row.payload {
        PayloadRow::Blank => EntryPayload::Blank,
        PayloadRow::Proposal { blobs, record } => EntryPayload::Normal(Proposed::from_record(record, blobs)),
        PayloadRow::Members(members) => EntryPayload::Membership(members.membership()?),
    };
    Ok(Entry::new(row.id.into(), payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_by_group_and_index_and_never_change() {
        let group = GroupId::new(0x0102_0304);
        assert_eq!(identity_key(group), [1, 2, 3, 4, 1]);
        assert_eq!(vote_key(group), [1, 2, 3, 4, 2]);
        assert_eq!(purged_key(group), [1, 2, 3, 4, 3]);
        assert_eq!(fence_key(group), [1, 2, 3, 4, 4]);
        assert_eq!(record::encode(&FenceRow { replicas: [3, 300].into() }), [1, 2, 3, 0xac, 2]);
        assert_eq!(entry_key(group, 0x0506), [1, 2, 3, 4, 0x10, 0, 0, 0, 0, 0, 0, 5, 6]);
        assert_eq!(applied_key(group), [1, 2, 3, 4, 255, 255, 255, 255, 1]);
        assert_eq!(membership_key(group), [1, 2, 3, 4, 255, 255, 255, 255, 2]);
        assert_eq!(generation_key(group), [1, 2, 3, 4, 255, 255, 255, 255, 3]);
        assert_eq!(hollow_key(group), [1, 2, 3, 4, 255, 255, 255, 255, 4]);
        assert_eq!(index_of(&entry_key(group, 77)), Some(77));
        let whole = entry_range(group, 0, None);
        assert!(whole.start > purged_key(group) && whole.end.unwrap() > entry_key(group, u64::MAX));
    }
}
