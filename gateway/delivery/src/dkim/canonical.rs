//! RFC 6376 3.4 relaxed canonicalisation, of a field and of a body that comes in pieces.

use aws_lc_rs::digest::{Context, Digest, SHA256};

/// Writes a field in relaxed form (3.4.2) without the CRLF behind it. `field` may have CRLFs.
pub(super) fn field(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.extend(name.trim_ascii_end().iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    let mut space = false;
    let start = out.len();
    for &octet in value {
        match octet {
            b'\r' | b'\n' => {}
            b' ' | b'\t' => space = true,
            _ => {
                if std::mem::take(&mut space) && out.len() > start {
                    out.push(b' ');
                }
                out.push(octet);
            }
        }
    }
}

/// Hashes a body in relaxed form (3.4.4): runs of white space are one space, none stands before a CRLF, no empty line
/// stands at the end. What is given has no bare CR or LF.
pub(super) struct Body {
    hash: Context,
    /// Octets to hash, gathered so that the hash is not called for each.
    gathered: Vec<u8>,
    /// White space was read and nothing behind it yet.
    space: bool,
    /// CRLFs that are hashed only once more follows.
    line_ends: u64,
    /// Anything else than empty lines was read.
    any: bool,
}

/// Octets gathered before they are hashed.
const GATHERED_OCTETS: usize = 64 * 1024;

impl Body {
    pub(super) fn new() -> Self {
        let hash = Context::new(&SHA256);
        Self { hash, gathered: Vec::with_capacity(GATHERED_OCTETS + 16), space: false, line_ends: 0, any: false }
    }

    /// Takes octets.
    pub(super) fn push(&mut self, mut octets: &[u8]) {
        while let Some(&first) = octets.first() {
            match first {
                b'\r' => octets = &octets[1..],
                b'\n' => {
                    self.line_ends += 1;
                    self.space = false;
                    octets = &octets[1..];
                }
                b' ' | b'\t' => {
                    self.space = true;
                    octets = &octets[1..];
                }
                _ => {
                    let end = octets.iter().position(|octet| matches!(octet, b'\r' | b'\n' | b' ' | b'\t'));
                    let (word, rest) = octets.split_at(end.unwrap_or(octets.len()));
                    self.word(word);
                    octets = rest;
                }
            }
        }
    }

    fn word(&mut self, word: &[u8]) {
        while self.line_ends > 0 {
            self.gathered.extend_from_slice(b"\r\n");
            self.line_ends -= 1;
            self.flush(GATHERED_OCTETS);
        }
        if std::mem::take(&mut self.space) {
            self.gathered.push(b' ');
        }
        self.any = true;
        self.gathered.extend_from_slice(word);
        self.flush(GATHERED_OCTETS);
    }

    fn flush(&mut self, from_octets: usize) {
        if self.gathered.len() >= from_octets {
            self.hash.update(&self.gathered);
            self.gathered.clear();
        }
    }

    /// There is no more: a body that is not empty ends with one CRLF.
    pub(super) fn finish(mut self) -> Digest {
        if self.any {
            self.gathered.extend_from_slice(b"\r\n");
        }
        self.flush(1);
        self.hash.finish()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::digest;

    use super::*;

    fn check_body(body: &str, relaxed: &str) {
        let expect = digest::digest(&SHA256, relaxed.as_bytes());
        for step in [1, 2, 3, 1000] {
            let mut hash = Body::new();
            body.as_bytes().chunks(step).for_each(|piece| hash.push(piece));
            assert_eq!(hash.finish().as_ref(), expect.as_ref(), "{body:?} in pieces of {step}");
        }
    }

    #[test]
    fn rfc_6376_3_4_5_the_example_of_a_body() {
        check_body(" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n");
    }

    #[test]
    fn rfc_6376_3_4_4_empty_bodies_and_missing_line_ends() {
        check_body("", "");
        check_body("\r\n\r\n", "");
        check_body(" \t\r\n \r\n", "");
        check_body("a", "a\r\n");
        check_body("a \t", "a\r\n");
        check_body("\r\n\r\na\r\n \r\nb\r\n", "\r\n\r\na\r\n\r\nb\r\n");
        let long = "word ".repeat(40_000);
        check_body(&format!("{long}\r\n"), &format!("{}\r\n", long.trim_end()));
    }

    #[test]
    fn rfc_6376_3_4_5_the_example_of_a_header() {
        let relaxed = |name: &str, value: &str| {
            let mut out = Vec::new();
            field(name.as_bytes(), value.as_bytes(), &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(relaxed("A", " X\r\n"), "a:X");
        assert_eq!(relaxed("B ", " Y\t\r\n\tZ  \r\n"), "b:Y Z");
        assert_eq!(relaxed("C", "\r\n"), "c:");
    }
}
