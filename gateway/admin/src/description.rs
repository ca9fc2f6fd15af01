//! The API's description, served at `/openapi.json`.

use axum::Json;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self,
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use crate::{
    accounts, aliases, deliveries, dkim, domains, explain, forwardings, grants, held, lists, mailboxes, messages, node,
    nodes, passwords, policies, queue, relays, scrub, tls_reports,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "SecuraNET Mail admin API",
        description = "Everything below /v1 needs the node's token and is served to the machine itself only.",
        license(name = "Apache-2.0")
    ),
    modifiers(&Bearer),
    paths(
        domains::list,
        domains::create,
        domains::show,
        domains::update,
        domains::remove,
        dkim::list,
        dkim::add,
        dkim::update,
        dkim::remove,
        accounts::list,
        accounts::create,
        accounts::show,
        accounts::update,
        accounts::remove,
        passwords::set,
        passwords::list_app,
        passwords::add_app,
        passwords::remove_app,
        aliases::list,
        aliases::create,
        aliases::remove,
        forwardings::list,
        forwardings::show,
        forwardings::set,
        forwardings::remove,
        lists::list,
        lists::show,
        lists::put,
        lists::remove,
        grants::list,
        grants::add,
        grants::remove,
        nodes::list,
        nodes::update,
        nodes::lead,
        nodes::add_token,
        relays::list,
        relays::put,
        relays::remove,
        policies::list,
        policies::show,
        policies::set,
        explain::show,
        mailboxes::list,
        mailboxes::create,
        mailboxes::remove,
        mailboxes::rename,
        messages::list,
        messages::import,
        messages::export,
        held::list,
        held::release,
        held::discard,
        queue::list,
        queue::show,
        queue::operate,
        queue::trace,
        deliveries::list,
        tls_reports::list,
        tls_reports::send,
        scrub::start,
        scrub::show,
        node::status,
        node::healthz,
        node::readyz,
        node::metrics,
    )
)]
struct Description;

/// Says that every path below `/v1` needs the token.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        openapi.components.get_or_insert_default().add_security_scheme("token", scheme);
        let needed = SecurityRequirement::new("token", [""; 0]);
        for (path, item) in &mut openapi.paths.paths {
            if !path.starts_with("/v1/") {
                continue;
            }
            let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                operation.security = Some(vec![needed.clone()]);
            }
        }
    }
}

/// The description as a value.
pub(crate) fn description() -> openapi::OpenApi {
    Description::openapi()
}

pub(crate) async fn show() -> Json<openapi::OpenApi> {
    Json(description())
}
