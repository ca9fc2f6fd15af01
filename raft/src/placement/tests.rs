//! What is planned: examples by table, and properties of every plan.

use super::*;

const LONG: Duration = Duration::from_secs(3600);

/// Stores named by letters with their sites, as `A:east`; replica ids count from 1. All are active.
fn stores(stores: &str) -> Vec<Store> {
    let one = |(number, store): (u64, &str)| {
        let (node, site) = store.split_once(':').unwrap();
        let replica = ReplicaId::new(number);
        Store { node: node.to_owned(), replica, site: site.to_owned(), state: StoreState::Active }
    };
    (1..).zip(stores.split_whitespace()).map(one).collect()
}

fn member(store: &Store, voter: bool) -> Member {
    Member {
        replica: store.replica,
        node: store.node.clone(),
        voter,
        lag: Some(0),
        silent: Duration::ZERO,
        steady: LONG,
        hollow: Some(false),
        wrong_clock: false,
    }
}

/// A group of these stores, all of them voters; the first one leads.
fn view(all: &str) -> View {
    let stores = stores(all);
    let members = stores.iter().map(|store| member(store, true)).collect();
    View { leader: ReplicaId::new(1), members, stores, home: None, gone_after: GONE_AFTER }
}

impl View {
    fn member_mut(&mut self, replica: u64) -> &mut Member {
        self.members.iter_mut().find(|member| member.replica == ReplicaId::new(replica)).unwrap()
    }

    fn store_mut(&mut self, node: &str) -> &mut Store {
        self.stores.iter_mut().find(|store| store.node == node).unwrap()
    }

    fn silence(&mut self, replica: u64, seconds: u64) {
        let member = self.member_mut(replica);
        (member.silent, member.steady) = (Duration::from_secs(seconds), Duration::ZERO);
    }

    fn voters(&self) -> Vec<&str> {
        let mut voters: Vec<_> = self.members.iter().filter(|m| m.voter).map(|m| m.node.as_str()).collect();
        voters.sort_unstable();
        voters
    }

    fn has_living_majority(&self) -> bool {
        let voters = || self.members.iter().filter(|member| member.voter);
        voters().filter(|member| member.lives()).count() * 2 > voters().count()
    }

    /// Does what a step says; what it must never say is a failure.
    fn apply(&mut self, step: &Step) {
        let leader = self.leader;
        match step {
            Step::AddLearner { replica, node } => {
                assert!(self.members.iter().all(|member| member.node != *node), "{node} has a replica already");
                let store = self.stores.iter().find(|store| store.replica == *replica && store.node == *node).unwrap();
                self.members.push(member(store, false));
            }
            Step::Promote(replica) => {
                let learner = self.member_mut(replica.get());
                assert!(!learner.voter && learner.is_fit(), "{learner:?}");
                learner.voter = true;
            }
            Step::Demote(replica) => {
                assert!(*replica != leader && std::mem::take(&mut self.member_mut(replica.get()).voter), "{replica}");
            }
            Step::Remove(replica) => {
                let before = self.members.len();
                self.members.retain(|member| member.replica != *replica);
                assert!(*replica != leader && self.members.len() + 1 == before, "{replica}");
            }
            Step::HandOver(replica) => {
                let next = self.member_mut(replica.get());
                assert!(*replica != leader && next.voter && next.is_fit(), "{next:?}");
                self.leader = *replica;
            }
        }
    }

    /// All steps until nothing is left to do.
    fn settle(&mut self) -> Vec<String> {
        let mut steps = Vec::new();
        while let Some(step) = plan(self) {
            let before = self.has_living_majority();
            self.apply(&step);
            assert!(!before || self.has_living_majority(), "{step:?} took the majority: {self:?}");
            steps.push(match step {
                Step::AddLearner { node, .. } => format!("add {node}"),
                Step::Promote(replica) => format!("promote {replica}"),
                Step::Demote(replica) => format!("demote {replica}"),
                Step::Remove(replica) => format!("remove {replica}"),
                Step::HandOver(replica) => format!("lead {replica}"),
            });
            assert!(steps.len() < 60, "it never ends: {steps:?} {self:?}");
        }
        steps
    }
}

