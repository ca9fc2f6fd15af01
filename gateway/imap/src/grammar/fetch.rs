//! What FETCH can be asked for (RFC 9051 6.4.5, RFC 3501, RFC 7162, RFC 8474, RFC 8514, RFC 8970).

use super::cursor::{Cursor, SyntaxError};

/// Items that one FETCH may have: more than a client has reason to ask for.
const ITEMS_MAX: usize = 256;
/// How deep a section may point into a message.
const PATH_LENGTH_MAX: usize = 64;

/// `FETCH` behind its sequence set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fetch {
    /// What is wanted, in the order asked for, macros written out.
    pub items: Vec<FetchItem>,
    /// RFC 7162 CHANGEDSINCE.
    pub changed_since: Option<u64>,
    /// RFC 7162 VANISHED.
    pub vanished: bool,
}

/// `fetch-att`
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FetchItem {
    /// `FLAGS`
    Flags,
    /// `INTERNALDATE`
    InternalDate,
    /// `RFC822.SIZE`
    Size,
    /// `ENVELOPE`
    Envelope,
    /// `BODY`: the structure without extension data.
    Body,
    /// `BODYSTRUCTURE`
    BodyStructure,
    /// `UID`
    Uid,
    /// `MODSEQ`
    ModSeq,
    /// `EMAILID`
    EmailId,
    /// `THREADID`
    ThreadId,
    /// `SAVEDATE`
    SaveDate,
    /// `PREVIEW [(LAZY)]`
    Preview,
    /// `RFC822`: as `BODY[]` under its old name.
    Rfc822,
    /// `RFC822.HEADER`: as `BODY.PEEK[HEADER]` under its old name.
    Rfc822Header,
    /// `RFC822.TEXT`: as `BODY[TEXT]` under its old name.
    Rfc822Text,
    /// `BODY[section]<partial>`
    Section {
        /// Which octets.
        section: Section,
        /// First octet and most octets.
        partial: Option<(u64, u64)>,
        /// Whether `\Seen` stays as it is.
        peek: bool,
    },
    /// `BINARY[path]<partial>`
    Binary {
        /// Which part; empty: the whole message.
        path: Vec<u32>,
        /// First octet and most octets, after decoding.
        partial: Option<(u64, u64)>,
        /// Whether `\Seen` stays as it is.
        peek: bool,
    },
    /// `BINARY.SIZE[path]`
    BinarySize {
        /// Which part; empty: the whole message.
        path: Vec<u32>,
    },
}

/// `section-spec`
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Section {
    /// Part numbers, outermost first; empty: the message.
    pub path: Vec<u32>,
    /// What of the part.
    pub text: SectionText,
}

/// `section-text`
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum SectionText {
    /// Nothing said: the message, or a part's body.
    #[default]
    Whole,
    /// `HEADER`
    Header,
    /// `HEADER.FIELDS (names)` or `HEADER.FIELDS.NOT (names)`.
    HeaderFields {
        /// Field names as written; at least one.
        names: Vec<Vec<u8>>,
        /// Whether all fields but these are wanted.
        not: bool,
    },
    /// `TEXT`
    Text,
    /// `MIME`
    Mime,
}

impl FetchItem {
    /// Whether it sets `\Seen` (RFC 9051 6.4.5).
    #[must_use]
    pub const fn sets_seen(&self) -> bool {
        matches!(
            self,
            Self::Rfc822 | Self::Rfc822Text | Self::Section { peek: false, .. } | Self::Binary { peek: false, .. }
        )
    }
}

/// Reads the items and modifiers behind `FETCH set SP`.
///
/// # Errors
/// [`SyntaxError`] when there is none or an unknown one.
pub fn parse(cursor: &mut Cursor<'_>) -> Result<Fetch, SyntaxError> {
    let mut items = if cursor.peek() == Some(b'(') {
        cursor.list(item)?
    } else if let Some(items) = macro_items(cursor) {
        items
    } else {
        vec![item(cursor)?]
    };
    if items.is_empty() || items.len() > ITEMS_MAX {
        return cursor.fail("1 to 256 items before this");
    }
    // Asked twice is answered once.
    let mut at = 0;
    while at < items.len() {
        if items[..at].contains(&items[at]) { drop(items.remove(at)) } else { at += 1 }
    }
    let mut fetch = Fetch { items, changed_since: None, vanished: false };
    if cursor.eat_word(b" (") {
        modifiers(cursor, &mut fetch)?;
    }
    Ok(fetch)
}

fn macro_items(cursor: &mut Cursor<'_>) -> Option<Vec<FetchItem>> {
    use FetchItem::{Body, Envelope, Flags, InternalDate, Size};
    let mut ahead = cursor.clone();
    let items = match ahead.word("an item").ok()?.as_str() {
        "ALL" => vec![Flags, InternalDate, Size, Envelope],
        "FAST" => vec![Flags, InternalDate, Size],
        "FULL" => vec![Flags, InternalDate, Size, Envelope, Body],
        _ => return None,
    };
    *cursor = ahead;
    Some(items)
}

