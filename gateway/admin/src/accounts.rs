//! Accounts.
//!
//! An account is a row in the directory and mailboxes in its shard, and no commit spans the two. Adding one makes
//! the row first; removing one suspends it, empties its shard and deletes the row last. So whatever is cut off
//! leaves a row, the same request sent again finds it and finishes, and no mailboxes are left that nobody knows.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use securanet_gateway::{
    client::AccountPlace,
    model::{
        Address, DomainName,
        account::{AccountAnswer, AccountCommand, AccountQuery, AccountRef, AccountRefusal, AccountReply},
        directory::{
            Account, AccountStatus, DirectoryAnswer, DirectoryCommand, DirectoryQuery, DirectoryRefusal,
            DirectoryReply, Quota, Verifiers,
        },
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Api, ApiError, Problem,
    domains::{QuotaView, change},
    input,
    input::{Asked, Named},
    listing::{self, Kind},
    passwords,
};

/// An account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccountView {
    /// Its number.
    id: u64,
    /// Its main address and login name.
    address: String,
    /// Its owner's name.
    display_name: String,
    /// `active` or `suspended`.
    status: &'static str,
    /// What it may hold.
    quota: QuotaView,
    /// Its shard.
    group: u32,
    /// When it was made, in milliseconds since 1970.
    created_unix_millis: u64,
    /// Octets used; only when one account is shown.
    used_bytes: Option<u64>,
    /// Messages used; only when one account is shown.
    used_messages: Option<u64>,
}

impl From<Account> for AccountView {
    fn from(account: Account) -> Self {
        Self {
            id: account.id.get(),
            address: account.address.to_string(),
            display_name: account.display_name,
            status: match account.status {
                AccountStatus::Active => "active",
                AccountStatus::Suspended => "suspended",
            },
            quota: account.quota.into(),
            group: account.group.get(),
            created_unix_millis: account.created.get(),
            used_bytes: None,
            used_messages: None,
        }
    }
}

/// An account to add. No `Debug`: it holds a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewAccount {
    /// Its main address.
    address: String,
    /// Its owner's name.
    #[serde(default)]
    display_name: String,
    /// Its password; without one nobody can log in yet.
    password: Option<String>,
    /// The site that it is at home in; without one any.
    site: Option<String>,
    /// What it may hold.
    #[serde(default)]
    quota: QuotaView,
}

/// What to change; a missing field stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountChange {
    /// New name.
    display_name: Option<String>,
    /// Suspend or wake.
    suspended: Option<bool>,
    /// New quota.
    quota: Option<QuotaView>,
}

/// Which accounts to list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    domain: Option<String>,
}

/// The account with this main address. An alias is not enough: whoever removes an alias's account by mistake
/// has lost a mailbox.
pub(crate) async fn find(api: &Api, address: &str) -> Result<Account, ApiError> {
    let address = Address::parse(address)?;
    match api.client.ask_directory(DirectoryQuery::AccountByAddress(address.clone())).await? {
        DirectoryAnswer::Account(Some(account)) if account.address == address => Ok(account),
        DirectoryAnswer::Account(Some(account)) => Err(ApiError::not_found(format!("account {address}"))
            .remedy(format!("it is another address of {}: name that account", account.address))),
        DirectoryAnswer::Account(None) => Err(ApiError::not_found(format!("account {address}"))),
        other => Err(ApiError::out_of_turn(other)),
    }
}

/// Where an account is.
pub(crate) fn place(account: &Account) -> AccountPlace {
    AccountPlace { group: account.group, account: AccountRef { id: account.id, epoch: account.epoch } }
}

/// Sends a command to an account's shard, refusals as errors.
pub(crate) async fn command(api: &Api, account: &Account, command: AccountCommand) -> Result<AccountReply, ApiError> {
    match api.client.account(place(account), command).await? {
        AccountReply::Refused(refusal) => Err(refusal.into()),
        reply => Ok(reply),
    }
}

/// Asks an account's shard, refusals as errors.
pub(crate) async fn ask(api: &Api, account: &Account, query: AccountQuery) -> Result<AccountAnswer, ApiError> {
    match api.client.ask_account(place(account), query).await? {
        AccountAnswer::Refused(refusal) => Err(refusal.into()),
        answer => Ok(answer),
    }
}

/// Lists accounts, of one domain or all, sorted by domain and local part.
#[utoipa::path(get, path = "/v1/accounts",
    params(("domain" = Option<String>, Query, description = "only of this domain")),
    responses((status = 200, body = [AccountView])))]
pub(crate) async fn list(State(api): State<Api>, Asked(filter): Asked<Filter>) -> Result<Response, ApiError> {
    let domain = filter.domain.as_deref().map(DomainName::parse).transpose()?;
    let rows = |answer| if let DirectoryAnswer::Accounts(rows) = answer { Some(rows) } else { None };
    let kind = Kind { rows, name: |account: &Account| account.address.canonical(), view: AccountView::from };
    listing::answer(&api, move |page| DirectoryQuery::Accounts(domain.clone(), page), kind).await
}

