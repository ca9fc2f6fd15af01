//! A fuzz entry for what is signed: fields, their relaxed form, and bodies.

use aws_lc_rs::digest;

use super::{
    canonical::{self, Body},
    header::{author_domain, fields},
};

/// A message, split by its first octet: fields keep their octets, their relaxed form is one line without runs of white
/// space, and a body hashes as a plain reading of the whole says.
///
/// # Panics
/// When an invariant does not hold.
pub(crate) fn check(data: &[u8]) {
    let [step, data @ ..] = data else { return };
    let fields = fields(data);
    let octets: usize = fields.iter().map(|field| field.name.len() + 1 + field.value.len()).sum();
    assert!(octets <= data.len(), "a field is read twice");
    for field in &fields {
        let mut relaxed = Vec::new();
        canonical::field(field.name, field.value, &mut relaxed);
        let value = &relaxed[relaxed.iter().position(|&octet| octet == b':').map_or(0, |colon| colon + 1)..];
        assert!(!value.iter().any(|octet| matches!(octet, b'\r' | b'\n' | b'\t')), "{relaxed:?}");
        assert!(!value.starts_with(b" ") && !value.ends_with(b" "), "{relaxed:?}");
        assert!(!value.windows(2).any(|two| two == b"  "), "{relaxed:?}");
    }
    let _ = author_domain(data);
    let body = whole_lines(data);
    let mut hash = Body::new();
    body.chunks(usize::from(*step).max(1)).for_each(|piece| hash.push(piece));
    let expect = digest::digest(&digest::SHA256, &relaxed_body(&body));
    assert_eq!(hash.finish().as_ref(), expect.as_ref());
}

/// Octets with each line end a CRLF, as what leaves has them.
fn whole_lines(data: &[u8]) -> Vec<u8> {
    let lines: Vec<Vec<u8>> = data
        .split(|&octet| octet == b'\n')
        .map(|line| line.iter().copied().filter(|&octet| octet != b'\r').collect())
        .collect();
    lines.join(&b"\r\n"[..])
}

/// RFC 6376 3.4.4, word by word.
fn relaxed_body(body: &[u8]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = body
        .split(|&octet| octet == b'\n')
        .map(|line| {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let mut words: Vec<&[u8]> = line.split(|octet| matches!(octet, b' ' | b'\t')).collect();
            while words.last().is_some_and(|word| word.is_empty()) {
                words.pop();
            }
            let mut relaxed = Vec::new();
            let mut space = false;
            for (at, word) in words.iter().enumerate() {
                space |= at > 0;
                if !word.is_empty() || (at == 0 && words.len() > 1) {
                    if !word.is_empty() && std::mem::take(&mut space) {
                        relaxed.push(b' ');
                    }
                    relaxed.extend_from_slice(word);
                }
            }
            relaxed
        })
        .collect();
    while lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines.iter().flat_map(|line| [&line[..], b"\r\n"].concat()).collect()
}
