//! Domains.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use securanet_gateway::model::{
    Address, Answer, DomainName, Freshness, GroupId, Query, TenantId,
    directory::{DirectoryAnswer, DirectoryCommand, DirectoryQuery, DirectoryReply, Domain, Quota},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Api, ApiError, Problem, input,
    input::Named,
    listing::{self, Kind},
};

/// The tenant of new domains, until there are several.
const TENANT: TenantId = TenantId::new(1);

/// What an account or a domain may hold; a missing number is no limit.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct QuotaView {
    /// Octets.
    bytes_max: Option<u64>,
    /// Messages.
    messages_max: Option<u64>,
}

impl From<Quota> for QuotaView {
    fn from(quota: Quota) -> Self {
        Self { bytes_max: quota.bytes_max, messages_max: quota.messages_max }
    }
}

impl From<QuotaView> for Quota {
    fn from(view: QuotaView) -> Self {
        Self { bytes_max: view.bytes_max, messages_max: view.messages_max }
    }
}

/// A domain.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DomainView {
    /// Its name as A-labels.
    name: String,
    /// Its name for people.
    display_name: String,
    /// Who gets mail for unknown local parts.
    catch_all: Option<String>,
    /// What its accounts may hold together.
    quota: QuotaView,
    /// Octets that its accounts use; only when one domain is shown.
    used_bytes: Option<u64>,
    /// Messages that its accounts use; only when one domain is shown.
    used_messages: Option<u64>,
}

impl From<Domain> for DomainView {
    fn from(domain: Domain) -> Self {
        Self {
            name: domain.name.to_string(),
            display_name: domain.name.to_unicode(),
            catch_all: domain.catch_all.map(|address| address.to_string()),
            quota: domain.quota.into(),
            used_bytes: None,
            used_messages: None,
        }
    }
}

/// A domain to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDomain {
    /// Its name.
    name: String,
}

/// What to change; a missing field stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DomainChange {
    /// New catch-all address; an empty text removes it.
    catch_all: Option<String>,
    /// New quota.
    quota: Option<QuotaView>,
}

/// Sends a command to the directory, refusals as errors.
pub(crate) async fn change(api: &Api, command: DirectoryCommand) -> Result<DirectoryReply, ApiError> {
    match api.client.directory(command).await? {
        DirectoryReply::Refused(refusal) => Err(refusal.into()),
        reply => Ok(reply),
    }
}

/// The domain with this name.
pub(crate) async fn find(api: &Api, name: &DomainName) -> Result<Domain, ApiError> {
    match api.client.ask_directory(DirectoryQuery::Domain(name.clone())).await? {
        DirectoryAnswer::Domain(Some(domain)) => Ok(domain),
        DirectoryAnswer::Domain(None) => Err(ApiError::not_found(format!("domain {name}"))),
        other => Err(ApiError::out_of_turn(other)),
    }
}

/// Lists domains, sorted by name.
#[utoipa::path(get, path = "/v1/domains", responses((status = 200, body = [DomainView])))]
pub(crate) async fn list(State(api): State<Api>) -> Result<Response, ApiError> {
    let rows = |answer| if let DirectoryAnswer::Domains(rows) = answer { Some(rows) } else { None };
    let kind = Kind { rows, name: |domain: &Domain| domain.name.to_string(), view: DomainView::from };
    listing::answer(&api, DirectoryQuery::Domains, kind).await
}

/// Adds a domain.
#[utoipa::path(post, path = "/v1/domains", request_body = NewDomain,
    responses((status = 201, body = DomainView), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn create(
    State(api): State<Api>,
    input::Json(new): input::Json<NewDomain>,
) -> Result<(StatusCode, Json<DomainView>), ApiError> {
    let name = DomainName::parse(&new.name)?;
    match change(&api, DirectoryCommand::CreateDomain { tenant: TENANT, name }).await? {
        DirectoryReply::Domain(domain) => Ok((StatusCode::CREATED, Json(domain.into()))),
        other => Err(ApiError::out_of_turn(other)),
    }
}

/// Shows a domain and what its accounts use.
#[utoipa::path(get, path = "/v1/domains/{name}", params(("name" = String, Path)),
    responses((status = 200, body = DomainView), (status = 404, body = Problem)))]
pub(crate) async fn show(State(api): State<Api>, Named(name): Named<String>) -> Result<Json<DomainView>, ApiError> {
    let domain = find(&api, &DomainName::parse(&name)?).await?;
    let (bytes, messages) = usage(&api, &domain).await?;
    let mut view = DomainView::from(domain);
    (view.used_bytes, view.used_messages) = (Some(bytes), Some(messages));
    Ok(Json(view))
}

/// What a domain's accounts use: the sum over all shards.
async fn usage(api: &Api, domain: &Domain) -> Result<(u64, u64), ApiError> {
    let shards = match api.client.ask_directory(DirectoryQuery::Cluster).await? {
        DirectoryAnswer::Cluster(cluster) => cluster.map_or(0, |cluster| cluster.shards),
        other => return Err(ApiError::out_of_turn(other)),
    };
    let (mut bytes, mut messages) = (0, 0);
    for shard in 1..=shards {
        let answer = api.client.store().query(GroupId::new(shard), Query::DomainUsage, Freshness::Now).await?.answer;
        let Answer::DomainUsage(rows) = answer else { return Err(ApiError::out_of_turn(answer)) };
        for row in rows.into_iter().filter(|row| row.domain == domain.id) {
            bytes += row.bytes;
            messages += row.messages;
        }
    }
    Ok((bytes, messages))
}

/// Changes a domain.
#[utoipa::path(patch, path = "/v1/domains/{name}", params(("name" = String, Path)), request_body = DomainChange,
    responses((status = 200, body = DomainView), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn update(
    State(api): State<Api>,
    Named(name): Named<String>,
    input::Json(new): input::Json<DomainChange>,
) -> Result<Json<DomainView>, ApiError> {
    let catch_all = match new.catch_all.as_deref() {
        None => None,
        Some("") => Some(None),
        Some(address) => Some(Some(Address::parse(address)?)),
    };
    let quota = new.quota.map(Quota::from);
    match change(&api, DirectoryCommand::UpdateDomain { name: DomainName::parse(&name)?, catch_all, quota }).await? {
        DirectoryReply::Domain(domain) => Ok(Json(domain.into())),
        other => Err(ApiError::out_of_turn(other)),
    }
}

/// Removes a domain that has no addresses any more.
#[utoipa::path(delete, path = "/v1/domains/{name}", params(("name" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn remove(State(api): State<Api>, Named(name): Named<String>) -> Result<StatusCode, ApiError> {
    change(&api, DirectoryCommand::DeleteDomain { name: DomainName::parse(&name)? }).await?;
    Ok(StatusCode::NO_CONTENT)
}
