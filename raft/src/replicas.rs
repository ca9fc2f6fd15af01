//! Three replicas in one process, over a network that can be cut: our log, state and snapshots under openraft's
//! replication, which a node alone never runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use openraft::{
    Config, OptionalSend, RaftNetworkFactory, RaftNetworkV2, SnapshotPolicy,
    errors::{RPCError, ReplicationClosed, StreamingError, Unreachable},
    network::RPCOption,
    raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse},
};
use parking_lot::Mutex;
use securanet_kv::{Direction, KeyRange, KeyValue, Read, Row, memory::MemoryStore};
use securanet_model::{
    AccountId, Command, DomainId, Epoch, Execute, GroupId, MailboxName, RequestId, TenantId, UnixMillis,
    account::{AccountCommand, AccountRef},
    directory::Quota,
    record,
    request::Proposal,
};

use crate::{
    group::GroupRaft,
    log::LogStore,
    state::{Effects, Replica, SnapshotData, StateMachine},
    types::{Member, Proposed, TypeConfig, Vote},
    watches::Watches,
};

const GROUP: GroupId = GroupId::new(1);
const PATIENCE: Duration = Duration::from_secs(20);

/// Who is there, and which are cut off.
#[derive(Clone, Default)]
struct Network(Arc<Mutex<Links>>);

#[derive(Default)]
struct Links {
    replicas: BTreeMap<u64, GroupRaft>,
    cut_off: BTreeSet<u64>,
}

/// The way from one replica to another.
struct Link {
    network: Network,
    from: u64,
    to: u64,
}

impl Link {
    fn target(&self) -> Result<GroupRaft, Unreachable<TypeConfig>> {
        let links = self.network.0.lock();
        let cut = links.cut_off.contains(&self.from) || links.cut_off.contains(&self.to);
        let target = links.replicas.get(&self.to).filter(|_| !cut).cloned();
        target.ok_or_else(|| Unreachable::from_string("the link is cut"))
    }
}

struct Factory(Network, u64);

impl RaftNetworkFactory<TypeConfig> for Factory {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _member: &Member) -> Link {
        Link { network: self.0.clone(), from: self.1, to: target }
    }
}

fn failed(error: impl std::error::Error + 'static) -> Unreachable<TypeConfig> {
    Unreachable::new(&error)
}

impl RaftNetworkV2<TypeConfig> for Link {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(self.target()?.append_entries(request).await.map_err(failed)?)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(self.target()?.vote(request).await.map_err(failed)?)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Ok(self.target()?.pre_vote(request).await.map_err(failed)?)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::type_config::alias::SnapshotOf<TypeConfig, SnapshotData>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Ok(self.target()?.install_full_snapshot(vote, snapshot).await.map_err(failed)?)
    }
}

/// One replica with its stores.
struct Node {
    raft: GroupRaft,
    replica: Arc<Replica>,
    state: MemoryStore,
    log: LogStore,
}

/// Starts three replicas and waits for a leader.
async fn three() -> (Network, BTreeMap<u64, Node>) {
    let network = Network::default();
    let mut nodes = BTreeMap::new();
    for id in 1..=3 {
        let node = start(id, &network).await;
        network.0.lock().replicas.insert(id, node.raft.clone());
        nodes.insert(id, node);
    }
    let members: BTreeMap<u64, Member> = (1..=3).map(|id| (id, Member { node: format!("node-{id}") })).collect();
    nodes[&1].raft.initialize(members).await.unwrap();
    leader(&network, &nodes).await;
    (network, nodes)
}

async fn start(id: u64, network: &Network) -> Node {
    let config = Config {
        heartbeat_interval: 40,
        election_timeout_min: 150,
        election_timeout_max: 300,
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        install_snapshot_timeout: 5000,
        ..Config::default()
    };
    let state = MemoryStore::new();
    let fatal: crate::FatalHook = Arc::new(|error| panic!("{error}"));
    let log = LogStore::open(Arc::new(MemoryStore::new()), 500, fatal.clone()).unwrap();
    log.identify(id, &[GROUP]).unwrap();
    let effects = Effects {
        watches: Arc::new(Watches::new(10)),
        fan_out: Arc::default(),
        unflushed_bytes: Arc::new(AtomicU64::new(0)),
        fatal,
    };
    let replica = Arc::new(Replica::open(GROUP, Arc::new(state.clone()), effects).unwrap());
    let machine = StateMachine::new(replica.clone());
    let config = Arc::new(config.validate().unwrap());
    let factory = Factory(network.clone(), id);
    let raft = GroupRaft::new(id, config, factory, log.group(GROUP).unwrap(), machine).await.unwrap();
    Node { raft, replica, state, log }
}

