//! A cursor over the text of one command, with the terminals of RFC 9051 section 9.
//!
//! The text has its literals where the client put them: header, CRLF, octets. Eight-bit octets are taken in
//! quoted strings and literals and nowhere else; who needs UTF-8 checks it.

use std::borrow::Cow;

/// What was expected, and at which octet of the command (from 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{expected} expected at octet {at}")]
pub struct SyntaxError {
    /// Where.
    pub at: usize,
    /// What.
    pub expected: &'static str,
}

/// Reads forward through the text of a command.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

/// `ATOM-CHAR`: printable ASCII without the atom-specials.
#[must_use]
pub const fn is_atom_char(octet: u8) -> bool {
    octet.is_ascii_graphic() && !matches!(octet, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b']')
}

impl<'a> Cursor<'a> {
    /// Starts at the first octet.
    #[must_use]
    pub const fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// How many octets were read.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// What was not read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    /// The next octet, which is not read.
    #[must_use]
    pub fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// An error at this place.
    pub const fn fail<T>(&self, expected: &'static str) -> Result<T, SyntaxError> {
        Err(SyntaxError { at: self.at, expected })
    }

    /// Reads the octet if it is the next one.
    pub fn eat(&mut self, octet: u8) -> bool {
        let found = self.peek() == Some(octet);
        self.at += usize::from(found);
        found
    }

    /// Reads the octet, which must be the next one.
    ///
    /// # Errors
    /// [`SyntaxError`] when it is not.
    pub fn expect(&mut self, octet: u8, expected: &'static str) -> Result<(), SyntaxError> {
        if self.eat(octet) { Ok(()) } else { self.fail(expected) }
    }

    /// `SP`
    ///
    /// # Errors
    /// [`SyntaxError`] when there is none.
    pub fn space(&mut self) -> Result<(), SyntaxError> {
        self.expect(b' ', "a space")
    }

    /// The end of the command; spaces that clients leave there are passed over.
    ///
    /// # Errors
    /// [`SyntaxError`] when something is left.
    pub fn end(&mut self) -> Result<(), SyntaxError> {
        while self.eat(b' ') {}
        if self.rest().is_empty() { Ok(()) } else { self.fail("the end of the command") }
    }

