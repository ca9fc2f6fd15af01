//! A report over HTTPS (RFC 8460 5.4): POST of the compressed JSON to what the record names.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    dns::Dns,
    route::{Reach, TlsDemand},
    tls::{TlsClient, web},
};

/// For all of it.
const PATIENCE: Duration = Duration::from_secs(60);
/// For one address.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);

/// What is needed to reach web servers.
pub(super) struct Poster {
    pub(super) tls: TlsClient,
    pub(super) dns: Dns,
    /// Which addresses may be connected to.
    pub(super) reach: Reach,
}

impl Poster {
    /// Posts a report; why it did not arrive.
    ///
    /// RFC 8460 5.4 lets the certificate be wrong; that is not made use of: whoever could answer in the host's place
    /// would read who sends mail to the domain.
    pub(super) async fn post(&self, (host, port, path): (&str, u16, &str), packed: Vec<u8>) -> Result<(), String> {
        let posting = async {
            let addresses = self.dns.addresses(host).await.map_err(|error| error.to_string())?;
            let (_, tcp) = web::connect((host, port), addresses, &self.reach, CONNECT_PATIENCE).await?;
            self.send(tcp, (host, port, path), packed).await
        };
        timeout(PATIENCE, posting).await.map_err(|_| format!("{host} took too long"))?
    }

    async fn send(&self, tcp: TcpStream, (host, port, path): (&str, u16, &str), packed: Vec<u8>) -> Result<(), String> {
        let demand = TlsDemand::Verified(vec![host.to_owned()]);
        let secured = self.tls.connect(&demand, host, tcp).await.map_err(|error| format!("{host}: {error}"))?;
        let wrong = |error: hyper::Error| format!("{host}: {error}");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(secured.stream)).await.map_err(wrong)?;
        let named = if port == 443 { host.to_owned() } else { format!("{host}:{port}") };
        let request = Request::post(path)
            .header(header::HOST, named)
            .header(header::CONTENT_TYPE, "application/tlsrpt+gzip")
            .header(header::CONNECTION, "close")
            .body(Full::new(Bytes::from(packed)))
            .map_err(|error| error.to_string())?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(wrong)?;
            if response.status().is_success() { Ok(()) } else { Err(format!("{host} answered {}", response.status())) }
        };
        tokio::pin!(connection);
        tokio::pin!(exchange);
        tokio::select! {
            done = &mut exchange => done,
            // The connection may end before the exchange has read all that came over it.
            _ = &mut connection => exchange.await,
        }
    }
}
