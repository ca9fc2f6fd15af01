//! The fuzz entries, fed with mutations of what clients really send; the seed is fixed.

use crate::fuzz;

const SEEDS: [&str; 26] = [
    "a1 LOGIN {3}\r\nann \"se\\\"same\"\r\n",
    "a1 AUTHENTICATE PLAIN AGFubgBzZXNhbWU=\r\n",
    "a1 SELECT INBOX (QRESYNC (67890007 20050715194045000 41,43:211,214:541 (1:3 2,4,6)))\r\n",
    "a1 LIST (SUBSCRIBED RECURSIVEMATCH) \"\" (\"Sent/%\" *) RETURN (CHILDREN STATUS (MESSAGES UNSEEN))\r\n",
    "a1 STATUS \"a b\" (MESSAGES UIDNEXT UIDVALIDITY DELETED-STORAGE)\r\n",
    "a1 APPEND {5}\r\nDraft (\\Seen $x) \"17-Jul-1996 02:44:25 -0700\" UTF8 (~{3+}\r\nabc)\r\n",
    "a1 FETCH 1:*,5 (FLAGS BODY.PEEK[1.2.HEADER.FIELDS.NOT (To {2}\r\nCc)]<0.100> BINARY.SIZE[4])\r\n",
    "a1 UID FETCH 1:* FULL (CHANGEDSINCE 12345 VANISHED)\r\n",
    "a1 STORE $ (UNCHANGEDSINCE 5) -FLAGS.SILENT (\\Deleted foo)\r\n",
    "a1 SEARCH RETURN (MIN MAX SAVE) CHARSET UTF-8 OR (NOT SEEN SUBJECT {3}\r\nabc) SINCE 1-Feb-1994 2:4\r\n",
    "a1 UID SEARCH MODSEQ \"/flags/\\\\draft\" all 620162338 HEADER X \"\" KEYWORD a\r\n",
    "a1 UID COPY 1,2:3 \"&U,BTFw-\"\r\n",
    "a1 ID (\"name\" \"x\" \"version\" NIL)\r\n",
    "a1 ENABLE CONDSTORE QRESYNC UTF8=ACCEPT IMAP4rev2\r\n",
    "a1 CREATE Foo (USE (\\Drafts))\r\n",
    "a1 RENAME a b\r\n",
    "a1 GETQUOTAROOT INBOX\r\n",
    "a1 COMPRESS DEFLATE\r\n",
    "~peter/mail/&U,BTFw-/&ZeVnLIqe-",
    "&2D3cTg-&-",
    "1,2:3,*:5,7:*",
    "*a%b/*\nab/c/ab",
    "inb%\nINBOX",
    "日本*\n日本語",
    "=?utf-8?Q?=C3=BC_x?= =?UTF-8?B?vA==?= <a@b>",
    "Re: =?iso-8859-1*de?q?a=FC?=\t=?koi8-r?b?8NLJ18XU?=",
];

/// Octets that mean something to the grammar.
const SPECIAL: &[u8] = b"\0\r\n {}()*%\"\\+~&$[]<>:,9=?_";

struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below.max(1) as u64).unwrap()
    }
}

fn mutate(random: &mut Xorshift, seed: &[u8]) -> Vec<u8> {
    let mut data = seed.to_vec();
    for _ in 0..=random.next(4) {
        let at = random.next(data.len() + 1);
        match random.next(5) {
            0 => data.insert(at, SPECIAL[random.next(SPECIAL.len())]),
            1 if at < data.len() => drop(data.remove(at)),
            2 if at < data.len() => data[at] = u8::try_from(random.next(256)).unwrap(),
            3 => data.truncate(at),
            _ => {
                let other = SEEDS[random.next(SEEDS.len())].as_bytes();
                let from = random.next(other.len());
                data.splice(at..at, other[from..].iter().copied());
            }
        }
    }
    data
}

#[test]
fn no_octets_make_a_parser_panic() {
    let mut random = Xorshift(0x5ec0_7a9e_7000_0001);
    for seed in SEEDS {
        for round in 0..400 {
            let data = if round == 0 { seed.as_bytes().to_vec() } else { mutate(&mut random, seed.as_bytes()) };
            fuzz::fuzz_command(&data);
            fuzz::fuzz_utf7(&data);
            fuzz::fuzz_sequence_set(&data);
            fuzz::fuzz_pattern(&data);
            fuzz::fuzz_encoded_words(&data);
        }
    }
}

/// What a fuzzer has found.
#[test]
fn findings_stay_mended() {
    // Our own reference tried each way to share the name among the wildcards, for minutes.
    fuzz::fuzz_pattern(b"*\x8e%%%%%%%%%%%%%%%\x05*\n\x9f\x8f%%%%%%%%%%%%%%]*");
}

#[test]
fn the_seeds_are_understood() {
    for seed in &SEEDS[..18] {
        let text = seed.trim_end().as_bytes();
        let parsed = crate::grammar::parse(text);
        assert!(parsed.is_ok() || seed.contains("APPEND"), "{seed}: {parsed:?}");
    }
}
