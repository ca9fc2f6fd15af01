//! Mailbox names, special uses, flags and keywords.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The hierarchy delimiter of mailbox names.
pub const DELIMITER: char = '/';

/// A mailbox's full name in UTF-8, its levels separated by `/`; `INBOX` in any case is `INBOX`.
///
/// At most 512 octets, no empty level, no control character, no `*` or `%` (they are LIST wildcards).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MailboxName(String);

/// Why a text is no mailbox name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailboxNameError {
    /// Nothing, or nothing between two delimiters.
    #[error("a mailbox name has no empty level")]
    EmptyLevel,
    /// Longer than 512 octets.
    #[error("a mailbox name has at most 512 octets")]
    TooLong,
    /// A control character, `*` or `%`.
    #[error("a mailbox name cannot contain {0:?}")]
    Character(char),
}

impl MailboxName {
    /// Longest name in octets.
    pub const OCTETS_MAX: usize = 512;

    /// Every account's first mailbox.
    #[must_use]
    pub fn inbox() -> Self {
        Self("INBOX".to_owned())
    }

    /// Parses a name.
    ///
    /// # Errors
    /// [`MailboxNameError`] says what is wrong with it.
    pub fn parse(name: &str) -> Result<Self, MailboxNameError> {
        if name.len() > Self::OCTETS_MAX {
            return Err(MailboxNameError::TooLong);
        }
        if let Some(bad) = name.chars().find(|c| c.is_control() || matches!(c, '*' | '%' | '\u{2028}' | '\u{2029}')) {
            return Err(MailboxNameError::Character(bad));
        }
        if name.split(DELIMITER).any(str::is_empty) {
            return Err(MailboxNameError::EmptyLevel);
        }
        let (first, rest) = name.split_at(name.find(DELIMITER).unwrap_or(name.len()));
        Ok(if first.eq_ignore_ascii_case("INBOX") { Self(format!("INBOX{rest}")) } else { Self(name.to_owned()) })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `INBOX` itself.
    #[must_use]
    pub fn is_inbox(&self) -> bool {
        self.0 == "INBOX"
    }

    /// The name one level up, if there is one.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once(DELIMITER).map(|(parent, _)| Self(parent.to_owned()))
    }

    /// Whether `self` lies below `ancestor`.
    #[must_use]
    pub fn is_below(&self, ancestor: &Self) -> bool {
        self.0.strip_prefix(&ancestor.0).is_some_and(|rest| rest.starts_with(DELIMITER))
    }
}

impl fmt::Display for MailboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for MailboxName {
    type Err = MailboxNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::parse(name)
    }
}

impl TryFrom<String> for MailboxName {
    type Error = MailboxNameError;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name)
    }
}

impl From<MailboxName> for String {
    fn from(name: MailboxName) -> Self {
        name.0
    }
}

/// RFC 6154 special use of a mailbox.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum SpecialUse {
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

impl SpecialUse {
    /// All of them, in the order in which an account's mailboxes are made.
    pub const ALL: [Self; 5] = [Self::Archive, Self::Drafts, Self::Junk, Self::Sent, Self::Trash];

    /// The attribute as LIST shows it, `\Sent` for instance.
    #[must_use]
    pub const fn attribute(self) -> &'static str {
        match self {
            Self::Archive => "\\Archive",
            Self::Drafts => "\\Drafts",
            Self::Junk => "\\Junk",
            Self::Sent => "\\Sent",
            Self::Trash => "\\Trash",
        }
    }

    /// The name of the mailbox that a new account gets for it.
    #[must_use]
    pub const fn default_name(self) -> &'static str {
        match self {
            Self::Archive => "Archive",
            Self::Drafts => "Drafts",
            Self::Junk => "Junk",
            Self::Sent => "Sent",
            Self::Trash => "Trash",
        }
    }
}

/// RFC 9051 2.3.2 system flags as a set. `\Recent` is the session's own and never stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SystemFlags(u8);

impl SystemFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// `\Seen`
    pub const SEEN: Self = Self(1);
    /// `\Answered`
    pub const ANSWERED: Self = Self(2);
    /// `\Flagged`
    pub const FLAGGED: Self = Self(4);
    /// `\Deleted`
    pub const DELETED: Self = Self(8);
    /// `\Draft`
    pub const DRAFT: Self = Self(16);
    /// Each flag with its name, in the order in which FLAGS lists them.
    pub const NAMED: [(Self, &'static str); 5] = [
        (Self::ANSWERED, "\\Answered"),
        (Self::FLAGGED, "\\Flagged"),
        (Self::DELETED, "\\Deleted"),
        (Self::SEEN, "\\Seen"),
        (Self::DRAFT, "\\Draft"),
    ];

    /// The set of both.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without the other.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of `other` are in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// RFC 9051 keyword: an atom of at most 128 octets that does not start with `\`, compared without case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Keyword(String);

/// Why a text is no keyword.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a keyword is an atom of 1 to 128 ASCII characters that does not start with a backslash")]
pub struct KeywordError;

impl Keyword {
    /// Parses a keyword; the case is kept for display.
    ///
    /// # Errors
    /// [`KeywordError`] when it is no atom.
    pub fn parse(text: &str) -> Result<Self, KeywordError> {
        let atom = |b: u8| b.is_ascii_graphic() && !b"(){%*\"\\]".contains(&b);
        if text.is_empty() || text.len() > 128 || !text.bytes().all(atom) {
            Err(KeywordError)
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    /// The keyword as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both are the same keyword (RFC 9051 2.3.2: case is ignored).
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl TryFrom<String> for Keyword {
    type Error = KeywordError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Keyword> for String {
    fn from(keyword: Keyword) -> Self {
        keyword.0
    }
}

/// All flags of one message in one mailbox: system flags and sorted, distinct keywords.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Flags {
    /// The system flags.
    pub system: SystemFlags,
    keywords: Vec<Keyword>,
}

impl Flags {
    /// A set of flags; duplicate keywords (in any case) are dropped.
    #[must_use]
    pub fn new(system: SystemFlags, keywords: impl IntoIterator<Item = Keyword>) -> Self {
        let mut flags = Self { system, keywords: Vec::new() };
        keywords.into_iter().for_each(|keyword| flags.insert(keyword));
        flags
    }

    /// The keywords, sorted.
    #[must_use]
    pub fn keywords(&self) -> &[Keyword] {
        &self.keywords
    }

    /// Whether the keyword is set.
    #[must_use]
    pub fn has(&self, keyword: &Keyword) -> bool {
        self.keywords.iter().any(|own| own.matches(keyword))
    }

    /// Adds everything in `other`.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.system = self.system.union(other.system);
        other.keywords.iter().for_each(|keyword| self.insert(keyword.clone()));
        self
    }

    /// Removes everything in `other`.
    #[must_use]
    pub fn minus(mut self, other: &Self) -> Self {
        self.system = self.system.minus(other.system);
        self.keywords.retain(|own| !other.has(own));
        self
    }

    fn insert(&mut self, keyword: Keyword) {
        if self.has(&keyword) {
            return;
        }
        let at = self.keywords.partition_point(|own| *own < keyword);
        self.keywords.insert(at, keyword);
    }
}
