//! The preview of a message: its first words, decoded (RFC 8970).
//!
//! Taken from the first text/plain part that says anything, otherwise from the first text/html part; attachments
//! are passed over, and a message inside counts only when there is nothing outside it. White space becomes single
//! spaces; invisible characters (fillers that advertisers put behind their first line) disappear.
//!
//! Bounded: at most [`CHARACTERS_MAX`] characters come out, at most [`READ_BYTES_MAX`] octets of bodies are looked
//! at. The first window is small, because most texts fill a preview with their first kilobyte.

mod charset;
mod html;
mod transfer;

use std::ops::ControlFlow;

use securanet_model::summary::{Inside, Part};

/// Characters of a preview (RFC 8970 3.1 allows 200).
pub(crate) const CHARACTERS_MAX: usize = 200;
/// Octets of bodies that are looked at for one preview.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Octets of a part that are looked at first, and each time again while the preview is not full.
const WINDOWS_BYTES: [usize; 3] = [1024, 8 * 1024, 48 * 1024];
/// Parts that are tried.
const PARTS_MAX: usize = 4;

/// The preview of the message that has this structure; empty when it has no text.
pub(crate) fn of(message: &[u8], structure: &Part) -> String {
    let mut texts = Texts::default();
    texts.collect(structure, false);
    let mut budget = READ_BYTES_MAX;
    texts
        .in_order()
        .map(|part| of_part(message, part, &mut budget))
        .find(|preview| !preview.is_empty())
        .unwrap_or_default()
}

/// Leaves that may give a preview, each list in the order of the message.
#[derive(Default)]
struct Texts<'a> {
    plain: Vec<&'a Part>,
    html: Vec<&'a Part>,
    plain_inside: Vec<&'a Part>,
    html_inside: Vec<&'a Part>,
}

impl<'a> Texts<'a> {
    fn collect(&mut self, part: &'a Part, inside_message: bool) {
        match &part.inside {
            Inside::Parts(parts) => parts.iter().for_each(|part| self.collect(part, inside_message)),
            Inside::Message(message) => self.collect(&message.1, true),
            Inside::Nothing => {
                let is_attachment = part.disposition.as_ref().is_some_and(|(kind, _)| kind == b"attachment");
                let list = match (part.media_subtype.as_slice(), inside_message) {
                    _ if part.media_type != b"text" || is_attachment => return,
                    (b"plain", false) => &mut self.plain,
                    (b"html", false) => &mut self.html,
                    (b"plain", true) => &mut self.plain_inside,
                    (b"html", true) => &mut self.html_inside,
                    _ => return,
                };
                if list.len() < PARTS_MAX {
                    list.push(part);
                }
            }
        }
    }

    fn in_order(self) -> impl Iterator<Item = &'a Part> {
        self.plain.into_iter().chain(self.html).chain(self.plain_inside).chain(self.html_inside)
    }
}

fn of_part(message: &[u8], part: &Part, budget: &mut usize) -> String {
    let start = usize::try_from(part.body_offset).unwrap_or(usize::MAX);
    let size = usize::try_from(part.body_size_bytes).unwrap_or(usize::MAX);
    let body = message.get(start..start.saturating_add(size)).unwrap_or_default();
    let mut line = Line::default();
    for window in WINDOWS_BYTES {
        let window = window.min(body.len()).min(*budget);
        *budget -= window;
        line = Line::default();
        let _ = append_text(&mut line, part, &body[..window]);
        if line.is_full() || window == body.len() || *budget == 0 {
            break;
        }
    }
    line.text
}

fn append_text(line: &mut Line, part: &Part, body: &[u8]) -> ControlFlow<()> {
    let octets = transfer::decode(&part.encoding, body);
    let label = part.parameters.iter().find(|(name, _)| name == b"charset").map_or(&b""[..], |(_, value)| value);
    let text = charset::decode(label, &octets);
    if part.media_subtype == b"html" {
        html::visit_text(&text, &mut |character| line.push(character))
    } else {
        text.chars().try_for_each(|character| line.push(character))
    }
}

