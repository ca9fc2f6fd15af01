//! Modified UTF-7 (RFC 3501 5.1.3): mailbox names for clients that did not ask for UTF-8.
//!
//! Decoding is strict about what cannot be read (eight-bit octets, half characters, stray base64) and lenient
//! about what is only not canonical (ASCII in base64): the name that comes out is the same Unicode text.

/// Why a name is no modified UTF-7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Utf7Error {
    /// An octet above 127 or a control character outside base64.
    #[error("octet {0} is not printable ASCII")]
    Octet(usize),
    /// `&` without its `-`, or what stands between them is no base64 of whole UTF-16 characters.
    #[error("the base64 that begins at octet {0} is broken")]
    Base64(usize),
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

fn digit(octet: u8) -> Option<u32> {
    Some(match octet {
        b'A'..=b'Z' => u32::from(octet - b'A'),
        b'a'..=b'z' => u32::from(octet - b'a') + 26,
        b'0'..=b'9' => u32::from(octet - b'0') + 52,
        b'+' => 62,
        b',' => 63,
        _ => return None,
    })
}

/// A name as Unicode text.
///
/// # Errors
/// [`Utf7Error`] says at which octet it cannot be read.
pub fn decode(name: &[u8]) -> Result<String, Utf7Error> {
    let mut text = String::with_capacity(name.len());
    let mut at = 0;
    while let Some(&octet) = name.get(at) {
        match octet {
            b'&' => {
                let inside = &name[at + 1..];
                let length = memchr::memchr(b'-', inside).ok_or(Utf7Error::Base64(at))?;
                if length == 0 {
                    text.push('&');
                } else {
                    decode_run(&inside[..length], &mut text).ok_or(Utf7Error::Base64(at))?;
                }
                at += length + 2;
            }
            b' '..=b'~' => {
                text.push(char::from(octet));
                at += 1;
            }
            _ => return Err(Utf7Error::Octet(at)),
        }
    }
    Ok(text)
}

fn decode_run(run: &[u8], text: &mut String) -> Option<()> {
    let mut units = Vec::with_capacity(run.len() * 6 / 16 + 1);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for &octet in run {
        bits = (bits << 6 | digit(octet)?) & 0x3f_ffff;
        count += 6;
        if count >= 16 {
            count -= 16;
            units.push(u16::try_from(bits >> count & 0xffff).ok()?);
        }
    }
    // What is left over is padding: less than one base64 digit, all zero.
    if count >= 6 || bits & ((1 << count) - 1) != 0 {
        return None;
    }
    for unit in char::decode_utf16(units) {
        text.push(unit.ok()?);
    }
    Some(())
}

/// A name in modified UTF-7.
#[must_use]
pub fn encode(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    let mut run: Vec<u16> = Vec::new();
    for character in text.chars() {
        if matches!(character, ' '..='~') {
            encode_run(&mut run, &mut name);
            name.push(character);
            if character == '&' {
                name.push('-');
            }
        } else {
            run.extend_from_slice(character.encode_utf16(&mut [0; 2]));
        }
    }
    encode_run(&mut run, &mut name);
    name
}

fn encode_run(run: &mut Vec<u16>, name: &mut String) {
    if run.is_empty() {
        return;
    }
    name.push('&');
    let (mut bits, mut count) = (0_u32, 0_u32);
    let mut push = |index: u32| name.push(char::from(ALPHABET[(index & 0x3f) as usize]));
    for unit in run.drain(..) {
        bits = bits << 16 | u32::from(unit);
        count += 16;
        while count >= 6 {
            count -= 6;
            push(bits >> count);
        }
        bits &= (1 << count) - 1;
    }
    if count > 0 {
        push(bits << (6 - count));
    }
    name.push('-');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3501_5_1_3_the_examples() {
        for (name, text) in [
            ("~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),
            ("Entw&APw-rfe", "Entwürfe"),
            ("R&-D", "R&D"),
            ("&2D3cTg-", "\u{1f44e}"),
            ("INBOX", "INBOX"),
        ] {
            assert_eq!(decode(name.as_bytes()).as_deref(), Ok(text));
            assert_eq!(encode(text), name);
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for name in ["R&D", "&", "&APw", "&A-", "&2D0-", "&AP!-", "&AAAAAAA-", "&APx-"] {
            assert!(decode(name.as_bytes()).is_err(), "{name}");
        }
        assert_eq!(decode("ü".as_bytes()), Err(Utf7Error::Octet(0)));
    }
}