/// The leader that those who are not cut off follow.
async fn leader(network: &Network, nodes: &BTreeMap<u64, Node>) -> u64 {
    let wait = async {
        loop {
            let cut_off = network.0.lock().cut_off.clone();
            for (id, node) in nodes.iter().filter(|(id, _)| !cut_off.contains(id)) {
                // Writing a blank entry is the proof: an old leader cannot.
                if node.raft.is_leader() && node.raft.write_blank().await.is_ok() {
                    return *id;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("a leader was elected")
}

fn subscribe(number: u64) -> Proposed {
    let account = AccountRef { id: AccountId::new(1), epoch: Epoch::new(0) };
    let command = match number {
        0 => AccountCommand::Provision {
            tenant: TenantId::new(1),
            domain: DomainId::new(1),
            quota: Quota { bytes_max: None, messages_max: None },
        },
        _ => {
            AccountCommand::Subscribe { name: MailboxName::parse(&format!("list-{number}")).unwrap(), subscribed: true }
        }
    };
    let mut request = [0; 16];
    request[..8].copy_from_slice(&number.to_be_bytes());
    let request = Execute {
        group: GROUP,
        request: RequestId::new(request),
        deadline: UnixMillis::new(100_000),
        commands: vec![Command::Account(account, command)],
    };
    let proposal = Proposal { stamp: UnixMillis::new(1000 + number), requests: vec![request] };
    let encoded = record::encode(&proposal).into();
    Proposed::new(proposal, encoded)
}

async fn write(node: &Node, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let written = node.raft.client_write(subscribe(number)).await.unwrap();
        assert_eq!(written.data.0.len(), 1);
    }
}

/// Waits until all replicas have applied what the leader has, then compares their rows, generation stripped.
async fn check_equal(nodes: &BTreeMap<u64, Node>, leader: u64) {
    let applied = nodes[&leader].raft.write_blank().await.unwrap().log_id;
    for node in nodes.values() {
        let mut position = node.replica.watch_position();
        let reached = position.wait_for(|position| position.applied >= Some(applied));
        tokio::time::timeout(PATIENCE, reached).await.expect("the replica caught up").unwrap();
    }
    let expected = rows(&nodes[&leader]);
    assert!(expected.len() > 10, "{} rows", expected.len());
    for (id, node) in nodes {
        assert_eq!(rows(node), expected, "replica {id}");
    }
}

fn rows(node: &Node) -> Vec<Row> {
    let space = node.replica.space();
    let prefix = crate::format::space_prefix(GROUP, space.generation);
    let rows = node.state.snapshot().scan(&KeyRange::prefix(prefix.clone()), Direction::Forward, usize::MAX).unwrap();
    rows.into_iter().map(|(key, value)| (key[prefix.len()..].to_vec(), value)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_missed_purged_entries_gets_a_snapshot_and_is_equal_afterwards() {
    let (network, nodes) = three().await;
    let first = leader(&network, &nodes).await;
    write(&nodes[&first], 0..10).await;
    let away = nodes.keys().copied().find(|id| *id != first).unwrap();
    network.0.lock().cut_off.insert(away);
    write(&nodes[&first], 10..60).await;
    // The leader's state becomes durable, and the log behind it goes.
    let node = &nodes[&first];
    let position = node.replica.position();
    node.state.flush().unwrap();
    node.replica.set_flushed(position.clone());
    node.raft.trigger().snapshot().await.unwrap();
    node.raft.watch_snapshot_progress().wait_until_ge(&position.applied).await.unwrap();
    let upto = position.applied.unwrap().index;
    node.raft.trigger().purge_log(upto).await.unwrap();
    let purged = node.raft.wait(Some(PATIENCE));
    purged.metrics(|metrics| metrics.purged.is_some_and(|id| id.index >= upto), "purged").await.unwrap();
    network.0.lock().cut_off.clear();
    check_equal(&nodes, first).await;
    assert_eq!(nodes[&away].replica.space().generation, 1, "it came by a snapshot");
    let left = nodes[&away].state.crashed_copy();
    assert!(left.get(&crate::format::generation_key(GROUP)).unwrap().is_some(), "the flip was durable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_isolated_leader_could_not_commit_is_truncated_and_nothing_committed_is() {
    let (network, nodes) = three().await;
    let old = leader(&network, &nodes).await;
    write(&nodes[&old], 0..10).await;
    network.0.lock().cut_off.insert(old);
    // Appended here, and nowhere else.
    for number in 900..905 {
        nodes[&old].raft.client_write_ff(subscribe(number), None).await.unwrap();
    }
    let new = leader(&network, &nodes).await;
    assert_ne!(new, old);
    write(&nodes[&new], 10..30).await;
    network.0.lock().cut_off.clear();
    check_equal(&nodes, new).await;
    let lists = rows(&nodes[&old]).iter().filter(|(_, value)| contains(value, b"list-90")).count();
    assert_eq!(lists, 0, "what was never committed is nowhere");
    nodes.values().for_each(|node| node.log.close());
}

fn contains(value: &[u8], part: &[u8]) -> bool {
    value.windows(part.len()).any(|window| window == part)
}
