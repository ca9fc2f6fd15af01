//! Several stores of which not all can answer: who is asked, and when another is.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use securanet_gateway::{
    clock,
    model::request::Totals,
    model::{
        Answer, EmailId, Execute, Freshness, GroupId, Query, StoreError, TenantId, account::AccountRef, request::Topic,
    },
    store::{Answered, BoxFuture, Content, ContentSink, Executed, Store},
};
use tempfile::TempDir;
use tokio::{sync::watch, time::Instant};

use super::world::{Far, Served, credentials};

/// What a store does when it is asked.
#[derive(Clone, Debug)]
enum Does {
    Answer,
    Say(StoreError),
    Hang,
}

/// A store that does as it is told; the last word holds for ever.
struct Scripted {
    script: Mutex<VecDeque<Does>>,
    asked: Mutex<Vec<Instant>>,
    changes: watch::Sender<u64>,
}

impl Scripted {
    fn new(script: impl IntoIterator<Item = Does>) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(script.into_iter().collect()),
            asked: Mutex::default(),
            changes: watch::Sender::new(0),
        })
    }

    fn asked(&self) -> usize {
        self.asked.lock().expect("asked").len()
    }

    async fn act(&self) -> Result<(), StoreError> {
        self.asked.lock().expect("asked").push(Instant::now());
        let next = {
            let mut script = self.script.lock().expect("script");
            let next = script.front().cloned().expect("something to do");
            if script.len() > 1 {
                script.pop_front();
            }
            next
        };
        match next {
            Does::Answer => Ok(()),
            Does::Say(error) => Err(error),
            Does::Hang => std::future::pending().await,
        }
    }
}

impl Store for Scripted {
    fn execute(&self, _: Execute) -> BoxFuture<'_, Result<Executed, StoreError>> {
        Box::pin(async { self.act().await.map(|()| Executed { replies: Vec::new(), index: 7 }) })
    }

    fn query(&self, _: GroupId, _: Query, _: Freshness) -> BoxFuture<'_, Result<Answered, StoreError>> {
        Box::pin(async move {
            self.act().await?;
            Ok(Answered { answer: Answer::Totals(Totals::default()), index: 0 })
        })
    }

    fn watch(&self, _: Topic) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn put(&self, _: TenantId, _: Vec<u8>, _: Option<u64>) -> BoxFuture<'_, Result<Box<dyn ContentSink>, StoreError>> {
        Box::pin(async { Err(StoreError::Busy) })
    }

    fn open(&self, _: GroupId, _: AccountRef, _: EmailId) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        Box::pin(async { Err(StoreError::NotFound) })
    }

    fn open_outbound(&self, _: GroupId, _: u64) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        Box::pin(async { Err(StoreError::NotFound) })
    }

    fn accepting(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Stores named a, b, ... and a gateway that has reached them all.
struct Cluster {
    _folder: TempDir,
    _served: Vec<Served>,
    far: Far,
}

impl Cluster {
    async fn of(stores: &[&Arc<Scripted>]) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let mut served = Vec::new();
        for (store, name) in stores.iter().zip(["a", "b", "c"]) {
            served.push(Served::start("127.0.0.1:0", credentials(folder.path(), name), (*store).clone()).await);
        }
        let addresses: Vec<_> = served.iter().map(|served| served.address.to_string()).collect();
        let far = Far::new(credentials(folder.path(), "gateway"), &addresses).reached().await;
        Self { _folder: folder, _served: served, far }
    }

    async fn ask(&self) -> Result<Answered, StoreError> {
        self.far.store.query(GroupId::new(1), Query::Totals, Freshness::Now).await
    }
}

fn not_leader(leader: Option<&str>) -> Does {
    Does::Say(StoreError::NotLeader { leader: leader.map(str::to_owned) })
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_who_leads_is_followed_at_once_and_remembered() {
    let (a, b, c) =
        (Scripted::new([not_leader(Some("c"))]), Scripted::new([Does::Hang]), Scripted::new([Does::Answer]));
    let cluster = Cluster::of(&[&a, &b, &c]).await;
    let start = Instant::now();
    cluster.ask().await.expect("c answers");
    assert!(start.elapsed() < Duration::from_millis(600), "after {:?}", start.elapsed());
    cluster.ask().await.expect("c answers");
    assert_eq!((a.asked(), b.asked(), c.asked()), (1, 0, 2), "the second time c is asked first");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_is_not_waited_for_alone() {
    let (a, b) = (Scripted::new([Does::Hang]), Scripted::new([Does::Answer]));
    let cluster = Cluster::of(&[&a, &b]).await;
    let start = Instant::now();
    cluster.ask().await.expect("b answers");
    let elapsed = start.elapsed();
    assert!(elapsed >= Duration::from_millis(650) && elapsed < Duration::from_secs(3), "after {elapsed:?}");
    assert_eq!((a.asked(), b.asked()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_now_is_asked_again_later() {
    let unavailable = || Does::Say(StoreError::Unavailable("no quorum".to_owned()));
    let a = Scripted::new([unavailable(), not_leader(None), Does::Say(StoreError::Draining), Does::Answer]);
    let cluster = Cluster::of(&[&a]).await;
    cluster.ask().await.expect("it answers in the end");
    assert_eq!(a.asked(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_point_at_each_other_are_not_asked_without_end() {
    let (a, b) = (Scripted::new([not_leader(Some("b"))]), Scripted::new([not_leader(Some("a"))]));
    let cluster = Cluster::of(&[&a, &b]).await;
    let deadline = clock::now().plus_millis(2_000);
    let request = Execute {
        group: GroupId::new(1),
        request: securanet_gateway::client::request_id(),
        deadline,
        commands: vec![securanet_gateway::model::Command::Directory(
            securanet_gateway::model::directory::DirectoryCommand::DeleteDomain {
                name: securanet_gateway::model::DomainName::parse("a.example").expect("a name"),
            },
        )],
    };
    let start = Instant::now();
    let outcome = cluster.far.store.execute(request).await;
    assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "protocols never see who leads: {outcome:?}");
    assert!(start.elapsed() >= Duration::from_millis(1_800), "its deadline was not used: {:?}", start.elapsed());
    assert!((4..=40).contains(&(a.asked() + b.asked())), "{} and {} times", a.asked(), b.asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_one_store_does_not_have_is_looked_for_at_the_others() {
    let none = || Does::Say(StoreError::NoGroup(GroupId::new(1)));
    let (a, b) = (Scripted::new([none()]), Scripted::new([Does::Answer, none()]));
    let cluster = Cluster::of(&[&a, &b]).await;
    cluster.ask().await.expect("b has it");
    assert_eq!(cluster.ask().await, Err(StoreError::NoGroup(GroupId::new(1))), "now nobody has it");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_final_is_not_asked_for_again() {
    let damaged = StoreError::Damaged("a row".to_owned());
    let (a, b) = (Scripted::new([Does::Say(damaged.clone())]), Scripted::new([Does::Answer]));
    let cluster = Cluster::of(&[&a, &b]).await;
    assert_eq!(cluster.ask().await, Err(damaged));
    assert_eq!((a.asked(), b.asked()), (1, 0));
}
