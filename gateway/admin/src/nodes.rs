//! The cluster's nodes, and the tokens that let them in.

use aws_lc_rs::rand;
use axum::{Json, extract::State, http::StatusCode};
use securanet_gateway::{
    clock,
    link::{JoinTicket, fingerprint, sha256},
    model::{
        GroupId, NodeName, StoreError,
        directory::{DirectoryAnswer, DirectoryCommand, DirectoryQuery},
        nodes::{JoinToken, Node, NodeState},
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Api, ApiError, Problem, domains::change, input, input::Named};

/// Stores that a token names: enough that one of them answers.
const TICKET_STORES_MAX: usize = 8;
const HOUR_MILLIS: u64 = 3_600_000;

/// A node.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NodeView {
    /// Its name.
    name: String,
    /// Its site.
    site: String,
    /// Whether it keeps mail.
    store: bool,
    /// Whether it serves clients.
    gateway: bool,
    /// Where other nodes reach it, as `host:port`.
    address: Option<String>,
    /// `active`, `draining` or `removed`.
    state: Life,
    /// The replica id of a store, in all its groups.
    replica: Option<u64>,
    /// When it came in, in milliseconds since 1970.
    joined_unix_millis: u64,
}

/// Where a node is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Life {
    /// It does its work.
    Active,
    /// It gives its work away.
    Draining,
    /// It is let in no more.
    Removed,
}

impl From<NodeState> for Life {
    fn from(state: NodeState) -> Self {
        match state {
            NodeState::Active => Self::Active,
            NodeState::Draining => Self::Draining,
            NodeState::Removed => Self::Removed,
        }
    }
}

impl From<Life> for NodeState {
    fn from(state: Life) -> Self {
        match state {
            Life::Active => Self::Active,
            Life::Draining => Self::Draining,
            Life::Removed => Self::Removed,
        }
    }
}

impl From<Node> for NodeView {
    fn from(node: Node) -> Self {
        Self {
            name: node.facts.name.to_string(),
            site: node.facts.site.to_string(),
            store: node.facts.store,
            gateway: node.facts.gateway,
            address: node.facts.address,
            state: node.state.into(),
            replica: node.replica.map(|replica| replica.get()),
            joined_unix_millis: node.joined.get(),
        }
    }
}

/// What a node is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeChange {
    /// Its new state.
    state: Life,
    /// Remove it although it still has votes.
    #[serde(default)]
    force: bool,
}

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    /// How long it can be used: 1 to 168.
    hours: u64,
    /// The node that may take up its name again with it, under a new replica id; nothing: a new node.
    replaces: Option<String>,
}

/// A token. It is a secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TokenMade {
    /// What `securanet join` takes.
    token: String,
}

/// Lists all nodes, removed ones too, sorted by name.
#[utoipa::path(get, path = "/v1/nodes", responses((status = 200, body = [NodeView])))]
pub(crate) async fn list(State(api): State<Api>) -> Result<Json<Vec<NodeView>>, ApiError> {
    Ok(Json(nodes(&api).await?.into_iter().map(NodeView::from).collect()))
}

/// Drains a node, lets it work again, or takes it out of the cluster.
#[utoipa::path(patch, path = "/v1/nodes/{name}", params(("name" = String, Path)), request_body = NodeChange,
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn update(
    State(api): State<Api>,
    Named(name): Named<String>,
    input::Json(new): input::Json<NodeChange>,
) -> Result<StatusCode, ApiError> {
    let name: NodeName = name.parse().map_err(ApiError::unprocessable)?;
    if new.state == Life::Removed && !new.force {
        let there = nodes(&api).await?.into_iter().find(|node| node.facts.name == name);
        let replica = there.and_then(|node| node.replica);
        let votes = replica.map(|replica| api.node.votes_of(replica)).unwrap_or_default();
        if !votes.is_empty() {
            let groups = votes.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            return Err(ApiError::new(StatusCode::CONFLICT, format!("node {name} still has votes in groups {groups}"))
                .remedy(format!(
                    "`securanet node drain {name}` first and wait until it has none; or, if it is lost, remove it with \
                     --force"
                )));
        }
    }
    change(&api, DirectoryCommand::SetNodeState { name, state: new.state.into() }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Hands the leadership of a group that the asked node leads to another node.
#[utoipa::path(put, path = "/v1/nodes/{name}/leads/{group}",
    params(("name" = String, Path), ("group" = u32, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn lead(
    State(api): State<Api>,
    Named((name, group)): Named<(String, u32)>,
) -> Result<StatusCode, ApiError> {
    let name: NodeName = name.parse().map_err(ApiError::unprocessable)?;
    let there = nodes(&api).await?.into_iter().find(|node| node.facts.name == name);
    let replica = there.and_then(|node| node.replica);
    let replica = replica.ok_or_else(|| ApiError::not_found(format!("store {name} in the cluster")))?;
    match api.node.hand_over(GroupId::new(group), replica).await {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(StoreError::NoGroup(_)) => Err(ApiError::not_found(format!("group {group}"))),
        Err(StoreError::NotLeader { leader: Some(leader) }) => {
            let wrong = format!("this node does not lead group {group}: node {leader} does");
            Err(ApiError::new(StatusCode::CONFLICT, wrong).remedy(format!("ask node {leader}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes a token that lets one node in.
#[utoipa::path(post, path = "/v1/node-tokens", request_body = NewToken,
    responses((status = 200, body = TokenMade), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn add_token(
    State(api): State<Api>,
    input::Json(new): input::Json<NewToken>,
) -> Result<Json<TokenMade>, ApiError> {
    let replaces = new.replaces.map(|name| name.parse::<NodeName>()).transpose();
    let replaces = replaces.map_err(ApiError::unprocessable)?;
    let stores = nodes(&api).await?.into_iter().filter(|node| node.state == NodeState::Active && node.facts.store);
    let addresses: Vec<String> = stores.filter_map(|node| node.facts.address).take(TICKET_STORES_MAX).collect();
    if addresses.is_empty() {
        return Err(ApiError::new(StatusCode::CONFLICT, "this node is alone, in no cluster")
            .remedy("make it the first node of one: stop it, add [cluster] to its node file, `securanet found`"));
    }
    let authority = match api.client.ask_directory(DirectoryQuery::Authority).await {
        Ok(DirectoryAnswer::Authority(Some(authority))) => authority,
        Ok(other) => return Err(ApiError::out_of_turn(other)),
        Err(error) => return Err(ApiError::from(error).remedy("tokens are made at a store: ask one")),
    };
    let authority = fingerprint(&authority.certificate);
    let authority = authority.ok_or_else(|| ApiError::internal("the authority's certificate cannot be read"))?;
    let mut secret = [0; 32];
    rand::fill(&mut secret).map_err(|_| ApiError::internal("the system gives no random numbers"))?;
    let expires = clock::now().plus_millis(new.hours.saturating_mul(HOUR_MILLIS));
    let token = JoinToken { digest: sha256(&secret), expires, replaces };
    change(&api, DirectoryCommand::PutJoinToken(token)).await?;
    Ok(Json(TokenMade { token: JoinTicket { authority, secret, addresses }.expose() }))
}

async fn nodes(api: &Api) -> Result<Vec<Node>, ApiError> {
    match api.client.ask_directory(DirectoryQuery::Nodes).await? {
        DirectoryAnswer::Nodes(nodes) => Ok(nodes),
        other => Err(ApiError::out_of_turn(other)),
    }
}
