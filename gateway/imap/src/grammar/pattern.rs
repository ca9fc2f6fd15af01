//! Mailbox patterns of LIST: `*` is anything, `%` is anything without a delimiter (RFC 9051 6.3.9).
//!
//! Matching keeps the set of places in the pattern that the name read so far may have reached, so it costs
//! (pattern x name) steps at the most and a pattern full of stars cannot make it explode. Patterns longer than
//! [`PATTERN_OCTETS_MAX`] match nothing: no name is as long.

use securanet_gateway::model::mailbox::DELIMITER;

/// Longer patterns are refused.
pub const PATTERN_OCTETS_MAX: usize = 1024;

/// A pattern of LIST or LSUB, in Unicode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern(Vec<char>);

impl Pattern {
    /// Takes a pattern; a beginning that means INBOX (in any case) is brought to `INBOX`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        if text.len() > PATTERN_OCTETS_MAX {
            return Self(Vec::new());
        }
        let (first, rest) = text.split_at(text.find(DELIMITER).unwrap_or(text.len()));
        let inbox = first.eq_ignore_ascii_case("INBOX");
        Self(if inbox { format!("INBOX{rest}").chars().collect() } else { text.chars().collect() })
    }

    /// Whether the whole name fits. The first level is compared without case when it is `INBOX`.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.fits(name) || (name == "INBOX" || name.starts_with("INBOX/")) && self.fits_inbox(name)
    }

    /// `inb%` means INBOX too: where the name's first level is INBOX, letters of the pattern have no case.
    fn fits_inbox(&self, name: &str) -> bool {
        let level = self.0.iter().position(|&c| c == DELIMITER).unwrap_or(self.0.len());
        let folded = self.0.iter().enumerate().map(|(at, c)| if at < level { c.to_ascii_uppercase() } else { *c });
        Self(folded.collect()).fits(name)
    }

    fn fits(&self, name: &str) -> bool {
        let mut reached = vec![false; self.0.len() + 1];
        reached[0] = true;
        self.skip_wildcards(&mut reached);
        for character in name.chars() {
            let mut next = vec![false; reached.len()];
            for at in (0..self.0.len()).filter(|&at| reached[at]) {
                match self.0[at] {
                    '*' => next[at] = true,
                    '%' => next[at] |= character != DELIMITER,
                    own => next[at + 1] |= own == character,
                }
            }
            self.skip_wildcards(&mut next);
            reached = next;
        }
        reached.last().copied().unwrap_or(false)
    }

    /// A wildcard may stand for nothing.
    fn skip_wildcards(&self, reached: &mut [bool]) {
        for at in 0..self.0.len() {
            if reached[at] && matches!(self.0[at], '*' | '%') {
                reached[at + 1] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_9051_6_3_9_wildcards() {
        for (pattern, name, fits) in [
            ("*", "a/b/c", true),
            ("%", "a/b/c", false),
            ("%", "a", true),
            ("a/%", "a/b", true),
            ("a/%", "a/b/c", false),
            ("a/%/c", "a/b/c", true),
            ("a*c", "a/b/c", true),
            ("%/%", "a/b", true),
            ("*b*", "a/b/c", true),
            ("a", "a/b", false),
            ("", "", true),
            ("", "a", false),
            ("inbox", "INBOX", true),
            ("inb%", "INBOX", true),
            ("Inbox/*", "INBOX/x", true),
            ("inbox/X", "INBOX/x", false),
            ("sent", "Sent", false),
            ("%nt", "Sent", true),
            ("日%", "日本語", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_of_stars_is_cheap() {
        let pattern = Pattern::new(&"*a".repeat(500));
        assert!(!pattern.matches(&"a".repeat(499)));
        assert!(pattern.matches(&"a".repeat(500)));
    }
}
