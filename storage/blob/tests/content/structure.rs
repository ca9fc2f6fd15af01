//! Structures by the RFCs' own examples, and by what programs send.

use securanet_model::summary::{Inside, Part};

use crate::support::Room;

/// `type/subtype ENCODING body_size lines`, parts in parentheses behind it, indented by level.
fn show(part: &Part, level: usize, out: &mut Vec<String>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut line = format!("{}{}/{}", " ".repeat(level), text(&part.media_type), text(&part.media_subtype));
    match &part.inside {
        Inside::Nothing => line += &format!(" {} {}/{}", text(&part.encoding), part.body_size_bytes, part.lines),
        Inside::Message(_) => line += &format!(" {}/{}", part.body_size_bytes, part.lines),
        Inside::Parts(_) => {}
    }
    for (name, value) in part.parameters.iter().filter(|(name, _)| name != b"boundary") {
        line += &format!(" {}={}", text(name), text(value));
    }
    out.push(line);
    match &part.inside {
        Inside::Nothing => {}
        Inside::Message(message) => {
            out.push(format!("{} \"{}\"", " ".repeat(level), text(message.0.subject.as_deref().unwrap_or(b"-"))));
            show(&message.1, level + 1, out);
        }
        Inside::Parts(parts) => parts.iter().for_each(|part| show(part, level + 1, out)),
    }
}

fn check(message: &str, expected: &[&str]) {
    let crlf = message.replace('\n', "\r\n");
    for (message, sizes) in [(crlf.as_str(), true), (message, false)] {
        let mut out = Vec::new();
        show(&Room::new().summary(message.as_bytes()).structure, 0, &mut out);
        if sizes {
            assert_eq!(out, expected);
        } else {
            // With bare line feeds the same parts are found, only smaller.
            let shape = |lines: &[String]| -> Vec<String> {
                lines.iter().map(|line| line.split(' ').find(|word| !word.is_empty()).unwrap().to_owned()).collect()
            };
            let expected: Vec<String> = expected.iter().map(|&line| line.to_owned()).collect();
            assert_eq!(shape(&out), shape(&expected));
        }
    }
}

fn body_of<'m>(message: &'m [u8], part: &Part) -> &'m [u8] {
    &message[part.body_offset as usize..(part.body_offset + part.body_size_bytes) as usize]
}

#[test]
fn rfc_2045_5_2_the_default_is_us_ascii_text() {
    check("Subject: x\n\nHello\nworld\n", &["text/plain 7BIT 14/2 charset=us-ascii"]);
    check("Subject: x\n\nHello", &["text/plain 7BIT 5/1 charset=us-ascii"]);
    check("Subject: x\n", &["text/plain 7BIT 0/0 charset=us-ascii"]);
    check("Content-Type: nonsense; charset=utf-8\n\nx\n", &["text/plain 7BIT 3/1 charset=utf-8"]);
    check(
        "Content-Type: TEXT/HTML\nContent-Transfer-Encoding: Quoted-Printable\n\nx\n",
        &["text/html QUOTED-PRINTABLE 3/1"],
    );
}

#[test]
fn rfc_2046_5_1_1_a_simple_multipart() {
    let message = "From: Nathaniel Borenstein <nsb@bellcore.com>\nMIME-Version: 1.0\nContent-type: multipart/mixed; \
                   boundary=\"simple boundary\"\n\nThis is the preamble.  It is to be ignored.\n\n--simple boundary\n\n\
                   This is implicitly typed plain US-ASCII text.\nIt does NOT end with a linebreak.\n--simple boundary\n\
                   Content-type: text/plain; charset=us-ascii\n\nThis is explicitly typed plain US-ASCII text.\nIt DOES \
                   end with a linebreak.\n\n--simple boundary--\n\nThis is the epilogue.  It is also to be ignored.\n";
    check(
        message,
        &["multipart/mixed", " text/plain 7BIT 80/2 charset=us-ascii", " text/plain 7BIT 78/2 charset=us-ascii"],
    );
    let message = message.replace('\n', "\r\n");
    let structure = Room::new().summary(message.as_bytes()).structure;
    let Inside::Parts(parts) = &structure.inside else { panic!("no parts") };
    assert!(body_of(message.as_bytes(), &parts[0]).ends_with(b"It does NOT end with a linebreak."));
    assert!(body_of(message.as_bytes(), &parts[1]).ends_with(b"It DOES end with a linebreak.\r\n"));
    assert!(message[parts[1].header_offset as usize..].starts_with("Content-type: text/plain; charset"));
}

#[test]
fn rfc_2046_5_1_5_parts_of_a_digest_are_messages() {
    check(
        "Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: one\n\nbody 1\n--b\n\nSubject: two\n\nbody 2\n--b\n\
         Content-Type: text/plain\n\nnot a message\n--b--\n",
        &[
            "multipart/digest",
            " message/rfc822 22/3",
            "  \"one\"",
            "  text/plain 7BIT 6/1 charset=us-ascii",
            " message/rfc822 22/3",
            "  \"two\"",
            "  text/plain 7BIT 6/1 charset=us-ascii",
            " text/plain 7BIT 13/1",
        ],
    );
}

