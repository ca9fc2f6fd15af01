//! The CLI's side of the admin API: one request, its JSON, or what is wrong and what to do.

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, body::Bytes, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;

use crate::config::Config;

/// A connection to a running node's admin API.
#[derive(Clone)]
pub(crate) struct AdminApi {
    http: Client<HttpConnector, Full<Bytes>>,
    base: String,
    token: String,
}

impl AdminApi {
    /// Finds the node through its file.
    pub(crate) fn of_node(config_file: &Path) -> anyhow::Result<Self> {
        let config = Config::load(config_file)?;
        let token_file = config.token_file();
        let token = std::fs::read_to_string(&token_file)
            .with_context(|| format!("{}: no admin token; has the node run yet?", token_file.display()))?;
        let address = crate::addresses::admin(config.facts_directory()).unwrap_or(config.admin.address);
        Ok(Self {
            http: Client::builder(TokioExecutor::new()).build_http(),
            base: format!("http://{address}"),
            token: token.trim().to_owned(),
        })
    }

    /// Sends a request and gives the body of its success.
    pub(crate) async fn send(&self, method: Method, path: &str, kind: &str, body: Vec<u8>) -> anyhow::Result<Bytes> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, kind)
            .body(Full::new(Bytes::from(body)))?;
        let response = self.http.request(request).await.map_err(|error| {
            anyhow!(
                "{} does not answer ({error}): start the node with `securanet run`, or name its file with --config",
                self.base
            )
        })?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        Err(refusal(status, &body))
    }

    /// Sends JSON and gives JSON; an empty body is null.
    pub(crate) async fn json(&self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        let answer = self.send(method, path, "application/json", body).await?;
        if answer.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_slice(&answer)?) }
    }

    /// Gets JSON.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.json(Method::GET, path, None).await
    }

    /// Gets JSON rows.
    pub(crate) async fn rows(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        match self.get(path).await? {
            Value::Array(rows) => Ok(rows),
            other => bail!("the node answered {other} where rows were expected"),
        }
    }
}

fn refusal(status: StatusCode, body: &[u8]) -> anyhow::Error {
    let Ok(problem) = serde_json::from_slice::<Value>(body) else {
        return anyhow!("the node refused ({status}): {}", String::from_utf8_lossy(body));
    };
    let error = problem["error"].as_str().unwrap_or("refused").to_owned();
    match problem["remedy"].as_str() {
        Some(remedy) => anyhow!("{error}; {remedy}"),
        None => anyhow!(error),
    }
}

/// Escapes one segment or one value of a URL.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
