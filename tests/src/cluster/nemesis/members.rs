//! Faults of who leads and who is a member: what an operator does, or has to do after a loss, while mail flows.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::{super::node::Node, Fault, LOOK, Nemesis};

/// A store that is to give its work away leads nothing after this time.
const HANDOVER: Duration = Duration::from_secs(60);
/// A store that comes in has a replica of every group after this time, and its vote where it is to have one; one that is taken
/// out has none.
const MOVE: Duration = Duration::from_secs(150);
/// A command that finds no leader in the middle of an election is given again for so long.
const AGAIN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);

impl Nemesis<'_> {
    /// A store gives its work away: this one, or one that leads a group if it leads none.
    pub(super) fn drain(&self, name: &str) -> anyhow::Result<Fault> {
        let mut node = self.sites.node(name)?;
        let mut before = led_by(node)?.len();
        for other in self.sites.stores() {
            if before == 0 {
                (node, before) = (other, led_by(other)?.len());
            }
        }
        let name = node.name.as_str();
        persist(|| node.cli(&["node", "drain", name], ""))?;
        let start = Instant::now();
        while !led_by(node)?.is_empty() {
            ensure!(start.elapsed() < HANDOVER, "{name} drains and still leads groups {:?}", led_by(node)?);
            sleep(LOOK);
        }
        self.say(format_args!("drain {name}: of {before} groups it leads none after {:.2?}", start.elapsed()));
        Ok(Fault::Drained(name.to_owned()))
    }

    /// It does its work again. Until it has its votes back, whoever else is lost takes the majority along: that is waited for.
    pub(super) fn resume_work(&self, name: &str) -> anyhow::Result<()> {
        let (node, start) = (self.sites.node(name)?, Instant::now());
        persist(|| node.cli(&["node", "resume", name], ""))?;
        if self.all_vote() {
            await_members(node, name, |(voting, _, all)| voting == all)?;
        }
        self.say(format_args!("{name} works again after {:.2?}", start.elapsed()));
        Ok(())
    }

    /// With an odd number of stores all of them vote; a further one may have to wait for its turn.
    fn all_vote(&self) -> bool {
        [3, 5].contains(&self.sites.stores().count())
    }

    /// Another voter leads a group in which this store votes.
    pub(super) fn lead(&mut self, asked: &str) -> anyhow::Result<Fault> {
        let start = Instant::now();
        loop {
            // Meanwhile somebody else may lead it, or the chosen one may still catch up.
            match self.lead_once(asked) {
                Err(_) if start.elapsed() < AGAIN => sleep(PAUSE),
                led => return led,
            }
        }
    }

    fn lead_once(&mut self, asked: &str) -> anyhow::Result<Fault> {
        let groups = groups(self.sites.node(asked)?)?;
        let led: Vec<&Value> = groups.iter().filter(|group| group["leader"].is_string()).collect();
        ensure!(!led.is_empty(), "{asked} knows no leader of any group");
        let group = led[self.random.below(led.len())];
        let number = group["group"].as_u64().context("a group")?;
        let leader = group["leader"].as_str().context("a leader")?;
        let voters = group["voters"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let others: Vec<&str> = voters.filter(|voter| *voter != leader).collect();
        ensure!(!others.is_empty(), "group {number} has one voter");
        let to = others[self.random.below(others.len())];
        self.sites.node(leader)?.cli(&["node", "lead", to, &number.to_string()], "")?;
        let leads = led_by(self.sites.node(to)?)?;
        ensure!(leads.contains(&number), "{to} was let lead group {number}, and leads {leads:?}");
        self.say(format_args!("lead: {to} leads group {number} instead of {leader}"));
        Ok(Fault::Past)
    }

    /// A spare store comes in.
    pub(super) fn join(&mut self) -> anyhow::Result<Fault> {
        let spare = self.sites.all_nodes().find(|node| !node.is_member()).context("a spare store")?;
        let by = self.some_store();
        self.come_in(spare, &by)?;
        spare.set_member(true);
        Ok(Fault::Joined(spare.name.clone()))
    }

    /// It is taken out again, and its disk is wiped.
    pub(super) fn take_out(&self, name: &str) -> anyhow::Result<()> {
        let (node, start) = (self.sites.node(name)?, Instant::now());
        let other = self.sites.stores().find(|store| store.name != name).context("another store")?;
        persist(|| other.cli(&["node", "drain", name], ""))?;
        // While it drains it may keep replicas without votes.
        await_members(other, name, |(voting, _, _)| voting == 0)?;
        persist(|| other.cli(&["node", "remove", name], ""))?;
        await_members(other, name, |(voting, learning, _)| voting + learning == 0)?;
        node.set_member(false);
        node.terminate()?;
        wipe(node)?;
        self.say(format_args!("{name} was taken out after {:.2?}", start.elapsed()));
        Ok(())
    }

    /// A store loses its disk and comes back empty under its old name.
    pub(super) fn replace(&self, name: &str) -> anyhow::Result<Fault> {
        let node = self.sites.node(name)?;
        let before = replica(node, name)?;
        node.kill()?;
        wipe(node)?;
        self.say(format_args!("replace {name}: its disk is gone, with replica {before}"));
        let other = self.sites.stores().find(|store| store.name != name).context("another store")?;
        self.come_in(node, &other.name)?;
        let after = replica(other, name)?;
        ensure!(before != after, "{name} came back as replica {after}, which it was before");
        Ok(Fault::Past)
    }

    /// A store whose disk is empty comes in, and has what it is to have.
    fn come_in(&self, node: &Node, by: &str) -> anyhow::Result<()> {
        let (name, by, start) = (node.name.as_str(), self.sites.node(by)?, Instant::now());
        let known = persist(|| by.cli(&["node", "list"], ""))?;
        let is_known = known.lines().any(|line| line.split_whitespace().next() == Some(name));
        let words: &[&str] = if is_known { &["node", "replace", name] } else { &["node", "token"] };
        let token = persist(|| by.cli(words, ""))?;
        persist(|| node.cli(&["join", "--token", token.trim()], ""))?;
        node.start()?;
        let votes = node.is_member() && self.all_vote();
        loop {
            let (voting, learning, all) = members(by, name)?;
            if voting + learning == all && (!votes || voting == all) {
                self.say(format_args!(
                    "{name} has come in: it votes in {voting} groups and learns in {learning} after {:.2?}",
                    start.elapsed()
                ));
                return Ok(());
            }
            if start.elapsed() > MOVE {
                bail!("{name} came in and votes in {voting} of {all} groups, learns in {learning}:\n{}", node.log());
            }
            sleep(PAUSE);
        }
    }
}

