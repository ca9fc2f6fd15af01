//! Distribution lists.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use securanet_gateway::model::{
    Address, AddressError,
    directory::{DirectoryAnswer, DirectoryCommand, DirectoryQuery, List},
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

/// A distribution list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListView {
    /// Its address.
    address: String,
    /// Who gets its bounces.
    owner: Option<String>,
    /// Its members.
    members: Vec<String>,
}

impl From<List> for ListView {
    fn from(list: List) -> Self {
        Self {
            address: list.address.to_string(),
            owner: list.owner.map(|owner| owner.to_string()),
            members: list.members.iter().map(ToString::to_string).collect(),
        }
    }
}

/// A list's content.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewList {
    /// Who gets its bounces: an address of ours.
    owner: Option<String>,
    /// Its members: accounts, aliases and lists of ours, and addresses outside.
    members: Vec<String>,
}

/// Lists distribution lists, sorted by domain and local part.
#[utoipa::path(get, path = "/v1/lists", responses((status = 200, body = [ListView])))]
pub(crate) async fn list(State(api): State<Api>) -> Result<Response, ApiError> {
    let rows = |answer| if let DirectoryAnswer::Lists(rows) = answer { Some(rows) } else { None };
    let kind = Kind { rows, name: |list: &List| list.address.canonical(), view: ListView::from };
    listing::answer(&api, DirectoryQuery::Lists, kind).await
}

/// Shows a list.
#[utoipa::path(get, path = "/v1/lists/{address}", params(("address" = String, Path)),
    responses((status = 200, body = ListView), (status = 404, body = Problem)))]
pub(crate) async fn show(State(api): State<Api>, Named(address): Named<String>) -> Result<Json<ListView>, ApiError> {
    match api.client.ask_directory(DirectoryQuery::List(Address::parse(&address)?)).await? {
        DirectoryAnswer::List(Some(list)) => Ok(Json(list.into())),
        DirectoryAnswer::List(None) => Err(ApiError::not_found(format!("list {address}"))),
        other => Err(ApiError::out_of_turn(other)),
    }
}

/// Adds a list or replaces its members and owner.
#[utoipa::path(put, path = "/v1/lists/{address}", params(("address" = String, Path)), request_body = NewList,
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn put(
    State(api): State<Api>,
    Named(address): Named<String>,
    input::Json(new): input::Json<NewList>,
) -> Result<StatusCode, ApiError> {
    let members: Result<Vec<Address>, AddressError> = new.members.iter().map(|member| Address::parse(member)).collect();
    let owner = new.owner.as_deref().map(Address::parse).transpose()?;
    let list = List { address: Address::parse(&address)?, owner, members: members? };
    change(&api, DirectoryCommand::PutListAnywhere(list)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a list, and the aliases that lead to it; other lists lose it as a member.
#[utoipa::path(delete, path = "/v1/lists/{address}", params(("address" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn remove(State(api): State<Api>, Named(address): Named<String>) -> Result<StatusCode, ApiError> {
    change(&api, DirectoryCommand::DeleteList { address: Address::parse(&address)? }).await?;
    Ok(StatusCode::NO_CONTENT)
}
