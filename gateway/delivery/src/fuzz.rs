//! Entries for fuzzing the parsers of foreign octets: none may panic.

use bytes::BytesMut;

use crate::{
    client::{Capabilities, reply::Reply},
    tls::sts::StsPolicy,
    tls_report::endpoints,
};

/// Replies of a server: whole and octet by octet they read the same, and each takes octets away.
pub fn fuzz_reply(data: &[u8]) {
    let mut whole = BytesMut::from(data);
    let mut replies = Vec::new();
    let ended = loop {
        let before = whole.len();
        match Reply::take(&mut whole) {
            Ok(Some(reply)) => {
                assert!(whole.len() < before, "a reply takes octets");
                let text = reply.text(1000);
                assert!(text.len() <= 1000 && !text.contains(char::is_control), "text is one bounded line");
                let (class, ..) = reply.status((0, 0));
                assert_eq!(class == 5, reply.is_permanent(), "the first digit decides");
                let _ = Capabilities::read(&reply);
                replies.push(reply);
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    let mut pieces = BytesMut::new();
    let mut again = Vec::new();
    for octet in data {
        pieces.extend_from_slice(&[*octet]);
        match Reply::take(&mut pieces) {
            Ok(Some(reply)) => again.push(reply),
            Ok(None) => {}
            Err(error) => {
                assert_eq!(Some(error), ended, "the same error");
                break;
            }
        }
    }
    assert_eq!(again, replies, "pieces do not change what is read");
}

/// MTA-STS policies: what is read is written and read again without loss.
pub fn fuzz_sts_policy(data: &[u8]) {
    let Some(policy) = StsPolicy::parse(data) else { return };
    assert!(policy.max_age_seconds <= 31_557_600, "a policy lives a year at most");
    let _ = policy.names("mx.example.org");
    assert_eq!(StsPolicy::parse(policy.text().as_bytes()), Some(policy), "a policy survives being written");
}

/// TXT records that ask for TLS reports: what is read can be written and read again.
pub fn fuzz_tls_report_record(data: &[u8]) {
    for (uri, _) in endpoints(&[data.to_vec()]) {
        let again = endpoints(&[format!("v=TLSRPTv1; rua={uri}").into_bytes()]);
        assert_eq!(again.len(), 1, "{uri:?} is read again");
    }
}

/// What is found in a message, and what leaves then: the same however it is split, whole lines, ASCII where the next
/// host takes no more.
pub fn fuzz_outgoing(data: &[u8]) {
    crate::outgoing::fuzz::check(data);
}

/// What is signed: fields in relaxed form, and the hash of a body that comes in pieces.
pub fn fuzz_dkim(data: &[u8]) {
    crate::dkim::fuzz::check(data);
}

/// What strangers wrote and a report repeats: it keeps its parts and fields.
pub fn fuzz_report(data: &[u8]) {
    crate::report::fuzz::check(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEDS: &[&[u8]] = &[
        b"250-mx.example.org greets you\r\n250-SIZE 1000\r\n250-AUTH PLAIN LOGIN\r\n250 DSN\r\n",
        b"220 ready\r\n250 2.1.0 ok\r\n550 5.1.1 no such mailbox\r\n354 go on\r\n250 2.0.0 queued as 1\r\n",
        b"421-4.3.2 closing\r\n421 4.3.2 now\r\n",
        b"v=TLSRPTv1; rua=mailto:a%2Bb@example.com, https://h.example:8443/v1?x=y",
        b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n",
    ];

    /// Feeds mutations of the seeds, the same ones each time.
    fn mutated(rounds: u64, entry: impl Fn(&[u8])) {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..rounds {
            let mut data = SEEDS[next() as usize % SEEDS.len()].to_vec();
            for _ in 0..next() % 6 {
                let at = next() as usize % data.len().max(1);
                match next() % 5 {
                    0 => data.insert(at, next() as u8),
                    1 if !data.is_empty() => drop(data.remove(at)),
                    2 if !data.is_empty() => data[at] = b"\r\n -.0259"[next() as usize % 9],
                    3 => data.truncate(at),
                    _ => data.extend_from_within(at.min(data.len())..),
                }
            }
            entry(&data);
        }
    }

    #[test]
    fn replies_of_any_shape_are_read_or_refused() {
        mutated(4000, fuzz_reply);
    }

    #[test]
    fn policies_of_any_shape_are_read_or_refused() {
        mutated(4000, fuzz_sts_policy);
    }

    #[test]
    fn records_that_ask_for_reports_are_read_or_refused() {
        mutated(4000, fuzz_tls_report_record);
    }
}
