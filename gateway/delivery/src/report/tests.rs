//! Reports, read back with a parser that is not ours.

use mail_parser::{Message, MessageParser, MimeHeaders};
use securanet_gateway::{
    model::{
        AccountId, Address, RecipientAddress, ReversePath, UnixMillis,
        outbound::{
            Attempt, EnvelopeOptions, ItemView, Notice, Notify, Origin, OutboundRecipient, Outcome, RecipientView,
            Return, State,
        },
    },
    store::Content,
};

use super::{Report, ReportNames, Written};
use crate::outgoing::harness::{Message as Stored, NARROW, Sink, leaves, mutated};

/// 2025-11-23 08:01:06 UTC.
const START: u64 = 1_763_884_866_000;

const ORIGINAL: &str = "Received: x\r\nFrom: Ann <ann@example.org>\r\nTo: bob@remote.example\r\n\
                        Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@example.org>\r\n\r\nthe body\r\n";

fn attempt(minutes: u64, outcome: Outcome, status: (u8, u16, u16), answer: &str) -> Attempt {
    Attempt {
        at: UnixMillis::new(START + minutes * 60_000),
        took_millis: 500,
        outcome,
        status,
        host: Some("mx.remote.example [192.0.2.1]:25".to_owned()),
        tls: None,
        answer: answer.to_owned(),
        answer_is_remote: true,
    }
}

fn recipient(position: u32, address: &str, history: Vec<Attempt>) -> RecipientView {
    RecipientView {
        position,
        recipient: OutboundRecipient {
            address: RecipientAddress::parse(address).unwrap(),
            destination: "remote.example".to_owned(),
            notify: Notify::Default,
            original: None,
        },
        state: State::Failed,
        attempts: history.len() as u32,
        failures: history.len() as u32,
        uncertain: 0,
        delay_told: false,
        delay_due: None,
        end_told: false,
        history,
    }
}

fn refused() -> Attempt {
    attempt(0, Outcome::Permanent, (5, 1, 1), "550 5.1.1 <bob@remote.example>: no such user")
}

fn item(recipients: Vec<RecipientView>) -> ItemView {
    ItemView {
        item: 7,
        queued: UnixMillis::new(START),
        sender: ReversePath::Address(Address::parse("ann@example.org").unwrap()),
        options: EnvelopeOptions::default(),
        origin: Origin::Account(AccountId::new(1)),
        message_id: Some("<1@example.org>".to_owned()),
        trace_id: "0198-7".to_owned(),
        size_bytes: 100,
        recipients,
    }
}

fn names() -> ReportNames {
    ReportNames { hostname: "mx.example.org".to_owned() }
}

async fn write(report: &Report<'_>, original: Option<&dyn Content>) -> (Written, String) {
    let mut sink = Sink::default();
    let written = report.write(original, &mut sink).await.unwrap();
    let octets = sink.0.lock().unwrap().clone();
    (written, String::from_utf8(octets).unwrap())
}

async fn report_on(item: &ItemView, notice: Notice, original: &str) -> (Written, String) {
    let positions: Vec<u32> = item.recipients.iter().map(|recipient| recipient.position).collect();
    let names = names();
    let report = Report::new(item, &positions, notice, &names, UnixMillis::new(START + 1000)).unwrap();
    let report = report.retry_until(UnixMillis::new(START + 86_400_000));
    write(&report, Some(&*Stored::open(original, 17))).await
}

fn parse(report: &str) -> Message<'_> {
    assert!(report.ends_with("\r\n") && !report.replace("\r\n", "").contains(['\r', '\n', '\u{1b}']));
    assert!(report.split("\r\n").all(|line| line.len() <= 998));
    MessageParser::new().parse(report).unwrap()
}

/// The fields of the delivery status, unfolded: those of the message, then those of each recipient.
fn status_fields(message: &Message<'_>) -> Vec<Vec<(String, String)>> {
    let body = String::from_utf8(message.parts[2].contents().to_vec()).unwrap().replace("\r\n ", " ");
    let group = |group: &str| {
        let field = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        group.lines().filter_map(field).collect()
    };
    body.split("\r\n\r\n").map(group).collect()
}

fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[tokio::test]
async fn rfc_6522_a_report_has_three_parts_and_answers_the_message() {
    let (written, report) =
        report_on(&item(vec![recipient(0, "bob@remote.example", vec![refused()])]), Notice::Failure, ORIGINAL).await;
    let message = parse(&report);
    let header = |name: &str| message.header_raw(name).map(|value| value.trim().replace("\r\n ", " "));
    assert_eq!(header("From").unwrap(), "Mail Delivery System <MAILER-DAEMON@mx.example.org>");
    assert_eq!(header("To").unwrap(), "<ann@example.org>");
    assert_eq!(message.subject(), Some("Not delivered: Grüße"));
    assert_eq!(header("Date").unwrap(), "Sun, 23 Nov 2025 08:01:07 +0000");
    assert_eq!(header("Message-ID").as_ref(), Some(&written.message_id));
    assert_eq!(header("In-Reply-To").unwrap(), "<1@example.org>");
    assert_eq!(header("References").unwrap(), "<1@example.org>");
    assert_eq!(header("Auto-Submitted").unwrap(), "auto-replied");
    assert_eq!(header("MIME-Version").unwrap(), "1.0");
    assert!(header("Return-Path").is_none() && header("Sender").is_none());
    let kind = message.content_type().unwrap();
    assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")));
    assert_eq!(kind.attribute("report-type"), Some("delivery-status"));
    let kinds: Vec<_> = message.parts[1..].iter().map(|part| part.content_type().unwrap().subtype().unwrap()).collect();
    assert_eq!(kinds, ["plain", "delivery-status", "rfc822-headers"]);
    assert_eq!(message.parts[3].contents(), ORIGINAL.strip_suffix("\r\nthe body\r\n").unwrap().as_bytes());
    assert_eq!((written.eight_bit, written.utf8), (true, false), "its words quote the subject");
}

#[tokio::test]
async fn rfc_5321_4_1_3_a_recipient_at_a_host_without_a_name_is_told_of_as_it_was_written() {
    let barred = "mail is not sent to the host [127.0.0.1]: no mail server in the world can have its address";
    let mut barred = attempt(0, Outcome::Permanent, (5, 1, 2), barred);
    (barred.host, barred.answer_is_remote) = (None, false);
    let mut unknown = attempt(0, Outcome::Permanent, (5, 1, 2), "550 5.1.2 no");
    unknown.host = Some("[2001:db8::9]:25".to_owned());
    let recipients =
        vec![recipient(0, "scan@[127.0.0.1]", vec![barred]), recipient(1, "fax@[IPv6:2001:db8::9]", vec![unknown])];
    let (_, report) = report_on(&item(recipients), Notice::Failure, ORIGINAL).await;
    let message = parse(&report);
    let status = status_fields(&message);
    let field = |of: usize, name: &str| status[of].iter().find(|field| field.0 == name).unwrap().1.clone();
    let expected = [("rfc822; scan@[127.0.0.1]", "5.1.2"), ("rfc822; fax@[IPv6:2001:db8::9]", "5.1.2")];
    for (nth, (address, code)) in expected.into_iter().enumerate() {
        assert_eq!(
            (field(nth + 1, "Final-Recipient"), field(nth + 1, "Status")),
            (address.to_owned(), code.to_owned())
        );
    }
    assert_eq!(field(2, "Remote-MTA"), "dns; [2001:db8::9]");
    let words = message.body_text(0).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    let (first, second) = words.split_once("fax@[IPv6:2001:db8::9]").unwrap();
    assert!(first.contains("What stands after the @ is no domain but the number of a computer"), "{first}");
    assert!(first.contains("with a name after the @") && first.contains("no mail server in the world"), "{first}");
    assert!(second.contains("[IPv6:2001:db8::9]") && !second.contains("number of a computer"), "{second}");
}

