//! Boundaries of the multiparts that are open, and finding the next delimiter line (RFC 2046 5.1.1).
//!
//! A line is a delimiter when it is `--`, an open boundary, perhaps `--`, and then ends or goes on with white space.
//! The RFC would ignore anything behind a boundary; but then the boundary `a` would be found in the line `--ab` of
//! a multipart whose header was not read yet, and mail programs ask for the end of the line too. Where several
//! boundaries fit, the longest wins, then the innermost (some programs use one boundary twice).

use memchr::{memchr, memmem};

/// Octets of a boundary that are compared; the RFC allows 70.
const BOUNDARY_SIZE_BYTES_MAX: usize = 256;

/// A delimiter line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Delimiter {
    /// Which boundary, as [`Boundaries::open`] numbered it.
    pub(crate) boundary: usize,
    /// Whether it is the closing one (`--boundary--`).
    pub(crate) closes: bool,
    /// Where the body before it ends: the line break before the delimiter belongs to the delimiter.
    pub(crate) body_end: usize,
    /// Where the next line begins.
    pub(crate) next: usize,
}

/// The boundaries of all multiparts around a place, outermost first.
pub(crate) struct Boundaries {
    open: Vec<Vec<u8>>,
    /// Made with the first multipart: most messages have none.
    finder: Option<memmem::Finder<'static>>,
}

impl Boundaries {
    /// No multipart is open.
    pub(crate) const fn new() -> Self {
        Self { open: Vec::new(), finder: None }
    }

    /// Opens a multipart; `None` when its boundary is unusable.
    pub(crate) fn open(&mut self, boundary: &[u8]) -> Option<usize> {
        let boundary = boundary.trim_ascii_end();
        if boundary.is_empty() || boundary.len() > BOUNDARY_SIZE_BYTES_MAX {
            return None;
        }
        self.open.push(boundary.to_vec());
        self.finder.get_or_insert_with(|| memmem::Finder::new(b"\n--"));
        Some(self.open.len() - 1)
    }

    /// Closes the innermost multipart.
    pub(crate) fn close(&mut self) {
        self.open.pop();
    }

    /// Whether the line that begins at `line` is a delimiter.
    pub(crate) fn at(&self, message: &[u8], line: usize) -> Option<Delimiter> {
        let text = message[line..].strip_prefix(b"--")?;
        let behind = |boundary: &Vec<u8>| {
            let rest = text.strip_prefix(boundary.as_slice())?;
            let closed = rest.strip_prefix(b"--").filter(|rest| ends_word(rest));
            (closed.is_some() || ends_word(rest)).then_some((rest, closed.is_some()))
        };
        let fitting = self.open.iter().enumerate().filter_map(|(index, boundary)| Some((index, behind(boundary)?)));
        // The longest boundary is the one with the shortest rest; of equal ones the last opened.
        let (boundary, (rest, closes)) =
            fitting.reduce(|best, next| if next.1.0.len() <= best.1.0.len() { next } else { best })?;
        let next = memchr(b'\n', rest).map_or(message.len(), |end| message.len() - rest.len() + end + 1);
        Some(Delimiter { boundary, closes, body_end: before_break(message, line), next })
    }

    /// The first delimiter at or behind `from`, which is the beginning of a line.
    pub(crate) fn find(&self, message: &[u8], from: usize) -> Option<Delimiter> {
        if self.open.is_empty() {
            return None;
        }
        let finder = self.finder.as_ref()?;
        self.at(message, from)
            .or_else(|| finder.find_iter(&message[from..]).find_map(|found| self.at(message, from + found + 1)))
    }
}

/// Whether a boundary may end before this text.
fn ends_word(rest: &[u8]) -> bool {
    rest.first().is_none_or(|octet| matches!(octet, b' ' | b'\t' | b'\r' | b'\n'))
}

/// Where the line break before `line` begins.
fn before_break(message: &[u8], line: usize) -> usize {
    let before = message[..line].strip_suffix(b"\n").unwrap_or(&message[..line]);
    before.strip_suffix(b"\r").unwrap_or(before).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(boundaries: &[&str]) -> Boundaries {
        let mut open = Boundaries::new();
        boundaries.iter().for_each(|boundary| assert!(open.open(boundary.as_bytes()).is_some()));
        open
    }

    #[test]
    fn the_line_break_before_a_delimiter_belongs_to_it() {
        let found = open(&["b"]).find(b"body\r\n--b\r\nnext", 0).unwrap();
        assert_eq!(found, Delimiter { boundary: 0, closes: false, body_end: 4, next: 11 });
        let found = open(&["b"]).find(b"body\n--b-- x", 0).unwrap();
        assert_eq!(found, Delimiter { boundary: 0, closes: true, body_end: 4, next: 12 });
        let found = open(&["b"]).find(b"--b", 0).unwrap();
        assert_eq!(found, Delimiter { boundary: 0, closes: false, body_end: 0, next: 3 });
    }

    #[test]
    fn the_longest_boundary_wins_then_the_innermost() {
        let both = open(&["outer", "outer-inner"]);
        assert_eq!(both.find(b"\n--outer-inner\n", 0).unwrap().boundary, 1);
        assert_eq!(both.find(b"\n--outer\n", 0).unwrap().boundary, 0);
        let dashes = open(&["b", "b--"]);
        assert_eq!(dashes.find(b"\n--b--\n", 0).map(|found| (found.boundary, found.closes)), Some((1, false)));
        let same = open(&["same", "same"]);
        assert_eq!(same.find(b"\n--same\n", 0).unwrap().boundary, 1);
    }

    #[test]
    fn only_a_line_that_begins_with_it_is_a_delimiter() {
        let boundaries = open(&["b"]);
        assert_eq!(boundaries.find(b"x--b\r\n --b\r\n-b\r\n-- b\r\n--c\r\n--bc\r\n--b-\r\n--b--c", 0), None);
        assert!(boundaries.find(b"--b \t", 0).is_some_and(|found| !found.closes));
        assert!(boundaries.find(b"--b-- junk", 0).is_some_and(|found| found.closes));
        assert_eq!(open(&[]).find(b"--b", 0), None);
        assert_eq!(Boundaries::new().open(b" "), None);
    }
}
