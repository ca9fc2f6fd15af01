//! The outbound queue: a log after which each of its tables has a row, and each line of its timeline.

use securanet_model::outbound::{
    Acceptance, Action, Attempt, DeliverBy, EnvelopeOptions, LOCAL_DESTINATION, Notice, Notify, Origin, Outbound,
    OutboundCommand, OutboundRecipient, Outcome, Place, Return, Schedule, Settlement, WorkerId,
};

use super::*;

fn to(text: &str, notify: Notify) -> OutboundRecipient {
    let address = RecipientAddress::parse(text).unwrap();
    let destination = address.host();
    OutboundRecipient { address, destination, notify, original: Some(format!("rfc822;{text}")) }
}

fn accept(recipients: Vec<OutboundRecipient>, origin: Origin) -> OutboundCommand {
    let deliver_by = Some(DeliverBy { by: START.plus_millis(60_000), or_return: false, trace: true });
    let outbound = Outbound {
        message: message(),
        sender: ReversePath::Address(address("ann@a.example")),
        recipients,
        options: EnvelopeOptions {
            ret: Some(Return::Headers),
            envelope_id: Some("E1".to_owned()),
            deliver_by,
            ..EnvelopeOptions::default()
        },
        repeat_key: matches!(origin, Origin::Account(_)).then_some(KeyedHash([17; 16])),
        origin,
        message_id: Some("<1@a.example>".to_owned()),
        trace_id: "T1".to_owned(),
        hold_until: None,
    };
    OutboundCommand::Accept(Box::new(Acceptance { fan_out: Vec::new(), outbound: vec![outbound] }))
}

fn settle(place: Place, outcome: Outcome) -> OutboundCommand {
    let tried = Attempt {
        at: START,
        took_millis: 12,
        outcome,
        status: (4, 4, 1),
        host: Some("mx.b.example [192.0.2.1]:25".to_owned()),
        tls: Some("TLSv1.3".to_owned()),
        answer: "said".to_owned(),
        answer_is_remote: true,
    };
    OutboundCommand::Settle(vec![Settlement { place, attempt: 1, tried, schedule: Schedule::default() }])
}

/// One item of eight recipients in eight states, one of a mailing, one of each other origin, one that is closed, one for
/// hosts without a name.
fn outbound() -> Vec<Command> {
    let place = |item, position| Place { item, position };
    let all = Notify::On { success: true, failure: true, delay: true };
    let eight = (0..8).map(|nth| to(&format!("r{nth}@b{}.example", nth / 2), all)).collect();
    let mailing = (0..21).map(|nth| to(&format!("r{nth}@c.example"), Notify::Default)).collect();
    let mut here = to("ann@a.example", all);
    here.destination = LOCAL_DESTINATION.to_owned();
    let one = |origin| accept(vec![to("x@d.example", Notify::Never)], origin);
    let commands = vec![
        OutboundCommand::Lease { worker: WorkerId([1; 16]), epoch: None },
        accept(eight, Origin::Account(AccountId::new(1))),
        accept(mailing, Origin::Forward(address("list@a.example"))),
        one(Origin::Report),
        one(Origin::Relay("printer".to_owned())),
        OutboundCommand::Take { epoch: 1, places: (1..8).map(|position| place(1, position)).collect() },
        OutboundCommand::Intend { epoch: 1, places: vec![(place(1, 2), 1), (place(1, 3), 1)] },
        settle(place(1, 3), Outcome::Uncertain),
        settle(place(1, 4), Outcome::TemporaryConnection),
        settle(place(1, 5), Outcome::Permanent),
        settle(place(1, 6), Outcome::Delivered { notifies: false }),
        settle(place(1, 7), Outcome::NoSuchDomain),
        OutboundCommand::Report { item: 1, notice: Notice::Success, positions: vec![6], message: None },
        OutboundCommand::Operate { places: vec![place(2, 0)], action: Action::Hold },
        OutboundCommand::Operate { places: vec![place(2, 1)], action: Action::Reroute("route:x".to_owned()) },
        OutboundCommand::Operate { places: vec![place(1, 7)], action: Action::RetryNow },
        OutboundCommand::Operate { places: vec![place(3, 0)], action: Action::Cancel },
        accept(vec![here], Origin::Local),
        one(Origin::TlsReport),
        OutboundCommand::Take { epoch: 1, places: vec![place(4, 0)] },
        settle(place(4, 0), Outcome::Expanded),
        accept(vec![to("x@[192.0.2.9]", all), to("x@[IPv6:2001:db8::9]", all)], Origin::Relay("fax".to_owned())),
    ];
    commands.into_iter().map(Command::Outbound).collect()
}

#[test]
fn the_outbound_queue_is_what_the_first_release_with_it_wrote() {
    check(2, outbound(), include_str!("outbound.txt"));
}

#[test]
fn the_log_leaves_a_row_in_every_table_and_line() {
    let rows = include_str!("outbound.txt").lines().filter_map(|line| line.strip_prefix("row "));
    let beginnings: Vec<&str> = rows.map(|row| row.split_once(' ').unwrap().0).collect();
    let has = |prefix: String| beginnings.iter().any(|row| row[16..].starts_with(&prefix));
    let tables: Vec<u8> = (0x70..0x7f).filter(|table| !has(format!("{table:02x}"))).collect();
    let lines: Vec<u8> = (0..7).filter(|line| !has(format!("79{line:02x}"))).collect();
    assert_eq!((tables, lines), (vec![], vec![]));
}
