//! What IMAP's answers mean: rows of FETCH, sets of numbers, codes, and a client's view of a mailbox.

use std::collections::BTreeSet;

/// A FETCH response, as far as tests look into it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its sequence number.
    pub sequence: u32,
    /// UID, if told.
    pub uid: Option<u32>,
    /// FLAGS without \Recent, if told.
    pub flags: Option<BTreeSet<String>>,
    /// MODSEQ, if told.
    pub modseq: Option<u64>,
    /// The whole line.
    pub text: String,
}

impl Row {
    /// Reads a FETCH response; none if the line is another one.
    pub fn parse(line: &str) -> Option<Self> {
        let (sequence, rest) = line.strip_prefix("* ")?.split_once(" FETCH (")?;
        let flags = rest.split_once("FLAGS (").and_then(|(_, rest)| rest.split_once(')'));
        let flags = flags
            .map(|(flags, _)| flags.split_whitespace().filter(|flag| *flag != "\\Recent").map(str::to_owned).collect());
        let number = |name: &str| {
            let (_, after) = rest.split_once(name)?;
            after.split(|byte: char| !byte.is_ascii_digit()).next()?.parse::<u64>().ok()
        };
        Some(Self {
            sequence: sequence.parse().ok()?,
            uid: number("UID ").and_then(|uid| uid.try_into().ok()),
            flags,
            modseq: number("MODSEQ ("),
            text: line.to_owned(),
        })
    }

    /// All rows of an answer.
    pub fn all(lines: &[String]) -> Vec<Self> {
        lines.iter().filter_map(|line| Self::parse(line)).collect()
    }
}

/// The numbers of `* SEARCH ...`.
///
/// # Panics
/// When there is no such line.
pub fn found(lines: &[String]) -> Vec<u32> {
    let line = lines.iter().find_map(|line| line.strip_prefix("* SEARCH"));
    let line = line.unwrap_or_else(|| panic!("no SEARCH response in {lines:?}"));
    line.split_whitespace().map_while(|word| word.parse().ok()).collect()
}

/// The numbers that a set such as `1:3,7` has.
pub fn numbers(set: &str) -> Vec<u32> {
    let mut all = Vec::new();
    for range in set.split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().expect(set), last.parse().expect(set));
        all.extend(first.min(last)..=first.max(last));
    }
    all
}

/// The words of a response code: `code("[COPYUID 1 2 3] Done", "COPYUID")` is `["1", "2", "3"]`.
pub fn code<'a>(text: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let (_, after) = text.split_once(&format!("[{name}"))?;
    Some(after.split_once(']')?.0.split_whitespace().collect())
}

/// The number of a code that stands in one of these lines.
///
/// # Panics
/// When no line has it.
pub fn code_number(lines: &[String], name: &str) -> u64 {
    let words = lines.iter().find_map(|line| code(line, name));
    let words = words.unwrap_or_else(|| panic!("no {name} in {lines:?}"));
    words[0].parse().expect(name)
}

/// An item of the first `* STATUS name (MESSAGES 3 ...)` among these lines.
///
/// # Panics
/// When there is none, or it does not have the item.
pub fn status(lines: &[String], item: &str) -> u64 {
    let line = lines.iter().find(|line| line.starts_with("* STATUS"));
    let line = line.unwrap_or_else(|| panic!("no STATUS response in {lines:?}"));
    let words: Vec<&str> = line.split([' ', '(', ')']).collect();
    let at = words.iter().rposition(|word| *word == item).unwrap_or_else(|| panic!("no {item} in {line:?}"));
    words[at + 1].parse().expect(line)
}

/// What a client believes its mailbox to hold: the UID (as far as told) by sequence number.
#[derive(Clone, Default, Debug)]
pub struct View {
    /// UIDs in order of sequence numbers.
    pub uids: Vec<Option<u32>>,
}

impl View {
    /// Takes in what the server said. `expunges`: whether it may tell of expunged messages now.
    ///
    /// # Panics
    /// When the server contradicts itself or the rules of sequence numbers (RFC 9051 7.5.1).
    pub fn hear(&mut self, lines: &[String], expunges: bool) {
        for line in lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let Some(row) = Row::parse(line) {
                self.hear_row(&row);
            } else if words.get(2) == Some(&"EXPUNGE") {
                assert!(expunges, "told of an expunge in a command that forbids it: {lines:?}");
                let number: usize = words[1].parse().expect(line);
                assert!((1..=self.uids.len()).contains(&number), "{line} of {} messages", self.uids.len());
                self.uids.remove(number - 1);
            } else if words.get(2) == Some(&"EXISTS") {
                let count: usize = words[1].parse().expect(line);
                assert!(count >= self.uids.len(), "{line} is fewer than the {} told before", self.uids.len());
                self.uids.resize(count, None);
            }
        }
    }

    fn hear_row(&mut self, row: &Row) {
        let place = (row.sequence as usize).checked_sub(1).and_then(|at| self.uids.get_mut(at));
        let place = place.unwrap_or_else(|| panic!("{} is beyond the mailbox", row.text));
        if let Some(uid) = row.uid {
            assert!(place.is_none_or(|known| known == uid), "{} was UID {place:?} before", row.text);
            *place = Some(uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_understood() {
        let row = Row::parse("* 3 FETCH (UID 5 FLAGS (\\Seen \\Recent) MODSEQ (77))").unwrap();
        assert_eq!((row.sequence, row.uid, row.modseq), (3, Some(5), Some(77)));
        assert_eq!(row.flags, Some(BTreeSet::from(["\\Seen".to_owned()])));
        assert_eq!(numbers("1:3,7"), [1, 2, 3, 7]);
        assert_eq!(code("OK [COPYUID 1 2 3] Done", "COPYUID"), Some(vec!["1", "2", "3"]));
        assert_eq!(status(&["* STATUS \"a b\" (MESSAGES 3 UNSEEN 0)".to_owned()], "UNSEEN"), 0);
    }
}
