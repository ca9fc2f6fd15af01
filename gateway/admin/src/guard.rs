//! Who may come in, how long a request may take, and the record of what was changed.
//!
//! `securanet_admin_unauthorized_total` counts requests with a wrong token or none.

use std::net::SocketAddr;

use axum::{
    extract::{Request, State},
    http::{Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{Api, ApiError, REQUEST_PATIENCE};

/// Where a request's connection comes from; the server puts it into each request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Lets a request through that comes from this machine with the token, and logs what it changed.
pub(crate) async fn operators_only(State(api): State<Api>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
    if !peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback()) {
        return elsewhere().into_response();
    }
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = header.and_then(|value| value.split_once(' '));
    let is_operator =
        given.is_some_and(|(scheme, secret)| scheme.eq_ignore_ascii_case("Bearer") && api.token.matches(secret.trim()));
    if !is_operator {
        metrics::counter!("securanet_admin_unauthorized_total").increment(1);
        return unauthorized().into_response();
    }
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    let status = response.status().as_u16();
    if method == Method::GET {
        tracing::debug!(%method, path, status, "admin request");
    } else {
        tracing::info!(%method, path, status, "admin request");
    }
    response
}

/// Answers 504 when the request takes too long; what it began may still happen.
pub(crate) async fn deadline(request: Request, next: Next) -> Response {
    let late = || {
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, "the node did not answer in time")
            .remedy("look whether it was done, then try again")
            .into_response()
    };
    tokio::time::timeout(REQUEST_PATIENCE, next.run(request)).await.unwrap_or_else(|_| late())
}

fn elsewhere() -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "the admin API is served to this machine only")
        .remedy("run the command on the node, or come through a tunnel that ends there")
}

fn unauthorized() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "the bearer token is missing or wrong")
        .remedy("send `Authorization: Bearer TOKEN` with the content of the node's admin-token file")
}
