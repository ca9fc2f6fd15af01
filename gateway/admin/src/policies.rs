//! Policies: the catalogue with what is set, what holds for somebody, and setting one.

use axum::{Json, extract::State, http::StatusCode};
use securanet_gateway::model::{
    DomainName,
    directory::{DirectoryAnswer, DirectoryCommand, DirectoryQuery},
    policy::{self, Kind, Scope},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Api, ApiError, Problem, accounts,
    domains::{self, change},
    input,
    input::{Asked, Named},
};

/// One policy with its values.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PolicyView {
    /// Its key.
    key: &'static str,
    /// What its value is.
    kind: String,
    /// Unit of a number.
    unit: &'static str,
    /// Its value where none is set.
    default: &'static str,
    /// For whom it can be set: `cluster`, `domain`, `account`.
    scopes: Vec<&'static str>,
    /// What it does.
    about: &'static str,
    /// The values that are set.
    values: Vec<PolicyValue>,
}

/// A value and who set it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PolicyValue {
    /// `default`, `cluster`, `domain 3` or `account 7`.
    scope: String,
    /// The value.
    value: String,
}

/// A value to set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewValue {
    /// Only for this domain.
    domain: Option<String>,
    /// Only for this account.
    account: Option<String>,
    /// The value; null goes back to the wider scope's.
    value: Option<String>,
}

/// For whom a policy is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Whom {
    domain: Option<String>,
    account: Option<String>,
}

fn kind_text(kind: Kind) -> String {
    match kind {
        Kind::Boolean => "true or false".to_owned(),
        Kind::Number { min, max } => format!("{min} to {max}"),
        Kind::Word(words) => words.join(" or "),
        Kind::Durations { count_max: 1, .. } => "a time such as 4h, or empty".to_owned(),
        Kind::Durations { count_min, count_max, .. } => format!("{count_min} to {count_max} times such as 15m,2h,1d"),
    }
}

fn scopes(policy: &policy::Policy) -> Vec<&'static str> {
    let narrower = [(policy.per_domain, "domain"), (policy.per_account, "account")];
    let allowed = narrower.into_iter().filter_map(|(allowed, scope)| allowed.then_some(scope));
    std::iter::once("cluster").chain(allowed).collect()
}

pub(crate) fn scope_text(scope: Scope) -> String {
    match scope {
        Scope::Cluster => "cluster".to_owned(),
        Scope::Domain(domain) => format!("domain {domain}"),
        Scope::Account(account) => format!("account {account}"),
    }
}

async fn scope(api: &Api, domain: Option<&str>, account: Option<&str>) -> Result<Scope, ApiError> {
    match (domain, account) {
        (None, None) => Ok(Scope::Cluster),
        (None, Some(address)) => Ok(Scope::Account(accounts::find(api, address).await?.id)),
        (Some(name), None) => Ok(Scope::Domain(domains::find(api, &DomainName::parse(name)?).await?.id)),
        (Some(_), Some(_)) => Err(ApiError::unprocessable("a policy is set for a domain or an account, not for both")),
    }
}

/// Lists the catalogue with what is set.
#[utoipa::path(get, path = "/v1/policies", responses((status = 200, body = [PolicyView])))]
pub(crate) async fn list(State(api): State<Api>) -> Result<Json<Vec<PolicyView>>, ApiError> {
    let set = match api.client.ask_directory(DirectoryQuery::Policies).await? {
        DirectoryAnswer::Policies(set) => set,
        other => return Err(ApiError::out_of_turn(other)),
    };
    let values = |key: &str| {
        let own = set.iter().filter(|(set_key, ..)| set_key == key);
        own.map(|(_, scope, value)| PolicyValue { scope: scope_text(*scope), value: value.clone() }).collect()
    };
    let view = |policy: &'static policy::Policy| PolicyView {
        key: policy.key,
        kind: kind_text(policy.kind),
        unit: policy.unit,
        default: policy.default,
        scopes: scopes(policy),
        about: policy.about,
        values: values(policy.key),
    };
    Ok(Json(policy::CATALOGUE.iter().map(view).collect()))
}

/// Shows which value holds for an account, a domain or the cluster, and who set it.
#[utoipa::path(get, path = "/v1/policies/{key}",
    params(("key" = String, Path), ("domain" = Option<String>, Query), ("account" = Option<String>, Query)),
    responses((status = 200, body = PolicyValue), (status = 404, body = Problem)))]
pub(crate) async fn show(
    State(api): State<Api>,
    Named(key): Named<String>,
    Asked(whom): Asked<Whom>,
) -> Result<Json<PolicyValue>, ApiError> {
    let scope = scope(&api, whom.domain.as_deref(), whom.account.as_deref()).await?;
    match api.client.ask_directory(DirectoryQuery::Policy(key.clone(), scope)).await? {
        DirectoryAnswer::Policy(Some((value, scope))) => {
            Ok(Json(PolicyValue { scope: scope.map_or_else(|| "default".to_owned(), scope_text), value }))
        }
        DirectoryAnswer::Policy(None) => {
            Err(ApiError::not_found(format!("policy {key}")).remedy("`securanet policy list` shows them all"))
        }
        other => Err(ApiError::out_of_turn(other)),
    }
}

/// Sets a policy.
#[utoipa::path(put, path = "/v1/policies/{key}", params(("key" = String, Path)), request_body = NewValue,
    responses((status = 204), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn set(
    State(api): State<Api>,
    Named(key): Named<String>,
    input::Json(new): input::Json<NewValue>,
) -> Result<StatusCode, ApiError> {
    let scope = scope(&api, new.domain.as_deref(), new.account.as_deref()).await?;
    change(&api, DirectoryCommand::SetPolicy { key, scope, value: new.value }).await?;
    Ok(StatusCode::NO_CONTENT)
}
