//! Envelopes and what else a header says.

use securanet_model::summary::{Envelope, EnvelopeAddress};

use crate::support::{Room, TENANT, summary};

fn envelope(header: &str) -> Envelope {
    Room::new().summary(format!("{header}\r\n\r\nbody\r\n").as_bytes()).envelope
}

fn address(name: &str, mailbox: &str, host: &str) -> EnvelopeAddress {
    let text = |text: &str| text.as_bytes().to_vec();
    EnvelopeAddress {
        name: (!name.is_empty()).then(|| text(name)),
        mailbox: Some(text(mailbox)),
        host: Some(text(host)),
    }
}

#[test]
fn rfc_9051_8_the_envelope_of_the_sample_session() {
    let envelope = envelope(
        "Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\nFrom: Terry Gray <gray@cac.washington.edu>\r\nSubject: IMAP4rev2 \
         WG mtg summary and minutes\r\nTo: imap@cac.washington.edu\r\ncc: minutes@CNRI.Reston.VA.US, John Klensin \
         <KLENSIN@MIT.EDU>\r\nMessage-Id: <B27397-0100000@cac.washington.edu>\r\nMIME-Version: 1.0",
    );
    let gray = vec![address("Terry Gray", "gray", "cac.washington.edu")];
    assert_eq!(
        envelope,
        Envelope {
            date: Some(b"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)".to_vec()),
            subject: Some(b"IMAP4rev2 WG mtg summary and minutes".to_vec()),
            from: gray.clone(),
            sender: gray.clone(),
            reply_to: gray,
            to: vec![address("", "imap", "cac.washington.edu")],
            cc: vec![address("", "minutes", "CNRI.Reston.VA.US"), address("John Klensin", "KLENSIN", "MIT.EDU")],
            bcc: vec![],
            in_reply_to: None,
            message_id: Some(b"<B27397-0100000@cac.washington.edu>".to_vec()),
        }
    );
}

#[test]
fn absent_and_empty_fields_differ_and_sender_falls_back_to_from() {
    let envelope = envelope("From: a@b\r\nSubject:\r\nSender: \r\nReply-To: c@d\r\nDate: x\r\n\ty");
    assert_eq!(envelope.subject, Some(vec![]));
    assert_eq!(envelope.date, Some(b"x\ty".to_vec()));
    assert_eq!((envelope.message_id, envelope.in_reply_to), (None, None));
    assert_eq!((envelope.sender, envelope.reply_to), (vec![address("", "a", "b")], vec![address("", "c", "d")]));
}

#[test]
fn repeated_fields_the_first_counts_but_recipients_add_up() {
    let envelope = envelope("Subject: one\r\nSubject: two\r\nTo: a@b\r\nTo: c@d\r\nFrom: e@f\r\nFrom: g@h");
    assert_eq!(envelope.subject, Some(b"one".to_vec()));
    assert_eq!(envelope.from, [address("", "e", "f")]);
    assert_eq!(envelope.to, [address("", "a", "b"), address("", "c", "d")]);
}

#[test]
fn raw_utf8_stays_raw_and_is_told() {
    let summary = Room::new().summary("Subject: Grüße\r\n\r\nä".as_bytes());
    assert!(summary.header_has_utf8);
    assert_eq!(summary.envelope.subject, Some("Grüße".as_bytes().to_vec()));
    assert!(!Room::new().summary("Subject: x\r\n\r\nä".as_bytes()).header_has_utf8);
}

#[test]
fn the_trace_is_part_of_the_message_but_not_of_what_recognises_it() {
    let room = Room::new();
    let message = b"Received: from x by y\r\nReceived: from w by x\r\nMessage-ID: <a@b>\r\n\r\nbody\r\n";
    let first = room.take_in(b"Received: from y by us; now\r\n", message);
    let second = room.take_in(b"Received: from y by us; later\r\n", message);
    assert_eq!(first.received_count, 2);
    assert_eq!(first.repeat_key, second.repeat_key);
    assert_eq!(first.message_id.as_deref(), Some("<a@b>"));
    assert_eq!(first.message.size_bytes, message.len() as u64 + 29);
    assert_eq!(summary(&first).header_size_bytes, 29 + 67 + 2 - 2);
    assert_ne!(room.take_in(b"", b"Message-ID: <a@b>\r\n\r\nother\r\n").repeat_key, first.repeat_key);
    assert!(first.message.blobs.is_empty());
    let other_tenant = room.intake.begin(securanet_model::TenantId::new(TENANT.get() + 1), vec![], None).unwrap();
    let mut other_tenant = other_tenant;
    other_tenant.write(message).unwrap();
    assert_ne!(other_tenant.finish(crate::support::NOW).unwrap().repeat_key, first.repeat_key);
}
