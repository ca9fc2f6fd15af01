//! Compression of chunks, with contexts that are used again.
//!
//! A context takes up to some MiB and costs more to make than a small chunk costs to compress. They are kept in a
//! small pool instead of by thread: there may be hundreds of blocking threads, but only as many contexts are at
//! work as there are cores.

use std::io;

use parking_lot::Mutex;
use zstd::bulk::{Compressor, Decompressor};

use crate::{error::BlobError, stored::ChunkCodec};

/// Level 1: on mail text, higher levels gain a few percent and cost half as much CPU again.
const LEVEL: i32 = 1;
/// Contexts of each kind that wait to be used again; more are made when needed and dropped after use.
const IDLE_MAX: usize = 4;
/// A chunk stays as it is unless compression takes off at least this part of it: opening costs CPU too.
const GAIN_SHARE_MIN: usize = 16;

/// The contexts.
#[derive(Default)]
pub(crate) struct Codecs {
    compressors: Mutex<Vec<Compressor<'static>>>,
    decompressors: Mutex<Vec<Decompressor<'static>>>,
}

impl Codecs {
    /// Compresses content when that helps; `None` means that it stays as it is.
    ///
    /// # Errors
    /// [`BlobError::Codec`] when there is no memory for it.
    pub(crate) fn shrink(&self, content: &[u8]) -> Result<(ChunkCodec, Option<Vec<u8>>), BlobError> {
        let mut compressor = match self.compressors.lock().pop() {
            Some(compressor) => compressor,
            None => Compressor::new(LEVEL).map_err(BlobError::Codec)?,
        };
        let stored = compressor.compress(content).map_err(BlobError::Codec)?;
        keep(&self.compressors, compressor);
        let helps = stored.len() + content.len() / GAIN_SHARE_MIN <= content.len();
        Ok(if helps && !content.is_empty() { (ChunkCodec::Zstd, Some(stored)) } else { (ChunkCodec::Plain, None) })
    }

    /// The content of stored bytes, which is `size_bytes` long; never allocates more than that.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub(crate) fn expand(&self, codec: ChunkCodec, stored: &[u8], size_bytes: usize) -> Result<Vec<u8>, String> {
        let content = match codec {
            ChunkCodec::Plain => stored.to_vec(),
            ChunkCodec::Zstd => self.decompress(stored, size_bytes).map_err(|error| error.to_string())?,
        };
        if content.len() == size_bytes {
            Ok(content)
        } else {
            Err(format!("{} bytes of content instead of {size_bytes}", content.len()))
        }
    }

    fn decompress(&self, stored: &[u8], size_bytes: usize) -> io::Result<Vec<u8>> {
        let mut decompressor = match self.decompressors.lock().pop() {
            Some(decompressor) => decompressor,
            None => Decompressor::new()?,
        };
        let content = decompressor.decompress(stored, size_bytes);
        keep(&self.decompressors, decompressor);
        content
    }
}

fn keep<T>(idle: &Mutex<Vec<T>>, context: T) {
    let mut idle = idle.lock();
    if idle.len() < IDLE_MAX {
        idle.push(context);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shrinks_is_compressed_and_comes_back() {
        let codecs = Codecs::default();
        let text = b"Received: from a by b; ".repeat(1000);
        let (codec, stored) = codecs.shrink(&text).unwrap();
        let stored = stored.unwrap();
        assert_eq!(codec, ChunkCodec::Zstd);
        assert!(stored.len() < text.len() / 10);
        assert_eq!(codecs.expand(codec, &stored, text.len()).unwrap(), text);
        assert!(codecs.expand(codec, &stored, text.len() - 1).is_err());
        assert!(codecs.expand(codec, &stored, text.len() + 1).is_err());
    }

    #[test]
    fn what_does_not_shrink_stays() {
        let codecs = Codecs::default();
        let mut noise = 1_u64;
        let random: Vec<u8> = std::iter::repeat_with(|| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (noise >> 56) as u8
        })
        .take(100_000)
        .collect();
        assert_eq!(codecs.shrink(&random).unwrap(), (ChunkCodec::Plain, None));
        assert_eq!(codecs.shrink(&[]).unwrap(), (ChunkCodec::Plain, None));
    }
}
