//! What the parts of a run share: the disks, the ledger, the nodes that run, and orders for them.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use securanet_raft::Groups;

use crate::{
    ledger::Ledger,
    support::{Disks, Random},
    trace::Trace,
};

/// The accounts, and the groups that they live in.
pub(crate) const ACCOUNTS: [(u64, u32); 3] = [(11, 1), (12, 1), (21, 2)];
/// Groups with accounts and queues.
pub(crate) const SHARDS: u32 = 2;

/// The group of an account.
pub(crate) fn group_of(account: u64) -> u32 {
    ACCOUNTS.iter().find(|(id, _)| *id == account).map_or(1, |(_, group)| *group)
}

/// What a node is told to do, when it can.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// Whoever leads this group hands it to this node.
    HandOver { group: u32, to: usize },
    /// Whoever leads this group takes this node's vote.
    Demote { group: u32, node: usize },
    /// Whoever leads this group gives this node a vote.
    Promote { group: u32, node: usize },
    /// Make the state durable.
    Flush,
    /// Look at everything, as a gateway at this node can.
    Inspect,
}

pub(crate) struct Shared {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) voters: usize,
    pub(crate) begun: Instant,
    pub(crate) trace: Trace,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) random: Mutex<Random>,
    pub(crate) disks: Mutex<Vec<Arc<Disks>>>,
    pub(crate) running: Mutex<BTreeMap<usize, Groups>>,
    pub(crate) orders: Mutex<BTreeMap<usize, VecDeque<Order>>>,
    /// Whether an inspection found everything done; what it missed.
    pub(crate) inspected: Mutex<Option<Result<(), String>>>,
    pub(crate) workers: Mutex<u64>,
    /// Nothing goes wrong any more, at the remote server neither.
    pub(crate) calm: AtomicBool,
}

/// A run's shared things.
pub(crate) type World = Arc<Shared>;

thread_local! {
    /// How long disks take on this thread.
    static DISKS: RefCell<Random> = RefCell::new(Random::new(0));
}

/// A disk mostly takes a few milliseconds, now and then much longer.
pub(crate) fn disk_takes() -> Duration {
    DISKS.with_borrow_mut(|random| match random.below(60) {
        0 => Duration::from_millis(50 + random.below(250)),
        n => Duration::from_millis(n % 5),
    })
}

impl Shared {
    pub(crate) fn new(seed: u64, trace: Trace) -> World {
        DISKS.set(Random::new(seed ^ 0xd15c));
        let mut random = Random::new(seed);
        (0..4).for_each(|_| {
            random.next();
        });
        let (nodes, voters) = match random.below(10) {
            0..6 => (3, 3),
            6..8 => (4, 3),
            _ => (5, 5),
        };
        Arc::new(Self {
            seed,
            nodes,
            voters,
            begun: Instant::now(),
            trace,
            ledger: Mutex::default(),
            random: Mutex::new(random),
            disks: Mutex::new((0..nodes).map(|_| Arc::new(Disks::new())).collect()),
            running: Mutex::default(),
            orders: Mutex::default(),
            inspected: Mutex::default(),
            workers: Mutex::default(),
            calm: AtomicBool::new(false),
        })
    }

    /// Milliseconds since the run began.
    pub(crate) fn now(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    pub(crate) fn below(&self, end: u64) -> u64 {
        self.random.lock().unwrap().below(end)
    }

    /// Whether something goes wrong with these odds.
    pub(crate) fn fails(&self, odds: u64) -> bool {
        !self.calm.load(Ordering::SeqCst) && self.below(odds) == 0
    }

    pub(crate) fn order(&self, node: usize, order: Order) {
        self.orders.lock().unwrap().entry(node).or_default().push_back(order);
    }

    pub(crate) fn break_promise(&self, what: String) {
        self.ledger.lock().unwrap().break_promise(what);
    }
}

/// A node's name.
pub(crate) fn name(node: usize) -> String {
    format!("node-{node}")
}

/// The replica id of a node's replicas.
pub(crate) fn replica(node: usize) -> u64 {
    node as u64 + 1
}
