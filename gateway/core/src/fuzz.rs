//! Entries for fuzzing the parsers of foreign octets: none may panic, and what they accept survives a round trip.

use securanet_model::{Address, UnixMillis};

use crate::{
    line::{Line, LineStream},
    login::{self, scram},
    proxy,
    srs::Srs,
};

/// The PROXY header: reading is stable under more octets, and written headers are read back.
pub fn fuzz_proxy(data: &[u8]) {
    let Ok(Some(header)) = proxy::parse(data) else { return };
    assert!(header.octets <= data.len(), "a header ends within its octets");
    assert_eq!(proxy::parse(&data[..header.octets]), Ok(Some(header)), "what follows a header does not change it");
    for cut in 0..header.octets {
        assert!(!matches!(proxy::parse(&data[..cut]), Ok(Some(_))), "no beginning of a header is one");
    }
    if let proxy::Source::Client { peer, local } = header.source {
        let again = [proxy::write_version1(peer, local).map(String::into_bytes), proxy::write_version2(peer, local)];
        for written in again.into_iter().flatten() {
            let read = proxy::parse(&written);
            assert!(matches!(read, Ok(Some(read)) if read.source == header.source && read.octets == written.len()));
        }
    }
}

/// SASL responses: base64 and PLAIN.
pub fn fuzz_sasl(data: &[u8]) {
    if let Ok(octets) = login::encoding::decode_response(data) {
        let written = login::encoding::encode_challenge(&octets);
        assert_eq!(login::encoding::decode_response(written.as_bytes()).as_ref(), Ok(&octets));
        fuzz_plain(&octets);
    }
    fuzz_plain(data);
}

fn fuzz_plain(data: &[u8]) {
    if let Ok(message) = login::plain::PlainMessage::parse(data) {
        let written = [message.authzid.as_bytes(), message.authcid.as_bytes(), message.password].join(&0);
        assert_eq!(written, data, "PLAIN is read without loss");
    }
}

/// SCRAM messages: both of the client's, the second one in an exchange that a fixed first one began.
pub fn fuzz_scram(data: &[u8]) {
    let exporter = [7; 32];
    for (plus, exporter) in [(false, None), (false, Some(&exporter)), (true, Some(&exporter))] {
        let offer = scram::Offer { plus, exporter };
        if let Ok(first) = scram::ClientFirst::parse(data, offer) {
            assert!(!first.user.is_empty(), "a name is there");
            let (_, answer) = first.answer("nonce", &fuzz_verifier(), offer);
            assert!(answer.starts_with(b"r="), "the answer begins with the nonce");
        }
    }
    let offer = scram::Offer { plus: false, exporter: None };
    if let Ok(first) = scram::ClientFirst::parse(b"n,,n=user,r=abc", offer) {
        let (waiting, _) = first.answer("nonce", &fuzz_verifier(), offer);
        assert!(waiting.finish(data).is_err(), "nobody has a proof for a verifier that nothing fits");
    }
}

fn fuzz_verifier() -> securanet_model::directory::ScramVerifier {
    securanet_model::directory::ScramVerifier {
        salt: vec![1; 16],
        iterations: 4096,
        stored_key: [2; 32],
        server_key: [3; 32],
    }
}

/// The line reader: whatever the pieces in which octets come, the same lines come out.
pub fn fuzz_lines(data: &[u8]) {
    let whole = lines(data, data.len().max(1));
    assert_eq!(whole, lines(data, 1), "lines do not depend on how octets come");
    assert_eq!(whole, lines(data, 7), "lines do not depend on how octets come");
}

fn lines(data: &[u8], piece: usize) -> Vec<Line> {
    let pieces: Vec<&[u8]> = data.chunks(piece).collect();
    let mut stream = LineStream::new(tokio::io::empty());
    let mut found = Vec::new();
    for piece in pieces {
        stream.give(piece);
        while let Ok(Some(line)) = stream.take_line(40) {
            found.push(line);
        }
    }
    found
}

