//! The side that asks without a certificate of its own: a node that is about to come in.
//!
//! It knows the cluster by the digest of its authority's certificate, which came with its token. A node shows that
//! certificate behind its own, so that the digest is enough.

use std::{sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tonic::transport::{Channel, Endpoint};

use super::{
    Identity, LinkError,
    connect::handshake,
    credentials::ALPN,
    error::Disbelief,
    token::sha256,
    verify::{no_tls12, signed_by},
};

/// What a stranger asks for is one commit and a signature.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(40);

/// A connection to whoever is at `host:port`, if the cluster's authority vouches for it. Call it inside a tokio runtime.
///
/// # Errors
/// [`LinkError`]: nobody is there, or somebody of another cluster.
pub async fn stranger(address: &str, authority: [u8; 32]) -> Result<Channel, LinkError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let pinned = Arc::new(Pinned { authority, provider: provider.clone() });
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
    let config = config.map_err(|error| LinkError::Tls(error.to_string()))?;
    let mut config = config.dangerous().with_custom_certificate_verifier(pinned).with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    let config = Arc::new(config);
    let dialled = Arc::<str>::from(address);
    let connector = tower::service_fn(move |_| {
        let (config, address) = (config.clone(), dialled.clone());
        async move { handshake(config, &address).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://node.securanet.internal").timeout(REQUEST_TIMEOUT);
    let connected = endpoint.connect_with_connector(connector).await;
    connected.map_err(|error| LinkError::Unreachable { address: address.to_owned(), what: innermost(&error) })
}

/// The reason behind the layers that a connection has.
fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

/// Believes nodes of the cluster whose authority has this digest.
#[derive(Debug)]
struct Pinned {
    authority: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = Identity::of_certificate(end_entity).map_err(Disbelief::from)?;
        let authority = intermediates.iter().find(|shown| sha256(shown) == self.authority);
        let authority = authority.ok_or_else(|| Disbelief::OtherAuthority { found: Box::new(found.clone()) })?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone())?;
        let signed = signed_by(&roots, end_entity, &[], now, &self.provider);
        signed.map_err(|error| Disbelief::NotSigned { found: Box::new(found), why: error.to_string() })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
