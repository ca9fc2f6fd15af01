//! The worker against the real engine and a world that does what a test says, in accelerated time.

mod hosts;
mod intending;
mod local;
mod onward;
mod operating;
mod revival;
mod store;
mod timers;
mod world;

use std::{sync::Arc, time::Duration};

use securanet_gateway::{
    client::StoreClient,
    connection::DrainHandle,
    model::{
        AccountId, Address, Answer, Freshness, GroupId, Query, RecipientAddress, ReversePath,
        delivery::{QueueAnswer, QueueQuery},
        outbound::{
            Acceptance, Action, EnvelopeOptions, ItemView, Notify, Origin, Outbound, OutboundAnswer, OutboundCommand,
            OutboundDepth, OutboundQuery, OutboundRecipient, OutboundReply, Outcome, Place, State,
        },
    },
    store::Store,
};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use self::{
    store::EngineStore,
    world::{Act, World},
};
use super::{Clock, Core, Parts, Worker, WorkerSettings};
use crate::report::ReportNames;

const GROUP: GroupId = GroupId::new(1);
const DAY: Duration = Duration::from_secs(86_400);

/// A worker over one shard group.
struct Fixture {
    store: Arc<EngineStore>,
    world: Arc<World>,
    drain: DrainHandle,
    worker: JoinHandle<()>,
}

impl Fixture {
    fn new(world: World) -> Self {
        Self::with(world, WorkerSettings::default())
    }

    fn with(world: World, settings: WorkerSettings) -> Self {
        let store = Arc::new(EngineStore::new());
        let world = Arc::new(world);
        let (drain, worker) = start(&store, &world, settings);
        Self { store, world, drain, worker }
    }

    /// Puts a message into the queue; gives its item.
    async fn accept(&self, sender: ReversePath, recipients: &[&str]) -> u64 {
        accept(&self.store, sender, recipients).await
    }

    async fn item(&self, item: u64) -> ItemView {
        view(&self.store, item).await
    }

    async fn depth(&self) -> OutboundDepth {
        depth(&self.store).await
    }

    /// Reports that went to mailboxes of ours.
    async fn bounces(&self) -> usize {
        bounces(&self.store).await
    }

    /// Waits until all recipients of an item have an end and whoever is to be told was told.
    async fn ended(&self, item: u64) -> ItemView {
        for _ in 0..1_000_000 {
            let view = self.item(item).await;
            if view.recipients.iter().all(|recipient| recipient.end_told || recipient.state == State::Delivered) {
                return view;
            }
            sleep(Duration::from_millis(500)).await;
        }
        panic!("item {item} has no end: {:?}", self.item(item).await);
    }

    async fn stop(self) {
        self.drain.begin();
        timeout(Duration::from_secs(60), self.worker).await.expect("it stops").expect("it does not panic");
    }
}

fn start(store: &Arc<EngineStore>, world: &Arc<World>, settings: WorkerSettings) -> (DrainHandle, JoinHandle<()>) {
    start_at(store, world, settings, store.clock())
}

/// A worker that goes by this clock.
fn start_at(
    store: &Arc<EngineStore>,
    world: &Arc<World>,
    settings: WorkerSettings,
    clock: Clock,
) -> (DrainHandle, JoinHandle<()>) {
    let (drain, shutdown) = DrainHandle::new();
    let names = ReportNames { hostname: "mail.example.org".to_owned() };
    let client = StoreClient::new(store.clone());
    let prefers = Arc::new(|_| true);
    let worker = Worker { parts: Parts { client, wire: world.clone(), settings, names, clock, prefers } };
    (drain, tokio::spawn(worker.run(shutdown)))
}

fn ann() -> ReversePath {
    ReversePath::Address(Address::parse("ann@example.org").unwrap())
}

async fn accept(store: &EngineStore, sender: ReversePath, recipients: &[&str]) -> u64 {
    accept_with(store, sender, recipients, EnvelopeOptions::default()).await
}

