//! The link emulator does what it is told: measured at its ends.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use securanet_tests::link::{Link, Pipe, Wire};

/// What a busy machine may add.
const TOLERANCE: Duration = Duration::from_millis(60);
/// Times that something is measured before it is taken for wrong.
const TRIES: usize = 6;
const PATIENCE: Duration = Duration::from_secs(10);

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A link to a listener of the test.
struct Bench {
    there: Arc<Wire>,
    back: Arc<Wire>,
    link: Link,
    listener: TcpListener,
}

impl Bench {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (there, back) = (Wire::new(Pipe::new(), 1), Wire::new(Pipe::new(), 2));
        let link = Link::start(listener.local_addr().unwrap(), there.clone(), back.clone()).unwrap();
        Self { there, back, link, listener }
    }

    /// Both ends of a new connection.
    fn connect(&self) -> (TcpStream, TcpStream) {
        let dialler = TcpStream::connect(self.link.address()).unwrap();
        let dialled = self.listener.accept().unwrap().0;
        for side in [&dialler, &dialled] {
            side.set_read_timeout(Some(PATIENCE)).unwrap();
            side.set_nodelay(true).unwrap();
        }
        (dialler, dialled)
    }
}

/// One octet each way; how long that took.
fn round_trip(a: &mut TcpStream, b: &mut TcpStream) -> Duration {
    let start = Instant::now();
    pass(a, b);
    pass(b, a);
    start.elapsed()
}

fn pass(mut from: &TcpStream, mut to: &TcpStream) {
    from.write_all(b"x").unwrap();
    to.read_exact(&mut [0]).unwrap();
}

/// Nothing comes: no octet, no FIN, no RST.
fn is_silent(mut side: &TcpStream, time: Duration) -> bool {
    side.set_read_timeout(Some(time)).unwrap();
    let heard = side.read(&mut [0; 64]);
    side.set_read_timeout(Some(PATIENCE)).unwrap();
    matches!(heard, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

fn is_reset(mut side: &TcpStream) -> bool {
    matches!(side.read(&mut [0; 64]), Err(error) if error.kind() == ErrorKind::ConnectionReset)
}

/// It never takes less than that; and, since a busy machine adds to it, at best of a few times hardly more.
#[track_caller]
fn assert_near(expected: Duration, mut measure: impl FnMut() -> Duration) {
    let mut all = Vec::new();
    for _ in 0..TRIES {
        let measured = measure();
        assert!(measured >= expected, "{measured:?} instead of {expected:?}");
        if measured < expected + TOLERANCE {
            return;
        }
        all.push(measured);
    }
    panic!("{all:?} instead of {expected:?}");
}

/// How long an octet takes one way.
fn passage(from: &TcpStream, to: &TcpStream) -> Duration {
    let start = Instant::now();
    pass(from, to);
    start.elapsed()
}

#[test]
fn latency_is_what_was_set_in_each_direction_and_changes_while_a_connection_runs() {
    let bench = Bench::new();
    let (mut a, mut b) = bench.connect();
    assert_near(Duration::ZERO, || round_trip(&mut a, &mut b));
    bench.there.set_latency(millis(150), Duration::ZERO);
    assert_near(millis(150), || passage(&a, &b));
    assert_near(Duration::ZERO, || passage(&b, &a));
    bench.back.set_latency(millis(100), Duration::ZERO);
    assert_near(millis(250), || round_trip(&mut a, &mut b));
    assert!(bench.there.fastest().unwrap() >= millis(150), "{:?}", bench.there.fastest());
    bench.there.set_latency(Duration::ZERO, Duration::ZERO);
    assert_near(millis(100), || round_trip(&mut a, &mut b));
}

#[test]
fn octets_are_on_the_way_together() {
    let bench = Bench::new();
    bench.there.set_latency(millis(200), Duration::ZERO);
    let (mut a, mut b) = bench.connect();
    assert_near(millis(290), || {
        let start = Instant::now();
        for _ in 0..10 {
            a.write_all(&[7; 1000]).unwrap();
            thread::sleep(millis(10));
        }
        b.read_exact(&mut [0; 10_000]).unwrap();
        start.elapsed()
    });
}

#[test]
fn a_new_connection_costs_a_round_trip_before_its_first_octet() {
    let bench = Bench::new();
    bench.there.set_latency(millis(100), Duration::ZERO);
    bench.back.set_latency(millis(80), Duration::ZERO);
    assert_near(millis(280), || {
        let start = Instant::now();
        let mut a = TcpStream::connect(bench.link.address()).unwrap();
        a.write_all(b"x").unwrap();
        let (mut b, _) = bench.listener.accept().unwrap();
        b.read_exact(&mut [0]).unwrap();
        start.elapsed()
    });
}

#[test]
fn jitter_delays_differently_and_keeps_the_order() {
    let bench = Bench::new();
    let (mut a, mut b) = bench.connect();
    bench.there.set_latency(millis(20), millis(40));
    let mut delays = Vec::new();
    for number in 0..30_u8 {
        let start = Instant::now();
        a.write_all(&[number]).unwrap();
        let mut octet = [0];
        b.read_exact(&mut octet).unwrap();
        assert_eq!(octet, [number]);
        delays.push(start.elapsed());
    }
    let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
    assert!(*least >= millis(20) && *most < millis(500), "{delays:?}");
    assert!(*most - *least > millis(15), "no jitter in {delays:?}");
    let numbers: Vec<u8> = (0..200).collect();
    for number in &numbers {
        a.write_all(&[*number]).unwrap();
        thread::sleep(Duration::from_micros(300));
    }
    let mut heard = vec![0; 200];
    b.read_exact(&mut heard).unwrap();
    assert_eq!(heard, numbers);
}

#[test]
fn a_pipe_passes_at_its_rate_and_is_shared_by_connections() {
    const OCTETS: usize = 300_000;
    let bench = Bench::new();
    let (mut a, mut b) = bench.connect();
    let (mut c, mut d) = bench.connect();
    bench.there.pipe().set_rate(Some(600_000));
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| a.write_all(&vec![1; OCTETS]).unwrap());
        scope.spawn(|| c.write_all(&vec![2; OCTETS]).unwrap());
        scope.spawn(|| b.read_exact(&mut vec![0; OCTETS]).unwrap());
        scope.spawn(|| d.read_exact(&mut vec![0; OCTETS]).unwrap());
    });
    let took = start.elapsed();
    assert!((950..2000).contains(&took.as_millis()), "600 kB at 600 kB/s took {took:?}");
    let start = Instant::now();
    b.write_all(&[3; OCTETS]).unwrap();
    a.read_exact(&mut vec![0; OCTETS]).unwrap();
    assert!(start.elapsed() < millis(400), "the other direction is slow too: {:?}", start.elapsed());
    // One octet does not stand behind a long queue.
    thread::scope(|scope| {
        scope.spawn(|| a.write_all(&vec![1; OCTETS]).unwrap());
        thread::sleep(millis(200));
        let start = Instant::now();
        pass(&c, &d);
        assert!(start.elapsed() < millis(400), "behind the other connection for {:?}", start.elapsed());
        b.read_exact(&mut vec![0; OCTETS]).unwrap();
    });
}

