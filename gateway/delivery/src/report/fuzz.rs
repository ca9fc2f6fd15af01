//! A fuzz entry for what strangers write and a report repeats.

use futures::executor::block_on;
use mail_parser::{MessageParser, MimeHeaders};
use securanet_gateway::{
    model::{
        Address, DomainName, ReversePath, StoreError, UnixMillis,
        content::Ingested,
        outbound::{
            Attempt, EnvelopeOptions, ItemView, Notice, Notify, Origin, OutboundRecipient, Outcome, RecipientView,
            Return, State,
        },
    },
    store::{BoxFuture, ContentSink},
};

use super::{Report, ReportNames};
use crate::outgoing::fuzz::in_memory;

struct Gathered(Vec<u8>);

impl ContentSink for Gathered {
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), StoreError>> {
        self.0.extend_from_slice(bytes);
        Box::pin(async { Ok(()) })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Ingested, StoreError>> {
        Box::pin(async { Err(StoreError::Draining) })
    }
}

/// Texts of strangers: the original, an answer, a host, ORCPT, ENVID, a Message-ID and a local part, separated by zero
/// octets. A report has its three parts, one group for each recipient, and lines that any host takes.
///
/// # Panics
/// When an invariant does not hold.
pub(crate) fn check(data: &[u8]) {
    let mut texts = data.split(|&octet| octet == 0);
    let original = texts.next().unwrap_or_default();
    let mut text = || String::from_utf8_lossy(texts.next().unwrap_or_default()).into_owned();
    let (answer, host, given, envelope_id, message_id, local) = (text(), text(), text(), text(), text(), text());
    let Ok(domain) = DomainName::parse("remote.example") else { return };
    let Ok(address) = Address::new(&local, domain.clone()).or_else(|_| Address::new("bob", domain)) else { return };
    let attempt = |millis, outcome| Attempt {
        at: UnixMillis::new(millis),
        took_millis: 1,
        outcome,
        status: (5, 7, 1),
        host: Some(host.clone()),
        tls: None,
        answer: answer.clone(),
        answer_is_remote: true,
    };
    let recipient = RecipientView {
        position: 0,
        recipient: OutboundRecipient {
            address: address.clone().into(),
            destination: String::new(),
            notify: Notify::Default,
            original: Some(given),
        },
        state: State::Failed,
        attempts: 2,
        failures: 2,
        uncertain: 1,
        delay_told: false,
        delay_due: None,
        end_told: false,
        history: vec![attempt(0, Outcome::TemporaryAnswer), attempt(u64::MAX, Outcome::Permanent)],
    };
    let options = EnvelopeOptions { ret: Some(Return::Full), envelope_id: Some(envelope_id), ..Default::default() };
    let item = ItemView {
        item: 1,
        queued: UnixMillis::new(0),
        sender: ReversePath::Address(address),
        options,
        origin: Origin::Report,
        message_id: Some(message_id),
        trace_id: String::new(),
        size_bytes: 1,
        recipients: vec![recipient],
    };
    check_item(&item, original);
}

fn check_item(item: &ItemView, original: &[u8]) {
    let names = ReportNames { hostname: "mx.example.org".to_owned() };
    let Some(report) = Report::new(item, &[0], Notice::Failure, &names, UnixMillis::new(0)) else { return };
    for given in [None, Some(in_memory(original, 100))] {
        let mut sink = Gathered(Vec::new());
        let Ok(written) = block_on(report.write(given.as_deref(), &mut sink)) else { return };
        let octets = sink.0;
        assert!(written.eight_bit || octets.is_ascii(), "octets above 127 that nobody was told of");
        let ours = octets.len() - if given.is_some() { original.len() } else { 0 };
        assert!(ours < 40_000, "{ours} octets of our own");
        if given.is_none() {
            check_parts(&octets);
        }
    }
}

/// Without the original, all octets are ours: lines, parts and groups are what we meant them to be.
fn check_parts(octets: &[u8]) {
    for line in octets.split_inclusive(|&octet| octet == b'\n') {
        let text = line.strip_suffix(b"\r\n");
        assert!(text.is_some_and(|text| text.len() <= 998 && !text.iter().any(u8::is_ascii_control)), "{line:?}");
    }
    let parsed = MessageParser::new().parse(octets);
    let message = parsed.as_ref();
    assert_eq!(message.map(|message| message.parts.len()), Some(3), "words and status");
    let status = message.and_then(|message| message.parts.get(2));
    let kind = status.and_then(|part| part.content_type()).and_then(|kind| kind.subtype());
    assert!(kind.is_some_and(|kind| kind.ends_with("delivery-status")), "{kind:?}");
    let text = status.map(|part| String::from_utf8_lossy(part.contents()).into_owned()).unwrap_or_default();
    assert_eq!(text.split("\r\n\r\n").filter(|group| !group.trim().is_empty()).count(), 2, "{text:?}");
}
