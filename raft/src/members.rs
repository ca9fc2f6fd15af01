//! Changing who is in a group, and who leads it. Asked of the node that leads.
//!
//! A replica is added as a learner, catches up, and is then promoted; a voter is removed at once. Nothing is changed
//! while a member that can be asked lacks blobs: the group would count on bodies that it may not have. A member that
//! cannot be asked may be the very one that is to be removed, so its silence holds up only its own promotion.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::join_all;
use openraft::{
    ChangeMembers, Instant, RaftMetrics, TryAsRef,
    async_runtime::watch::WatchReceiver,
    errors::{ClientWriteError, RaftError as OpenraftError},
};
use securanet_model::{ReplicaId, StoreError};
use tokio::time::timeout;

use crate::{
    MemberStatus,
    gate::Holders,
    group::{Group, not_leader},
    leader::Leader,
    placement::NEAR_ENTRIES,
    types::{Member, TypeConfig},
};

/// A member that does not say how it is within this time cannot be asked.
const ASK_PATIENCE: Duration = Duration::from_secs(2);
/// A change of members that takes longer has no quorum; it may still happen.
const CHANGE_PATIENCE: Duration = Duration::from_secs(20);
/// Handing over takes one round trip and an election.
const TRANSFER_PATIENCE: Duration = Duration::from_secs(5);

/// How a member is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MemberState {
    /// Whether it lacks blobs that its state names.
    pub(crate) hollow: bool,
}

impl Group {
    /// Adds a replica that gets all entries and has no vote.
    pub(crate) async fn add_learner(&self, replica: ReplicaId, node: &str) -> Result<(), StoreError> {
        let members = self.members();
        if let Some(known) = members.get(&replica.get()) {
            return if known.node == node {
                Ok(())
            } else {
                Err(self.refuse(format!("replica {replica} is on node {:?}", known.node)))
            };
        }
        if let Some((other, _)) = members.iter().find(|(_, member)| member.node == node) {
            return Err(self.refuse(format!("node {node:?} has replica {other} of it already")));
        }
        self.check_whole(None).await?;
        let node = Member { node: node.to_owned() };
        self.changed(self.raft.add_learner(replica.get(), node, false)).await
    }

    /// Gives a learner a vote.
    pub(crate) async fn promote(&self, replica: ReplicaId) -> Result<(), StoreError> {
        self.check_near(replica)?;
        self.check_whole(Some(replica)).await?;
        let change = ChangeMembers::AddVoterIds(BTreeSet::from([replica.get()]));
        self.changed(self.raft.change_membership(change, false)).await
    }

    /// Takes a replica out of the group.
    pub(crate) async fn remove(&self, replica: ReplicaId) -> Result<(), StoreError> {
        if !self.members().contains_key(&replica.get()) {
            return Ok(());
        }
        let voters = self.voters();
        if voters.contains(&replica.get()) {
            self.check_can_spare(replica, &voters).await?;
            let change = ChangeMembers::RemoveVoters(BTreeSet::from([replica.get()]));
            return self.changed(self.raft.change_membership(change, false)).await;
        }
        let change = ChangeMembers::RemoveNodes(BTreeSet::from([replica.get()]));
        self.changed(self.raft.change_membership(change, false)).await
    }

    /// Takes a voter's vote; it goes on getting all entries.
    pub(crate) async fn demote(&self, replica: ReplicaId) -> Result<(), StoreError> {
        let voters = self.voters();
        if !voters.contains(&replica.get()) {
            return match self.members().contains_key(&replica.get()) {
                true => Ok(()),
                false => Err(self.refuse(format!("replica {replica} is no member of it"))),
            };
        }
        self.check_can_spare(replica, &voters).await?;
        let change = ChangeMembers::RemoveVoters(BTreeSet::from([replica.get()]));
        self.changed(self.raft.change_membership(change, true)).await
    }

    /// Whether the group keeps a voter without this one, and whether those who stay have the bodies.
    async fn check_can_spare(&self, replica: ReplicaId, voters: &BTreeSet<u64>) -> Result<(), StoreError> {
        if voters.len() == 1 {
            return Err(self.refuse(format!("replica {replica} is its only voter")));
        }
        self.check_whole_without(replica).await
    }

