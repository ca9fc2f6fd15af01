//! Faults of the machine under a node: its disk is full, its wall clock is wrong.

use std::{
    fs,
    process::Command,
    thread::sleep,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};

use super::{super::node::Node, Fault, LOOK, Nemesis};
use crate::{dialogue::Dialogue, server::must};

/// Until a store has seen that its disk is full, or has room: it looks each second. It may have to start before.
const NOTICE: Duration = Duration::from_secs(20);
/// The file that fills a disk.
const BALLAST: &str = "ballast";
/// Left free of a disk that is full: less than the reserve.
const LEFT_BYTES: u64 = 48 << 20;
/// How far a clock jumps.
const JUMP_SECONDS: i64 = 600;
/// How exactly a clock is read from outside.
const EXACT_SECONDS: i64 = 20;

impl Nemesis<'_> {
    /// Somebody else fills a store's disk: it refuses mail for now.
    pub(super) fn fill(&mut self) -> anyhow::Result<Fault> {
        let node = self.sites.stores().find(|node| node.disk().is_some()).context("a store with a small disk")?;
        node.set_unwell(true);
        let filled = free_bytes(node)?.saturating_sub(LEFT_BYTES);
        let mut command = Command::new("fallocate");
        command.arg("--length").arg(filled.to_string()).arg(node.data().join(BALLAST));
        must(command, "")?;
        let said = await_reply(node, |reply| reply.starts_with("452 4.3.1"))?;
        self.say(format_args!("full {}: {} MiB more, it says {said:?}", node.name, filled >> 20));
        Ok(Fault::Full(node.name.clone()))
    }

    /// There is room again, and mail is taken.
    pub(super) fn make_room(&self, name: &str) -> anyhow::Result<()> {
        let node = self.sites.node(name)?;
        fs::remove_file(node.data().join(BALLAST))?;
        await_reply(node, |reply| !reply.starts_with("452 4.3.1"))?;
        node.set_unwell(false);
        self.say(format_args!("{name} has room again"));
        Ok(())
    }

    /// A node's wall clock jumps.
    pub(super) fn skew(&mut self, fits: impl Fn(&Node) -> bool) -> anyhow::Result<Fault> {
        let nodes: Vec<&Node> = self.sites.nodes().filter(|node| fits(node)).collect();
        let node = nodes[self.random.below(nodes.len())];
        let seconds = if self.random.below(2) == 0 { JUMP_SECONDS } else { -JUMP_SECONDS };
        node.set_unwell(true);
        self.sites.clock(&node.name)?.set(seconds)?;
        let told = await_clock(node, seconds)?;
        self.say(format_args!("skew {}: its clock is {told:+} s from ours", node.name));
        Ok(Fault::Skewed(node.name.clone()))
    }

    /// It jumps back.
    pub(super) fn set_right(&self, name: &str) -> anyhow::Result<()> {
        let node = self.sites.node(name)?;
        self.sites.clock(name)?.set(0)?;
        await_clock(node, 0)?;
        node.set_unwell(false);
        self.say(format_args!("the clock of {name} is right again"));
        Ok(())
    }
}

/// Free octets on the disk of a node.
fn free_bytes(node: &Node) -> anyhow::Result<u64> {
    let mut command = Command::new("stat");
    command.args(["--file-system", "--format=%a %S"]).arg(node.data());
    let text = must(command, "")?;
    let (blocks, size) = text.trim().split_once(' ').context("stat")?;
    Ok(blocks.parse::<u64>()? * size.parse::<u64>()?)
}

/// Waits until a node answers a transaction so; gives the answer.
fn await_reply(node: &Node, is_it: impl Fn(&str) -> bool) -> anyhow::Result<String> {
    let start = Instant::now();
    loop {
        let said = begin(node).unwrap_or_else(|error| format!("{error:#}"));
        if is_it(&said) {
            return Ok(said);
        }
        if start.elapsed() > NOTICE {
            bail!("{} says {said:?} after {NOTICE:?}", node.name);
        }
        sleep(LOOK);
    }
}

fn begin(node: &Node) -> anyhow::Result<String> {
    let to = node.address("smtp").context("it listens")?;
    Dialogue::smtp_within(to, "EHLO", NOTICE)?.say("MAIL FROM:<full@remote.example>")
}

/// Waits until a node's clock is so far from ours; how far it is.
fn await_clock(node: &Node, seconds: i64) -> anyhow::Result<i64> {
    let start = Instant::now();
    loop {
        let off = clock_of(node).and_then(|clock| Ok(clock - now()?));
        match off {
            Ok(off) if (off - seconds).abs() < EXACT_SECONDS => return Ok(off),
            off if start.elapsed() > NOTICE => {
                bail!("the clock of {} is {off:?} s from ours after {NOTICE:?}, not {seconds} s", node.name)
            }
            _ => sleep(LOOK),
        }
    }
}

fn now() -> anyhow::Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?)
}

/// Seconds since 1970, as a node has them: it dates the lines of its log.
fn clock_of(node: &Node) -> anyhow::Result<i64> {
    let last = node.log_end();
    let dated = last.lines().rev().filter_map(|line| line.split_whitespace().next()).find(|word| word.ends_with('Z'));
    let mut command = Command::new("date");
    command.args(["--date", dated.with_context(|| format!("no line with a date in {last:?}"))?, "+%s"]);
    Ok(must(command, "")?.trim().parse()?)
}
