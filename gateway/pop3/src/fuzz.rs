//! Entries for fuzzing the grammar: none may panic, and what goes through it comes back.

use crate::{command::Command, stuffing::Stuffing, top::Top};

/// Commands.
pub fn fuzz_command(data: &[u8]) {
    let parsed = Command::parse(data);
    let upper = data.to_ascii_uppercase();
    let keyword_only = !matches!(parsed, Ok(Command::User(_) | Command::Pass(_) | Command::Auth { .. }) | Err(_));
    if keyword_only {
        assert_eq!(Command::parse(&upper), parsed, "keywords come in any case");
    }
}

/// Dot-stuffing: however a message comes in pieces, the same response leaves; its end is only at its end; and
/// a client gets back what was stored.
pub fn fuzz_stuffing(data: &[u8]) {
    let whole = stuff(data, data.len().max(1));
    assert_eq!(whole, stuff(data, 1), "pieces make no difference");
    assert_eq!(whole, stuff(data, 5), "pieces make no difference");
    let body = &whole[..whole.len() - 3];
    assert!(!body.starts_with(b".\r\n") && memchr::memmem::find(body, b"\n.\r\n").is_none(), "one end only");
    let mut message = Vec::new();
    for line in body.split_inclusive(|&octet| octet == b'\n') {
        message.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
    assert!(message == data || message == [data, b"\r\n"].concat(), "nothing is lost");
}

fn stuff(data: &[u8], piece: usize) -> Vec<u8> {
    let (mut stuffing, mut out) = (Stuffing::default(), Vec::new());
    data.chunks(piece).for_each(|piece| stuffing.push(piece, &mut out));
    stuffing.finish(&mut out);
    out
}

/// TOP: however a message comes in pieces, the same beginning of it is wanted, more of it for more lines.
pub fn fuzz_top(data: &[u8]) {
    let mut shorter = 0;
    for lines in 0..4 {
        let whole = top(data, lines, data.len().max(1));
        assert_eq!(whole, top(data, lines, 1), "pieces make no difference");
        assert!(whole >= shorter && whole <= data.len(), "more lines are more octets");
        shorter = whole;
    }
    assert_eq!(top(data, u32::MAX, 3), data.len(), "all lines are the whole message");
}

fn top(data: &[u8], lines: u32, piece: usize) -> usize {
    let mut top = Top::new(lines);
    data.chunks(piece).map(|piece| top.wanted(piece).len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds an entry with mutations of good inputs, the same ones on each run.
    fn mutate(entry: fn(&[u8]), seeds: &[&[u8]]) {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = move |bound: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % bound.max(1) as u64).unwrap()
        };
        for round in 0..6000 {
            let mut input = seeds[round % seeds.len()].to_vec();
            for _ in 0..next(6) {
                let at = next(input.len() + 1);
                match next(4) {
                    0 => input.insert(at, u8::try_from(next(256)).unwrap()),
                    1 => input.truncate(at),
                    2 if at < input.len() => input[at] = b".\r\n 19Aa"[next(8)],
                    _ => {
                        let other = seeds[next(seeds.len())];
                        input.extend_from_slice(&other[next(other.len() + 1)..]);
                    }
                }
            }
            entry(&input);
        }
    }

    #[test]
    fn commands_survive_mutation() {
        mutate(
            fuzz_command,
            &[b"TOP 1 10", b"list 2", b"AUTH PLAIN dGVzdA==", b"USER a", b"PASS b c", b"QUIT", b"uidl"],
        );
    }

    #[test]
    fn stuffing_survives_mutation() {
        mutate(fuzz_stuffing, &[b"a: b\r\n\r\n.\r\n..x\r\n", b"\n.\r\n", b".", b"\r\n.\r\n.\r\n", b""]);
    }

    #[test]
    fn top_survives_mutation() {
        mutate(fuzz_top, &[b"a: b\r\nc: d\r\n\r\none\r\ntwo\r\n\r\nthree", b"\r\n\r\n", b"a\n\nb\n", b""]);
    }
}