    /// Hands leadership over to another voter, and waits until it leads.
    pub(crate) async fn hand_over(&self, replica: ReplicaId) -> Result<(), StoreError> {
        if !self.raft.is_leader() {
            return Err(self.who_leads());
        }
        if replica.get() == self.replica_id() {
            return Ok(());
        }
        if !self.voters().contains(&replica.get()) {
            return Err(self.refuse(format!("replica {replica} has no vote")));
        }
        self.check_near(replica)?;
        self.check_clock(replica)?;
        // One that cannot be asked could not lead either; writes would wait for an election.
        match self.ask(replica.get()).await {
            Ok(MemberState { hollow: false }) => {}
            Ok(MemberState { hollow: true }) => {
                return Err(self.refuse(format!("replica {replica} still lacks blobs that its state names")));
            }
            Err(why) => return Err(self.refuse(format!("replica {replica} cannot be asked: {why}"))),
        }
        let triggered = self.raft.trigger().transfer_leader(replica.get()).await;
        triggered.map_err(|error| self.refuse(error.to_string()))?;
        let wait = self.raft.wait(Some(TRANSFER_PATIENCE));
        let leads = wait.metrics(|metrics| metrics.current_leader == Some(replica.get()), "the other one leads").await;
        leads.map(drop).map_err(|_| self.refuse(format!("replica {replica} did not take over in time")))
    }

    /// Hands leadership to whichever voter takes it, the one with most entries first; false when it still leads. Nothing
    /// is done where it does not lead.
    pub(crate) async fn resign(&self) -> bool {
        if !self.raft.is_leader() {
            return true;
        }
        let matched = self.raft.metrics().borrow_watched().replication.clone().unwrap_or_default();
        let mut others: Vec<u64> = self.voters().into_iter().filter(|voter| *voter != self.replica_id()).collect();
        others.sort_by_key(|voter| std::cmp::Reverse(matched.get(voter).copied().flatten().map(|id| id.index)));
        for other in others {
            match self.hand_over(ReplicaId::new(other)).await {
                Ok(()) => return true,
                Err(error) => tracing::info!(group = %self.id(), %error, "the leadership is not handed over"),
            }
        }
        !self.raft.is_leader()
    }

    /// Gives this replica's node the name that it has now, where the membership has another: a node that was alone, and
    /// is the first of a cluster. While nobody else votes or hears of it, nothing can be split by that.
    pub(crate) async fn name_own_node(&self) -> Result<(), StoreError> {
        let own = self.network().node();
        let members = self.members();
        if members.len() != 1 || members.get(&self.replica_id()).is_none_or(|member| member.node == own) {
            return Ok(());
        }
        let named = BTreeMap::from([(self.replica_id(), Member { node: own.to_owned() })]);
        self.changed(self.raft.change_membership(ChangeMembers::SetNodes(named), false)).await
    }

    /// Refuses when this replica does not lead, as far as it knows.
    pub(crate) fn check_leads(&self) -> Result<(), StoreError> {
        if self.raft.is_leader() { Ok(()) } else { Err(self.who_leads()) }
    }

    /// The members, with what only the leader knows of them if this is it.
    pub(crate) fn member_statuses(&self, metrics: &RaftMetrics<TypeConfig>) -> Vec<MemberStatus> {
        let voters: BTreeSet<u64> = metrics.membership_config.voter_ids().collect();
        let off = if metrics.state.is_leader() { self.clocks_off(metrics) } else { BTreeMap::new() };
        let silent = |replica: u64| {
            let answered = metrics.heartbeat.as_ref()?.get(&replica).copied().flatten();
            if replica == self.replica_id() {
                return Some(Duration::ZERO);
            }
            // A leader that has just been elected has heard nobody; it was told of by a majority though.
            Some(answered.map_or(Duration::MAX, |answered| answered.elapsed()).min(self.leading_for()))
        };
        let member = |(&replica, member): (&u64, &Member)| MemberStatus {
            replica,
            node: member.node.clone(),
            voter: voters.contains(&replica),
            leader: metrics.current_leader == Some(replica),
            matched: match &metrics.replication {
                Some(_) if replica == self.replica_id() => metrics.last_log_index,
                replication => replication.as_ref().and_then(|matched| Some(matched.get(&replica)?.as_ref()?.index)),
            },
            silent_millis: silent(replica).map(|silent| u64::try_from(silent.as_millis()).unwrap_or(u64::MAX)),
            clock_off_millis: off.get(&replica).copied(),
        };
        metrics.membership_config.nodes().map(member).collect()
    }

    /// Whether the members lack blobs that their states name; none of one that cannot be asked.
    pub(crate) async fn member_states(&self) -> Result<BTreeMap<u64, Option<bool>>, StoreError> {
        self.check_leads()?;
        let ask = |replica| async move {
            let own = replica == self.replica_id();
            let hollow = if own {
                Some(self.replica.is_hollow())
            } else {
                self.ask(replica).await.ok().map(|state| state.hollow)
            };
            (replica, hollow)
        };
        Ok(join_all(self.members().into_keys().map(ask)).await.into_iter().collect())
    }

