//! Aliases.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use securanet_gateway::model::{
    Address,
    directory::{Alias, DirectoryAnswer, DirectoryCommand, DirectoryQuery},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Api, ApiError, Problem,
    domains::change,
    input,
    input::Named,
    listing::{self, Kind},
};

/// An alias.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AliasView {
    /// The address.
    address: String,
    /// Where its mail goes: an account, an alias or a list of ours, or an address outside.
    target: String,
}

impl From<Alias> for AliasView {
    fn from(alias: Alias) -> Self {
        Self { address: alias.address.to_string(), target: alias.target.to_string() }
    }
}

/// Lists aliases, sorted by domain and local part.
#[utoipa::path(get, path = "/v1/aliases", responses((status = 200, body = [AliasView])))]
pub(crate) async fn list(State(api): State<Api>) -> Result<Response, ApiError> {
    let rows = |answer| if let DirectoryAnswer::Aliases(rows) = answer { Some(rows) } else { None };
    let kind = Kind { rows, name: |alias: &Alias| alias.address.canonical(), view: AliasView::from };
    listing::answer(&api, DirectoryQuery::Aliases, kind).await
}

/// Adds an alias.
#[utoipa::path(post, path = "/v1/aliases", request_body = AliasView,
    responses((status = 201, body = AliasView), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn create(
    State(api): State<Api>,
    input::Json(new): input::Json<AliasView>,
) -> Result<(StatusCode, Json<AliasView>), ApiError> {
    let alias = Alias { address: Address::parse(&new.address)?, target: Address::parse(&new.target)? };
    change(&api, DirectoryCommand::CreateAliasAnywhere(alias.clone())).await?;
    Ok((StatusCode::CREATED, Json(alias.into())))
}

/// Removes an alias, and the aliases that lead to it; lists lose it as a member.
#[utoipa::path(delete, path = "/v1/aliases/{address}", params(("address" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn remove(State(api): State<Api>, Named(address): Named<String>) -> Result<StatusCode, ApiError> {
    change(&api, DirectoryCommand::DeleteAlias { address: Address::parse(&address)? }).await?;
    Ok(StatusCode::NO_CONTENT)
}
