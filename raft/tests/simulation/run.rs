//! One run: nodes as turmoil's hosts, faults at their times, a look at all groups now and then, rest at the end.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    panic,
    sync::{Once, atomic::Ordering, mpsc},
    thread,
    time::{Duration, UNIX_EPOCH},
};

use turmoil::Sim;

use crate::{
    chance,
    faults::{self, FAULTS_MILLIS, Fault, LATENCY_MILLIS},
    gateway,
    inspect::{state_hash, truth},
    ledger::Want,
    node,
    support::Random,
    trace::{Hearing, Trace},
    world::{ACCOUNTS, Order, SHARDS, Shared, World, disk_takes, name, replica},
};

/// What runs between two looks at the network.
const TICK: Duration = Duration::from_millis(2);
/// Ticks between two looks at all groups.
const LOOK_TICKS: u64 = 20;
/// Ticks between two comparisons of their states.
const STATES_TICKS: u64 = 200;
/// How long the mailboxes may take to be made, and everything to come to rest.
const BEGIN_MILLIS: u64 = 10_000;
const REST_MILLIS: u64 = 40_000;
/// Longer than a letter waits whose final dot had no answer.
const DOUBT: Duration = Duration::from_secs(12 * 60);

/// A run takes less than a second.
const PATIENCE: Duration = Duration::from_secs(120);

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What became of a run.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) hash: String,
    pub(crate) events: u64,
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) broken: Vec<String>,
    /// All of it in words, where that was asked for.
    pub(crate) kept: Vec<String>,
    /// How long it took, by its own clock.
    pub(crate) millis: u64,
}

/// Runs a seed, on a thread of its own; once in the life of a process (see [`crate::apart`]).
pub(crate) fn run_here(seed: u64, hearing: Hearing) -> Outcome {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // tokio keeps the panics of tasks to itself.
            match chance::is_simulated() {
                true => PANICS.with_borrow_mut(|panics| panics.push(info.to_string())),
                false => others(info),
            }
        }));
    });
    let (ended, outcome) = mpsc::channel();
    let thread = thread::Builder::new().name(format!("seed {seed}")).spawn(move || {
        chance::simulate(seed);
        securanet_raft::runtime::simulate(disk_takes);
        let trace = Trace::new(hearing);
        let world = Shared::new(seed, trace.clone());
        let broken = tracing::subscriber::with_default(trace.clone(), || {
            panic::catch_unwind(|| Run::new(&world).whole()).unwrap_or_default();
            let mut broken =
                std::mem::take(&mut world.ledger.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).broken);
            broken.extend(PANICS.take().into_iter().map(|panic| format!("panic: {panic}")));
            broken
        });
        let (hash, events) = trace.hash();
        let kept = trace.kept();
        // Nobody waits any more for a run that did not end in time.
        let _ = ended.send(Outcome { seed, hash, events, counts: trace.counts(), broken, kept, millis: world.now() });
    });
    drop(thread.unwrap());
    outcome.recv_timeout(PATIENCE).unwrap_or_else(|_| Outcome {
        seed,
        broken: vec![format!("it did not end within {PATIENCE:?}: something goes on and on while time stands still")],
        ..Outcome::default()
    })
}

struct Run<'a> {
    sim: Sim<'a>,
    world: World,
    ticks: u64,
    down: BTreeSet<usize>,
    /// What is wrong with the network now.
    network: Option<Fault>,
    /// The states that were seen, by group and last entry.
    states: BTreeMap<(u32, u64), blake3::Hash>,
}

