//! Where a group's replicas belong, and the next step that brings it there. Pure: a view in, a step out.
//!
//! Every active store has a replica of every group. Voters are an odd number of them, at most five, and where there are
//! three sites or more no site has a majority: 1+1+1, 2+2+1. With one site or two they are as many as there are stores,
//! odd where the number allows; two stores both vote, so that what is acknowledged is on both, and nothing fails over.
//! Who votes already goes on, unless it was silent for longer than it is waited for; beyond that names decide, so that
//! whoever looks at the same view wants the same. The leader belongs to the group's home site.
//!
//! A leader whose clock is wrong stamps nothing, so it hands over before anything else is done, and gets the leadership
//! back when it has been right for as long as it must have been heard.
//!
//! One step at a time, and the view is taken anew before the next:
//! 1. whoever must go (a removed store, a lost disk's old replica) and has no vote goes; its vote goes when the group can
//!    spare it;
//! 2. an active store that is missing becomes a learner;
//! 3. a learner that is wanted, near and whole gets a vote;
//! 4. a vote that is not wanted any more is taken, when those that replace it are there. A draining store's replica stays
//!    without it, so that the gateways there are answered until the store is stopped and removed;
//! 5. the leader moves away from where it must not be, at last home.
//!
//! A step that cannot be done now does not hold up those behind it. Invariant: no step leaves a group without a majority
//! of living voters that had one before.

mod heard;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use securanet_model::ReplicaId;

pub use self::heard::Heard;

/// Voters of a group.
const VOTERS_MAX: usize = 5;
/// A member that was silent for so long does not count as living. An election takes less, a pause of a busy node too.
const LIVING: Duration = Duration::from_secs(5);
/// A voter at home gets the leadership back after it was heard for so long without a pause, so that one that comes and
/// goes does not take it along.
const STEADY: Duration = Duration::from_secs(30);
/// A learner that is promoted, or a voter that is to lead, has all but so many entries.
pub const NEAR_ENTRIES: u64 = 1000;
/// How long a silent voter is waited for before it is replaced, unless somebody says otherwise.
pub const GONE_AFTER: Duration = Duration::from_secs(600);

/// A group and the stores of the cluster, as the group's leader knows them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// The replica that leads: who has this view.
    pub leader: ReplicaId,
    /// The members, the leader among them.
    pub members: Vec<Member>,
    /// All stores that the directory knows. Members of others must go.
    pub stores: Vec<Store>,
    /// The site where the leader belongs; none when there is no site with stores.
    pub home: Option<String>,
    /// How long a silent voter is waited for before it is replaced.
    pub gone_after: Duration,
}

/// A member of a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its replica.
    pub replica: ReplicaId,
    /// The node that it is on.
    pub node: String,
    /// Whether it votes.
    pub voter: bool,
    /// Entries that it lacks; none when that is not known.
    pub lag: Option<u64>,
    /// How long it has been silent.
    pub silent: Duration,
    /// For how long it has been heard without a pause.
    pub steady: Duration,
    /// Whether it lacks blobs that its state names; none when it cannot be asked.
    pub hollow: Option<bool>,
    /// Whether the clock of its node is known to be wrong.
    pub wrong_clock: bool,
}

/// A store of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Store {
    /// The node's name.
    pub node: String,
    /// Its replica id since it has the disk that it has.
    pub replica: ReplicaId,
    /// Where it stands.
    pub site: String,
    /// What is to become of it.
    pub state: StoreState,
}

/// What is to become of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StoreState {
    /// It has a replica of every group.
    Active,
    /// Others get its votes and what it leads; its replicas stay until it is removed.
    Draining,
    /// It has left.
    Removed,
}

/// What is to be done next with the members of a group; each is a call of [`crate::Groups`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// [`crate::Groups::add_learner`].
    AddLearner {
        /// The new replica.
        replica: ReplicaId,
        /// The node that it is on.
        node: String,
    },
    /// [`crate::Groups::promote`].
    Promote(ReplicaId),
    /// [`crate::Groups::demote`].
    Demote(ReplicaId),
    /// [`crate::Groups::remove_replica`].
    Remove(ReplicaId),
    /// [`crate::Groups::transfer_leader`].
    HandOver(ReplicaId),
}

