//! Whom a node believes: who shows a certificate that the cluster's authority signed and that names a node of this cluster.
//!
//! Names of hosts mean nothing here: a node is reached at any address. What is wrong with a peer's certificate is said with
//! the name in it, so that a node that was moved to another cluster is found.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{CryptoProvider, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{ClusterId, Identity, LinkError, error::Disbelief};

/// Whether one of the roots has signed a certificate.
pub(super) fn signed_by(
    roots: &RootCertStore,
    certificate: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    now: UnixTime,
    provider: &CryptoProvider,
) -> Result<(), rustls::Error> {
    let algorithms = provider.signature_verification_algorithms.all;
    let parsed = ParsedCertificate::try_from(certificate)?;
    verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)
}

/// What nodes say of TLS 1.2.
pub(super) fn no_tls12() -> rustls::Error {
    rustls::Error::General("nodes speak TLS 1.3 alone".to_owned())
}

/// Believes nodes of one cluster.
#[derive(Debug)]
pub(crate) struct Believer {
    cluster: ClusterId,
    roots: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
    provider: Arc<CryptoProvider>,
}

impl Believer {
    pub(crate) fn new(
        cluster: ClusterId,
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<Self>, LinkError> {
        let clients = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
        let clients = clients.map_err(|error| LinkError::Tls(error.to_string()))?;
        Ok(Arc::new(Self { cluster, roots, clients, provider }))
    }

    /// What the certificate says, held against what was found of its signature.
    fn judge(&self, certificate: &CertificateDer<'_>, signed: Result<(), rustls::Error>) -> Result<(), rustls::Error> {
        let found = Identity::of_certificate(certificate).map_err(Disbelief::from)?;
        if found.cluster != self.cluster {
            return Err(Disbelief::Foreign { found: Box::new(found), ours: self.cluster }.into());
        }
        signed.map_err(|error| Disbelief::NotSigned { found: Box::new(found), why: error.to_string() }.into())
    }
}

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let signed = signed_by(&self.roots, end_entity, intermediates, now, &self.provider);
        self.judge(end_entity, signed).map(|()| ServerCertVerified::assertion())
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

impl ClientCertVerifier for Believer {
    /// Who shows none is a stranger, and the listener decides.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let signed = self.clients.verify_client_cert(end_entity, intermediates, now).map(drop);
        self.judge(end_entity, signed).map(|()| ClientCertVerified::assertion())
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
