//! The three ways to look at a server's certificate: not at all, by name and authority, by TLSA records.
//!
//! All of them check that the server holds the certificate's key: the handshake's signature is verified always.

use std::{fmt, sync::Arc};

use aws_lc_rs::digest;
use parking_lot::Mutex;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::dns::TlsaRecord;

/// RFC 7672 3.1: usages that SMTP knows.
pub(super) const DANE_TA: u8 = 2;
pub(super) const DANE_EE: u8 = 3;

/// Neither the certificate nor one of its chain is what a TLSA record says.
#[derive(Debug, thiserror::Error)]
#[error("no TLSA record fits it")]
struct NoRecordFits;

/// Takes any certificate.
#[derive(Debug)]
pub(super) struct Unchecked {
    provider: Arc<CryptoProvider>,
}

/// Takes a certificate for one of some names from a trusted authority.
#[derive(Debug)]
pub(super) struct Named {
    verifier: Arc<WebPkiServerVerifier>,
    names: Vec<ServerName<'static>>,
}

/// Takes any certificate, and remembers why another verifier would not have.
#[derive(Debug)]
pub(super) struct Tested {
    verifier: Named,
    fault: Mutex<Option<Error>>,
}

/// Takes a certificate that a TLSA record fits (RFC 7672 3.1, RFC 7671 5).
pub(super) struct Dane {
    records: Arc<[TlsaRecord]>,
    provider: Arc<CryptoProvider>,
    names: Vec<ServerName<'static>>,
}

impl fmt::Debug for Dane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dane").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Unchecked {
    pub(super) const fn new(provider: Arc<CryptoProvider>) -> Self {
        Self { provider }
    }
}

impl Named {
    /// Fails when no authority is trusted or no name is one.
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
        names: &[String],
    ) -> Result<Self, String> {
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        Ok(Self {
            verifier: verifier.map_err(|error| format!("no trusted certificates: {error}"))?,
            names: parse(names),
        })
    }
}

impl Tested {
    pub(super) const fn new(verifier: Named) -> Self {
        Self { verifier, fault: Mutex::new(None) }
    }

    /// What is wrong with the certificate that was taken.
    pub(super) fn fault(&self) -> Option<Error> {
        self.fault.lock().clone()
    }
}

impl Dane {
    pub(super) fn new(records: Arc<[TlsaRecord]>, provider: Arc<CryptoProvider>, names: &[String]) -> Self {
        Self { records, provider, names: parse(names) }
    }

    /// RFC 7671 5.2: a certificate of the chain is the anchor, the chain leads to it and is for one of the names.
    fn leads_to_anchor(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        let mut roots = RootCertStore::empty();
        let anchors = self.records.iter().filter(|record| record.usage == DANE_TA);
        for record in anchors {
            // The anchor may be left out of the chain if the record has it whole.
            let whole =
                (record.selector == 0 && record.matching == 0).then(|| CertificateDer::from(record.data.clone()));
            let presented = intermediates.iter().filter(|certificate| fits(record, certificate)).cloned();
            for anchor in presented.chain(whole) {
                let _ = roots.add(anchor.into_owned());
            }
        }
        if roots.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(NoRecordFits)))));
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone()).build();
        let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
        for_any(&self.names, |name| {
            verifier.verify_server_cert(end_entity, intermediates, name, ocsp_response, now).map(|_| ())
        })
    }
}

fn parse(names: &[String]) -> Vec<ServerName<'static>> {
    let bare = |name: &String| name.trim_start_matches("[IPv6:").trim_matches(['[', ']']).to_owned();
    names.iter().filter_map(|name| ServerName::try_from(bare(name)).ok()).collect()
}

fn for_any(
    names: &[ServerName<'static>],
    verify: impl Fn(&ServerName<'static>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut failure = Error::InvalidCertificate(CertificateError::NotValidForName);
    for name in names {
        match verify(name) {
            Ok(()) => return Ok(()),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Whether a record fits a certificate (RFC 6698 2.1).
pub(super) fn fits(record: &TlsaRecord, certificate: &CertificateDer<'_>) -> bool {
    let selected = match record.selector {
        0 => certificate.to_vec(),
        1 => match X509Certificate::from_der(certificate) {
            Ok((_, parsed)) => parsed.public_key().raw.to_vec(),
            Err(_) => return false,
        },
        _ => return false,
    };
    match record.matching {
        0 => selected == record.data,
        1 => digest::digest(&digest::SHA256, &selected).as_ref() == record.data,
        2 => digest::digest(&digest::SHA512, &selected).as_ref() == record.data,
        _ => false,
    }
}

/// RFC 7671 4: whether a record says something that can be acted on.
pub(super) fn is_usable(record: &TlsaRecord) -> bool {
    let data_fits = match record.matching {
        0 => !record.data.is_empty(),
        1 => record.data.len() == 32,
        2 => record.data.len() == 64,
        _ => false,
    };
    matches!(record.usage, DANE_TA | DANE_EE) && record.selector <= 1 && data_fits
}

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        for_any(&self.names, |name| {
            self.verifier.verify_server_cert(end_entity, intermediates, name, ocsp_response, now).map(|_| ())
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

impl ServerCertVerifier for Tested {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.verifier.verify_server_cert(end_entity, intermediates, name, ocsp_response, now);
        *self.fault.lock() = verified.err();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

impl ServerCertVerifier for Dane {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // RFC 7672 3.1.1: with usage 3 neither names nor dates matter.
        let mut of_host = self.records.iter().filter(|record| record.usage == DANE_EE);
        if !of_host.any(|record| fits(record, end_entity)) {
            self.leads_to_anchor(end_entity, intermediates, ocsp_response, now)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
