//! Picks fields out of a header as it streams by (RFC 9051 6.4.5.1 HEADER.FIELDS and HEADER.FIELDS.NOT).
//!
//! Fields come out as they stand, folding included, in their order; the empty line always follows. A line that
//! is no field belongs to the field before it, as in every reader that is not strict.

/// Longest field name that is compared; longer ones equal no name that anybody asks for.
const NAME_OCTETS_MAX: usize = 256;

/// Picks fields.
pub(super) struct HeaderFields<'a> {
    names: &'a [Vec<u8>],
    not: bool,
    /// Octets of the line so far, while its name is not known to be complete.
    name: Vec<u8>,
    line: Line,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// At the first octet of a line.
    Begin { kept: bool },
    /// In what may be a field's name.
    Name { kept: bool },
    /// In the rest of a line.
    Rest { kept: bool },
}

impl<'a> HeaderFields<'a> {
    pub(super) fn new(names: &'a [Vec<u8>], not: bool) -> Self {
        Self { names, not, name: Vec::new(), line: Line::Begin { kept: false } }
    }

    /// Takes octets of the header; what is picked goes behind `out`.
    pub(super) fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        for &octet in octets {
            self.line = match self.line {
                Line::Begin { kept } if matches!(octet, b' ' | b'\t') => self.rest(octet, kept, out),
                Line::Begin { kept } | Line::Name { kept } => self.in_name(octet, kept, out),
                Line::Rest { kept } => self.rest(octet, kept, out),
            };
        }
    }

    /// The header has ended.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n");
    }

    fn rest(&mut self, octet: u8, kept: bool, out: &mut Vec<u8>) -> Line {
        if kept {
            out.push(octet);
        }
        if octet == b'\n' { Line::Begin { kept } } else { Line::Rest { kept } }
    }

    fn in_name(&mut self, octet: u8, before: bool, out: &mut Vec<u8>) -> Line {
        self.name.push(octet);
        match octet {
            b':' => {
                let kept = self.is_wanted();
                if kept {
                    out.extend_from_slice(&self.name);
                }
                self.name.clear();
                Line::Rest { kept }
            }
            b'\n' => {
                // No field: the empty line, or a line that belongs to the field before it.
                let empty = matches!(&self.name[..], b"\r\n" | b"\n");
                if before && !empty {
                    out.extend_from_slice(&self.name);
                }
                self.name.clear();
                Line::Begin { kept: before }
            }
            _ if self.name.len() > NAME_OCTETS_MAX => {
                if before {
                    out.extend_from_slice(&self.name);
                }
                self.name.clear();
                Line::Rest { kept: before }
            }
            _ => Line::Name { kept: before },
        }
    }

    fn is_wanted(&self) -> bool {
        let name = self.name[..self.name.len() - 1].trim_ascii_end();
        self.names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)) != self.not
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "From: a\r\nSubject: one\r\n two\r\nTo : b\r\nX: y\r\n\r\n";

    fn pick(names: &[&str], not: bool, piece: usize) -> String {
        let names: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let mut fields = HeaderFields::new(&names, not);
        let mut out = Vec::new();
        HEADER.as_bytes().chunks(piece).for_each(|chunk| fields.push(chunk, &mut out));
        fields.finish(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rfc_9051_6_4_5_1_fields_keep_order_and_folding() {
        for piece in [1, 2, 7, 1000] {
            assert_eq!(pick(&["subject", "FROM"], false, piece), "From: a\r\nSubject: one\r\n two\r\n\r\n");
            assert_eq!(pick(&["subject", "from"], true, piece), "To : b\r\nX: y\r\n\r\n");
            assert_eq!(pick(&["to"], false, piece), "To : b\r\n\r\n");
            assert_eq!(pick(&["none"], false, piece), "\r\n");
        }
    }
}