#[tokio::test]
async fn rfc_3464_programs_read_each_field() {
    let mut bob = recipient(3, "bob@remote.example", vec![refused()]);
    bob.recipient.original = Some("rfc822;Bob+2Bx@example.net".to_owned());
    let eve =
        recipient(5, "eve@remote.example", vec![attempt(1, Outcome::TemporaryConnection, (4, 4, 1), "no answer")]);
    let mut item = item(vec![bob, recipient(4, "not-told@remote.example", Vec::new()), eve]);
    item.options.envelope_id = Some("QQ+2B1".to_owned());
    item.recipients[2].history[0].answer_is_remote = false;
    item.recipients[2].history[0].host = Some("[192.0.2.1]:25".to_owned());
    let names = names();
    let report = Report::new(&item, &[3, 5], Notice::Failure, &names, UnixMillis::new(START)).unwrap();
    let (_, report) = write(&report, None).await;
    let message = parse(&report);
    assert_eq!(message.parts.len(), 3, "no original, no third part");
    assert_eq!(
        status_fields(&message),
        [
            fields(&[
                ("Original-Envelope-Id", "QQ+1"),
                ("Reporting-MTA", "dns; mx.example.org"),
                ("Arrival-Date", "Sun, 23 Nov 2025 08:01:06 +0000"),
            ]),
            fields(&[
                ("Original-Recipient", "rfc822; Bob+x@example.net"),
                ("Final-Recipient", "rfc822; bob@remote.example"),
                ("Action", "failed"),
                ("Status", "5.1.1"),
                ("Remote-MTA", "dns; mx.remote.example"),
                ("Diagnostic-Code", "smtp; 550 5.1.1 <bob@remote.example>: no such user"),
                ("Last-Attempt-Date", "Sun, 23 Nov 2025 08:01:06 +0000"),
            ]),
            fields(&[
                ("Final-Recipient", "rfc822; eve@remote.example"),
                ("Action", "failed"),
                ("Status", "4.4.1"),
                ("Remote-MTA", "dns; [192.0.2.1]"),
                ("Diagnostic-Code", "X-SecuraNET; no answer"),
                ("Last-Attempt-Date", "Sun, 23 Nov 2025 08:02:06 +0000"),
            ]),
        ]
    );
}

#[tokio::test]
async fn a_layman_reads_what_happened_and_what_to_do() {
    let (_, report) =
        report_on(&item(vec![recipient(0, "bob@remote.example", vec![refused()])]), Notice::Failure, ORIGINAL).await;
    let message = parse(&report);
    let words = message.body_text(0).unwrap().replace("\r\n", "\n");
    let expect = "Your message \"Grüße\" of 2025-11-23 08:01:06 UTC could not be delivered to
this recipient. Nothing more will be tried.

bob@remote.example
  Why: There is no mailbox with this address at remote.example.
  What you can do: Compare the address with a message or a card that you
    have from this person, correct it and send the message again.
  The server mx.remote.example [192.0.2.1]:25 said:
      550 5.1.1 <bob@remote.example>: no such user

This message was written by the mail server mx.example.org, not by a person.
Your mail administrator finds the message under the number 0198-7.
";
    assert_eq!(words, expect);
}

#[tokio::test]
async fn promise_7_the_whole_history_is_told_after_retries() {
    let minutes = [0, 15, 135, 1575, 5895];
    let answers =
        minutes.map(|at| attempt(at, Outcome::TemporaryAnswer, (4, 2, 2), &format!("452 4.2.2 full at {at}")));
    let (_, report) =
        report_on(&item(vec![recipient(0, "bob@remote.example", answers.to_vec())]), Notice::Failure, ORIGINAL).await;
    let words = parse(&report).body_text(0).unwrap().replace("\r\n", "\n");
    assert!(words.contains("We have tried 5 times; the attempts are listed below."), "{words}");
    let times = ["11-23 08:01:06", "11-23 08:16:06", "11-23 10:16:06", "11-24 10:16:06", "11-27 10:16:06"];
    for (at, time) in minutes.iter().zip(times) {
        let told = format!("      2025-{time} UTC mx.remote.example [192.0.2.1]:25\n        452 4.2.2 full at {at}\n");
        assert!(words.contains(&told), "{told} in {words}");
    }
    let status = status_fields(&parse(&report));
    assert!(status[1].contains(&("Status".to_owned(), "4.2.2".to_owned())), "given up, and still what it was");
}

