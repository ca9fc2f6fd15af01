//! Sealing: small content compressed (and later encrypted) for the engine to carry, and opening it again.
//!
//! Whatever shrinks becomes one zstd frame; what is short or does not shrink stays as it is, because a frame has
//! its cost ([`frame`]).
//!
//! Opening never trusts a size that it reads: content that claims more than 16 MiB is damaged.

use securanet_model::{
    KeyId,
    content::{Codec, Sealed},
};

use crate::{BlobError, frame};

/// Layout of everything that is sealed today: a record of [`securanet_model::record`], or a prefix's bytes.
pub(crate) const FORMAT: u8 = 1;
/// Shorter content is not compressed: a frame takes some 12 octets and there is little to gain.
const COMPRESSED_SIZE_BYTES_MIN: usize = 200;

/// Seals content.
///
/// # Errors
/// [`BlobError::Codec`] when the compressor has no memory.
pub(crate) fn seal(content: Vec<u8>) -> Result<Sealed, BlobError> {
    if content.len() >= COMPRESSED_SIZE_BYTES_MIN {
        let compressed = frame::compress(&content).map_err(BlobError::Codec)?;
        if compressed.len() < content.len() {
            return Ok(Sealed { format: FORMAT, codec: Codec::Zstd, key: KeyId::new(0), bytes: compressed });
        }
    }
    Ok(Sealed::plain(FORMAT, content))
}

/// Opens sealed content.
///
/// # Errors
/// [`BlobError::Sealed`] when it was sealed by a newer release, with a key that is not here, or is damaged.
pub(crate) fn open(sealed: &Sealed) -> Result<Vec<u8>, BlobError> {
    check(sealed)?;
    match sealed.codec {
        Codec::Plain => Ok(sealed.bytes.clone()),
        Codec::Zstd => frame::decompress(&sealed.bytes),
    }
}

fn check(sealed: &Sealed) -> Result<(), BlobError> {
    if sealed.format != FORMAT {
        return Err(BlobError::Sealed(format!("its format is {}, this release reads {FORMAT}", sealed.format)));
    }
    if sealed.key != KeyId::new(0) {
        return Err(BlobError::Sealed(format!("its key {} is not here", sealed.key)));
    }
    Ok(())
}

/// Opens a summary for a gateway: what it gets is plain (a record of [`securanet_model::summary::Summary`]).
///
/// # Errors
/// [`BlobError::Sealed`].
pub fn open_summary(summary: &Sealed) -> Result<Sealed, BlobError> {
    Ok(Sealed::plain(FORMAT, open(summary)?))
}

/// Seals what a gateway handed over as plain: a recipient's prefix.
///
/// # Errors
/// [`BlobError::Sealed`] when it is not plain of this format; [`BlobError::Codec`].
pub fn seal_prefix(prefix: Sealed) -> Result<Sealed, BlobError> {
    if prefix.codec != Codec::Plain {
        return Err(BlobError::Sealed("a prefix to seal is not plain".to_owned()));
    }
    check(&prefix)?;
    seal(prefix.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shrinks_is_compressed_and_comes_back() {
        let long = b"Received: from a by b\r\n".repeat(20);
        let noise: Vec<u8> = (0..500_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for (content, codec) in [(long, Codec::Zstd), (noise, Codec::Plain), (b"short".repeat(5), Codec::Plain)] {
            let sealed = seal(content.clone()).unwrap();
            assert_eq!(sealed.codec, codec);
            assert_eq!(open(&sealed).unwrap(), content);
            assert_eq!(open_summary(&sealed).unwrap(), Sealed::plain(FORMAT, content));
        }
    }

    #[test]
    fn what_cannot_be_opened_says_why() {
        let sealed = seal(vec![b'x'; 1000]).unwrap();
        let why = |sealed: Sealed| open(&sealed).unwrap_err().to_string();
        assert!(why(Sealed { format: 9, ..sealed.clone() }).contains("format is 9"));
        assert!(why(Sealed { key: KeyId::new(3), ..sealed.clone() }).contains("key 3"));
        let cut = sealed.bytes[..sealed.bytes.len() - 3].to_vec();
        assert!(why(Sealed { bytes: cut, ..sealed.clone() }).contains("damaged"));
        assert!(why(Sealed { bytes: b"junk".to_vec(), ..sealed.clone() }).contains("damaged"));
        assert!(
            why(Sealed { bytes: zstd::bulk::compress(&vec![0; 20 << 20], 1).unwrap(), ..sealed }).contains("large")
        );
    }
}
