//! DKIM signing (RFC 6376, RFC 8463), last on the way out: over what leaves, so nothing changes behind it.
//!
//! One pass over an [`Outgoing`]: the header is kept (512 KiB at most), the body is hashed as it goes by. Each active key
//! of the author's domain signs, RSA and Ed25519 side by side. Verifying is not done here.

mod canonical;
pub(crate) mod fuzz;
mod header;
mod signature;
mod signer;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use memchr::memmem;
use securanet_gateway::{
    model::{DomainName, StoreError},
    signing::KeyError,
};

use self::{canonical::Body, header::fields, signature::Signing};
pub use self::{signature::DomainKey, signer::Signer};
use crate::outgoing::Outgoing;

/// A message with a longer header is not signed: the header is in memory while its body is hashed.
const HEADER_OCTETS_MAX: usize = 512 * 1024;

/// Why a message was not signed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignError {
    /// It cannot be read.
    #[error("the message cannot be read: {0}")]
    Store(#[from] StoreError),
    /// A key of ours cannot be used.
    #[error("a key cannot be used: {0}")]
    Key(#[from] KeyError),
    /// Its header is longer than [`HEADER_OCTETS_MAX`].
    #[error("the header is longer than {HEADER_OCTETS_MAX} octets")]
    HeaderTooLong,
}

/// A message whose header was read.
struct Opened {
    outgoing: Outgoing,
    header: Vec<u8>,
    /// Octets of the body that came with the header.
    body: Vec<u8>,
}

/// Reads a message up to its body.
async fn open(mut outgoing: Outgoing) -> Result<Opened, SignError> {
    let mut header = Vec::new();
    while let Some(piece) = outgoing.next().await? {
        let searched = header.len().saturating_sub(3);
        header.extend_from_slice(&piece);
        // A header without fields ends at once.
        let end = if header.starts_with(b"\r\n") {
            Some((0, 2))
        } else {
            memmem::find(&header[searched..], b"\r\n\r\n").map(|at| (searched + at + 2, searched + at + 4))
        };
        if let Some((end, body)) = end {
            let body = header.split_off(body);
            header.truncate(end);
            return Ok(Opened { outgoing, header, body });
        }
        if header.len() > HEADER_OCTETS_MAX {
            return Err(SignError::HeaderTooLong);
        }
    }
    Ok(Opened { outgoing, header, body: Vec::new() })
}

impl Opened {
    /// The domain that From names.
    fn author_domain(&self) -> Option<DomainName> {
        header::author_domain(&self.header)
    }

    /// Reads the rest and signs all of it.
    async fn sign(mut self, keys: &[Arc<DomainKey>]) -> Result<Vec<u8>, SignError> {
        if self.header.len() > HEADER_OCTETS_MAX {
            return Err(SignError::HeaderTooLong);
        }
        let mut body = Body::new();
        body.push(&self.body);
        self.body = Vec::new();
        while let Some(piece) = self.outgoing.next().await? {
            body.push(&piece);
        }
        let fields = fields(&self.header);
        let signing = Signing::new(&fields, body.finish().as_ref());
        let mut out = Vec::new();
        for key in keys {
            out.extend(signing.field(key)?);
        }
        Ok(out)
    }
}

/// Signs a message with each of these keys: the DKIM-Signature fields with their CRLFs, to stand before it.
///
/// # Errors
/// [`SignError`].
pub async fn sign(outgoing: Outgoing, keys: &[Arc<DomainKey>]) -> Result<Vec<u8>, SignError> {
    open(outgoing).await?.sign(keys).await
}