fn modifiers(cursor: &mut Cursor<'_>, fetch: &mut Fetch) -> Result<(), SyntaxError> {
    loop {
        match cursor.word("CHANGEDSINCE")?.as_str() {
            "CHANGEDSINCE" => {
                cursor.space()?;
                fetch.changed_since = Some(cursor.number64()?);
            }
            "VANISHED" => fetch.vanished = true,
            _ => return cursor.fail("CHANGEDSINCE or VANISHED before this"),
        }
        if cursor.eat(b')') {
            break;
        }
        cursor.space()?;
    }
    // RFC 7162 3.2.6: VANISHED says since when.
    if fetch.vanished && fetch.changed_since.is_none() { cursor.fail("CHANGEDSINCE beside VANISHED") } else { Ok(()) }
}

fn item(cursor: &mut Cursor<'_>) -> Result<FetchItem, SyntaxError> {
    let at = cursor.position();
    let name = cursor.word("a FETCH item")?;
    let section = cursor.peek() == Some(b'[');
    Ok(match (name.as_str(), section) {
        ("FLAGS", false) => FetchItem::Flags,
        ("INTERNALDATE", false) => FetchItem::InternalDate,
        ("RFC822.SIZE", false) => FetchItem::Size,
        ("ENVELOPE", false) => FetchItem::Envelope,
        ("BODY", false) => FetchItem::Body,
        ("BODYSTRUCTURE", false) => FetchItem::BodyStructure,
        ("UID", false) => FetchItem::Uid,
        ("MODSEQ", false) => FetchItem::ModSeq,
        ("EMAILID", false) => FetchItem::EmailId,
        ("THREADID", false) => FetchItem::ThreadId,
        ("SAVEDATE", false) => FetchItem::SaveDate,
        ("PREVIEW", false) => {
            cursor.eat_word(b" (LAZY)");
            FetchItem::Preview
        }
        ("RFC822", false) => FetchItem::Rfc822,
        ("RFC822.HEADER", false) => FetchItem::Rfc822Header,
        ("RFC822.TEXT", false) => FetchItem::Rfc822Text,
        ("BODY" | "BODY.PEEK", true) => {
            let section = section_spec(cursor)?;
            FetchItem::Section { section, partial: partial(cursor)?, peek: name == "BODY.PEEK" }
        }
        ("BINARY" | "BINARY.PEEK", true) => {
            let path = section_binary(cursor)?;
            FetchItem::Binary { path, partial: partial(cursor)?, peek: name == "BINARY.PEEK" }
        }
        ("BINARY.SIZE", true) => FetchItem::BinarySize { path: section_binary(cursor)? },
        _ => return Err(SyntaxError { at, expected: "a FETCH item" }),
    })
}

/// Reads part numbers; what follows them (behind a dot) is left.
fn path(cursor: &mut Cursor<'_>) -> Result<Vec<u32>, SyntaxError> {
    let mut path = Vec::new();
    while cursor.peek().is_some_and(|octet| octet.is_ascii_digit()) {
        path.push(cursor.nz_number()?);
        if path.len() > PATH_LENGTH_MAX {
            return cursor.fail("at most 64 part numbers");
        }
        if cursor.peek() != Some(b'.') {
            break;
        }
        cursor.eat(b'.');
        if cursor.peek() == Some(b']') {
            return cursor.fail("a part number or a section");
        }
    }
    Ok(path)
}

fn section_binary(cursor: &mut Cursor<'_>) -> Result<Vec<u32>, SyntaxError> {
    cursor.expect(b'[', "[")?;
    let path = path(cursor)?;
    cursor.expect(b']', "]")?;
    Ok(path)
}

fn section_spec(cursor: &mut Cursor<'_>) -> Result<Section, SyntaxError> {
    cursor.expect(b'[', "[")?;
    let path = path(cursor)?;
    if cursor.eat(b']') {
        return Ok(Section { path, text: SectionText::Whole });
    }
    let at = cursor.position();
    let text = match cursor.word("a section")?.as_str() {
        "HEADER" => SectionText::Header,
        "TEXT" => SectionText::Text,
        "MIME" if !path.is_empty() => SectionText::Mime,
        name @ ("HEADER.FIELDS" | "HEADER.FIELDS.NOT") => {
            cursor.space()?;
            let names = cursor.list(|cursor| cursor.astring().map(std::borrow::Cow::into_owned))?;
            if names.is_empty() {
                return cursor.fail("a field name before this");
            }
            SectionText::HeaderFields { names, not: name == "HEADER.FIELDS.NOT" }
        }
        _ => return Err(SyntaxError { at, expected: "HEADER, HEADER.FIELDS, TEXT or MIME" }),
    };
    cursor.expect(b']', "]")?;
    Ok(Section { path, text })
}

fn partial(cursor: &mut Cursor<'_>) -> Result<Option<(u64, u64)>, SyntaxError> {
    if !cursor.eat(b'<') {
        return Ok(None);
    }
    let first = cursor.number64()?;
    cursor.expect(b'.', ".")?;
    let at = cursor.position();
    let count = cursor.number64()?;
    if count == 0 {
        return Err(SyntaxError { at, expected: "a number above 0" });
    }
    cursor.expect(b'>', ">")?;
    Ok(Some((first, count)))
}
