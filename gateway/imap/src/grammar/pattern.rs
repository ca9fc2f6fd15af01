//! Mailbox patterns of LIST: `*` is anything, `%` is anything without a delimiter (RFC 9051 6.3.9).
//!
//! Matching keeps the set of places in the pattern that the name read so far may have reached, as bits of words,
//! so it costs (name x pattern / 64) steps at the most and a pattern full of stars cannot make it explode.

use std::collections::HashMap;

use securanet_gateway::model::mailbox::DELIMITER;

/// A pattern of LIST or LSUB, in Unicode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern {
    /// Compared as it is.
    plain: Automaton,
    /// For names whose first level is INBOX: letters of the pattern's first level have no case there.
    inbox: Automaton,
}

impl Pattern {
    /// Takes a pattern.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let (first, rest) = text.split_at(text.find(DELIMITER).unwrap_or(text.len()));
        let folded = first.to_ascii_uppercase();
        let inbox = Automaton::new(&format!("{folded}{rest}"));
        let plain = if folded == "INBOX" { inbox.clone() } else { Automaton::new(text) };
        Self { plain, inbox }
    }

    /// Whether the whole name fits. The first level is compared without case when it is `INBOX`.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.plain.fits(name) || (name == "INBOX" || name.starts_with("INBOX/")) && self.inbox.fits(name)
    }
}

/// Bit `n` of a set is the place before character `n` of the pattern.
type Bits = Vec<u64>;

/// A pattern as sets of places.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Automaton {
    /// Characters of the pattern, each run of wildcards as one.
    length: usize,
    /// Places before each character that is no wildcard.
    characters: HashMap<char, Bits>,
    /// Places before a wildcard, which may stand for nothing.
    wildcards: Bits,
    /// Places before a `*`.
    stars: Bits,
}

impl Automaton {
    fn new(text: &str) -> Self {
        let mut pattern: Vec<char> = Vec::with_capacity(text.len());
        for character in text.chars() {
            match (pattern.last_mut(), character) {
                // `*` swallows every wildcard beside it, `%` its like.
                (Some('*'), '*' | '%') | (Some('%'), '%') => {}
                (Some(last @ '%'), '*') => *last = '*',
                _ => pattern.push(character),
            }
        }
        let empty = vec![0; pattern.len() / 64 + 1];
        let mut automaton =
            Self { length: pattern.len(), characters: HashMap::new(), wildcards: empty.clone(), stars: empty.clone() };
        for (at, &character) in pattern.iter().enumerate() {
            let set = match character {
                '*' | '%' => &mut automaton.wildcards,
                own => automaton.characters.entry(own).or_insert_with(|| empty.clone()),
            };
            set[at / 64] |= 1 << (at % 64);
            if character == '*' {
                automaton.stars[at / 64] |= 1 << (at % 64);
            }
        }
        automaton
    }

    fn fits(&self, name: &str) -> bool {
        let mut reached = vec![0; self.wildcards.len()];
        reached[0] = 1;
        self.skip_wildcards(&mut reached);
        for character in name.chars() {
            let own = self.characters.get(&character);
            let stays = if character == DELIMITER { &self.stars } else { &self.wildcards };
            let mut carry = 0;
            for (at, places) in reached.iter_mut().enumerate() {
                let moves = *places & own.map_or(0, |own| own[at]);
                *places = (*places & stays[at]) | moves << 1 | carry;
                carry = moves >> 63;
            }
            self.skip_wildcards(&mut reached);
        }
        reached[self.length / 64] >> (self.length % 64) & 1 == 1
    }

    /// A wildcard may stand for nothing; there are no two in a row.
    fn skip_wildcards(&self, reached: &mut Bits) {
        let mut carry = 0;
        for (places, wildcards) in reached.iter_mut().zip(&self.wildcards) {
            let skips = *places & wildcards;
            *places |= skips << 1 | carry;
            carry = skips >> 63;
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
            ("a%*%b", "a/x/b", true),
            ("%%", "a/b", false),
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

    #[test]
    fn patterns_longer_than_a_word_are_matched_to_their_end() {
        for length in [62, 63, 64, 65, 127, 128, 129, 200] {
            let name = "x".repeat(length);
            assert!(Pattern::new(&name).matches(&name), "{length}");
            assert!(!Pattern::new(&name).matches(&name[1..]), "{length}");
            assert!(Pattern::new(&format!("{name}*")).matches(&name), "{length}");
            assert!(Pattern::new(&format!("%{name}")).matches(&name), "{length}");
            assert!(!Pattern::new(&format!("{name}%y")).matches(&name), "{length}");
        }
    }
}
