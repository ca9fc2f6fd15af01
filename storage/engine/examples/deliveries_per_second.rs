//! How fast the engine applies deliveries, by itself: no Raft, no disk, no content work.
//!
//! ```sh
//! CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo run -p securanet-engine --example deliveries_per_second
//! ```
//!
//! One message of 4 KiB (a recipe that does not compress, a summary of 600 octets) goes to accounts in turn, in
//! entries of 1, 16 and 128 requests, on the memory adapter. Applying and writing the batch are timed apart: the
//! first is what every replica computes, the second stands in for the disk's memtable.

use std::time::{Duration, Instant};

use securanet_engine::{Space, apply};
use securanet_kv::{Durability, KeyValue, memory::MemoryStore, port::Change};
use securanet_model::{
    AccountId, Command, DomainId, Epoch, Execute, GroupId, KeyedHash, RequestId, TenantId, UnixMillis,
    account::{AccountCommand, AccountRef},
    content::{NewMessage, Sealed},
    delivery::{Deliver, DeliverTo, QuotaRule},
    directory::Quota,
    request::Proposal,
};

const ACCOUNTS: u64 = 1000;
const DELIVERIES: u64 = 50_000;
const SPACE: Space = Space { group: GroupId::new(1), generation: 0 };
const STAMP: UnixMillis = UnixMillis::new(1_700_000_000_000);

/// What one run cost.
#[derive(Default)]
struct Cost {
    apply: Duration,
    write: Duration,
    rows: u64,
    octets: u64,
}

fn main() {
    println!("{DELIVERIES} deliveries of 4 KiB to {ACCOUNTS} accounts, memory adapter");
    println!(
        "{:>8} {:>12} {:>12} {:>12} {:>8} {:>8}",
        "requests", "applies/s", "us/apply", "us/write", "rows", "octets"
    );
    for requests_per_entry in [1, 16, 128] {
        let cost = run(requests_per_entry);
        let each = |total: Duration| total.as_secs_f64() * 1e6 / DELIVERIES as f64;
        println!(
            "{:>8} {:>12.0} {:>12.1} {:>12.1} {:>8.1} {:>8}",
            requests_per_entry,
            1e6 / each(cost.apply),
            each(cost.apply),
            each(cost.write),
            cost.rows as f64 / DELIVERIES as f64,
            cost.octets / DELIVERIES,
        );
    }
}

fn run(requests_per_entry: u64) -> Cost {
    let store = MemoryStore::new();
    let mut cost = Cost::default();
    let provisions: Vec<Command> = (1..=ACCOUNTS).map(provision).collect();
    enter(&store, &mut cost, provisions.into_iter().zip(1_u64 << 40..).map(request).collect());
    cost = Cost::default();
    let mut next = 0_u64;
    while next < DELIVERIES {
        let until = (next + requests_per_entry).min(DELIVERIES);
        let requests = (next..until).map(|n| request((deliver(n), n))).collect();
        enter(&store, &mut cost, requests);
        next = until;
    }
    cost
}

fn enter(store: &MemoryStore, cost: &mut Cost, requests: Vec<Execute>) {
    let proposal = Proposal { stamp: STAMP, requests };
    let begun = Instant::now();
    let applied = match apply(store, SPACE, &proposal) {
        Ok(applied) => applied,
        Err(error) => panic!("{error}"),
    };
    cost.apply += begun.elapsed();
    cost.octets += applied.batch.size_bytes() as u64;
    cost.rows += applied.batch.changes().iter().filter(|change| matches!(change, Change::Put(..))).count() as u64;
    let begun = Instant::now();
    if let Err(error) = store.write(applied.batch, Durability::Volatile) {
        panic!("{error}");
    }
    cost.write += begun.elapsed();
    // As a disk would now and then: what is flushed needs no undoing.
    if let Err(error) = store.flush() {
        panic!("{error}");
    }
}

fn request((command, n): (Command, u64)) -> Execute {
    Execute {
        group: SPACE.group,
        request: RequestId::new(u128::from(n).to_be_bytes()),
        deadline: STAMP.plus_millis(60_000),
        commands: vec![command],
    }
}

fn account(n: u64) -> AccountRef {
    AccountRef { id: AccountId::new(n), epoch: Epoch::new(0) }
}

fn provision(n: u64) -> Command {
    let (tenant, domain) = (TenantId::new(1), DomainId::new(1));
    Command::Account(account(n), AccountCommand::Provision { tenant, domain, quota: Quota::default() })
}

fn deliver(n: u64) -> Command {
    let hash = KeyedHash(u128::from(n).to_be_bytes());
    let message = NewMessage {
        size_bytes: 4096,
        recipe: Sealed::plain(1, vec![b'x'; 4096]),
        blobs: Vec::new(),
        summary: Sealed::plain(1, vec![b'y'; 600]),
        thread_keys: vec![hash],
        internal_date: None,
    };
    let to = DeliverTo {
        account: account(n * 7919 % ACCOUNTS + 1),
        folder: None,
        prefix: Sealed::plain(1, vec![b'z'; 120]),
        prefix_size_bytes: 120,
        repeat_key: Some(hash),
    };
    Command::Deliver(Deliver { key: None, message, to: vec![to], quota: QuotaRule::Enforced })
}
