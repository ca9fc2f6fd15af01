//! Faults by a seed. Each is proved to have taken effect, from outside: a process is really gone or stands still, no octet
//! arrives over a cut link that carried some before, what passes a slow link was really under way that long. A fault that
//! had no effect fails the run, since a run without faults proves nothing.

mod kind;
mod machine;
mod members;
pub mod service;

use std::{
    fmt,
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

pub use self::kind::{KINDS, Kind};
use self::service::{Seen, owed};
use super::{ledger::Ledger, node::State, sites::Sites};
use crate::{link::Wire, random::Random};

/// Nodes keep in touch at least this often.
const TRAFFIC_PATIENCE: Duration = Duration::from_secs(15);
/// What is in the hands of a thread when a link is cut has arrived by then.
const AFTERMATH: Duration = Duration::from_millis(300);
/// How long a cut is watched for something that passes all the same.
const WATCH: Duration = Duration::from_millis(700);
/// After everything runs again, each gateway takes mail within this time.
const RECOVERY: Duration = Duration::from_secs(45);
/// Whoever hears a majority of the stores is served within this time; P5 has its own measurement.
const FAILOVER: Duration = Duration::from_secs(20);
/// A worker that stood still for so long has lost its lease.
const LEASE: Duration = Duration::from_secs(7);
const LOOK: Duration = Duration::from_millis(20);

/// A fault that is in effect.
enum Fault {
    Down(String),
    Paused(String),
    Cut(Vec<Arc<Wire>>),
    Stalled(Vec<Arc<Wire>>),
    Slow(String, String),
    Drained(String),
    Joined(String),
    Full(String),
    Skewed(String),
    /// It is over already.
    Past,
}

/// Somebody who breaks things.
pub struct Nemesis<'s> {
    sites: &'s Sites,
    random: Random,
    kinds: Vec<Kind>,
    begun: Instant,
    counts: Vec<(Kind, u32)>,
}

impl<'s> Nemesis<'s> {
    /// One that uses those of these kinds of faults that so many stores and sites allow.
    #[must_use]
    pub fn new(sites: &'s Sites, seed: u64, kinds: &[Kind]) -> Self {
        let kinds: Vec<Kind> = kinds.iter().copied().filter(|kind| kind.makes_sense(sites)).collect();
        let counts = kinds.iter().map(|kind| (*kind, 0)).collect();
        Self { sites, random: Random::new(seed), kinds, begun: Instant::now(), counts }
    }

    fn say(&self, what: impl fmt::Display) {
        println!("{:8.2} {what}", self.begun.elapsed().as_secs_f64());
    }

    /// How often each kind took effect.
    #[must_use]
    pub fn counts(&self) -> &[(Kind, u32)] {
        &self.counts
    }

    /// Breaks and mends until the time is over and each kind was used; between faults, service must come back at all gateways.
    /// `ledger` says when mail was taken; `stop` ends it early.
    ///
    /// # Errors
    /// When a fault had no effect, a node ended by itself, or service did not come back.
    pub fn rage(&mut self, time: Duration, ledger: &Ledger, stop: impl Fn() -> bool) -> anyhow::Result<()> {
        let mut order: Vec<Kind> = Vec::new();
        self.await_service(ledger)?;
        while !stop() && (self.begun.elapsed() < time || self.counts.iter().any(|(_, count)| *count == 0)) {
            if order.is_empty() {
                order.clone_from(&self.kinds);
            }
            let kind = order.swap_remove(self.random.below(order.len()));
            let before = Instant::now();
            let fault = self.strike(kind).with_context(|| format!("{kind:?}"))?;
            // Now and then a second one on top of it.
            let second =
                if kind.bears_another() && self.random.below(4) == 0 { Some(self.strike_node()?) } else { None };
            sleep(Duration::from_millis(500 + self.random.below(5000) as u64));
            if kind == Kind::Pause && self.random.below(3) == 0 {
                sleep(LEASE);
            }
            self.await_owed(ledger, before)?;
            // The second one first: what the first one proves when it ends wants a node that runs.
            if let Some(second) = second {
                self.mend(second)?;
            }
            self.mend(fault).with_context(|| format!("the end of {kind:?}"))?;
            self.counts.iter_mut().filter(|(known, _)| *known == kind).for_each(|(_, count)| *count += 1);
            self.await_service(ledger)?;
            sleep(Duration::from_millis(self.random.below(2000) as u64));
        }
        Ok(())
    }