#[test]
fn a_group_grows_with_its_stores_to_an_odd_number_of_voters_that_no_site_has_most_of() {
    let cases = [
        ("A:x", "A"),
        // Two stores both vote: what is acknowledged is on both.
        ("A:x B:x", "A B"),
        ("A:x B:y", "A B"),
        ("A:x B:x C:x", "A B C"),
        ("A:x B:x C:y D:y", "A B C"),
        ("A:x B:y C:z", "A B C"),
        ("A:x B:x C:y D:z", "A C D"),
        ("A:x B:x C:y D:y E:z", "A B C D E"),
        ("A:x B:x C:x D:y E:z", "A D E"),
        ("A:x B:x C:y D:y E:z F:z", "A B C D E"),
        ("A:a B:b C:c D:d", "A B C"),
        ("A:a B:b C:c D:d E:e", "A B C D E"),
        ("A:x B:x C:x D:x E:x F:x G:x", "A B C D E"),
    ];
    for (all, voters) in cases {
        let mut view = view(all);
        view.members.truncate(1);
        let steps = view.settle();
        assert_eq!(view.voters().join(" "), voters, "{all}: {steps:?}");
        assert_eq!(view.members.len(), view.stores.len(), "{all}: every store has a replica");
        assert_eq!(view.leader, ReplicaId::new(1));
        // Whoever looks in another order wants the same.
        view.stores.reverse();
        view.members.reverse();
        assert_eq!(plan(&view), None, "{all}");
    }
}

#[test]
fn a_learner_gets_its_vote_when_it_is_near_and_whole() {
    let mut view = view("A:x B:y C:z");
    for replica in [2, 3] {
        view.member_mut(replica).voter = false;
        view.member_mut(replica).lag = Some(NEAR_ENTRIES + 1);
    }
    assert_eq!(plan(&view), None);
    view.member_mut(3).lag = Some(NEAR_ENTRIES);
    assert_eq!(plan(&view), Some(Step::Promote(ReplicaId::new(3))));
    view.member_mut(3).hollow = None;
    assert_eq!(plan(&view), None, "nobody knows whether it is whole");
    view.member_mut(3).hollow = Some(false);
    view.silence(3, 6);
    assert_eq!(plan(&view), None);
    view.silence(3, 0);
    view.member_mut(2).hollow = Some(true);
    assert_eq!(plan(&view), None, "nothing changes while a member lacks blobs");
}

#[test]
fn a_lost_site_is_waited_for_and_then_replaced_where_there_is_room_and_not_brought_back() {
    let mut view = view("A:x B:y C:z");
    view.silence(3, 599);
    assert_eq!(plan(&view), None);
    view.silence(3, 6000);
    assert_eq!(plan(&view), None, "there is no other store");
    view.stores.extend(stores("A:x B:y C:z D:z").pop());
    view.silence(3, 599);
    assert_eq!(view.clone().settle(), ["add D"], "it is still waited for");
    view.silence(3, 600);
    let mut behind = view.clone();
    let learner = member(&behind.stores[3], false);
    behind.members.push(Member { lag: Some(5000), ..learner });
    assert_eq!(plan(&behind), None, "a vote that nobody replaces is kept");
    assert_eq!(view.settle(), ["add D", "promote 4", "demote 3"]);
    view.silence(3, 0);
    assert_eq!(plan(&view), None, "who votes goes on");
}

#[test]
fn a_store_with_a_new_disk_comes_back_as_somebody_else() {
    let mut view = view("A:x B:y C:z");
    view.silence(3, 20);
    view.store_mut("C").replica = ReplicaId::new(13);
    assert_eq!(view.settle(), ["remove 3", "add C", "promote 13"]);
    // With two voters the group has no majority without it, and nothing can be changed.
    let mut two = self::view("A:x B:y");
    two.silence(2, 20);
    two.store_mut("B").replica = ReplicaId::new(12);
    assert!(!two.has_living_majority());
}

