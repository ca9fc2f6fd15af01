//! Entries for fuzzing what strangers send: nothing here may panic, and each checks the parser against what must
//! hold whatever the input is. The seeded tests below run them on mutated dialogues.

use securanet_gateway::listener::BareNewline;

use crate::{
    grammar::{
        Command, ContentScanner, DataFault, Scan,
        command::{self, AUTH_LINE_OCTETS_MAX},
        mailboxes,
    },
    submission::header::{Additions, Collector, Header},
};

/// A command line: what parses can be written into a header field and into a reply without breaking it.
///
/// # Panics
/// When an invariant does not hold.
pub fn fuzz_command(data: &[u8]) {
    match command::parse(data) {
        Ok(Command::Mail(mail)) => check_path(
            &mail.sender.to_string(),
            |line| matches!(line, Command::Mail(again) if again.sender == mail.sender),
            "MAIL FROM:",
            " SMTPUTF8",
        ),
        Ok(Command::Rcpt(rcpt)) => check_path(
            &format!("<{}>", rcpt.recipient),
            |line| matches!(line, Command::Rcpt(again) if again.recipient == rcpt.recipient),
            "RCPT TO:",
            "",
        ),
        Ok(Command::Hello(_, name)) => assert!(name.as_str().bytes().all(|b| b.is_ascii_graphic())),
        Ok(_) => assert!(data.len() <= AUTH_LINE_OCTETS_MAX),
        Err(error) => {
            let mut out = Vec::new();
            error.reply().write(&mut out);
            assert!(out.ends_with(b"\r\n") && memchr::memchr_iter(b'\n', &out).count() == 1);
        }
    }
}

/// A path is one line of text, and parses to itself.
fn check_path(path: &str, same: impl Fn(&Command) -> bool, before: &str, after: &str) {
    assert!(!path.chars().any(char::is_control), "{path:?}");
    let again = command::parse(format!("{before}{path}{after}").as_bytes());
    // A path may grow when it is written (IDN to A-labels, quotes) and then be too long; it is never another.
    assert!(again.as_ref().is_ok_and(same) || path.len() > 250, "{path:?}: {again:?}");
}

/// Message data: the first octet chooses setting and framing, the second how the rest is split. The scanner must
/// agree with a plain reading of the whole, however it is split.
///
/// # Panics
/// When an invariant does not hold.
pub fn fuzz_content(data: &[u8]) {
    let [mode, step, data @ ..] = data else { return };
    let setting = if mode & 1 == 0 { BareNewline::Normalise } else { BareNewline::Reject };
    let dotted = mode & 2 == 0;
    let mut wire = data.to_vec();
    if dotted {
        wire.extend_from_slice(b"\r\n.\r\n");
    }
    let expect = reference(&wire, setting, dotted);
    let mut scanner = if dotted { ContentScanner::dotted(setting) } else { ContentScanner::counted(setting) };
    let (mut content, mut fault, mut used) = (Vec::new(), None, 0);
    'pieces: for piece in wire.chunks(usize::from(*step).max(1)) {
        let mut input = piece;
        loop {
            match scanner.next(&mut input) {
                Scan::Content(octets) => {
                    assert!(fault.is_none() && !octets.is_empty());
                    content.extend_from_slice(octets);
                }
                Scan::Fault(why) => {
                    assert!(fault < Some(why));
                    fault = Some(why);
                }
                Scan::More => break,
                Scan::End => {
                    used += piece.len() - input.len();
                    break 'pieces;
                }
            }
        }
        used += piece.len();
    }
    let fault = fault.max(scanner.finish().err().filter(|_| !dotted));
    assert_eq!(used, expect.used);
    assert_eq!(fault, expect.fault);
    assert!(fault.is_some() || content == expect.content, "{}", wire.escape_ascii());
}

/// The value of a From field: each address that is found is one, and is found again where it stands alone.
///
/// # Panics
/// When an invariant does not hold.
pub fn fuzz_mailboxes(data: &[u8]) {
    let Ok(found) = mailboxes::parse(data) else { return };
    for address in found {
        let alone = format!("<{address}>");
        assert_eq!(mailboxes::parse(alone.as_bytes()), Ok(vec![address]), "{alone} in {}", data.escape_ascii());
    }
}