    fn some_node(&mut self) -> String {
        let names: Vec<&str> = self.sites.nodes().map(|node| node.name.as_str()).collect();
        names[self.random.below(names.len())].to_owned()
    }

    fn some_store(&mut self) -> String {
        let names: Vec<&str> = self.sites.stores().map(|store| store.name.as_str()).collect();
        names[self.random.below(names.len())].to_owned()
    }

    /// Two sites with a link between them.
    fn some_pair(&mut self) -> (String, String) {
        let sites = self.sites.sites();
        let all = sites.iter().flat_map(|one| sites.iter().map(move |other| (one.clone(), other.clone())));
        let mut pairs: Vec<_> = all.filter(|(one, other)| !self.carrying(one, other).is_empty()).collect();
        pairs.swap_remove(self.random.below(pairs.len()))
    }

    /// The wires from a site to another between nodes that talk to each other.
    fn carrying(&self, from: &str, to: &str) -> Vec<Arc<Wire>> {
        self.sites.wires(from, to).into_iter().filter(|wire| wire.octets().sent > 0).collect()
    }

    fn both_ways(&self, one: &str, other: &str) -> Vec<Arc<Wire>> {
        [self.carrying(one, other), self.carrying(other, one)].concat()
    }

    fn shuffled_sites(&mut self) -> Vec<String> {
        let mut sites = self.sites.sites();
        for at in 1..sites.len() {
            sites.swap(at, self.random.below(at + 1));
        }
        sites
    }

    /// Cuts the sites into two parts.
    fn halves(&mut self) -> anyhow::Result<Fault> {
        let order = self.shuffled_sites();
        let (one, other) = order.split_at(order.len() / 2);
        let mut wires = Vec::new();
        for one in one {
            other.iter().for_each(|other| wires.extend(self.both_ways(one, other)));
        }
        self.cut(wires, &format!("{} from {}", one.join(" and "), other.join(" and ")))
    }

    /// Leaves each site its two neighbours.
    fn ring(&mut self) -> anyhow::Result<Fault> {
        let order = self.shuffled_sites();
        let mut wires = Vec::new();
        for (at, one) in order.iter().enumerate() {
            for (beyond, other) in order.iter().enumerate().skip(at + 2) {
                if beyond - at + 1 < order.len() {
                    wires.extend(self.both_ways(one, other));
                }
            }
        }
        self.cut(wires, &format!("all but the ring {}", order.join(", ")))
    }

    fn strike(&mut self, kind: Kind) -> anyhow::Result<Fault> {
        match kind {
            Kind::Kill => {
                let name = self.some_node();
                self.kill(&name)
            }
            Kind::Pause => {
                let name = self.some_node();
                self.pause(&name)
            }
            Kind::Restart => {
                let name = self.some_node();
                let node = self.sites.node(&name)?;
                let process = node.process_id();
                node.terminate()?;
                self.say(format_args!("restart {name}: process {process:?} has ended in order"));
                node.launch()?;
                ensure!(node.process_id() != process, "{name} was not restarted");
                Ok(Fault::Past)
            }
            Kind::Drain => {
                let name = self.some_store();
                self.drain(&name)
            }
            Kind::Lead => {
                let name = self.some_store();
                self.lead(&name)
            }
            Kind::Join => self.join(),
            Kind::Replace => {
                let name = self.some_store();
                self.replace(&name)
            }
            Kind::Full => self.fill(),
            Kind::Skew => self.skew(|node| !node.role.is_store()),
            Kind::SkewStore => self.skew(|node| node.role.is_store()),
            Kind::Isolate => {
                let sites = self.sites.sites();
                let site = sites[self.random.below(sites.len())].clone();
                let others = sites.iter().filter(|other| **other != site);
                let wires = others.flat_map(|other| self.both_ways(&site, other));
                self.cut(wires.collect(), &format!("{site} from all others"))
            }
            Kind::Halves => self.halves(),
            Kind::Ring => self.ring(),
            Kind::Cut => {
                let (one, other) = self.some_pair();
                let wires = self.both_ways(&one, &other);
                self.cut(wires, &format!("{one} from {other}"))
            }
            Kind::OneWay => {
                let (from, to) = self.some_pair();
                self.cut(self.carrying(&from, &to), &format!("{from} to {to}, one way"))
            }
            Kind::Stall => {
                let (one, other) = self.some_pair();
                let wires = self.both_ways(&one, &other);
                self.stall(wires, &format!("{one} and {other}"))
            }
            Kind::Slow => {
                let (one, other) = self.some_pair();
                self.slow(one, other)
            }
        }
    }