#[test]
fn a_removed_store_goes_at_once_and_a_draining_one_gives_its_vote_when_that_is_replaced() {
    let mut removed = view("A:x B:y C:z D:z");
    removed.member_mut(4).voter = false;
    removed.store_mut("C").state = StoreState::Removed;
    assert_eq!(removed.settle(), ["remove 3", "promote 4"]);

    let mut draining = view("A:x B:y C:z D:z");
    draining.member_mut(4).voter = false;
    draining.store_mut("C").state = StoreState::Draining;
    draining.member_mut(4).lag = Some(5000);
    assert_eq!(draining.clone().settle(), [""; 0], "the one that replaces it is not near yet");
    let mut away = draining.clone();
    away.silence(4, 60);
    assert_eq!(away.settle(), ["demote 3"], "the one that would replace it is away");
    draining.member_mut(4).lag = Some(0);
    assert_eq!(draining.settle(), ["promote 4", "demote 3"]);

    let mut three = view("A:x B:y C:z");
    three.store_mut("C").state = StoreState::Draining;
    assert_eq!(three.settle(), ["demote 3"], "there is no other store");

    let mut leader = view("A:x B:y C:z D:x");
    leader.member_mut(4).voter = false;
    leader.store_mut("A").state = StoreState::Draining;
    assert_eq!(leader.settle(), ["promote 4", "lead 2", "demote 1"]);
}

#[test]
fn a_vote_is_kept_when_the_group_would_have_no_majority_without_it() {
    let mut view = view("A:x B:y C:z");
    view.silence(3, 20);
    view.store_mut("B").state = StoreState::Removed;
    assert_eq!(plan(&view), None, "one of two would live");
    view.silence(3, 4);
    assert_eq!(plan(&view), Some(Step::Remove(ReplicaId::new(2))));
}

#[test]
fn the_leader_goes_home_when_somebody_there_is_steady() {
    let mut view = view("A:x B:y C:z");
    view.home = Some("z".to_owned());
    view.member_mut(3).steady = Duration::from_secs(29);
    assert_eq!(plan(&view), None);
    view.member_mut(3).steady = Duration::from_secs(30);
    assert_eq!(plan(&view), Some(Step::HandOver(ReplicaId::new(3))));
    view.member_mut(3).lag = Some(NEAR_ENTRIES + 1);
    assert_eq!(plan(&view), None);
    view.member_mut(3).lag = Some(0);
    view.member_mut(3).hollow = None;
    assert_eq!(plan(&view), None);
    view.home = Some("nowhere".to_owned());
    assert_eq!(plan(&view), None);
    // A voter at home even where names would give none.
    let mut six = self::view("A:a B:b C:c D:d E:e F:f");
    six.members.truncate(1);
    six.home = Some("f".to_owned());
    six.settle();
    assert_eq!(six.voters(), ["A", "B", "C", "D", "F"]);
    assert_eq!(six.leader, ReplicaId::new(6));
}

#[test]
fn a_leader_whose_clock_is_wrong_hands_over_first_of_all_and_to_nobody_of_whom_that_is_known() {
    let mut view = view("A:x B:y C:z D:z");
    view.home = Some("x".to_owned());
    // There is something else to do.
    view.members.pop();
    view.member_mut(1).wrong_clock = true;
    assert_eq!(plan(&view), Some(Step::HandOver(ReplicaId::new(2))));
    view.member_mut(2).wrong_clock = true;
    assert_eq!(plan(&view), Some(Step::HandOver(ReplicaId::new(3))));
    view.member_mut(3).wrong_clock = true;
    assert!(matches!(plan(&view), Some(Step::AddLearner { .. })), "nobody is better");
    // At home, and wrong: it stays where it is.
    let mut away = self::view("A:x B:y C:z");
    away.home = Some("y".to_owned());
    away.member_mut(2).wrong_clock = true;
    assert_eq!(plan(&away), None);
    away.member_mut(2).wrong_clock = false;
    assert_eq!(plan(&away), Some(Step::HandOver(ReplicaId::new(2))));
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }
}

