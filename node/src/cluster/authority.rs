//! The cluster's authority: its certificate and key are in group 0, and any store signs with them.
//!
//! A certificate says which node it is for, and of which cluster; see [`securanet_gateway::link`].

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
};
use securanet_gateway::{
    link::{ClusterId, Identity, NodeName, sha256},
    model::{dkim::PrivateKey, nodes::Authority},
};
use securanet_wire::enrolment::Certificate;

/// Twenty years: a cluster that gets a new authority before is asked to trust both for a while.
const AUTHORITY_DAYS: i64 = 7300;
/// A node's certificate; it asks for a new one when a third of it is left.
pub(crate) const NODE_DAYS: i64 = 90;
/// Clocks of nodes may differ by as much.
const BACKDATED_DAYS: i64 = 1;

/// Makes an authority.
pub(crate) fn make(cluster: ClusterId) -> anyhow::Result<Authority> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, format!("SecuraNET Mail cluster {cluster}"));
    hold_for(&mut params, AUTHORITY_DAYS);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?.pem();
    Ok(Authority { certificate, key: PrivateKey::new(key.serialize_der()) })
}

/// A node's request for a certificate: PKCS#10 in DER (RFC 2986). The name is the signer's to give.
pub(crate) fn request(key: &KeyPair, node: &NodeName) -> anyhow::Result<Vec<u8>> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, node.as_str());
    Ok(params.serialize_request(key)?.der().to_vec())
}

/// SHA-256 of the public key that a request is for.
pub(crate) fn key_digest(request: &[u8]) -> anyhow::Result<[u8; 32]> {
    Ok(sha256(parse(request)?.public_key.der_bytes()))
}

/// Signs a request: nothing of it but its public key is taken.
pub(crate) fn sign(authority: &Authority, identity: &Identity, request: &[u8]) -> anyhow::Result<Certificate> {
    let key = KeyPair::try_from(authority.key.pkcs8()).context("the authority's key")?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, key).context("the authority's certificate")?;
    let mut params = CertificateParams::new(vec![identity.dns_name()])?;
    params.distinguished_name.push(DnType::CommonName, identity.node.as_str());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    hold_for(&mut params, NODE_DAYS);
    let certificate = params.signed_by(&parse(request)?.public_key, &issuer)?.pem();
    Ok(Certificate { certificate, authority: authority.certificate.clone() })
}

fn parse(request: &[u8]) -> anyhow::Result<CertificateSigningRequestParams> {
    CertificateSigningRequestParams::from_der(&request.into()).context("the request for a certificate")
}

/// From yesterday on, for so many days.
fn hold_for(params: &mut CertificateParams, days: i64) {
    let day = |days: i64| {
        let day = jiff::Zoned::now().date().saturating_add(jiff::Span::new().days(days));
        rcgen::date_time_ymd(i32::from(day.year()), day.month().unsigned_abs(), day.day().unsigned_abs())
    };
    (params.not_before, params.not_after) = (day(-BACKDATED_DAYS), day(days));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::join::Files;

    #[test]
    fn one_authority_vouches_for_all_nodes() {
        let cluster = ClusterId::new([7; 16]);
        let authority = make(cluster).expect("authority");
        let folder = tempfile::tempdir().expect("folder");
        for name in ["one", "two"] {
            let identity = Identity { node: name.parse().expect("a name"), cluster };
            let files = Files::in_directory(&folder.path().join(name));
            let key = files.key().expect("key");
            let certificate = sign(&authority, &identity, &request(&key, &identity.node).expect("request"));
            files.write(&certificate.expect("signed")).expect("written");
            let credentials = files.credentials().expect("usable");
            assert_eq!(*credentials.identity(), identity);
            let days = (credentials.expires_unix_seconds() - jiff::Timestamp::now().as_second()) / 86_400;
            assert!((NODE_DAYS - 2..=NODE_DAYS).contains(&days), "{days} days");
        }
    }

    #[test]
    fn a_key_is_known_by_its_digest_whatever_else_the_request_says() {
        let (key, other) = (KeyPair::generate().expect("key"), KeyPair::generate().expect("key"));
        let digest = |key: &KeyPair, node: &str| {
            key_digest(&request(key, &node.parse().expect("a name")).expect("request")).expect("digest")
        };
        assert_eq!(digest(&key, "a"), digest(&key, "b"));
        assert_ne!(digest(&key, "a"), digest(&other, "a"));
        assert!(key_digest(b"no request").is_err());
    }
}
