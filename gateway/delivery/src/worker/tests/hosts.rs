//! What hosts cannot do, and what that says of the destination and of other mail.

use super::*;

#[tokio::test(start_paused = true)]
async fn rfc_6531_3_4_a_header_that_can_be_converted_goes_to_a_host_without_smtputf8() {
    let fixture = Fixture::new(World::new(|_| Act::Ascii));
    fixture.store.set_content("From: ann@example.org\r\nSubject: gr\u{fc}n\r\n\r\nIt works.\r\n");
    let said = EnvelopeOptions { utf8: true, ..EnvelopeOptions::default() };
    let item = accept_with(&fixture.store, ann(), &["a@one.example"], said).await;
    let view = fixture.ended(item).await;
    assert_eq!(view.recipients[0].state, State::Delivered, "{view:?}");
    let (utf8, text) = fixture.world.content().remove(0);
    assert!(!utf8 && text.is_ascii() && text.contains("=?utf-8?"), "{text}");
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn rfc_6531_3_4_a_raw_utf8_header_demands_smtputf8_whatever_the_envelope_said() {
    let fixture = Fixture::new(World::new(|_| Act::Take));
    fixture.store.set_content("From: ann@example.org\r\nSubject: gr\u{fc}n\r\n\r\nIt works.\r\n");
    let item = fixture.accept(ann(), &["a@one.example"]).await;
    fixture.ended(item).await;
    let (utf8, text) = fixture.world.content().remove(0);
    assert!(utf8 && text.contains("Subject: gr\u{fc}n"), "{text}");
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn rfc_8689_mail_that_must_have_tls_says_nothing_of_other_mail_for_a_host_without() {
    let fixture = Fixture::new(World::new(|_| Act::NoTls));
    let demanding = EnvelopeOptions { require_tls: true, ..EnvelopeOptions::default() };
    let demanding = accept_with(&fixture.store, ann(), &["a@one.example"], demanding).await;
    let before = fixture.accept(ann(), &["b@one.example"]).await;
    sleep(Duration::from_secs(1)).await;
    let after = fixture.accept(ann(), &["c@one.example"]).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(outcomes(&fixture.item(demanding).await), [Outcome::TemporaryTls]);
    for plain in [before, after] {
        assert_eq!(outcomes(&fixture.item(plain).await), [Outcome::Delivered { notifies: false }]);
    }
    fixture.stop().await;
}

/// How a message for `to` ends where the destination has two hosts.
async fn with_two_hosts(content: Option<&'static str>, to: &str, first: Act, second: Act) -> (Fixture, ItemView) {
    let hosts = move |at: &str| match at {
        "first" => first,
        "second" => second,
        _ => Act::Hosts(&["first", "second"]),
    };
    let fixture = Fixture::new(World::new(hosts));
    if let Some(content) = content {
        fixture.store.set_content(content);
    }
    let item = fixture.accept(ann(), &[to]).await;
    sleep(Duration::from_secs(1)).await;
    let view = fixture.item(item).await;
    (fixture, view)
}

#[tokio::test(start_paused = true)]
async fn what_one_host_can_never_do_is_asked_of_the_next_one() {
    let delivered = Outcome::Delivered { notifies: false };
    let unwordable = "From: j\u{fc}rgen@example.org\r\nSubject: hello\r\n\r\nIt works.\r\n";
    let cases = [
        // An address that needs SMTPUTF8: the client refuses for the host.
        (None, "b\u{fc}b@one.example", Act::Ascii, Act::Take, delivered),
        // A header that cannot be written for it: nothing is asked of the host.
        (Some(unwordable), "bob@one.example", Act::Ascii, Act::Take, delivered),
        (Some(unwordable), "bob@one.example", Act::Ascii, Act::Ascii, Outcome::Permanent),
        // The other one could do it and is not there now, whichever comes first.
        (Some(unwordable), "bob@one.example", Act::Ascii, Act::Refused, Outcome::TemporaryConnection),
        (Some(unwordable), "bob@one.example", Act::Refused, Act::Ascii, Outcome::TemporaryConnection),
        // What a host says itself of the message is final.
        (None, "bob@one.example", Act::Refuse, Act::Take, Outcome::Permanent),
    ];
    for (content, to, first, second, expected) in cases {
        let (fixture, view) = with_two_hosts(content, to, first, second).await;
        assert_eq!(outcomes(&view), [expected], "{first:?}, {second:?}: {view:?}");
        fixture.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_lacks_something_keeps_its_other_mail_going() {
    let fixture = Fixture::new(World::new(|_| Act::Ascii));
    let refused = fixture.accept(ann(), &["b\u{fc}b@one.example"]).await;
    let plain = fixture.accept(ann(), &["bob@one.example"]).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(outcomes(&fixture.item(refused).await), [Outcome::Permanent]);
    assert_eq!(outcomes(&fixture.item(plain).await), [Outcome::Delivered { notifies: false }]);
    assert_eq!(fixture.world.opened(), 1, "one connection was good for both");
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn p4_what_a_lost_lease_had_in_flight_is_dropped_wherever_it_is() {
    let long = Duration::from_secs(3600);
    for (act, slow_content) in [(Act::SlowDns(long), Duration::ZERO), (Act::Take, long), (Act::Hang, Duration::ZERO)] {
        let fixture = Fixture::new(World::new(move |_| act));
        fixture.store.set_slow_content(slow_content);
        let item = fixture.accept(ann(), &["a@one.example"]).await;
        sleep(Duration::from_secs(1)).await;
        fixture.store.set_available(false);
        sleep(Duration::from_secs(10)).await;
        fixture.world.act(|_| Act::Take);
        fixture.store.set_slow_content(Duration::ZERO);
        fixture.store.set_available(true);
        sleep(Duration::from_secs(15)).await;
        let view = fixture.item(item).await;
        assert_eq!(
            (view.recipients[0].state, view.recipients[0].uncertain),
            (State::Delivered, 0),
            "{act:?}: {view:?}"
        );
        assert_eq!(fixture.world.taken().len(), 1);
        fixture.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_cancelled_before_it_was_read_is_no_fault() {
    let fixture = Fixture::new(World::new(|_| Act::Take));
    fixture.store.set_slow_content(Duration::from_secs(3));
    let item = fixture.accept(ann(), &["a@one.example"]).await;
    sleep(Duration::from_secs(1)).await;
    let places = vec![Place { item, position: 0 }];
    let cancel = OutboundCommand::Operate { places, action: Action::Cancel };
    assert_eq!(fixture.store.command(cancel).await, OutboundReply::Operated(vec![true]));
    sleep(Duration::from_secs(30)).await;
    let [recipient] = fixture.item(item).await.recipients.try_into().unwrap();
    assert_eq!(recipient.state, State::Cancelled);
    let [attempt] = recipient.history.as_slice() else { panic!("{recipient:?}") };
    assert_eq!(attempt.answer, "it was given up before it was sent", "not that it cannot be read");
    assert!(fixture.world.taken().is_empty());
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_died_meanwhile_is_replaced_without_a_word() {
    let fixture = Fixture::new(World::new(|_| Act::TakeThenDie));
    for letter in 0..3 {
        let item = fixture.accept(ann(), &[&format!("a{letter}@one.example")]).await;
        let view = fixture.ended(item).await;
        assert_eq!(outcomes(&view), [Outcome::Delivered { notifies: false }]);
    }
    fixture.stop().await;
}