#[tokio::test]
async fn attempts_that_were_forgotten_are_counted() {
    let many: Vec<_> = (0..16).map(|at| attempt(at, Outcome::TemporaryConnection, (4, 4, 1), "")).collect();
    let mut bob = recipient(0, "bob@remote.example", many);
    (bob.attempts, bob.uncertain) = (40, 1);
    let (_, report) = report_on(&item(vec![bob]), Notice::Failure, ORIGINAL).await;
    let words = parse(&report).body_text(0).unwrap().replace("\r\n", "\n");
    assert!(words.contains("(24 attempts are not listed)") && words.contains("        no connection\n"), "{words}");
    let unfolded = words.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(unfolded.contains("the recipient may have the message nevertheless"), "{words}");
}

#[tokio::test]
async fn the_other_server_is_blamed_for_what_it_did_alone() {
    let mut ended = attempt(0, Outcome::Permanent, (5, 0, 0), "an operator of this system ended the attempts");
    (ended.answer_is_remote, ended.host) = (false, None);
    let greylisted = attempt(0, Outcome::TemporaryAnswer, (4, 7, 1), "451 4.7.1 greylisted");
    let cases = [
        (ended, Notice::Failure, "Why: Our own mail system has ended the delivery."),
        (greylisted.clone(), Notice::Delay, "Why: The other server does not take the message yet."),
        (greylisted, Notice::Failure, "Why: The other server has refused the message by its own rules;"),
    ];
    for (tried, notice, why) in cases {
        let bob = recipient(0, "bob@remote.example", vec![tried]);
        let (_, report) = report_on(&item(vec![bob]), notice, ORIGINAL).await;
        let words = parse(&report).body_text(0).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(why), "{why} in {words}");
    }
}

#[tokio::test]
async fn a_delay_says_that_nothing_need_be_done() {
    let waits = attempt(0, Outcome::NoSuchDomain, (4, 1, 2), "no such domain");
    let (_, report) =
        report_on(&item(vec![recipient(0, "bob@remote.example", vec![waits])]), Notice::Delay, ORIGINAL).await;
    let message = parse(&report);
    assert_eq!(message.subject(), Some("Delayed: Grüße"));
    let words = message.body_text(0).unwrap().replace("\r\n", " ");
    assert!(
        words.contains(
            "has not been delivered to this recipient yet. We go on trying by ourselves until 2025-11-24 08:01:06 UTC."
        ),
        "{words}"
    );
    assert!(!words.contains("What you can do"), "{words}");
    let status = &status_fields(&message)[1];
    for (name, value) in
        [("Action", "delayed"), ("Status", "4.1.2"), ("Will-Retry-Until", "Mon, 24 Nov 2025 08:01:06 +0000")]
    {
        assert!(status.contains(&(name.to_owned(), value.to_owned())), "{status:?}");
    }
}

#[tokio::test]
async fn what_became_of_mail_for_a_mailbox_here_is_told_as_ours() {
    let here = |outcome, status, answer: &str| {
        let ours = Attempt { host: None, tls: None, answer_is_remote: false, ..attempt(0, outcome, status, answer) };
        let mut recipient = recipient(0, "bob@example.org", vec![ours]);
        recipient.recipient.destination = securanet_gateway::model::outbound::LOCAL_DESTINATION.to_owned();
        item(vec![recipient])
    };
    let stored = here(Outcome::Delivered { notifies: false }, (2, 0, 0), "put into the mailbox");
    let (_, report) = report_on(&stored, Notice::Success, ORIGINAL).await;
    let status = &status_fields(&parse(&report))[1];
    for (name, value) in [("Action", "delivered"), ("Status", "2.0.0")] {
        assert!(status.contains(&(name.to_owned(), value.to_owned())), "{status:?}");
    }
    assert!(status.iter().all(|(name, _)| name != "Remote-MTA"), "{status:?}");
    let gone = here(Outcome::Permanent, (5, 1, 1), "there is no such mailbox here any more");
    let (_, report) = report_on(&gone, Notice::Failure, ORIGINAL).await;
    assert!(report.contains("Our server noted:") && !report.contains("other server said"), "{report}");
}

