//! Cases of the scheduler: who goes when, and what is bounded.

use super::*;

type Plain = Scheduler<u32, &'static str>;

fn limits() -> Limits {
    Limits {
        recipients_max: 1000,
        sessions_max: 8,
        sessions_per_destination_max: 3,
        pause_per_destination: Duration::ZERO,
        pause: Duration::ZERO,
        unreachable_for: Duration::from_secs(60),
    }
}

fn name(text: &str) -> Arc<str> {
    Arc::from(text)
}

fn bring(scheduler: &mut Plain, now: Instant, destination: &str, letters: std::ops::Range<u32>) {
    let destination = name(destination);
    for letter in letters {
        scheduler.claim(now, &destination, 1, false);
        let load = Load { letter, recipients: 1, is_bulk: false };
        assert_eq!(scheduler.offer(now, &destination, load, false), Offered::Waits);
    }
}

/// Opens all connections that may be opened; gives destination and first letter.
fn start_all(scheduler: &mut Plain, now: Instant) -> Vec<(String, u32)> {
    std::iter::from_fn(|| scheduler.start(now)).map(|(name, load)| (name.to_string(), load.letter)).collect()
}

#[test]
fn destinations_take_turns() {
    let now = Instant::now();
    let mut scheduler = Plain::new(limits());
    bring(&mut scheduler, now, "a.example", 0..10);
    bring(&mut scheduler, now, "b.example", 10..12);
    bring(&mut scheduler, now, "c.example", 20..21);
    let first = start_all(&mut scheduler, now);
    assert_eq!(first, [("a.example".to_owned(), 0), ("b.example".to_owned(), 10), ("c.example".to_owned(), 20)]);
    scheduler.succeeded(now, &name("a.example"));
    assert_eq!(start_all(&mut scheduler, now), [("a.example".to_owned(), 1)], "one more after a success");
    assert_eq!(scheduler.more(now, &name("a.example")).map(|load| load.letter), Some(2));
    assert_eq!(scheduler.more(now, &name("b.example")).map(|load| load.letter), Some(11));
    assert_eq!(scheduler.more(now, &name("b.example")), None);
}

#[test]
fn all_connections_together_are_bounded() {
    let now = Instant::now();
    let mut scheduler = Plain::new(limits());
    for number in 0..20 {
        bring(&mut scheduler, now, &format!("{number}.example"), number..number + 1);
    }
    let started = start_all(&mut scheduler, now);
    assert_eq!((started.len(), scheduler.sessions()), (8, 8));
    scheduler.ended(now, &name(&started[0].0), SessionEnd::Peace);
    assert_eq!(start_all(&mut scheduler, now).len(), 1);
}

#[test]
fn hosts_that_do_not_speak_cannot_use_up_the_bound() {
    let now = Instant::now();
    let mut scheduler = Plain::new(limits());
    for number in 0..30 {
        bring(&mut scheduler, now, &format!("{number}.example"), number..number + 1);
    }
    assert_eq!(start_all(&mut scheduler, now).len(), 8);
    assert!((0..8).all(|at| scheduler.slow(now, &name(&format!("{at}.example")))));
    assert_eq!(start_all(&mut scheduler, now).len(), 8, "others in their place");
    assert!(!scheduler.slow(now, &name("8.example")), "as many again, and no more");
    scheduler.awake();
    assert_eq!(scheduler.sessions(), 9, "one that answers after all is not closed for it");
    assert_eq!(start_all(&mut scheduler, now), []);
}

#[test]
fn those_that_failed_last_get_a_quarter() {
    let now = Instant::now();
    let mut scheduler = Plain::new(limits());
    for number in 0..6 {
        let dead = name(&format!("dead{number}.example"));
        assert_eq!(scheduler.claim(now, &dead, 100, true), 5, "the window of one that failed");
        scheduler.offer(now, &dead, Load { letter: number, recipients: 5, is_bulk: false }, false);
    }
    bring(&mut scheduler, now, "alive.example", 100..101);
    let started: Vec<String> = start_all(&mut scheduler, now).into_iter().map(|(name, _)| name).collect();
    assert_eq!(started, ["dead0.example", "dead1.example", "alive.example"]);
    let mut left = 250 - 30;
    for number in 6..100 {
        left -= scheduler.claim(now, &name(&format!("dead{number}.example")), 100, true);
    }
    assert_eq!(left, 0, "a quarter of memory");
    assert_eq!(scheduler.claim(now, &name("new.example"), 50, false), 5, "others still have room");
}

#[test]
fn memory_is_claimed_before_anything_is_taken() {
    let now = Instant::now();
    let mut scheduler = Plain::new(limits());
    let granted: usize = (0..500).map(|at| scheduler.claim(now, &name(&format!("{at}.example")), 500, false)).sum();
    assert_eq!(granted, 500, "what has proved nothing yet gets half of memory");
    assert_eq!(scheduler.in_hand(), granted);
    let more = scheduler.claim(now, &name("0.example"), 500, false);
    assert_eq!(more, 0, "a destination has its share only once");
}

#[test]
fn the_memory_of_the_living_is_not_taken_by_hosts_that_never_speak() {
    let now = Instant::now();
    let mut scheduler = Plain::new(limits());
    let dead: Vec<_> = (0..100).map(|number| name(&format!("dead{number}.example"))).collect();
    let alive = name("alive.example");
    scheduler.succeeded(now, &alive);
    for _ in 0..3 {
        for dead in &dead {
            scheduler.claim(now, dead, 50, false);
        }
        for dead in &dead {
            scheduler.slow(now, dead);
        }
    }
    assert!(scheduler.in_hand() <= 750, "{}", scheduler.in_hand());
    assert!(scheduler.claim(now, &alive, 50, false) >= 20);
    assert!(scheduler.claim(now, &name("new.example"), 5, false) == 5, "nor that of new ones");
}