/// A submitted message, whose first octet chooses how it is split: its header is the same however it is, a header
/// that was completed needs nothing more, its hidden recipients are gone, and its authors are the same.
///
/// # Panics
/// When an invariant does not hold.
pub fn fuzz_header(data: &[u8]) {
    let [step, data @ ..] = data else { return };
    // As the scanner gives it: lines end with CRLF.
    let lines = data.split(|&octet| octet == b'\n');
    let lines: Vec<Vec<u8>> =
        lines.map(|line| line.iter().copied().filter(|&octet| octet != b'\r').collect()).collect();
    let message = lines.join(&b"\r\n"[..]);
    let (header, rest) = collect(&message, usize::from(*step).max(1));
    let complete = |header: &Header, rest: &[u8]| [header.complete(&Additions::default()), rest.to_vec()].concat();
    let once = complete(&header, &rest);
    let (whole, whole_rest) = collect(&message, message.len().max(1));
    assert_eq!(once, complete(&whole, &whole_rest), "{}", message.escape_ascii());
    let (again, again_rest) = collect(&once, once.len());
    assert_eq!(once, complete(&again, &again_rest), "{}", message.escape_ascii());
    if let Ok(facts) = header.facts() {
        let after = again.facts().map(|facts| (facts.from, facts.sender, facts.has_date, facts.has_message_id));
        assert_eq!(after, Ok((facts.from, facts.sender, facts.has_date, facts.has_message_id)));
    }
    let end = once.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.filter(|_| !once.starts_with(b"\r\n")).unwrap_or(0);
    let is_hidden = |line: &[u8]| line.to_ascii_lowercase().starts_with(b"bcc:");
    assert!(!once[..end].split(|&octet| octet == b'\n').any(is_hidden), "{}", once.escape_ascii());
}

fn collect(message: &[u8], step: usize) -> (Header, Vec<u8>) {
    let mut collector = Collector::default();
    let mut pieces = message.chunks(step);
    for piece in pieces.by_ref() {
        match collector.push(piece) {
            Ok(Some(header)) => return (header, pieces.flatten().copied().collect()),
            Ok(None) => {}
            // Too long: what came of it so far is looked at all the same.
            Err(_) => break,
        }
    }
    (collector.finish(), Vec::new())
}

struct Reading {
    content: Vec<u8>,
    fault: Option<DataFault>,
    used: usize,
}

