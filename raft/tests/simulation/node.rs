//! A node: its groups on its disks, its service for other nodes, and a gateway at it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use securanet_model::{GroupId, ReplicaId};
use securanet_raft::{FlushPolicy, Groups, RetentionPolicy, Settings, Timing};
use tokio::time::{sleep, timeout};

use crate::{
    gateway, inspect,
    support::{Random, settings},
    wire::{self, Wires},
    worker,
    world::{Order, SHARDS, World, name, replica},
};

/// Wishes that a gateway serves at the same time.
const SESSIONS: usize = 3;

/// Everything is a few times smaller and faster than it is set for machines, so that much happens in little time.
fn tuned(world: &World, node: usize) -> Settings {
    let mut random = Random::new(world.seed ^ 0x7ace);
    let mut settings = settings(SHARDS);
    settings.node = name(node);
    settings.replica = ReplicaId::new(replica(node));
    settings.voters = (0..world.voters).map(|node| (ReplicaId::new(replica(node)), name(node))).collect();
    settings.peers = Arc::new(Wires::of(node, world.nodes));
    settings.timing = Timing { heartbeat_millis: 100, election_millis: 280..400, probe_millis: 1000 };
    let flush_bytes = [2_000, 20_000, 1 << 20][random.below(3) as usize];
    settings.flush = FlushPolicy { bytes: flush_bytes, age: Duration::from_millis(500 + random.below(3000)) };
    let kept_bytes = [0, 10_000, 1 << 20][random.below(3) as usize];
    settings.retention = RetentionPolicy { bytes: kept_bytes, age: Duration::from_millis(300 + random.below(3000)) };
    settings.log_cache_bytes_max = [0, 2_000, 1 << 20][random.below(3) as usize];
    settings.batch.proposals_in_flight = 1 + random.below(3) as usize;
    let ahead_millis = random.below(200) * node as u64 % 200;
    settings.clock = Arc::new(move || crate::support::now().plus_millis(ahead_millis));
    settings
}

/// A node's life, from its start until the power goes.
pub(crate) async fn run(world: World, node: usize) -> Result<(), Box<dyn std::error::Error>> {
    let stores = world.disks.lock().unwrap()[node].stores();
    let groups = Groups::open(tuned(&world, node), &stores).await.map_err(|error| {
        world.break_promise(format!("node {node} does not start: {error}"));
        error
    })?;
    tracing::info!(target: "simulation", node, "a node runs");
    world.running.lock().unwrap().insert(node, groups.clone());
    for session in 0..SESSIONS {
        tokio::spawn(gateway::session(world.clone(), node, groups.clone(), stores.blobs.clone(), session));
    }
    for group in 1..=SHARDS {
        tokio::spawn(worker::run(world.clone(), groups.clone(), group));
    }
    tokio::spawn(obey(world, node, groups.clone()));
    wire::serve(&groups).await
}

/// Does what the node is told.
async fn obey(world: World, node: usize, groups: Groups) {
    loop {
        sleep(Duration::from_millis(20)).await;
        let Some(order) = world.orders.lock().unwrap().entry(node).or_default().pop_front() else { continue };
        let (world, groups) = (world.clone(), groups.clone());
        tokio::spawn(async move {
            let done = timeout(Duration::from_secs(4), one(&world, &groups, order)).await;
            tracing::info!(target: "simulation", node, ?order, ?done, "an order");
        });
    }
}

async fn one(world: &World, groups: &Groups, order: Order) -> Result<(), String> {
    let group = |group| GroupId::new(group);
    let id = |node| ReplicaId::new(replica(node));
    let leads = |group: u32| {
        let leads = groups.is_leader(GroupId::new(group));
        leads.then_some(()).ok_or_else(|| "it does not lead".to_owned())
    };
    let text = |error: securanet_model::StoreError| error.to_string();
    let done = match order {
        Order::HandOver { group: of, to } => {
            leads(of)?;
            groups.transfer_leader(group(of), id(to)).await.map_err(text)?;
            "leader handed over"
        }
        Order::Demote { group: of, node } => {
            leads(of)?;
            groups.demote(group(of), id(node)).await.map_err(text)?;
            "voter demoted"
        }
        Order::Promote { group: of, node } => {
            leads(of)?;
            let voters: BTreeSet<u64> = groups.status()[of as usize].voters.iter().copied().collect();
            if voters.contains(&replica(node)) {
                return Ok(());
            }
            groups.add_learner(group(of), id(node), &name(node)).await.map_err(text)?;
            groups.promote(group(of), id(node)).await.map_err(text)?;
            "learner promoted"
        }
        Order::Flush => {
            groups.flush().await.map_err(text)?;
            "flushed by order"
        }
        Order::Inspect => {
            let found = inspect::inspect(world, groups).await;
            *world.inspected.lock().unwrap() = Some(found.clone());
            return found;
        }
    };
    world.trace.count(done, 1);
    Ok(())
}
