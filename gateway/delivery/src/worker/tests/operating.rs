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
    assert_eq!((view.recipients[0].state, fixture.world.opened()), (State::Delivered, 2), "{view:?}");
    assert_eq!(outcomes(&fixture.item(other).await), [Outcome::TemporaryConnection], "it waits for its own time");
    fixture.stop().await;
}
