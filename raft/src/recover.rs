//! Rebuilding groups from one replica, while nobody runs.
//!
//! When a majority of a group's voters is gone for good, what one of the others has is all there is. This reads how far a
//! replica is ([`survey`]), and makes it the only voter ([`recover`]): one synced write gives all chosen groups a vote of a
//! new term, a membership of their own, the commands that an operator's consent comes to, and a fence against the replicas
//! that were given up. At the next start the replica is elected by itself, and commits what its log holds; the other living
//! replicas are learners and follow it.
//!
//! What the log holds behind the last applied entry is kept: nobody can know whether it was acknowledged. A replica that was
//! given up may return with a longer log and a greater term: the fence refuses it, whatever else this node has heard of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
};

use openraft::{EntryPayload, entry::RaftEntry};
use securanet_engine::Space;
use securanet_kv::{Direction, Durability, KeyValue, WriteBatch};
use securanet_model::{
    AccountId, Command, Execute, GroupId, ReplicaId, RequestId, UnixMillis, record,
    report::LogPosition,
    request::{Proposal, Recover},
};

use crate::{
    RaftError, Stores,
    format::{self, FenceRow, IdentityRow, LogIdRow, MembershipRow, VoteRow},
    runtime,
    state::row,
    types::{Entry, LogId, Member, Membership, Proposed, Vote},
};

/// Accounts whose mailboxes get new UIDVALIDITYs in one entry.
const ACCOUNTS_PER_ENTRY: usize = 200;
/// The requests' deadline, from their own stamp.
const DEADLINE_MILLIS: u64 = 60_000;

/// What a replica holds, as its disk says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holding {
    /// The group.
    pub group: GroupId,
    /// The replica.
    pub replica: ReplicaId,
    /// The members of the last membership in its log: replica, node, whether it votes.
    pub members: Vec<(ReplicaId, String, bool)>,
    /// Its last entry; none of a replica that never got any.
    pub last: Option<LogPosition>,
    /// The last entry that is in its state.
    pub applied: Option<u64>,
    /// When the last entry was made that carries anything, by its leader's clock.
    pub last_heard: Option<UnixMillis>,
    /// Whether it lacks blobs that its state names.
    pub hollow: bool,
}

impl Holding {
    /// The nodes that vote.
    #[must_use]
    pub fn voters(&self) -> BTreeSet<&str> {
        self.members.iter().filter(|(_, _, votes)| *votes).map(|(_, node, _)| node.as_str()).collect()
    }

    /// Entries that are not in its state yet: committed or not, they will be.
    #[must_use]
    pub fn unapplied(&self) -> u64 {
        self.last.map_or(0, |last| last.index.saturating_sub(self.applied.unwrap_or_default()))
    }
}

/// What is to become of one group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Consent {
    /// The group.
    pub group: GroupId,
    /// The nodes that are given up; all other members stay, without a vote at first.
    pub lost: BTreeSet<String>,
    /// Whether nobody who stays may have the blobs that this replica lacks: it is not hollow any more, they are lost.
    pub give_up_blobs: bool,
}

/// Reads what the replicas of these groups hold.
///
/// # Errors
/// Those of the disk and of damaged rows.
pub fn survey(stores: &Stores, groups: impl IntoIterator<Item = GroupId>) -> Result<Vec<Holding>, RaftError> {
    groups
        .into_iter()
        .filter_map(|group| OnDisk::read(stores, group).transpose())
        .map(|read| Ok(read?.holding()))
        .collect()
}

/// Makes this node's replicas the only voters of these groups, in one durable write. `shards`: groups 1 to this one are
/// shards. Nothing is written when it fails.
///
/// # Errors
/// Those of [`survey`]; [`RaftError::Settings`] for a group that this node has nothing of.
pub fn recover(stores: &Stores, consents: &[Consent], shards: u32, now: UnixMillis) -> Result<(), RaftError> {
    let (mut log, mut state) = (WriteBatch::new(), WriteBatch::new());
    for consent in consents {
        let on_disk = OnDisk::read(stores, consent.group)?;
        let nothing = || RaftError::Settings(format!("this node has no replica of group {}", consent.group));
        on_disk.ok_or_else(nothing)?.recover(stores, consent, (shards, now), &mut log)?;
        if consent.give_up_blobs {
            state.delete(format::hollow_key(consent.group));
        }
    }
    if !state.is_empty() {
        // Before the log: a replica that is hollow for ever would keep its group as it is.
        stores.state.write(state, Durability::Volatile)?;
        stores.state.flush()?;
    }
    Ok(stores.log.write(log, Durability::Synced)?)
}

