//! Octets in, the same octets out: for any message, any range, and any recipient's prefix.

use crate::support::{Noise, Room, base64_lines, read_all};

/// Takes the message in and reads it back: whole, and in ranges of all kinds.
fn check(room: &Room, noise: &mut Noise, prefix: &[u8], trace: &[u8], message: &[u8]) {
    let whole = [prefix, trace, message].concat();
    let reader = room.open(prefix, &room.take_in(trace, message));
    assert_eq!(reader.size_bytes(), whole.len() as u64);
    assert!(read_all(&reader) == whole, "{} octets differ", whole.len());
    for _ in 0..40 {
        let start = noise.below(whole.len() + 2);
        let end = start + noise.below(whole.len() + 2).min([1, 5, 80, 3000, 200_000][noise.below(5)]);
        let expected = whole.get(start.min(whole.len())..end.min(whole.len())).unwrap();
        let found = reader.read(start as u64..end as u64).unwrap();
        assert!(found == expected, "{start}..{end} of {}", whole.len());
    }
}

#[test]
fn any_octets() {
    let (room, mut noise) = (Room::new(), Noise(0x0c7e75));
    for size in [0, 1, 2, 100, 16_383, 16_384, 70_000, 300_000] {
        let octets = noise.octets(size);
        check(&room, &mut noise, b"", b"", &octets);
        check(&room, &mut noise, b"Delivered-To: a@b\r\n", b"Received: x\r\n", &octets);
    }
}

#[test]
fn generated_mime_whole_and_mutated() {
    let (room, mut noise) = (Room::new(), Noise(0x3013e));
    for round in 0..60 {
        let mut message = generate(&mut noise, 0);
        check(&room, &mut noise, b"Return-Path: <>\r\n", b"Received: x\r\n", &message);
        for _ in 0..noise.below(6) {
            let at = noise.below(message.len());
            match noise.below(3) {
                0 => message[at] = noise.below(256) as u8,
                1 => drop(message.drain(at..(at + noise.below(100)).min(message.len()))),
                _ => drop(message.splice(at..at, b"\r\n--b0\r\n".to_vec())),
            }
        }
        check(&room, &mut noise, b"", if round % 2 == 0 { b"" } else { b"Received: x\r\n" }, &message);
    }
}

/// An entity: a leaf in some encoding, a multipart or a message of such.
fn generate(noise: &mut Noise, depth: usize) -> Vec<u8> {
    let line_break = if noise.below(4) == 0 { "\n" } else { "\r\n" };
    let size = [10, 500, 17_000, 60_000][noise.below(4)];
    match noise.below(if depth < 3 { 6 } else { 4 }) {
        0 => [format!("Content-Type: text/plain{line_break}{line_break}").into_bytes(), noise.words(size)].concat(),
        1 | 2 => {
            let line_length = [76, 72, 75, 64, 1, 998, 1_000_000][noise.below(7)];
            let body = base64_lines(&noise.octets(size), line_length, line_break);
            let around = ["", "\r\n", "\r\n\r\n", "\n", " "];
            let (before, behind) = (around[noise.below(5)], around[noise.below(5)]);
            format!("Content-Transfer-Encoding: base64{line_break}{line_break}{before}{body}{behind}").into_bytes()
        }
        3 => [b"\r\n".to_vec(), noise.octets(size)].concat(),
        4 => [b"Content-Type: message/rfc822\r\n\r\n".to_vec(), generate(noise, depth + 1)].concat(),
        _ => {
            let mut whole = format!("Content-Type: multipart/mixed; boundary=b{depth}\r\n\r\npreamble").into_bytes();
            for _ in 0..noise.below(5) {
                whole.extend_from_slice(format!("{line_break}--b{depth}{line_break}").as_bytes());
                whole.extend(generate(noise, depth + 1));
            }
            whole.extend_from_slice(format!("{line_break}--b{depth}--{line_break}epilogue").as_bytes());
            whole
        }
    }
}

#[test]
fn large_base64_is_decoded_in_chunks_and_read_in_ranges() {
    let (room, mut noise) = (Room::new(), Noise(0xb16));
    let octets = noise.octets(4_000_000);
    for (line_length, line_break) in [(76, "\r\n"), (75, "\n"), (10_000_000, "\r\n")] {
        let message =
            format!("Content-Transfer-Encoding: base64\r\n\r\n{}\r\n", base64_lines(&octets, line_length, line_break));
        check(&room, &mut noise, b"Delivered-To: x\r\n", b"Received: y\r\n", message.as_bytes());
    }
    // One wrong octet far behind the first chunk: kept raw, and as exact.
    let mut message =
        format!("Content-Transfer-Encoding: base64\r\n\r\n{}", base64_lines(&octets, 76, "\r\n")).into_bytes();
    let at = message.len() - 1000;
    message[at] = b'!';
    check(&room, &mut noise, b"", b"", &message);
}