#[tokio::test]
async fn a_success_elsewhere_is_relayed() {
    let done = attempt(0, Outcome::Delivered { notifies: false }, (2, 0, 0), "250 2.0.0 queued as 1");
    let mut item = item(vec![recipient(0, "bob@remote.example", vec![done])]);
    item.options.ret = Some(Return::Full);
    let (_, report) = report_on(&item, Notice::Success, ORIGINAL).await;
    let message = parse(&report);
    let status = &status_fields(&message)[1];
    for (name, value) in
        [("Action", "relayed"), ("Status", "2.0.0"), ("Diagnostic-Code", "smtp; 250 2.0.0 queued as 1")]
    {
        assert!(status.contains(&(name.to_owned(), value.to_owned())), "{status:?}");
    }
    assert_eq!(message.parts[3].content_type().unwrap().subtype(), Some("rfc822-headers"), "RFC 3461 4.3");
    let expanded =
        Attempt { answer_is_remote: false, ..attempt(0, Outcome::Expanded, (2, 0, 0), "sent on to several") };
    let item = self::item(vec![recipient(0, "team@example.org", vec![expanded])]);
    let (_, report) = report_on(&item, Notice::Success, ORIGINAL).await;
    assert!(status_fields(&parse(&report))[1].contains(&("Action".to_owned(), "expanded".to_owned())));
    assert!(report.replace("\r\n", " ").contains("was sent on from there to others."), "{report}");
}

#[tokio::test]
async fn the_whole_message_comes_back_only_when_wanted_and_small() {
    let mut item = item(vec![recipient(0, "bob@remote.example", vec![refused()])]);
    item.options.ret = Some(Return::Full);
    let (_, report) = report_on(&item, Notice::Failure, ORIGINAL).await;
    let message = parse(&report);
    assert_eq!(message.parts[3].content_type().unwrap().subtype(), Some("rfc822"));
    assert_eq!(message.attachment(1).unwrap().message().unwrap().body_text(0).unwrap(), "the body\r\n");
    let (_, other) = report_on(
        &ItemView { options: EnvelopeOptions { require_tls: true, ..item.options.clone() }, ..item.clone() },
        Notice::Failure,
        ORIGINAL,
    )
    .await;
    assert_eq!(parse(&other).parts[3].content_type().unwrap().subtype(), Some("rfc822-headers"), "RFC 8689 5");
    let large = format!("{ORIGINAL}{}", "more\r\n".repeat(20_000));
    let (_, report) = report_on(&item, Notice::Failure, &large).await;
    assert_eq!(parse(&report).parts[3].content_type().unwrap().subtype(), Some("rfc822-headers"));
    assert!(report.len() < 10_000);
    let endless = "X-Field: and so on\r\n".repeat(20_000);
    let (_, report) = report_on(&item, Notice::Failure, &endless).await;
    assert!(report.len() < 70_000 && report.contains("on\r\n\r\n--=_"), "cut at a field");
}

#[tokio::test]
async fn strangers_cannot_write_into_a_report() {
    let answer = "550 no\r\n\r\n--=_x\r\nX: \u{1b}[2J\u{202e}<b>".to_owned() + &"z".repeat(5000);
    let mut bob = recipient(0, "bob@remote.example", vec![attempt(0, Outcome::Permanent, (5, 7, 1), &answer)]);
    bob.recipient.original = Some("rfc822;a+0D+0ABcc:+20x".to_owned());
    bob.history[0].host = Some("evil\r\nhost [192.0.2.1]:25".to_owned());
    let mut item = item(vec![bob]);
    item.message_id = Some("<a@b>\r\nBcc: x@example.org".to_owned());
    item.options.envelope_id = Some("a+0D+0Ab".to_owned());
    let original = "Subject: =?utf-8?Q?a=0D=0AX-Evil:_1?=\r\n\r\n";
    let (_, report) = report_on(&item, Notice::Failure, original).await;
    let message = parse(&report);
    assert_eq!(message.parts.len(), 4);
    assert!(message.header_raw("Bcc").is_none() && message.header_raw("X-Evil").is_none());
    assert!(message.header_raw("In-Reply-To").is_none());
    let status = status_fields(&message);
    assert_eq!((status.len(), &*status[0][0].1, &*status[1][0].1), (2, "a b", "rfc822; a Bcc: x"));
    assert!(report.len() < 6000);
}

