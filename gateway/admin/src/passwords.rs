//! Passwords and app passwords: they come in the clear and leave as verifiers; no reply repeats one that was sent.

use axum::{Json, extract::State, http::StatusCode};
use securanet_gateway::{
    login::password,
    model::{
        AppPasswordId, DomainName,
        directory::{
            AppPassword, DirectoryAnswer, DirectoryCommand, DirectoryQuery, DirectoryRefusal, DirectoryReply, Verifiers,
        },
        policy::Scope,
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Api, ApiError, Problem,
    accounts::find,
    domains::{self, change},
    input,
    input::Named,
};

/// Shortest password that is accepted (NIST SP 800-63B 5.1.1.2).
const PASSWORD_CHARACTERS_MIN: usize = 8;
/// Draws of an app password. With the 32 that an account may have, one draw in 32,000 meets another one's first
/// letters: four in a row mean that the random numbers are none.
const DRAWS_MAX: usize = 4;

/// A password to set. No `Debug`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPassword {
    /// The password; null removes it.
    password: Option<String>,
}

/// An app password to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAppPassword {
    /// What its owner calls it.
    label: String,
}

/// An app password just made: the only time that it is shown. No `Debug`.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeAppPassword {
    /// Its number.
    id: u32,
    /// The password.
    password: String,
}

/// An app password.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AppPasswordView {
    /// Its number.
    id: u32,
    /// What its owner calls it.
    label: String,
    /// When it was made, in milliseconds since 1970.
    created_unix_millis: u64,
}

impl From<AppPassword> for AppPasswordView {
    fn from(password: AppPassword) -> Self {
        Self { id: password.id.get(), label: password.label, created_unix_millis: password.created.get() }
    }
}

/// What is kept of a password. It is computed away from the threads that serve: argon2id takes tens of
/// milliseconds by design.
pub(crate) async fn verifiers(api: &Api, domain: &DomainName, text: String) -> Result<Verifiers, ApiError> {
    if text.chars().count() < PASSWORD_CHARACTERS_MIN {
        let error = format!("a password has at least {PASSWORD_CHARACTERS_MIN} characters");
        return Err(ApiError::unprocessable(error));
    }
    let with_scram = keeps_scram(api, domain).await?;
    let made = tokio::task::spawn_blocking(move || password::make_verifiers(&text, with_scram)).await;
    Ok(made.map_err(ApiError::internal)??)
}

async fn keeps_scram(api: &Api, domain: &DomainName) -> Result<bool, ApiError> {
    let scope = Scope::Domain(domains::find(api, domain).await?.id);
    match api.client.ask_directory(DirectoryQuery::Policy("login.scram".to_owned(), scope)).await? {
        DirectoryAnswer::Policy(policy) => Ok(policy.is_none_or(|(value, _)| value == "true")),
        other => Err(ApiError::out_of_turn(other)),
    }
}

/// Sets or removes the password; open sessions end within a second.
#[utoipa::path(put, path = "/v1/accounts/{address}/password", params(("address" = String, Path)),
    request_body = NewPassword,
    responses((status = 204), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn set(
    State(api): State<Api>,
    Named(address): Named<String>,
    input::Json(new): input::Json<NewPassword>,
) -> Result<StatusCode, ApiError> {
    let account = find(&api, &address).await?;
    let password = match new.password {
        Some(password) => Some(verifiers(&api, account.address.domain(), password).await?),
        None => None,
    };
    change(&api, DirectoryCommand::SetPassword { account: account.id, password }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists app passwords; none where policy forbids to use them.
#[utoipa::path(get, path = "/v1/accounts/{address}/app-passwords", params(("address" = String, Path)),
    responses((status = 200, body = [AppPasswordView]), (status = 404, body = Problem)))]
pub(crate) async fn list_app(
    State(api): State<Api>,
    Named(address): Named<String>,
) -> Result<Json<Vec<AppPasswordView>>, ApiError> {
    let account = find(&api, &address).await?;
    match api.client.ask_directory(DirectoryQuery::Credentials(account.address.to_string())).await? {
        DirectoryAnswer::Credentials(found) => {
            let passwords = found.map(|found| found.app_passwords).unwrap_or_default();
            Ok(Json(passwords.into_iter().map(AppPasswordView::from).collect()))
        }
        _ => Err(ApiError::out_of_turn("credentials")),
    }
}

/// Makes an app password and shows it once.
#[utoipa::path(post, path = "/v1/accounts/{address}/app-passwords", params(("address" = String, Path)),
    request_body = NewAppPassword,
    responses((status = 201, body = MadeAppPassword), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn add_app(
    State(api): State<Api>,
    Named(address): Named<String>,
    input::Json(new): input::Json<NewAppPassword>,
) -> Result<(StatusCode, Json<MadeAppPassword>), ApiError> {
    let account = find(&api, &address).await?;
    for _ in 0..DRAWS_MAX {
        let made = tokio::task::spawn_blocking(password::make_app_password).await.map_err(ApiError::internal)??;
        let (label, verifiers) = (new.label.clone(), made.verifiers);
        match api.client.directory(DirectoryCommand::AddAppPassword { account: account.id, label, verifiers }).await? {
            DirectoryReply::AppPassword(id) => {
                let password = made.password.expose().to_owned();
                return Ok((StatusCode::CREATED, Json(MadeAppPassword { id: id.get(), password })));
            }
            // Its first letters say which one it is, and another one of the account has the same.
            DirectoryReply::Refused(DirectoryRefusal::Exists(_)) => {}
            DirectoryReply::Refused(refusal) => return Err(refusal.into()),
            other => return Err(ApiError::out_of_turn(other)),
        }
    }
    Err(ApiError::internal("each app password drawn had the first letters of another one"))
}

/// Removes an app password; open sessions end within a second.
#[utoipa::path(delete, path = "/v1/accounts/{address}/app-passwords/{id}",
    params(("address" = String, Path), ("id" = u32, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn remove_app(
    State(api): State<Api>,
    Named((address, id)): Named<(String, u32)>,
) -> Result<StatusCode, ApiError> {
    let account = find(&api, &address).await?;
    change(&api, DirectoryCommand::RemoveAppPassword { account: account.id, id: AppPasswordId::new(id) }).await?;
    Ok(StatusCode::NO_CONTENT)
}