async fn accept_with(store: &EngineStore, sender: ReversePath, recipients: &[&str], options: EnvelopeOptions) -> u64 {
    let account = AccountId::new(if sender == ann() { 7 } else { 8 });
    accept_from(store, Origin::Account(account), sender, recipients, options).await
}

async fn accept_from(
    store: &EngineStore,
    origin: Origin,
    sender: ReversePath,
    recipients: &[&str],
    options: EnvelopeOptions,
) -> u64 {
    let recipient = |text: &&str| {
        let address = RecipientAddress::parse(text).unwrap();
        let destination = address.host();
        OutboundRecipient { address, destination, notify: Notify::Default, original: None }
    };
    let outbound = Outbound {
        message: store::message(),
        sender,
        recipients: recipients.iter().map(recipient).collect(),
        options,
        origin,
        message_id: None,
        trace_id: "trace".to_owned(),
        hold_until: None,
        repeat_key: None,
    };
    let accept = OutboundCommand::Accept(Box::new(Acceptance { fan_out: Vec::new(), outbound: vec![outbound] }));
    match store.command(accept).await {
        OutboundReply::Accepted(items) => items[0].item,
        other => panic!("{other:?}"),
    }
}

async fn ask(store: &EngineStore, query: OutboundQuery) -> OutboundAnswer {
    match store.query(GROUP, Query::Outbound(query), Freshness::Now).await.unwrap().answer {
        Answer::Outbound(answer) => answer,
        other => panic!("{other:?}"),
    }
}

async fn view(store: &EngineStore, item: u64) -> ItemView {
    match ask(store, OutboundQuery::Item(item)).await {
        OutboundAnswer::Item(Some(view)) => *view,
        other => panic!("{other:?}"),
    }
}

async fn depth(store: &EngineStore) -> OutboundDepth {
    match ask(store, OutboundQuery::Depth).await {
        OutboundAnswer::Depth(depth) => depth,
        other => panic!("{other:?}"),
    }
}

async fn bounces(store: &EngineStore) -> usize {
    match store.query(GROUP, Query::Queue(QueueQuery::Pending { rows_max: 1000 }), Freshness::Now).await.unwrap().answer
    {
        Answer::Queue(QueueAnswer::Pending(pending)) => pending.len(),
        other => panic!("{other:?}"),
    }
}

fn outcomes(view: &ItemView) -> Vec<Outcome> {
    view.recipients[0].history.iter().map(|attempt| attempt.outcome).collect()
}

