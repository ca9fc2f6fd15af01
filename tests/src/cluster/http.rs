//! One request to a node's admin API.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::Context;
use serde_json::Value;

use super::node::Node;

/// The API of a node.
pub struct Api {
    to: SocketAddr,
    token: String,
    patience: Duration,
}

impl Api {
    /// Where the node listens now; it is waited for so long.
    ///
    /// # Errors
    /// When it does not run.
    pub fn of(node: &Node, patience: Duration) -> anyhow::Result<Self> {
        let to = node.address("admin").with_context(|| format!("{} does not listen", node.name))?;
        let token = fs::read_to_string(node.facts_folder().join("admin-token")).unwrap_or_default();
        Ok(Self { to, token: token.trim().to_owned(), patience })
    }

    /// Asks, and gives the status and the body.
    ///
    /// # Errors
    /// When there is no whole answer in time.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<(u16, String)> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut stream = TcpStream::connect_timeout(&self.to, self.patience)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        let (to, token) = (self.to, &self.token);
        // Of this version, so that an answer of unknown length ends with the connection.
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {to}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no whole answer")?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
        Ok((status, body.to_owned()))
    }
}
