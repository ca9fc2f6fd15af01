//! Timers: what must not wait for what.

use super::*;

#[tokio::test(start_paused = true)]
async fn p4_probes_of_the_dead_do_not_delay_a_take_over() {
    let hang = |at: &str| if at.starts_with("dead") { Act::Hang } else { Act::TakeSlowly(DAY) };
    let fixture = Fixture::new(World::new(hang));
    for number in 0..100 {
        fixture.accept(ann(), &[&format!("a@dead{number}.example")]).await;
    }
    // All have failed and their probes are due, more of them than are made at a time.
    while fixture.world.probed() < 32 {
        sleep(Duration::from_secs(1)).await;
    }
    let item = fixture.accept(ann(), &["a@one.example"]).await;
    sleep(Duration::from_secs(1)).await;
    fixture.worker.abort();
    fixture.world.act(|at| if at.starts_with("dead") { Act::Hang } else { Act::Take });
    let (drain, second) = start(&fixture.store, &fixture.world, WorkerSettings::default());
    let began = fixture.world.probed();
    sleep(Duration::from_secs(10)).await;
    assert!(fixture.world.probed() >= began + 32, "{} probes: nothing was proved", fixture.world.probed() - began);
    let view = fixture.item(item).await;
    assert_eq!(view.recipients[0].state, State::Delivered, "{view:?}");
    drain.begin();
    second.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_probe_takes_no_longer_than_half_a_minute() {
    let fixture = Fixture::new(World::new(|_| Act::Refused));
    fixture.accept(ann(), &["a@one.example"]).await;
    sleep(Duration::from_secs(60)).await;
    fixture.world.act(|_| Act::Hang);
    while fixture.world.probed() == 0 {
        sleep(Duration::from_secs(1)).await;
    }
    // The next one comes half an hour after this one ended.
    sleep(Duration::from_secs(30 * 60 + 32)).await;
    assert_eq!(fixture.world.probed(), 2);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_ahead_of_the_groups_does_not_make_the_worker_spin() {
    let fixture = Fixture::new(World::new(|_| Act::TakeSlowly(DAY)));
    fixture.accept(ann(), &["a@one.example"]).await;
    sleep(Duration::from_secs(1)).await;
    let ahead = fixture.store.clock();
    let ahead = Arc::new(move || ahead().plus_millis(3_600_000));
    let (drain, second) = start_at(&fixture.store, &fixture.world, WorkerSettings::default(), ahead);
    let before = fixture.store.commands();
    sleep(Duration::from_secs(20)).await;
    // The first one's lease is renewed every two seconds, and the second one believes that it has ended.
    let commands = fixture.store.commands() - before;
    assert!(commands <= 35, "{commands} commands in twenty seconds");
    drain.begin();
    second.await.unwrap();
    fixture.worker.abort();
}
