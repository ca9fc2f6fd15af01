//! The zstd frame of sealed content: how it is made, opened, and found again in a row.
//!
//! Between sites rows travel without their frames, and the receiver makes each again ([`compress`]): it must come out as it
//! was, octet for octet. So there is one way to make a frame, and its [`Maker`] tells whether two processes have the same.
//! Contexts are kept per thread: making one costs more than compressing a short text with it.

use std::{cell::RefCell, io, ops::Range};

use memchr::memmem;
use zstd::{
    bulk::{Compressor, Decompressor},
    zstd_safe,
};

use crate::BlobError;

/// Octets that opening gives at most: recipe and summary are bounded far below this.
const OPENED_SIZE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Octets of the output buffer that each thread keeps.
const KEPT_BUFFER_BYTES_MAX: usize = 128 * 1024;
/// Measured on prose of 4 KiB with a header: level 3 gains 2 % in size and costs 60 % more CPU (26 against 17 us).
const LEVEL: i32 = 1;
/// What a frame begins with (RFC 8878 3.1.1).
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

thread_local! {
    static COMPRESSOR: RefCell<Option<(Compressor<'static>, Vec<u8>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// What makes frames. Two that are equal make the same frame of the same content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Maker {
    /// The number of zstd's version.
    pub zstd: u32,
    /// The level.
    pub level: i32,
}

/// What makes frames here.
#[must_use]
pub fn maker() -> Maker {
    Maker { zstd: zstd_safe::version_number(), level: LEVEL }
}

/// Makes the frame of some content.
///
/// # Errors
/// The compressor has no memory.
pub fn compress(content: &[u8]) -> io::Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|kept| {
        let (mut compressor, mut buffer) = match kept.take() {
            Some(kept) => kept,
            None => (Compressor::new(LEVEL)?, Vec::new()),
        };
        buffer.clear();
        buffer.reserve(zstd_safe::compress_bound(content.len()));
        compressor.compress_to_buffer(content, &mut buffer)?;
        let compressed = buffer.as_slice().to_vec();
        // The buffer of a rare large summary is not kept for the thread's whole life.
        buffer.shrink_to(KEPT_BUFFER_BYTES_MAX);
        *kept = Some((compressor, buffer));
        Ok(compressed)
    })
}

/// The content of a frame, which says how large that is.
///
/// # Errors
/// [`BlobError::Sealed`] when it is damaged or claims too much; [`BlobError::Codec`] without memory.
pub fn decompress(frame: &[u8]) -> Result<Vec<u8>, BlobError> {
    let damaged = |what: &str| BlobError::Sealed(format!("it is damaged: {what}"));
    let Some(size) = content_size(frame) else { return Err(damaged("its frame names no size")) };
    if size > OPENED_SIZE_BYTES_MAX {
        return Err(damaged("its frame names too large a size"));
    }
    DECOMPRESSOR.with_borrow_mut(|kept| {
        let mut decompressor = match kept.take() {
            Some(decompressor) => decompressor,
            None => Decompressor::new().map_err(BlobError::Codec)?,
        };
        let opened = decompressor.decompress(frame, size);
        *kept = Some(decompressor);
        opened.map_err(|error| damaged(&error.to_string()))
    })
}

fn content_size(frame: &[u8]) -> Option<usize> {
    match zstd_safe::get_frame_content_size(frame) {
        Ok(Some(size)) => Some(usize::try_from(size).unwrap_or(usize::MAX)),
        _ => None,
    }
}

/// Where the first frame is whose content is named and has at most so many octets. It may be damaged inside.
#[must_use]
pub fn find(octets: &[u8], content_size_bytes_max: usize) -> Option<Range<usize>> {
    memmem::find_iter(octets, &MAGIC).find_map(|at| {
        let rest = &octets[at..];
        content_size(rest).filter(|size| *size <= content_size_bytes_max)?;
        let size = zstd_safe::find_frame_compressed_size(rest).ok()?;
        Some(at..at + size)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_found_between_other_octets_unless_it_is_cut_or_too_large() {
        let content = b"Received: from a by b\r\n".repeat(20);
        let frame = compress(&content).unwrap();
        let row = [&b"\x01row\x28\xb5\x2f\xfd"[..], &frame, b"more"].concat();
        let found = find(&row, content.len()).unwrap();
        assert_eq!(found, 8..8 + frame.len());
        assert_eq!(decompress(&row[found]).unwrap(), content);
        assert_eq!(find(&row, content.len() - 1), None);
        assert_eq!(find(&row[..row.len() - 5], content.len()), None);
        assert_eq!(find(b"nothing", 100), None);
    }

    #[test]
    fn the_same_content_gives_the_same_frame_whatever_was_compressed_before_and_by_whichever_thread() {
        let text =
            |number: usize| format!("Subject: {number}\r\n\r\n{}", "words that repeat, ".repeat(number * 37 % 500));
        let frames: Vec<_> = (0..300).map(|number| compress(text(number).as_bytes()).unwrap()).collect();
        let backwards = std::thread::spawn(move || {
            (0..300).rev().map(|number| compress(text(number).as_bytes()).unwrap()).collect::<Vec<_>>()
        });
        assert!(frames.iter().eq(backwards.join().unwrap().iter().rev()));
    }
}
