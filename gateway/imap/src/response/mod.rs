//! What the server says: one buffer that knows the client's dialect and how each response is written.
//!
//! Responses are written here and leave through [`crate::session::Session`]; large literals are not written here
//! but streamed behind what is. Invariant: between two calls the buffer ends at the end of a response, but while
//! a FETCH response is being streamed.

use securanet_gateway::model::MailboxName;

use crate::grammar::{Tag, cursor::is_atom_char, utf7};

mod code;
mod envelope;
mod fetch;
mod list;
mod mailbox;
mod quota;
mod search;
mod sets;
mod structure;
mod tagged;

pub(crate) use code::{Code, email_object_id, mailbox_object_id, thread_object_id};
pub(crate) use list::ListRow;
pub(crate) use quota::has_limit;
pub(crate) use search::Found;
pub(crate) use sets::numbers;
pub(crate) use tagged::{Status, Stop, Tagged};

/// Longer strings are written as literals: clients have line limits.
const QUOTED_OCTETS_MAX: usize = 1000;

/// What the client has switched on; nothing ever switches off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Enabled {
    /// RFC 7162 CONDSTORE: FETCH responses carry MODSEQ.
    pub(crate) condstore: bool,
    /// RFC 7162 QRESYNC: VANISHED instead of EXPUNGE, UID in each FETCH response.
    pub(crate) qresync: bool,
    /// RFC 9755, or part of IMAP4rev2: names and quoted strings in UTF-8.
    pub(crate) utf8: bool,
    /// RFC 9051: no RECENT, ESEARCH always.
    pub(crate) rev2: bool,
}

/// The server's side of the dialogue, gathered.
#[derive(Debug, Default)]
pub(crate) struct Out {
    pub(crate) bytes: Vec<u8>,
    pub(crate) enabled: Enabled,
}

impl Out {
    pub(crate) fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn line_end(&mut self) {
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// `* text`
    pub(crate) fn untagged(&mut self, text: &str) {
        self.text("* ");
        self.text(text);
        self.line_end();
    }

    /// `+ text`
    pub(crate) fn continuation(&mut self, text: &str) {
        self.text("+ ");
        self.text(text);
        self.line_end();
    }

    /// `* OK [code] text`
    pub(crate) fn ok(&mut self, code: &Code, text: &str) {
        self.text("* OK [");
        self.text(code.as_str());
        self.text("] ");
        self.text(text);
        self.line_end();
    }

    /// The tagged response.
    pub(crate) fn tagged(&mut self, tag: &Tag, tagged: &Tagged) {
        self.text(&tag.to_string());
        self.text(" ");
        self.status(tagged);
    }

    /// A status response without its tag.
    pub(crate) fn status(&mut self, tagged: &Tagged) {
        self.text(tagged.status.name());
        self.text(" ");
        if let Some(code) = &tagged.code {
            self.text("[");
            self.text(code.as_str());
            self.text("] ");
        }
        self.bytes.extend(tagged.text.bytes().map(|b| if b == b' ' || b.is_ascii_graphic() { b } else { b'?' }));
        self.line_end();
    }

    /// `string`: quoted where it can be, else a literal with the octets as they are.
    pub(crate) fn string(&mut self, value: &[u8]) {
        let plain = |&octet: &u8| octet >= b' ' && octet != 0x7f;
        let ascii = value.is_ascii() || (self.enabled.utf8 && std::str::from_utf8(value).is_ok());
        if value.len() <= QUOTED_OCTETS_MAX && ascii && value.iter().all(plain) {
            self.quoted(value);
        } else {
            self.literal_header(value.len() as u64, false);
            self.bytes.extend(value.iter().map(|&octet| if octet == 0 { b'?' } else { octet }));
        }
    }

    fn quoted(&mut self, value: &[u8]) {
        self.bytes.push(b'"');
        for &octet in value {
            if matches!(octet, b'"' | b'\\') {
                self.bytes.push(b'\\');
            }
            self.bytes.push(octet);
        }
        self.bytes.push(b'"');
    }

    /// `nstring`
    pub(crate) fn nstring(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => self.string(value),
            None => self.text("NIL"),
        }
    }

    /// `astring`
    pub(crate) fn astring(&mut self, value: &[u8]) {
        let atom = !value.is_empty() && value.iter().all(|&octet| is_atom_char(octet) || octet == b']');
        if atom && !value.eq_ignore_ascii_case(b"NIL") {
            self.bytes.extend_from_slice(value);
        } else {
            self.string(value);
        }
    }

    /// `{n}` or, with a tilde, the header of a literal8; the octets come next.
    pub(crate) fn literal_header(&mut self, octets: u64, binary: bool) {
        self.text(if binary { "~{" } else { "{" });
        self.text(&octets.to_string());
        self.text("}\r\n");
    }

    /// A mailbox name as this client reads it.
    pub(crate) fn mailbox_name(&mut self, name: &MailboxName) {
        if self.enabled.utf8 {
            self.astring(name.as_str().as_bytes());
        } else {
            self.astring(utf7::encode(name.as_str()).as_bytes());
        }
    }

    /// Items in parentheses, with spaces between them.
    pub(crate) fn list<T>(&mut self, items: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        self.text("(");
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                self.text(" ");
            }
            write(self, item);
        }
        self.text(")");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(utf8: bool, write: impl FnOnce(&mut Out)) -> String {
        let mut out = Out { enabled: Enabled { utf8, ..Enabled::default() }, ..Out::default() };
        write(&mut out);
        String::from_utf8(out.bytes).unwrap()
    }

    #[test]
    fn rfc_9051_4_3_strings_are_quoted_where_they_can_be() {
        assert_eq!(written(false, |out| out.string(b"a \"b\\")), "\"a \\\"b\\\\\"");
        assert_eq!(written(false, |out| out.string(b"a\r\nb")), "{4}\r\na\r\nb");
        assert_eq!(written(false, |out| out.string("ü".as_bytes())), "{2}\r\nü");
        assert_eq!(written(true, |out| out.string("ü".as_bytes())), "\"ü\"");
        assert_eq!(written(false, |out| out.nstring(None)), "NIL");
    }

    #[test]
    fn a_mailbox_called_nil_is_no_nil() {
        assert_eq!(written(false, |out| out.astring(b"nil")), "\"nil\"");
        assert_eq!(written(false, |out| out.astring(b"")), "\"\"");
        assert_eq!(written(false, |out| out.mailbox_name(&MailboxName::parse("Entwürfe").unwrap())), "Entw&APw-rfe");
        assert_eq!(written(true, |out| out.mailbox_name(&MailboxName::parse("Entwürfe").unwrap())), "\"Entwürfe\"");
    }
}
