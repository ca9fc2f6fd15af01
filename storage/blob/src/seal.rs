//! Sealing: small content compressed (and later encrypted) for the engine to carry, and opening it again.
//!
//! Whatever shrinks becomes one zstd frame; what is short or does not shrink stays as it is, because a frame has
//! its cost. Contexts are kept per thread: making one costs more than compressing a short text with it.
//!
//! Opening never trusts a size that it reads: content that claims more than 16 MiB is damaged.

use std::cell::RefCell;

use securanet_model::{
    KeyId,
    content::{Codec, Sealed},
};
use zstd::bulk::{Compressor, Decompressor};

use crate::BlobError;

/// Layout of everything that is sealed today: a record of [`securanet_model::record`], or a prefix's bytes.
pub(crate) const FORMAT: u8 = 1;
/// Octets that opening gives at most: recipe and summary are bounded far below this.
const OPENED_SIZE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Octets of the output buffer that each thread keeps.
const KEPT_BUFFER_BYTES_MAX: usize = 128 * 1024;
/// Shorter content is not compressed: a frame takes some 12 octets and there is little to gain.
const COMPRESSED_SIZE_BYTES_MIN: usize = 200;
/// Measured on prose of 4 KiB with a header: level 3 gains 2 % in size and costs 60 % more CPU (26 against 17 us).
const LEVEL: i32 = 1;

thread_local! {
    static COMPRESSOR: RefCell<Option<(Compressor<'static>, Vec<u8>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Seals content.
///
/// # Errors
/// [`BlobError::Codec`] when the compressor has no memory.
pub(crate) fn seal(content: Vec<u8>) -> Result<Sealed, BlobError> {
    if content.len() >= COMPRESSED_SIZE_BYTES_MIN {
        let compressed = compress(&content).map_err(BlobError::Codec)?;
        if compressed.len() < content.len() {
            return Ok(Sealed { format: FORMAT, codec: Codec::Zstd, key: KeyId::new(0), bytes: compressed });
        }
    }
    Ok(Sealed::plain(FORMAT, content))
}

fn compress(content: &[u8]) -> std::io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let (mut compressor, mut buffer) = match kept.take() {
            Some(kept) => kept,
            None => (Compressor::new(LEVEL)?, Vec::new()),
        };
        buffer.clear();
        buffer.reserve(zstd::zstd_safe::compress_bound(content.len()));
        compressor.compress_to_buffer(content, &mut buffer)?;
        let compressed = buffer.as_slice().to_vec();
        // The buffer of a rare large summary is not kept for the thread's whole life.
        buffer.shrink_to(KEPT_BUFFER_BYTES_MAX);
        *kept = Some((compressor, buffer));
        Ok(compressed)
    })
}

/// Opens sealed content.
///
/// # Errors
/// [`BlobError::Sealed`] when it was sealed by a newer release, with a key that is not here, or is damaged.
pub(crate) fn open(sealed: &Sealed) -> Result<Vec<u8>, BlobError> {
    check(sealed)?;
    match sealed.codec {
        Codec::Plain => Ok(sealed.bytes.clone()),
        Codec::Zstd => decompress(&sealed.bytes),
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

fn decompress(bytes: &[u8]) -> Result<Vec<u8>, BlobError> {
    let damaged = |what: &str| BlobError::Sealed(format!("it is damaged: {what}"));
    let size = match zstd::zstd_safe::get_frame_content_size(bytes) {
        Ok(Some(size)) => usize::try_from(size).unwrap_or(usize::MAX),
        _ => return Err(damaged("its frame names no size")),
    };
    if size > OPENED_SIZE_BYTES_MAX {
        return Err(damaged("its frame names too large a size"));
    }
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let mut decompressor = match kept.take() {
            Some(decompressor) => decompressor,
            None => Decompressor::new().map_err(BlobError::Codec)?,
        };
        let opened = decompressor.decompress(bytes, size);
        *kept = Some(decompressor);
        opened.map_err(|error| damaged(&error.to_string()))
    })
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
