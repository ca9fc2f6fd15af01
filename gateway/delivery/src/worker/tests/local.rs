//! Recipients of ours whose mail waits in the queue: delivered without a connection, once, and told of.

use securanet_gateway::model::{
    Command, Execute, Freshness, RequestId, UnixMillis,
    account::{AccountAnswer, AccountCommand, AccountQuery, AccountRef, AccountReply, MailboxInfo},
    directory::{Quota, Resolution},
    outbound::{DeliverBy, LOCAL_DESTINATION},
};

use super::{store::account, *};

pub(super) const BOB: &str = "bob@example.org";

async fn change(store: &EngineStore, command: AccountCommand) {
    let id = AccountRef { id: account().account, epoch: account().epoch };
    let request = RequestId::new(uuid::Uuid::new_v4().into_bytes());
    let commands = vec![Command::Account(id, command)];
    let execute = Execute { group: GROUP, request, deadline: UnixMillis::new(0), commands };
    let replies = store.execute(execute).await.unwrap().replies;
    assert_eq!(replies, [securanet_gateway::model::Reply::Account(AccountReply::Done)]);
}

/// Makes the account that all addresses of example.org lead to.
pub(super) async fn provision(store: &EngineStore) {
    let (tenant, domain) = (account().tenant, account().domain);
    change(store, AccountCommand::Provision { tenant, domain, quota: Quota::default() }).await;
}

pub(super) async fn fixture() -> Fixture {
    let fixture = Fixture::new(World::new(|_| Act::Take));
    provision(&fixture.store).await;
    fixture
}

pub(super) async fn inbox(store: &EngineStore) -> MailboxInfo {
    let id = AccountRef { id: account().account, epoch: account().epoch };
    let query = AccountQuery::MailboxByName(securanet_gateway::model::MailboxName::inbox());
    match store.query(GROUP, Query::Account(id, query), Freshness::Now).await.unwrap().answer {
        Answer::Account(AccountAnswer::Mailbox(Some(info))) => *info,
        other => panic!("{other:?}"),
    }
}

pub(super) fn waiting(recipients: &[(&str, Notify)], options: EnvelopeOptions) -> Outbound {
    let recipient = |(text, notify): &(&str, Notify)| OutboundRecipient {
        address: RecipientAddress::parse(text).unwrap(),
        destination: LOCAL_DESTINATION.to_owned(),
        notify: *notify,
        original: None,
    };
    Outbound {
        message: super::store::message(),
        sender: ann(),
        recipients: recipients.iter().map(recipient).collect(),
        options,
        origin: Origin::Local,
        message_id: None,
        trace_id: "trace".to_owned(),
        hold_until: None,
        repeat_key: None,
    }
}

pub(super) async fn put(store: &EngineStore, outbound: Outbound) -> u64 {
    let accept = OutboundCommand::Accept(Box::new(Acceptance { fan_out: Vec::new(), outbound: vec![outbound] }));
    match store.command(accept).await {
        OutboundReply::Accepted(items) => items[0].item,
        other => panic!("{other:?}"),
    }
}

pub(super) const SUCCESS: Notify = Notify::On { success: true, failure: true, delay: false };

