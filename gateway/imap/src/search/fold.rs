//! Finding a text in another that comes in pieces, whatever the case of either (in the manner of RFC 5051).

use memchr::memmem;

/// A text without case. Upper case first: so `ß` is `ss` and `ς` is `σ`.
fn fold(text: &str, out: &mut String) {
    for c in text.chars() {
        if c.is_ascii() {
            out.push(c.to_ascii_lowercase());
        } else {
            out.extend(c.to_uppercase().flat_map(char::to_lowercase));
        }
    }
}

/// Looks for one text.
pub(super) struct Needle {
    finder: memmem::Finder<'static>,
    /// Folded text that a hit may begin in: always less than the needle, but while a piece is looked at.
    window: String,
    found: bool,
}

impl Needle {
    pub(super) fn new(text: &str) -> Self {
        let mut folded = String::with_capacity(text.len());
        fold(text, &mut folded);
        let found = folded.is_empty();
        Self { finder: memmem::Finder::new(folded.as_bytes()).into_owned(), window: String::new(), found }
    }

    /// Takes the next piece of a text.
    pub(super) fn push(&mut self, piece: &str) {
        if self.found {
            return;
        }
        fold(piece, &mut self.window);
        self.found = self.finder.find(self.window.as_bytes()).is_some();
        let keep = self.finder.needle().len() - 1;
        let cut = self.window.floor_char_boundary(self.window.len().saturating_sub(keep));
        self.window.drain(..cut);
    }

    /// The text has ended: no hit goes over its end.
    pub(super) fn end(&mut self) {
        self.window.clear();
    }

    /// Whether it was in one of the texts; an empty needle is everywhere.
    pub(super) const fn is_found(&self) -> bool {
        self.found
    }

    /// Looks into a whole text.
    pub(super) fn search(&mut self, text: &str) -> bool {
        self.push(text);
        self.end();
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_in(text: &str, needle: &str) -> bool {
        let whole = Needle::new(needle).search(text);
        let mut pieces = Needle::new(needle);
        text.chars().for_each(|c| pieces.push(c.encode_utf8(&mut [0; 4])));
        assert_eq!(pieces.is_found(), whole, "{needle:?} in pieces of {text:?}");
        whole
    }

    #[test]
    fn case_does_not_count_in_any_script() {
        for (text, needle) in [
            ("Apples", "pPL"),
            ("Grüße aus Köln", "GRÜSSE AUS KÖLN"),
            ("ПРИВЕТ", "рив"),
            ("ΝΈΑΣ", "νέας"),
            ("日本語", "本"),
            ("x", ""),
        ] {
            assert!(is_in(text, needle), "{needle} in {text}");
        }
        assert!(!is_in("Grüße", "grusse"));
        assert!(!is_in("", "x"));
    }

    #[test]
    fn no_hit_goes_over_the_end_of_a_text() {
        let mut needle = Needle::new("ab");
        needle.search("a");
        assert!(!needle.search("b"));
        assert!(needle.search("cab"));
    }
}