#[test]
fn a_stalled_wire_passes_nothing_and_loses_nothing() {
    let bench = Bench::new();
    let (mut a, mut b) = bench.connect();
    bench.there.set_stalled(true);
    a.write_all(b"waiting").unwrap();
    a.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(is_silent(&b, millis(300)));
    pass(&b, &a);
    let new = TcpStream::connect(bench.link.address()).unwrap();
    assert!(is_silent(&new, millis(200)));
    bench.there.set_stalled(false);
    let mut heard = String::new();
    b.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "waiting");
    let (end, _) = bench.listener.accept().unwrap();
    pass(&new, &end);
    assert_eq!(bench.there.octets().lost, 0);
}

#[test]
fn a_cut_loses_what_is_on_the_way_and_nobody_hears_of_it() {
    let bench = Bench::new();
    let (mut a, b) = bench.connect();
    bench.there.set_latency(millis(200), Duration::ZERO);
    pass(&a, &b);
    a.write_all(b"on the way").unwrap();
    thread::sleep(millis(50));
    bench.there.cut();
    bench.back.cut();
    a.write_all(b"into the void").unwrap();
    assert!(is_silent(&b, millis(400)));
    assert!(is_silent(&a, millis(50)));
    assert_eq!(bench.there.octets().lost, 23);
    assert_eq!(bench.there.octets().delivered, 1);
    // The end of one node is nothing that the other hears of.
    drop(b);
    assert!(is_silent(&a, millis(200)));
    let mut new = TcpStream::connect(bench.link.address()).unwrap();
    new.write_all(b"hello").unwrap();
    assert!(is_silent(&new, millis(300)));
    bench.there.heal();
    assert!(is_silent(&a, millis(100)), "healed in one direction only");
    bench.back.heal();
    assert!(is_reset(&a));
    // Whoever still waited comes through, and so do new ones.
    let (mut end, _) = bench.listener.accept().unwrap();
    let mut heard = [0; 5];
    end.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"hello");
    let (a, b) = bench.connect();
    pass(&a, &b);
}