/// A preview being written.
#[derive(Default)]
struct Line {
    text: String,
    characters: usize,
    space: bool,
}

impl Line {
    const fn is_full(&self) -> bool {
        self.characters >= CHARACTERS_MAX
    }

    fn push(&mut self, character: char) -> ControlFlow<()> {
        if character.is_whitespace() || character == '\u{2800}' {
            self.space = true;
            return ControlFlow::Continue(());
        }
        // Joiners belong between two visible characters; alone they are filler.
        let joiner_alone = matches!(character, '\u{200c}' | '\u{200d}') && (self.space || self.text.is_empty());
        if is_invisible(character) || joiner_alone {
            return ControlFlow::Continue(());
        }
        if std::mem::take(&mut self.space) && !self.text.is_empty() {
            self.characters += 1;
            if self.is_full() {
                return ControlFlow::Break(());
            }
            self.text.push(' ');
        }
        self.text.push(character);
        self.characters += 1;
        if self.is_full() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}')
        || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}')
}

#[cfg(test)]
mod tests {
    use crate::mime::structure::scan;

    fn check(message: &str, expected: &str) {
        check_octets(message.as_bytes(), expected);
    }

    fn check_octets(message: &[u8], expected: &str) {
        assert_eq!(super::of(message, &scan(message).structure), expected);
    }

    #[test]
    fn plain_text_with_single_spaces() {
        check("Subject: x\r\n\r\nHello\r\n\r\n  world \u{a0}!\t\r\n", "Hello world !");
        check("\r\n", "");
        check(&format!("\r\n{}", "word ".repeat(100)), "word ".repeat(40).trim_end());
    }

    #[test]
    fn encodings_and_charsets_are_decoded() {
        check("Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=\r\n=C3=9Fe =zz=", "Grüße =zz");
        check("Content-Transfer-Encoding: BASE64\r\n\r\nR3LD\r\nvMOfZQ", "Grüße");
        check_octets(b"Content-Type: text/plain; charset=iso-8859-15\r\n\r\n10 \xa4", "10 €");
        check_octets(b"Content-Type: text/plain; charset=nonsense\r\n\r\n\xe9t\xe9", "été");
        check_octets("\r\nété".as_bytes(), "été");
        check_octets(b"Content-Type: text/plain; charset=utf-7\r\n\r\nHi +AOk-!", "Hi é!");
        check_octets(b"Content-Type: text/plain; charset=utf-16\r\n\r\n\xfe\xff\0H\0i", "Hi");
        check_octets(b"Content-Type: text/plain; charset=shift_jis\r\n\r\n\x93\xfa\x96{", "日本");
    }

    #[test]
    fn html_without_tags() {
        let html = "Content-Type: text/html\r\n\r\n<html><head><title>T</title><style>p>a{}</style></head><body>\
                    <!-- > no --><p title=\"a>b\">One&nbsp;<b>two</b>three</p><p>caf&eacute; &#x41;&#66; &lt;x&gt; &bogus; a & b < c</p>\
                    <script>alert('</p>')</script>end";
        check(html, "One twothree café AB <x> &bogus; a & b < c end");
        check("Content-Type: text/html\r\n\r\n<div style=\"open>a</div>b", "a b");
        check("Content-Type: text/html\r\n\r\nHi&zwnj;&nbsp;&zwnj;&nbsp;&zwnj;\u{34f}<br>there", "Hi\u{200c} there");
    }

    #[test]
    fn the_first_text_that_says_something_wins() {
        let parts = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>html\r\n\
                     --b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nattached\r\n\
                     --b\r\n\r\n \r\n--b\r\n\r\nplain\r\n--b--\r\n";
        check(parts, "plain");
        check(&parts.replace("\r\nplain", ""), "html");
        let forwarded = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n\
                         Subject: x\r\n\r\ninside\r\n--b--\r\n";
        check(forwarded, "inside");
    }
}
