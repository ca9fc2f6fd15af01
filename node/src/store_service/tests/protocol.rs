//! What a peer may say in which order, and what it is told when it does otherwise: raw messages, as a gateway of another
//! release or a broken one would send them.

use std::time::Duration;

use bytes::Bytes;
use securanet_gateway::{
    link::{Expect, Link, Pings},
    model::{EmailId, TenantId, request::Topic},
};
use securanet_wire::{
    content::{self, PutAnswer, PutStep, ReadAnswer, ReadStep, Source},
    proto::{PutFrame, ReadRequest, WatchEvent, WatchRequest, store_client::StoreClient},
    watching::{self, Event, Wish},
};
use tokio::{sync::mpsc, time::timeout};
use tonic::{Code, Response, Status, Streaming, transport::Channel};

use super::world::{Owner, PATIENCE, Served, World, append, appended, owner, put};

async fn peer() -> (World, Served, StoreClient<Channel>) {
    let world = World::new().await;
    let served = world.serve("127.0.0.1:0", "store").await;
    let link = Link::new(world.credentials("gateway"));
    let peer = link.connect(&served.address.to_string(), &Expect::Anyone, Pings::Always).expect("an address");
    (world, served, StoreClient::new(peer.channel()))
}

/// A stream of these; it ends when the sender is dropped.
async fn stream<T: Send + 'static>(
    messages: Vec<T>,
) -> (mpsc::Sender<T>, impl futures::Stream<Item = T> + Send + 'static) {
    let (sender, receiver) = mpsc::channel(16);
    for message in messages {
        sender.send(message).await.expect("room");
    }
    let stream =
        futures::stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    (sender, stream)
}

/// Everything that comes, and how it ended.
async fn all<T>(answers: Result<Response<Streaming<T>>, Status>) -> (Vec<T>, Option<Code>) {
    let mut answers = match answers {
        Ok(answers) => answers.into_inner(),
        Err(status) => return (Vec::new(), Some(status.code())),
    };
    let mut got = Vec::new();
    loop {
        match timeout(PATIENCE, answers.message()).await.expect("in time") {
            Ok(Some(answer)) => got.push(answer),
            Ok(None) => return (got, None),
            Err(status) => return (got, Some(status.code())),
        }
    }
}

fn begin() -> PutFrame {
    content::put_to_wire(PutStep::Begin { tenant: TenantId::new(1), trace: Vec::new(), size_hint_bytes: None })
}

fn octets(count: usize) -> PutFrame {
    content::put_to_wire(PutStep::Bytes(Bytes::from(vec![b'x'; count])))
}

