//! The keys that sign mail (RFC 6376, RFC 8463): made for operators, used by whoever sends mail out, published in the
//! DNS.
//!
//! It stands here because two gateways need it: the admin API makes keys and shows their records, the delivery signs.
//! A key is a type without `Debug`; nothing here writes one anywhere.

use aws_lc_rs::{
    digest,
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use securanet_model::dkim::{DkimAlgorithm, PrivateKey};

/// Octets of one string of a TXT record (RFC 1035 3.3).
const TXT_STRING_OCTETS_MAX: usize = 255;

/// Why a key cannot be used. The fault is ours, or that of whoever stored the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// The octets are no such key.
    #[error("the private key is damaged or of another kind")]
    Damaged,
    /// The library would not do it.
    #[error("the cryptographic library has failed")]
    Library,
}

/// A key that signs.
pub struct SigningKey(Kind);

enum Kind {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Makes a key: RSA of 2,048 bits, or Ed25519. RSA takes some hundred milliseconds of a thread.
    ///
    /// # Errors
    /// [`KeyError::Library`].
    pub fn generate(algorithm: DkimAlgorithm) -> Result<PrivateKey, KeyError> {
        match algorithm {
            DkimAlgorithm::RsaSha256 => {
                let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| KeyError::Library)?;
                let pkcs8: Pkcs8V1Der<'_> = key.as_der().map_err(|_| KeyError::Library)?;
                Ok(PrivateKey::new(pkcs8.as_ref().to_vec()))
            }
            DkimAlgorithm::Ed25519Sha256 => {
                let key = Ed25519KeyPair::generate().map_err(|_| KeyError::Library)?;
                let pkcs8 = key.to_pkcs8v1().map_err(|_| KeyError::Library)?;
                Ok(PrivateKey::new(pkcs8.as_ref().to_vec()))
            }
        }
    }

    /// Opens a stored key.
    ///
    /// # Errors
    /// [`KeyError::Damaged`].
    pub fn open(algorithm: DkimAlgorithm, key: &PrivateKey) -> Result<Self, KeyError> {
        let kind = match algorithm {
            DkimAlgorithm::RsaSha256 => RsaKeyPair::from_pkcs8(key.pkcs8()).map(Kind::Rsa),
            DkimAlgorithm::Ed25519Sha256 => Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.pkcs8()).map(Kind::Ed25519),
        };
        kind.map(Self).map_err(|_| KeyError::Damaged)
    }

    /// How it signs.
    #[must_use]
    pub const fn algorithm(&self) -> DkimAlgorithm {
        match self.0 {
            Kind::Rsa(_) => DkimAlgorithm::RsaSha256,
            Kind::Ed25519(_) => DkimAlgorithm::Ed25519Sha256,
        }
    }

    /// Signs octets: RFC 6376 3.3.1, RFC 8463 3 (which signs their SHA-256).
    ///
    /// # Errors
    /// [`KeyError::Library`].
    pub fn sign(&self, octets: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.0 {
            Kind::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), octets, &mut signature)
                    .map_err(|_| KeyError::Library)?;
                Ok(signature)
            }
            Kind::Ed25519(key) => {
                let digest = digest::digest(&digest::SHA256, octets);
                Ok(key.try_sign(digest.as_ref()).map_err(|_| KeyError::Library)?.as_ref().to_vec())
            }
        }
    }

    /// The text of its DNS record, to be published at `SELECTOR._domainkey.DOMAIN` (RFC 6376 3.6.1, RFC 8463 4).
    ///
    /// # Errors
    /// [`KeyError::Library`].
    pub fn record(&self) -> Result<String, KeyError> {
        Ok(match &self.0 {
            Kind::Rsa(key) => {
                let public: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(|_| KeyError::Library)?;
                format!("v=DKIM1; k=rsa; h=sha256; p={}", STANDARD.encode(public.as_ref()))
            }
            Kind::Ed25519(key) => {
                format!("v=DKIM1; k=ed25519; h=sha256; p={}", STANDARD.encode(key.public_key().as_ref()))
            }
        })
    }
}

/// A record's text as a zone file has it: quoted strings of at most 255 octets each (RFC 6376 3.6.2.2).
#[must_use]
pub fn txt_strings(record: &str) -> String {
    let strings: Vec<String> = record
        .as_bytes()
        .chunks(TXT_STRING_OCTETS_MAX)
        .map(|chunk| format!("\"{}\"", String::from_utf8_lossy(chunk).replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    strings.join(" ")
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    #[test]
    fn keys_are_made_kept_and_published() {
        for algorithm in [DkimAlgorithm::RsaSha256, DkimAlgorithm::Ed25519Sha256] {
            let stored = SigningKey::generate(algorithm).unwrap();
            let key = SigningKey::open(algorithm, &stored).unwrap();
            assert_eq!(key.algorithm(), algorithm);
            let record = key.record().unwrap();
            let public = STANDARD.decode(record.split_once("p=").unwrap().1).unwrap();
            let signature = key.sign(b"octets").unwrap();
            match algorithm {
                DkimAlgorithm::RsaSha256 => {
                    assert!(
                        record.starts_with("v=DKIM1; k=rsa; h=sha256; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A"),
                        "{record}"
                    );
                    let key = aws_lc_rs::rsa::PublicKey::from_der(&public).unwrap();
                    assert_eq!(key.modulus_len(), 256);
                    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.as_ref());
                    key.verify(b"octets", &signature).unwrap();
                    assert!(key.verify(b"other", &signature).is_err());
                }
                DkimAlgorithm::Ed25519Sha256 => {
                    assert_eq!(public.len(), 32);
                    let digest = digest::digest(&digest::SHA256, b"octets");
                    UnparsedPublicKey::new(&ED25519, &public).verify(digest.as_ref(), &signature).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_key_of_another_kind_is_refused() {
        let stored = SigningKey::generate(DkimAlgorithm::Ed25519Sha256).unwrap();
        assert_eq!(SigningKey::open(DkimAlgorithm::RsaSha256, &stored).err(), Some(KeyError::Damaged));
        let damaged = PrivateKey::new(vec![1; 40]);
        assert_eq!(SigningKey::open(DkimAlgorithm::Ed25519Sha256, &damaged).err(), Some(KeyError::Damaged));
    }

    #[test]
    fn long_records_are_several_strings() {
        let record = "x".repeat(400);
        let strings = txt_strings(&record);
        assert_eq!(strings, format!("\"{}\" \"{}\"", "x".repeat(255), "x".repeat(145)));
        assert_eq!(txt_strings("a\"b\\"), r#""a\"b\\""#);
    }
}