/// Gives a command again while there is no leader for it.
fn persist(mut command: impl FnMut() -> anyhow::Result<String>) -> anyhow::Result<String> {
    let start = Instant::now();
    loop {
        match command() {
            Err(_) if start.elapsed() < AGAIN => sleep(PAUSE),
            done => return done,
        }
    }
}

fn groups(store: &Node) -> anyhow::Result<Vec<Value>> {
    let status: Value = serde_json::from_str(&persist(|| store.cli(&["status", "--json"], ""))?)?;
    Ok(status["groups"].as_array().context("groups")?.clone())
}

/// In how many groups a store votes, in how many it has a replica without a vote, and how many there are, as another one sees it.
fn members(by: &Node, name: &str) -> anyhow::Result<(usize, usize, usize)> {
    let groups = groups(by)?;
    let has = |kind: &str| {
        let named = |group: &&Value| group[kind].as_array().into_iter().flatten().any(|member| member == name);
        groups.iter().filter(named).count()
    };
    Ok((has("voters"), has("learners"), groups.len()))
}

/// Waits until a store's votes and replicas are so, as another one sees them.
fn await_members(by: &Node, name: &str, is_it: impl Fn((usize, usize, usize)) -> bool) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let now = members(by, name)?;
        if is_it(now) {
            return Ok(());
        }
        ensure!(start.elapsed() < MOVE, "after {MOVE:?} {name} has votes, replicas without, of groups: {now:?}");
        sleep(PAUSE);
    }
}

/// The replica id of a store.
fn replica(by: &Node, name: &str) -> anyhow::Result<u64> {
    let list = persist(|| by.cli(&["node", "list"], ""))?;
    let line = list.lines().find(|line| line.split_whitespace().next() == Some(name));
    let last = line.and_then(|line| line.split_whitespace().last());
    last.and_then(|last| last.parse().ok()).with_context(|| format!("{name} has no replica id in {list}"))
}

/// The groups that a store leads.
fn led_by(store: &Node) -> anyhow::Result<Vec<u64>> {
    let groups = groups(store)?;
    let led = groups.iter().filter(|group| group["leads"] == true);
    Ok(led.filter_map(|group| group["group"].as_u64()).collect())
}

/// Removes all that a node has on its disk; the disk stays.
fn wipe(node: &Node) -> anyhow::Result<()> {
    for entry in fs::read_dir(node.data())? {
        let path = entry?.path();
        if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
    }
    Ok(())
}
