//! Who is told what.

use securanet_gateway::model::{
    RecipientAddress, UnixMillis,
    outbound::{Attempt, Origin, Outcome},
};

use super::*;

fn recipient(position: u32, state: State, notify: Notify) -> RecipientView {
    RecipientView {
        position,
        recipient: OutboundRecipient {
            address: RecipientAddress::parse(&format!("r{position}@example.org")).unwrap(),
            destination: "example.org".to_owned(),
            notify,
            original: None,
        },
        state,
        attempts: 1,
        failures: 0,
        uncertain: 0,
        delay_told: false,
        delay_due: None,
        end_told: false,
        history: Vec::new(),
    }
}

fn view(sender: ReversePath, recipients: Vec<RecipientView>) -> ItemView {
    ItemView {
        item: 1,
        queued: UnixMillis::new(0),
        sender,
        options: EnvelopeOptions::default(),
        origin: Origin::Report,
        message_id: None,
        trace_id: "t".to_owned(),
        size_bytes: 1,
        recipients,
    }
}

fn ann() -> ReversePath {
    ReversePath::Address(Address::parse("ann@example.net").unwrap())
}

fn on(success: bool, failure: bool, delay: bool) -> Notify {
    Notify::On { success, failure, delay }
}

#[test]
fn rfc_3461_4_1_a_sender_hears_what_was_asked_for() {
    let cases = [
        (Notify::Default, [true, true, false]),
        (Notify::Never, [false, false, false]),
        (on(false, true, false), [true, false, false]),
        (on(false, false, true), [false, true, false]),
        (on(true, false, false), [false, false, true]),
        (on(true, true, true), [true, true, true]),
    ];
    for (notify, expected) in cases {
        let recipient = recipient(0, State::Failed, notify);
        let heard = [Notice::Failure, Notice::Delay, Notice::Success].map(|notice| wants(&recipient, notice));
        assert_eq!(heard, expected, "{notify:?}");
    }
}

#[test]
fn rfc_3461_5_2_2_a_server_that_notifies_has_the_duty() {
    let mut taken = recipient(0, State::Delivered, on(true, true, true));
    taken.history = vec![Attempt {
        at: UnixMillis::new(0),
        took_millis: 1,
        outcome: Outcome::Delivered { notifies: true },
        status: (2, 0, 0),
        host: None,
        tls: None,
        answer: String::new(),
        answer_is_remote: true,
    }];
    assert!(!wants(&taken, Notice::Success));
}

#[test]
fn recipients_that_ended_are_told_together_and_none_twice() {
    let mut told = recipient(4, State::Failed, Notify::Default);
    told.end_told = true;
    let recipients = vec![
        recipient(0, State::Failed, Notify::Default),
        recipient(1, State::Waiting { due: UnixMillis::new(1) }, Notify::Default),
        recipient(2, State::Failed, Notify::Never),
        recipient(3, State::Failed, Notify::Default),
        told,
        recipient(5, State::Delivered, on(true, false, false)),
        recipient(6, State::Cancelled, Notify::Default),
    ];
    let tellings = ends(&view(ann(), recipients));
    let expected = [
        Telling { notice: Notice::Failure, action: Action::Failed, positions: vec![0, 3], aloud: true },
        Telling { notice: Notice::Failure, action: Action::Failed, positions: vec![2], aloud: false },
        Telling { notice: Notice::Success, action: Action::Relayed, positions: vec![5], aloud: true },
    ];
    assert_eq!(tellings, expected);
}

#[test]
fn rfc_5321_6_1_a_null_sender_is_told_nothing() {
    let tellings = ends(&view(ReversePath::Null, vec![recipient(0, State::Failed, Notify::Default)]));
    assert_eq!(
        tellings,
        [Telling { notice: Notice::Failure, action: Action::Failed, positions: vec![0], aloud: false }]
    );
}