/// Rewritten senders: what comes back is what was sent, whatever it is, and nothing else comes back.
pub fn fuzz_srs(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(sender) = Address::parse(text) else { return };
    let (srs, now) = (Srs::new(&[7; 32]), UnixMillis::new(1_790_000_000_000));
    assert!(srs.restore(&sender, now).is_err(), "nobody guesses one");
    let Some(rewritten) = srs.address(&sender, sender.domain(), now) else { return };
    assert!(rewritten.local().len() <= 64 && Srs::is_rewritten(&rewritten), "{rewritten}");
    let read = Address::parse(&rewritten.to_string());
    let restored = read.map(|read| srs.restore(&read, now));
    let again = restored.as_ref().is_ok_and(|restored| {
        restored.as_ref().is_ok_and(|restored| srs.address(restored, sender.domain(), now).as_ref() == Some(&rewritten))
    });
    assert!(again, "{sender} became {rewritten} became {restored:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds an entry with mutations of good inputs, the same ones on each run.
    fn mutate(entry: fn(&[u8]), seeds: &[&[u8]]) {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move |bound: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % bound.max(1) as u64).unwrap()
        };
        for round in 0..6000 {
            let mut input = seeds[round % seeds.len()].to_vec();
            for _ in 0..next(5) {
                let at = next(input.len() + 1);
                match next(5) {
                    0 => input.insert(at, u8::try_from(next(256)).unwrap()),
                    1 => input.truncate(at),
                    2 if at < input.len() => input[at] ^= 1 << next(8),
                    3 if at < input.len() => input[at] = b",=\r\n\0 p"[next(7)],
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
    fn proxy_headers_survive_mutation() {
        let v4 = proxy::write_version2("192.0.2.7:5".parse().unwrap(), "198.51.100.1:25".parse().unwrap()).unwrap();
        let v6 =
            proxy::write_version2("[2001:db8::7]:5".parse().unwrap(), "[2001:db8::1]:25".parse().unwrap()).unwrap();
        let line = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 25\r\n";
        mutate(fuzz_proxy, &[&v4, &v6, line, b"PROXY TCP6 2001:db8::7 ::1 1 2\r\nEHLO x\r\n", b"PROXY UNKNOWN\r\n"]);
    }

    #[test]
    fn sasl_responses_survive_mutation() {
        mutate(fuzz_sasl, &[b"dGVzdAB0ZXN0ADEyMzQ=", b"*", b"=", b"Ursel\0Kurt\0xipj3plmq", b"\0tim\0tanstaaf"]);
    }

    #[test]
    fn scram_messages_survive_mutation() {
        let last = b"c=biws,r=abcnonce,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        let bound = b"p=tls-exporter,a=x,n=a=2Cb,r=abc";
        mutate(fuzz_scram, &[b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", b"y,a=o=3Dp,n=u,r=x,ext=1", bound, last]);
    }

    #[test]
    fn rewritten_senders_survive_mutation() {
        let srs = Srs::new(&[8; 32]);
        let sender = Address::parse("ann@a.example").unwrap();
        let made = srs.address(&sender, sender.domain(), UnixMillis::new(1_790_000_000_000)).unwrap().to_string();
        let seeds: [&[u8]; 5] = [
            b"ann=x@a.example",
            made.as_bytes(),
            b"SRS0+x=y=b.example=z@a.example",
            b"SRS1=x=b.example==y@a.example",
            "\"a b\u{e4}\"@a.example".as_bytes(),
        ];
        mutate(fuzz_srs, &seeds);
    }

    #[test]
    fn lines_survive_mutation() {
        let long = [b'x'; 60];
        mutate(fuzz_lines, &[b"EHLO a\r\nMAIL FROM:<>\r\n", b"a\nb\r\r\n\r\n", &long, b"\r\n\r\n.\r\n"]);
    }
}
