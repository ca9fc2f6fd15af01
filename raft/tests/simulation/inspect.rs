//! What a gateway sees at the end, compared with the ledger; and what the disks hold, compared with each other.

use std::{collections::BTreeMap, time::Duration};

use securanet_kv::{Direction, KeyRange, Read};
use securanet_model::{
    Answer, Freshness, GroupId, MailboxName, Query,
    account::{AccountAnswer, AccountQuery, UidSet},
    delivery::{QueueAnswer, QueueQuery},
    outbound::{Filter, ItemView, OutboundAnswer, OutboundQuery, State},
};
use securanet_raft::Groups;
use tokio::time::timeout;

use crate::{
    gateway::value_of,
    support::{Disks, account},
    world::{ACCOUNTS, SHARDS, World},
};

async fn ask(groups: &Groups, group: u32, query: Query) -> Result<Answer, String> {
    let asked = timeout(Duration::from_secs(2), groups.query(GroupId::new(group), query, Freshness::Now)).await;
    let (answer, _) = asked.map_err(|_| "no answer".to_owned())?.map_err(|error| error.to_string())?;
    Ok(answer)
}

/// Everything that was wanted is done, or what is not; whatever contradicts the ledger is a broken promise.
pub(crate) async fn inspect(world: &World, groups: &Groups) -> Result<(), String> {
    for group in 1..=SHARDS {
        match ask(groups, group, Query::Queue(QueueQuery::Depth)).await? {
            Answer::Queue(QueueAnswer::Depth { pending: 0, held: 0, .. }) => {}
            other => return Err(format!("the queue of group {group} is not empty: {other:?}")),
        }
        let filter = Filter { ended: true, ..Filter::default() };
        let items = OutboundQuery::Items { filter, before: None, rows_max: 1000 };
        let Answer::Outbound(OutboundAnswer::Items(items, _)) = ask(groups, group, Query::Outbound(items)).await?
        else {
            return Err("no items".to_owned());
        };
        for item in &items {
            if item.recipients[0].state != State::Delivered {
                return Err(format!("{} waits: {:?}", item.trace_id, item.recipients[0].state));
            }
        }
        let Answer::Outbound(OutboundAnswer::Depth(depth)) =
            ask(groups, group, Query::Outbound(OutboundQuery::Depth)).await?
        else {
            return Err("no depth".to_owned());
        };
        check_sent(world, group, &items, depth.uncertain);
    }
    for (id, group) in ACCOUNTS {
        let by_name = Query::Account(account(id), AccountQuery::MailboxByName(MailboxName::inbox()));
        let Answer::Account(AccountAnswer::Mailbox(Some(mailbox))) = ask(groups, group, by_name).await? else {
            return Err(format!("account {id} has no INBOX"));
        };
        let messages =
            AccountQuery::Messages { mailbox: mailbox.id, uids: UidSet::all(), with_summary: false, rows_max: 1000 };
        let messages = ask(groups, group, Query::Account(account(id), messages)).await?;
        let Answer::Account(AccountAnswer::Messages(messages)) = messages else {
            return Err(format!("account {id} lists no messages"));
        };
        let rows: Vec<(u64, u32)> =
            messages.iter().map(|message| (message.internal_date.get(), message.state.uid.get())).collect();
        check_mailbox(world, id, &rows);
        if let Some(first) = messages.first() {
            let mut ledger = world.ledger.lock().unwrap();
            ledger.held(id, first.state.modseq.get(), value_of(&first.state.flags));
            let last = ledger.written.get(&id).and_then(|written| written.iter().map(|one| one.modseq).max());
            if last.is_some_and(|last| last > first.state.modseq.get()) {
                ledger.break_promise(format!("account {id}: the register forgot {last:?}: {:?}", first.state));
            }
        }
    }
    Ok(())
}

