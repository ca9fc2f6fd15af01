//! How addresses and ids travel in DSN parameters: xtext (RFC 3461 4) and the `utf-8` address type (RFC 6533 3).

/// Decodes RFC 3461 xtext; `None` when it is none, or does not decode to UTF-8.
pub(super) fn decode(text: &str) -> Option<String> {
    let octets = text.as_bytes();
    let mut out = Vec::with_capacity(octets.len());
    let mut at = 0;
    while let Some(&octet) = octets.get(at) {
        if octet == b'+' {
            let digits = octets.get(at + 1..at + 3)?;
            if !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F')) {
                return None;
            }
            out.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            at += 3;
        } else {
            out.push(octet);
            at += 1;
        }
    }
    String::from_utf8(out).ok()
}

/// Decodes the `\x{HEX}` of RFC 6533 utf-8-addr-xtext and utf-8-addr-unitext; what is none stays as it is.
pub(super) fn decode_utf8_address(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("\\x{") {
        out.push_str(&rest[..start]);
        let behind = &rest[start + 3..];
        let point = behind.find('}').filter(|&end| (2..=6).contains(&end));
        let decoded = point.and_then(|end| Some((u32::from_str_radix(&behind[..end], 16).ok()?, end)));
        match decoded.and_then(|(point, end)| Some((char::from_u32(point)?, end))) {
            Some((c, end)) => {
                out.push(c);
                rest = &behind[end + 1..];
            }
            None => {
                out.push_str("\\x{");
                rest = behind;
            }
        }
    }
    out + rest
}

/// RFC 6533 utf-8-addr-xtext: an address in ASCII, for a report that has no other characters.
pub(super) fn encode_utf8_address(address: &str) -> String {
    let mut out = String::with_capacity(address.len());
    for c in address.chars() {
        match c {
            '+' | '=' | '\\' => out.push_str(&format!("\\x{{{:02X}}}", u32::from(c))),
            '!'..='~' => out.push(c),
            _ => out.push_str(&format!("\\x{{{:02X}}}", u32::from(c))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xtext_is_decoded_and_nonsense_is_none() {
        assert_eq!(decode("QQ314159").as_deref(), Some("QQ314159"));
        assert_eq!(decode("a+2Bb+3Dc").as_deref(), Some("a+b=c"));
        assert_eq!(decode("a+2"), None);
        assert_eq!(decode("a+2b"), None, "RFC 3461 4: upper case only");
        assert_eq!(decode("+FF"), None);
    }

    #[test]
    fn utf8_addresses_have_an_ascii_form() {
        let address = "用户+x@example.org";
        let ascii = encode_utf8_address(address);
        assert_eq!(ascii, "\\x{7528}\\x{6237}\\x{2B}x@example.org");
        assert_eq!(decode_utf8_address(&ascii), address);
        assert_eq!(decode_utf8_address("a\\x{zz}\\x{D800}b\\x{"), "a\\x{zz}\\x{D800}b\\x{");
    }
}
