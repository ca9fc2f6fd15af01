//! What must be true when everything runs again: nothing acknowledged is missing, nothing is there twice, every copy of a
//! mailbox agrees with every other one, and the stores find nothing wrong in what they keep.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use super::{
    chains::Lengths,
    ledger::Fate,
    load::World,
    mailbox::{Account, MAILBOXES},
    node::Node,
    person::Copies,
    resync::{Cache, Trouble},
};
use crate::dialogue::Dialogue;

/// For what may still be on its way after everything runs again: fan-out, leases of dead gateways, hold times of seconds.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// A server that says "not now" is asked again for so long.
const AGAIN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(300);
/// More than any run queues.
const QUEUE_LIMIT: &str = "1000000";

/// What a run came to.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Acknowledged, refused and unknown mail to accounts.
    pub sent: (usize, usize, usize),
    /// The same of mail to the sink.
    pub submitted: (usize, usize, usize),
    /// The same of appended messages.
    pub appended: (usize, usize, usize),
    /// Messages of which something is in doubt, because an answer was lost.
    pub doubtful: usize,
    /// Acknowledged mail to the sink that still waits in the queue for what became of an attempt.
    pub waiting: usize,
    /// Messages that the sink got more than once, each counted as uncertain.
    pub uncertain: usize,
    /// Histories that are linearizable.
    pub chains: Lengths,
}

/// Checks everything; `copies` are what people knew at the end of the load, `patience` is for what is still on its way.
///
/// # Errors
/// With the promise that is broken.
pub fn check(world: &World<'_>, copies: Vec<Copies>, patience: Duration) -> anyhow::Result<Outcome> {
    let broken = world.broken();
    ensure!(broken.is_empty(), "promises were broken during the run:\n{}", broken.join("\n"));
    let begun = Instant::now();
    let say = |what: &str| println!("{:8.2} s of checks: {what}", begun.elapsed().as_secs_f64());
    let mut all = arrivals(world, patience)?;
    say("all that was acknowledged is there");
    for account in &world.accounts {
        mailboxes(world, account, &mut all)?;
    }
    say("all gateways show the same, as people were told");
    for one in copies {
        resynchronised(world, one, &all)?;
    }
    say("everybody who comes back sees the same");
    let chains = world.chains.check(world)?;
    say("all histories are linearizable");
    let (waiting, uncertain) = outbound(world, patience)?;
    say("what left was counted");
    for store in world.sites.stores() {
        let scrub = store.cli(&["scrub"], "")?;
        ensure!(scrub.contains(" 0 findings"), "{}: {scrub}", store.name);
    }
    Ok(Outcome {
        sent: world.sent.counts(),
        submitted: world.submitted.counts(),
        appended: world.appended.counts(),
        doubtful: world.accounts.iter().map(Account::doubtful).sum(),
        waiting,
        uncertain,
        chains,
    })
}

/// What new clients see, by account and mailbox.
type Fresh = BTreeMap<(String, &'static str), Cache>;

fn whole<T>(result: Result<T, Trouble>) -> anyhow::Result<T> {
    result.map_err(|trouble| match trouble {
        Trouble::Gone(error) => error,
        Trouble::Broken(why) => anyhow::anyhow!(why),
    })
}

fn session(node: &Node, local: &str) -> anyhow::Result<Dialogue> {
    let to = node.address("imap").with_context(|| format!("{} does not listen", node.name))?;
    let mut imap = Dialogue::imap(to, local).with_context(|| node.name.clone())?;
    imap.imap_ok("ENABLE QRESYNC")?;
    Ok(imap)
}

/// Opens a mailbox in a session of its own; a temporary failure is no failure, if it ends.
fn open(node: &Node, local: &str, cache: &mut Cache) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let opened = session(node, local).map_err(Trouble::Gone);
        match opened.and_then(|mut imap| cache.open(&mut imap, "EXAMINE")) {
            Err(Trouble::Gone(_)) if start.elapsed() < AGAIN => sleep(PAUSE),
            done => return whole(done).with_context(|| format!("{local} at {}", node.name)),
        }
    }
}

/// A mailbox as a new client sees it at this node.
fn fresh(node: &Node, local: &str, mailbox: &'static str) -> anyhow::Result<Cache> {
    let mut cache = Cache::new(mailbox);
    open(node, local, &mut cache)?;
    Ok(cache)
}

/// Waits until what was acknowledged has come out of the queues.
fn arrivals(world: &World<'_>, patience: Duration) -> anyhow::Result<Fresh> {
    let mut all = Fresh::new();
    let node = world.sites.gateways().next().context("a gateway")?;
    let start = Instant::now();
    loop {
        let mut missing = Vec::new();
        for account in &world.accounts {
            let mut there = BTreeSet::new();
            for mailbox in MAILBOXES {
                let cache = all.entry((account.local.clone(), mailbox)).or_insert_with(|| Cache::new(mailbox));
                open(node, &account.local, cache)?;
                there.extend(whole(cache.view())?.into_keys());
            }
            let mails = world.sent.mails();
            let acknowledged = mails.iter().filter(|(_, mail)| mail.fate == Fate::Acknowledged);
            let ours = acknowledged.filter(|(_, mail)| mail.to.contains(&account.local));
            let gone = ours.filter(|(id, _)| !there.contains(*id) && !account.may_be_nowhere(id));
            missing.extend(gone.map(|(id, mail)| format!("{id} of {} (taken by {})", account.local, mail.by)));
        }
        if missing.is_empty() {
            return Ok(all);
        }
        ensure!(start.elapsed() < patience, "P1: acknowledged and lost: {}", missing.join(", "));
        sleep(PAUSE);
    }
}

