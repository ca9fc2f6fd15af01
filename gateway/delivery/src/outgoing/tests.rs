//! What leaves, octet by octet; and that it means what came.

use mail_parser::{MessageParser, MimeHeaders};

use super::{
    Unsendable,
    harness::{NARROW, WIDE, leaves, mutated, scanned},
};

fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

/// No line is too long, nothing is above 127, and every line ends with CRLF.
fn assert_narrow(octets: &[u8]) {
    assert!(octets.is_ascii() && octets.ends_with(b"\r\n"));
    for line in octets.split(|&octet| octet == b'\n') {
        assert!(line.len() <= 999, "a line of {} octets", line.len());
        assert!(line.is_empty() || line.ends_with(b"\r"));
    }
}

/// The decoded bodies of all leaf parts.
fn bodies(octets: &[u8]) -> Vec<Vec<u8>> {
    let message = MessageParser::new().parse(octets).unwrap();
    message
        .parts
        .iter()
        .filter(|part| !part.is_multipart() && !part.is_message())
        .map(|part| part.contents().to_vec())
        .collect()
}

const PLAIN: &str = "From: a@example.org\nSubject: x\n\nhello\n.\nworld\n";

#[test]
fn usual_mail_leaves_as_it_is() {
    let nested = "From: a@example.org\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\npre\n--b\n\nhi\n--b\n\
                  Content-Type: message/rfc822\n\nSubject: y\n\nz\n--b--\n";
    for message in [PLAIN, nested, "Subject: no body\n", "Subject: x\n\n"] {
        let message = crlf(message);
        let plan = scanned(&message, 10).plan(NARROW).unwrap();
        assert!(plan.is_untouched() && !plan.is_eight_bit() && !plan.needs_utf8());
        assert_eq!(leaves(&message, NARROW), message);
    }
}

#[test]
fn what_leaves_ends_with_a_line_end_and_has_no_bare_one() {
    assert_eq!(leaves(b"Subject: x\r\n\r\nhello", WIDE), b"Subject: x\r\n\r\nhello\r\n");
    assert_eq!(leaves(b"", WIDE), b"\r\n");
    assert_eq!(leaves(b"Subject: x\n\na\n.\nb\rc\r\r\nd\r", WIDE), b"Subject: x\r\n\r\na\r\n.\r\nb\r\nc\r\n\r\nd\r\n");
}

#[test]
fn rfc_5321_4_4_return_path_does_not_leave() {
    let message = crlf(
        "Return-Path: <a@example.org>\nReceived: x\nRETURN-PATH:\n <b@example.org>\nSubject: y\n\nReturn-Path: body\n",
    );
    assert_eq!(text(&leaves(&message, WIDE)), "Received: x\r\nSubject: y\r\n\r\nReturn-Path: body\r\n");
}

#[test]
fn rfc_6152_text_is_quoted_for_a_host_without_8bitmime() {
    let message = crlf(
        "From: a@example.org\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\
         Content-Transfer-Encoding: 8bit\n\nGrüße = gut \nx\n",
    );
    assert_eq!(leaves(&message, WIDE), message);
    let narrow = leaves(&message, NARROW);
    assert_eq!(
        text(&narrow),
        text(&crlf(
            "From: a@example.org\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\
             Content-Transfer-Encoding: quoted-printable\n\nGr=C3=BC=C3=9Fe =3D gut=20\nx\n"
        ))
    );
    assert_eq!(bodies(&narrow), bodies(&message));
}

#[test]
fn rfc_1870_6_1_the_size_that_is_said_is_near_the_one_that_leaves() {
    let latin = "\u{4f60}\u{597d}\n".repeat(5000);
    let binary = format!(
        "From: a@example.org\nMIME-Version: 1.0\nContent-Type: application/x\nContent-Transfer-Encoding: 8bit\n\n{latin}"
    );
    let returned = format!("Return-Path: <x@example.org>\n{binary}");
    for (message, path) in [(&binary, NARROW), (&returned, WIDE)] {
        let message = crlf(message);
        let (out, plan) = (leaves(&message, path), scanned(&message, message.len()).plan(path).unwrap());
        let said = plan.size_bytes_about;
        assert!(said <= out.len() as u64 * 21 / 20, "{} octets, said {said}", out.len());
    }
}

#[test]
fn a_message_without_mime_becomes_one() {
    let message = crlf("From: a@example.org\n\nGrüße aus der Stadt, in der ich wohne\n");
    assert_eq!(
        text(&leaves(&message, NARROW)),
        text(&crlf(
            "From: a@example.org\nContent-Transfer-Encoding: quoted-printable\nContent-Type: text/plain; charset=utf-8\n\
             MIME-Version: 1.0\n\nGr=C3=BC=C3=9Fe aus der Stadt, in der ich wohne\n"
        ))
    );
    let latin = b"From: a@example.org\r\n\r\nGr\xfc\xdfe und noch etwas Text dazu\r\n";
    assert!(text(&leaves(latin, NARROW)).contains("charset=unknown-8bit"));
}

