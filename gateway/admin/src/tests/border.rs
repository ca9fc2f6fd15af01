//! Who comes in, what is described, and how a refusal looks.

use std::time::Duration;

use securanet_gateway::connection::DrainHandle;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{description::description, serve};

/// Every documented operation: its method and a path with something for each parameter.
fn operations() -> Vec<(Method, String)> {
    let documented = serde_json::to_value(description()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in documented["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let path = path.replace("{address}", "ann@example.org").replace("{name}", "example.org");
            let path = path.replace("{kind}", "send-as").replace("{granted}", "a@b.example");
            operations.push((method, path.replace("{id}", "1").replace("{uid}", "1").replace("{key}", "login.scram")));
        }
    }
    assert!(operations.len() > 30, "the API is described");
    operations
}

fn without_token(method: Method, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).extension(LOCAL).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn what_changes_or_tells_anything_needs_the_token() {
    let api = api(FakeStore::new());
    for (method, path) in operations() {
        let (status, _) = api.send(without_token(method.clone(), &path)).await;
        if path.starts_with("/v1/") {
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
        } else {
            assert_eq!(status, StatusCode::OK, "{method} {path} is for probes and scrapes");
        }
    }
    let (status, _) = api.send(without_token(Method::GET, "/v1/nothing")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "a stranger learns no paths");
    assert_eq!(api.commands(), []);
}

#[tokio::test]
async fn a_token_that_is_not_quite_it_is_none() {
    let api = api(FakeStore::new());
    let nearly = &SECRET[..SECRET.len() - 1];
    let values =
        [format!("Bearer {nearly}"), format!("Bearer {SECRET}x"), format!("Basic {SECRET}"), SECRET.to_owned()];
    for value in values {
        let mut request = without_token(Method::GET, "/v1/status");
        request.headers_mut().insert(header::AUTHORIZATION, value.parse().unwrap());
        assert_eq!(api.send(request).await.0, StatusCode::UNAUTHORIZED, "{value}");
    }
    let mut request = without_token(Method::GET, "/v1/status");
    request.headers_mut().insert(header::AUTHORIZATION, format!("bearer {SECRET}").parse().unwrap());
    assert_eq!(api.send(request).await.0, StatusCode::OK, "RFC 9110 11.1: schemes have no case");
    assert!(Token::new("too short").is_none());
}

#[tokio::test]
async fn only_this_machine_is_served_where_passwords_are_sent() {
    let api = api(FakeStore::new());
    for (peer, expected) in [
        ("192.0.2.1:5000", StatusCode::FORBIDDEN),
        ("[2001:db8::1]:5000", StatusCode::FORBIDDEN),
        ("127.8.8.8:5000", StatusCode::OK),
        ("[::1]:5000", StatusCode::OK),
        ("[::ffff:127.0.0.1]:5000", StatusCode::OK),
    ] {
        let mut from_peer = request(Method::GET, "/v1/status", Body::empty());
        from_peer.extensions_mut().insert(Peer(peer.parse().unwrap()));
        assert_eq!(api.send(from_peer).await.0, expected, "{peer}");
        let mut probe = without_token(Method::GET, "/readyz");
        probe.extensions_mut().insert(Peer(peer.parse().unwrap()));
        assert_eq!(api.send(probe).await.0, StatusCode::OK, "{peer} probes");
    }
    let mut unknown = request(Method::GET, "/v1/status", Body::empty());
    unknown.extensions_mut().clear();
    assert_eq!(api.send(unknown).await.0, StatusCode::FORBIDDEN, "whoever does not say where from");
}

#[tokio::test]
async fn every_documented_operation_is_there_and_says_who_may() {
    let api = api(FakeStore::failing(StoreError::Draining));
    for (method, path) in operations() {
        if path == "/v1/scrub" && method == Method::POST {
            continue;
        }
        let (status, _) = api.raw(method.clone(), &path, Body::empty()).await;
        assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        let missing = status == StatusCode::NOT_FOUND && path != "/v1/scrub";
        assert!(!missing, "{method} {path} is described and not there");
    }
    let documented = serde_json::to_value(description()).unwrap();
    for (path, item) in documented["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let needs_token = operation["security"] == json!([{ "token": [] }]);
            assert_eq!(needs_token, path.starts_with("/v1/"), "{method} {path}");
            assert!(operation["summary"].is_string() || operation["description"].is_string(), "{method} {path}");
        }
    }
    let (status, served) = api.get("/openapi.json").await;
    assert_eq!((status, &served["paths"]), (StatusCode::OK, &documented["paths"]));
}

#[tokio::test]
async fn every_refusal_says_what_is_wrong() {
    let api = api(FakeStore::new());
    let cases = [
        (Method::GET, "/v1/nothing", "", 404),
        (Method::GET, "/nothing", "", 404),
        (Method::PUT, "/v1/domains", "{}", 405),
        (Method::DELETE, "/healthz", "", 405),
        (Method::POST, "/v1/domains", "{", 400),
        (Method::POST, "/v1/domains", r#"{"name":7}"#, 422),
        (Method::POST, "/v1/domains", r#"{"name":"a.example","colour":"red"}"#, 422),
        (Method::POST, "/v1/domains", r#"{"name":"a..b"}"#, 422),
        (Method::GET, "/v1/accounts?colour=red", "", 400),
        (Method::GET, "/v1/accounts/nobody", "", 422),
        (Method::GET, "/v1/accounts/bob@example.org", "", 404),
        (Method::DELETE, "/v1/accounts/ann@example.org/app-passwords/x", "", 400),
    ];
    for (method, path, body, expected) in cases {
        let answer = api.raw(method.clone(), path, body).await;
        let text = String::from_utf8_lossy(&answer.1).into_owned();
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{method} {path}: {text}"));
        let (status, error, _) = problem(&(answer.0, value));
        assert_eq!(status, expected, "{method} {path}: {error}");
        assert!(!error.is_empty());
    }
    assert_eq!(api.commands(), [], "nothing of that reached the store");
}

#[tokio::test]
async fn a_store_that_cannot_says_so_and_when_to_come_again() {
    let cases = [
        (StoreError::Draining, 503, true),
        (StoreError::Busy, 503, true),
        (StoreError::DiskFull { reserve_bytes: 5 }, 507, false),
        (StoreError::Damaged("x".to_owned()), 500, false),
    ];
    for (error, expected, has_remedy) in cases {
        let answer = api(FakeStore::failing(error.clone())).get("/v1/domains").await;
        let (status, _, remedy) = problem(&answer);
        assert_eq!((status, remedy.is_some()), (expected, has_remedy), "{error}");
    }
}

#[tokio::test]
async fn a_json_body_is_bounded() {
    let api = api(FakeStore::new());
    let large = format!(r#"{{"members":["{}"]}}"#, "a".repeat(5 * 1024 * 1024));
    let (status, _) = api.raw(Method::PUT, "/v1/lists/all@example.org", large).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

/// One request over a fresh connection, and all that comes back.
async fn over_tcp(address: SocketAddr, token: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head =
        format!("GET /v1/status HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_server_tells_the_peer_and_ends_when_the_node_drains() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (drain, shutdown) = DrainHandle::new();
    let server = tokio::spawn(serve(listener, api(FakeStore::new()).router, shutdown));
    assert!(over_tcp(address, SECRET).await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(over_tcp(address, "wrong-wrong-wrong").await.starts_with("HTTP/1.1 401 "));
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).await.unwrap();
    drain.begin();
    tokio::time::timeout(Duration::from_secs(5), server).await.expect("an idle connection is closed").unwrap().unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}