/// Any start: stores of up to four sites, members and votes as they come, old replicas, and a leader that lives.
fn anything(random: &mut Random) -> View {
    let sites = random.below(4) + 1;
    let count = random.below(7) + 2;
    let all: Vec<_> =
        (0..count).map(|n| format!("{}:site-{}", (b'A' + n as u8) as char, random.below(sites))).collect();
    let mut view = view(&all.join(" "));
    view.members.retain(|member| member.replica.get() <= 2 || random.below(3) > 0);
    for member in &mut view.members {
        member.voter = member.replica.get() == 1 || random.below(3) > 0;
    }
    // The second store stays, so that somebody can lead.
    for (at, store) in view.stores.iter_mut().enumerate().filter(|(at, _)| *at != 1) {
        match random.below(6) {
            0 => store.state = StoreState::Draining,
            1 => store.state = StoreState::Removed,
            2 => store.replica = ReplicaId::new(100 + at as u64),
            _ => {}
        }
    }
    if random.one_in(3) {
        view.members.push(member(&stores("A:x B:x Z:x").remove(2), random.one_in(2)));
        view.members.last_mut().unwrap().replica = ReplicaId::new(77);
    }
    view.home = (!random.one_in(4)).then(|| format!("site-{}", random.below(sites)));
    view
}

#[test]
fn from_any_start_where_all_live_the_group_becomes_what_it_should_be() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..20_000 {
        let start = anything(&mut random);
        let mut view = start.clone();
        let steps = view.settle();
        let told = || format!("round {round}: {start:#?}\n{steps:?}\n{view:#?}");
        let active = || view.stores.iter().filter(|store| store.state == StoreState::Active);
        let draining = start.members.iter().filter(|member| {
            let own = |store: &&Store| store.replica == member.replica && store.node == member.node;
            view.stores.iter().find(own).is_some_and(|store| store.state == StoreState::Draining)
        });
        let draining: BTreeSet<_> = draining.map(|member| member.replica).collect();
        let count = active().count();
        let expected = active().map(|store| store.replica).chain(draining.iter().copied()).collect();
        let members: BTreeSet<_> = view.members.iter().map(|member| member.replica).collect();
        assert_eq!(members, expected, "{}", told());
        assert!(!view.members.iter().any(|member| member.voter && draining.contains(&member.replica)), "{}", told());
        let voters: Vec<_> = view.members.iter().filter(|member| member.voter).collect();
        let site = |node: &str| view.stores.iter().find(|store| store.node == node).unwrap().site.clone();
        let mut by_site: BTreeMap<String, usize> = BTreeMap::new();
        voters.iter().for_each(|voter| *by_site.entry(site(&voter.node)).or_default() += 1);
        assert!(voters.len() % 2 == 1 || count == 2 && voters.len() == 2, "{}", told());
        assert!(voters.len() >= count.min(3) && voters.len() <= VOTERS_MAX, "{}", told());
        let sites: BTreeSet<_> = active().map(|store| &store.site).collect();
        if sites.len() >= 3 {
            assert!(by_site.values().all(|votes| votes * 2 < voters.len()), "a site has a majority: {}", told());
        }
        if let Some(home) = view.home.as_ref().filter(|home| sites.contains(home)) {
            let leader = view.members.iter().find(|member| member.replica == view.leader).unwrap();
            assert_eq!(site(&leader.node), *home, "{}", told());
        }
    }
}

#[test]
fn no_step_takes_the_majority_and_all_ends_whoever_is_silent_hollow_or_behind() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let (mut stuck, mut steps) = (0, 0);
    for _ in 0..50_000 {
        let mut view = anything(&mut random);
        let leader = view.leader;
        for member in view.members.iter_mut().filter(|member| member.replica != leader) {
            member.silent = Duration::from_secs([0, 0, 0, 4, 20, 700][random.below(6) as usize]);
            member.steady = Duration::from_secs([3600, 10][random.below(2) as usize]);
            member.lag = [Some(0), Some(5000), None][random.below(3) as usize];
            member.hollow = [Some(false), Some(false), Some(false), None][random.below(4) as usize];
            member.wrong_clock = random.one_in(6);
        }
        if random.one_in(4) {
            let at = random.below(view.members.len() as u64) as usize;
            view.members[at].hollow = Some(true);
        }
        stuck += u32::from(!view.has_living_majority());
        steps += view.settle().len();
    }
    assert!(stuck > 500 && steps > 50_000, "this tests little: {stuck} without a majority, {steps} steps");
}
