//! SEARCH: its keys as a tree, its options and its charset (RFC 9051 6.4.4, RFC 4731, RFC 5182, RFC 7162,
//! RFC 8474, RFC 8514, RFC 5032).
//!
//! Keys that a mailbox row answers are told apart from [`TextKey`]s, which need the message's octets.
//! Bounds: keys nest at most [`DEPTH_MAX`] deep and are at most [`KEYS_MAX`], so neither the parser nor the
//! evaluation can be made to recurse or to run without end.

use securanet_gateway::model::{Keyword, SystemFlags};

use super::{
    cursor::{Cursor, SyntaxError},
    date::Date,
    flags,
    set::SequenceSet,
};

/// How deep keys may nest.
pub const DEPTH_MAX: usize = 64;
/// How many keys a search may have.
pub const KEYS_MAX: usize = 2000;

/// `SEARCH` with everything behind it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Search {
    /// `None`: the client wrote no RETURN.
    pub returns: Option<Returns>,
    /// What the messages must fit; `None`: the charset is not one of ours (`BADCHARSET`).
    pub key: Option<SearchKey>,
}

/// `RETURN (...)`; an empty list is `ALL` (RFC 4731 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Returns {
    /// Lowest number.
    pub min: bool,
    /// Highest number.
    pub max: bool,
    /// All numbers.
    pub all: bool,
    /// How many.
    pub count: bool,
    /// Keep the result as `$`.
    pub save: bool,
}

/// How a day is compared, zones disregarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// Earlier than the day.
    Before,
    /// On the day.
    On,
    /// On the day or later.
    Since,
}

impl Comparison {
    /// Compares.
    #[must_use]
    pub fn fits(self, day: Date, with: Date) -> bool {
        match self {
            Self::Before => day < with,
            Self::On => day == with,
            Self::Since => day >= with,
        }
    }
}

/// `search-key`
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SearchKey {
    /// All of them fit; no key at all fits everything (`ALL`).
    And(Vec<Self>),
    /// One of both fits.
    Or(Box<(Self, Self)>),
    /// It does not fit.
    Not(Box<Self>),
    /// A system flag is set.
    Flag(SystemFlags),
    /// A keyword is set.
    Keyword(Keyword),
    /// `\Recent` in this session.
    Recent,
    /// Size above this many octets.
    Larger(u64),
    /// Size below this many octets.
    Smaller(u64),
    /// INTERNALDATE.
    Internal(Comparison, Date),
    /// RFC 8514 SAVEDATE.
    Saved(Comparison, Date),
    /// RFC 5032: INTERNALDATE at least this many seconds ago.
    Older(u64),
    /// RFC 5032: INTERNALDATE less than this many seconds ago.
    Younger(u64),
    /// Sequence numbers, or `$`.
    Sequence(SequenceSet),
    /// UIDs, or `$`.
    Uid(SequenceSet),
    /// RFC 7162: mod-sequence at least this.
    ModSeq(u64),
    /// RFC 8474.
    EmailId(String),
    /// RFC 8474.
    ThreadId(String),
    /// What only the message itself can answer.
    Text(TextKey),
}

/// A key that needs the message's octets. Texts are compared without case, after decoding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TextKey {
    /// The named field contains the text; an empty text fits whenever the field is there.
    Header {
        /// Field name as written.
        name: String,
        /// What it contains.
        text: String,
    },
    /// `From` of the envelope contains the text.
    From(String),
    /// `To` of the envelope contains the text.
    To(String),
    /// `Cc` of the envelope contains the text.
    Cc(String),
    /// `Bcc` of the envelope contains the text.
    Bcc(String),
    /// `Subject` contains the text.
    Subject(String),
    /// The body, without the header, contains the text.
    Body(String),
    /// Header or body contain the text.
    Text(String),
    /// The day of the `Date` field, zone disregarded.
    Sent(Comparison, Date),
}

impl SearchKey {
    /// The key that fits every message.
    #[must_use]
    pub const fn all() -> Self {
        Self::And(Vec::new())
    }

    fn negated(self) -> Self {
        Self::Not(Box::new(self))
    }

    /// Whether any key in the tree fits the test.
    pub fn any(&self, test: &mut impl FnMut(&Self) -> bool) -> bool {
        test(self)
            || match self {
                Self::And(keys) => keys.iter().any(|key| key.any(test)),
                Self::Or(pair) => pair.0.any(test) || pair.1.any(test),
                Self::Not(key) => key.any(test),
                _ => false,
            }
    }
}