#[test]
fn each_part_is_converted_by_itself() {
    let binary = "ü".repeat(100);
    let message = crlf(&format!(
        "From: a@example.org\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"o u\"\n\
         Content-Transfer-Encoding: 8bit\n\nprä\n--o u\nContent-Type: text/plain\n\nascii\n--o u \n\
         Content-Type: multipart/alternative; boundary=in\nContent-Transfer-Encoding: 8bit\n\n--in\n\
         Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n<p>Grüße an alle Leute</p>\n--in--\n\
         --o u\nContent-Type: application/x-data\n\n{binary}\n--o u\nContent-Type: message/rfc822\n\
         Content-Transfer-Encoding: binary\n\nSubject: in\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n\
         Äpfel und Birnen und Pflaumen\n--o u--\nnachwört\n"
    ));
    let narrow = leaves(&message, NARROW);
    assert_narrow(&narrow);
    let shown = text(&narrow);
    assert!(shown.contains("\r\npr??\r\n") && shown.contains("\r\nnachw??rt\r\n"), "{shown}");
    assert_eq!(shown.matches("Content-Transfer-Encoding: 7bit\r\n").count(), 3, "{shown}");
    assert_eq!(shown.matches("Content-Transfer-Encoding: base64\r\n").count(), 1, "{shown}");
    assert_eq!(shown.matches("Content-Transfer-Encoding: quoted-printable\r\n").count(), 2, "{shown}");
    assert_eq!(bodies(&narrow), bodies(&message));
    let parsed = MessageParser::new().parse(&narrow).unwrap();
    let inner = parsed.attachments().find_map(|part| part.message()).unwrap();
    assert_eq!(inner.body_text(0).unwrap().trim(), "Äpfel und Birnen und Pflaumen");
    assert_eq!(inner.subject(), Some("in"));
}

#[test]
fn rfc_5321_4_5_3_1_6_long_lines_are_encoded() {
    let long = "word ".repeat(400);
    let message = crlf(&format!(
        "From: a@example.org\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\
         Content-Type: text/plain; charset=utf-8\n\nü {long}\n--b\nContent-Type: application/json\n\n{{{long}}}\n--b--\n"
    ));
    let wide = leaves(&message, WIDE);
    assert_narrow(&wide);
    let shown = text(&wide);
    assert!(shown.contains("quoted-printable") && shown.contains("base64"));
    assert_eq!(bodies(&wide), bodies(&message));
}

#[test]
fn encoded_parts_with_long_lines_are_only_broken_anew() {
    let base64 = "QUJD".repeat(600);
    let quoted = "=C3=BCber =3D ".repeat(200);
    let message = crlf(&format!(
        "From: a@example.org\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\
         Content-Type: application/x-data\nContent-Transfer-Encoding: base64\n\n{base64}\n--b\n\
         Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n{quoted}=\nx\n--b--\n"
    ));
    let wide = leaves(&message, WIDE);
    assert_narrow(&wide);
    assert!(wide.split(|&octet| octet == b'\n').all(|line| line.len() <= 77));
    assert_eq!(bodies(&wide), bodies(&message));
    let single =
        crlf(&format!("MIME-Version: 1.0\nContent-Type: a/b\nContent-Transfer-Encoding: base64\n\n{base64}\n"));
    assert_eq!(bodies(&leaves(&single, WIDE)), bodies(&single));
}

#[test]
fn long_header_lines_are_folded() {
    let references: String = (0..60).map(|number| format!(" <{number}.0123456789@mail.example.org>")).collect();
    let message = crlf(&format!("Subject: x\nReferences:{references}\nX-Long: {}\n\nbody\n", "y".repeat(2500)));
    let wide = leaves(&message, WIDE);
    assert_narrow(&wide);
    let parsed = MessageParser::new().parse(&wide).unwrap();
    assert_eq!(parsed.references().as_text_list().unwrap().len(), 60);
    assert_eq!(parsed.body_text(0).unwrap(), "body\r\n");
    assert_eq!(text(&wide).matches('y').count(), 2501);
    let broken = format!("Subject: x\r\n{}\rz\r\n\r\nbody\r\n", "y".repeat(997));
    assert_narrow(&leaves(broken.as_bytes(), WIDE));
}

#[test]
fn rfc_1847_what_is_signed_is_never_changed() {
    let signed = |body: &str| {
        crlf(&format!(
            "From: a@example.org\nMIME-Version: 1.0\nContent-Type: multipart/signed; boundary=s\n\n--s\n\
             Content-Type: multipart/mixed; boundary=t\n\n--t\nContent-Type: text/plain\n\n{body}\n--t--\n--s\n\
             Content-Type: application/pgp-signature\n\nsig\n--s--\n"
        ))
    };
    let long = signed(&"x".repeat(2000));
    assert_eq!(leaves(&long, NARROW), long);
    let high = signed("Grüße");
    assert_eq!(leaves(&high, WIDE), high);
    assert_eq!(scanned(&high, 5).plan(NARROW), Err(Unsendable::EightBitProtected));
}

