//! Power cuts at random instants, many of them: what was acknowledged is there, in order, exactly once.
//!
//! The stores are memory adapters that forget what was not durable; log and state are cut at the same instant.
//! The state's store also flushes when nobody asked it to, as RocksDB does when a buffer is full, so that states
//! of any age are replayed. `SECURANET_CRASH_SEEDS` sets how many seeds are run.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic here is the failure")]

mod support;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use securanet_kv::{Direction, KeyRange, Read};
use securanet_model::{Execute, StoreError};
use securanet_raft::Groups;
use support::*;

const CLIENTS: u64 = 5;
const SHARDS: u32 = 2;
const CRASHES: u64 = 4;

/// What clients know.
#[derive(Default)]
struct Ledger {
    /// Numbers acknowledged, by client, in order.
    acknowledged: BTreeMap<u64, Vec<u64>>,
    /// The request of a client that got no answer.
    unanswered: BTreeMap<u64, (u64, Execute)>,
    next: u64,
}

fn group_of(client: u64) -> u32 {
    1 + (client % u64::from(SHARDS)) as u32
}

/// Sends one request after another until the power is gone; a request without an answer comes first next time.
async fn client(groups: Groups, disks: Arc<Disks>, ledger: Arc<Mutex<Ledger>>, client: u64) {
    loop {
        let (number, request) = {
            let mut ledger = ledger.lock().unwrap();
            match ledger.unanswered.get(&client) {
                Some(unanswered) => unanswered.clone(),
                None => {
                    ledger.next += 1;
                    let number = ledger.next;
                    let request = execute(group_of(client), number, vec![deliver(client, number, &[])]);
                    ledger.unanswered.insert(client, (number, request.clone()));
                    (number, request)
                }
            }
        };
        let answered = match run(&groups, request).await {
            Ok(replies) => {
                assert_eq!(replies.len(), 1);
                disks.before_crash(|| {
                    let mut ledger = ledger.lock().unwrap();
                    ledger.acknowledged.entry(client).or_default().push(number);
                    ledger.unanswered.remove(&client);
                })
            }
            Err(StoreError::Unavailable(_)) => disks.before_crash(|| {}),
            Err(other) => panic!("{other}"),
        };
        if !answered {
            return;
        }
    }
}

/// Lets clients run for a while, cuts the power, and gives what is left.
async fn run_until_crash(disks: Arc<Disks>, ledger: &Arc<Mutex<Ledger>>, random: &mut Random) -> Disks {
    let mut settings = settings(SHARDS);
    settings.batch.proposals_in_flight = 1 + random.below(3) as usize;
    settings.log_cache_bytes_max = [0, 2000, 1 << 20][random.below(3) as usize];
    let groups = open(settings, &disks).await;
    check(&groups, ledger).await;
    let clients = (0..CLIENTS).map(|id| tokio::spawn(client(groups.clone(), disks.clone(), ledger.clone(), id)));
    let clients: Vec<_> = clients.collect();
    for _ in 0..random.below(4) {
        tokio::time::sleep(Duration::from_micros(random.below(4000))).await;
        groups.flush().await.unwrap();
    }
    tokio::time::sleep(Duration::from_micros(random.below(8000))).await;
    let left = disks.crashed([0, 3, 20][random.below(3) as usize], random.next());
    drop(groups);
    for client in clients {
        client.await.unwrap();
    }
    left
}

async fn check(groups: &Groups, ledger: &Arc<Mutex<Ledger>>) {
    for client in 0..CLIENTS {
        let found = inbox_numbers(groups, group_of(client), client).await;
        let ledger = ledger.lock().unwrap();
        let mut expected = ledger.acknowledged.get(&client).cloned().unwrap_or_default();
        if found.len() > expected.len() {
            // Applied, but the answer never came; it is the last one, once.
            expected.extend(ledger.unanswered.get(&client).map(|(number, _)| *number));
        }
        assert_eq!(found, expected, "client {client}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_power_cuts_exactly_once_and_in_order() {
    let seeds = std::env::var("SECURANET_CRASH_SEEDS").map_or(40, |seeds| seeds.parse().unwrap());
    let mut acknowledged = 0;
    for seed in 1..=seeds {
        let mut random = Random::new(seed);
        let ledger = Arc::<Mutex<Ledger>>::default();
        let mut disks = Disks::new();
        let groups = open(settings(SHARDS), &disks).await;
        for client in 0..CLIENTS {
            run(&groups, execute(group_of(client), 1_000_000 + client, vec![provision(client)])).await.unwrap();
        }
        disks = {
            let left = disks.crashed(0, seed);
            drop(groups);
            left
        };
        for _ in 0..CRASHES {
            disks = run_until_crash(Arc::new(disks), &ledger, &mut random).await;
        }
        let groups = open(settings(SHARDS), &disks).await;
        check(&groups, &ledger).await;
        acknowledged += ledger.lock().unwrap().acknowledged.values().map(Vec::len).sum::<usize>();
    }
    assert!(acknowledged > seeds as usize * 20, "only {acknowledged} requests got through: this tests nothing");
}

/// All truth rows of a node's state, but for the replica's own.
fn truth(disks: &Disks) -> Vec<(Vec<u8>, Vec<u8>)> {
    let rows = disks.state.scan(&KeyRange { start: Vec::new(), end: None }, Direction::Forward, usize::MAX).unwrap();
    rows.into_iter().filter(|(key, _)| key[4..8] != [0xff; 4]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replayed_state_is_byte_for_byte_the_one_that_was_lost() {
    let mut random = Random::new(7);
    for seed in 0..10 {
        let disks = Arc::new(Disks::new());
        let groups = open(settings(SHARDS), &disks).await;
        let ledger = Arc::<Mutex<Ledger>>::default();
        for id in 0..CLIENTS {
            run(&groups, execute(group_of(id), 1_000_000 + id, vec![provision(id)])).await.unwrap();
        }
        let clients: Vec<_> =
            (0..CLIENTS).map(|id| tokio::spawn(client(groups.clone(), disks.clone(), ledger.clone(), id))).collect();
        for _ in 0..random.below(3) {
            tokio::time::sleep(Duration::from_millis(random.below(5))).await;
            groups.flush().await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5 + random.below(5))).await;
        // The clients stop at the crash; what the node then still applies is in its state, and in its log.
        let _ = disks.crashed(0, seed);
        for client in clients {
            client.await.unwrap();
        }
        let applied = |groups: &Groups| groups.status().into_iter().map(|group| group.applied).collect::<Vec<_>>();
        let before = applied(&groups);
        let left = disks.crashed(0, seed);
        let groups = open(settings(SHARDS), &left).await;
        let after = applied(&groups);
        let one_more: Vec<_> = before.iter().map(|index| index.map(|index| index + 1)).collect();
        assert_eq!(after, one_more, "the new leaders' first entries, and nothing else, came on top");
        assert_eq!(truth(&left), truth(&disks), "seed {seed}");
    }
}