/// No acknowledged message is missing, none is there twice, UIDs are what the senders were told.
fn check_mailbox(world: &World, id: u64, rows: &[(u64, u32)]) {
    let mut ledger = world.ledger.lock().unwrap();
    let mut found: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    rows.iter().for_each(|(number, uid)| found.entry(*number).or_default().push(*uid));
    let mut broken = Vec::new();
    if rows.windows(2).any(|two| two[0].1 >= two[1].1) {
        broken.push(format!("the UIDs of account {id} do not ascend: {rows:?}"));
    }
    for (number, uids) in found.iter().filter(|(_, uids)| uids.len() > 1) {
        broken.push(format!("message {number} is in mailbox {id} with the UIDs {uids:?}"));
    }
    for ((_, number), told) in ledger.deposits.iter().filter(|((account, _), _)| *account == id) {
        match (found.get(number), told.uid) {
            (None, _) if told.acknowledged => broken.push(format!("message {number} is lost from mailbox {id}")),
            (Some(uids), Some(uid)) if uids[0] != uid => {
                broken.push(format!("message {number} of mailbox {id} has UID {} after {uid}", uids[0]));
            }
            _ => {}
        }
    }
    for number in ledger.fan_outs.keys().filter(|number| !found.contains_key(number)) {
        broken.push(format!("message {number}, queued for all, is not in mailbox {id}"));
    }
    broken.into_iter().for_each(|broken| ledger.break_promise(broken));
}

/// Each accepted letter went out; again only where that was counted as uncertain: on the letter, and in the group if an
/// outcome that came after the repeat had begun took the mark from the letter.
fn check_sent(world: &World, group: u32, items: &[ItemView], repeats: u64) {
    let mut ledger = world.ledger.lock().unwrap();
    let (mut broken, mut again) = (Vec::new(), 0);
    let mut items_by_number: BTreeMap<u64, &ItemView> = BTreeMap::new();
    for item in items {
        let number = item.trace_id[1..].parse().unwrap_or_default();
        if items_by_number.insert(number, item).is_some() {
            broken.push(format!("letter {number} is in queue {group} twice"));
        }
    }
    for (_, number) in ledger.sends.keys().filter(|(of, _)| *of == group) {
        let Some(item) = items_by_number.get(number) else {
            broken.push(format!("letter {number} is lost from queue {group}"));
            continue;
        };
        let none = Vec::new();
        let dots = ledger.dots.get(&(group, *number)).unwrap_or(&none);
        let arrived = dots.iter().filter(|dot| dot.accepted).count();
        let uncertain = item.recipients[0].uncertain;
        again += arrived.saturating_sub(1) as u64;
        if arrived == 0 || again > repeats {
            broken.push(format!(
                "letter {number} of queue {group} arrived {arrived} times, {uncertain} uncertain, {repeats} repeats \
                 counted in all: {dots:?}"
            ));
        }
        let mut attempts: Vec<u32> = dots.iter().map(|dot| dot.attempt).collect();
        attempts.dedup();
        if attempts.len() != dots.len() {
            broken.push(format!("letter {number} of queue {group}: an attempt passed its dot twice: {dots:?}"));
        }
    }
    let uncertain: u64 = items.iter().map(|item| u64::from(item.recipients[0].uncertain)).sum();
    broken.into_iter().for_each(|broken| ledger.break_promise(broken));
    drop(ledger);
    world.trace.count("uncertain repeat", uncertain);
}

/// All truth rows of a node's state, generation stripped.
pub(crate) fn truth(disks: &Disks) -> Vec<(Vec<u8>, Vec<u8>)> {
    let rows = disks.state.scan(&KeyRange { start: Vec::new(), end: None }, Direction::Forward, usize::MAX).unwrap();
    let rows = rows.into_iter().filter(|(key, _)| key[4..8] != [0xff; 4]);
    rows.map(|(key, value)| ([&key[..4], &key[8..]].concat(), value)).collect()
}

/// A hash of a group's truth; none while a snapshot is taken in beside it.
pub(crate) fn state_hash(disks: &Disks, group: u32) -> Option<blake3::Hash> {
    let range = KeyRange { start: group.to_be_bytes().to_vec(), end: Some((group + 1).to_be_bytes().to_vec()) };
    let rows = disks.state.scan(&range, Direction::Forward, usize::MAX).unwrap();
    let mut hasher = blake3::Hasher::new();
    let mut generation = None;
    for (key, value) in rows.iter().filter(|(key, _)| key[4..8] != [0xff; 4]) {
        if *generation.get_or_insert(&key[4..8]) != &key[4..8] {
            return None;
        }
        hasher.update(&(key.len() as u64).to_be_bytes()).update(&key[8..]);
        hasher.update(&(value.len() as u64).to_be_bytes()).update(value);
    }
    Some(hasher.finalize())
}
