//! Fields of the form `value; name=value; ...`: Content-Type and Content-Disposition (RFC 2045 5.1, RFC 2183).
//!
//! Values are kept as written, unquoted and unfolded; RFC 2231 continuations and charsets stay as they are,
//! because BODYSTRUCTURE shows them so. Only a boundary is put together here, because parts depend on it.
//! Unquoted values may hold spaces and parentheses (`name=my file (1).pdf`), as programs write them.

use super::{
    allowance::Allowance,
    cursor::{Cursor, append_line_text, append_unquoted, is_space, trim, unfold},
};

/// Name in lower case, value unquoted and unfolded.
pub(crate) type Parameter = (Vec<u8>, Vec<u8>);

/// Parameters of one field.
const PARAMETERS_MAX: usize = 256;

/// `type/subtype` in lower case; `None` when the field does not begin with one.
pub(crate) fn media_type(cursor: &mut Cursor<'_>, allowance: &mut Allowance) -> Option<(Vec<u8>, Vec<u8>)> {
    let media_type = token(cursor);
    cursor.skip_space_and_comments();
    if media_type.is_empty() || !cursor.eat(b'/') {
        return None;
    }
    let media_subtype = token(cursor);
    let mut lower = |text: &[u8]| {
        // RFC 6838 4.2: at most 127 octets. Never cut further: what a part is must not depend on the allowance.
        let text = &text[..text.len().min(127)];
        allowance.charge(text.len());
        text.to_ascii_lowercase()
    };
    (!media_subtype.is_empty()).then(|| (lower(media_type), lower(media_subtype)))
}

/// A token behind white space and comments; empty where there is none.
pub(crate) fn token<'a>(cursor: &mut Cursor<'a>) -> &'a [u8] {
    cursor.skip_space_and_comments();
    cursor.take_while(|octet| octet > b' ' && octet != 127 && !b"()<>@,;:\\\"/[]?=".contains(&octet))
}

/// The parameters from here to the end of the field, in order.
pub(crate) fn parameters(cursor: &mut Cursor<'_>, allowance: &mut Allowance) -> Vec<Parameter> {
    let mut parameters = Vec::new();
    while parameters.len() < PARAMETERS_MAX && !allowance.is_used_up() {
        cursor.skip_space_and_comments();
        if cursor.eat(b';') {
            continue;
        }
        if cursor.peek().is_none() {
            break;
        }
        let name = cursor.take_while(|octet| !is_space(octet) && !b"=;(".contains(&octet));
        cursor.skip_space_and_comments();
        if !cursor.eat(b'=') {
            // A name without a value, or something that is no name: over to the next parameter.
            if name.is_empty() {
                cursor.advance();
            }
            continue;
        }
        let value = value(cursor);
        if !name.is_empty() {
            let mut clean = Vec::with_capacity(name.len());
            append_line_text(&mut clean, name);
            clean.make_ascii_lowercase();
            parameters.push((allowance.grant(clean), allowance.grant(value)));
        }
    }
    parameters
}

fn value(cursor: &mut Cursor<'_>) -> Vec<u8> {
    cursor.skip_space_and_comments();
    if let Some(inside) = cursor.quoted() {
        let mut value = Vec::with_capacity(inside.len());
        append_unquoted(&mut value, inside);
        return value;
    }
    cursor.eat(b'"');
    let raw = cursor.take_while(|octet| octet != b';');
    let comment = raw.windows(2).position(|pair| is_space(pair[0]) && pair[1] == b'(' && raw.ends_with_comment());
    unfold(trim(comment.map_or(raw, |at| &raw[..at])))
}

/// Whether a raw value ends with a parenthesis: then what stands in it behind a space is a comment.
trait EndsWithComment {
    fn ends_with_comment(&self) -> bool;
}

impl EndsWithComment for [u8] {
    fn ends_with_comment(&self) -> bool {
        self.trim_ascii_end().ends_with(b")")
    }
}

/// The boundary among the parameters of a multipart, RFC 2231 continuations put together.
pub(crate) fn boundary(parameters: &[Parameter]) -> Option<Vec<u8>> {
    let find = |wanted: &[u8]| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
    if let Some(boundary) = find(b"boundary") {
        return Some(boundary);
    }
    let mut whole = find(b"boundary*0")?;
    for section in 1..PARAMETERS_MAX {
        let Some(more) = find(format!("boundary*{section}").as_bytes()) else { break };
        whole.extend_from_slice(&more);
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(field: &str, expected: &[(&str, &str)]) {
        let (mut cursor, mut allowance) = (Cursor::new(field.as_bytes()), Allowance::new());
        media_type(&mut cursor, &mut allowance);
        let found = parameters(&mut cursor, &mut allowance);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let found: Vec<_> = found.iter().map(|(name, value)| (text(name), text(value))).collect();
        let expected: Vec<_> = expected.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        assert_eq!(found, expected, "{field}");
    }

    #[test]
    fn parameters_as_rfc_2045_writes_them() {
        check(" text/plain; charset=us-ascii (Plain text)\r\n", &[("charset", "us-ascii")]);
        check(
            " text/plain;\r\n\tcharset=\"us-\\\"ascii\" ; Format = flowed",
            &[("charset", "us-\"ascii"), ("format", "flowed")],
        );
        check("a/b; (c) x (d) = (e) y (f); ;", &[("x", "y")]);
    }

    #[test]
    fn parameters_as_programs_write_them() {
        check("a/b; name=my file (1).pdf; x=1", &[("name", "my file (1).pdf"), ("x", "1")]);
        check("a/b; name=f(1).pdf", &[("name", "f(1).pdf")]);
        check("a/b; name=\"open; x=1", &[("name", "open"), ("x", "1")]);
        check("a/b charset=utf-8", &[("charset", "utf-8")]);
        check("a/b; ; alone; =v; x=\"a\r\n b\"junk; y=", &[("x", "a b"), ("y", "")]);
        check("a/b; name*0*=utf-8''a; name*1=b", &[("name*0*", "utf-8''a"), ("name*1", "b")]);
        check("a/b; (((; x=1", &[("x", "1")]);
    }

    #[test]
    fn a_boundary_may_be_continued() {
        let (mut cursor, mut allowance) = (Cursor::new(b"; boundary*0=ab; boundary*1=\"c d\""), Allowance::new());
        assert_eq!(boundary(&parameters(&mut cursor, &mut allowance)), Some(b"abc d".to_vec()));
    }

    #[test]
    fn a_media_type_needs_both_halves() {
        let read = |field: &'static str| media_type(&mut Cursor::new(field.as_bytes()), &mut Allowance::new());
        assert_eq!(read(" Text (c) / HTML;"), Some((b"text".to_vec(), b"html".to_vec())));
        assert_eq!(read("text"), None);
        assert_eq!(read("/plain"), None);
        assert_eq!(read("text/"), None);
    }
}
