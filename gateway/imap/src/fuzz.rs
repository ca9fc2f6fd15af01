//! Entries for fuzzers: octets in, no panic out, and what was understood survives a round trip.

use crate::{
    grammar::{
        self, Cursor, SequenceSet, append,
        framing::{Frame, Framer, Limits},
        pattern::Pattern,
        utf7,
    },
    search::encoded_word,
};

/// Frames and parses whatever a client may send.
pub fn fuzz_command(data: &[u8]) {
    let mut framer = Framer::default();
    let limits = Limits::KNOWN;
    let mut taken = 0_u64;
    loop {
        match framer.poll(data, &limits) {
            Frame::More | Frame::TooLong => break,
            Frame::Command { end, next } => {
                assert!(end <= next && next <= data.len());
                let _ = grammar::parse(&data[..end]);
                break;
            }
            Frame::Literal { header, begin, next } => {
                assert!(begin < next && next <= data.len());
                if append::is_message_literal(&data[..begin]) {
                    let _ = append::parse_head(&data[..begin]);
                }
                taken += header.octets.min(limits.literals_octets_max + 1);
                if !framer.accept(&header, next, &limits) {
                    break;
                }
                assert!(taken <= limits.literals_octets_max);
            }
        }
    }
    let _ = grammar::parse(data);
    let _ = append::parse_next(data, false, true);
    let _ = append::parse_next(data, true, false);
}

/// Decodes a mailbox name and asserts that encoding is its inverse.
pub fn fuzz_utf7(data: &[u8]) {
    if let Ok(text) = utf7::decode(data) {
        assert_eq!(utf7::decode(utf7::encode(&text).as_bytes()).as_deref(), Ok(&*text));
    }
    let text = String::from_utf8_lossy(data).replace(|c: char| c.is_ascii_control(), "");
    assert_eq!(utf7::decode(utf7::encode(&text).as_bytes()).as_deref(), Ok(&*text));
}

/// Resolves a sequence set and asserts its order.
pub fn fuzz_sequence_set(data: &[u8]) {
    if let Ok(set) = SequenceSet::parse(&mut Cursor::new(data)) {
        let ranges = set.resolve(1000);
        assert!(ranges.iter().all(|(first, last)| *first >= 1 && first <= last));
        assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }
}

/// Matches a pattern against a name, split at the first line end.
pub fn fuzz_pattern(data: &[u8]) {
    let text = String::from_utf8_lossy(&data[..data.len().min(512)]).into_owned();
    let (pattern, name) = text.split_once('\n').unwrap_or((&text, "INBOX"));
    let found = Pattern::new(pattern).matches(name);
    assert!(Pattern::new("*").matches(name));
    if !name.to_ascii_uppercase().starts_with("INBOX") && !pattern.to_ascii_uppercase().starts_with("INBOX") {
        let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
        assert_eq!(found, by_table(&pattern, &name), "{pattern:?} {name:?}");
    }
}

/// Decodes a header field with encoded words; what has none stays as it is.
pub fn fuzz_encoded_words(data: &[u8]) {
    let text = encoded_word::decode(data);
    if memchr::memmem::find(data, b"=?").is_none()
        && let Ok(plain) = str::from_utf8(data)
    {
        assert_eq!(text, plain);
    }
}

/// The definition, as a table of whether the pattern from `p` on fits the name from `n` on: what the fast matcher must
/// agree with. Written as a recursion it would try every way to share the name among the wildcards.
fn by_table(pattern: &[char], name: &[char]) -> bool {
    let mut fits = vec![vec![false; name.len() + 1]; pattern.len() + 1];
    fits[pattern.len()][name.len()] = true;
    for (p, &own) in pattern.iter().enumerate().rev() {
        for n in (0..=name.len()).rev() {
            let next = name.get(n).copied();
            fits[p][n] = match own {
                '*' => fits[p + 1][n] || next.is_some() && fits[p][n + 1],
                '%' => fits[p + 1][n] || next.is_some_and(|next| next != '/') && fits[p][n + 1],
                own => next == Some(own) && fits[p + 1][n + 1],
            };
        }
    }
    fits[0][0]
}
