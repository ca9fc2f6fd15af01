//! What an operator carries from a cluster to a node that is to come in: how to know the cluster, where it is, and a
//! secret that lets one node in.
//!
//! `securanet-join-1.SECRETS.ADDRESSES`: base64 (RFC 4648 5, no padding) of the SHA-256 of the authority's certificate and
//! the secret, 32 octets each; addresses as `host:port`, with commas between them.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::pki_types::{CertificateDer, pem::PemObject};

/// The form of the text; another form gets another number.
const FORM: &str = "securanet-join-1";

/// What lets a node in.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinTicket {
    /// SHA-256 of the authority's certificate in DER.
    pub authority: [u8; 32],
    /// The token's secret.
    pub secret: [u8; 32],
    /// Stores of the cluster, as `host:port`.
    pub addresses: Vec<String>,
}

/// Why a text is no [`JoinTicket`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TicketError {
    /// Something else.
    #[error("this is no token of `securanet node token`: it begins with {FORM}")]
    Form,
    /// A part of one.
    #[error("the token is not complete: copy it as a whole")]
    Incomplete,
}

/// SHA-256: how secrets stand in the directory, and how keys and authorities are told apart.
#[must_use]
pub fn sha256(octets: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, octets).as_ref());
    out
}

/// The digest of a certificate in PEM; `None` where there is none in the text.
#[must_use]
pub fn fingerprint(pem: &str) -> Option<[u8; 32]> {
    CertificateDer::from_pem_slice(pem.as_bytes()).ok().map(|certificate| sha256(&certificate))
}

impl JoinTicket {
    /// The text that an operator carries. It is a secret.
    #[must_use]
    pub fn expose(&self) -> String {
        let secrets = URL_SAFE_NO_PAD.encode([self.authority, self.secret].concat());
        format!("{FORM}.{secrets}.{}", self.addresses.join(","))
    }
}

impl FromStr for JoinTicket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let mut parts = text.trim().splitn(3, '.');
        if parts.next() != Some(FORM) {
            return Err(TicketError::Form);
        }
        let (secrets, addresses) = parts.next().zip(parts.next()).ok_or(TicketError::Incomplete)?;
        let secrets = URL_SAFE_NO_PAD.decode(secrets).map_err(|_| TicketError::Incomplete)?;
        let (authority, secret) = secrets.split_first_chunk::<32>().ok_or(TicketError::Incomplete)?;
        let secret = <[u8; 32]>::try_from(secret).map_err(|_| TicketError::Incomplete)?;
        let addresses: Vec<String> = addresses.split(',').map(str::to_owned).collect();
        let whole = |address: &String| {
            address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        if !addresses.iter().all(whole) {
            return Err(TicketError::Incomplete);
        }
        Ok(Self { authority: *authority, secret, addresses })
    }
}

/// Without its secret.
impl fmt::Debug for JoinTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinTicket({})", self.addresses.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_survives_being_carried() {
        let addresses = vec!["a.example:7025".to_owned(), "[2001:db8::1]:7025".to_owned()];
        let ticket = JoinTicket { authority: [1; 32], secret: [255; 32], addresses };
        let text = ticket.expose();
        assert!(text.bytes().all(|octet| octet.is_ascii_graphic()), "{text}");
        assert_eq!(format!(" {text}\n").parse(), Ok(ticket.clone()));
        assert_eq!(format!("{ticket:?}"), "JoinTicket(a.example:7025,[2001:db8::1]:7025)");
        assert_eq!("hello".parse::<JoinTicket>(), Err(TicketError::Form));
        let last = text.len() - "7025".len() - 1;
        for end in ["securanet-join-1".len(), 60, 103, last] {
            assert_eq!(text[..end].parse::<JoinTicket>(), Err(TicketError::Incomplete), "{}", &text[..end]);
        }
    }
}