/// The next step of a group; none when it is as it should be, or nothing can be done now.
#[must_use]
pub fn plan(view: &View) -> Option<Step> {
    // Without a directory everybody would have to go.
    let plan = Plan::new(view).filter(|plan| !plan.wanted.is_empty())?;
    let hurried = plan.leader.wrong_clock.then(|| plan.lead()).flatten();
    hurried
        .or_else(|| plan.dismiss())
        .or_else(|| plan.add())
        .or_else(|| plan.promote())
        .or_else(|| plan.retire())
        .or_else(|| plan.lead())
}

/// Why a member is where it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// Its store is active, and wants its vote.
    Wanted,
    /// Its store is active.
    Active,
    /// Its store drains.
    Leaving,
    /// Its store has left, is not known, or has another replica by now.
    Stale,
}

struct Plan<'v> {
    view: &'v View,
    leader: &'v Member,
    members: BTreeMap<ReplicaId, (&'v Member, Standing)>,
    /// Who is to vote; not all of them are members yet.
    wanted: BTreeSet<ReplicaId>,
}

impl Member {
    fn lives(&self) -> bool {
        self.silent < LIVING
    }

    /// Whether it may be given more to do.
    fn is_fit(&self) -> bool {
        self.lives() && self.hollow == Some(false) && self.lag.is_some_and(|lag| lag <= NEAR_ENTRIES)
    }
}

impl<'v> Plan<'v> {
    fn new(view: &'v View) -> Option<Self> {
        let leader = view.members.iter().find(|member| member.replica == view.leader)?;
        let wanted = wanted(view);
        let standing = |member: &Member| {
            let own = |store: &&Store| store.replica == member.replica && store.node == member.node;
            match view.stores.iter().find(own).map(|store| store.state) {
                Some(StoreState::Active) if wanted.contains(&member.replica) => Standing::Wanted,
                Some(StoreState::Active) => Standing::Active,
                Some(StoreState::Draining) => Standing::Leaving,
                Some(StoreState::Removed) | None => Standing::Stale,
            }
        };
        let members = view.members.iter().map(|member| (member.replica, (member, standing(member)))).collect();
        Some(Self { view, leader, members, wanted })
    }

    fn members(&self, standing: Standing) -> impl Iterator<Item = &'v Member> {
        let members = self.members.values().filter(move |(_, known)| *known == standing);
        members.map(|(member, _)| *member)
    }

    fn voters(&self) -> impl Iterator<Item = &'v Member> {
        self.members.values().map(|(member, _)| *member).filter(|member| member.voter)
    }

    /// Whether nobody but this one is known to lack blobs: a group that may count on bodies which are not there stays
    /// as it is.
    fn is_whole_without(&self, leaving: Option<ReplicaId>) -> bool {
        let others = self.view.members.iter().filter(|member| Some(member.replica) != leaving);
        others.into_iter().all(|member| member.hollow != Some(true))
    }

    /// Whether the group can do without the vote of this one.
    fn can_spare(&self, voter: &Member) -> bool {
        let rest: Vec<_> = self.voters().filter(|other| other.replica != voter.replica).collect();
        let living = rest.iter().filter(|other| other.lives()).count();
        voter.replica != self.leader.replica && living * 2 > rest.len() && self.is_whole_without(Some(voter.replica))
    }

    /// The first of these whose vote can be spared, one that is silent before one that lives.
    fn spared(&self, members: impl Iterator<Item = &'v Member>) -> Option<ReplicaId> {
        let spared = members.filter(|member| member.voter && self.can_spare(member));
        spared.min_by_key(|member| (member.lives(), &member.node, member.replica)).map(|member| member.replica)
    }

    /// 1. Who must go at once.
    fn dismiss(&self) -> Option<Step> {
        let without_vote = self.members(Standing::Stale).find(|member| !member.voter).map(|member| member.replica);
        without_vote.or_else(|| self.spared(self.members(Standing::Stale))).map(Step::Remove)
    }

    /// 2. Who is missing. A node whose old replica still votes waits for that to go.
    fn add(&self) -> Option<Step> {
        let missing = self.view.stores.iter().filter(|store| {
            let is_there = self.view.members.iter().any(|member| member.node == store.node);
            store.state == StoreState::Active && !is_there
        });
        let store = missing.min_by_key(|store| &store.node).filter(|_| self.is_whole_without(None))?;
        Some(Step::AddLearner { replica: store.replica, node: store.node.clone() })
    }

    /// 3. Who gets a vote.
    fn promote(&self) -> Option<Step> {
        let learners = self.members(Standing::Wanted).filter(|member| !member.voter && member.is_fit());
        let learner = learners.min_by_key(|member| &member.node).filter(|_| self.is_whole_without(None))?;
        Some(Step::Promote(learner.replica))
    }

    /// 4. Whose vote is not wanted any more.
    fn retire(&self) -> Option<Step> {
        let (living, all) = (self.is_replaced(true), self.is_replaced(false));
        let surplus = all.then(|| self.spared(self.members(Standing::Active))).flatten();
        let leaving = || living.then(|| self.spared(self.members(Standing::Leaving))).flatten();
        surplus.or_else(leaving).map(Step::Demote)
    }

    /// Whether all that are wanted vote, or all of them that live: one that cannot be reached cannot be waited for.
    fn is_replaced(&self, living: bool) -> bool {
        self.wanted.iter().all(|wanted| match self.members.get(wanted) {
            Some((member, _)) => member.voter || living && !member.lives(),
            None => false,
        })
    }

    /// 5. Who leads instead.
    fn lead(&self) -> Option<Step> {
        let standing = self.members.get(&self.leader.replica)?.1;
        let able =
            || self.members(Standing::Wanted).filter(|member| member.voter && member.is_fit() && !member.wrong_clock);
        let at_home = |member: &&Member| self.view.home.is_some() && self.site(member) == self.view.home.as_deref();
        let steady = || able().filter(at_home).filter(|member| member.steady >= STEADY);
        let first = |member: &&Member| member.node.clone();
        let to = match standing {
            // Whoever is at home stays.
            Standing::Wanted if self.leader.wrong_clock => {
                able().min_by_key(|member| (!at_home(member), first(member)))
            }
            Standing::Wanted if at_home(&self.leader) => None,
            Standing::Wanted => steady().min_by_key(first),
            Standing::Active | Standing::Leaving | Standing::Stale => {
                steady().min_by_key(first).or_else(|| able().min_by_key(|member| (!at_home(member), first(member))))
            }
        };
        to.filter(|to| to.replica != self.leader.replica).map(|to| Step::HandOver(to.replica))
    }

    fn site(&self, member: &Member) -> Option<&'v str> {
        self.view.stores.iter().find(|store| store.node == member.node).map(|store| store.site.as_str())
    }
}

