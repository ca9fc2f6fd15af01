//! Octets of a foreign charset as text. What cannot be read becomes U+FFFD: a search finds the rest.

use encoding_rs::{CoderResult, Encoding, UTF_8, WINDOWS_1252};

/// The charset of this name, UTF-8 if there is none or nobody knows it. US-ASCII and ISO-8859-1 are read as
/// windows-1252, which has both inside: mail that names them often means it.
fn encoding(name: &[u8]) -> &'static Encoding {
    // RFC 2231 5: a language may stand behind a `*` in encoded words.
    let name = name.split(|&octet| octet == b'*').next().unwrap_or_default();
    Encoding::for_label(name.trim_ascii()).unwrap_or(UTF_8)
}

/// A whole text.
pub(super) fn decode(name: &[u8], octets: &[u8]) -> String {
    encoding(name).decode_without_bom_handling(octets).0.into_owned()
}

/// Whether these octets are whole characters.
pub(super) fn is_whole(name: &[u8], octets: &[u8]) -> bool {
    encoding(name).decode_without_bom_handling_and_without_replacement(octets).is_some()
}

/// A text that names no charset: UTF-8, and if it is none, windows-1252.
pub(super) fn decode_unlabelled(octets: &[u8]) -> String {
    match str::from_utf8(octets) {
        Ok(text) => text.to_owned(),
        Err(_) => WINDOWS_1252.decode_without_bom_handling(octets).0.into_owned(),
    }
}

/// A text that comes in pieces.
pub(super) struct Streamed {
    decoder: encoding_rs::Decoder,
    text: String,
}

impl Streamed {
    pub(super) fn new(name: &[u8]) -> Self {
        Self { decoder: encoding(name).new_decoder(), text: String::new() }
    }

    /// The text of the next octets; `last` if no more will come.
    pub(super) fn push(&mut self, mut octets: &[u8], last: bool) -> &str {
        self.text.clear();
        loop {
            // At least what one character needs, so that each round gets on.
            self.text.reserve(octets.len().max(64));
            let (result, read, _) = self.decoder.decode_to_string(octets, &mut self.text, last);
            octets = &octets[read..];
            if result == CoderResult::InputEmpty {
                return &self.text;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charsets_are_read_in_pieces_of_any_size() {
        for (name, octets, text) in [
            ("utf-8", "Grüße".as_bytes(), "Grüße"),
            ("ISO-8859-1", b"Gr\xfc\xdfe", "Grüße"),
            ("koi8-r", b"\xf0\xd2\xc9\xd7\xc5\xd4", "Привет"),
            ("iso-2022-jp", b"\x1b$BF|K\\\x1b(B", "日本"),
            ("no-such-charset", "ü".as_bytes(), "ü"),
        ] {
            assert_eq!(decode(name.as_bytes(), octets), text);
            let mut streamed = Streamed::new(name.as_bytes());
            let mut all: String = octets.iter().map(|&octet| streamed.push(&[octet], false).to_owned()).collect();
            all.push_str(streamed.push(&[], true));
            assert_eq!(all, text);
        }
        assert_eq!(decode_unlabelled(b"Gr\xfc\xdfe"), "Grüße");
    }
}
