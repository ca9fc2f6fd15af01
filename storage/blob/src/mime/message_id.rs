//! Message ids in Message-ID, In-Reply-To and References (RFC 5322 3.6.4), brought to one spelling.
//!
//! Programs fold, comment and re-case ids; a thread must hold all the same. One spelling: what stands between
//! `<` and `>`, without white space, the part behind the last `@` in lower case.

use memchr::memchr;

use super::cursor::{is_space, trim};

/// Octets of one id; longer ones are no id that anybody refers to.
const ID_SIZE_BYTES_MAX: usize = 1024;

/// The ids of a field in order, each in its one spelling. Without any `<` each word with an `@` is an id.
pub(crate) fn message_ids(value: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let bracketed = memchr(b'<', value).is_some();
    let mut rest = value;
    std::iter::from_fn(move || {
        loop {
            let (raw, behind) = if bracketed { next_bracketed(rest)? } else { next_word(rest)? };
            rest = behind;
            if !raw.is_empty() && raw.len() <= ID_SIZE_BYTES_MAX {
                return Some(one_spelling(raw));
            }
        }
    })
}

fn next_bracketed(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = &text[memchr(b'<', text)? + 1..];
    let end = memchr(b'>', inside)?;
    // `<a <b>`: the last opening bracket is the one that belongs to the closing one.
    let start = inside[..end].iter().rposition(|&octet| octet == b'<').map_or(0, |at| at + 1);
    Some((trim(&inside[start..end]), &inside[end + 1..]))
}

fn next_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = text.iter().position(|&octet| !is_space(octet))?;
    let text = &text[start..];
    let (word, behind) = text.split_at(text.iter().position(|&octet| is_space(octet)).unwrap_or(text.len()));
    Some((if word.contains(&b'@') { word } else { &[] }, behind))
}

fn one_spelling(raw: &[u8]) -> Vec<u8> {
    let mut id: Vec<u8> = raw.iter().copied().filter(|&octet| !is_space(octet)).collect();
    let domain = id.iter().rposition(|&octet| octet == b'@').unwrap_or(id.len());
    id[domain..].make_ascii_lowercase();
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, expected: &[&str]) {
        let found: Vec<String> = message_ids(value.as_bytes()).map(|id| String::from_utf8(id).unwrap()).collect();
        assert_eq!(found, expected, "{value}");
    }

    #[test]
    fn ids_come_in_one_spelling() {
        check(" <A.b@Example.ORG>\r\n", &["A.b@example.org"]);
        check("<a@b>\r\n <c@d> (x)<e@\r\n f>", &["a@b", "c@d", "e@f"]);
        check("Your message of Monday <a@b>", &["a@b"]);
        check("A@B c D@E", &["A@b", "D@e"]);
        check("<> <a <b@c>", &["b@c"]);
        check("<open", &[]);
        check("", &[]);
        check(&format!("<{}> <a@b>", "x".repeat(2000)), &["a@b"]);
    }
}