#[tokio::test]
async fn rfc_6533_addresses_beyond_ascii_have_types_of_their_own() {
    let answer = attempt(0, Outcome::Permanent, (5, 1, 1), "550 kein Benutzer für müller");
    let mut bob = recipient(0, "müller@remote.example", vec![answer]);
    bob.recipient.original = Some("utf-8;m\\x{FC}ller@example.net".to_owned());
    let mut item = item(vec![bob.clone()]);
    let original = "Subject: Grüße\r\n\r\nx\r\n";
    let (written, report) = report_on(&item, Notice::Failure, original).await;
    assert_eq!((written.eight_bit, written.utf8), (true, false), "its header is ASCII");
    let message = parse(&report);
    let kinds: Vec<_> = message.parts[2..].iter().map(|part| part.content_type().unwrap().subtype().unwrap()).collect();
    assert_eq!(kinds, ["global-delivery-status", "global-headers"]);
    let status = &status_fields(&message)[1];
    assert_eq!(status[0].1, "utf-8; müller@example.net");
    assert_eq!(status[1].1, "utf-8; müller@remote.example");
    assert!(status[5].1.ends_with("550 kein Benutzer für müller"), "{status:?}");
    let narrow = String::from_utf8(leaves(report.as_bytes(), NARROW)).unwrap();
    assert!(narrow.is_ascii() && narrow.contains("message/global-delivery-status"), "{narrow}");

    item.sender = ReversePath::Address(Address::parse("änn@example.org").unwrap());
    let (written, report) = report_on(&item, Notice::Failure, original).await;
    assert!(written.utf8 && report.contains("To: <änn@example.org>\r\n"));

    bob.recipient.address = RecipientAddress::parse("bob@remote.example").unwrap();
    item.recipients = vec![bob];
    item.sender = ReversePath::Address(Address::parse("ann@example.org").unwrap());
    let (_, report) = report_on(&item, Notice::Failure, ORIGINAL).await;
    let status = &status_fields(&parse(&report))[1];
    assert_eq!(status[0].1, "utf-8; m\\x{FC}ller@example.net", "ASCII where the report is");
    assert!(status[5].1.ends_with("550 kein Benutzer f?r m?ller"), "{status:?}");
}

#[test]
fn rfc_5321_6_1_a_null_sender_is_never_answered() {
    let mut item = item(vec![recipient(0, "bob@remote.example", vec![refused()])]);
    item.sender = ReversePath::Null;
    let names = names();
    let now = UnixMillis::new(START);
    assert!(Report::new(&item, &[0], Notice::Failure, &names, now).is_none());
    let postmaster = Address::parse("postmaster@example.org").unwrap();
    let report = Report::to_postmaster(&item, &[0], Notice::Failure, &names, (now, &postmaster));
    assert_eq!(report.to, "postmaster@example.org");
}

#[test]
fn whatever_strangers_write_a_report_keeps_its_shape() {
    let seeds: [&[u8]; 3] = [
        b"Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\nFrom: a\r\n\r\nbody\r\n\x00550-5.1.1 no\n550 5.1.1 such user\0mx.example \
          [192.0.2.1]:25\0rfc822;a+2Bb@example.org\0QQ+3D1\0<1@example.org>\0bob",
        b"Subject: \xc3\xa4\r\n\r\n\x00452 \x1b[2J \xe2\x80\xae full\0\0utf-8;m\\x{FC}ller@example.org\0\0<>\0m\xc3\xbcller",
        b"\r\n\0--=_x\r\n\r\nAction: delivered\0[::1]\0x;+0D+0A+0D+0A\0+0D+0A\0<a\r\nb>\0a\"b c",
    ];
    mutated(&seeds, 3000, crate::fuzz::fuzz_report);
}
