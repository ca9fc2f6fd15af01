//! What goes wrong in a run, by its seed.

use std::time::Duration;

use crate::{
    support::Random,
    world::{Order, SHARDS},
};

/// Something that goes wrong, or is undone.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The power of a node goes; with it `cut`, so that nobody hears of it, else its connections are reset. Of what its
    /// log had written and not synced, so many writes are on the disk.
    Crash { node: usize, cut: bool, kept: usize },
    /// It runs again.
    Start { node: usize },
    /// No message passes between these and all others.
    Halves { one: Vec<usize> },
    /// No message passes from here to there.
    OneWay { from: usize, to: usize },
    /// Messages between these two wait.
    Hold { one: usize, other: usize },
    /// All links take so long.
    Slow { latency: Duration },
    /// Everything of the network is as before.
    Heal,
    /// All wall clocks jump ahead.
    Jump { by: Duration },
    /// To a node, or to all of them.
    Order { node: Option<usize>, order: Order },
}

/// When a fault happens, in milliseconds from the beginning of the faults.
pub(crate) type Plan = Vec<(u64, Fault)>;

/// How long faults happen, in milliseconds.
pub(crate) const FAULTS_MILLIS: u64 = 7000;
/// The usual latency of links, in milliseconds.
pub(crate) const LATENCY_MILLIS: (u64, u64) = (1, 6);

/// The faults of a seed, in the order of their times. All nodes run and all links are as before at the end.
pub(crate) fn plan(random: &mut Random, nodes: usize) -> Plan {
    let mut plan = Plan::new();
    let some = |random: &mut Random| random.below(nodes as u64) as usize;
    // The network: one thing after the other.
    let mut at = 200 + random.below(2500);
    while at < FAULTS_MILLIS - 500 {
        let one = some(random);
        let other = (one + 1 + random.below(nodes as u64 - 1) as usize) % nodes;
        let fault = match random.below(9) {
            0..3 => Fault::Halves { one: (0..nodes).filter(|node| *node == one || random.below(3) == 0).collect() },
            3..5 => Fault::OneWay { from: one, to: other },
            5..7 => Fault::Hold { one, other },
            _ => Fault::Slow { latency: Duration::from_millis(20 + random.below(60)) },
        };
        plan.push((at, fault));
        let until = (at + 200 + random.below(2000)).min(FAULTS_MILLIS);
        plan.push((until, Fault::Heal));
        at = until + 100 + random.below(3000);
    }
    // Power: of one node after the other, now and then of all at once.
    let mut at = 200 + random.below(3000);
    while at < FAULTS_MILLIS - 500 {
        let all = random.below(8) == 0;
        let one = some(random);
        let mut back = at;
        for node in (0..nodes).filter(|node| all || *node == one) {
            plan.push((at, Fault::Crash { node, cut: random.below(2) == 0, kept: random.below(3) as usize }));
            let start = (at + 50 + random.below(2500)).min(FAULTS_MILLIS);
            plan.push((start, Fault::Start { node }));
            back = back.max(start);
        }
        at = back + 100 + random.below(2500);
    }
    // What operators and placers do.
    for _ in 0..1 + random.below(5) {
        let group = random.below(u64::from(SHARDS) + 1) as u32;
        let (at, node) = (random.below(FAULTS_MILLIS), some(random));
        match random.below(4) {
            0..2 => plan.push((at, Fault::Order { node: None, order: Order::HandOver { group, to: node } })),
            2 => {
                plan.push((at, Fault::Order { node: None, order: Order::Demote { group, node } }));
                let again = at + 300 + random.below(2000);
                plan.push((again, Fault::Order { node: None, order: Order::Promote { group, node } }));
            }
            _ => plan.push((at, Fault::Order { node: Some(node), order: Order::Flush })),
        }
    }
    if random.below(3) == 0 {
        plan.push((random.below(FAULTS_MILLIS), Fault::Jump { by: Duration::from_secs(7) }));
    }
    plan.sort_by_key(|(at, _)| *at);
    plan
}