impl Run<'_> {
    fn new(world: &World) -> Self {
        let mut builder = turmoil::Builder::new();
        builder.epoch(UNIX_EPOCH + Duration::from_secs(1_800_000_000)).simulation_duration(Duration::from_secs(1000));
        builder.tick_duration(TICK).rng_seed(world.seed).tcp_capacity(4096);
        builder.min_message_latency(Duration::from_millis(LATENCY_MILLIS.0));
        builder.max_message_latency(Duration::from_millis(LATENCY_MILLIS.1));
        let mut sim = builder.build();
        for node in 0..world.nodes {
            let world = world.clone();
            sim.host(name(node), move || node::run(world.clone(), node));
        }
        let states = BTreeMap::new();
        Self { sim, world: world.clone(), ticks: 0, down: BTreeSet::new(), network: None, states }
    }

    /// The run from its beginning to its end.
    fn whole(mut self) {
        let world = self.world.clone();
        for (account, _) in ACCOUNTS {
            world.ledger.lock().unwrap().want(0, Want::Provision { account });
        }
        if !self.until(BEGIN_MILLIS, |run| run.world.ledger.lock().unwrap().is_quiet()) {
            return world.break_promise("the mailboxes were not made".to_owned());
        }
        for (account, _) in ACCOUNTS {
            let first = Want::Deposit { account, number: 1, with_blob: false, repeats: 0 };
            world.ledger.lock().unwrap().want(0, first);
        }
        if !self.until(BEGIN_MILLIS, |run| run.world.ledger.lock().unwrap().is_quiet()) {
            return world.break_promise("the first messages were not taken in".to_owned());
        }
        self.wish();
        let plan = faults::plan(&mut Random::new(world.seed ^ 0xfa17), world.nodes);
        let begun = world.now();
        for (at, fault) in plan {
            self.until(at.saturating_sub(world.now() - begun), |_| false);
            self.happens(fault);
        }
        self.until(FAULTS_MILLIS.saturating_sub(world.now() - begun), |_| false);
        self.rest();
        world.ledger.lock().unwrap().check_chains();
    }

    /// Whatever the outside will want.
    fn wish(&self) {
        let (world, mut random) = (&self.world, Random::new(self.world.seed ^ 0x3a11));
        let mut ledger = world.ledger.lock().unwrap();
        for number in 2..60 {
            let from = world.now() + random.below(FAULTS_MILLIS);
            let account = ACCOUNTS[random.below(ACCOUNTS.len() as u64) as usize].0;
            ledger.want(
                from,
                match random.below(20) {
                    0..9 => Want::Deposit { account, number, with_blob: random.below(4) == 0, repeats: 0 },
                    9..11 => Want::FanOut { number },
                    11..14 => Want::Send { group: 1 + random.below(u64::from(SHARDS)) as u32, number },
                    14..18 => Want::Register { account: ACCOUNTS[0].0, value: number, instead_of: None },
                    _ => Want::Look { account },
                },
            );
        }
    }

    /// Goes on until something is so; false when that takes longer than so many milliseconds.
    fn until(&mut self, millis: u64, is_so: impl Fn(&Self) -> bool) -> bool {
        let end = self.world.now() + millis;
        while !is_so(self) {
            if self.world.now() >= end {
                return false;
            }
            self.tick();
        }
        true
    }

    fn tick(&mut self) {
        if let Err(error) = self.sim.step() {
            self.world.break_promise(format!("a node ended: {error}"));
        }
        chance::advance(TICK);
        self.ticks += 1;
        if self.ticks.is_multiple_of(LOOK_TICKS) {
            self.look();
        }
    }

    /// No replica stops; replicas that have applied the same entries have the same state.
    ///
    /// Not that a term has one leader: openraft's leaders are ordered by term and replica, so a term may have several.
    fn look(&mut self) {
        let (mut broken, with_states) = (Vec::new(), self.ticks.is_multiple_of(STATES_TICKS));
        for (node, groups) in self.world.running.lock().unwrap().iter() {
            for status in groups.status() {
                let group = status.group.get();
                if let Some(why) = status.stopped {
                    broken.push(format!("group {group} has stopped on node {node}: {why}"));
                }
                if status.hollow {
                    self.world.trace.count("hollow replica seen", 1);
                }
                if with_states
                    && let Some(applied) = status.applied
                    && let Some(hash) = state_hash(&self.world.disks.lock().unwrap()[*node], group)
                {
                    let other = *self.states.entry((group, applied)).or_insert(hash);
                    if other != hash {
                        broken.push(format!("group {group} at entry {applied}: node {node} has another state"));
                    }
                }
            }
        }
        broken.into_iter().for_each(|broken| self.world.break_promise(broken));
    }

    fn others(&self, but: &[usize]) -> Vec<usize> {
        (0..self.world.nodes).filter(|node| !but.contains(node)).collect()
    }

    fn happens(&mut self, fault: Fault) {
        tracing::info!(target: "simulation", ?fault, "it happens");
        match fault {
            Fault::Crash { node, cut, kept } => self.crash(node, cut, kept),
            Fault::Start { node } => {
                if self.down.remove(&node) {
                    self.sim.bounce(name(node));
                    self.world.trace.count("node restarted", 1);
                }
            }
            Fault::Heal => {
                self.heal();
                self.network = None;
            }
            Fault::Jump { by } => chance::jump(by),
            Fault::Order { node: Some(node), order } => self.world.order(node, order),
            Fault::Order { node: None, order } => {
                (0..self.world.nodes).for_each(|node| self.world.order(node, order));
            }
            network => {
                self.spoil(&network);
                self.network = Some(network);
            }
        }
    }

    fn crash(&mut self, node: usize, cut: bool, kept: usize) {
        if !self.down.insert(node) {
            return;
        }
        if cut {
            for other in self.others(&[node]) {
                self.sim.partition(name(node), name(other));
            }
        }
        drop(self.world.running.lock().unwrap().remove(&node));
        self.world.orders.lock().unwrap().remove(&node);
        let old = self.world.disks.lock().unwrap()[node].clone();
        let (disks, lost) = old.crashed_keeping(kept);
        self.world.disks.lock().unwrap()[node] = disks.into();
        if lost > 0 {
            self.world.trace.count("unsynced tail lost", 1);
        }
        self.sim.crash(name(node));
        if cut {
            self.heal();
            if let Some(network) = self.network.clone() {
                self.spoil(&network);
            }
        }
    }

    fn spoil(&mut self, fault: &Fault) {
        match fault {
            Fault::Halves { one } => {
                for (one, other) in one.iter().flat_map(|a| self.others(one).into_iter().map(move |b| (*a, b))) {
                    self.sim.partition(name(one), name(other));
                }
            }
            Fault::OneWay { from, to } => self.sim.partition_oneway(name(*from), name(*to)),
            Fault::Hold { one, other } => self.sim.hold(name(*one), name(*other)),
            Fault::Slow { latency } => self.sim.set_max_message_latency(*latency),
            _ => {}
        }
    }

    fn heal(&mut self) {
        self.sim.set_max_message_latency(Duration::from_millis(LATENCY_MILLIS.1));
        for one in 0..self.world.nodes {
            for other in self.others(&[one]) {
                match self.network {
                    Some(Fault::Hold { .. }) => self.sim.release(name(one), name(other)),
                    _ => self.sim.repair(name(one), name(other)),
                }
            }
        }
    }

    /// Nothing goes wrong any more: everything wanted is done or was refused, and all replicas are the same.
    fn rest(&mut self) {
        let world = self.world.clone();
        self.happens(Fault::Heal);
        (0..world.nodes).for_each(|node| self.happens(Fault::Start { node }));
        self.until(300, |_| false);
        world.calm.store(true, Ordering::SeqCst);
        chance::jump(DOUBT);
        let (begun, mut round) = (world.now(), 0);
        let mut why = "the wishes are not done".to_owned();
        while world.now() - begun < REST_MILLIS {
            round += 1;
            for group in 0..=SHARDS {
                for node in 0..world.nodes {
                    (0..world.nodes).for_each(|to| world.order(to, Order::Promote { group, node }));
                }
            }
            if !self.until(3000, |run| run.world.ledger.lock().unwrap().is_quiet() && run.all_vote()) {
                chance::jump(DOUBT);
                continue;
            }
            *world.inspected.lock().unwrap() = None;
            world.order((world.seed + round) as usize % world.nodes, Order::Inspect);
            self.until(3000, |run| run.world.inspected.lock().unwrap().is_some());
            match world.inspected.lock().unwrap().take() {
                Some(Ok(())) => {
                    if self.until(3000, Self::are_level) {
                        return self.compare();
                    }
                    why = "replicas do not catch up".to_owned();
                }
                Some(Err(missing)) => why = missing,
                None => why = "an inspection did not end".to_owned(),
            }
            if round % 3 == 0 {
                chance::jump(DOUBT);
            }
        }
        let status: Vec<_> = world.running.lock().unwrap().values().map(securanet_raft::Groups::status).collect();
        world.break_promise(format!("it does not come to rest: {why}: {status:?}"));
    }

    fn all_vote(&self) -> bool {
        let running = self.world.running.lock().unwrap();
        let all: Vec<u64> = (0..self.world.nodes).map(replica).collect();
        running.len() == self.world.nodes
            && running.values().all(|groups| {
                groups.status().iter().all(|status| status.voters.iter().copied().eq(all.iter().copied()))
            })
    }

    /// Whether all replicas have applied the same.
    fn are_level(&self) -> bool {
        let running = self.world.running.lock().unwrap();
        let ends = |groups: &securanet_raft::Groups| -> Vec<_> {
            groups.status().iter().map(|status| (status.applied, status.last_log)).collect()
        };
        let ends: Vec<_> = running.values().map(ends).collect();
        let hollow = running.values().any(|groups| groups.status().iter().any(|status| status.hollow));
        !hollow && ends.windows(2).all(|two| two[0] == two[1]) && ends[0].iter().all(|(applied, last)| applied == last)
    }

    fn compare(&mut self) {
        let disks = self.world.disks.lock().unwrap().clone();
        let truths: Vec<_> = disks.iter().map(|disks| truth(disks)).collect();
        let differ = truths.iter().position(|truth| *truth != truths[0]);
        if let Some(node) = differ {
            self.world.break_promise(format!("the states of node 0 and node {node} differ"));
        }
        let acknowledged = self.world.ledger.lock().unwrap().with_blobs.clone();
        for (node, number) in
            disks.iter().enumerate().flat_map(|(node, _)| acknowledged.iter().map(move |n| (node, *n)))
        {
            if let Err(why) = gateway::read_blob(&disks[node].stores().blobs, number) {
                self.world.break_promise(format!("blob {number}, acknowledged, on node {node}: {why}"));
            }
        }
        if truths[0].len() < 30 {
            self.world.break_promise(format!("{} rows of truth: nothing was done", truths[0].len()));
        }
    }
}
