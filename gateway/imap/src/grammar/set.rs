//! Sequence sets (RFC 9051 section 9, `sequence-set`) and the saved result `$` (RFC 5182).

use super::cursor::{Cursor, SyntaxError};

/// One end of a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// A sequence number or UID; never 0.
    Number(u32),
    /// `*`: the largest one in use.
    Last,
}

/// A range of sequence numbers or UIDs; its ends may stand in any order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SequenceRange {
    /// One end.
    pub first: Bound,
    /// The other.
    pub last: Bound,
}

/// `sequence-set`
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SequenceSet {
    /// `$`
    Saved,
    /// At least one range, as written.
    Ranges(Vec<SequenceRange>),
}

impl SequenceSet {
    /// Whether a text that begins with this octet is a sequence set.
    #[must_use]
    pub const fn begins_with(octet: u8) -> bool {
        octet.is_ascii_digit() || octet == b'*' || octet == b'$'
    }

    /// Reads a set.
    ///
    /// # Errors
    /// [`SyntaxError`] when there is none.
    pub fn parse(cursor: &mut Cursor<'_>) -> Result<Self, SyntaxError> {
        if cursor.eat(b'$') {
            return Ok(Self::Saved);
        }
        let mut ranges = vec![range(cursor)?];
        while cursor.eat(b',') {
            ranges.push(range(cursor)?);
        }
        Ok(Self::Ranges(ranges))
    }

    /// The numbers, as sorted, disjoint, inclusive ranges, where `*` is `last`; empty for `$`.
    /// When `last` is 0 (nothing is there), `*` is nothing.
    #[must_use]
    pub fn resolve(&self, last: u32) -> Vec<(u32, u32)> {
        let Self::Ranges(ranges) = self else { return Vec::new() };
        let number = |bound| match bound {
            Bound::Number(number) => number,
            Bound::Last => last,
        };
        let ends = ranges.iter().map(|range| (number(range.first), number(range.last)));
        let mut sorted: Vec<_> = ends.map(|(a, b)| (a.min(b).max(1), a.max(b))).filter(|(a, b)| a <= b).collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match merged.last_mut() {
                Some(previous) if first <= previous.1.saturating_add(1) => previous.1 = previous.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        merged
    }

    /// The largest number that is written in the set; 0 when there is only `*` or `$`.
    #[must_use]
    pub fn largest_number(&self) -> u32 {
        let Self::Ranges(ranges) = self else { return 0 };
        let number = |bound| if let Bound::Number(number) = bound { number } else { 0 };
        ranges.iter().map(|range| number(range.first).max(number(range.last))).max().unwrap_or(0)
    }
}

fn range(cursor: &mut Cursor<'_>) -> Result<SequenceRange, SyntaxError> {
    let first = bound(cursor)?;
    let last = if cursor.eat(b':') { bound(cursor)? } else { first };
    Ok(SequenceRange { first, last })
}

fn bound(cursor: &mut Cursor<'_>) -> Result<Bound, SyntaxError> {
    if cursor.eat(b'*') { Ok(Bound::Last) } else { cursor.nz_number().map(Bound::Number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str, last: u32) -> Vec<(u32, u32)> {
        SequenceSet::parse(&mut Cursor::new(text.as_bytes())).unwrap().resolve(last)
    }

    #[test]
    fn rfc_9051_9_ranges_stand_in_any_order_and_the_star_is_the_last() {
        assert_eq!(resolve("2,4:7,9,12:*", 15), [(2, 2), (4, 7), (9, 9), (12, 15)]);
        assert_eq!(resolve("*:4,5:7", 10), [(4, 10)]);
        assert_eq!(resolve("7:5,6", 10), [(5, 7)]);
        assert_eq!(resolve("*", 10), [(10, 10)]);
        assert_eq!(resolve("3291:*", 100), [(100, 3291)]);
        assert_eq!(resolve("*", 0), []);
        assert_eq!(resolve("4294967295,1", 3), [(1, 1), (u32::MAX, u32::MAX)]);
    }

    #[test]
    fn zero_and_rubbish_are_refused() {
        for text in ["0", "1:0", "", ",", "1,", "a", "1:", "4294967296"] {
            assert!(SequenceSet::parse(&mut Cursor::new(text.as_bytes())).is_err(), "{text}");
        }
    }
}