    /// Reads while the octets fit; may be nothing.
    pub fn take_while(&mut self, fits: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let length = rest.iter().position(|&octet| !fits(octet)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    fn take_text(&mut self, fits: impl Fn(u8) -> bool, expected: &'static str) -> Result<&'a str, SyntaxError> {
        let found = self.take_while(|octet| octet.is_ascii() && fits(octet));
        match std::str::from_utf8(found) {
            Ok(text) if !text.is_empty() => Ok(text),
            _ => self.fail(expected),
        }
    }

    /// `atom`
    ///
    /// # Errors
    /// [`SyntaxError`] when there is none.
    pub fn atom(&mut self) -> Result<&'a str, SyntaxError> {
        self.take_text(is_atom_char, "an atom")
    }

    /// A word of the protocol, in upper case: letters, digits and `.-=/$_`.
    ///
    /// # Errors
    /// [`SyntaxError`] naming `expected` when there is none.
    pub fn word(&mut self, expected: &'static str) -> Result<String, SyntaxError> {
        let fits = |octet: u8| octet.is_ascii_alphanumeric() || b".-=/$_".contains(&octet);
        Ok(self.take_text(fits, expected)?.to_ascii_uppercase())
    }

    /// `astring = 1*ASTRING-CHAR / string`
    ///
    /// # Errors
    /// [`SyntaxError`] when there is none.
    pub fn astring(&mut self) -> Result<Cow<'a, [u8]>, SyntaxError> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => {
                let text = self.take_text(|octet| is_atom_char(octet) || octet == b']', "a string or an atom")?;
                Ok(Cow::Borrowed(text.as_bytes()))
            }
        }
    }

    /// `list-mailbox = 1*list-char / string`
    ///
    /// # Errors
    /// [`SyntaxError`] when there is none.
    pub fn list_mailbox(&mut self) -> Result<Cow<'a, [u8]>, SyntaxError> {
        match self.peek() {
            Some(b'"' | b'{') => self.string(),
            _ => {
                let fits = |octet| is_atom_char(octet) || matches!(octet, b']' | b'%' | b'*');
                Ok(Cow::Borrowed(self.take_text(fits, "a mailbox pattern")?.as_bytes()))
            }
        }
    }

    /// `string = quoted / literal`
    ///
    /// # Errors
    /// [`SyntaxError`] when there is none.
    pub fn string(&mut self) -> Result<Cow<'a, [u8]>, SyntaxError> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal().map(Cow::Borrowed),
            _ => self.fail("a string"),
        }
    }

    /// `nstring = string / nil`
    ///
    /// # Errors
    /// [`SyntaxError`] when there is none.
    pub fn nstring(&mut self) -> Result<Option<Cow<'a, [u8]>>, SyntaxError> {
        match self.peek() {
            Some(b'"' | b'{') => self.string().map(Some),
            _ if self.eat_word(b"NIL") => Ok(None),
            _ => self.fail("a string or NIL"),
        }
    }

    /// Reads these octets, in any case, if they are the next ones.
    pub fn eat_word(&mut self, word: &[u8]) -> bool {
        let found = self.rest().get(..word.len()).is_some_and(|next| next.eq_ignore_ascii_case(word));
        self.at += if found { word.len() } else { 0 };
        found
    }

    fn quoted(&mut self) -> Result<Cow<'a, [u8]>, SyntaxError> {
        self.expect(b'"', "a quoted string")?;
        let plain = self.take_while(|octet| !matches!(octet, b'"' | b'\\' | b'\r' | b'\n' | 0));
        if self.eat(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        let mut value = plain.to_vec();
        while self.eat(b'\\') {
            match self.peek() {
                Some(octet @ (b'"' | b'\\')) => value.push(octet),
                _ => return self.fail("\\\" or \\\\"),
            }
            self.at += 1;
            value.extend_from_slice(self.take_while(|octet| !matches!(octet, b'"' | b'\\' | b'\r' | b'\n' | 0)));
        }
        self.expect(b'"', "a closing quote")?;
        Ok(Cow::Owned(value))
    }

    fn literal(&mut self) -> Result<&'a [u8], SyntaxError> {
        self.expect(b'{', "a literal")?;
        let size = usize::try_from(self.number64()?).unwrap_or(usize::MAX);
        self.eat(b'+');
        self.expect(b'}', "}")?;
        self.eat(b'\r');
        self.expect(b'\n', "a line end")?;
        let Some(value) = self.rest().get(..size) else { return self.fail("the octets of a literal") };
        if value.contains(&0) {
            return self.fail("a literal without NUL");
        }
        self.at += size;
        Ok(value)
    }

    /// `number64`: below 2^63.
    ///
    /// # Errors
    /// [`SyntaxError`] when there is none or it is too large.
    pub fn number64(&mut self) -> Result<u64, SyntaxError> {
        let start = self.at;
        let text = self.take_text(|octet| octet.is_ascii_digit(), "a number")?;
        let number = text.parse::<u64>().ok().filter(|&number| number <= i64::MAX as u64);
        number.ok_or(SyntaxError { at: start, expected: "a number below 2^63" })
    }

    /// `number`: 32 bits.
    ///
    /// # Errors
    /// [`SyntaxError`] when there is none or it is too large.
    pub fn number(&mut self) -> Result<u32, SyntaxError> {
        let start = self.at;
        u32::try_from(self.number64()?).map_err(|_| SyntaxError { at: start, expected: "a number below 2^32" })
    }

    /// `nz-number`
    ///
    /// # Errors
    /// [`SyntaxError`] when there is none, or it is 0 or too large.
    pub fn nz_number(&mut self) -> Result<u32, SyntaxError> {
        let start = self.at;
        match self.number()? {
            0 => Err(SyntaxError { at: start, expected: "a number above 0" }),
            number => Ok(number),
        }
    }

    /// `"(" [item *(SP item)] ")"`
    ///
    /// # Errors
    /// [`SyntaxError`] of the parentheses or of an item.
    pub fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, SyntaxError>,
    ) -> Result<Vec<T>, SyntaxError> {
        self.expect(b'(', "(")?;
        let mut items = Vec::new();
        if self.eat(b')') {
            return Ok(items);
        }
        loop {
            items.push(item(self)?);
            if self.eat(b')') {
                return Ok(items);
            }
            self.expect(b' ', "a space or )")?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all<'a, T>(text: &'a str, read: impl Fn(&mut Cursor<'a>) -> Result<T, SyntaxError>) -> Result<T, SyntaxError> {
        let mut cursor = Cursor::new(text.as_bytes());
        let value = read(&mut cursor)?;
        cursor.end()?;
        Ok(value)
    }

    #[test]
    fn strings_are_read_in_all_their_forms() {
        for (text, value) in [
            ("abc]", "abc]"),
            ("\"a \\\"b\\\\\"", "a \"b\\"),
            ("\"\"", ""),
            ("{3}\r\na\"b", "a\"b"),
            ("{3+}\r\na b", "a b"),
            ("\"gr\u{fc}n\"", "gr\u{fc}n"),
        ] {
            assert_eq!(all(text, Cursor::astring).as_deref(), Ok(value.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn an_error_names_the_octet_and_what_was_expected() {
        let error = all("\"abc", Cursor::astring).unwrap_err();
        assert_eq!(error.to_string(), "a closing quote expected at octet 4");
        assert_eq!(all("\"a\\b\"", Cursor::astring).unwrap_err().at, 3);
        assert_eq!(all("4294967296", Cursor::number).unwrap_err().at, 0);
        assert_eq!(all("0", Cursor::nz_number).unwrap_err().expected, "a number above 0");
        assert_eq!(all("{9}\r\nabc", Cursor::astring).unwrap_err().expected, "the octets of a literal");
    }
}
