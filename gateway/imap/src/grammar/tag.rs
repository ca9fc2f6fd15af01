//! The tag that a client puts before each command and that the tagged response repeats.

use std::fmt;

use super::cursor::{Cursor, SyntaxError, is_atom_char};

/// `tag = 1*<any ASTRING-CHAR except "+">`
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Tag(String);

impl Tag {
    /// Reads a tag.
    ///
    /// # Errors
    /// [`SyntaxError`] when there is none.
    pub fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        let tag = cursor.take_while(|octet| octet != b'+' && (is_atom_char(octet) || octet == b']'));
        match std::str::from_utf8(tag) {
            Ok(text) if !text.is_empty() => Ok(Self(text.to_owned())),
            _ => cursor.fail("a tag"),
        }
    }

    /// The tag at the beginning of a text that may be no command at all.
    #[must_use]
    pub fn of(text: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(text);
        let tag = Self::parse(&mut cursor).ok()?;
        matches!(cursor.peek(), None | Some(b' ' | b'\r' | b'\n')).then_some(tag)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