/// All gateways show the same, and it is what the account's person and its senders were told.
fn mailboxes(world: &World<'_>, account: &Account, all: &mut Fresh) -> anyhow::Result<()> {
    let (before, kept) = (account.snapshot(), world.sent.kept_by(&account.local));
    let mut everywhere = BTreeMap::<String, &str>::new();
    for mailbox in MAILBOXES {
        let mut first = None::<Cache>;
        for node in world.sites.gateways() {
            let floor = account.floor(mailbox);
            let cache = fresh(node, &account.local, mailbox)?;
            whole(account.opened(mailbox, floor, &cache))?;
            whole(account.compare(mailbox, &before, &kept, &whole(cache.view())?))?;
            match &first {
                Some(first) => whole(first.must_equal(&cache, &format!("{} sees something else", node.name)))?,
                None => first = Some(cache),
            }
        }
        let first = first.context("a gateway")?;
        let ids = whole(first.view())?;
        all.insert((account.local.clone(), mailbox), first);
        for id in ids.into_keys() {
            ensure!(world.sent.knows(&id) || world.appended.knows(&id), "{id} of {} was never sent", account.local);
            if let Some(other) = everywhere.insert(id.clone(), mailbox) {
                bail!("P2: {id} of {} is in {other} and in {mailbox}", account.local);
            }
        }
    }
    Ok(())
}

/// Somebody who was away ends with what a new client has (RFC 7162 3.2.5).
fn resynchronised(world: &World<'_>, copies: Copies, all: &Fresh) -> anyhow::Result<()> {
    for (mailbox, mut cache) in copies.caches {
        for node in world.sites.gateways() {
            let what = format!("{mailbox} of {} resynchronised at {}", copies.local, node.name);
            open(node, &copies.local, &mut cache).with_context(|| what.clone())?;
            whole(cache.must_equal(&all[&(copies.local.clone(), mailbox)], &what))?;
        }
    }
    Ok(())
}

/// What left: the sink has everything that was acknowledged, or the queue still has it, and nothing twice that is not counted
/// as uncertain.
fn outbound(world: &World<'_>, patience: Duration) -> anyhow::Result<(usize, usize)> {
    let start = Instant::now();
    let store = world.sites.stores().next().context("a store")?;
    loop {
        let mut taken = BTreeMap::<String, u32>::new();
        for message in world.sink.taken() {
            *taken.entry(header(&message.text)?).or_default() += 1;
        }
        let queue: Vec<Value> =
            serde_json::from_str(&store.cli(&["queue", "list", "--json", "--limit", QUEUE_LIMIT], "")?)?;
        let queued: BTreeMap<&str, &Value> = queue.iter().map(|item| (bare(&item["message_id"]), item)).collect();
        let mails = world.submitted.mails();
        let mut missing: Vec<&String> = Vec::new();
        let mut open = 0;
        for (id, mail) in &mails {
            if taken.contains_key(id) || mail.fate != Fate::Acknowledged {
                continue;
            }
            match queued.get(id.as_str()) {
                Some(item) if is_uncertain(item) => open += 1,
                _ => missing.push(id),
            }
        }
        if missing.is_empty() {
            let stranger = taken.keys().find(|id| !mails.contains_key(*id));
            ensure!(stranger.is_none(), "{stranger:?} left and was never submitted");
            return Ok((open, uncertain(store, &taken)?));
        }
        if start.elapsed() > patience {
            let first = queued.get(missing[0].as_str());
            bail!("P2: {} of acknowledged mail did not leave: {missing:?}; the first: {first:?}", missing.len());
        }
        sleep(PAUSE);
    }
}

/// Whether an attempt is open of which nobody knows yet what became of it.
fn is_uncertain(item: &Value) -> bool {
    let recipients = item["recipients"].as_array().into_iter().flatten();
    recipients.into_iter().any(|one| one["state"] == "sending" || one["uncertain"].as_u64() > Some(0))
}

/// How many came more than once; each must be counted as that.
fn uncertain(store: &Node, taken: &BTreeMap<String, u32>) -> anyhow::Result<usize> {
    let repeated: Vec<_> = taken.iter().filter(|(_, count)| **count > 1).collect();
    for (id, count) in &repeated {
        let items: Vec<Value> = serde_json::from_str(&store.cli(&["trace", id, "--json"], "")?)?;
        let recipients = items.iter().flat_map(|item| item["recipients"].as_array().into_iter().flatten());
        let counted: u64 = recipients.filter_map(|one| one["uncertain"].as_u64()).sum();
        ensure!(u64::from(**count) <= 1 + counted, "P2: {id} left {count} times, {counted} counted as uncertain");
    }
    Ok(repeated.len())
}

fn bare(id: &Value) -> &str {
    id.as_str().unwrap_or_default().trim_matches(['<', '>'])
}

fn header(text: &str) -> anyhow::Result<String> {
    let id = text.lines().find_map(|line| line.strip_prefix("Message-ID: <")?.strip_suffix('>'));
    id.map(str::to_owned).with_context(|| format!("no Message-ID in {text:?}"))
}
