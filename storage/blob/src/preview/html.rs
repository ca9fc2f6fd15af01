//! The text of an HTML document, as far as a preview needs it: no tags, no comments, no scripts and styles.
//!
//! No parser of HTML: it never builds a tree and reads each octet once, so that nothing a stranger sends costs
//! more than its length. Tags that do not stand inside a word read as white space.

use std::ops::ControlFlow;

use mail_parser::decoders::html::html_to_text;
use memchr::{memchr, memchr2, memmem};

/// Elements whose content is no text for a reader.
const SILENT: [&str; 4] = ["title", "style", "script", "template"];
/// Elements that do not separate words.
const INLINE: [&str; 14] =
    ["a", "abbr", "b", "code", "em", "font", "i", "mark", "s", "small", "span", "strong", "u", "wbr"];

/// Shows the characters of the document's text until `visit` breaks.
pub(crate) fn visit_text(html: &str, visit: &mut dyn FnMut(char) -> ControlFlow<()>) -> ControlFlow<()> {
    let mut rest = html;
    let mut quotes_close = true;
    while !rest.is_empty() {
        let plain = memchr2(b'<', b'&', rest.as_bytes()).unwrap_or(rest.len());
        let (text, markup) = rest.split_at(plain);
        text.chars().try_for_each(&mut *visit)?;
        rest = match markup.as_bytes() {
            [] => return ControlFlow::Continue(()),
            [b'&', ..] => entity(markup, visit)?,
            [b'<', b'!', b'-', b'-', ..] => {
                let end = memmem::find(&markup.as_bytes()[4..], b"-->").map_or(markup.len(), |end| end + 7);
                &markup[end..]
            }
            [b'<', next, ..] if next.is_ascii_alphabetic() || matches!(next, b'/' | b'!' | b'?') => {
                let (name, behind) = tag(markup, &mut quotes_close);
                if !INLINE.contains(&name.as_str()) {
                    visit(' ')?;
                }
                if SILENT.contains(&name.as_str()) { end_of(&name, behind) } else { behind }
            }
            _ => {
                visit('<')?;
                &markup[1..]
            }
        };
    }
    ControlFlow::Continue(())
}

/// At `&`: shows what the entity stands for, or the ampersand if it is none; returns what is behind.
fn entity<'a>(text: &'a str, visit: &mut dyn FnMut(char) -> ControlFlow<()>) -> ControlFlow<(), &'a str> {
    const NAME_SIZE_BYTES_MAX: usize = 40;
    let window = &text.as_bytes()[..text.len().min(NAME_SIZE_BYTES_MAX)];
    let end = memchr(b';', window).filter(|&end| {
        let name = &window[1..end];
        name.len() > 1 && name.iter().enumerate().all(|(at, b)| b.is_ascii_alphanumeric() || (at == 0 && *b == b'#'))
    });
    let Some(end) = end else {
        visit('&')?;
        return ControlFlow::Continue(&text[1..]);
    };
    // The table of names is the mail library's; it knows numbers too, and gives back what it does not know.
    html_to_text(&text[..=end]).chars().try_for_each(visit)?;
    ControlFlow::Continue(&text[end + 1..])
}

/// At `<`: the tag's name in lower case (empty for a closing tag of a separating element), and what is behind it.
fn tag<'a>(text: &'a str, quotes_close: &mut bool) -> (String, &'a str) {
    let octets = text.as_bytes();
    let start = if octets.get(1) == Some(&b'/') { 2 } else { 1 };
    let length =
        octets[start..].iter().position(|octet| !octet.is_ascii_alphanumeric()).unwrap_or(octets.len() - start);
    let mut name = text[start..start + length].to_ascii_lowercase();
    if start == 2 && SILENT.contains(&name.as_str()) {
        name.clear();
    }
    let mut at = start + length;
    let mut quoted_value = false;
    while let Some(&octet) = octets.get(at) {
        match octet {
            b'>' => return (name, &text[at + 1..]),
            b'"' | b'\'' if quoted_value && *quotes_close => match memchr(octet, &octets[at + 1..]) {
                Some(end) => at += end + 1,
                None => *quotes_close = false,
            },
            _ => {}
        }
        quoted_value = octet == b'=' || (quoted_value && octet.is_ascii_whitespace());
        at += 1;
    }
    (name, "")
}

/// The place of the closing tag of a silent element; the end when there is none.
fn end_of<'a>(name: &str, text: &'a str) -> &'a str {
    let octets = text.as_bytes();
    let closes = |&at: &usize| {
        octets[at + 1..]
            .strip_prefix(b"/")
            .and_then(|tag| tag.get(..name.len()))
            .is_some_and(|tag| tag.eq_ignore_ascii_case(name.as_bytes()))
    };
    memchr::memchr_iter(b'<', octets).find(closes).map_or("", |at| &text[at..])
}