#[test]
fn rfc_2049_appendix_a_a_complex_multipart() {
    let message = "MIME-Version: 1.0\nFrom: Nathaniel Borenstein <nsb@nsb.fv.com>\nSubject: A multipart example\n\
        Content-Type: multipart/mixed;\n              boundary=unique-boundary-1\n\nThis is the preamble area.\n\n\
        --unique-boundary-1\n\n  ... Some text appears here ...\n\n--unique-boundary-1\nContent-type: text/plain; \
        charset=US-ASCII\n\nThis could have been part of the previous part.\n\n--unique-boundary-1\nContent-Type: \
        multipart/parallel; boundary=unique-boundary-2\n\n--unique-boundary-2\nContent-Type: audio/basic\n\
        Content-Transfer-Encoding: base64\n\n  ... base64-encoded ...\n\n--unique-boundary-2\nContent-Type: image/jpeg\n\
        Content-Transfer-Encoding: base64\n\n  ... base64-encoded ...\n\n--unique-boundary-2--\n\n--unique-boundary-1\n\
        Content-type: text/enriched\n\nThis is <bold>enriched.</bold>\n\n--unique-boundary-1\nContent-Type: message/rfc822\n\n\
        From: (mailbox in US-ASCII)\nTo: (address in US-ASCII)\nSubject: (subject in US-ASCII)\nContent-Type: Text/plain; \
        charset=ISO-8859-1\nContent-Transfer-Encoding: Quoted-printable\n\n  ... Additional text in ISO-8859-1 goes here \
        ...\n\n--unique-boundary-1--\n";
    check(
        message,
        &[
            "multipart/mixed",
            " text/plain 7BIT 34/1 charset=us-ascii",
            " text/plain 7BIT 49/1 charset=US-ASCII",
            " multipart/parallel",
            "  audio/basic BASE64 26/1",
            "  image/jpeg BASE64 26/1",
            " text/enriched 7BIT 32/1",
            " message/rfc822 232/7",
            "  \"(subject in US-ASCII)\"",
            "  text/plain QUOTED-PRINTABLE 51/1 charset=ISO-8859-1",
        ],
    );
}

#[test]
fn rfc_3501_6_4_5_parts_within_messages_within_multiparts() {
    let message = "Subject: outer\nContent-Type: multipart/mixed; boundary=A\n\n--A\nContent-Type: text/plain\n\none\n--A\n\
        Content-Type: application/octet-stream\n\ntwo\n--A\nContent-Type: message/rfc822\n\nSubject: three\nContent-Type: \
        multipart/mixed; boundary=B\n\n--B\nContent-Type: text/plain\n\n3.1\n--B\nContent-Type: application/octet-stream\n\n\
        3.2\n--B--\n--A\nContent-Type: multipart/mixed; boundary=C\n\n--C\nContent-Type: image/gif\n\n4.1\n--C\nContent-Type: \
        message/rfc822\n\nSubject: 4.2\nContent-Type: multipart/mixed; boundary=D\n\n--D\nContent-Type: text/plain\n\n4.2.1\n\
        --D\nContent-Type: multipart/alternative; boundary=E\n\n--E\nContent-Type: text/plain\n\n4.2.2.1\n--E\nContent-Type: \
        text/richtext\n\n4.2.2.2\n--E--\n--D--\n--C--\n--A--\n";
    check(
        message,
        &[
            "multipart/mixed",
            " text/plain 7BIT 3/1",
            " application/octet-stream 7BIT 3/1",
            " message/rfc822 156/12",
            "  \"three\"",
            "  multipart/mixed",
            "   text/plain 7BIT 3/1",
            "   application/octet-stream 7BIT 3/1",
            " multipart/mixed",
            "  image/gif 7BIT 3/1",
            "  message/rfc822 254/20",
            "   \"4.2\"",
            "   multipart/mixed",
            "    text/plain 7BIT 5/1",
            "    multipart/alternative",
            "     text/plain 7BIT 7/1",
            "     text/richtext 7BIT 7/1",
        ],
    );
}

#[test]
fn rfc_3501_7_4_2_fields_of_a_part() {
    let message = "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: TEXT/PLAIN; CHARSET=US-ASCII; \
        NAME=\"cc.diff\"\nContent-ID: <960723163407.20117h@cac.washington.edu>\nContent-Description: Compiler\n diff\n\
        Content-Transfer-Encoding: BASE64\nContent-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\nContent-Disposition: Attachment; \
        filename=\"cc \\\"x\\\".diff\"; size=4\nContent-Language: en, fr-CA (Canada)\nContent-Location: http://a/b\n\nZm9v\n--b--\n";
    let structure = Room::new().summary(message.as_bytes()).structure;
    let Inside::Parts(parts) = &structure.inside else { panic!("no parts") };
    let part = &parts[0];
    let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    assert_eq!(part.parameters, [pair("charset", "US-ASCII"), pair("name", "cc.diff")]);
    assert_eq!(part.id.as_deref(), Some(&b"<960723163407.20117h@cac.washington.edu>"[..]));
    assert_eq!(part.description.as_deref(), Some(&b"Compiler diff"[..]));
    assert_eq!(part.encoding, b"BASE64");
    assert_eq!(part.md5.as_deref(), Some(&b"Q2hlY2sgSW50ZWdyaXR5IQ=="[..]));
    let disposition = (b"attachment".to_vec(), vec![pair("filename", "cc \"x\".diff"), pair("size", "4")]);
    assert_eq!(part.disposition, Some(disposition));
    assert_eq!(part.language, [b"en".to_vec(), b"fr-CA".to_vec()]);
    assert_eq!(part.location.as_deref(), Some(&b"http://a/b"[..]));
}