/// Adds an account with its INBOX and special-use mailboxes. Sent again after it was cut off, it finishes.
#[utoipa::path(post, path = "/v1/accounts", request_body = NewAccount,
    responses((status = 201, body = AccountView), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn create(
    State(api): State<Api>,
    input::Json(new): input::Json<NewAccount>,
) -> Result<(StatusCode, Json<AccountView>), ApiError> {
    let address = Address::parse(&new.address)?;
    let quota = Quota::from(new.quota);
    let password = match new.password {
        Some(password) => Some(passwords::verifiers(&api, address.domain(), password).await?),
        None => None,
    };
    let (display_name, verifiers) = (new.display_name.clone(), password.clone());
    let create = match new.site {
        None => DirectoryCommand::CreateAccount { address, display_name, password: verifiers, quota },
        Some(site) => {
            let site = site.parse().map_err(|error| ApiError::unprocessable(format!("site: {error}")))?;
            DirectoryCommand::CreateAccountIn { site, address, display_name, password: verifiers, quota }
        }
    };
    let account = match api.client.directory(create).await? {
        DirectoryReply::Account(account) => account,
        DirectoryReply::Refused(refusal @ DirectoryRefusal::Exists(_)) => {
            begun(&api, refusal, (&new.address, new.display_name, password, quota)).await?
        }
        DirectoryReply::Refused(refusal) => return Err(refusal.into()),
        other => return Err(ApiError::out_of_turn(other)),
    };
    let provision = AccountCommand::Provision { tenant: account.tenant, domain: account.domain, quota };
    command(&api, &account, provision).await?;
    Ok((StatusCode::CREATED, Json(account.into())))
}

/// The account that an earlier try has left without mailboxes, as this try wants it; the refusal when what
/// exists is something else.
async fn begun(
    api: &Api,
    refusal: DirectoryRefusal,
    (address, display_name, password, quota): (&str, String, Option<Verifiers>, Quota),
) -> Result<Account, ApiError> {
    let Ok(account) = find(api, address).await else { return Err(refusal.into()) };
    let there = api.client.ask_account(place(&account), AccountQuery::Quota).await?;
    if there != AccountAnswer::Refused(AccountRefusal::NoAccount) || account.status != AccountStatus::Active {
        return Err(refusal.into());
    }
    let update = DirectoryCommand::UpdateAccount {
        account: account.id,
        display_name: Some(display_name),
        status: None,
        quota: Some(quota),
    };
    change(api, update).await?;
    change(api, DirectoryCommand::SetPassword { account: account.id, password }).await?;
    find(api, address).await
}

/// Shows an account and what it uses.
#[utoipa::path(get, path = "/v1/accounts/{address}", params(("address" = String, Path)),
    responses((status = 200, body = AccountView), (status = 404, body = Problem)))]
pub(crate) async fn show(State(api): State<Api>, Named(address): Named<String>) -> Result<Json<AccountView>, ApiError> {
    let account = find(&api, &address).await?;
    let AccountAnswer::Quota(usage) = ask(&api, &account, AccountQuery::Quota).await? else {
        return Err(ApiError::out_of_turn("quota"));
    };
    let mut view = AccountView::from(account);
    (view.used_bytes, view.used_messages) = (Some(usage.bytes), Some(usage.messages));
    Ok(Json(view))
}

/// Changes an account. Suspending it ends its sessions within a second.
#[utoipa::path(patch, path = "/v1/accounts/{address}", params(("address" = String, Path)),
    request_body = AccountChange,
    responses((status = 200, body = AccountView), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn update(
    State(api): State<Api>,
    Named(address): Named<String>,
    input::Json(new): input::Json<AccountChange>,
) -> Result<Json<AccountView>, ApiError> {
    let account = find(&api, &address).await?.id;
    let status = new.suspended.map(|yes| if yes { AccountStatus::Suspended } else { AccountStatus::Active });
    let quota = new.quota.map(Quota::from);
    let update = DirectoryCommand::UpdateAccount { account, display_name: new.display_name, status, quota };
    let account = match change(&api, update).await? {
        DirectoryReply::Account(account) => account,
        other => return Err(ApiError::out_of_turn(other)),
    };
    if let Some(quota) = quota {
        command(&api, &account, AccountCommand::SetQuota(quota)).await?;
    }
    Ok(Json(account.into()))
}

/// Removes an account with all its mail, the aliases that lead to it, and its places on lists.
#[utoipa::path(delete, path = "/v1/accounts/{address}", params(("address" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn remove(State(api): State<Api>, Named(address): Named<String>) -> Result<StatusCode, ApiError> {
    let account = find(&api, &address).await?;
    let suspend = DirectoryCommand::UpdateAccount {
        account: account.id,
        display_name: None,
        status: Some(AccountStatus::Suspended),
        quota: None,
    };
    change(&api, suspend).await?;
    match api.client.account(place(&account), AccountCommand::Remove).await? {
        // An earlier try was cut off behind this step.
        AccountReply::Refused(AccountRefusal::NoAccount) => {}
        AccountReply::Refused(refusal) => return Err(refusal.into()),
        _ => {}
    }
    change(&api, DirectoryCommand::DeleteAccount { account: account.id }).await?;
    Ok(StatusCode::NO_CONTENT)
}
