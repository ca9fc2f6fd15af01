//! Summaries as the first release wrote them, in hexadecimal: a later release writes the same octets and reads them.
//!
//! A summary is sealed behind its email's row, so rows alone do not show a change of what is in it. A message keeps the
//! summary of the release that took it in for as long as the message lives.

use super::{Envelope, EnvelopeAddress, Inside, Parameters, Part, Summary};
use crate::record;

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

#[allow(clippy::unnecessary_wraps, reason = "fields may be absent, these are there")]
fn some(value: &str) -> Option<Vec<u8>> {
    Some(text(value))
}

fn person(mailbox: &str) -> EnvelopeAddress {
    EnvelopeAddress { name: some("N"), mailbox: some(mailbox), host: some("h") }
}

/// Each field has another value, so that two that change places are seen.
fn envelope() -> Envelope {
    let group = EnvelopeAddress { name: None, mailbox: some("g"), host: None };
    Envelope {
        date: some("d"),
        subject: Some(Vec::new()),
        from: vec![person("f")],
        sender: vec![person("s")],
        reply_to: vec![person("r")],
        to: vec![group, person("t"), EnvelopeAddress::default()],
        cc: vec![person("c")],
        bcc: vec![person("b")],
        in_reply_to: some("i"),
        message_id: some("m"),
    }
}

fn parameters(name: &str, value: &str) -> Parameters {
    vec![(text(name), text(value))]
}

fn leaf() -> Part {
    Part {
        media_type: text("text"),
        media_subtype: text("plain"),
        parameters: parameters("charset", "utf-8"),
        id: some("id"),
        description: some("de"),
        encoding: text("7BIT"),
        md5: some("m5"),
        disposition: Some((text("inline"), parameters("filename", "x"))),
        language: vec![text("de"), text("en")],
        location: some("lo"),
        header_offset: 1,
        body_offset: 200,
        body_size_bytes: 70_000,
        lines: 5,
        inside: Inside::Nothing,
    }
}

fn full() -> Summary {
    let message = Part { inside: Inside::Message(Box::new((Envelope::default(), leaf()))), ..Part::default() };
    let structure = Part { inside: Inside::Parts(vec![leaf(), message]), ..Part::default() };
    let preview = "Grüße".to_owned();
    Summary { envelope: envelope(), structure, preview, header_size_bytes: 300, header_has_utf8: true }
}

fn octets(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

#[track_caller]
fn check(summary: &Summary, frozen: &str) {
    let frozen = octets(&frozen.split_whitespace().collect::<String>());
    let written = record::encode(summary);
    let hex: String = written.iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(written, frozen, "this release writes otherwise than the first one: {hex}");
    assert_eq!(record::decode::<Summary>(&frozen).as_ref(), Ok(summary));
}

#[test]
fn an_empty_summary_is_what_the_first_release_wrote() {
    check(&Summary::default(), include_str!("frozen/empty.txt"));
}

#[test]
fn a_summary_with_everything_is_what_the_first_release_wrote() {
    check(&full(), include_str!("frozen/full.txt"));
}