/// A replica, as its rows say.
struct OnDisk {
    group: GroupId,
    replica: u64,
    vote: Option<Vote>,
    last: Option<LogId>,
    applied: Option<LogId>,
    membership: Membership,
    clock: Option<UnixMillis>,
    fenced: BTreeSet<u64>,
    space: Space,
    hollow: bool,
    /// Whether the log ends before what is applied: a snapshot came, and the log was not purged up to it yet.
    log_ends_early: bool,
}

impl OnDisk {
    /// None where there is nothing of the group.
    fn read(stores: &Stores, group: GroupId) -> Result<Option<Self>, RaftError> {
        let (log, state) = (&*stores.log, &*stores.state);
        let Some(identity) = row::<IdentityRow>(log, group, "identity", &format::identity_key(group))? else {
            return Ok(None);
        };
        let vote = row::<VoteRow>(log, group, "vote", &format::vote_key(group))?.map(Vote::from);
        let purged = row::<LogIdRow>(log, group, "purged", &format::purged_key(group))?.map(LogId::from);
        let applied = row::<LogIdRow>(state, group, "applied", &format::applied_key(group))?.map(LogId::from);
        let membership = row::<MembershipRow>(state, group, "membership", &format::membership_key(group))?;
        let membership = membership.map_or_else(|| Ok(Membership::default()), MembershipRow::membership);
        let membership = membership.map_err(|error| RaftError::Row { group, row: "membership", error })?;
        let generation = row(state, group, "generation", &format::generation_key(group))?.unwrap_or(0);
        let hollow: Option<u32> = row(state, group, "hollow", &format::hollow_key(group))?;
        let fence: Option<FenceRow> = row(log, group, "fence", &format::fence_key(group))?;
        let space = Space { group, generation };
        let clock = securanet_engine::clock(&*state.snapshot(), space);
        let log_has = |id: LogId| Ok::<_, RaftError>(log.get(&format::entry_key(group, id.index))?.is_some());
        let log_ends_early = match applied {
            Some(applied) => purged < Some(applied) && !log_has(applied)?,
            None => false,
        };
        let mut read = Self {
            group,
            replica: identity.replica,
            vote,
            last: purged.max(applied),
            applied,
            membership,
            clock: clock.map_err(|error| RaftError::Engine { group, error })?,
            fenced: fence.map(|fence| fence.replicas).unwrap_or_default(),
            space,
            hollow: hollow == Some(generation),
            log_ends_early,
        };
        read.read_tail(log)?;
        Ok(Some(read))
    }

