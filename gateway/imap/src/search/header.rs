//! Header fields as they are meant: unfolded, with their encoded words decoded.

use super::{encoded_word, fold::Needle};

/// The fields of a header, unfolded (RFC 5322 2.2.3), in order.
pub(super) fn fields(header: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let mut lines =
        header.split(|&octet| octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).peekable();
    std::iter::from_fn(move || {
        let mut field = lines.next()?.to_vec();
        while let Some(more) = lines.next_if(|line| matches!(line.first(), Some(b' ' | b'\t'))) {
            field.extend_from_slice(more);
        }
        Some(field)
    })
}

/// What a field or a part of one says.
pub(super) fn text(field: &[u8]) -> String {
    encoded_word::decode(field)
}

/// Whether a field of this name has the text; an empty one fits whenever the field is there.
pub(super) fn has(header: &[u8], name: &str, needle: &mut Needle) -> bool {
    fields(header).any(|field| {
        let colon = field.iter().position(|&octet| octet == b':');
        let own = colon.filter(|&at| field[..at].trim_ascii_end().eq_ignore_ascii_case(name.as_bytes()));
        own.is_some_and(|at| needle.search(&text(&field[at + 1..])))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] =
        b"Subject: =?utf-8?Q?=C3=BCber?=\r\n =?utf-8?Q?all?=\r\nX-Empty:\r\nX-Folded: a\r\n\tb\r\n\r\n";

    #[test]
    fn fields_are_found_by_name_and_by_what_they_mean() {
        let has = |name: &str, text: &str| has(HEADER, name, &mut Needle::new(text));
        assert!(has("subject", "ÜBERALL") && has("X-Empty", "") && has("x-folded", "A\tb"));
        assert!(!has("X-Empty", "a") && !has("Missing", "") && !has("Subject", "utf-8"));
    }
}
