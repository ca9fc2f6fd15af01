//! Undoes a content transfer encoding as a body streams by (RFC 2045 6, RFC 3516).
//!
//! Both decoders are lenient in the manner of mail programs: what is no base64 is passed over, what is no
//! quoted-printable is kept as it stands.

/// Undoes one encoding.
pub(crate) enum Decoder {
    /// 7bit, 8bit, binary.
    Identity,
    /// base64.
    Base64(Base64),
    /// quoted-printable.
    QuotedPrintable(QuotedPrintable),
}

impl Decoder {
    /// The decoder for a Content-Transfer-Encoding; `None`: it is not known.
    pub(crate) fn of(encoding: &[u8]) -> Option<Self> {
        let is = |name: &str| encoding.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        if encoding.is_empty() || is("7BIT") || is("8BIT") || is("BINARY") {
            Some(Self::Identity)
        } else if is("BASE64") {
            Some(Self::Base64(Base64::default()))
        } else if is("QUOTED-PRINTABLE") {
            Some(Self::QuotedPrintable(QuotedPrintable::default()))
        } else {
            None
        }
    }

    /// Takes octets of the body; what they decode to goes behind `out`.
    pub(crate) fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Identity => out.extend_from_slice(octets),
            Self::Base64(base64) => octets.iter().for_each(|&octet| base64.push(octet, out)),
            Self::QuotedPrintable(quoted) => octets.iter().for_each(|&octet| quoted.push(octet, out)),
        }
    }

    /// The body has ended.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        if let Self::QuotedPrintable(quoted) = self {
            quoted.finish(out);
        }
    }
}

/// base64, RFC 2045 6.8.
#[derive(Default)]
pub(crate) struct Base64 {
    bits: u32,
    count: u32,
    ended: bool,
}

impl Base64 {
    fn push(&mut self, octet: u8, out: &mut Vec<u8>) {
        let digit = match octet {
            b'A'..=b'Z' => octet - b'A',
            b'a'..=b'z' => octet - b'a' + 26,
            b'0'..=b'9' => octet - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                self.ended = true;
                return;
            }
            _ => return,
        };
        if self.ended {
            // Some programs glue several encoded texts together: what follows padding begins anew.
            *self = Self::default();
        }
        self.bits = (self.bits << 6 | u32::from(digit)) & 0xff_ffff;
        self.count += 6;
        if self.count >= 8 {
            self.count -= 8;
            out.push((self.bits >> self.count & 0xff) as u8);
        }
    }
}

/// quoted-printable, RFC 2045 6.7.
#[derive(Default)]
pub(crate) struct QuotedPrintable {
    /// Octets behind a `=`, itself included, or white space that a line end would take away.
    held: Vec<u8>,
}

/// White space at a line's end is transport padding; more of it than this is kept.
const HELD_OCTETS_MAX: usize = 1024;

impl QuotedPrintable {
    fn push(&mut self, octet: u8, out: &mut Vec<u8>) {
        if self.held.first() == Some(&b'=') {
            return self.in_escape(octet, out);
        }
        match octet {
            b'=' => {
                out.append(&mut self.held);
                self.held.push(octet);
            }
            b' ' | b'\t' if self.held.len() < HELD_OCTETS_MAX => self.held.push(octet),
            b'\r' => {
                self.held.clear();
                out.push(octet);
            }
            b'\n' => {
                self.held.clear();
                out.push(octet);
            }
            _ => {
                out.append(&mut self.held);
                out.push(octet);
            }
        }
    }

    fn in_escape(&mut self, octet: u8, out: &mut Vec<u8>) {
        let soft_break = self.held[1..].iter().all(|held| matches!(held, b' ' | b'\t' | b'\r'));
        match (self.held.len(), octet) {
            (_, b'\n') if soft_break => self.held.clear(),
            (_, b' ' | b'\t' | b'\r') if soft_break && self.held.len() < HELD_OCTETS_MAX => self.held.push(octet),
            (1, _) if octet.is_ascii_hexdigit() => self.held.push(octet),
            (2, _) if octet.is_ascii_hexdigit() && !soft_break => {
                out.push(hex(self.held[1]) << 4 | hex(octet));
                self.held.clear();
            }
            _ => {
                out.append(&mut self.held);
                self.push(octet, out);
            }
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let padding = self.held.iter().all(|held| matches!(held, b' ' | b'\t')) || self.held == b"=";
        if !padding {
            out.append(&mut self.held);
        }
        self.held.clear();
    }
}

const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10) & 0xf,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(encoding: &str, text: &str) -> String {
        let mut all: Vec<Vec<u8>> = Vec::new();
        for piece in [1, 3, 1000] {
            let mut decoder = Decoder::of(encoding.as_bytes()).unwrap();
            let mut out = Vec::new();
            text.as_bytes().chunks(piece).for_each(|chunk| decoder.push(chunk, &mut out));
            decoder.finish(&mut out);
            all.push(out);
        }
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "pieces change {text:?}");
        String::from_utf8_lossy(&all[0]).into_owned()
    }

    #[test]
    fn rfc_2045_6_8_base64() {
        assert_eq!(decode("base64", "aGVs\r\nbG8="), "hello");
        assert_eq!(decode("BASE64", "aGVsbG8"), "hello");
        assert_eq!(decode("base64", "aGk=\r\naGk="), "hihi");
        assert_eq!(decode("base64", "!!"), "");
    }

    #[test]
    fn rfc_2045_6_7_quoted_printable() {
        assert_eq!(decode("quoted-printable", "a=3Db=\r\nc  \r\nd =\t\r\ne"), "a=bc\r\nd e");
        assert_eq!(decode("quoted-printable", "=zz=C3=bc a=4"), "=zzü a=4");
        assert_eq!(decode("quoted-printable", "a="), "a");
        assert_eq!(decode("8bit", "a=\r\n"), "a=\r\n");
        assert!(Decoder::of(b"x-uuencode").is_none());
    }
}