    fn members(&self) -> BTreeMap<u64, Member> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.nodes().map(|(id, member)| (*id, member.clone())).collect()
    }

    /// The member that is on a node, to be asked as a leader.
    pub(crate) fn member_on(&self, node: &str) -> Option<Leader> {
        let mut members = self.members().into_iter();
        let (replica, member) = members.find(|(_, member)| member.node == node)?;
        Some(Leader { replica, node: member.node })
    }

    fn voters(&self) -> BTreeSet<u64> {
        self.raft.server_metrics().borrow_watched().membership_config.voter_ids().collect()
    }

    /// Who may have a blob: the likeliest is `first`, then whoever leads.
    pub(crate) fn holders(&self, first: Option<&str>) -> Holders {
        let leader = self.raft.server_metrics().borrow_watched().current_leader;
        let mut others: Vec<_> = self.members().into_iter().filter(|(id, _)| *id != self.replica_id()).collect();
        others.sort_by_key(|(id, _)| Some(*id) != leader);
        let others = others.into_iter().map(|(_, member)| member.node).filter(|node| Some(node.as_str()) != first);
        let nodes = first.map(str::to_owned).into_iter().chain(others).collect();
        Holders::new(self.network().node(), nodes, |node| self.gate.distance(node))
    }

    /// Whether a replica has nearly all entries.
    fn check_near(&self, replica: ReplicaId) -> Result<(), StoreError> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let Some(replication) = &metrics.replication else { return Err(self.who_leads()) };
        let Some(matched) = replication.get(&replica.get()) else {
            return Err(self.refuse(format!("replica {replica} is no member of it")));
        };
        let last = metrics.last_log_index.unwrap_or_default();
        match matched.map(|id| id.index) {
            Some(matched) if matched + NEAR_ENTRIES >= last => Ok(()),
            matched => {
                let matched = matched.map_or("nothing".to_owned(), |index| index.to_string());
                Err(self.refuse(format!("replica {replica} has {matched} of {last} entries: it still catches up")))
            }
        }
    }

    async fn check_whole_without(&self, leaving: ReplicaId) -> Result<(), StoreError> {
        self.check(None, Some(leaving)).await
    }

    async fn check_whole(&self, must_answer: Option<ReplicaId>) -> Result<(), StoreError> {
        self.check(must_answer, None).await
    }

    /// Refuses when a member lacks blobs, or when the one that must answer does not.
    async fn check(&self, must_answer: Option<ReplicaId>, leaving: Option<ReplicaId>) -> Result<(), StoreError> {
        if !self.raft.is_leader() {
            return Err(self.who_leads());
        }
        let others = self.members().into_keys();
        let others = others.filter(|id| *id != self.replica_id() && Some(*id) != leaving.map(ReplicaId::get));
        let asked = join_all(others.map(|id| async move { (id, self.ask(id).await) })).await;
        if self.replica.is_hollow() {
            return Err(self.refuse("the leader itself still lacks blobs that its state names".to_owned()));
        }
        for (id, state) in asked {
            match state {
                Ok(MemberState { hollow: true }) => {
                    return Err(self.refuse(format!("replica {id} still lacks blobs that its state names")));
                }
                Err(why) if must_answer.is_some_and(|must| must.get() == id) => {
                    return Err(self.refuse(format!("replica {id} cannot be asked: {why}")));
                }
                Ok(MemberState { hollow: false }) | Err(_) => {}
            }
        }
        Ok(())
    }

    async fn ask(&self, replica: u64) -> Result<MemberState, String> {
        let member = self.members().remove(&replica).ok_or("it is no member")?;
        let asked = timeout(ASK_PATIENCE, self.network().member_state(&member.node, self.id(), replica)).await;
        asked.unwrap_or_else(|_| Err(format!("no answer within {ASK_PATIENCE:?}")))
    }

    async fn changed<T>(
        &self,
        change: impl Future<Output = Result<T, OpenraftError<TypeConfig, ClientWriteError<TypeConfig>>>>,
    ) -> Result<(), StoreError> {
        match timeout(CHANGE_PATIENCE, change).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(OpenraftError::APIError(error))) => Err(match error.try_as_ref() {
                Some(forward) => not_leader(forward),
                None => self.refuse(error.to_string()),
            }),
            Ok(Err(error @ OpenraftError::Fatal(_))) => Err(self.refuse(error.to_string())),
            Err(_) => Err(self.refuse(format!("the change has no majority after {CHANGE_PATIENCE:?}"))),
        }
    }

    fn who_leads(&self) -> StoreError {
        // Not itself: one that is on its way to lead, or has just ceased to, sends nobody back here.
        let leader = Leader::of(&self.raft).filter(|leader| leader.replica != self.replica_id());
        StoreError::NotLeader { leader: leader.map(|leader| leader.node) }
    }

    pub(crate) fn refuse(&self, why: String) -> StoreError {
        StoreError::Unavailable(format!("the members of group {} stay as they are: {why}", self.id()))
    }
}