/// The rules of [`crate::grammar::content`], word for word and slowly, over the whole of the data.
fn reference(wire: &[u8], setting: BareNewline, dotted: bool) -> Reading {
    let end = b"\r\n.\r\n";
    let (body, used) = if !dotted {
        (wire, wire.len())
    } else if wire.starts_with(b".\r\n") {
        (&wire[..0], 3)
    } else {
        let at = wire.windows(end.len()).position(|window| window == end).unwrap_or(wire.len() - end.len());
        (&wire[..at + 2], at + end.len())
    };
    let mut fault = None;
    for (at, &octet) in body.iter().enumerate() {
        let found = match octet {
            0 => Some(DataFault::Nul),
            b'\r' if body.get(at + 1) != Some(&b'\n') => Some(DataFault::BareCarriageReturn),
            b'\n' if setting == BareNewline::Reject && (at == 0 || body[at - 1] != b'\r') => {
                Some(DataFault::BareLineFeed)
            }
            _ => None,
        };
        fault = fault.max(found);
    }
    let mut content = Vec::new();
    let mut after_crlf = true;
    for line in body.split_inclusive(|&octet| octet == b'\n') {
        let ends_crlf = line.ends_with(b"\r\n");
        let text = line.strip_suffix(b"\r\n").or_else(|| line.strip_suffix(b"\n")).unwrap_or(line);
        let stuffed = dotted && after_crlf && text.starts_with(b".") && (text != b"." || ends_crlf);
        content.extend_from_slice(&text[usize::from(stuffed)..]);
        if line.ends_with(b"\n") {
            content.extend_from_slice(b"\r\n");
        }
        after_crlf = ends_crlf;
    }
    Reading { content, fault, used }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// xorshift64: the same inputs on every machine.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 33).unwrap() % bound
        }

        /// A seed with a few octets changed, removed, doubled or replaced by ones that matter.
        fn mutate(&mut self, seed: &[u8], alphabet: &[&[u8]]) -> Vec<u8> {
            let mut data = seed.to_vec();
            for _ in 0..=self.below(4) {
                let at = self.below(data.len() + 1);
                match self.below(4) {
                    0 if at < data.len() => data[at] = u8::try_from(self.below(256)).unwrap(),
                    1 if at < data.len() => drop(data.remove(at)),
                    2 => drop(data.splice(at..at, data[at / 2..at].to_vec())),
                    _ => drop(data.splice(at..at, alphabet[self.below(alphabet.len())].to_vec())),
                }
                data.truncate(4096);
            }
            data
        }
    }

    #[test]
    fn command_lines_survive_mutation() {
        let seeds: [&[u8]; 11] = [
            b"AUTH PLAIN AGFubgBzZXNhbWU=",
            b"MAIL FROM:<ann@example.org> HOLDFOR=60 BY=120;RT REQUIRETLS AUTH=ann+40example.org",
            b"EHLO mx.example.net",
            b"MAIL FROM:<ann@example.org> SIZE=1000 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=a+2Bb",
            b"MAIL FROM:<>",
            b"RCPT TO:<\"a \\\" b\"@example.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;ann+40example.org",
            b"RCPT TO:<@a.example,@b.example:ann@[IPv6:2001:db8::1]>",
            "RCPT TO:<jürgen@bücher.example> ORCPT=utf-8;ü".as_bytes(),
            b"BDAT 86000 LAST",
            b"VRFY postmaster",
            b"HELO [192.0.2.1]",
        ];
        let alphabet: [&[u8]; 12] =
            [b"<", b">", b"@", b"\"", b"\\", b" ", b"=", b"\0", b"\r", "ß".as_bytes(), b".", b"xn--a"];
        let mut random = Random(0x5eed_0001);
        let mut parsed = 0;
        for round in 0..8000 {
            let data = random.mutate(seeds[round % seeds.len()], &alphabet);
            fuzz_command(&data);
            parsed += usize::from(command::parse(&data).is_ok());
        }
        assert!((500..7500).contains(&parsed), "mutations reach both sides: {parsed} of 8000 parsed");
    }

    #[test]
    fn authors_are_found_or_refused_whatever_is_written() {
        let seeds: [&[u8]; 5] = [
            b"Ann Lee <ann@example.org>, \"Bob, B.\" <bob@example.org>",
            b"A Group:Ed <joe@where.test>,joe@where.test;",
            b"Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>",
            b"=?utf-8?q?J=C3=B6rg?=\r\n <@a.example,@b.example:joerg@example.org>",
            "Jörg <\"jörg x\"@bücher.example>".as_bytes(),
        ];
        let alphabet: [&[u8]; 14] =
            [b"<", b">", b"@", b"\"", b"\\", b" ", b",", b";", b":", b"(", b")", b"[", b"]", b"\0"];
        let mut random = Random(0x5eed_0003);
        let mut parsed = 0;
        for round in 0..20_000 {
            let data = random.mutate(seeds[round % seeds.len()], &alphabet);
            fuzz_mailboxes(&data);
            parsed += usize::from(mailboxes::parse(&data).is_ok());
        }
        assert!((2000..18_000).contains(&parsed), "mutations reach both sides: {parsed} of 20000 parsed");
    }

    #[test]
    fn a_header_is_completed_the_same_however_it_is_split() {
        let seeds: [&[u8]; 4] = [
            b"\x01From: ann@example.org\nBcc: x@y.example,\n z@y.example\nDate: x\n\nBcc: body\n",
            b"\x03From ann Mon Nov 23\nFrom:\nSender: a@b.example\nno field\n\n",
            b"\x07\nbody",
            b"\x02Subject: a\n b\nBCC : x\n\n",
        ];
        let alphabet: [&[u8]; 8] = [b"\n", b"\n\n", b":", b" ", b"Bcc:", b"From:", b"\n\t", b"From "];
        let mut random = Random(0x5eed_0004);
        for round in 0..10_000 {
            fuzz_header(&random.mutate(seeds[round % seeds.len()], &alphabet));
        }
    }

    #[test]
    fn message_data_reads_the_same_however_it_is_split() {
        let seeds: [&[u8]; 4] = [
            b"\x00\x01Subject: a\r\n\r\n..b\r\n.\r\nc",
            b"\x01\x03a\r\n.b\r\n\r\n",
            b"\x02\x02a\r\n.\r\nb\n",
            b"\x03\x05.a\nb\r\n.\n",
        ];
        let alphabet: [&[u8]; 9] =
            [b"\r", b"\n", b"\r\n", b".", b"\r\n.", b"\0", b"\n.\n", b"\r\n.\r\n", b"\r\r\n.\r\n"];
        let mut random = Random(0x5eed_0002);
        let mut met = std::collections::BTreeMap::new();
        for round in 0..20_000 {
            let data = random.mutate(seeds[round % seeds.len()], &alphabet);
            fuzz_content(&data);
            *met.entry(reference(&data, BareNewline::Reject, false).fault).or_insert(0) += 1;
        }
        assert!(
            met.len() == 4 && met.values().all(|&times| times > 500),
            "mutations reach each fault, and none: {met:?}"
        );
    }
}