    /// A node that runs is killed or paused.
    fn strike_node(&mut self) -> anyhow::Result<Fault> {
        let name = self.some_node();
        if !matches!(self.sites.node(&name)?.state()?, State::Up | State::Starting) {
            return Ok(Fault::Past);
        }
        if self.random.below(2) == 0 { self.kill(&name) } else { self.pause(&name) }
    }

    fn kill(&self, name: &str) -> anyhow::Result<Fault> {
        let node = self.sites.node(name)?;
        let process = node.process_id().context("it runs")?;
        node.kill()?;
        self.say(format_args!("kill {name}: process {process} is gone"));
        Ok(Fault::Down(name.to_owned()))
    }

    fn pause(&self, name: &str) -> anyhow::Result<Fault> {
        let node = self.sites.node(name)?;
        node.pause()?;
        ensure!(node.state()? == State::Paused, "{name} does not stand still");
        self.say(format_args!("pause {name}: process {:?} stands still", node.process_id()));
        Ok(Fault::Paused(name.to_owned()))
    }

    fn cut(&self, wires: Vec<Arc<Wire>>, what: &str) -> anyhow::Result<Fault> {
        await_traffic(&wires)?;
        wires.iter().for_each(|wire| wire.cut());
        let lost = self.watch_silence(&wires)?;
        self.say(format_args!("cut {what}: {} wires, nothing arrives, {lost} octets lost", wires.len()));
        Ok(Fault::Cut(wires))
    }

    fn stall(&self, wires: Vec<Arc<Wire>>, what: &str) -> anyhow::Result<Fault> {
        await_traffic(&wires)?;
        wires.iter().for_each(|wire| wire.set_stalled(true));
        self.watch_silence(&wires)?;
        self.say(format_args!("stall {what}: {} wires, nothing arrives", wires.len()));
        Ok(Fault::Stalled(wires))
    }

    /// Nothing arrives over these wires; how much they have lost so far.
    fn watch_silence(&self, wires: &[Arc<Wire>]) -> anyhow::Result<u64> {
        sleep(AFTERMATH);
        let before = delivered(wires);
        sleep(WATCH);
        let more = delivered(wires) - before;
        ensure!(more == 0, "{more} octets arrived over a link that should pass nothing");
        Ok(wires.iter().map(|wire| wire.octets().lost).sum())
    }

    fn slow(&mut self, one: String, other: String) -> anyhow::Result<Fault> {
        let latency = Duration::from_millis(20 + self.random.below(100) as u64);
        let jitter = Duration::from_millis(self.random.below(30) as u64);
        let rate = (256 << self.random.below(4)) << 10;
        let wires = self.both_ways(&one, &other);
        wires.iter().for_each(|wire| wire.set_latency(latency, jitter));
        self.sites.pipes(&one, &other).iter().for_each(|pipe| pipe.set_rate(Some(rate)));
        // What was on the way came as before; from here on it counts.
        sleep(AFTERMATH + latency);
        wires.iter().for_each(|wire| wire.set_latency(latency, jitter));
        await_traffic(&wires)?;
        let fastest = wires.iter().filter_map(|wire| wire.fastest()).min().context("something passed")?;
        ensure!(fastest >= latency, "{fastest:?} over a link of {latency:?}");
        self.say(format_args!(
            "slow {one} and {other}: {latency:?} and up to {jitter:?} more, {} KiB/s; the quickest was under way {fastest:?}",
            rate >> 10
        ));
        Ok(Fault::Slow(one, other))
    }

