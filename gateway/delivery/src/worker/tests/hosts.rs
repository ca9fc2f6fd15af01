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

#[tokio::test(start_paused = true)]
async fn rfc_8460_3_a_tls_report_alone_is_sent_whatever_its_destination_demands() {
    let fixture = Fixture::new(World::new(|_| Act::Strict));
    let (plain, report) = (Origin::Account(AccountId::new(7)), Origin::TlsReport);
    let accept = async |origin: &Origin, to: &str| {
        let options = EnvelopeOptions::default();
        accept_from(&fixture.store, origin.clone(), ReversePath::Null, &[to], options).await
    };
    // Other mail before it, with it and after it: neither learns of the other, nor uses its connection.
    let before = accept(&plain, "a@one.example").await;
    sleep(Duration::from_secs(1)).await;
    let mut reports = Vec::new();
    let mut others = vec![before];
    for _ in 0..3 {
        reports.push(accept(&report, "tls@one.example").await);
        others.push(accept(&plain, "b@one.example").await);
        others.push(accept(&Origin::Report, "c@one.example").await);
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_secs(1)).await;
    for item in reports {
        assert_eq!(outcomes(&fixture.item(item).await), [Outcome::Delivered { notifies: false }]);
    }
    for item in others {
        assert_eq!(outcomes(&fixture.item(item).await), [Outcome::TemporaryTls]);
    }
    let taken: Vec<String> = fixture.world.taken().into_iter().flatten().collect();
    assert_eq!(taken, ["tls@one.example"; 3]);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_sender_elsewhere_gets_the_bounce_by_the_queue_and_it_requires_tls_as_the_message_did() {
    for require_tls in [false, true] {
        let fixture = Fixture::new(World::new(|at| if at == "one.example" { Act::Refuse } else { Act::Take }));
        let stranger = ReversePath::Address(Address::parse("eve@elsewhere.example").unwrap());
        let options = EnvelopeOptions { require_tls, ..EnvelopeOptions::default() };
        let item = accept_with(&fixture.store, stranger, &["a@one.example"], options).await;
        fixture.ended(item).await;
        let bounce = fixture.ended(item + 1).await;
        assert_eq!(bounce.options.require_tls, require_tls, "RFC 8689 5");
        assert_eq!(fixture.world.taken(), [vec!["eve@elsewhere.example"]]);
        assert_eq!(fixture.bounces().await, 0);
        fixture.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_8689_2_what_requires_tls_comes_back_from_a_destination_whose_hosts_nothing_proves() {
    let fixture = Fixture::new(World::new(|_| Act::Unproven));
    let demanding = EnvelopeOptions { require_tls: true, ..EnvelopeOptions::default() };
    let refused = accept_with(&fixture.store, ann(), &["a@one.example"], demanding.clone()).await;
    let plain = fixture.accept(ann(), &["b@one.example"]).await;
    // A bounce of such mail is not lost for it (section 5).
    let bounce = accept_from(&fixture.store, Origin::Report, ReversePath::Null, &["c@one.example"], demanding).await;
    sleep(Duration::from_secs(1)).await;
    let view = fixture.item(refused).await;
    assert_eq!(outcomes(&view), [Outcome::Permanent]);
    assert_eq!(view.recipients[0].history[0].status, (5, 7, 10));
    for item in [plain, bounce] {
        assert_eq!(outcomes(&fixture.item(item).await), [Outcome::Delivered { notifies: false }]);
    }
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn rfc_5321_4_1_3_a_host_without_a_name_is_a_destination_of_its_own_with_retries_and_a_bounce() {
    let fixture = Fixture::new(World::new(|at| if at == "[192.0.2.9]" { Act::Take } else { Act::Defer }));
    let to = ["fax@[192.0.2.9]", "Scan@[IPv6:::ffff:192.0.2.9]", "fax@[IPv6:2001:db8::9]"];
    let item = fixture.accept(ann(), &to).await;
    let view = fixture.ended(item).await;
    let ends: Vec<_> = view.recipients.iter().map(|recipient| (recipient.state, recipient.attempts)).collect();
    assert_eq!(ends, [(State::Delivered, 1), (State::Delivered, 1), (State::Failed, 5)]);
    let taken = fixture.world.taken();
    assert_eq!(taken, [["fax@[192.0.2.9]", "Scan@[IPv6:::ffff:192.0.2.9]"]], "one host, one transaction");
    sleep(DAY).await;
    let told = fixture.store.written();
    let failed: Vec<_> = told.iter().filter(|text| text.contains("Action: failed")).collect();
    let whom = "Final-Recipient: rfc822; fax@[IPv6:2001:db8::9]\r\n";
    assert!(matches!(failed[..], [text] if text.contains(whom)), "{told:?}");
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_route_goes_before_what_mail_was_queued_with() {
    let fixture = Fixture::new(World::new(|at| if at == "route:one" { Act::Take } else { Act::Refuse }));
    let item = fixture.accept(ann(), &["routed@one.example", "routed@[192.0.2.9]"]).await;
    let view = fixture.ended(item).await;
    assert!(view.recipients.iter().all(|recipient| recipient.state == State::Delivered), "{view:?}");
    assert_eq!(fixture.world.taken().len(), 1, "one destination");
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