/// The replicas that are to vote.
fn wanted(view: &View) -> BTreeSet<ReplicaId> {
    let mut stores: Vec<&Store> = view.stores.iter().filter(|store| store.state == StoreState::Active).collect();
    let mut sites: BTreeMap<&str, usize> = BTreeMap::new();
    stores.iter().for_each(|store| *sites.entry(&store.site).or_default() += 1);
    let (count, per_site) = voters(&sites.values().copied().collect::<Vec<_>>());
    stores.sort_by_key(|store| (preference(view, store), &store.node));
    // Somebody at home must be able to lead.
    let at_home = |store: &&Store| Some(&store.site) == view.home.as_ref() && preference(view, store) < SILENT;
    if let Some(first) = stores.iter().position(at_home) {
        stores[..=first].rotate_right(1);
    }
    let (mut wanted, mut taken) = (BTreeSet::new(), BTreeMap::<&str, usize>::new());
    for store in stores {
        let taken = taken.entry(&store.site).or_default();
        if wanted.len() < count && *taken < per_site {
            *taken += 1;
            wanted.insert(store.replica);
        }
    }
    wanted
}

/// From here on a store is silent.
const SILENT: u8 = 2;

/// Who is taken before others: who votes already and is not given up, who lives, who is not known, who is given up.
fn preference(view: &View, store: &Store) -> u8 {
    match view.members.iter().find(|member| member.replica == store.replica) {
        Some(member) if member.silent >= view.gone_after => SILENT + 2 - u8::from(member.voter),
        Some(member) if member.voter => 0,
        Some(member) if member.lives() => 1,
        Some(_) | None => SILENT,
    }
}

/// How many vote, and of each site at most, given the stores of each site.
fn voters(sites: &[usize]) -> (usize, usize) {
    let stores: usize = sites.iter().sum();
    if sites.len() < 3 {
        let most = stores.min(VOTERS_MAX);
        let count = if most > 2 && most.is_multiple_of(2) { most - 1 } else { most };
        return (count, count);
    }
    // The most, of an odd number, that leaves each site without a majority.
    let fits = |count: &usize| sites.iter().map(|stores| (*stores).min(count / 2)).sum::<usize>() >= *count;
    let count = [VOTERS_MAX, 3].into_iter().find(fits).unwrap_or(1);
    (count, count / 2)
}

#[cfg(test)]
mod tests;