/// What the only recipient came to, and what the sender was told last.
async fn end(fixture: &Fixture, item: u64) -> (State, (u8, u16, u16), String) {
    let view = fixture.ended(item).await;
    sleep(Duration::from_secs(60)).await;
    let last = view.recipients[0].history.last().unwrap().clone();
    (view.recipients[0].state, last.status, fixture.store.written().pop().unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn a_recipient_here_is_delivered_without_a_connection_and_its_success_is_told() {
    let fixture = fixture().await;
    let item = put(&fixture.store, waiting(&[(BOB, SUCCESS)], EnvelopeOptions::default())).await;
    let (state, status, told) = end(&fixture, item).await;
    assert_eq!((state, status, fixture.world.opened()), (State::Delivered, (2, 0, 0), 0));
    assert_eq!(inbox(&fixture.store).await.messages, 1);
    assert!(told.contains("Action: delivered\r\nStatus: 2.0.0\r\n"), "{told}");
    let words = told.replace("\r\n", " ");
    assert!(words.contains("was delivered to this recipient.") && !words.contains("handed over"), "{told}");
    assert_eq!(fixture.bounces().await, 1);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_without_a_name_has_no_mailboxes_here() {
    let fixture = fixture().await;
    let item = put(&fixture.store, waiting(&[("bob@[192.0.2.9]", SUCCESS)], EnvelopeOptions::default())).await;
    let (state, status, _) = end(&fixture, item).await;
    assert_eq!((state, status, fixture.world.opened()), (State::Failed, (5, 1, 2), 0));
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn successes_here_and_elsewhere_are_told_apart() {
    let fixture = fixture().await;
    let mut outbound = waiting(&[(BOB, SUCCESS), ("x@one.example", SUCCESS)], EnvelopeOptions::default());
    outbound.recipients[1].destination = "one.example".to_owned();
    let item = put(&fixture.store, outbound).await;
    end(&fixture, item).await;
    let told = fixture.store.written();
    let about = |action: &str, whom: &str| {
        let of = |text: &&String| text.contains(&format!("Action: {action}\r\n")) && text.contains(whom);
        told.iter().filter(of).count()
    };
    assert_eq!((about("delivered", BOB), about("relayed", "x@one.example")), (1, 1), "{told:?}");
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_wants_to_hear_nothing_hears_nothing() {
    let fixture = fixture().await;
    let item = put(&fixture.store, waiting(&[(BOB, Notify::Default)], EnvelopeOptions::default())).await;
    fixture.ended(item).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!((fixture.bounces().await, inbox(&fixture.store).await.messages), (0, 1));
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_whose_outcome_was_lost_is_repeated_and_delivers_nothing_twice() {
    let store = Arc::new(EngineStore::new());
    let world = Arc::new(World::new(|_| Act::Take));
    provision(&store).await;
    store.set_settling(false);
    let (_drain, worker) = start(&store, &world, WorkerSettings::default());
    let item = put(&store, waiting(&[(BOB, SUCCESS)], EnvelopeOptions::default())).await;
    while inbox(&store).await.messages == 0 {
        sleep(Duration::from_millis(100)).await;
    }
    worker.abort();
    store.set_settling(true);
    let (drain, worker) = start(&store, &world, WorkerSettings::default());
    let fixture = Fixture { store, world, drain, worker };
    let view = fixture.ended(item).await;
    assert_eq!((view.recipients[0].state, view.recipients[0].attempts), (State::Delivered, 2));
    assert_eq!(inbox(&fixture.store).await.messages, 1);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_is_gone_meanwhile_bounces_at_once() {
    let cases = [
        (Resolution::Unknown, "5.1.1", (5, 1, 1)),
        (Resolution::Suspended, "5.2.1", (5, 2, 1)),
        (Resolution::Foreign, "5.1.2", (5, 1, 2)),
    ];
    for (resolution, text, expected) in cases {
        let fixture = fixture().await;
        fixture.store.resolve(BOB, resolution);
        let item = put(&fixture.store, waiting(&[(BOB, SUCCESS)], EnvelopeOptions::default())).await;
        let (state, status, told) = end(&fixture, item).await;
        assert_eq!((state, status), (State::Failed, expected));
        assert!(told.contains(&format!("Action: failed\r\nStatus: {text}\r\n")), "{told}");
        assert_eq!(fixture.world.opened(), 0);
        fixture.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_mailbox_is_tried_again_and_a_silent_store_counts_nothing() {
    let fixture = fixture().await;
    let full = |bytes_max| AccountCommand::SetQuota(Quota { bytes_max, messages_max: None });
    change(&fixture.store, full(Some(1))).await;
    let item = put(&fixture.store, waiting(&[(BOB, SUCCESS)], EnvelopeOptions::default())).await;
    while fixture.item(item).await.recipients[0].history.is_empty() {
        sleep(Duration::from_secs(1)).await;
    }
    let first = fixture.item(item).await.recipients.remove(0);
    assert_eq!((first.failures, first.history[0].status), (1, (4, 2, 2)));
    assert_eq!(first.history[0].outcome, Outcome::TemporaryAnswer);
    change(&fixture.store, full(None)).await;
    fixture.store.refuse_content(true);
    sleep(Duration::from_secs(20 * 60)).await;
    let silent = fixture.item(item).await.recipients.remove(0);
    assert!(matches!(silent.history.last().unwrap().outcome, Outcome::NotTried { .. }), "{silent:?}");
    assert_eq!(silent.failures, 1, "a fault of ours is no retry");
    fixture.store.refuse_content(false);
    assert_eq!(end(&fixture, item).await.0, State::Delivered);
    assert_eq!(inbox(&fixture.store).await.messages, 1);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_mailbox_bounces_at_once_where_policy_says_552() {
    let fixture = fixture().await;
    fixture.store.set_policy("smtp.over_quota_reply", "552");
    change(&fixture.store, AccountCommand::SetQuota(Quota { bytes_max: Some(1), messages_max: None })).await;
    let item = put(&fixture.store, waiting(&[(BOB, SUCCESS)], EnvelopeOptions::default())).await;
    let (state, status, _) = end(&fixture, item).await;
    assert_eq!((state, status), (State::Failed, (5, 2, 2)));
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn rfc_2852_what_was_held_beyond_its_time_is_returned() {
    let fixture = fixture().await;
    let deliver_by = Some(DeliverBy { by: fixture.store.clock()().plus_millis(60_000), or_return: true, trace: false });
    let options = EnvelopeOptions { deliver_by, ..EnvelopeOptions::default() };
    let mut outbound = waiting(&[(BOB, SUCCESS)], options);
    outbound.hold_until = Some(fixture.store.clock()().plus_millis(120_000));
    let item = put(&fixture.store, outbound).await;
    let (state, status, _) = end(&fixture, item).await;
    assert_eq!((state, status, inbox(&fixture.store).await.messages), (State::Failed, (5, 4, 7), 0));
    fixture.stop().await;
}
