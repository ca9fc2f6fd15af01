//! Relay grants: devices that submit mail without logging in.

use axum::{Json, extract::State, http::StatusCode};
use securanet_gateway::model::{
    Address, DomainName,
    directory::{DirectoryAnswer, DirectoryCommand, DirectoryQuery},
    sending::{CertificateDigest, Network, RelayGrant, RelayRecipients},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Api, ApiError, Problem, domains::change, input, input::Named};

/// A relay grant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RelayView {
    /// What the operator calls it.
    name: String,
    /// From where, in CIDR notation.
    networks: Vec<String>,
    /// From anywhere with one of these TLS client certificates: their SHA-256.
    certificates: Vec<String>,
    /// As whom.
    senders: Vec<String>,
    /// To which domains besides ours; nothing: anywhere.
    recipient_domains: Option<Vec<String>>,
    /// Recipients in an hour, all devices together, at each gateway.
    recipients_per_hour: u32,
}

impl From<RelayGrant> for RelayView {
    fn from(grant: RelayGrant) -> Self {
        Self {
            name: grant.name,
            networks: grant.networks.iter().map(ToString::to_string).collect(),
            certificates: grant.certificates.iter().map(ToString::to_string).collect(),
            senders: grant.senders.iter().map(ToString::to_string).collect(),
            recipient_domains: match grant.recipients {
                RelayRecipients::Anybody => None,
                RelayRecipients::Domains(domains) => Some(domains.iter().map(ToString::to_string).collect()),
            },
            recipients_per_hour: grant.recipients_per_hour,
        }
    }
}

/// What a relay grant says.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRelay {
    /// From where, in CIDR notation. At least one network or certificate.
    #[serde(default)]
    networks: Vec<String>,
    /// From anywhere with one of these TLS client certificates: 64 hexadecimal digits of their SHA-256. Only
    /// listeners with `client_certificates = true` ask for one.
    #[serde(default)]
    certificates: Vec<String>,
    /// As whom: addresses in domains of ours; `*@domain` means each of a domain.
    senders: Vec<String>,
    /// To which domains besides ours; nothing: anywhere.
    recipient_domains: Option<Vec<String>>,
    /// Recipients in an hour, all devices together, at each gateway.
    recipients_per_hour: u32,
}

/// A grant was set.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RelaySet {
    /// What the operator should look at once more.
    warnings: Vec<String>,
}

/// Lists relay grants, sorted by name.
#[utoipa::path(get, path = "/v1/relays", responses((status = 200, body = [RelayView])))]
pub(crate) async fn list(State(api): State<Api>) -> Result<Json<Vec<RelayView>>, ApiError> {
    match api.client.ask_directory(DirectoryQuery::RelayGrants).await? {
        DirectoryAnswer::RelayGrants(grants) => Ok(Json(grants.into_iter().map(RelayView::from).collect())),
        other => Err(ApiError::out_of_turn(other)),
    }
}

/// Lets devices submit mail, or replaces what the grant of this name says.
#[utoipa::path(put, path = "/v1/relays/{name}", params(("name" = String, Path)), request_body = NewRelay,
    responses((status = 200, body = RelaySet), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(crate) async fn put(
    State(api): State<Api>,
    Named(name): Named<String>,
    input::Json(new): input::Json<NewRelay>,
) -> Result<Json<RelaySet>, ApiError> {
    let networks: Result<Vec<Network>, _> = new.networks.iter().map(|network| network.parse()).collect();
    let senders: Result<Vec<Address>, _> = new.senders.iter().map(|sender| Address::parse(sender)).collect();
    let recipients = match &new.recipient_domains {
        None => RelayRecipients::Anybody,
        Some(domains) => {
            let domains: Result<Vec<DomainName>, _> = domains.iter().map(|domain| DomainName::parse(domain)).collect();
            RelayRecipients::Domains(domains?)
        }
    };
    let networks = networks.map_err(ApiError::unprocessable)?;
    let certificates: Result<Vec<CertificateDigest>, _> =
        new.certificates.iter().map(|certificate| certificate.parse()).collect();
    let certificates = certificates.map_err(ApiError::unprocessable)?;
    let recipients_per_hour = new.recipients_per_hour;
    let grant = RelayGrant { name, networks, certificates, senders: senders?, recipients, recipients_per_hour };
    let warnings = warnings(&grant);
    change(&api, DirectoryCommand::PutRelay(grant)).await?;
    Ok(Json(RelaySet { warnings }))
}

/// What an operator may not have meant. The whole address space is refused by the directory itself.
fn warnings(grant: &RelayGrant) -> Vec<String> {
    if grant.recipients != RelayRecipients::Anybody {
        return Vec::new();
    }
    let vast = grant.networks.iter().filter(|network| network.is_vast());
    vast.map(|network| {
        format!("{network} is more than any organisation has: whoever is in it may send to anybody; name your devices' networks")
    })
    .collect()
}

/// Takes a relay grant back.
#[utoipa::path(delete, path = "/v1/relays/{name}", params(("name" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(crate) async fn remove(State(api): State<Api>, Named(name): Named<String>) -> Result<StatusCode, ApiError> {
    change(&api, DirectoryCommand::DeleteRelay { name }).await?;
    Ok(StatusCode::NO_CONTENT)
}