/// Reads what stands behind `SEARCH`.
///
/// # Errors
/// [`SyntaxError`] when it is no SEARCH, or it has too many keys.
pub fn parse(cursor: &mut Cursor<'_>) -> Result<Search, SyntaxError> {
    let returns = if cursor.eat_word(b" RETURN ") { Some(returns(cursor)?) } else { None };
    if cursor.eat_word(b" CHARSET ") {
        let charset = cursor.astring()?;
        if ![&b"UTF-8"[..], b"US-ASCII", b"UTF8"].iter().any(|own| own.eq_ignore_ascii_case(&charset)) {
            // What follows is written in a charset that we cannot read.
            cursor.take_while(|_| true);
            return Ok(Search { returns, key: None });
        }
    }
    let mut keys = Keys { cursor, count: 0 };
    let key = keys.and()?;
    Ok(Search { returns, key: Some(key) })
}

fn returns(cursor: &mut Cursor<'_>) -> Result<Returns, SyntaxError> {
    let mut returns = Returns::default();
    let options = cursor.list(|cursor| {
        match cursor.word("a result option")?.as_str() {
            "MIN" => returns.min = true,
            "MAX" => returns.max = true,
            "ALL" => returns.all = true,
            "COUNT" => returns.count = true,
            "SAVE" => returns.save = true,
            _ => return cursor.fail("MIN, MAX, ALL, COUNT or SAVE before this"),
        }
        Ok(())
    })?;
    returns.all |= options.is_empty();
    Ok(returns)
}

struct Keys<'a, 'b> {
    cursor: &'a mut Cursor<'b>,
    count: usize,
}

impl Keys<'_, '_> {
    /// `1*(SP search-key)`
    fn and(&mut self) -> Result<SearchKey, SyntaxError> {
        let mut keys = Vec::new();
        self.cursor.space()?;
        keys.push(self.key(0)?);
        while self.cursor.peek() == Some(b' ') && self.cursor.rest().len() > 1 {
            self.cursor.space()?;
            keys.push(self.key(0)?);
        }
        Ok(simplify(keys))
    }

    fn key(&mut self, depth: usize) -> Result<SearchKey, SyntaxError> {
        self.count += 1;
        if depth > DEPTH_MAX || self.count > KEYS_MAX {
            return self.cursor.fail("fewer search keys");
        }
        match self.cursor.peek() {
            Some(b'(') => self.group(depth),
            Some(octet) if SequenceSet::begins_with(octet) => SequenceSet::parse(self.cursor).map(SearchKey::Sequence),
            _ => self.named(depth),
        }
    }

    fn group(&mut self, depth: usize) -> Result<SearchKey, SyntaxError> {
        self.cursor.expect(b'(', "(")?;
        let mut keys = vec![self.key(depth + 1)?];
        while !self.cursor.eat(b')') {
            self.cursor.expect(b' ', "a space or )")?;
            keys.push(self.key(depth + 1)?);
        }
        Ok(simplify(keys))
    }

    fn named(&mut self, depth: usize) -> Result<SearchKey, SyntaxError> {
        let at = self.cursor.position();
        let name = self.cursor.word("a search key")?;
        if let Some(key) = flag_key(&name) {
            return Ok(key);
        }
        if !TAKES_ARGUMENT.contains(&name.as_str()) {
            return Err(SyntaxError { at, expected: "a search key" });
        }
        self.cursor.space()?;
        match name.as_str() {
            "OR" => {
                let first = self.key(depth + 1)?;
                self.cursor.space()?;
                Ok(SearchKey::Or(Box::new((first, self.key(depth + 1)?))))
            }
            "NOT" => self.key(depth + 1).map(SearchKey::negated),
            _ => self.with_argument(&name),
        }
    }

    fn with_argument(&mut self, name: &str) -> Result<SearchKey, SyntaxError> {
        let cursor = &mut *self.cursor;
        let text = match name {
            "KEYWORD" => return flags::keyword(cursor).map(SearchKey::Keyword),
            "UNKEYWORD" => return flags::keyword(cursor).map(|keyword| SearchKey::Keyword(keyword).negated()),
            "LARGER" => return cursor.number64().map(SearchKey::Larger),
            "SMALLER" => return cursor.number64().map(SearchKey::Smaller),
            "OLDER" => return cursor.nz_number().map(|seconds| SearchKey::Older(seconds.into())),
            "YOUNGER" => return cursor.nz_number().map(|seconds| SearchKey::Younger(seconds.into())),
            "UID" => return SequenceSet::parse(cursor).map(SearchKey::Uid),
            "MODSEQ" => return mod_seq(cursor),
            "EMAILID" => return utf8(cursor).map(SearchKey::EmailId),
            "THREADID" => return utf8(cursor).map(SearchKey::ThreadId),
            "HEADER" => {
                let name = utf8(cursor)?;
                cursor.space()?;
                TextKey::Header { name, text: utf8(cursor)? }
            }
            "FROM" => TextKey::From(utf8(cursor)?),
            "TO" => TextKey::To(utf8(cursor)?),
            "CC" => TextKey::Cc(utf8(cursor)?),
            "BCC" => TextKey::Bcc(utf8(cursor)?),
            "SUBJECT" => TextKey::Subject(utf8(cursor)?),
            "BODY" => TextKey::Body(utf8(cursor)?),
            "TEXT" => TextKey::Text(utf8(cursor)?),
            dated => return date_key(dated, Date::parse(cursor)?, cursor),
        };
        Ok(SearchKey::Text(text))
    }
}