#[tokio::test(start_paused = true)]
async fn a_message_is_delivered_once_and_recipients_of_a_domain_together() {
    let fixture = Fixture::new(World::new(|_| Act::Take));
    let item = fixture.accept(ann(), &["a@one.example", "b@one.example", "c@two.example"]).await;
    let view = fixture.ended(item).await;
    assert!(view.recipients.iter().all(|recipient| recipient.state == State::Delivered), "{view:?}");
    let mut taken = fixture.world.taken();
    taken.sort();
    assert_eq!(taken, [vec!["a@one.example", "b@one.example"], vec!["c@two.example"]]);
    assert_eq!(fixture.bounces().await, 0);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_another_site_prefers_is_left_to_it_for_two_seconds() {
    let (store, world) = (Arc::new(EngineStore::new()), Arc::new(World::new(|_| Act::Take)));
    let (drain, shutdown) = DrainHandle::new();
    let parts = Parts {
        client: StoreClient::new(store.clone()),
        wire: world.clone(),
        settings: WorkerSettings::default(),
        names: ReportNames { hostname: "mail.example.org".to_owned() },
        clock: store.clock(),
        prefers: Arc::new(|_| true),
    };
    let worker = tokio::spawn(Worker { parts }.prefers(|group| group != GROUP).run(shutdown));
    sleep(Duration::from_secs(5)).await;
    accept(&store, ann(), &["a@one.example"]).await;
    sleep(Duration::from_millis(1900)).await;
    assert!(world.taken().is_empty(), "it did not wait for the others");
    sleep(Duration::from_millis(600)).await;
    assert_eq!(world.taken().len(), 1, "nobody else took it");
    drain.begin();
    worker.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn p7_five_attempts_at_their_times_then_exactly_one_bounce() {
    let fixture = Fixture::new(World::new(|_| Act::Defer));
    let item = fixture.accept(ann(), &["a@one.example"]).await;
    let view = fixture.ended(item).await;
    assert_eq!(view.recipients[0].state, State::Failed);
    let at: Vec<u64> = view.recipients[0].history.iter().map(|attempt| attempt.at.get() / 60_000).collect();
    let pauses: Vec<u64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses, [15, 120, 1440, 4320], "minutes between the attempts");
    assert_eq!(view.recipients[0].attempts, 5);
    sleep(10 * DAY).await;
    // One told of the delay after four hours, one of the failure.
    assert_eq!(fixture.bounces().await, 2);
    let told = fixture.store.written();
    let failures = told.iter().filter(|text| text.contains("Action: failed")).count();
    let delays = told.iter().filter(|text| text.contains("Action: delayed")).count();
    assert_eq!((failures, delays), (1, 1));
    assert!(told.iter().any(|text| text.contains("450 4.2.1 come back later")), "the remote's words");
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn p7_a_refusal_is_bounced_at_once() {
    let fixture = Fixture::new(World::new(|_| Act::Refuse));
    let item = fixture.accept(ann(), &["a@one.example"]).await;
    let view = fixture.ended(item).await;
    assert_eq!(outcomes(&view), [Outcome::Permanent]);
    assert_eq!(fixture.bounces().await, 1);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn rfc_5321_6_1_a_null_sender_gets_no_bounce() {
    let fixture = Fixture::new(World::new(|_| Act::Refuse));
    let item = fixture.accept(ReversePath::Null, &["a@one.example"]).await;
    fixture.ended(item).await;
    sleep(DAY).await;
    assert_eq!((fixture.bounces().await, fixture.store.written().len()), (0, 0));
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn ten_days_without_resolver_bounce_nothing_and_then_all_is_delivered() {
    let fixture = Fixture::new(World::new(|_| Act::ResolverDead));
    let recipients: Vec<String> = (0..20).map(|at| format!("a@d{at}.example")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let item = fixture.accept(ann(), &recipients).await;
    sleep(10 * DAY).await;
    let view = fixture.item(item).await;
    assert!(view.recipients.iter().all(|recipient| recipient.failures == 0), "our fault counts nothing");
    fixture.world.act(|_| Act::Take);
    let view = fixture.ended(item).await;
    assert!(view.recipients.iter().all(|recipient| recipient.state == State::Delivered));
    let failed = fixture.store.written().iter().filter(|text| text.contains("Action: failed")).count();
    assert_eq!((failed, fixture.world.taken().len()), (0, 20));
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn ten_days_without_uplink_bounce_nothing_and_then_all_is_delivered() {
    let fixture = Fixture::new(World::new(|_| Act::Silent));
    let recipients: Vec<String> = (0..20).map(|at| format!("a@d{at}.example")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let item = fixture.accept(ann(), &recipients).await;
    sleep(10 * DAY).await;
    let view = fixture.item(item).await;
    let failures: Vec<u32> = view.recipients.iter().map(|recipient| recipient.failures).collect();
    assert!(failures.iter().all(|failures| *failures <= 1), "only the first minutes' attempts counted: {failures:?}");
    fixture.world.act(|_| Act::Take);
    let view = fixture.ended(item).await;
    assert!(view.recipients.iter().all(|recipient| recipient.state == State::Delivered));
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn rfc_1047_a_connection_lost_after_the_final_dot_is_uncertain_and_waits() {
    let fixture = Fixture::new(World::new(|_| Act::LoseAfterDot));
    let item = fixture.accept(ann(), &["a@one.example"]).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(fixture.world.taken().len(), 1, "the remote has it, we do not know");
    fixture.world.act(|_| Act::Take);
    sleep(Duration::from_secs(9 * 60)).await;
    assert_eq!(fixture.world.taken().len(), 1, "it is not repeated within ten minutes");
    let view = fixture.ended(item).await;
    assert_eq!((view.recipients[0].state, view.recipients[0].uncertain), (State::Delivered, 1));
    assert_eq!((fixture.world.taken().len(), fixture.depth().await.uncertain), (2, 1));
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn p4_a_lease_that_cannot_be_renewed_breaks_off_what_has_not_passed_its_dot() {
    let fixture = Fixture::new(World::new(|_| Act::TakeSlowly(Duration::from_secs(30))));
    let item = fixture.accept(ann(), &["a@one.example"]).await;
    sleep(Duration::from_secs(1)).await;
    fixture.store.set_available(false);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(fixture.world.broken_off(), 1, "without a lease nothing is sent");
    fixture.world.act(|_| Act::Take);
    fixture.store.set_available(true);
    let view = fixture.ended(item).await;
    assert_eq!((view.recipients[0].state, view.recipients[0].uncertain), (State::Delivered, 0));
    assert_eq!(fixture.world.taken().len(), 1);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn p4_what_a_dead_worker_had_is_taken_over_within_ten_seconds() {
    let fixture = Fixture::new(World::new(|_| Act::TakeSlowly(Duration::from_secs(3600))));
    let item = fixture.accept(ann(), &["a@one.example"]).await;
    sleep(Duration::from_secs(1)).await;
    fixture.worker.abort();
    fixture.world.act(|_| Act::Take);
    let (drain, second) = start(&fixture.store, &fixture.world, WorkerSettings::default());
    sleep(Duration::from_secs(10)).await;
    let view = fixture.item(item).await;
    assert_eq!((view.recipients[0].state, view.recipients[0].uncertain), (State::Delivered, 0), "{view:?}");
    drain.begin();
    second.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_outcome_is_told_until_the_store_has_it() {
    let fixture = Fixture::new(World::new(|_| Act::AnswerSlowly(Duration::from_secs(2))));
    let item = fixture.accept(ann(), &["a@one.example"]).await;
    sleep(Duration::from_millis(1500)).await;
    fixture.store.set_available(false);
    sleep(Duration::from_secs(120)).await;
    fixture.store.set_available(true);
    let view = fixture.ended(item).await;
    assert_eq!((view.recipients[0].state, view.recipients[0].uncertain), (State::Delivered, 0));
    assert_eq!(fixture.world.taken().len(), 1, "not repeated");
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_cancelled_on_its_way_does_not_pass_its_dot() {
    let fixture = Fixture::new(World::new(|_| Act::TakeSlowly(Duration::from_secs(3))));
    let item = fixture.accept(ann(), &["a@one.example", "b@one.example"]).await;
    sleep(Duration::from_secs(1)).await;
    let places = vec![Place { item, position: 0 }];
    let cancel = OutboundCommand::Operate { places, action: Action::Cancel };
    assert_eq!(fixture.store.command(cancel).await, OutboundReply::Operated(vec![true]));
    sleep(Duration::from_secs(30)).await;
    let states = fixture.item(item).await.recipients.into_iter().map(|recipient| recipient.state);
    assert_eq!(states.collect::<Vec<_>>(), [State::Cancelled, State::Delivered]);
    assert_eq!(fixture.world.taken(), [vec!["b@one.example"]]);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_destination_is_connected_to_once_and_probed_until_it_answers() {
    let fixture = Fixture::new(World::new(|_| Act::Refused));
    for letter in 0..30 {
        fixture.accept(ann(), &[&format!("a{letter}@one.example")]).await;
    }
    sleep(Duration::from_secs(30)).await;
    assert_eq!(fixture.depth().await.waiting, 30);
    assert!(fixture.world.opened() <= 2, "{} connections for thirty letters", fixture.world.opened());
    // The retries wait for fifteen minutes and two hours, the probe finds out before.
    sleep(Duration::from_secs(16 * 60)).await;
    fixture.world.act(|_| Act::Take);
    sleep(Duration::from_secs(30 * 60)).await;
    assert_eq!((fixture.depth().await.delivered, fixture.world.taken().len()), (30, 30));
    assert!(fixture.world.probed() >= 1);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_dead_do_not_delay_the_living() {
    let dead = |at: &str| if at.starts_with("dead") { Act::Hang } else { Act::Take };
    let settings = WorkerSettings { connections_max: 20, recipients_in_memory_max: 200, ..WorkerSettings::default() };
    let fixture = Fixture::with(World::new(dead), settings);
    for number in 0..30 {
        fixture.accept(ann(), &[&format!("a@dead{number}.example")]).await;
    }
    sleep(Duration::from_secs(120)).await;
    let start = tokio::time::Instant::now();
    let item = fixture.accept(ann(), &["a@alive.example"]).await;
    let view = fixture.ended(item).await;
    assert_eq!(view.recipients[0].state, State::Delivered);
    assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_letter_does_not_wait_for_a_mailing() {
    let fixture = Fixture::new(World::new(|_| Act::AnswerSlowly(Duration::from_millis(200))));
    let bulk: Vec<String> = (0..1000).map(|at| format!("r{at}@one.example")).collect();
    let bulk: Vec<&str> = bulk.iter().map(String::as_str).collect();
    let mailer = ReversePath::Address(Address::parse("newsletter@example.org").unwrap());
    for _ in 0..50 {
        fixture.accept(mailer.clone(), &bulk).await;
    }
    sleep(Duration::from_secs(1)).await;
    let start = tokio::time::Instant::now();
    let item = fixture.accept(ann(), &["letter@one.example"]).await;
    fixture.ended(item).await;
    assert!(start.elapsed() < Duration::from_secs(5), "it took {:?}", start.elapsed());
    let delivered = fixture.depth().await.delivered;
    assert!(delivered < 50_001, "the mailing was over before the letter left: nothing was proved");
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stop_breaks_off_before_the_dot_and_waits_behind_it() {
    let slow = |at: &str| match at {
        "before.example" => Act::TakeSlowly(Duration::from_secs(60)),
        _ => Act::AnswerSlowly(Duration::from_secs(5)),
    };
    let fixture = Fixture::new(World::new(slow));
    let before = fixture.accept(ann(), &["a@before.example"]).await;
    let behind = fixture.accept(ann(), &["a@behind.example"]).await;
    sleep(Duration::from_secs(2)).await;
    let (store, world) = (fixture.store.clone(), fixture.world.clone());
    fixture.stop().await;
    assert_eq!(view(&store, behind).await.recipients[0].state, State::Delivered);
    let broken = view(&store, before).await;
    assert!(matches!(broken.recipients[0].state, State::Waiting { .. }), "{broken:?}");
    assert_eq!((broken.recipients[0].failures, world.broken_off()), (0, 1), "a stop counts no retry");
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_held_only_while_there_is_work() {
    let fixture = Fixture::new(World::new(|_| Act::Take));
    let item = fixture.accept(ann(), &["a@one.example"]).await;
    fixture.ended(item).await;
    sleep(Duration::from_secs(120)).await;
    let before = fixture.store.commands();
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(fixture.store.commands(), before, "an idle queue is left alone");
    fixture.stop().await;
}

/// Keeps the compiler honest about what the tests rely on.
#[test]
fn a_core_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Core>();
}
