//! How fast a node alone commits: requests a second, latency and CPU, over RocksDB with real engine commands.
//!
//! ```text
//! cargo run -p securanet-raft --example commit_rate -- command=deliver groups=8 seconds=5 clients=1,10,100
//! ```
//! Further: `in_flight=2` proposals of one group, `directory=/tmp/commit_rate` for the stores (removed afterwards).
//!
//! `subscribe` is about the smallest command there is, so it shows what replication itself costs; `deliver` puts
//! a message of 4 KiB (2 KiB compressed) into a mailbox. Each client sends its next request when it has the
//! answer to the last one, each to an account of its own; clients are spread over `groups` shards (default 8).
//! Every answer comes after the fsync that covers it. With 1, 10 and 100 clients one after another. CPU is that of
//! the whole process, clients included.
//!
//! Optimised: prefix with `CARGO_PROFILE_DEV_OPT_LEVEL=3`. Pin it to one core with `taskset -c 0` to see what one
//! core can do.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use securanet_model::{
    AccountId, Command, DomainId, Epoch, Execute, GroupId, KeyedHash, MailboxName, Reply, RequestId, TenantId,
    UnixMillis,
    account::{AccountCommand, AccountRef},
    content::{NewMessage, Sealed},
    delivery::{Deliver, DeliverTo, QuotaRule},
    directory::Quota,
};
use securanet_raft::{CACHE_BYTES, Groups, Settings, Stores};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone)]
struct Load {
    command: String,
    groups: u32,
    seconds: u64,
    clients: Vec<u64>,
    in_flight: Option<usize>,
    directory: PathBuf,
}

impl Load {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, AnyError> {
        let mut load = Self {
            command: "deliver".to_owned(),
            groups: 8,
            seconds: 5,
            clients: vec![1, 10, 100],
            in_flight: None,
            directory: std::env::temp_dir().join("commit_rate"),
        };
        for argument in arguments {
            match argument.split_once('=') {
                Some(("command", command)) => load.command = command.to_owned(),
                Some(("groups", groups)) => load.groups = groups.parse()?,
                Some(("seconds", seconds)) => load.seconds = seconds.parse()?,
                Some(("clients", clients)) => {
                    load.clients = clients.split(',').map(str::parse).collect::<Result<_, _>>()?
                }
                Some(("in_flight", in_flight)) => load.in_flight = Some(in_flight.parse()?),
                Some(("directory", directory)) => load.directory = directory.into(),
                _ => return Err(format!("{argument:?} is not known: see the head of this example").into()),
            }
        }
        Ok(load)
    }
}