const TAKES_ARGUMENT: [&str; 29] = [
    "OR",
    "NOT",
    "KEYWORD",
    "UNKEYWORD",
    "LARGER",
    "SMALLER",
    "OLDER",
    "YOUNGER",
    "UID",
    "MODSEQ",
    "EMAILID",
    "THREADID",
    "HEADER",
    "FROM",
    "TO",
    "CC",
    "BCC",
    "SUBJECT",
    "BODY",
    "TEXT",
    "BEFORE",
    "ON",
    "SINCE",
    "SENTBEFORE",
    "SENTON",
    "SENTSINCE",
    "SAVEDBEFORE",
    "SAVEDON",
    "SAVEDSINCE",
];

fn date_key(name: &str, date: Date, cursor: &Cursor<'_>) -> Result<SearchKey, SyntaxError> {
    use Comparison::{Before, On, Since};
    Ok(match name {
        "BEFORE" => SearchKey::Internal(Before, date),
        "ON" => SearchKey::Internal(On, date),
        "SINCE" => SearchKey::Internal(Since, date),
        "SENTBEFORE" => SearchKey::Text(TextKey::Sent(Before, date)),
        "SENTON" => SearchKey::Text(TextKey::Sent(On, date)),
        "SENTSINCE" => SearchKey::Text(TextKey::Sent(Since, date)),
        "SAVEDBEFORE" => SearchKey::Saved(Before, date),
        "SAVEDON" => SearchKey::Saved(On, date),
        "SAVEDSINCE" => SearchKey::Saved(Since, date),
        _ => return cursor.fail("a search key"),
    })
}

fn flag_key(name: &str) -> Option<SearchKey> {
    let flag = SearchKey::Flag;
    Some(match name {
        "ALL" | "SAVEDATESUPPORTED" => SearchKey::all(),
        "ANSWERED" => flag(SystemFlags::ANSWERED),
        "DELETED" => flag(SystemFlags::DELETED),
        "DRAFT" => flag(SystemFlags::DRAFT),
        "FLAGGED" => flag(SystemFlags::FLAGGED),
        "SEEN" => flag(SystemFlags::SEEN),
        "UNANSWERED" => flag(SystemFlags::ANSWERED).negated(),
        "UNDELETED" => flag(SystemFlags::DELETED).negated(),
        "UNDRAFT" => flag(SystemFlags::DRAFT).negated(),
        "UNFLAGGED" => flag(SystemFlags::FLAGGED).negated(),
        "UNSEEN" => flag(SystemFlags::SEEN).negated(),
        "RECENT" => SearchKey::Recent,
        "OLD" => SearchKey::Recent.negated(),
        "NEW" => SearchKey::And(vec![SearchKey::Recent, flag(SystemFlags::SEEN).negated()]),
        _ => return None,
    })
}

/// `"MODSEQ" [SP entry-name SP entry-type] SP mod-sequence-valzer`: we keep one for all flags of a message.
fn mod_seq(cursor: &mut Cursor<'_>) -> Result<SearchKey, SyntaxError> {
    if cursor.peek() == Some(b'"') {
        cursor.string()?;
        cursor.space()?;
        if !matches!(cursor.word("priv, shared or all")?.as_str(), "PRIV" | "SHARED" | "ALL") {
            return cursor.fail("priv, shared or all before this");
        }
        cursor.space()?;
    }
    cursor.number64().map(SearchKey::ModSeq)
}

fn utf8(cursor: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    let at = cursor.position();
    String::from_utf8(cursor.astring()?.into_owned()).map_err(|_| SyntaxError { at, expected: "text in UTF-8" })
}

fn simplify(mut keys: Vec<SearchKey>) -> SearchKey {
    match keys.pop() {
        Some(only) if keys.is_empty() => only,
        Some(last) => {
            keys.push(last);
            SearchKey::And(keys)
        }
        None => SearchKey::all(),
    }
}
