//! Recipients of ours whose mail waited, and whose address sends it on: to whom it leads by then, once, and what is told.

use securanet_gateway::model::{
    TenantId,
    directory::{Destinations, Onward, Resolution},
    outbound::Filter,
};

use super::{
    local::{BOB, SUCCESS, fixture, inbox, provision, put, waiting},
    store::account,
    *,
};

const OWNER: &str = "owner@example.org";

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn onward(by: &str, to: &str) -> Onward {
    Onward {
        address: address(to),
        by: address(by),
        tenant: TenantId::new(1),
        group: GROUP,
        through_list: false,
        list_owner: None,
    }
}

/// The same through a list with an owner.
fn through_list(to: &str) -> Onward {
    Onward { through_list: true, list_owner: Some(address(OWNER)), ..onward(BOB, to) }
}

/// Where the address leads: into the account, or not, and outside.
fn leads(with_account: bool, onward: Vec<Onward>) -> Resolution {
    let accounts = if with_account { vec![account()] } else { Vec::new() };
    Resolution::Local(Destinations { accounts, onward })
}

fn asking(notify: Notify) -> Outbound {
    let mut outbound = waiting(&[(BOB, notify)], EnvelopeOptions::default());
    outbound.recipients[0].original = Some("rfc822;bob@example.org".to_owned());
    outbound
}