    fn mend(&self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Past => {}
            Fault::Down(name) => {
                self.sites.node(&name)?.launch()?;
                self.say(format_args!("start {name}"));
            }
            Fault::Paused(name) => {
                self.sites.node(&name)?.resume()?;
                self.say(format_args!("resume {name}"));
            }
            Fault::Cut(wires) => {
                wires.iter().for_each(|wire| wire.heal());
                self.say("heal");
            }
            Fault::Stalled(wires) => {
                wires.iter().for_each(|wire| wire.set_stalled(false));
                self.say("unstall");
            }
            Fault::Drained(name) => self.resume_work(&name)?,
            Fault::Joined(name) => self.take_out(&name)?,
            Fault::Full(name) => self.make_room(&name)?,
            Fault::Skewed(name) => self.set_right(&name)?,
            Fault::Slow(one, other) => {
                for wire in self.sites.between(&one, &other)? {
                    wire.set_latency(Duration::ZERO, Duration::ZERO);
                }
                self.sites.pipes(&one, &other).iter().for_each(|pipe| pipe.set_rate(None));
                self.say("quick again");
            }
        }
        Ok(())
    }

    /// Whoever is owed service while things are broken has it; says how long each of them had none.
    fn await_owed(&self, ledger: &Ledger, since: Instant) -> anyhow::Result<()> {
        let mut nodes = Vec::new();
        for node in self.sites.nodes() {
            let is_up = matches!(node.state()?, State::Up);
            let (is_store, is_gateway) = (node.role.is_store(), node.role.is_gateway() && !node.is_unwell());
            nodes.push(Seen { name: &node.name, is_store, is_gateway, is_up });
        }
        let owed = owed(&nodes, |one, other| self.sites.hear(one, other));
        let now = Instant::now();
        let deadline = now + FAILOVER;
        while let Some(silent) = owed.iter().find(|node| ledger.last_by(node).is_none_or(|at| at < now)) {
            ensure!(
                Instant::now() < deadline,
                "P5: no mail is taken by {silent}, which hears a majority, for {FAILOVER:?}"
            );
            sleep(LOOK);
        }
        let silence = |node: &&str| format!("{node} {:.2} s", ledger.silence_of(node, since).as_secs_f64());
        let silences: Vec<String> = owed.iter().map(silence).collect();
        self.say(format_args!("meanwhile served, with at most this silence: {}", silences.join(", ")));
        Ok(())
    }

    /// Every node is there by itself, and every gateway acknowledges mail again.
    fn await_service(&self, ledger: &Ledger) -> anyhow::Result<()> {
        let since = Instant::now();
        loop {
            let mut silent = Vec::new();
            for node in self.sites.nodes() {
                let state = node.state()?;
                ensure!(matches!(state, State::Up | State::Starting), "{} is {state:?}", node.name);
                let serves = !node.role.is_gateway() || ledger.last_by(&node.name).is_some_and(|at| at > since);
                if state != State::Up || !serves {
                    silent.push(node.name.as_str());
                }
            }
            if silent.is_empty() {
                self.say(format_args!("service everywhere after {:.2} s", since.elapsed().as_secs_f64()));
                return Ok(());
            }
            if since.elapsed() > RECOVERY {
                bail!("no mail is taken by {} {RECOVERY:?} after everything was mended", silent.join(", "));
            }
            sleep(LOOK);
        }
    }
}

fn delivered(wires: &[Arc<Wire>]) -> u64 {
    wires.iter().map(|wire| wire.octets().delivered).sum()
}

/// A cut of wires that carry nothing proves nothing: something arrives over one of them now.
fn await_traffic(wires: &[Arc<Wire>]) -> anyhow::Result<()> {
    let (start, before) = (Instant::now(), delivered(wires));
    while delivered(wires) == before {
        ensure!(start.elapsed() < TRAFFIC_PATIENCE, "nothing passes over {} wires that are to be cut", wires.len());
        sleep(LOOK);
    }
    Ok(())
}