#[test]
fn rfc_2047_words_stand_for_utf8_where_a_reader_sees_no_difference() {
    let message = crlf("From: Jörg\n Müller <j@example.org>\nTo: b@example.org\nSubject: Grüße\n aus Köln\n\nx\n");
    assert_eq!(leaves(&message, WIDE), message);
    for path in [NARROW, super::Path { eight_bit_mime: true, smtp_utf8: false }] {
        assert_eq!(
            text(&leaves(&message, path)),
            text(&crlf(
                "From: =?utf-8?B?SsO2cmcgTcO8bGxlcg==?= <j@example.org>\nTo: b@example.org\n\
                 Subject: =?utf-8?B?R3LDvMOfZQ==?= aus =?utf-8?B?S8O2bG4=?=\n\nx\n"
            ))
        );
    }
}

#[test]
fn what_cannot_be_converted_is_refused_for_good() {
    let utf8_header = crlf("Subject: Grüße\nTo: <jörg@example.org>\n\nx\n");
    let path = super::Path { eight_bit_mime: true, smtp_utf8: false };
    assert_eq!(scanned(&utf8_header, 3).plan(path), Err(Unsendable::HeaderNeedsUtf8));
    assert!(scanned(&utf8_header, 3).plan(WIDE).unwrap().needs_utf8());
    assert_eq!(Unsendable::HeaderNeedsUtf8.status(), (5, 6, 7));

    let latin_header = b"Subject: Gr\xfc\xdfe\r\n\r\nx\r\n";
    assert_eq!(leaves(latin_header, path), latin_header, "an old habit that 8BITMIME hosts take");
    assert_eq!(scanned(latin_header, 3).plan(NARROW), Err(Unsendable::EightBitHeader));
    assert_eq!(Unsendable::EightBitHeader.status(), (5, 6, 3));

    let part = crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: a/b; name=\"ü\"\n\nx\n--b--\n");
    assert_eq!(scanned(&part, 3).plan(NARROW), Err(Unsendable::EightBitPartHeader));
    let partial = crlf("Content-Type: message/partial; id=x\n\nü\n");
    assert_eq!(scanned(&partial, 3).plan(NARROW), Err(Unsendable::EightBitUnencodable));
    let unknown = crlf("Content-Type: text/plain\nContent-Transfer-Encoding: x-uuencode\n\nü\n");
    assert_eq!(scanned(&unknown, 3).plan(NARROW), Err(Unsendable::EightBitUnencodable));
}

#[test]
fn a_structure_without_an_end_is_still_read() {
    let open =
        crlf("Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nä und sonst nichts weiter");
    assert_narrow(&leaves(&open, NARROW));
    let deep: String =
        (0..200).map(|n| format!("Content-Type: multipart/mixed; boundary=b{n}x\n\n--b{n}x\n")).collect();
    assert_narrow(&leaves(&crlf(&format!("{deep}\nä\n")), NARROW));
    let digest =
        crlf("Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: in\n\nä und sonst nichts weiter\n--b--\n");
    let narrow = text(&leaves(&digest, NARROW));
    assert!(narrow.contains("Subject: in\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A4"), "{narrow}");
}

#[test]
fn parts_of_a_message_are_told_from_its_own_fields() {
    let message =
        crlf("From: a@example.org\nContent-Type: multipart/mixed; boundary=b\n\n--b\nReturn-Path: x\n\n--c\n--b--\n");
    assert_eq!(leaves(&message, NARROW), message, "a part's Return-Path is its own");
    let parsed = MessageParser::new().parse(&message).unwrap();
    assert_eq!(parsed.parts[1].content_transfer_encoding(), None);
}

#[test]
fn messages_of_any_shape_leave_whole_or_are_refused() {
    let seeds: [&[u8]; 8] = [
        b"\x03\x05Return-Path: <a@b>\r\nFrom: a@example.org\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; \
          boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\npr\xc3\xa4\r\n--b\r\nContent-Type: text/plain\r\n\r\nGr\xc3\xbc\xc3\x9fe =\r\n--b--\r\n",
        b"\x01\x01Content-Type: multipart/signed; boundary=\"s s\"\r\n\r\n--s s\r\nContent-Type: multipart/digest; \
          boundary=b\r\n\r\n--b\r\n\r\nSubject: x\r\n\r\n\xc3\xa4\r\n--b--\r\n--s s--\r\n",
        b"\x03\x20Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BC =\r\n=3D\xff\r\n",
        b"\x00\x09Content-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\nQUJDREVG\r\nQUJD\xff==\r\n",
        b"\x02\x04Content-Type: message/rfc822\r\n\r\nReturn-Path: <>\r\nSubject: \xc3\xa4\r\n\r\nin\r\n",
        b"\x01\x07Subject: no mime\r\n\r\nGr\xfc\xdfe\r\n.\r\n",
        b"\x02\x03From: J\xc3\xb6rg \"M, \xc3\xbc\" <j@b> (\xc3\xa4),\r\n b: c;\r\nSubject: \xc3\xa4 b \xc3\xb6\r\n\r\nx\r\n",
        b"\x01\x07Subject: a\r\n b\r\nX: y\n\rz\r\n\nbody\r",
    ];
    mutated(&seeds, 8000, crate::fuzz::fuzz_outgoing);
}