/// What was sent on: in whose name, from whom, to whom.
async fn forwards(store: &EngineStore) -> Vec<ItemView> {
    let filter = Filter { ended: true, ..Filter::default() };
    match ask(store, OutboundQuery::Items { filter, before: None, rows_max: 1000 }).await {
        OutboundAnswer::Items(items, _) => {
            items.into_iter().filter(|item| matches!(item.origin, Origin::Forward(_))).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// What senders were told, in order.
fn actions(fixture: &Fixture) -> Vec<String> {
    let written = fixture.store.written();
    let lines = written.iter().flat_map(|text| text.lines());
    lines.filter_map(|line| line.strip_prefix("Action: ")).map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn rfc_3461_5_2_7_success_is_told_for_what_it_was() {
    let without = Notify::On { success: false, failure: true, delay: false };
    let one = || onward(BOB, "x@one.example");
    let cases = [
        // One address under another name: its server tells; that one here does not, so we tell that we gave it away.
        (leads(false, vec![one()]), vec![SUCCESS], vec!["relayed"]),
        (leads(true, vec![one()]), vec![without], vec!["expanded"]),
        (leads(false, vec![one(), onward(BOB, "y@one.example")]), vec![without; 2], vec!["expanded"]),
        (leads(false, vec![through_list("x@one.example")]), vec![Notify::Default], vec!["delivered"]),
    ];
    for (resolution, notify, told) in cases {
        let fixture = fixture().await;
        fixture.store.resolve(BOB, resolution.clone());
        let item = put(&fixture.store, asking(SUCCESS)).await;
        fixture.ended(item).await;
        sleep(Duration::from_secs(60)).await;
        let items = forwards(&fixture.store).await;
        let recipients: Vec<_> = items.iter().flat_map(|item| &item.recipients).map(|view| &view.recipient).collect();
        assert_eq!(recipients.iter().map(|to| to.notify).collect::<Vec<_>>(), notify, "{resolution:?}");
        let passed_on = notify[0] != Notify::Default;
        assert!(recipients.iter().all(|to| to.original.is_some() == passed_on), "{recipients:?}");
        assert_eq!(actions(&fixture), told, "{resolution:?}");
        fixture.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_goes_to_whom_the_address_leads_when_its_time_comes() {
    let fixture = fixture().await;
    fixture.store.resolve(BOB, leads(true, vec![onward(BOB, "before@one.example")]));
    let mut outbound = asking(Notify::Default);
    outbound.hold_until = Some(fixture.store.clock()().plus_millis(60_000));
    let item = put(&fixture.store, outbound).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!((inbox(&fixture.store).await.messages, forwards(&fixture.store).await.len()), (0, 0), "it is held");
    let away = onward("ann@example.org", "away@two.example");
    fixture.store.resolve(BOB, leads(false, vec![onward(BOB, "after@one.example"), away]));
    fixture.ended(item).await;
    sleep(Duration::from_secs(60)).await;
    let mut taken = fixture.world.taken();
    taken.sort();
    assert_eq!(taken, [vec!["after@one.example"], vec!["away@two.example"]]);
    let by: Vec<_> = forwards(&fixture.store).await.into_iter().map(|item| item.origin).collect();
    let of = |text| Origin::Forward(address(text));
    assert_eq!(by, [of("ann@example.org"), of(BOB)], "each in its own name");
    assert_eq!(inbox(&fixture.store).await.messages, 0, "the account keeps no copy any more");
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn its_sender_is_the_lists_owner_or_a_rewritten_one() {
    for (to, starts) in
        [(onward(BOB, "x@one.example"), "<SRS0="), (through_list("x@one.example"), "<owner@example.org>")]
    {
        let fixture = fixture().await;
        fixture.store.resolve(BOB, leads(false, vec![to]));
        let item = put(&fixture.store, asking(Notify::Default)).await;
        fixture.ended(item).await;
        let sender = forwards(&fixture.store).await.remove(0).sender.to_string();
        assert!(sender.starts_with(starts), "{sender}");
        fixture.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_address_has_sent_on_before_it_does_not_send_on_again() {
    for with_account in [true, false] {
        let fixture = fixture().await;
        fixture.store.set_content("Delivered-To: bob@example.org\r\nFrom: ann@example.org\r\n\r\nround\r\n");
        fixture.store.resolve(BOB, leads(with_account, vec![onward(BOB, "x@one.example")]));
        let item = put(&fixture.store, asking(Notify::Default)).await;
        let view = fixture.ended(item).await.recipients.remove(0);
        assert_eq!(forwards(&fixture.store).await.len(), 0, "{view:?}");
        let status = view.history.last().unwrap().status;
        let expected = if with_account { (State::Delivered, (2, 0, 0)) } else { (State::Failed, (5, 4, 6)) };
        assert_eq!((view.state, status), expected, "nobody is told of success for mail that nobody gets");
        // Another address of ours sends it on all the same.
        fixture.store.resolve(BOB, leads(false, vec![onward("ann@example.org", "x@one.example")]));
        let item = put(&fixture.store, asking(Notify::Default)).await;
        fixture.ended(item).await;
        assert_eq!(forwards(&fixture.store).await.len(), 1);
        fixture.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_sent_on_yet_is_sent_on_later_and_nothing_is_delivered_twice() {
    let fixture = fixture().await;
    fixture.store.resolve(BOB, leads(true, vec![onward(BOB, "x@one.example")]));
    let item = put(&fixture.store, asking(SUCCESS)).await;
    fixture.store.close_queue(true);
    while inbox(&fixture.store).await.messages == 0 {
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_secs(300)).await;
    let stuck = fixture.item(item).await.recipients.remove(0);
    assert!(stuck.attempts > 1 && stuck.failures == 0, "tried again, and a fault of ours is no retry: {stuck:?}");
    fixture.store.close_queue(false);
    let view = fixture.ended(item).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(view.recipients[0].state, State::Delivered);
    assert_eq!((inbox(&fixture.store).await.messages, fixture.world.taken().len()), (1, 1));
    assert_eq!(actions(&fixture), ["expanded"]);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_before_its_outcome_is_kept_sends_nothing_on_twice() {
    let store = Arc::new(EngineStore::new());
    let world = Arc::new(World::new(|_| Act::Take));
    provision(&store).await;
    store.resolve(BOB, leads(true, vec![onward(BOB, "x@one.example"), onward("ann@example.org", "y@one.example")]));
    store.set_settling(false);
    let (_drain, worker) = start(&store, &world, WorkerSettings::default());
    let item = put(&store, asking(SUCCESS)).await;
    while forwards(&store).await.len() < 2 {
        sleep(Duration::from_millis(10)).await;
    }
    worker.abort();
    store.set_settling(true);
    let (drain, worker) = start(&store, &world, WorkerSettings::default());
    let fixture = Fixture { store, world, drain, worker };
    let view = fixture.ended(item).await;
    assert_eq!((view.recipients[0].state, view.recipients[0].attempts), (State::Delivered, 2));
    assert_eq!((inbox(&fixture.store).await.messages, forwards(&fixture.store).await.len()), (1, 2));
    assert_eq!(fixture.depth().await.repeats, 2, "the queue knew both");
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_address_that_leads_to_too_many_is_tried_again_until_that_is_put_right() {
    let fixture = fixture().await;
    fixture.store.resolve(BOB, Resolution::TooMany(address("all@example.org")));
    let item = put(&fixture.store, asking(Notify::Default)).await;
    sleep(Duration::from_secs(60)).await;
    let view = fixture.item(item).await.recipients.remove(0);
    let last = view.history.last().unwrap();
    assert_eq!(
        (last.outcome, last.status, inbox(&fixture.store).await.messages),
        (Outcome::TemporaryAnswer, (4, 3, 5), 0)
    );
    assert!(last.answer.contains("all@example.org"), "{last:?}");
    fixture.store.resolve(BOB, leads(true, Vec::new()));
    assert_eq!(fixture.ended(item).await.recipients[0].state, State::Delivered);
    fixture.stop().await;
}