#[test]
fn both_ends_of_a_broken_connection_are_reset_when_the_wire_heals() {
    let bench = Bench::new();
    let (a, b) = bench.connect();
    pass(&a, &b);
    bench.back.cut();
    assert!(is_silent(&a, millis(100)) && is_silent(&b, millis(100)));
    bench.back.heal();
    assert!(is_reset(&a) && is_reset(&b));
}

#[test]
fn whoever_gave_up_during_a_cut_does_not_come_through_afterwards() {
    let bench = Bench::new();
    bench.back.cut();
    let mut new = TcpStream::connect(bench.link.address()).unwrap();
    new.write_all(b"too late").unwrap();
    thread::sleep(millis(200));
    drop(new);
    thread::sleep(millis(200));
    bench.back.heal();
    let (a, b) = bench.connect();
    pass(&a, &b);
}

#[test]
fn with_one_direction_cut_the_other_passes_no_more_than_a_window() {
    let bench = Bench::new();
    let (a, mut b) = bench.connect();
    pass(&a, &b);
    bench.there.cut();
    pass(&b, &a);
    b.set_write_timeout(Some(millis(300))).unwrap();
    let heard = Mutex::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut a, mut buffer) = (&a, [0; 4096]);
            a.set_read_timeout(Some(millis(700))).unwrap();
            while let Ok(count) = a.read(&mut buffer) {
                *heard.lock().unwrap() += count;
            }
        });
        // Its kernel takes some more, then it waits.
        let wrote = (0..100_000).find(|_| b.write_all(&[0; 4096]).is_err());
        assert!(wrote.is_some(), "a node writes for ever into a cut wire");
    });
    let heard = *heard.lock().unwrap();
    assert!(heard > 0 && heard <= 64 << 10, "{heard} octets passed without acknowledgement");
    // A new connection cannot be made either: its first packet, or its answer, is lost.
    let mut new = TcpStream::connect(bench.link.address()).unwrap();
    new.write_all(b"x").unwrap();
    assert!(is_silent(&new, millis(200)));
}

#[test]
fn octets_are_counted_in_both_directions() {
    let bench = Bench::new();
    let (mut a, mut b) = bench.connect();
    a.write_all(&[0; 1000]).unwrap();
    b.read_exact(&mut [0; 1000]).unwrap();
    b.write_all(&[0; 250_000]).unwrap();
    a.read_exact(&mut vec![0; 250_000]).unwrap();
    let (there, back) = (bench.there.octets(), bench.back.octets());
    assert_eq!((there.sent, there.delivered, there.lost), (1000, 1000, 0));
    assert_eq!((back.sent, back.delivered, back.lost), (250_000, 250_000, 0));
}

#[test]
fn ends_and_resets_arrive_as_what_they_are() {
    let bench = Bench::new();
    bench.there.set_latency(millis(100), Duration::ZERO);
    let (mut a, mut b) = bench.connect();
    a.write_all(b"question").unwrap();
    a.shutdown(std::net::Shutdown::Write).unwrap();
    let mut heard = String::new();
    b.read_to_string(&mut heard).unwrap();
    b.write_all(b"answer").unwrap();
    drop(b);
    let mut answer = String::new();
    a.read_to_string(&mut answer).unwrap();
    assert_eq!((heard.as_str(), answer.as_str()), ("question", "answer"));
    // Nobody reads what came last: RST.
    let (a, b) = bench.connect();
    (&b).write_all(b"unread").unwrap();
    thread::sleep(millis(50));
    drop(a);
    assert_eq!((&b).read(&mut [0; 64]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn where_nobody_listens_the_connection_is_reset_and_later_it_is_not() {
    let bench = Bench::new();
    let target: SocketAddr = bench.listener.local_addr().unwrap();
    drop(bench.listener);
    let a = TcpStream::connect(bench.link.address()).unwrap();
    a.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(is_reset(&a));
    let listener = TcpListener::bind(target).unwrap();
    let a = TcpStream::connect(bench.link.address()).unwrap();
    pass(&a, &listener.accept().unwrap().0);
}

#[test]
fn without_the_link_its_connections_end() {
    let bench = Bench::new();
    let (a, b) = bench.connect();
    drop(bench.link);
    assert!(is_reset(&a) && is_reset(&b));
}