fn main() -> Result<(), AnyError> {
    let load = Load::parse(std::env::args().skip(1))?;
    let directory = load.directory.clone();
    // A run of before would be replayed, and counted.
    drop(std::fs::remove_dir_all(&directory));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(run(load));
    drop(std::fs::remove_dir_all(&directory));
    outcome
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis::new(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

async fn run(load: Load) -> Result<(), AnyError> {
    let mut settings = Settings::alone("bench", load.groups, Arc::new(now));
    if let Some(in_flight) = load.in_flight {
        settings.batch.proposals_in_flight = in_flight;
    }
    let opening = Instant::now();
    let stores = Stores::open(&load.directory, CACHE_BYTES)?;
    let groups = Groups::open(settings, &stores).await?;
    groups.ready().await;
    println!("{} groups ready after {:.0?}", load.groups + 1, opening.elapsed());
    for client in 0..100 {
        let quota = Quota { bytes_max: None, messages_max: None };
        let provision = AccountCommand::Provision { tenant: TenantId::new(1), domain: DomainId::new(1), quota };
        send(&groups, &load, client, Command::Account(account(client), provision)).await?;
    }
    idle(&groups).await;
    println!("{} over {} groups, {} s each", load.command, load.groups, load.seconds);
    println!("clients   commits/s     p50 us     p99 us   CPU-s per 1,000   us CPU each");
    for &clients in &load.clients {
        measure(&groups, &load, clients).await?;
    }
    show_sizes("at work", &stores)?;
    groups.shutdown().await?;
    show_sizes("shut down", &stores)?;
    Ok(())
}

fn show_sizes(when: &str, stores: &Stores) -> Result<(), AnyError> {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (log, state) = (stores.log.size_on_disk_bytes()?, stores.state.size_on_disk_bytes()?);
    println!("on disk {when}: log {:.1} MiB, state {:.1} MiB", mib(log), mib(state));
    Ok(())
}

/// What the groups cost when nobody asks for anything.
async fn idle(_groups: &Groups) {
    let (cpu, begun) = (cpu_seconds(), Instant::now());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let share = (cpu_seconds() - cpu) / begun.elapsed().as_secs_f64();
    println!("idle: {:.2} % of a core", share * 100.0);
}

async fn measure(groups: &Groups, load: &Load, clients: u64) -> Result<(), AnyError> {
    let (cpu, begun) = (cpu_seconds(), Instant::now());
    let until = begun + Duration::from_secs(load.seconds);
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (groups, load) = (groups.clone(), load.clone());
            tokio::spawn(async move { run_client(&groups, &load, client, until).await })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    let (elapsed, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    latencies.sort_unstable();
    let count = latencies.len().max(1) as f64;
    let percentile = |share: f64| latencies.get((count * share) as usize).map_or(0, Duration::as_micros);
    println!(
        "{clients:7} {:11.0} {:10} {:10} {:17.3} {:13.1}",
        count / elapsed,
        percentile(0.5),
        percentile(0.99),
        cpu / count * 1000.0,
        cpu / count * 1e6
    );
    Ok(())
}

async fn run_client(groups: &Groups, load: &Load, client: u64, until: Instant) -> Result<Vec<Duration>, AnyError> {
    let mut latencies = Vec::new();
    let mut count = 0u64;
    while Instant::now() < until {
        count += 1;
        let command = if load.command == "subscribe" { subscribe(client, count)? } else { deliver(client, count) };
        let begun = Instant::now();
        send(groups, load, client, command).await?;
        latencies.push(begun.elapsed());
    }
    Ok(latencies)
}

async fn send(groups: &Groups, load: &Load, client: u64, command: Command) -> Result<(), AnyError> {
    let group = GroupId::new(1 + u32::try_from(client)? % load.groups);
    let request = RequestId::new(uuid::Uuid::now_v7().into_bytes());
    let deadline = now().plus_millis(30_000);
    let (replies, _) = groups.execute(Execute { group, request, deadline, commands: vec![command] }).await?;
    match replies.first() {
        Some(Reply::Account(reply)) if !matches!(reply, securanet_model::account::AccountReply::Refused(_)) => Ok(()),
        Some(Reply::Deliver(_)) => Ok(()),
        other => Err(format!("refused: {other:?}").into()),
    }
}

fn account(client: u64) -> AccountRef {
    AccountRef { id: AccountId::new(client + 1), epoch: Epoch::new(0) }
}

fn subscribe(client: u64, count: u64) -> Result<Command, AnyError> {
    let name = MailboxName::parse("Archive")?;
    let subscribed = count.is_multiple_of(2);
    Ok(Command::Account(account(client), AccountCommand::Subscribe { name, subscribed }))
}

fn deliver(client: u64, count: u64) -> Command {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&client.to_be_bytes());
    key[8..].copy_from_slice(&count.to_be_bytes());
    let message = NewMessage {
        size_bytes: 4096,
        recipe: Sealed::plain(1, noise(client ^ count << 8, 2048)),
        blobs: Vec::new(),
        summary: Sealed::plain(1, noise(count, 400)),
        thread_keys: vec![KeyedHash(key)],
        internal_date: None,
    };
    let to = DeliverTo {
        account: account(client),
        folder: None,
        prefix: Sealed::plain(1, b"Return-Path: <sender@example.org>\r\n".to_vec()),
        prefix_size_bytes: 36,
        repeat_key: Some(KeyedHash(key)),
    };
    Command::Deliver(Deliver { key: None, message, to: vec![to], quota: QuotaRule::Enforced })
}

/// Bytes that do not compress.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(len)
    .collect()
}

/// CPU of this process so far, all threads, user and system.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or_default();
    // Fields 14 and 15 of proc(5), counted behind the command; 100 ticks a second on every Linux we know.
    (ticks(11) + ticks(12)) / 100.0
}
