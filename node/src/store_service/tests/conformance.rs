//! What holds of each store, near or far.

use std::{sync::Arc, time::Duration};

use securanet_gateway::{
    client::StoreClient,
    deposit::recipient_prefix,
    model::{
        AccountId, Answer, Command, EmailId, Freshness, GroupId, Query, ReversePath, StoreError, TenantId, Uid,
        account::{AccountAnswer, AccountCommand, AccountQuery, UidSet},
        content::Sealed,
        delivery::{Deliver, DeliverTo, QuotaRule},
        directory::DirectoryQuery,
        request::Topic,
    },
    store::{Answered, Content, Store},
};
use tokio::time::timeout;

use super::world::{Far, Owner, PATIENCE, World, append, appended, count, eventually, owner, put, request};

/// Both stores of a world, each with an owner of its own.
async fn both() -> (World, Far, Vec<(&'static str, Arc<dyn Store>, Owner)>) {
    let world = World::new().await;
    let served = world.serve("127.0.0.1:0", "store").await;
    let far = world.far(&[served.address.to_string()]).reached().await;
    let stores: [(&str, Arc<dyn Store>); 2] = [("near", world.near()), ("far", far.store.clone())];
    let mut subjects = Vec::new();
    for (name, store) in stores {
        let owner = owner(&store, &format!("{name}.example")).await;
        subjects.push((name, store, owner));
    }
    // It lives as long as the test: nobody tells it to stop.
    std::mem::forget(served);
    (world, far, subjects)
}

/// Text, or what is like nothing else and so becomes a part of its own on disk.
fn message(octets: usize) -> Vec<u8> {
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut message = b"From: a@b.example\r\nSubject: x\r\nMessage-ID: <x@y>\r\n\r\n".to_vec();
    while message.len() < octets {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        message.extend_from_slice(format!("{random:016x} {:016x}\r\n", random.rotate_left(13)).as_bytes());
    }
    message
}

async fn email_of(store: &Arc<dyn Store>, owner: &Owner, uid: u32) -> (EmailId, Option<Sealed>) {
    let uids = UidSet::from_uids([Uid::new(uid)]);
    let query = AccountQuery::Messages { mailbox: owner.inbox, uids, with_summary: true, rows_max: 1 };
    match StoreClient::new(store.clone()).ask_account(owner.place, query).await {
        Ok(AccountAnswer::Messages(mut messages)) => {
            let message = messages.remove(0);
            (message.state.email, message.summary)
        }
        other => panic!("{other:?}"),
    }
}

async fn whole(content: &dyn Content) -> Vec<u8> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < content.size_bytes() {
        let at = bytes.len() as u64;
        let piece = content.read(at..u64::MAX).await.expect("a piece");
        assert!(!piece.is_empty() && piece.len() <= 1 << 20, "{} octets at {at}", piece.len());
        bytes.extend_from_slice(&piece);
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_and_named_can_be_read_in_any_part() {
    let (world, _far, subjects) = both().await;
    for (name, store, owner) in &subjects {
        for octets in [10, 70_000, 3_000_000] {
            let text = message(octets);
            let ingested = put(store, &text).await.expect("taken in");
            assert_eq!(ingested.message_id.as_deref(), Some("<x@y>"), "{name}");
            let uid = appended(store.execute(append(owner, ingested)).await);
            let (email, summary) = email_of(store, owner, uid).await;
            assert!(summary.is_some_and(|summary| summary.key.get() == 0), "{name}: a summary is plain");
            let content = store.open(owner.place.group, owner.place.account, email).await.expect("open");
            let expected = [b"Received: here\r\n", &text[..]].concat();
            assert_eq!(content.size_bytes(), expected.len() as u64, "{name}");
            assert_eq!(whole(content.as_ref()).await, expected, "{name}: {octets} octets");
            let size = content.size_bytes();
            for range in [0..0, 5..9, 65_530..65_545, size - 3..size + 9, size..size + 1, size + 5..u64::MAX, 9..size] {
                let end = range.end.min(size).max(range.start.min(size));
                let start = range.start.min(end);
                let end = end.min(start + (1 << 20));
                let part = &expected[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()];
                assert_eq!(content.read(range.clone()).await.expect("a part"), part, "{name}: {range:?}");
            }
        }
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_stays_readable_although_it_is_expunged() {
    let (world, _far, subjects) = both().await;
    for (name, store, owner) in &subjects {
        let text = message(2_500_000);
        let ingested = put(store, &text).await.expect("taken in");
        let uid = appended(store.execute(append(owner, ingested)).await);
        let (email, _) = email_of(store, owner, uid).await;
        let content = store.open(owner.place.group, owner.place.account, email).await.expect("open");
        let uids = UidSet::from_uids([Uid::new(uid)]);
        let expunge = AccountCommand::Expunge { mailbox: owner.inbox, uids, deleted_only: false };
        store
            .execute(request(owner.place.group, Command::Account(owner.place.account, expunge)))
            .await
            .expect("expunged");
        assert!(whole(content.as_ref()).await.ends_with(&text[1_000_000..]), "{name}");
        let again = store.open(owner.place.group, owner.place.account, email).await;
        assert_eq!(again.err(), Some(StoreError::NotFound), "{name}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipients_fields_stand_before_the_message() {
    let (world, _far, subjects) = both().await;
    for (name, store, owner) in &subjects {
        let ingested = put(store, &message(100)).await.expect("taken in");
        let prefix = recipient_prefix(&ReversePath::Null, &"ann");
        let to = DeliverTo {
            account: owner.place.account,
            folder: None,
            prefix: Sealed::plain(1, prefix.clone()),
            prefix_size_bytes: prefix.len() as u64,
            repeat_key: None,
        };
        let deliver = Deliver { key: None, message: ingested.message, to: vec![to], quota: QuotaRule::Admitted };
        store.execute(request(owner.place.group, Command::Deliver(deliver))).await.expect("delivered");
        let (email, _) = email_of(store, owner, 1).await;
        let content = store.open(owner.place.group, owner.place.account, email).await.expect("open");
        assert!(whole(content.as_ref()).await.starts_with(&prefix), "{name}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_applied_once_however_often_it_is_sent() {
    let (world, _far, subjects) = both().await;
    for (name, store, owner) in &subjects {
        let append = append(owner, put(store, &message(100)).await.expect("taken in"));
        let first = store.execute(append.clone()).await.expect("committed");
        let again = store.execute(append).await.expect("committed");
        assert_eq!(first.replies, again.replies, "{name}");
        assert_eq!(count(store, owner).await, 1, "{name}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_to_be_not_there() {
    let (world, _far, subjects) = both().await;
    let nowhere = GroupId::new(99);
    for (name, store, owner) in &subjects {
        let start = tokio::time::Instant::now();
        let gone = Some(StoreError::NoGroup(nowhere));
        let command = Command::Account(owner.place.account, AccountCommand::Remove);
        assert_eq!(store.execute(request(nowhere, command)).await.err(), gone, "{name}");
        assert_eq!(store.query(nowhere, Query::Totals, Freshness::Now).await.err(), gone, "{name}");
        let open = store.open(owner.place.group, owner.place.account, EmailId::new(7)).await;
        assert_eq!(open.err(), Some(StoreError::NotFound), "{name}");
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{name}: nobody else could have it, after {:?}",
            start.elapsed()
        );
        assert_eq!(store.open_outbound(owner.place.group, 7).await.err(), Some(StoreError::NotFound), "{name}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_wakes_who_watches_it_and_nobody_else() {
    let (world, _far, subjects) = both().await;
    for (name, store, owner) in &subjects {
        let mut changes = store.watch(Topic::Account(owner.place.account.id));
        let mut others = store.watch(Topic::Account(AccountId::new(999)));
        if *name == "far" {
            // The store has begun to tell of both.
            timeout(PATIENCE, changes.changed()).await.expect("in time").expect("woken");
            timeout(PATIENCE, others.changed()).await.expect("in time").expect("woken");
        }
        for _ in 0..3 {
            let before = *changes.borrow_and_update();
            let ingested = put(store, &message(100)).await.expect("taken in");
            appended(store.execute(append(owner, ingested)).await);
            timeout(Duration::from_secs(1), changes.changed()).await.expect("within a second").expect("woken");
            assert!(*changes.borrow() > before, "{name}: a waking is told from the one before");
        }
        assert!(!others.has_changed().expect("watched"), "{name}: nothing changed there");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_elsewhere_wakes_too() {
    let (world, _far, subjects) = both().await;
    let [(_, near, owner), (_, far, _)] = &subjects[..] else { panic!("two stores") };
    let mut changes = far.watch(Topic::Account(owner.place.account.id));
    timeout(PATIENCE, changes.changed()).await.expect("in time").expect("woken");
    changes.borrow_and_update();
    let ingested = put(near, &message(100)).await.expect("taken in");
    appended(near.execute(append(owner, ingested)).await);
    timeout(Duration::from_secs(1), changes.changed()).await.expect("within a second").expect("woken");
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_at_a_time_are_answered_each_with_its_own() {
    let (world, _far, subjects) = both().await;
    for (name, store, owner) in &subjects {
        let ingested = put(store, &message(100)).await.expect("taken in");
        let appends = (0..300).map(|_| store.execute(append(owner, ingested.clone())));
        let mut uids: Vec<u32> = futures::future::join_all(appends).await.into_iter().map(appended).collect();
        uids.sort_unstable();
        assert_eq!(uids, (1..=300).collect::<Vec<_>>(), "{name}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_given_up_leaves_nothing_held() {
    let world = World::with("message_size_bytes_max = 1_000_000\ntransit_memory_bytes_max = 17_777_216\n").await;
    let served = world.serve("127.0.0.1:0", "store").await;
    let far = world.far(&[served.address.to_string()]).reached().await;
    let stores: [(&str, Arc<dyn Store>); 2] = [("near", world.near()), ("far", far.store.clone())];
    for (name, store) in stores {
        // Far more than the memory set aside for messages, were any of it kept.
        for _ in 0..40 {
            let mut sink = store.put(TenantId::new(1), Vec::new(), Some(900_000)).await.expect("begun");
            sink.write(&message(800_000)).await.expect("taken");
        }
        put(&store, &message(900_000)).await.expect("there is room");
        let too_large = put(&store, &message(3_000_000)).await;
        assert_eq!(too_large.err(), Some(StoreError::TooLarge { limit_bytes: 1_000_000 }), "{name}");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_takes_nothing_in_and_says_so() {
    let world = World::with("disk_reserve_bytes = 9_000_000_000_000_000_000\n").await;
    let served = world.serve("127.0.0.1:0", "store").await;
    let far = world.far(&[served.address.to_string()]).reached().await;
    let full = StoreError::DiskFull { reserve_bytes: 9_000_000_000_000_000_000 };
    let stores: [(&str, Arc<dyn Store>); 2] = [("near", world.near()), ("far", far.store.clone())];
    for (name, store) in stores {
        assert_eq!(store.accepting(), Err(full.clone()), "{name}");
        assert_eq!(put(&store, b"x").await.err(), Some(full.clone()), "{name}");
        let asked = store.query(GroupId::DIRECTORY, Query::Directory(DirectoryQuery::Cluster), Freshness::Now).await;
        assert!(matches!(asked, Ok(Answered { answer: Answer::Directory(_), .. })), "{name}: reads go on");
    }
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_goes_down_is_not_the_gateway_going_down() {
    let world = World::new().await;
    let served = world.serve("127.0.0.1:0", "store").await;
    let far = world.far(&[served.address.to_string()]).reached().await;
    assert_eq!(far.store.accepting(), Ok(()));
    world.drain.begin();
    assert_eq!(world.near().accepting(), Err(StoreError::Draining));
    eventually("the gateway hears of it", || far.store.accepting().is_err()).await;
    assert!(matches!(far.store.accepting(), Err(StoreError::Unavailable(_))), "{:?}", far.store.accepting());
    world.close().await;
}