#[test]
fn a_multipart_without_parts_is_text() {
    for broken in [
        "Content-Type: multipart/mixed\n\nhello\n",
        "Content-Type: multipart/mixed; boundary=\"\"\n\nhello\n",
        "Content-Type: multipart/mixed; boundary=never\n\nhello\n",
    ] {
        check(broken, &["text/plain 7BIT 7/1 charset=us-ascii"]);
    }
    check("Content-Type: multipart/mixed; boundary=b\n\n--b--\n", &["text/plain 7BIT 7/1 charset=us-ascii"]);
}

#[test]
fn missing_ends_and_blank_lines_are_tolerated() {
    check(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\nContent-Type: text/html\n\ntwo\n",
        &["multipart/mixed", " text/plain 7BIT 3/1 charset=us-ascii", " text/html 7BIT 5/1"],
    );
    // The inner multipart is never closed: the outer delimiter ends it.
    check(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nin\n--b\n\nout\n--b--\n",
        &[
            "multipart/mixed",
            " multipart/mixed",
            "  text/plain 7BIT 2/1 charset=us-ascii",
            " text/plain 7BIT 3/1 charset=us-ascii",
        ],
    );
    // No blank line behind the part's header.
    check(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n--b\n\nx\n--b--",
        &["multipart/mixed", " text/html 7BIT 0/0", " text/plain 7BIT 1/1 charset=us-ascii"],
    );
    check(
        "Content-Type: multipart/mixed; boundary=b\n\n--b",
        &["multipart/mixed", " text/plain 7BIT 0/0 charset=us-ascii"],
    );
}

#[test]
fn nested_multiparts_may_share_a_boundary() {
    check(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nin\n--b--\n--b\n\nout\n--b--\n",
        &[
            "multipart/mixed",
            " multipart/mixed",
            "  text/plain 7BIT 2/1 charset=us-ascii",
            " text/plain 7BIT 3/1 charset=us-ascii",
        ],
    );
}

#[test]
fn an_encoded_message_is_a_leaf() {
    check(
        "Content-Type: message/rfc822; name=x\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogeAo=\n",
        &["application/octet-stream BASE64 18/1 name=x"],
    );
    check(
        "Content-Type: message/global\n\nSubject: in\n\nbody\n",
        &["message/global 21/3", " \"in\"", " text/plain 7BIT 6/1 charset=us-ascii"],
    );
    check("Content-Type: message/delivery-status\n\nx\n", &["message/delivery-status 7BIT 3/1"]);
}

#[test]
fn depth_and_number_of_parts_are_bounded() {
    let deep: String =
        (0..100).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n")).collect();
    let mut levels = 0;
    let structure = Room::new().summary(deep.as_bytes()).structure;
    let mut part = &structure;
    while let Inside::Parts(parts) = &part.inside {
        (part, levels) = (&parts[0], levels + 1);
    }
    assert_eq!(levels, 63);

    let wide = "Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_owned()
        + &"--b\r\n\r\nx\r\n".repeat(20_000)
        + "--b--\r\n";
    let structure = Room::new().summary(wide.as_bytes()).structure;
    let Inside::Parts(parts) = &structure.inside else { panic!("no parts") };
    assert_eq!(parts.len(), 9_999);
    assert_eq!(structure.body_offset + structure.body_size_bytes, wide.len() as u64);
}

#[test]
fn a_summary_is_bounded_whatever_the_header_holds() {
    let value = "x=yyyyyyyyyyyyyyyy; ".repeat(100_000);
    let addresses = "Some Name <somebody@somewhere.example>, ".repeat(100_000);
    let header = format!("Content-Type: a/b; {value}\r\nTo: {addresses}\r\nCc: {addresses}\r\nSubject: {value}\r\n");
    let part = format!("--b\r\nContent-Description: {value}\r\nContent-Disposition: {value}\r\n\r\n\r\n");
    let message = format!("{header}Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", part.repeat(3));
    let room = Room::new();
    let ingested = room.take_in(b"", message.as_bytes());
    let plain = securanet_blob::open_summary(&ingested.message.summary).unwrap().bytes;
    assert!(plain.len() < 1024 * 1024, "{}", plain.len());
    assert_eq!(crate::support::read_all(&room.open(b"", &ingested)), message.as_bytes());
}
