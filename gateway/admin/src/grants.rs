//! Grants of sending: as whom an account may send besides its own addresses.

use axum::{Json, extract::State, http::StatusCode};
use securanet_gateway::model::{
    Address,
    directory::{DirectoryAnswer, DirectoryCommand, DirectoryQuery},
    sending::{Grant, GrantKind},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Api, ApiError, Problem, accounts, domains::change, input, input::Named};

/// How an account may send as another address.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum KindView {
    /// As if the address were its own.
    SendAs,
    /// On its behalf: a Sender field names the account.
    OnBehalf,
}

/// A grant.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantView {
    /// An address of ours; `*@domain` means each of a domain of ours.
    address: String,
    /// How.
    kind: KindView,
}

impl From<KindView> for GrantKind {
    fn from(kind: KindView) -> Self {
        match kind {
            KindView::SendAs => Self::SendAs,
            KindView::OnBehalf => Self::OnBehalf,
        }
    }
}

impl From<Grant> for GrantView {
    fn from(grant: Grant) -> Self {
        let kind = match grant.kind {
            GrantKind::SendAs => KindView::SendAs,
            GrantKind::OnBehalf => KindView::OnBehalf,
        };
        Self { address: grant.address.to_string(), kind }
    }
}

async fn grant(api: &Api, account: &str, address: &str, kind: KindView) -> Result<Grant, ApiError> {
    let account = accounts::find(api, account).await?.id;
    Ok(Grant { account, address: Address::parse(address)?, kind: kind.into() })
}

/// Lists what an account may send as.
#[utoipa::path(get, path = "/v1/accounts/{address}/grants", params(("address" = String, Path)),
    responses((status = 200, body = [GrantView]), (status = 404, body = Problem)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Named(address): Named<String>,
) -> Result<Json<Vec<GrantView>>, ApiError> {
    let account = accounts::find(&api, &address).await?.id;
    match api.client.ask_directory(DirectoryQuery::SendingGrants(account)).await? {
        DirectoryAnswer::SendingGrants(grants) => Ok(Json(grants.into_iter().map(GrantView::from).collect())),
        other => Err(ApiError::out_of_turn(other)),
    }
}

/// Lets an account send as another address.
#[utoipa::path(post, path = "/v1/accounts/{address}/grants", params(("address" = String, Path)),
    request_body = GrantView,
    responses((status = 201, body = GrantView), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn add(
    State(api): State<Api>,
    Named(address): Named<String>,
    input::Json(new): input::Json<GrantView>,
) -> Result<(StatusCode, Json<GrantView>), ApiError> {
    let grant = grant(&api, &address, &new.address, new.kind).await?;
    change(&api, DirectoryCommand::GrantSending(grant.clone())).await?;
    Ok((StatusCode::CREATED, Json(grant.into())))
}

/// Takes a grant back.
#[utoipa::path(delete, path = "/v1/accounts/{address}/grants/{kind}/{granted}",
    params(("address" = String, Path), ("kind" = KindView, Path), ("granted" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn remove(
    State(api): State<Api>,
    Named((address, kind, granted)): Named<(String, KindView, String)>,
) -> Result<StatusCode, ApiError> {
    let grant = grant(&api, &address, &granted, kind).await?;
    change(&api, DirectoryCommand::RevokeSending(grant)).await?;
    Ok(StatusCode::NO_CONTENT)
}
