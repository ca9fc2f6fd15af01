//! Held recipients: mail that was acknowledged and that no account took since. An operator looks and decides.

use axum::{Json, extract::State, http::StatusCode};
use securanet_gateway::model::{
    AccountId, GroupId,
    delivery::{HeldKey, HeldRecipient, HeldTo, QueueAnswer, QueueCommand, QueueQuery, QueueReply},
    directory::{DirectoryAnswer, DirectoryQuery},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Api, ApiError, Problem,
    accounts::{find, place},
    input,
    input::{Asked, Named},
};

/// Rows of one listing.
const ROWS_MAX: usize = 200;

/// Which held recipient, as text: queue group, item, group that refused, position, account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct HeldId {
    queue: GroupId,
    key: HeldKey,
}

impl HeldId {
    fn parse(text: &str) -> Result<Self, ApiError> {
        let unknown =
            || ApiError::unprocessable(format!("{text:?} is no held recipient's id")).remedy("list what is held");
        let numbers: Result<Vec<u64>, _> = text.split('-').map(str::parse).collect();
        let Ok([queue, item, target, position, account]) = numbers.as_deref() else { return Err(unknown()) };
        let short = |number: &u64| u32::try_from(*number).map_err(|_| unknown());
        let (target, account) = (GroupId::new(short(target)?), AccountId::new(*account));
        let key = HeldKey { item: *item, target, position: short(position)?, account };
        Ok(Self { queue: GroupId::new(short(queue)?), key })
    }
}

impl std::fmt::Display for HeldId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let HeldKey { item, target, position, account } = self.key;
        write!(f, "{}-{item}-{}-{position}-{}", self.queue.get(), target.get(), account.get())
    }
}

/// A held recipient.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HeldView {
    /// What to call it.
    id: String,
    /// The account that was to get it, by number.
    account: u64,
    /// Its address; null when the account is gone.
    address: Option<String>,
    /// Why it was refused.
    refusal: String,
    /// Since when it is held, in milliseconds since 1970.
    since_unix_millis: u64,
    /// When the message was acknowledged, in milliseconds since 1970.
    queued_unix_millis: u64,
    /// Who sent it.
    sender: String,
    /// Octets.
    size_bytes: u64,
}

/// Where a listing goes on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listing {
    after: Option<String>,
}

/// How to release.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Release {
    /// The main address of another account that gets the message instead; null tries the same one again.
    to: Option<String>,
}

/// Lists up to 200 held recipients behind `after`, by queue group and item; the empty list is the end.
#[utoipa::path(get, path = "/v1/held",
    params(("after" = Option<String>, Query, description = "the id of the last one of the list before")),
    responses((status = 200, body = [HeldView]), (status = 422, body = Problem)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Asked(listing): Asked<Listing>,
) -> Result<Json<Vec<HeldView>>, ApiError> {
    let after = listing.after.as_deref().map(HeldId::parse).transpose()?;
    let first = after.map_or(1, |after| after.queue.get());
    let mut views = Vec::new();
    for queue in (first..=shards(&api).await?).map(GroupId::new) {
        let mut behind = after.filter(|after| after.queue == queue).map(|after| after.key);
        while views.len() < ROWS_MAX {
            let rows = page(&api, queue, behind, ROWS_MAX - views.len()).await?;
            let Some(last) = rows.last() else { break };
            behind = Some(last.key);
            for row in rows {
                views.push(view(&api, queue, row).await?);
            }
        }
    }
    Ok(Json(views))
}

async fn page(api: &Api, queue: GroupId, after: Option<HeldKey>, rows: usize) -> Result<Vec<HeldRecipient>, ApiError> {
    let rows_max = u32::try_from(rows).unwrap_or(u32::MAX);
    match api.client.ask_queue(queue, QueueQuery::Held { after, rows_max }).await? {
        QueueAnswer::Held(rows) => Ok(rows),
        other => Err(ApiError::out_of_turn(other)),
    }
}

async fn view(api: &Api, queue: GroupId, row: HeldRecipient) -> Result<HeldView, ApiError> {
    let account = match api.client.ask_directory(DirectoryQuery::AccountById(row.key.account)).await? {
        DirectoryAnswer::Account(account) => account,
        other => return Err(ApiError::out_of_turn(other)),
    };
    Ok(HeldView {
        id: HeldId { queue, key: row.key }.to_string(),
        account: row.key.account.get(),
        address: account.map(|account| account.address.to_string()),
        refusal: row.refusal.to_string(),
        since_unix_millis: row.since.get(),
        queued_unix_millis: row.queued.get(),
        sender: row.sender.to_string(),
        size_bytes: row.size_bytes,
    })
}

/// Groups 1 to this one have queues.
async fn shards(api: &Api) -> Result<u32, ApiError> {
    match api.client.ask_directory(DirectoryQuery::Cluster).await? {
        DirectoryAnswer::Cluster(cluster) => Ok(cluster.map_or(0, |cluster| cluster.shards)),
        _ => Err(ApiError::out_of_turn("the cluster's facts")),
    }
}

/// Tries to deliver a held recipient's mail again; if it is refused again, it is held again under another id.
#[utoipa::path(post, path = "/v1/held/{id}/release", params(("id" = String, Path)), request_body = Release,
    responses((status = 204), (status = 404, body = Problem), (status = 422, body = Problem),
        (status = 503, body = Problem)))]
pub(crate) async fn release(
    State(api): State<Api>,
    Named(id): Named<String>,
    input::Json(release): input::Json<Release>,
) -> Result<StatusCode, ApiError> {
    let held = HeldId::parse(&id)?;
    let to = match release.to {
        Some(address) => {
            let place = place(&find(&api, &address).await?);
            Some(HeldTo { group: place.group, account: place.account })
        }
        None => None,
    };
    decide(&api, &id, held.queue, QueueCommand::Release { held: held.key, to }).await
}

/// Gives a held recipient's mail up: it is gone.
#[utoipa::path(delete, path = "/v1/held/{id}", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn discard(State(api): State<Api>, Named(id): Named<String>) -> Result<StatusCode, ApiError> {
    let held = HeldId::parse(&id)?;
    decide(&api, &id, held.queue, QueueCommand::Discard(held.key)).await
}

async fn decide(api: &Api, id: &str, queue: GroupId, command: QueueCommand) -> Result<StatusCode, ApiError> {
    if !(1..=shards(api).await?).contains(&queue.get()) {
        return Err(ApiError::not_found(format!("held recipient {id}")));
    }
    match api.client.queue(queue, command).await? {
        QueueReply::Released(_) | QueueReply::Discarded => Ok(StatusCode::NO_CONTENT),
        QueueReply::NotHeld => Err(ApiError::not_found(format!("held recipient {id}"))
            .remedy("it was released or discarded before, or refused again since: list what is held")),
        QueueReply::WindowFull(group) => {
            let error = format!("too much waits for group {group} already");
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, error).remedy("try again when less is pending"))
        }
        other => Err(ApiError::out_of_turn(other)),
    }
}
