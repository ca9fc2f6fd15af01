//! Two values that somebody at each gateway reads and writes while faults happen, each write naming its predecessor, so that
//! their histories can be checked for linearizability: aliases in the directory, and the flags of one message.
//!
//! - The directory: the last of the aliases `chain-1`, `chain-2`, ... is the value. Whoever has seen `chain-N` as the last one
//!   adds `chain-N+1` to his account, which only one can do: the alias exists, or it does not.
//! - A mailbox: the value is a number, in keywords as its binary digits. Whoever has read it writes a new one with UNCHANGEDSINCE
//!   the MODSEQ that he read (RFC 7162 3.1.3).
//!
//! A read of the mailbox opens it anew: a session shows what it has heard of, an opened mailbox what there is.

use std::{
    collections::BTreeSet,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};

use super::{
    history::{History, Length, ROOT, Told, Version},
    http::Api,
    load::World,
    node::Node,
};
use crate::{
    dialogue::Dialogue,
    imap::Row,
    random::Random,
    server::{DOMAIN, address},
};

/// For an answer.
const PATIENCE: Duration = Duration::from_secs(12);
/// When there is nobody to talk to.
const PAUSE: Duration = Duration::from_millis(200);
/// Between two writes of one writer, at most.
const BETWEEN_MILLIS: usize = 700;
/// The mailbox with the one message.
const MAILBOX: &str = "Chain";
/// Digits of a number in keywords.
const DIGITS: u32 = 20;
/// An alias's version: its number, and in these low bits whose it is.
const OWNER_BITS: u32 = 8;
/// At the end a server that says "not now" is asked again for so long.
const AGAIN: Duration = Duration::from_secs(60);

/// Both histories.
#[derive(Default)]
pub struct Chains {
    aliases: History,
    flags: History,
    numbers: AtomicU64,
    /// The UID of the message.
    uid: OnceLock<u32>,
}

/// What the histories came to.
#[derive(Clone, Copy, Debug)]
pub struct Lengths {
    /// Of the directory.
    pub aliases: Length,
    /// Of the mailbox.
    pub flags: Length,
}

impl Chains {
    /// Makes the message; while nothing is broken yet.
    pub(super) fn prepare(&self, world: &World<'_>) -> anyhow::Result<()> {
        if self.uid.get().is_some() {
            return Ok(());
        }
        let node = world.sites.gateways().next().context("a gateway")?;
        let mut imap = session(node, world)?;
        imap.imap_ok(&format!("CREATE {MAILBOX}"))?;
        let appended = imap.append(MAILBOX, b"Subject: chain\r\n\r\nchain\r\n")?;
        ensure!(appended.starts_with("OK"), "{appended}");
        let (row, _) = look(&mut imap)?;
        self.uid.set(row.uid.context("it has a UID")?).ok();
        Ok(())
    }

    /// Adds aliases at this gateway until the load ends. `owner` is the account's place.
    pub(super) fn write_aliases(&self, world: &World<'_>, node: &Node, owner: usize, mut random: Random) {
        while !world.is_over() {
            if self.write_alias(world, node, owner).is_err() {
                sleep(PAUSE);
            }
            sleep(Duration::from_millis(random.below(2 * BETWEEN_MILLIS) as u64));
        }
    }

    fn write_alias(&self, world: &World<'_>, node: &Node, owner: usize) -> anyhow::Result<()> {
        let api = Api::of(node, PATIENCE)?;
        let begun = Instant::now();
        let before = last_alias(&api, world)?;
        self.aliases.read(before, begun, &node.name);
        let number = (before >> OWNER_BITS) + 1;
        let version = (number << OWNER_BITS) + owner as u64 + 1;
        let new = json!({ "address": alias(number), "target": address(&world.accounts[owner].local) });
        let begun = Instant::now();
        let asked = api.ask("POST", "/v1/aliases", Some(&new));
        let told = match &asked {
            Ok((201, _)) => Told::Done,
            Ok((409, _)) => Told::Refused,
            Ok((503 | 504 | 507, _)) | Err(_) => Told::Nothing,
            Ok((status, body)) => {
                world.report(format!("{} answered an alias with {status}: {body}", node.name));
                Told::Nothing
            }
        };
        self.aliases.wrote(version, before, begun, told, &node.name);
        asked.map(drop)
    }

    /// Writes the message's flags at this gateway until the load ends.
    pub(super) fn write_flags(&self, world: &World<'_>, node: &Node, mut random: Random) {
        while !world.is_over() {
            let written = session(node, world).and_then(|mut imap| {
                for _ in 0..=random.below(10) {
                    if world.is_over() {
                        break;
                    }
                    self.write_number(&mut imap, node)?;
                    sleep(Duration::from_millis(random.below(BETWEEN_MILLIS) as u64));
                }
                Ok(())
            });
            if let Err(error) = written {
                let why = format!("{error:#}");
                if why.contains("\"BAD") {
                    world.report(format!("{} does not understand a command: {why}", node.name));
                    return;
                }
                sleep(PAUSE);
            }
        }
    }

