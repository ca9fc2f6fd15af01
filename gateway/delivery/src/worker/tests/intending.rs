//! Intents that gather: each gets its own answer, however many share a commit.

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    super::{
        intending::{self, Intender, Intent},
        lease::Lease,
        queue::{LeaseReply, Queue},
    },
    *,
};
use crate::worker::Core;

/// A letter's question whether its final dot may be passed, and its answer.
type Asked = (Intent, oneshot::Receiver<Vec<bool>>);

/// An item whose recipients are taken.
struct Taken {
    store: Arc<EngineStore>,
    queue: Queue,
    lease: Arc<Lease>,
    item: u64,
}

impl Taken {
    async fn new(recipients: &[&str]) -> Self {
        let store = Arc::new(EngineStore::new());
        let item = accept(&store, ann(), recipients).await;
        let queue = Queue::new(StoreClient::new(store.clone()), GROUP);
        let asked = Instant::now();
        let patience = Duration::from_secs(1);
        let granted = queue.lease(securanet_gateway::model::outbound::WorkerId([1; 16]), None, patience).await.unwrap();
        let LeaseReply::Granted(epoch) = granted else { panic!("no lease") };
        let places = (0..recipients.len() as u32).map(|position| Place { item, position }).collect();
        let taken = queue.take(epoch, places, patience).await.unwrap().unwrap();
        assert!(taken.iter().all(Option::is_some));
        Self { store, queue, lease: Arc::new(Lease::new(epoch, asked)), item }
    }

    fn intent(&self, position: u32, attempt: u32) -> Asked {
        let (answer, answered) = oneshot::channel();
        let places = vec![(Place { item: self.item, position }, attempt)];
        (Intent { lease: self.lease.clone(), places, answer }, answered)
    }

    /// Commits intents that are all in line; how many commits it took.
    async fn commit(&self, intents: Vec<Intent>) -> u64 {
        let (line, dots) = mpsc::channel(intending::LINE_MAX);
        for intent in intents {
            line.send(intent).await.unwrap();
        }
        drop(line);
        let before = self.store.commands();
        let (_drain, shutdown) = DrainHandle::new();
        let parts = Parts {
            client: StoreClient::new(self.store.clone()),
            wire: Arc::new(World::new(|_| Act::Take)),
            settings: WorkerSettings::default(),
            names: ReportNames { hostname: "mail.example.org".to_owned() },
            clock: self.store.clock(),
            prefers: Arc::new(|_| true),
        };
        intending::run(Arc::new(Core::new(parts, shutdown)), Intender::new(self.queue.clone(), dots)).await;
        self.store.commands() - before
    }

    async fn states(&self) -> Vec<State> {
        view(&self.store, self.item).await.recipients.iter().map(|recipient| recipient.state).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn intents_that_are_there_together_are_one_commit_and_each_has_its_own_answer() {
    let taken = Taken::new(&["a@remote.example", "b@remote.example", "c@remote.example"]).await;
    let (first, first_answer) = taken.intent(0, 1);
    let (of_another_attempt, its_answer) = taken.intent(1, 2);
    let (last, last_answer) = taken.intent(2, 1);
    assert_eq!(taken.commit(vec![first, of_another_attempt, last]).await, 1);
    assert_eq!(first_answer.await, Ok(vec![true]));
    assert_eq!(its_answer.await, Ok(vec![false]));
    assert_eq!(last_answer.await, Ok(vec![true]));
    assert!(matches!(taken.states().await[..], [State::Sending { .. }, State::Taken { .. }, State::Sending { .. }]));
}

#[tokio::test(start_paused = true)]
async fn who_has_stopped_waiting_takes_its_intent_along() {
    let taken = Taken::new(&["a@remote.example", "b@remote.example"]).await;
    let (gone, _) = taken.intent(0, 1);
    let (waits, answer) = taken.intent(1, 1);
    taken.commit(vec![gone, waits]).await;
    assert_eq!(answer.await, Ok(vec![true]));
    assert!(matches!(taken.states().await[..], [State::Taken { .. }, State::Sending { .. }]));
}

#[tokio::test(start_paused = true)]
async fn under_an_ended_lease_nothing_is_intended() {
    let taken = Taken::new(&["a@remote.example"]).await;
    let (intent, answer) = taken.intent(0, 1);
    taken.lease.end();
    assert_eq!(taken.commit(vec![intent]).await, 0);
    assert!(answer.await.is_err(), "who hears nothing passes no final dot");
}

#[tokio::test(start_paused = true)]
async fn leases_do_not_mix() {
    let taken = Taken::new(&["a@remote.example", "b@remote.example"]).await;
    let (own, own_answer) = taken.intent(0, 1);
    let (mut foreign, foreign_answer) = taken.intent(1, 1);
    foreign.lease = Arc::new(Lease::new(taken.lease.epoch() + 1, Instant::now()));
    assert_eq!(taken.commit(vec![own, foreign]).await, 2);
    assert_eq!(own_answer.await, Ok(vec![true]));
    assert_eq!(foreign_answer.await, Ok(vec![false]));
}
