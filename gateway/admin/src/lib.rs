//! The operators' HTTP API: JSON, described by OpenAPI, behind a bearer token.
//!
//! It is a gateway like the others: everything it changes goes through [`StoreClient`]. What only the node itself
//! knows (its status, its disks, a scrub, its metrics) comes through the [`Node`] port.
//!
//! It takes passwords in the clear, so everything below `/v1` is served to this machine only: a peer that is not
//! loopback is refused before its token is looked at. An operator elsewhere comes through a tunnel or a proxy that
//! ends TLS here. `/healthz`, `/readyz`, `/metrics` and `/openapi.json` hold no secret, need no token and are
//! served to whoever reaches the address, for probes and scrapes.
//!
//! A refusal is a [`Problem`]: what is wrong and, where there is something to do, what. A change that was cut off
//! halfway (an account is in the directory and not yet in its shard) is finished by sending it again. No reply
//! carries a secret but the app password just made.

mod accounts;
mod aliases;
mod deliveries;
mod description;
mod dkim;
mod domains;
mod error;
mod explain;
mod forwardings;
mod grants;
mod guard;
mod held;
mod input;
mod line_endings;
mod listing;
mod lists;
mod mailboxes;
mod messages;
mod node;
mod nodes;
mod passwords;
mod policies;
mod queue;
mod relays;
mod reroute;
mod scrub;
mod serve;
#[cfg(test)]
mod tests;
mod tls_reports;
mod token;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{delete, get, patch, post, put},
};
use securanet_gateway::client::StoreClient;

pub use error::{ApiError, Problem};
pub use guard::Peer;
pub use node::{
    ClusterNode, Finding, Node, NodeStatus, OutboundStatus, ReplicaStatus, ScrubReport, ShardStatus, Survives,
};
pub use serve::serve;
pub use token::Token;

/// Octets of a JSON body: a list with ten thousand members of the longest addresses is some three megabytes.
const JSON_OCTETS_MAX: usize = 4 * 1024 * 1024;

/// A request that is neither a listing nor carries a message is answered within this time; a commit has half of it.
const REQUEST_PATIENCE: Duration = Duration::from_secs(60);

/// What handlers share.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) client: StoreClient,
    pub(crate) node: Arc<dyn Node>,
    pub(crate) token: Arc<Token>,
    pub(crate) scrubs: Arc<scrub::Scrubs>,
}

/// Builds the routes.
pub fn router(client: StoreClient, node: Arc<dyn Node>, token: Token) -> Router {
    let api = Api { client, node, token: Arc::new(token), scrubs: Arc::default() };
    // Messages and scrubs take as long as they take; each of their steps has its own deadline.
    let patient = Router::new()
        .route("/accounts/{address}/messages", get(messages::list).post(messages::import))
        .route("/accounts/{address}/messages/{uid}", get(messages::export))
        .route("/scrub", get(scrub::show).post(scrub::start))
        .route("/queue", get(queue::list).post(queue::operate))
        .layer(DefaultBodyLimit::disable());
    let v1 = domain_routes()
        .merge(account_routes())
        .route("/held", get(held::list))
        .route("/held/{id}", delete(held::discard))
        .route("/held/{id}/release", post(held::release))
        .route("/queue/{id}", get(queue::show))
        .route("/trace", get(queue::trace))
        .route("/deliveries", get(deliveries::list))
        .route("/status", get(node::status))
        .route("/nodes", get(nodes::list))
        .route("/nodes/{name}", patch(nodes::update))
        .route("/nodes/{name}/leads/{group}", put(nodes::lead))
        .route("/node-tokens", post(nodes::add_token))
        .layer(DefaultBodyLimit::max(JSON_OCTETS_MAX))
        .layer(middleware::from_fn(guard::deadline))
        .merge(patient)
        .fallback(error::no_route)
        .layer(middleware::from_fn_with_state(api.clone(), guard::operators_only));
    Router::new()
        .nest("/v1", v1)
        .route("/healthz", get(node::healthz))
        .route("/readyz", get(node::readyz))
        .route("/metrics", get(node::metrics))
        .route("/openapi.json", get(description::show))
        .fallback(error::no_route)
        .method_not_allowed_fallback(error::no_method)
        .with_state(api)
}

fn domain_routes() -> Router<Api> {
    Router::new()
        .route("/domains", get(domains::list).post(domains::create))
        .route("/domains/{name}", get(domains::show).patch(domains::update).delete(domains::remove))
        .route("/domains/{name}/dkim", get(dkim::list).post(dkim::add))
        .route("/domains/{name}/dkim/{selector}", patch(dkim::update).delete(dkim::remove))
        .route("/aliases", get(aliases::list).post(aliases::create))
        .route("/aliases/{address}", delete(aliases::remove))
        .route("/forwardings", get(forwardings::list))
        .route(
            "/accounts/{address}/forwarding",
            get(forwardings::show).put(forwardings::set).delete(forwardings::remove),
        )
        .route("/lists", get(lists::list))
        .route("/lists/{address}", get(lists::show).put(lists::put).delete(lists::remove))
        .route("/relays", get(relays::list))
        .route("/relays/{name}", put(relays::put).delete(relays::remove))
        .route("/tls-reports/{day}", get(tls_reports::list).post(tls_reports::send))
        .route("/policies", get(policies::list))
        .route("/policies/explain", get(explain::show))
        .route("/policies/{key}", get(policies::show).put(policies::set))
}

fn account_routes() -> Router<Api> {
    Router::new()
        .route("/accounts", get(accounts::list).post(accounts::create))
        .route("/accounts/{address}", get(accounts::show).patch(accounts::update).delete(accounts::remove))
        .route("/accounts/{address}/grants", get(grants::list).post(grants::add))
        .route("/accounts/{address}/grants/{kind}/{granted}", delete(grants::remove))
        .route("/accounts/{address}/password", put(passwords::set))
        .route("/accounts/{address}/app-passwords", get(passwords::list_app).post(passwords::add_app))
        .route("/accounts/{address}/app-passwords/{id}", delete(passwords::remove_app))
        .route("/accounts/{address}/mailboxes", get(mailboxes::list).post(mailboxes::create))
        .route("/accounts/{address}/mailboxes/{*name}", patch(mailboxes::rename).delete(mailboxes::remove))
}
