//! Entries for fuzzing: whatever a stranger's bytes are, nothing panics and what was promised holds.

use std::io::Read;

use securanet_model::summary::{EnvelopeAddress, Inside, Part};

use crate::{
    mime::{
        address::append_addresses,
        allowance::{Allowance, TEXT_TOTAL_BYTES_MAX},
        base64::{self, Decoder},
        message_id::message_ids,
        structure::{DEPTH_MAX, PARTS_MAX, scan},
    },
    preview,
    recipe::{self, Piece},
    seal,
};

/// A row of the store, as a damaged disk may give it back.
///
/// # Panics
/// When a row that decodes does not encode to the same bytes.
pub fn fuzz_stored(data: &[u8]) {
    crate::stored::fuzz::fuzz_stored(data);
}

/// A whole message: structure, envelope, preview and pieces.
///
/// # Panics
/// When the structure does not lie in the message, or the pieces are not the message.
pub fn fuzz_message(data: &[u8]) {
    let scanned = scan(data);
    assert_eq!(scanned.structure.body_offset, scanned.header.end() as u64);
    assert_eq!(scanned.structure.body_offset + scanned.structure.body_size_bytes, data.len() as u64);
    let parts = check_part(data, &scanned.structure, 0);
    assert!(parts <= PARTS_MAX, "{parts} parts");
    let addresses = &scanned.envelope.from;
    assert!(addresses.iter().all(|address| address.mailbox.is_some() || address.host.is_none()));
    let preview = preview::of(data, &scanned.structure);
    assert!(preview.chars().count() <= preview::CHARACTERS_MAX && !preview.contains(char::is_control), "{preview:?}");

    let mut whole = Vec::with_capacity(data.len());
    for piece in recipe::cut(data, &scanned.structure) {
        match piece {
            Piece::Inline(bytes) | Piece::Raw(bytes) | Piece::Base64(bytes, _) => whole.extend_from_slice(bytes),
        }
    }
    assert!(whole == data, "the pieces are not the message");
}

/// Checks a part and what is inside; how many parts that are.
fn check_part(data: &[u8], part: &Part, depth: usize) -> usize {
    assert!(depth < DEPTH_MAX, "too deep");
    assert!(part.header_offset <= part.body_offset);
    let (start, end) = (part.body_offset as usize, (part.body_offset + part.body_size_bytes) as usize);
    let body = &data[start..end];
    let unfinished = u64::from(body.last().is_some_and(|&octet| octet != b'\n'));
    assert_eq!(part.lines, body.iter().filter(|&&octet| octet == b'\n').count() as u64 + unfinished);
    assert!(!part.media_type.is_empty() && !part.media_subtype.is_empty() && !part.encoding.is_empty());
    let texts = part.parameters.iter().flat_map(|(name, value)| [name, value]).chain(&part.id).chain(&part.description);
    assert!(texts.into_iter().all(|text| !text.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0))));
    let inside = |inner: &Part| {
        assert!(inner.header_offset >= part.body_offset);
        assert!(inner.body_size_bytes == 0 || inner.body_offset + inner.body_size_bytes <= end as u64);
        check_part(data, inner, depth + 1)
    };
    match &part.inside {
        Inside::Nothing => {
            let is_message =
                part.media_type == b"message" && matches!(part.media_subtype.as_slice(), b"rfc822" | b"global");
            assert!(part.media_type != b"multipart" && !is_message, "a leaf that is none");
            1
        }
        Inside::Parts(parts) => {
            assert!(!parts.is_empty() && part.media_type == b"multipart");
            1 + parts.iter().map(inside).sum::<usize>()
        }
        Inside::Message(message) => {
            assert_eq!(message.1.header_offset, part.body_offset);
            1 + inside(&message.1)
        }
    }
}

/// The value of an address field.
///
/// # Panics
/// When a group is not closed, or a text holds what no IMAP string may.
pub fn fuzz_addresses(data: &[u8]) {
    let mut list: Vec<EnvelopeAddress> = Vec::new();
    append_addresses(&mut list, data, &mut Allowance::new());
    let mut open_groups = 0_i32;
    for address in &list {
        match (&address.mailbox, &address.host) {
            (Some(_), None) => open_groups += 1,
            (None, None) => open_groups -= 1,
            (mailbox, Some(_)) => assert!(mailbox.is_some()),
        }
        assert!((0..=1).contains(&open_groups), "groups do not nest");
        for text in [&address.name, &address.mailbox, &address.host].into_iter().flatten() {
            assert!(!text.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)));
        }
    }
    assert_eq!(open_groups, 0);
    assert!(
        list.iter().flat_map(|a| [&a.name, &a.mailbox, &a.host]).flatten().map(Vec::len).sum::<usize>()
            <= TEXT_TOTAL_BYTES_MAX
    );
    for id in message_ids(data) {
        assert!(!id.is_empty() && !id.iter().any(|octet| b" \t\r\n".contains(octet)));
    }
}

/// A body that may be base64: if it decodes, encoding gives it back, in whatever ranges it is read.
///
/// # Panics
/// When it does not.
pub fn fuzz_base64(data: &[u8]) {
    let Some(found) = base64::find(data) else { return };
    let mut decoded = Vec::new();
    if Decoder::new(data, &found).read_to_end(&mut decoded).is_err() {
        return;
    }
    let body = &data[found.start..found.end];
    let size = decoded.len() as u64;
    assert_eq!(size, found.decoded_size_bytes);
    assert_eq!(found.layout.encoded_size_bytes(size), body.len() as u64);
    for window in [1, 3, 77, 1000, body.len()] {
        let mut out = Vec::new();
        for start in (0..body.len()).step_by(window) {
            let (start, end) = (start as u64, (start + window).min(body.len()) as u64);
            let range = found.layout.decoded_range(start, end, size);
            found.layout.append_encoded(&mut out, start, end, &decoded[range.start as usize..range.end as usize]);
        }
        assert!(out == body, "windows of {window}");
    }
}