#[test]
fn a_claim_that_ends_makes_room_worth_a_look() {
    let now = Instant::now();
    let mut scheduler = Plain::new(limits());
    let a = name("a.example");
    (0..2).for_each(|_| scheduler.succeeded(now, &a));
    assert_eq!(scheduler.claim(now, &a, 500, false), 300);
    assert!(!scheduler.release(&a, 149), "more than half is there still");
    assert!(scheduler.release(&a, 1));
    assert!(!scheduler.release(&a, 1), "said once");
    assert_eq!(scheduler.claim(now, &a, 5, false), 5);
    assert!(!scheduler.release(&a, 5), "nobody wanted more");
}

#[test]
fn what_waits_for_an_unreachable_destination_is_told_and_so_is_what_comes() {
    let now = Instant::now();
    let mut scheduler = Plain::new(limits());
    let dead = name("dead.example");
    bring(&mut scheduler, now, "dead.example", 0..3);
    assert_eq!(start_all(&mut scheduler, now).len(), 1);
    let told = scheduler.ended(now, &dead, SessionEnd::Unreachable("timed out"));
    assert_eq!(told.iter().map(|load| load.letter).collect::<Vec<_>>(), [1, 2]);
    let load = Load { letter: 9, recipients: 1, is_bulk: false };
    let soon = now + Duration::from_secs(59);
    assert_eq!(scheduler.offer(soon, &dead, load.clone(), false), Offered::Told(load.clone(), "timed out"));
    let later = now + Duration::from_secs(60);
    assert_eq!(scheduler.offer(later, &dead, load.clone(), false), Offered::Waits, "no news any more");
    assert_eq!(scheduler.sessions(), 0);
    assert_eq!(scheduler.offer(soon, &dead, load, true), Offered::Waits, "an operator wants to see it tried");
    assert!(scheduler.start(soon).is_some());
}

#[test]
fn rates_are_kept_for_a_destination_and_for_all() {
    let now = Instant::now();
    let rates = Limits { pause_per_destination: Duration::from_secs(6), pause: Duration::from_secs(1), ..limits() };
    let mut scheduler = Plain::new(rates);
    bring(&mut scheduler, now, "a.example", 0..3);
    bring(&mut scheduler, now, "b.example", 10..11);
    assert_eq!(start_all(&mut scheduler, now), [("a.example".to_owned(), 0)], "one message a second");
    assert_eq!(scheduler.wake_at(), Some(now + Duration::from_secs(1)));
    assert_eq!(start_all(&mut scheduler, now + Duration::from_secs(1)), [("b.example".to_owned(), 10)]);
    assert_eq!(scheduler.more(now + Duration::from_secs(5), &name("a.example")), None, "one in six seconds");
    assert!(scheduler.more(now + Duration::from_secs(6), &name("a.example")).is_some());
}

#[test]
fn an_idle_connection_is_used_before_another_is_opened() {
    let now = Instant::now();
    let mut scheduler = Plain::new(limits());
    let a = name("a.example");
    bring(&mut scheduler, now, "a.example", 0..1);
    assert_eq!(start_all(&mut scheduler, now).len(), 1);
    scheduler.succeeded(now, &a);
    scheduler.idle(now, &a, true);
    bring(&mut scheduler, now, "a.example", 1..2);
    assert_eq!(start_all(&mut scheduler, now), []);
    scheduler.idle(now, &a, false);
    assert_eq!(scheduler.more(now, &a).map(|load| load.letter), Some(1));
}

#[test]
fn what_a_lost_lease_had_is_dropped_and_the_rest_stays() {
    let now = Instant::now();
    let mut scheduler = Plain::new(limits());
    bring(&mut scheduler, now, "a.example", 0..4);
    let dropped = scheduler.drain(|letter| letter % 2 == 0);
    assert_eq!(dropped.iter().map(|(_, load)| load.letter).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(scheduler.start(now).map(|(_, load)| load.letter), Some(1));
}

#[test]
fn a_claim_follows_its_letter_to_another_destination() {
    let now = Instant::now();
    let mut scheduler = Plain::new(limits());
    let (from, to) = (name("a.example"), name("route:relay"));
    assert_eq!(scheduler.claim(now, &from, 5, false), 5);
    scheduler.reclaim(now, Some("a.example"), (&from, &to), 5);
    assert_eq!(scheduler.in_hand(), 5);
    let known = scheduler.known_as("a.example");
    assert_eq!(known, to, "the next claims are counted where the letters are");
    assert_eq!(scheduler.claim(now, &known, 500, false), 0);
    scheduler.release(&to, 5);
    assert_eq!(scheduler.in_hand(), 0);
}

#[test]
fn destinations_of_long_ago_are_forgotten_when_there_are_many() {
    let now = Instant::now();
    let mut scheduler = Plain::new(limits());
    for number in 0..DESTINATIONS_MANY {
        let each = name(&format!("{number}.example"));
        assert_eq!(scheduler.claim(now, &each, 1, false), 1);
        scheduler.release(&each, 1);
    }
    let later = now + FORGET_AFTER;
    scheduler.claim(later, &name("new.example"), 1, false);
    assert_eq!(scheduler.destinations.len(), 1);
}
