//! Text of any charset as Unicode, leniently.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use mail_parser::decoders::charsets::map::charset_decoder;

/// Decodes text that may be cut off at its end. A charset that is absent, unknown or UTF-8 in name only is
/// taken as UTF-8 if the text is that, otherwise as Windows-1252, which is what such mail turns out to be.
pub(crate) fn decode<'a>(label: &[u8], octets: &'a [u8]) -> Cow<'a, str> {
    let label = label.trim_ascii();
    let says_nothing = label.is_empty() || label.eq_ignore_ascii_case(b"us-ascii");
    let encoding = if says_nothing { None } else { Encoding::for_label(label) };
    match encoding {
        Some(encoding) if encoding != UTF_8 => encoding.decode(octets).0,
        None if !says_nothing && let Some(decoder) = charset_decoder(label) => Cow::Owned(decoder(octets)),
        _ => guess(octets),
    }
}

fn guess(octets: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(octets) {
        Ok(text) => Cow::Borrowed(text),
        // Only the end is incomplete: the text was cut there.
        Err(error) if error.error_len().is_none() => String::from_utf8_lossy(&octets[..error.valid_up_to()]),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(octets).0,
    }
}
