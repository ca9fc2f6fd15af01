//! Transfer encodings, decoded leniently (RFC 2045 6.7 and 6.8): for previews, not for keeping.

use std::borrow::Cow;

use base64::{
    Engine, alphabet,
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};

const LENIENT: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, NO_PAD.with_decode_allow_trailing_bits(true));

/// Decodes a body, or the beginning of one. An encoding that is not known is no encoding.
pub(crate) fn decode<'a>(encoding: &[u8], body: &'a [u8]) -> Cow<'a, [u8]> {
    match encoding {
        b"BASE64" => Cow::Owned(base64(body)),
        b"QUOTED-PRINTABLE" => Cow::Owned(quoted_printable(body)),
        _ => Cow::Borrowed(body),
    }
}

fn base64(body: &[u8]) -> Vec<u8> {
    let is_character = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/');
    let mut characters: Vec<u8> = body.iter().copied().filter(is_character).collect();
    if characters.len() % 4 == 1 {
        characters.pop();
    }
    LENIENT.decode(&characters).unwrap_or_default()
}

fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut octets = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some((&octet, behind)) = rest.split_first() {
        rest = behind;
        if octet != b'=' {
            octets.push(octet);
            continue;
        }
        let line_end = behind.iter().position(|octet| !matches!(octet, b' ' | b'\t')).unwrap_or(behind.len());
        match &behind[line_end..] {
            [] => return octets,
            [b'\n', after @ ..] | [b'\r', b'\n', after @ ..] => rest = after,
            _ => match (behind.first().and_then(hex), behind.get(1).and_then(hex)) {
                (Some(high), Some(low)) => {
                    octets.push(high << 4 | low);
                    rest = &behind[2..];
                }
                _ => octets.push(octet),
            },
        }
    }
    octets
}

fn hex(octet: &u8) -> Option<u8> {
    char::from(*octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
