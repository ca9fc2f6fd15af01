//! Forwarding: where an account's mail is sent on to.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use securanet_gateway::model::{
    Address, AddressError,
    directory::{Account, DirectoryAnswer, DirectoryCommand, DirectoryQuery, Forwarding},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Api, ApiError, Problem, accounts,
    domains::change,
    input,
    input::Named,
    listing::{self, Kind},
};

/// Where an account's mail is sent on to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ForwardingView {
    /// The account's main address.
    address: String,
    /// Where to: addresses of ours, or outside.
    to: Vec<String>,
    /// Whether the account gets its mail, too.
    keep: bool,
}

impl From<(Account, Forwarding)> for ForwardingView {
    fn from((account, forwarding): (Account, Forwarding)) -> Self {
        let to = forwarding.to.iter().map(ToString::to_string).collect();
        Self { address: account.address.to_string(), to, keep: forwarding.keep }
    }
}

/// A forwarding.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewForwarding {
    /// Where to: 1 to 20 addresses of ours, or outside.
    to: Vec<String>,
    /// Whether the account gets its mail, too.
    keep: bool,
}

/// Lists accounts whose mail is sent on, sorted by when they were made.
#[utoipa::path(get, path = "/v1/forwardings", responses((status = 200, body = [ForwardingView])))]
pub(crate) async fn list(State(api): State<Api>) -> Result<Response, ApiError> {
    let rows = |answer| if let DirectoryAnswer::Forwardings(rows) = answer { Some(rows) } else { None };
    let name = |(account, _): &(Account, Forwarding)| account.id.to_string();
    listing::answer(&api, DirectoryQuery::Forwardings, Kind { rows, name, view: ForwardingView::from }).await
}

/// Shows where an account's mail is sent on to.
#[utoipa::path(get, path = "/v1/accounts/{address}/forwarding", params(("address" = String, Path)),
    responses((status = 200, body = ForwardingView), (status = 404, body = Problem)))]
pub(crate) async fn show(
    State(api): State<Api>,
    Named(address): Named<String>,
) -> Result<Json<ForwardingView>, ApiError> {
    let account = accounts::find(&api, &address).await?;
    match api.client.ask_directory(DirectoryQuery::Forwarding(account.id)).await? {
        DirectoryAnswer::Forwarding(Some(forwarding)) => Ok(Json((account, forwarding).into())),
        DirectoryAnswer::Forwarding(None) => Err(ApiError::not_found(format!("forwarding of {address}"))),
        other => Err(ApiError::out_of_turn(other)),
    }
}

/// Sends an account's mail on, in place of where it was sent on to before.
#[utoipa::path(put, path = "/v1/accounts/{address}/forwarding", params(("address" = String, Path)),
    request_body = NewForwarding,
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn set(
    State(api): State<Api>,
    Named(address): Named<String>,
    input::Json(new): input::Json<NewForwarding>,
) -> Result<StatusCode, ApiError> {
    let account = accounts::find(&api, &address).await?.id;
    let to: Result<Vec<Address>, AddressError> = new.to.iter().map(|to| Address::parse(to)).collect();
    let forwarding = Some(Forwarding { to: to?, keep: new.keep });
    change(&api, DirectoryCommand::SetForwarding { account, forwarding }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends an account's mail on no more.
#[utoipa::path(delete, path = "/v1/accounts/{address}/forwarding", params(("address" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn remove(State(api): State<Api>, Named(address): Named<String>) -> Result<StatusCode, ApiError> {
    let account = accounts::find(&api, &address).await?.id;
    change(&api, DirectoryCommand::SetForwarding { account, forwarding: None }).await?;
    Ok(StatusCode::NO_CONTENT)
}
