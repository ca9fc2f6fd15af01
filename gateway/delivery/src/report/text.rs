//! Text of strangers made fit to stand in a report: one line, no control characters, bounded; and lines folded.

use jiff::{Timestamp, tz::TimeZone};
use securanet_gateway::model::UnixMillis;

use crate::outgoing::encoded_words as words;

/// Where lines are folded (RFC 5322 2.1.1).
pub(super) const LINE_CHARS: usize = 76;
/// A line of a machine-readable part is never longer, in octets (RFC 5322 2.1.1 allows 998).
const LINE_OCTETS_MAX: usize = 900;

/// Whether a character could make a terminal, a mail client or a line of ours do something.
fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// One line: what is unfit becomes a space, runs of spaces one, cut after `octets_max` octets.
pub(super) fn clean(text: &str, octets_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(octets_max));
    for word in text.split(|c: char| c.is_whitespace() || is_unfit(c)).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
        if out.len() > octets_max {
            let end = (0..=octets_max).rev().find(|&at| out.is_char_boundary(at)).unwrap_or(0);
            out.truncate(end);
            out.push_str(" [...]");
            break;
        }
    }
    out
}

/// The same in ASCII: `?` for what is not.
pub(super) fn clean_ascii(text: &str, octets_max: usize) -> String {
    clean(text, octets_max).chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
}

/// Writes words into lines of [`LINE_CHARS`], the first behind `first`, the others behind `next`.
pub(super) fn wrap(out: &mut String, first: &str, next: &str, text: &str) {
    let mut column = first.chars().count();
    out.push_str(first);
    let mut at_start = true;
    for word in text.split_whitespace() {
        for piece in pieces(word) {
            let chars = piece.chars().count();
            if !at_start && column + 1 + chars > LINE_CHARS {
                out.push_str("\r\n");
                out.push_str(next);
                column = next.chars().count();
                at_start = true;
            }
            if !at_start {
                out.push(' ');
                column += 1;
            }
            out.push_str(piece);
            column += chars;
            at_start = false;
        }
    }
    out.push_str("\r\n");
}

/// A word cut so that no piece outgrows a line's octets.
fn pieces(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let most = rest.len().min(LINE_OCTETS_MAX);
        let end = (1..=most).rev().find(|&at| rest.is_char_boundary(at))?;
        let (piece, behind) = rest.split_at(end);
        rest = behind;
        Some(piece)
    })
}

/// A header-like field, folded at spaces.
pub(super) fn field(out: &mut String, name: &str, value: &str) {
    wrap(out, &format!("{name}: "), " ", value);
}

fn zoned(time: UnixMillis) -> jiff::Zoned {
    let second = i64::try_from(time.seconds()).unwrap_or(i64::MAX);
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX).to_zoned(TimeZone::UTC)
}

/// RFC 5322 date-time in UTC.
pub(super) fn date(time: UnixMillis) -> String {
    zoned(time).strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

/// A time for people.
pub(super) fn plain_time(time: UnixMillis) -> String {
    zoned(time).strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// An unstructured header value: as it is in ASCII, else in RFC 2047 words.
pub(super) fn encoded_words(text: &str) -> String {
    if text.is_ascii() && !text.contains("=?") { text.to_owned() } else { words(text).join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_write_lines_or_commands_for_a_terminal() {
        assert_eq!(clean("a\r\nBcc: x\u{1b}[2J\u{202e}b\0 \t c", 100), "a Bcc: x [2J b c");
        assert_eq!(clean(&"é".repeat(100), 11), format!("{} [...]", "é".repeat(5)));
        assert_eq!(clean_ascii("müde", 10), "m?de");
    }

    #[test]
    fn lines_are_folded_at_words_and_long_words_are_cut() {
        let mut out = String::new();
        field(&mut out, "Diagnostic-Code", &format!("smtp; {} {}", "word ".repeat(40), "x".repeat(3000)));
        assert!(out.lines().all(|line| line.len() <= 998), "{out}");
        assert!(out.lines().skip(1).all(|line| line.starts_with(' ') && !line.trim().is_empty()));
        assert_eq!(out.replace("\r\n", "").replace(' ', "").matches('x').count(), 3000);
        assert!(out.ends_with("\r\n"));
    }

    #[test]
    fn times_are_in_utc() {
        let time = UnixMillis::new(1_763_884_866_123);
        assert_eq!(date(time), "Sun, 23 Nov 2025 08:01:06 +0000");
        assert_eq!(plain_time(time), "2025-11-23 08:01:06 UTC");
        assert!(date(UnixMillis::new(u64::MAX)).contains("9999"));
    }

    #[test]
    fn subjects_that_are_not_ascii_become_words() {
        assert_eq!(encoded_words("Report"), "Report");
        assert_eq!(encoded_words("Grüße"), "=?utf-8?B?R3LDvMOfZQ==?=");
        let long = encoded_words(&"ü".repeat(100));
        assert!(long.split(' ').all(|word| word.len() <= 64) && long.split(' ').count() == 6, "{long}");
    }
}
