//! One group in memory for the tests: runs commands, keeps their log, and checks what holds for every command.
//!
//! Each command goes through [`crate::apply`] as its own entry. Around it this checks that a refused command
//! changed no row but the memory of requests, and that it woke nobody.

use securanet_kv::{Direction, Durability, KeyValue, Read, Row, memory::MemoryStore};
use securanet_model::{
    Answer, Command, Execute, GroupId, Query, Reply, RequestId, UnixMillis,
    request::{Proposal, Topic},
};

use crate::{
    Applied, Space,
    keys::{SPACE_OCTETS, Table},
    tx::ReadView,
};

/// Where the tests' clocks begin: any time long after 1970.
pub(crate) const START: UnixMillis = UnixMillis::new(1_700_000_000_000);

/// A group with its log.
pub(crate) struct Group {
    pub(crate) store: MemoryStore,
    pub(crate) space: Space,
    pub(crate) clock: UnixMillis,
    pub(crate) log: Vec<Proposal>,
    pub(crate) touched: Vec<Topic>,
    requests: u128,
}

impl Group {
    pub(crate) fn new(group: u32) -> Self {
        let space = Space { group: GroupId::new(group), generation: 0 };
        Self { store: MemoryStore::new(), space, clock: START, log: Vec::new(), touched: Vec::new(), requests: 0 }
    }

    /// The next request of its own id, its deadline half a minute away.
    pub(crate) fn request(&mut self, commands: Vec<Command>) -> Execute {
        self.requests += 1;
        let request = RequestId::new(self.requests.to_be_bytes());
        Execute { group: self.space.group, request, deadline: self.clock.plus_millis(30_000), commands }
    }

    /// Applies one entry and writes it.
    pub(crate) fn propose(&mut self, requests: Vec<Execute>) -> Vec<Vec<Reply>> {
        let proposal = Proposal { stamp: self.clock, requests };
        let applied = apply(&self.store, self.space, &proposal);
        self.log.push(proposal);
        self.store.write(applied.batch, Durability::Volatile).unwrap();
        self.touched = applied.touched;
        applied.replies
    }

    /// Applies one command and checks what holds for every refusal.
    pub(crate) fn run(&mut self, command: Command) -> Reply {
        let before = self.truth();
        let request = self.request(vec![command]);
        let reply = self.propose(vec![request]).remove(0).remove(0);
        if crate::changed_nothing(&reply) {
            assert_eq!(self.truth(), before, "a refusal changes nothing: {reply:?}");
            assert_eq!(self.touched, [], "a refusal wakes nobody");
        }
        reply
    }

    pub(crate) fn ask(&self, query: &Query) -> Answer {
        crate::answer(&self.store, self.space, query).unwrap()
    }

    pub(crate) fn view(&self) -> ReadView<'_> {
        ReadView::new(&self.store, self.space)
    }

    /// All rows of truth without the memory of requests.
    pub(crate) fn truth(&self) -> Vec<Row> {
        let memory = [Table::Clock as u8, Table::Requests as u8, Table::RequestsFar as u8];
        let rows = self.store.scan(&self.space.truth(), Direction::Forward, usize::MAX).unwrap();
        rows.into_iter().filter(|(key, _)| !memory.contains(&key[SPACE_OCTETS])).collect()
    }

    /// Every row of the group.
    pub(crate) fn rows(&self) -> Vec<Row> {
        self.store.scan(&self.space.range(), Direction::Forward, usize::MAX).unwrap()
    }

    /// The same group after a crash that lost its state: the log is replayed, its clients go on.
    pub(crate) fn crashed(&self) -> Self {
        let mut after = self.replayed();
        (after.clock, after.requests, after.log) = (self.clock, self.requests, self.log.clone());
        after
    }

    /// Another replica that applied the same log.
    pub(crate) fn replayed(&self) -> Self {
        let replica = Self::new(self.space.group.get());
        for proposal in &self.log {
            let applied = apply(&replica.store, replica.space, proposal);
            replica.store.write(applied.batch, Durability::Volatile).unwrap();
        }
        replica
    }
}

fn apply(store: &MemoryStore, space: Space, proposal: &Proposal) -> Applied {
    crate::apply(store, space, proposal).unwrap()
}

/// A deterministic source of noise (xorshift), for tests that need much of it fast.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap_or(0)
    }

    /// Some octets like these: a few changed, cut off or doubled.
    pub(crate) fn mutate(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut octets = octets.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(octets.len());
            match self.below(4) {
                0 if !octets.is_empty() => octets[at] = self.next().to_le_bytes()[0],
                1 if !octets.is_empty() => octets[at] ^= 1 << self.below(8),
                2 => octets.truncate(at),
                _ => octets.insert(at.min(octets.len()), self.next().to_le_bytes()[0]),
            }
        }
        octets
    }
}