    /// Follows the log behind what is applied.
    fn read_tail(&mut self, log: &dyn KeyValue) -> Result<(), RaftError> {
        let group = self.group;
        let from = self.last.map_or(0, |last| last.index + 1);
        let mut failure = None;
        log.visit(&format::entry_range(group, from, None), Direction::Forward, &mut |_, value| {
            match format::decode_entry(value).and_then(|entry| self.follow(&entry)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failure = Some(RaftError::Row { group, row: "entry", error });
                    ControlFlow::Break(())
                }
            }
        })?;
        failure.map_or(Ok(()), Err)
    }

    fn follow(&mut self, entry: &Entry) -> Result<(), record::RecordError> {
        let id = entry.log_id();
        self.last = Some(id);
        match &entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Normal(proposed) => self.clock = self.clock.max(Some(proposed.proposal()?.stamp)),
            EntryPayload::Membership(members) => self.membership = Membership::new(Some(id), members.clone()),
        }
        Ok(())
    }

    fn holding(&self) -> Holding {
        let voters: BTreeSet<u64> = self.membership.voter_ids().collect();
        let member = |(id, member): (&u64, &Member)| (ReplicaId::new(*id), member.node.clone(), voters.contains(id));
        Holding {
            group: self.group,
            replica: ReplicaId::new(self.replica),
            members: self.membership.nodes().map(member).collect(),
            last: self.last.map(|id| LogPosition { term: id.leader_id.term, index: id.index }),
            applied: self.applied.map(|id| id.index),
            last_heard: self.clock,
            hollow: self.hollow,
        }
    }

    fn recover(
        &self,
        stores: &Stores,
        consent: &Consent,
        (shards, now): (u32, UnixMillis),
        batch: &mut WriteBatch,
    ) -> Result<(), RaftError> {
        let group = self.group;
        let is_lost = |member: &Member| consent.lost.contains(&member.node);
        let staying: BTreeMap<u64, Member> =
            self.membership.nodes().map(|(id, member)| (*id, member.clone())).collect();
        let fenced = staying.iter().filter(|(_, member)| is_lost(member)).map(|(id, _)| *id);
        let fenced: BTreeSet<u64> = self.fenced.iter().copied().chain(fenced).collect();
        let staying: BTreeMap<u64, Member> = staying.into_iter().filter(|(_, member)| !is_lost(member)).collect();
        if fenced.contains(&self.replica) || !staying.contains_key(&self.replica) {
            return Err(RaftError::Settings(format!(
                "group {group}: replica {} here is no member of it",
                self.replica
            )));
        }
        if let Some(applied) = self.applied.filter(|_| self.log_ends_early) {
            batch.put(format::purged_key(group), record::encode(&LogIdRow::from(applied)));
            batch.delete_range(format::entry_range(group, 0, Some(applied.index + 1)));
        }
        // Above all that this replica has heard of. Whoever was given up may have gone further: see the fence.
        let heard = self.vote.map_or(0, |vote| vote.leader_id.term);
        let term = heard.max(self.last.map_or(0, |last| last.leader_id.term)) + 1;
        let mut vote = Vote::new(term, self.replica);
        vote.committed = true;
        batch.put(format::vote_key(group), record::encode(&VoteRow::from(&vote)));
        batch.put(format::fence_key(group), record::encode(&FenceRow { replicas: fenced }));
        let members = openraft::Membership::new(vec![BTreeSet::from([self.replica])], staying);
        let members = members.map_err(|error| RaftError::Settings(error.to_string()))?;
        let stamp = self.clock.map_or(now, |clock| clock.max(now));
        let mut index = self.last.map_or(0, |last| last.index + 1);
        let mut append = |payload| {
            let entry = Entry::new(LogId::new(vote.leader_id, index), payload);
            batch.put(format::entry_key(group, index), format::encode_entry(&entry));
            index += 1;
        };
        append(EntryPayload::Membership(members));
        for command in self.commands(stores, consent, shards)? {
            let request = RequestId::new(runtime::fresh_id());
            let deadline = stamp.plus_millis(DEADLINE_MILLIS);
            let request = Execute { group, request, deadline, commands: vec![Command::Recover(command)] };
            let proposal = Proposal { stamp, requests: vec![request] };
            let record = record::encode(&proposal).into();
            append(EntryPayload::Normal(Proposed::new(proposal, record)));
        }
        Ok(())
    }

    /// What the group itself has to do. Accounts that come only with the tail of the log lie in one of the ranges too.
    fn commands(&self, stores: &Stores, consent: &Consent, shards: u32) -> Result<Vec<Recover>, RaftError> {
        if self.group == GroupId::DIRECTORY {
            let lost = consent.lost.iter().filter_map(|node| node.parse().ok()).collect();
            return Ok(vec![Recover::Directory { lost }]);
        }
        let view = stores.state.snapshot();
        let mut commands = vec![Recover::Queues { shards }];
        let mut first = AccountId::new(0);
        loop {
            let page = securanet_engine::accounts(&*view, self.space, first, ACCOUNTS_PER_ENTRY);
            let page = page.map_err(|error| RaftError::Engine { group: self.group, error })?;
            let end = AccountId::new(u64::MAX);
            let last = page.last().copied().filter(|_| page.len() == ACCOUNTS_PER_ENTRY).unwrap_or(end);
            commands.push(Recover::Accounts { first, last });
            match last.get().checked_add(1) {
                Some(next) => first = AccountId::new(next),
                None => return Ok(commands),
            }
        }
    }
}