    fn write_number(&self, imap: &mut Dialogue, node: &Node) -> anyhow::Result<()> {
        let begun = Instant::now();
        let (row, before) = look(imap)?;
        self.flags.read(before, begun, &node.name);
        let (uid, modseq) = (row.uid.context("UID")?, row.modseq.context("MODSEQ")?);
        let version = self.numbers.fetch_add(1, Ordering::SeqCst) + 1;
        let begun = Instant::now();
        let said = imap.imap_say(&format!("UID STORE {uid} (UNCHANGEDSINCE {modseq}) FLAGS ({})", keywords(version)));
        let told = match &said {
            Ok((_, tagged)) if tagged.contains("[MODIFIED") => Told::Refused,
            Ok((_, tagged)) if tagged.starts_with("OK") => Told::Done,
            _ => Told::Nothing,
        };
        self.flags.wrote(version, before, begun, told, &node.name);
        let (_, tagged) = said?;
        ensure!(tagged.starts_with("OK"), "STORE: {tagged:?}");
        Ok(())
    }

    /// Checks both, when everything runs again: all gateways show the same last version, and it ends a chain that explains
    /// what everybody was told.
    ///
    /// # Errors
    /// With what is not linearizable.
    pub(super) fn check(&self, world: &World<'_>) -> anyhow::Result<Lengths> {
        let mut last = BTreeSet::new();
        for node in world.sites.gateways() {
            last.insert((
                again(|| last_alias(&Api::of(node, PATIENCE)?, world))?,
                again(|| Ok(look(&mut session(node, world)?)?.1))?,
            ));
        }
        ensure!(last.len() == 1, "gateways show different versions in the end: {last:?}");
        let (alias, number) = last.into_iter().next().context("a gateway")?;
        let broken = |what: &str, why: String| anyhow::anyhow!("the {what} is not linearizable: {why}");
        Ok(Lengths {
            aliases: self.aliases.check(alias).map_err(|why| broken("directory", why))?,
            flags: self.flags.check(number).map_err(|why| broken("mailbox", why))?,
        })
    }
}

fn again<T>(mut ask: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        match ask() {
            Err(_) if start.elapsed() < AGAIN => sleep(PAUSE),
            done => return done,
        }
    }
}

fn alias(number: u64) -> String {
    format!("chain-{number:08}@{DOMAIN}")
}

/// The version of the last alias.
fn last_alias(api: &Api, world: &World<'_>) -> anyhow::Result<Version> {
    let (status, body) = api.ask("GET", "/v1/aliases", None)?;
    ensure!(status == 200, "{status}: {body}");
    let rows: Vec<Value> = serde_json::from_str(&body)?;
    let mut last = ROOT;
    for row in &rows {
        let text = |name: &str| row[name].as_str().unwrap_or_default();
        let number: u64 = match text("address").strip_prefix("chain-").and_then(|rest| rest.split('@').next()) {
            Some(digits) => digits.parse()?,
            None => continue,
        };
        let owner = world.accounts.iter().position(|account| text("target") == address(&account.local));
        let Some(owner) = owner else { bail!("an alias of nobody: {row}") };
        last = last.max((number << OWNER_BITS) + owner as u64 + 1);
    }
    Ok(last)
}

fn session(node: &Node, world: &World<'_>) -> anyhow::Result<Dialogue> {
    let to = node.address("imap").with_context(|| format!("{} does not listen", node.name))?;
    Dialogue::imap_within(to, &world.accounts[0].local, PATIENCE)
}

/// Opens the mailbox: the message, and the number in its keywords.
fn look(imap: &mut Dialogue) -> anyhow::Result<(Row, Version)> {
    imap.imap_ok(&format!("SELECT {MAILBOX} (CONDSTORE)"))?;
    let lines = imap.imap_ok("UID FETCH 1:* (UID FLAGS MODSEQ)")?;
    let row = lines.iter().find_map(|line| Row::parse(line)).with_context(|| format!("no message: {lines:?}"))?;
    let flags = row.flags.clone().context("FLAGS")?;
    let digit = |digit: &u32| flags.iter().any(|flag| flag.eq_ignore_ascii_case(&keyword(*digit)));
    let version = (0..DIGITS).filter(digit).map(|digit| 1 << digit).sum();
    Ok((row, version))
}

fn keyword(digit: u32) -> String {
    format!("$bit{digit}")
}

fn keywords(version: Version) -> String {
    let ones = (0..DIGITS).filter(|digit| version >> digit & 1 == 1);
    ones.map(keyword).collect::<Vec<_>>().join(" ")
}
