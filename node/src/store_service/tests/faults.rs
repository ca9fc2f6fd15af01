//! The far store while the way to it breaks: what is asked is answered, once, when the way is there again.

use std::{sync::Arc, time::Duration};

use securanet_gateway::{
    client::StoreClient,
    model::{
        StoreError,
        directory::{DirectoryAnswer, DirectoryQuery},
        request::Topic,
    },
    store::Store,
};
use tokio::time::{Instant, sleep, timeout};

use super::world::{Far, PATIENCE, Proxy, Served, World, append, appended, count, eventually, owner, put};

/// A store behind a proxy, and a gateway that reaches it.
async fn behind_proxy() -> (World, Served, Proxy, Far) {
    let world = World::new().await;
    let served = world.serve("127.0.0.1:0", "store").await;
    let proxy = Proxy::to(served.address).await;
    let far = world.far(&[proxy.address.to_string()]).reached().await;
    (world, served, proxy, far)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_all_the_time_lose_and_double_nothing() {
    let (world, _served, proxy, far) = behind_proxy().await;
    let store: Arc<dyn Store> = far.store.clone();
    let ann = owner(&store, "a.example").await;
    let ingested = put(&store, b"Subject: x\r\n\r\ntext\r\n").await.expect("taken in");
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let appending = (0..20).map(|_| {
        let (store, ingested, stop) = (store.clone(), ingested.clone(), stop.clone());
        tokio::spawn(async move {
            let mut uids = Vec::new();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                uids.push(appended(store.execute(append(&ann, ingested.clone())).await));
            }
            uids
        })
    });
    let appending: Vec<_> = appending.collect();
    for _ in 0..25 {
        sleep(Duration::from_millis(60)).await;
        proxy.cut();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut uids = Vec::new();
    for task in appending {
        uids.extend(timeout(PATIENCE, task).await.expect("in time").expect("no panic"));
    }
    uids.sort_unstable();
    let acknowledged = uids.len() as u64;
    uids.dedup();
    assert!(acknowledged > 100, "only {acknowledged}: nothing was proved");
    assert_eq!(uids.len() as u64, acknowledged, "two requests got one answer");
    assert_eq!(count(&store, &ann).await, acknowledged, "acknowledged and in the mailbox");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_is_given_up_and_the_request_goes_on() {
    let (world, _served, proxy, far) = behind_proxy().await;
    let store: Arc<dyn Store> = far.store.clone();
    let ann = owner(&store, "a.example").await;
    let ingested = put(&store, b"Subject: x\r\n\r\ntext\r\n").await.expect("taken in");
    proxy.silence(true);
    let (asking, append) = (store.clone(), append(&ann, ingested));
    let asked = tokio::spawn(async move { asking.execute(append).await });
    let start = Instant::now();
    eventually("the silence is noticed", || !far.store.unreachable().is_empty()).await;
    assert!(start.elapsed() < Duration::from_secs(6), "noticed after {:?}", start.elapsed());
    assert!(matches!(store.accepting(), Err(StoreError::Unavailable(_))));
    // Old connections end with what they held back; new ones are made.
    proxy.cut();
    proxy.silence(false);
    assert_eq!(appended(timeout(PATIENCE, asked).await.expect("in time").expect("no panic")), 1);
    assert_eq!(count(&store, &ann).await, 1);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_restarts_is_waited_for_and_watches_go_on() {
    let world = World::new().await;
    let served = world.serve("127.0.0.1:0", "store").await;
    let address = served.address.to_string();
    let far = world.far(std::slice::from_ref(&address)).reached().await;
    let store: Arc<dyn Store> = far.store.clone();
    let ann = owner(&store, "a.example").await;
    let mut changes = store.watch(Topic::Account(ann.place.account.id));
    timeout(PATIENCE, changes.changed()).await.expect("in time").expect("woken");
    changes.borrow_and_update();
    served.stop().await;
    eventually("the loss is noticed", || !far.store.unreachable().is_empty()).await;
    // Something changes while nobody can be told.
    let ingested = put(&world.near(), b"Subject: x\r\n\r\ntext\r\n").await.expect("taken in");
    appended(world.near().execute(append(&ann, ingested)).await);
    let client = StoreClient::new(store.clone());
    let asked = tokio::spawn(async move { client.ask_directory(DirectoryQuery::Cluster).await });
    let (putting, text) = (store.clone(), b"Subject: y\r\n\r\ntext\r\n");
    let putting = tokio::spawn(async move { put(&putting, text).await });
    sleep(Duration::from_millis(700)).await;
    assert!(!asked.is_finished() && !putting.is_finished(), "nobody could answer yet");
    let _again = world.serve(&address, "store").await;
    let answer = timeout(PATIENCE, asked).await.expect("in time").expect("no panic");
    assert!(matches!(answer, Ok(DirectoryAnswer::Cluster(Some(_)))), "{answer:?}");
    timeout(PATIENCE, putting).await.expect("in time").expect("no panic").expect("taken in");
    timeout(PATIENCE, changes.changed()).await.expect("in time").expect("what changed meanwhile is told");
    assert_eq!(count(&store, &ann).await, 1);
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_open_for_reading_is_opened_again_after_a_break() {
    let (world, _served, proxy, far) = behind_proxy().await;
    let store: Arc<dyn Store> = far.store.clone();
    let ann = owner(&store, "a.example").await;
    let text = [b"Subject: x\r\n\r\n".to_vec(), b"some text\r\n".repeat(200_000)].concat();
    let ingested = put(&store, &text).await.expect("taken in");
    appended(store.execute(append(&ann, ingested)).await);
    let query = securanet_gateway::model::account::AccountQuery::States {
        mailbox: ann.inbox,
        uids: securanet_gateway::model::account::UidSet::all(),
        rows_max: 1,
    };
    let states = StoreClient::new(store.clone()).ask_account(ann.place, query).await;
    let Ok(securanet_gateway::model::account::AccountAnswer::States(states)) = states else { panic!("{states:?}") };
    let content = store.open(ann.place.group, ann.place.account, states[0].email).await.expect("open");
    let mut at = 0;
    while at < content.size_bytes() {
        proxy.cut();
        let piece = content.read(at..u64::MAX).await.expect("a piece");
        assert!(!piece.is_empty());
        at += piece.len() as u64;
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_store_dies_on_the_way_is_not_taken_in() {
    let (world, _served, proxy, far) = behind_proxy().await;
    let store: Arc<dyn Store> = far.store.clone();
    let mut sink = store.put(securanet_gateway::model::TenantId::new(1), Vec::new(), None).await.expect("begun");
    sink.write(&b"some text\r\n".repeat(20_000)).await.expect("taken");
    proxy.cut();
    let start = Instant::now();
    let error = loop {
        if let Err(error) = sink.write(&b"some text\r\n".repeat(20_000)).await {
            break error;
        }
        assert!(start.elapsed() < PATIENCE, "it takes octets that nobody gets");
    };
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_store_there_is_an_answer_all_the_same() {
    let world = World::new().await;
    let far = world.far(&["127.0.0.1:1".to_owned()]);
    let store: Arc<dyn Store> = far.store.clone();
    assert!(matches!(store.accepting(), Err(StoreError::Unavailable(_))));
    let start = Instant::now();
    let answer = StoreClient::new(store).ask_directory(DirectoryQuery::Cluster).await;
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert!((9..20).contains(&start.elapsed().as_secs()), "after {:?}", start.elapsed());
    world.close().await;
}
