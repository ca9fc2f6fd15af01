//! Which policies hold for a message from one address to another, and who set each.
//!
//! What is about the mail of an account (its queue, its submissions, its login) goes by the sender; what is about mail
//! that comes in goes by the recipient. A policy about accounts says nothing of an address that is not one of ours. The
//! queue's retries hold for all mail: what no account of ours submitted goes by the cluster's.

use axum::{Json, extract::State};
use securanet_gateway::model::{
    RecipientAddress,
    directory::{Account, DirectoryAnswer, DirectoryQuery},
    policy::{self, Scope},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Api, ApiError, Problem, input::Asked, policies::scope_text};

/// Of what message.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Between {
    sender: String,
    recipient: String,
}

/// A policy that holds for the message.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Explained {
    /// Its key.
    key: &'static str,
    /// The value that holds.
    value: String,
    /// Unit of a number.
    unit: &'static str,
    /// Who set it: `default`, `cluster`, `domain 3` or `account 7`.
    scope: String,
    /// The value where none is set.
    default: &'static str,
    /// Whose it is: `sender`, `recipient`, or `all mail`.
    of: &'static str,
}

/// By whom a policy goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Goes {
    Sender,
    SenderOrCluster,
    Recipient,
}

/// By the first part of its key.
fn goes(key: &str) -> Goes {
    match key.split('.').next() {
        Some("smtp") => Goes::Recipient,
        Some("queue") => Goes::SenderOrCluster,
        _ => Goes::Sender,
    }
}

/// The account that an address leads to.
async fn account(api: &Api, address: &str) -> Result<Option<Account>, ApiError> {
    if matches!(address, "" | "<>") {
        return Ok(None);
    }
    // None of ours is at a host without a name.
    let RecipientAddress::Named(address) = RecipientAddress::parse(address)? else { return Ok(None) };
    match api.client.ask_directory(DirectoryQuery::AccountByAddress(address)).await? {
        DirectoryAnswer::Account(account) => Ok(account),
        other => Err(ApiError::out_of_turn(other)),
    }
}

/// Shows which policies hold for a message, their values, and who set each.
#[utoipa::path(get, path = "/v1/policies/explain",
    params(("sender" = String, Query, description = "`<>` for reports"), ("recipient" = String, Query)),
    responses((status = 200, body = [Explained]), (status = 422, body = Problem)))]
pub(crate) async fn show(
    State(api): State<Api>,
    Asked(Between { sender, recipient }): Asked<Between>,
) -> Result<Json<Vec<Explained>>, ApiError> {
    let scope = |account: Option<Account>| account.map(|account| Scope::Account(account.id));
    let sender = scope(account(&api, &sender).await?);
    let recipient = scope(account(&api, &recipient).await?);
    let mut explained = Vec::new();
    for policy in policy::CATALOGUE {
        let found = match goes(policy.key) {
            Goes::Sender => sender.map(|scope| ("sender", scope)),
            Goes::SenderOrCluster => sender.map(|scope| ("sender", scope)).or(Some(("all mail", Scope::Cluster))),
            Goes::Recipient => recipient.map(|scope| ("recipient", scope)),
        };
        let Some((of, scope)) = found else { continue };
        let DirectoryAnswer::Policy(Some((value, set_by))) =
            api.client.ask_directory(DirectoryQuery::Policy(policy.key.to_owned(), scope)).await?
        else {
            return Err(ApiError::out_of_turn(policy.key));
        };
        let scope = set_by.map_or_else(|| "default".to_owned(), scope_text);
        explained.push(Explained { key: policy.key, value, unit: policy.unit, scope, default: policy.default, of });
    }
    Ok(Json(explained))
}