/// Sealed bytes from a disk: opened or refused.
pub fn fuzz_sealed(data: &[u8]) {
    let sealed = securanet_model::content::Sealed {
        format: seal::FORMAT,
        codec: securanet_model::content::Codec::Zstd,
        key: securanet_model::KeyId::new(0),
        bytes: data.to_vec(),
    };
    if let Ok(opened) = seal::open(&sealed) {
        let _ = recipe::Recipe::decode(&opened);
    }
    let _ = recipe::Recipe::decode(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deterministic noise (xorshift64*).
    struct Noise(u64);

    impl Noise {
        fn next(&mut self, below: usize) -> usize {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % below.max(1)
        }

        /// A mutation of `seed`: octets replaced, pieces cut out, doubled, or put in from `pieces`.
        fn mutate(&mut self, seed: &[u8], pieces: &[&[u8]]) -> Vec<u8> {
            let mut data = seed.to_vec();
            for _ in 0..=self.next(8) {
                let at = self.next(data.len() + 1);
                let to = at + self.next(data.len() - at + 1).min(200);
                match self.next(4) {
                    0 if at < data.len() => data[at] = self.next(256) as u8,
                    1 => drop(data.drain(at..to)),
                    2 => drop(data.splice(at..at, data[at..to].to_vec())),
                    _ => drop(data.splice(at..at, pieces[self.next(pieces.len())].to_vec())),
                }
            }
            data
        }

        fn feed(seeds: &[&[u8]], pieces: &[&[u8]], rounds: usize, check: fn(&[u8])) {
            let mut noise = Noise(0x5ec0_4a9e_7000_0001);
            for round in 0..rounds {
                check(&noise.mutate(seeds[round % seeds.len()], pieces));
            }
        }
    }

    const MESSAGE: &[u8] = b"From: A <a@b>\r\nTo: c@d\r\nSubject: x\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n\
        pre\r\n--b\r\nContent-Type: multipart/digest; boundary=bb\r\n\r\n--bb\r\n\r\nFrom: x@y\r\nContent-Type: text/html;\
        charset=utf-8\r\n\r\n<p>hi&amp;</p>\r\n--bb--\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nbody\r\n\
        --b\r\nContent-Transfer-Encoding: base64\r\n\r\nZm9vYmFy\r\n--b--\r\nepilogue";

    #[test]
    fn mutated_messages() {
        let pieces: [&[u8]; 12] = [
            b"\r\n",
            b"\n",
            b"\r\n\r\n",
            b"--b\r\n",
            b"--bb",
            b"--b--\r\n",
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n",
            b"Content-Type: message/rfc822\r\n\r\n",
            b"\0",
            b"Content-Transfer-Encoding: quoted-printable\r\n",
            b"=\r\n",
            b"\xff\xfe",
        ];
        Noise::feed(&[MESSAGE, b"", b"\r\n"], &pieces, 4000, fuzz_message);
    }

    #[test]
    fn mutated_addresses() {
        let seed: &[u8] = b"A (c) <@r,@s:a@b>, g: \"q\\\"\" <x@[1]>, y@z;, =?utf-8?Q?a?= <b@c> (\\))";
        let pieces: [&[u8]; 14] =
            [b"(", b")", b"<", b">", b"\"", b"\\", b",", b";", b":", b"@", b"[", b"]", b".", b"\r\n "];
        Noise::feed(&[seed, b""], &pieces, 6000, fuzz_addresses);
    }

    #[test]
    fn mutated_base64() {
        let seed: &[u8] = b"\r\nAAECAwQF\r\nBgcICQoL\r\nDA0ODxAR\r\nEhM=\r\n";
        let pieces: [&[u8]; 6] = [b"=", b"\r\n", b"\n", b"AAAA", b" ", b"EhM="];
        Noise::feed(&[seed, b"QUJD"], &pieces, 6000, fuzz_base64);
    }

    #[test]
    fn mutated_sealed_bytes() {
        let sealed = seal::seal(MESSAGE.to_vec()).unwrap().bytes;
        let recipe = recipe::Recipe {
            size_bytes: 3,
            segments: vec![recipe::Segment::Inline { size_bytes: 3 }],
            inline: recipe::Inline::Here(b"abc".to_vec()),
        };
        Noise::feed(&[&sealed, &recipe.encode()], &[b"\0", b"\xff\xff\xff\xff\x0f"], 4000, fuzz_sealed);
    }

    #[test]
    fn nothing_costs_more_than_its_length() {
        let began = std::time::Instant::now();
        for pattern in ["(", "\"", "<", "a@", "[", "a\" ", "(\"<", ":", "<()", "a:b,", "x ", "\\\""] {
            let value = pattern.repeat(256 * 1024 / pattern.len());
            fuzz_addresses(value.as_bytes());
            fuzz_message(
                format!("Content-Type: a/b; {value}\r\nTo: {value}\r\nReferences: {value}\r\n\r\n").as_bytes(),
            );
        }
        let nested: String =
            (0..200).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n")).collect();
        fuzz_message(nested.as_bytes());
        fuzz_message((nested + &"--b1\r\n--b".repeat(100_000)).as_bytes());
        fuzz_message(
            ("Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_owned() + &"--b\r\n".repeat(100_000)).as_bytes(),
        );
        fuzz_message("Content-Type: message/rfc822\r\n\r\n".repeat(50_000).as_bytes());
        fuzz_message(
            ("Content-Type: text/html\r\n\r\n".to_owned() + &"<a='<a=\"<style><!--".repeat(10_000)).as_bytes(),
        );
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
    }
}