fn end(size_bytes: u64) -> PutFrame {
    content::put_to_wire(PutStep::End(size_bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_whole_or_it_is_not_taken_in() {
    let (world, _served, mut client) = peer().await;
    let cases = [
        (vec![begin(), octets(500), end(500)], None),
        (vec![begin(), octets(500), octets(9), end(500)], Some(Code::InvalidArgument)),
        (vec![begin(), octets(500)], Some(Code::Cancelled)),
        (vec![begin(), begin()], Some(Code::InvalidArgument)),
        (vec![octets(500), end(500)], Some(Code::InvalidArgument)),
        (vec![begin(), octets(content::FRAME_SIZE_BYTES_MAX + 1)], Some(Code::InvalidArgument)),
        (vec![], Some(Code::InvalidArgument)),
    ];
    for (number, (frames, expected)) in cases.into_iter().enumerate() {
        let (sender, frames) = stream(frames).await;
        drop(sender);
        let (answers, code) = all(client.put(frames).await).await;
        let answers: Vec<_> =
            answers.iter().map(|answer| content::put_answer_from_wire(answer).expect("wire")).collect();
        let taken = answers.iter().any(|answer| matches!(answer, PutAnswer::Ingested(_)));
        assert_eq!((code, taken), (expected, expected.is_none()), "case {number}: {answers:?}");
    }
    world.close().await;
}

/// An owner with one message, and where it is.
async fn with_message(world: &World, text: &[u8]) -> Source {
    let ann = owner(&world.near(), "a.example").await;
    deliver(world, &ann, text).await;
    Source::Email(ann.place.group, ann.place.account, EmailId::new(1))
}

async fn deliver(world: &World, owner: &Owner, text: &[u8]) {
    let ingested = put(&world.near(), text).await.expect("taken in");
    appended(world.near().execute(append(owner, ingested)).await);
}

fn steps(steps: &[ReadStep]) -> Vec<ReadRequest> {
    steps.iter().map(content::read_to_wire).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_opened_once_and_then_read() {
    let (world, _served, mut client) = peer().await;
    let source = with_message(&world, &b"some text\r\n".repeat(90_000)).await;
    let open = ReadStep::Open(source, 100);
    let (sender, early) = stream(steps(&[ReadStep::Range(0..5)])).await;
    let (answers, code) = all(client.read(early).await).await;
    assert_eq!((answers.len(), code), (0, Some(Code::InvalidArgument)));
    drop(sender);
    let (sender, twice) = stream(steps(&[open.clone(), open.clone()])).await;
    let (answers, code) = all(client.read(twice).await).await;
    assert_eq!((answers.len(), code), (1, Some(Code::InvalidArgument)));
    drop(sender);
    // All of a range, in frames of which only the last says so.
    let (sender, wanted) = stream(steps(&[open, ReadStep::Range(5..700_005)])).await;
    drop(sender);
    let (answers, code) = all(client.read(wanted).await).await;
    let last = |frame| matches!(content::read_answer_from_wire(frame), Ok(ReadAnswer::Chunk { last: true, .. }));
    let ends: Vec<_> = answers.into_iter().map(last).collect();
    assert_eq!((ends, code), (vec![false, false, false, true], None));
    world.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_message_comes_with_its_size_and_nothing_stays_open() {
    let (world, _served, mut client) = peer().await;
    let source = with_message(&world, b"Subject: x\r\n\r\ntext\r\n").await;
    // Our side stays open: the store closes the stream by itself.
    let (_sender, wanted) = stream(steps(&[ReadStep::Open(source, 1000)])).await;
    let (answers, code) = all(client.read(wanted).await).await;
    let opened = answers.into_iter().map(|frame| content::read_answer_from_wire(frame).expect("wire"));
    let opened: Vec<_> = opened.collect();
    let [ReadAnswer::Opened { size_bytes, head }] = &opened[..] else { panic!("{opened:?}") };
    assert_eq!((code, *size_bytes), (None, head.len() as u64));
    assert!(head.ends_with(b"text\r\n"));
    world.close().await;
}

async fn next(events: &mut Streaming<WatchEvent>) -> Event {
    let event = timeout(PATIENCE, events.message()).await.expect("in time").expect("an event").expect("no end");
    watching::event_from_wire(&event).expect("wire")
}

async fn next_change(events: &mut Streaming<WatchEvent>) -> Topic {
    loop {
        if let Event::Changed(topic) = next(events).await {
            return topic;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_hears_of_the_store_first_then_of_its_wishes_and_of_nothing_it_gave_up() {
    let (world, _served, mut client) = peer().await;
    let ann = owner(&world.near(), "a.example").await;
    let bob = owner(&world.near(), "b.example").await;
    let (wishes, wanted) = stream::<WatchRequest>(Vec::new()).await;
    let mut events = client.watch(wanted).await.expect("watching").into_inner();
    assert_eq!(next(&mut events).await, Event::Status(Ok(())));
    let (first, second) = (Topic::Account(ann.place.account.id), Topic::Account(bob.place.account.id));
    for wish in [Wish::Subscribe(first), Wish::Subscribe(second), Wish::Unsubscribe(first), Wish::Subscribe(second)] {
        wishes.send(watching::wish_to_wire(wish)).await.expect("sent");
    }
    // Each subscription has its answer, also one that holds already; so the first has been given up by now.
    let answers = [next_change(&mut events).await, next_change(&mut events).await, next_change(&mut events).await];
    assert_eq!(answers, [first, second, second]);
    for owner in [&ann, &bob] {
        deliver(&world, owner, b"Subject: x\r\n\r\ntext\r\n").await;
    }
    let told = timeout(Duration::from_secs(1), next_change(&mut events)).await;
    assert_eq!(told.expect("within a second"), second, "the first one was given up");
    world.close().await;
}
