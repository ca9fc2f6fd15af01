//! Encoded words in header fields (RFC 2047), read as they are meant: those that follow one another are one text,
//! also where a program has cut it in the middle of a character.

use super::charset;
use crate::fetch::decode::Decoder;

/// RFC 2047 2 allows 75 octets; programs write more. Without a bound a header of beginnings that have no end would
/// be read once for each.
const WORD_OCTETS_MAX: usize = 2048;

/// One encoded word: `=?charset?B?text?=`.
struct Word<'a> {
    charset: &'a [u8],
    octets: Vec<u8>,
    /// Where it ends.
    end: usize,
}

/// The text of an unfolded field.
pub(crate) fn decode(field: &[u8]) -> String {
    let mut text = String::with_capacity(field.len());
    let mut plain = 0;
    let mut at = 0;
    let mut before: Option<(&[u8], Vec<u8>)> = None;
    while let Some(found) = memchr::memmem::find(&field[at..], b"=?") {
        at += found;
        let Some(word) = word(field, at) else {
            at += "=?".len();
            continue;
        };
        let between = &field[plain..at];
        before = match before.take() {
            // RFC 2047 6.2: white space between encoded words is none.
            Some((charset, mut octets)) if between.trim_ascii().is_empty() => {
                if charset.eq_ignore_ascii_case(word.charset) && !charset::is_whole(charset, &octets) {
                    octets.extend(word.octets);
                    Some((charset, octets))
                } else {
                    text.push_str(&charset::decode(charset, &octets));
                    Some((word.charset, word.octets))
                }
            }
            before => {
                text.extend(before.map(|(charset, octets)| charset::decode(charset, &octets)));
                text.push_str(&charset::decode_unlabelled(between));
                Some((word.charset, word.octets))
            }
        };
        (at, plain) = (word.end, word.end);
    }
    text.extend(before.map(|(charset, octets)| charset::decode(charset, &octets)));
    text.push_str(&charset::decode_unlabelled(&field[plain..]));
    text
}

fn word(field: &[u8], at: usize) -> Option<Word<'_>> {
    let inside = &field[at + "=?".len()..];
    let (charset, rest) = until_mark(inside)?;
    let (encoding, rest) = until_mark(rest)?;
    let length = memchr::memmem::find(&rest[..rest.len().min(WORD_OCTETS_MAX)], b"?=")?;
    let content = &rest[..length];
    let printable = |octets: &[u8]| octets.iter().all(u8::is_ascii_graphic);
    if charset.is_empty() || !printable(charset) {
        return None;
    }
    // Blanks inside are an error that is made often, and does no harm.
    let mut octets = Vec::with_capacity(length);
    let (decoder, content) = match encoding {
        b"B" | b"b" => (Decoder::of(b"BASE64"), content.to_vec()),
        // RFC 2047 4.2: `_` is a blank, which at a line's end the other encoding would take for padding.
        b"Q" | b"q" => (Decoder::of(b"QUOTED-PRINTABLE"), blanks(content)),
        _ => return None,
    };
    let mut decoder = decoder?;
    decoder.push(&content, &mut octets);
    decoder.finish(&mut octets);
    let end = field.len() - rest.len() + length + "?=".len();
    Some(Word { charset, octets, end })
}

fn until_mark(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    // No charset's name is longer.
    let at = memchr::memchr(b'?', &octets[..octets.len().min(80)])?;
    Some((&octets[..at], &octets[at + 1..]))
}

fn blanks(content: &[u8]) -> Vec<u8> {
    let escape = |&octet: &u8| if octet == b'_' { b"=20".to_vec() } else { vec![octet] };
    content.iter().flat_map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn rfc_2047_8_the_examples() {
        for (field, text) in [
            ("=?ISO-8859-1?Q?a?=", "a"),
            ("=?ISO-8859-1?Q?a?= b", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a?=  \t =?ISO-8859-1?Q?b?=", "ab"),
            ("=?ISO-8859-1?Q?a_b?=", "a b"),
            ("=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=", "a b"),
            ("=?US-ASCII?Q?Keith_Moore?= <moore@cs.utk.edu>", "Keith Moore <moore@cs.utk.edu>"),
            ("=?iso-8859-1*de?b?R3L832U=?=", "Grüße"),
        ] {
            assert_eq!(decode(field.as_bytes()), text, "{field}");
        }
    }

    #[test]
    fn what_is_no_encoded_word_stays_and_cut_characters_are_joined() {
        for field in ["=?", "a =?x b", "=?utf-8?X?a?=", "=?utf-8?Q?a", "=??Q?a?=", "1 =? 2"] {
            assert_eq!(decode(field.as_bytes()), field);
        }
        assert_eq!(decode(b"x =?utf-8?Q?=C3?= =?UTF-8?B?vA==?= y"), "x ü y");
        // Each begins and ends in ASCII: glued together, the shifts between them would be an error.
        assert_eq!(decode(b"=?iso-2022-jp?B?GyRCRnwbKEI=?= =?iso-2022-jp?B?GyRCS1wbKEI=?="), "日本");
        assert_eq!(decode(b"=?utf-8?Q?a_?= =?iso-8859-1?Q?=FC?="), "a ü");
        assert_eq!(decode("schön".as_bytes()), "schön");
        assert_eq!(decode(b"sch\xf6n"), "schön");
    }
}
