//! Fetching a policy (RFC 8461 3.3): HTTPS from `mta-sts.DOMAIN`, its certificate verified, no redirects, text/plain,
//! bounded in octets and time.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use securanet_gateway::model::tls_report::TlsResult;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::client::TlsStream;

use super::grammar::{POLICY_OCTETS_MAX, StsPolicy};
use crate::{
    dns::Dns,
    route::{Reach, TlsDemand},
    tls::{
        TlsClient, tls_error,
        web::{self, ADDRESSES_MAX},
    },
};

pub(super) struct Fetcher {
    pub(super) tls: Arc<TlsClient>,
    pub(super) port: u16,
    /// For all of it.
    pub(super) timeout: Duration,
}

impl Fetcher {
    /// Fetches the policy of a domain; otherwise says why there is none. `may_reach` keeps a stranger's DNS from
    /// pointing us into our own networks.
    pub(super) async fn fetch(&self, dns: &Dns, domain: &str, may_reach: &Reach) -> Result<StsPolicy, Trouble> {
        let host = format!("mta-sts.{domain}");
        let fetching = async {
            let addresses = dns.addresses(&host).await.map_err(|error| not_had(error.to_string()))?;
            let stream = self.connect(&host, addresses, may_reach).await?;
            let text = get(stream, &host).await.map_err(not_had)?;
            let no_policy = || (TlsResult::StsPolicyInvalid, format!("what {host} has is no policy"));
            StsPolicy::parse(&text).ok_or_else(no_policy)
        };
        timeout(self.timeout, fetching).await.map_err(|_| not_had(format!("{host} took too long")))?
    }

    async fn connect(
        &self,
        host: &str,
        addresses: Vec<IpAddr>,
        may_reach: &Reach,
    ) -> Result<TlsStream<TcpStream>, Trouble> {
        let each = self.timeout / u32::try_from(ADDRESSES_MAX + 1).unwrap_or(1);
        let (address, tcp) = web::connect((host, self.port), addresses, may_reach, each).await.map_err(not_had)?;
        // A certificate that is wrong at one address is no reason to look for another.
        let demand = TlsDemand::Verified(vec![host.to_owned()]);
        let secured = self.tls.connect(&demand, host, tcp).await;
        secured.map(|secured| secured.stream).map_err(|error| {
            let of_certificate = |error: &rustls::Error| matches!(error, rustls::Error::InvalidCertificate(_));
            let refused = tls_error(&error).is_some_and(of_certificate);
            let result = if refused { TlsResult::StsWebpkiInvalid } else { TlsResult::StsPolicyFetchError };
            (result, format!("{host} at {address}: {error}"))
        })
    }
}

/// How fetching failed, as TLS reports name it, and why.
pub(super) type Trouble = (TlsResult, String);

fn not_had(why: String) -> Trouble {
    (TlsResult::StsPolicyFetchError, why)
}

async fn get(stream: TlsStream<TcpStream>, host: &str) -> Result<Bytes, String> {
    let wrong = |error: hyper::Error| format!("{host}: {error}");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(wrong)?;
    let request = Request::get("/.well-known/mta-sts.txt")
        .header(header::HOST, host)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(wrong)?;
        // RFC 8461 3.3: redirects are not followed, and only 200 counts.
        if response.status() != StatusCode::OK {
            return Err(format!("{host} answered {}", response.status()));
        }
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case("text/plain") {
            return Err(format!("{host} has something of type {kind:?} instead of text/plain"));
        }
        let body = Limited::new(response.into_body(), POLICY_OCTETS_MAX).collect().await;
        body.map(http_body_util::Collected::to_bytes).map_err(|error| format!("{host}: {error}"))
    };
    tokio::pin!(connection);
    tokio::pin!(exchange);
    tokio::select! {
        text = &mut exchange => text,
        // The connection may end before the exchange has read all that came over it.
        _ = &mut connection => exchange.await,
    }
}
