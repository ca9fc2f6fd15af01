//! The keys that sign a domain's mail. Private keys are made here and go to the directory; no answer has one.

use axum::{Json, extract::State, http::StatusCode};
use securanet_gateway::{
    model::{
        DomainName,
        directory::{DirectoryAnswer, DirectoryCommand, DirectoryQuery},
        dkim::{DkimAlgorithm, DkimKey, DkimState, Selector, SelectorError},
    },
    signing::{KeyError, SigningKey, txt_strings},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    Api, ApiError, Problem,
    domains::{change, find},
    input,
    input::Named,
};

/// How a key signs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AlgorithmView {
    /// RFC 6376: what every receiver knows.
    RsaSha256,
    /// RFC 8463.
    Ed25519Sha256,
}

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StateView {
    /// Its record is to be published in the DNS; it does not sign yet.
    Published,
    /// It signs.
    Active,
    /// It signs no more; its record stays published for some days.
    Retired,
}

/// A key, without its private part.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyView {
    /// Its name, `s=` in signatures.
    selector: String,
    /// How it signs.
    algorithm: AlgorithmView,
    /// Where it is in its life.
    state: StateView,
    /// When it was made, in milliseconds since 1970.
    created_unix_millis: u64,
    /// The name of its TXT record.
    record_name: String,
    /// The value of its TXT record.
    record_value: String,
    /// The record as a line of a zone file, cut into strings of at most 255 octets.
    zone_line: String,
}

/// A key to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// Its name in the DNS; not in use yet.
    selector: String,
    /// How it signs.
    algorithm: AlgorithmView,
}

/// What to change of a key.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyChange {
    /// Its state from now on. The one that becomes active retires the active one of the same algorithm.
    state: StateView,
}

impl From<AlgorithmView> for DkimAlgorithm {
    fn from(view: AlgorithmView) -> Self {
        match view {
            AlgorithmView::RsaSha256 => Self::RsaSha256,
            AlgorithmView::Ed25519Sha256 => Self::Ed25519Sha256,
        }
    }
}

impl From<StateView> for DkimState {
    fn from(view: StateView) -> Self {
        match view {
            StateView::Published => Self::Published,
            StateView::Active => Self::Active,
            StateView::Retired => Self::Retired,
        }
    }
}

impl From<SelectorError> for ApiError {
    fn from(error: SelectorError) -> Self {
        Self::unprocessable(error)
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        Self::internal(error)
    }
}

fn view(key: &DkimKey) -> Result<KeyView, ApiError> {
    let record_value = SigningKey::open(key.algorithm, &key.private)?.record()?;
    let record_name = format!("{}._domainkey.{}", key.selector, key.domain);
    Ok(KeyView {
        selector: key.selector.to_string(),
        algorithm: match key.algorithm {
            DkimAlgorithm::RsaSha256 => AlgorithmView::RsaSha256,
            DkimAlgorithm::Ed25519Sha256 => AlgorithmView::Ed25519Sha256,
        },
        state: match key.state {
            DkimState::Published => StateView::Published,
            DkimState::Active => StateView::Active,
            DkimState::Retired => StateView::Retired,
        },
        created_unix_millis: key.created.get(),
        zone_line: format!("{record_name}. IN TXT {}", txt_strings(&record_value)),
        record_name,
        record_value,
    })
}

async fn keys(api: &Api, domain: &DomainName) -> Result<Vec<DkimKey>, ApiError> {
    find(api, domain).await?;
    match api.client.ask_directory(DirectoryQuery::DkimKeys(domain.clone())).await? {
        DirectoryAnswer::DkimKeys(keys) => Ok(keys),
        // Not shown: it may hold what must not be.
        _ => Err(ApiError::internal("the store answered out of turn")),
    }
}

async fn key(api: &Api, domain: &DomainName, selector: &Selector) -> Result<DkimKey, ApiError> {
    let found = keys(api, domain).await?.into_iter().find(|key| key.selector == *selector);
    found.ok_or_else(|| ApiError::not_found(format!("key {selector} of {domain}")))
}

/// Lists the keys of a domain, sorted by selector, with their DNS records.
#[utoipa::path(get, path = "/v1/domains/{name}/dkim", params(("name" = String, Path)),
    responses((status = 200, body = [KeyView]), (status = 404, body = Problem)))]
pub(crate) async fn list(State(api): State<Api>, Named(name): Named<String>) -> Result<Json<Vec<KeyView>>, ApiError> {
    let keys = keys(&api, &DomainName::parse(&name)?).await?;
    keys.iter().map(view).collect::<Result<Vec<_>, _>>().map(Json)
}

/// Makes a key, which signs once it is made active, and shows the DNS record to publish first.
#[utoipa::path(post, path = "/v1/domains/{name}/dkim", params(("name" = String, Path)), request_body = NewKey,
    responses((status = 201, body = KeyView), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub(crate) async fn add(
    State(api): State<Api>,
    Named(name): Named<String>,
    input::Json(new): input::Json<NewKey>,
) -> Result<(StatusCode, Json<KeyView>), ApiError> {
    let domain = DomainName::parse(&name)?;
    let selector: Selector = new.selector.parse()?;
    let algorithm = DkimAlgorithm::from(new.algorithm);
    let made = tokio::task::spawn_blocking(move || SigningKey::generate(algorithm)).await;
    let private = made.map_err(ApiError::internal)??;
    let put = DirectoryCommand::PutDkimKey { domain: domain.clone(), selector: selector.clone(), algorithm, private };
    change(&api, put).await?;
    let key = key(&api, &domain, &selector).await?;
    Ok((StatusCode::CREATED, Json(view(&key)?)))
}

/// Lets a key sign, or lets it sign no more.
#[utoipa::path(patch, path = "/v1/domains/{name}/dkim/{selector}",
    params(("name" = String, Path), ("selector" = String, Path)), request_body = KeyChange,
    responses((status = 200, body = KeyView), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn update(
    State(api): State<Api>,
    Named((name, selector)): Named<(String, String)>,
    input::Json(new): input::Json<KeyChange>,
) -> Result<Json<KeyView>, ApiError> {
    let (domain, selector): (_, Selector) = (DomainName::parse(&name)?, selector.parse()?);
    let state = DkimState::from(new.state);
    let set = DirectoryCommand::SetDkimState { domain: domain.clone(), selector: selector.clone(), state };
    change(&api, set).await?;
    view(&key(&api, &domain, &selector).await?).map(Json)
}

/// Forgets a key that does not sign.
#[utoipa::path(delete, path = "/v1/domains/{name}/dkim/{selector}",
    params(("name" = String, Path), ("selector" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(crate) async fn remove(
    State(api): State<Api>,
    Named((name, selector)): Named<(String, String)>,
) -> Result<StatusCode, ApiError> {
    let (domain, selector): (_, Selector) = (DomainName::parse(&name)?, selector.parse()?);
    if key(&api, &domain, &selector).await?.state == DkimState::Active {
        let error = ApiError::new(StatusCode::CONFLICT, format!("key {selector} signs the mail of {domain}"));
        return Err(error.remedy("make another one active first, or retire it"));
    }
    change(&api, DirectoryCommand::DeleteDkimKey { domain, selector }).await?;
    Ok(StatusCode::NO_CONTENT)
}
