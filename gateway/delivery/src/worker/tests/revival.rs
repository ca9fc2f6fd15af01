//! Faults in our own code: no group is left without its worker.

use super::{store::Panics, *};

#[tokio::test(start_paused = true)]
async fn a_task_that_dies_is_begun_again_and_nothing_is_lost() {
    let cases = [
        Panics { due: 3, ..Panics::default() },
        Panics { take: 12, ..Panics::default() },
        Panics { settle: 3, ..Panics::default() },
    ];
    for panics in cases {
        let settings = WorkerSettings { recipients_in_memory_max: 100, ..WorkerSettings::default() };
        let fixture = Fixture::with(World::new(|_| Act::Take), settings);
        fixture.store.set_panics(panics);
        // Each death at taking would keep the memory of five recipients.
        for _ in 0..60 {
            fixture.accept(ann(), &["a@one.example"]).await;
        }
        sleep(Duration::from_secs(1200)).await;
        let left = fixture.store.panics();
        assert_eq!((left.due, left.take, left.settle), (0, 0, 0), "{panics:?}: nothing was proved");
        let depth = fixture.depth().await;
        assert_eq!((depth.delivered, depth.uncertain, fixture.world.taken().len()), (60, 0, 60), "{panics:?}");
        fixture.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_the_next_beginning() {
    let fixture = Fixture::new(World::new(|_| Act::Take));
    fixture.store.set_panics(Panics { due: u32::MAX, ..Panics::default() });
    fixture.accept(ann(), &["a@one.example"]).await;
    sleep(Duration::from_secs(300)).await;
    let began = tokio::time::Instant::now();
    fixture.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}
