//! What only the node itself knows: its status, whether it is ready, its metrics, and a scrub.

use axum::{Json, extract::State, http::StatusCode};
use securanet_gateway::{
    model::{GroupId, ReplicaId, StoreError},
    store::BoxFuture,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Api, ApiError, Problem};

/// The node behind the API.
pub trait Node: Send + Sync + 'static {
    /// How it is.
    fn status(&self) -> BoxFuture<'_, Result<NodeStatus, String>>;
    /// Whether it takes mail in and serves reads; the reason when not.
    fn ready(&self) -> Result<(), String>;
    /// Verifies every blob and every reference. Takes as long as reading all blobs does. Only one runs at a time.
    fn scrub(&self) -> BoxFuture<'_, Result<ScrubReport, String>>;
    /// The metrics in Prometheus' text format.
    fn metrics(&self) -> String;
    /// The names of the routes with hosts of their own that mail may be sent by; none: this node delivers no mail and does
    /// not know those of the nodes that do.
    fn routes(&self) -> Option<Vec<String>>;
    /// The groups in which a replica has a vote, as far as this node knows.
    fn votes_of(&self, replica: ReplicaId) -> Vec<u32>;
    /// Hands a group that this node leads to another replica, and waits until that one leads.
    fn hand_over(&self, group: GroupId, to: ReplicaId) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// How a node is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NodeStatus {
    /// Release.
    pub version: String,
    /// The cluster's id.
    pub cluster: String,
    /// The node's name.
    pub hostname: String,
    /// What is wrong right now, worst first; empty when all is well.
    pub problems: Vec<String>,
    /// Free octets on the data directory's file system.
    pub disk_free_bytes: u64,
    /// Below this no mail is taken in.
    pub disk_reserve_bytes: u64,
    /// Octets that log, state and blobs take.
    pub data_bytes: u64,
    /// The cluster's nodes; empty of a node alone.
    pub nodes: Vec<ClusterNode>,
    /// What may be lost right now without anything stopping; none of a node alone.
    pub survives: Option<Survives>,
    /// The groups.
    pub groups: Vec<ShardStatus>,
}

/// A node of the cluster, as the one that is asked knows it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ClusterNode {
    /// Its name.
    pub name: String,
    /// Its site.
    pub site: String,
    /// `store`, `gateway` or `store and gateway`.
    pub roles: String,
    /// `active`, `draining` or `removed`.
    pub state: String,
    /// Whether it answers the node that is asked, and the leaders of all groups; none of one that is no store.
    pub answers: Option<bool>,
    /// The groups that it leads.
    pub leads: Vec<u32>,
    /// In how many groups it votes.
    pub votes: u64,
    /// Free octets where its data directory is, if it has answered.
    pub disk_free_bytes: Option<u64>,
    /// Below this it takes no mail in.
    pub disk_reserve_bytes: Option<u64>,
    /// Message parts that it waits for: changes of other nodes whose parts have not come, and replicas that lack parts.
    pub blobs_awaited: Option<u64>,
    /// Octets that are still to come of those that are being fetched.
    pub blobs_awaited_bytes: Option<u64>,
}

/// What may be lost right now without any group losing its majority.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Survives {
    /// Any one node.
    pub any_node: bool,
    /// Any one site.
    pub any_site: bool,
    /// What must not be lost: each with the groups that it would stop.
    pub not: Vec<String>,
}

/// How one group is.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ShardStatus {
    /// Its number; 0 is the directory.
    pub group: u32,
    /// Whether this node leads it.
    pub leads: bool,
    /// The node that leads it, if one is known.
    pub leader: Option<String>,
    /// The nodes that vote.
    pub voters: Vec<String>,
    /// The nodes that have replicas without a vote.
    pub learners: Vec<String>,
    /// Entries that the slowest voter lacks; none when no leader says so.
    pub lag_entries: Option<u64>,
    /// The nodes whose replicas lack message parts that their states name: they are no survivors.
    pub hollow: Vec<String>,
    /// Each replica.
    pub replicas: Vec<ReplicaStatus>,
    /// Raft term.
    pub term: u64,
    /// Index of the last entry in the log.
    pub last_log_index: u64,
    /// Index of the last entry applied.
    pub applied_index: u64,
    /// Accounts.
    pub accounts: u64,
    /// Messages.
    pub messages: u64,
    /// Octets of messages.
    pub bytes: u64,
    /// Deliveries to other groups that are not settled.
    pub pending: u64,
    /// Recipients that no group would take.
    pub held: u64,
    /// Repeats of senders that were not stored again.
    pub repeats_suppressed: u64,
    /// Mail on its way out.
    pub outbound: OutboundStatus,
}

/// How one replica of a group is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ReplicaStatus {
    /// Its node.
    pub node: String,
    /// Whether it votes.
    pub votes: bool,
    /// Entries that it lacks; none when no leader says so.
    pub lag_entries: Option<u64>,
    /// Milliseconds since it answered its leader; none when no leader says so.
    pub silent_millis: Option<u64>,
    /// Whether it lacks message parts; none when its node does not answer.
    pub hollow: Option<bool>,
    /// How many, as far as it has counted them.
    pub blobs_lacking: Option<u64>,
}

/// How a group's outbound queue is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct OutboundStatus {
    /// Messages with recipients that have no end.
    pub items: u64,
    /// Recipients that wait.
    pub waiting: u64,
    /// Recipients that are being tried.
    pub taken: u64,
    /// Recipients that operators hold.
    pub held: u64,
    /// Recipients delivered since the group exists.
    pub delivered: u64,
    /// Recipients failed since the group exists.
    pub failed: u64,
    /// Attempts that may have been delivered without our knowing, since the group exists.
    pub uncertain: u64,
    /// When the oldest message without an end came, in milliseconds since 1970.
    pub oldest_unix_millis: Option<u64>,
    /// For how many seconds the longest due work has been due; none when nothing waits for a time. 0: it is due later.
    pub oldest_due_seconds: Option<u64>,
}

/// What a scrub found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ScrubReport {
    /// Blobs whose checksum, hash and size were verified.
    pub blobs_verified: u64,
    /// References whose blob was looked for.
    pub references_verified: u64,
    /// Findings in all.
    pub findings: u64,
    /// The first of them, at most 1,000.
    pub first_findings: Vec<Finding>,
}

/// One finding of a scrub.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// The blob.
    pub blob: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Shows how the node is.
#[utoipa::path(get, path = "/v1/status", responses((status = 200, body = NodeStatus), (status = 500, body = Problem)))]
pub(crate) async fn status(State(api): State<Api>) -> Result<Json<NodeStatus>, ApiError> {
    api.node.status().await.map(Json).map_err(ApiError::internal)
}

/// The process lives.
#[utoipa::path(get, path = "/healthz", responses((status = 200, body = String)))]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// It takes mail in and serves reads; otherwise the reason.
#[utoipa::path(get, path = "/readyz", responses((status = 200, body = String), (status = 503, body = String)))]
pub(crate) async fn readyz(State(api): State<Api>) -> (StatusCode, String) {
    match api.node.ready() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

/// The metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String)))]
pub(crate) async fn metrics(State(api): State<Api>) -> String {
    api.node.metrics()
}
