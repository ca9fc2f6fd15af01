//! An account's mailboxes.

use axum::{Json, extract::State, http::StatusCode};
use securanet_gateway::model::{
    MailboxName,
    account::{AccountAnswer, AccountCommand, AccountQuery, MailboxInfo},
    directory::Account,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Api, ApiError, Problem,
    accounts::{ask, command, find},
    input,
    input::Named,
};

/// A mailbox.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MailboxView {
    /// Its name.
    name: String,
    /// Its special use, `\Sent` for instance.
    special_use: Option<&'static str>,
    /// Messages in it.
    messages: u64,
    /// Those not read.
    unseen: u64,
    /// Octets in it.
    size_bytes: u64,
    /// RFC 9051 UIDVALIDITY.
    uid_validity: u32,
    /// RFC 9051 UIDNEXT.
    uid_next: u32,
}

impl From<MailboxInfo> for MailboxView {
    fn from(info: MailboxInfo) -> Self {
        Self {
            name: info.name.to_string(),
            special_use: info.special_use.map(|special| special.attribute()),
            messages: info.messages,
            unseen: info.unseen,
            size_bytes: info.size_bytes,
            uid_validity: info.uid_validity.get(),
            uid_next: info.uid_next.get(),
        }
    }
}

/// A mailbox's name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewName {
    /// The name, levels separated by `/`.
    name: String,
}

/// The mailbox with this name.
pub(crate) async fn by_name(api: &Api, account: &Account, name: &str) -> Result<MailboxInfo, ApiError> {
    match ask(api, account, AccountQuery::MailboxByName(MailboxName::parse(name)?)).await? {
        AccountAnswer::Mailbox(Some(info)) => Ok(*info),
        AccountAnswer::Mailbox(None) => Err(ApiError::not_found(format!("mailbox {name}"))),
        other => Err(ApiError::out_of_turn(other)),
    }
}

/// Lists an account's mailboxes, sorted by name.
#[utoipa::path(get, path = "/v1/accounts/{address}/mailboxes", params(("address" = String, Path)),
    responses((status = 200, body = [MailboxView]), (status = 404, body = Problem)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Named(address): Named<String>,
) -> Result<Json<Vec<MailboxView>>, ApiError> {
    let account = find(&api, &address).await?;
    match ask(&api, &account, AccountQuery::Mailboxes).await? {
        AccountAnswer::Mailboxes(rows) => Ok(Json(rows.into_iter().map(MailboxView::from).collect())),
        other => Err(ApiError::out_of_turn(other)),
    }
}

/// Makes a mailbox, missing parents too.
#[utoipa::path(post, path = "/v1/accounts/{address}/mailboxes", params(("address" = String, Path)),
    request_body = NewName,
    responses((status = 201), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn create(
    State(api): State<Api>,
    Named(address): Named<String>,
    input::Json(new): input::Json<NewName>,
) -> Result<StatusCode, ApiError> {
    let account = find(&api, &address).await?;
    let name = MailboxName::parse(&new.name)?;
    command(&api, &account, AccountCommand::CreateMailbox { name, special_use: None }).await?;
    Ok(StatusCode::CREATED)
}

/// Deletes a mailbox with its messages.
#[utoipa::path(delete, path = "/v1/accounts/{address}/mailboxes/{name}",
    params(("address" = String, Path), ("name" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn remove(
    State(api): State<Api>,
    Named((address, name)): Named<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let account = find(&api, &address).await?;
    command(&api, &account, AccountCommand::DeleteMailbox { name: MailboxName::parse(&name)? }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Renames a mailbox and those below it.
#[utoipa::path(patch, path = "/v1/accounts/{address}/mailboxes/{name}",
    params(("address" = String, Path), ("name" = String, Path)), request_body = NewName,
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn rename(
    State(api): State<Api>,
    Named((address, name)): Named<(String, String)>,
    input::Json(new): input::Json<NewName>,
) -> Result<StatusCode, ApiError> {
    let account = find(&api, &address).await?;
    let (from, to) = (MailboxName::parse(&name)?, MailboxName::parse(&new.name)?);
    command(&api, &account, AccountCommand::RenameMailbox { from, to }).await?;
    Ok(StatusCode::NO_CONTENT)
}
