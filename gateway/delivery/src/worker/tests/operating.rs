//! An operator's word, as the worker hears it.

use super::*;

#[tokio::test(start_paused = true)]
async fn retry_now_connects_however_short_ago_the_destination_could_not_be_reached() {
    let fixture = Fixture::new(World::new(|_| Act::Refused));
    let item = fixture.accept(ann(), &["a@one.example"]).await;
    let other = fixture.accept(ann(), &["b@one.example"]).await;
    sleep(Duration::from_secs(5)).await;
    let failures = |view: &ItemView| view.recipients[0].failures;
    assert_eq!((failures(&fixture.item(item).await), fixture.world.opened()), (1, 1));
    fixture.world.act(|_| Act::Take);
    let places = vec![Place { item, position: 0 }];
    let retry = OutboundCommand::Operate { places, action: Action::RetryNow };
    assert_eq!(fixture.store.command(retry).await, OutboundReply::Operated(vec![true]));
    sleep(Duration::from_secs(5)).await;
    let view = fixture.item(item).await;
    assert_eq!(view.recipients[0].state, State::Delivered, "{view:?}");
    // The queue has seen that the destination lives: what else waits for it need not wait for its own time.
    fixture.ended(other).await;
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn rfc_5321_6_1_a_report_that_cannot_be_delivered_is_dropped_or_told_to_the_postmaster() {
    for (policy, expected) in [("drop", 0), ("postmaster", 1)] {
        let fixture = Fixture::new(World::new(|_| Act::Refuse));
        fixture.store.set_policy("queue.double_bounce", policy);
        let stranger = ReversePath::Address(Address::parse("eve@elsewhere.example").unwrap());
        let item = fixture.accept(stranger, &["a@one.example"]).await;
        fixture.ended(item).await;
        let report = fixture.ended(item + 1).await;
        assert_eq!((report.sender, report.recipients[0].state), (ReversePath::Null, State::Failed));
        sleep(10 * DAY).await;
        let depth = fixture.depth().await;
        assert_eq!((fixture.bounces().await, depth.double_bounces), (expected, 1), "{policy}");
        let told = fixture.store.written();
        let to_postmaster = |text: &&String| text.contains("To: <postmaster@mail.example.org>");
        assert_eq!((told.len(), told.iter().filter(to_postmaster).count()), (1 + expected, expected), "{told:?}");
        fixture.stop().await;
    }
}
