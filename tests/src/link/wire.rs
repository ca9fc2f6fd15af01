//! One direction between two nodes, and the pipe that several of them may share.

use std::{
    sync::{
        Arc, Condvar, Mutex, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::connection::{Connection, Way};
use crate::random::Random;

/// What a pipe holds before its sender has to wait: a router's queue.
const PIPE_BACKLOG: Duration = Duration::from_millis(100);
/// A sender writes at most so much of a second at once, so that several share a pipe fairly.
const PIPE_SHARE: u64 = 20;
/// Read at once from a socket.
pub(super) const CHUNK_BYTES: usize = 16 << 10;
const CHUNK_BYTES_MIN: u64 = 256;

/// One direction from a node to another.
pub struct Wire {
    state: Mutex<State>,
    changed: Condvar,
    pipe: Arc<Pipe>,
    connections: Mutex<Vec<Weak<Connection>>>,
    sent: AtomicU64,
    delivered: AtomicU64,
    lost: AtomicU64,
}

struct State {
    latency: Duration,
    jitter: Duration,
    stalled: bool,
    cut: bool,
    random: Random,
    fastest: Option<Duration>,
}

/// What went over a wire, in octets of TCP's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Octets {
    /// Put into it by the node at its beginning.
    pub sent: u64,
    /// Taken by the node at its end.
    pub delivered: u64,
    /// Lost in cuts: what was on its way, and what was written into a broken connection afterwards, which is not in `sent`.
    pub lost: u64,
}

impl Wire {
    /// A wire without delay; its jitter follows from the seed.
    #[must_use]
    pub fn new(pipe: Arc<Pipe>, seed: u64) -> Arc<Self> {
        let state = State {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            stalled: false,
            cut: false,
            random: Random::new(seed),
            fastest: None,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            pipe,
            connections: Mutex::default(),
            sent: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        })
    }

    /// From now on octets arrive this much later, and up to `jitter` more.
    pub fn set_latency(&self, latency: Duration, jitter: Duration) {
        let mut state = self.state.lock().unwrap();
        (state.latency, state.jitter, state.fastest) = (latency, jitter, None);
    }

    /// The latency that is set.
    pub fn latency(&self) -> Duration {
        self.state.lock().unwrap().latency
    }

    /// The quickest passage since the latency was set last.
    pub fn fastest(&self) -> Option<Duration> {
        self.state.lock().unwrap().fastest
    }

    /// The pipe that it goes through.
    pub fn pipe(&self) -> &Pipe {
        &self.pipe
    }

    /// Nothing passes any more, or again; nothing is lost.
    pub fn set_stalled(&self, stalled: bool) {
        self.state.lock().unwrap().stalled = stalled;
        self.changed.notify_all();
    }

    /// Cuts it.
    pub fn cut(&self) {
        self.state.lock().unwrap().cut = true;
        for connection in self.connections() {
            connection.break_over(self);
        }
        self.changed.notify_all();
    }

    /// Joins it again.
    pub fn heal(&self) {
        self.state.lock().unwrap().cut = false;
        self.changed.notify_all();
        for connection in self.connections() {
            connection.bury();
        }
    }

    /// Whether it is cut.
    pub fn is_cut(&self) -> bool {
        self.state.lock().unwrap().cut
    }

    /// Whether it lets nothing pass.
    pub fn is_stalled(&self) -> bool {
        self.state.lock().unwrap().stalled
    }

    /// What went over it so far.
    pub fn octets(&self) -> Octets {
        let read = |count: &AtomicU64| count.load(Ordering::SeqCst);
        Octets { sent: read(&self.sent), delivered: read(&self.delivered), lost: read(&self.lost) }
    }

    pub(super) fn is_open(&self) -> bool {
        let state = self.state.lock().unwrap();
        !state.cut && !state.stalled
    }

    /// Waits while it is stalled, for a moment at most.
    pub(super) fn wait_while_stalled(&self, moment: Duration) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_timeout_while(state, moment, |state| state.stalled).unwrap());
    }

    /// Octets begin their way; when they arrive.
    pub(super) fn begin(&self, octets: usize) -> Instant {
        self.sent.fetch_add(octets as u64, Ordering::SeqCst);
        let departure = self.pipe.departure(octets);
        let mut state = self.state.lock().unwrap();
        let jitter = usize::try_from(state.jitter.as_micros()).unwrap();
        let more = if jitter == 0 { 0 } else { state.random.below(jitter) };
        departure + state.latency + Duration::from_micros(more as u64)
    }

    pub(super) fn arrived(&self, octets: usize, passage: Duration) {
        self.delivered.fetch_add(octets as u64, Ordering::SeqCst);
        let mut state = self.state.lock().unwrap();
        state.fastest = Some(state.fastest.map_or(passage, |fastest| fastest.min(passage)));
    }

    pub(super) fn lose(&self, octets: usize) {
        self.lost.fetch_add(octets as u64, Ordering::SeqCst);
    }

    /// From now on the connection hears of cuts.
    pub(super) fn carry(&self, connection: &Arc<Connection>) {
        let mut all = self.connections.lock().unwrap();
        all.retain(|known| known.strong_count() > 0);
        all.push(Arc::downgrade(connection));
    }

    /// Ends the connections of a link.
    pub(super) fn reset_connections(&self, way: &Arc<Way>) {
        for connection in self.connections().iter().filter(|connection| connection.is_of(way)) {
            connection.reset();
        }
    }

    fn connections(&self) -> Vec<Arc<Connection>> {
        self.connections.lock().unwrap().iter().filter_map(Weak::upgrade).collect()
    }
}

/// How many octets a second pass, for all wires that share it.
pub struct Pipe(Mutex<Flow>);

struct Flow {
    bytes_per_second: Option<u64>,
    /// When what was put in so far has gone.
    free: Instant,
}

impl Pipe {
    /// One without bound.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Flow { bytes_per_second: None, free: Instant::now() })))
    }

    /// Bounds it, or not any more.
    pub fn set_rate(&self, bytes_per_second: Option<u64>) {
        let mut flow = self.0.lock().unwrap();
        (flow.bytes_per_second, flow.free) = (bytes_per_second, Instant::now());
    }

    /// The bound.
    pub fn rate(&self) -> Option<u64> {
        self.0.lock().unwrap().bytes_per_second
    }

    /// Octets a sender may put in at once; none while it is full.
    pub(super) fn room(&self) -> Option<usize> {
        let flow = self.0.lock().unwrap();
        let Some(rate) = flow.bytes_per_second else { return Some(CHUNK_BYTES) };
        let share = usize::try_from((rate / PIPE_SHARE).max(CHUNK_BYTES_MIN)).unwrap_or(CHUNK_BYTES);
        (flow.free.saturating_duration_since(Instant::now()) < PIPE_BACKLOG).then_some(share.min(CHUNK_BYTES))
    }

    fn departure(&self, octets: usize) -> Instant {
        let mut flow = self.0.lock().unwrap();
        let now = Instant::now();
        let Some(rate) = flow.bytes_per_second else { return now };
        flow.free = flow.free.max(now) + Duration::from_secs_f64(octets as f64 / rate as f64);
        flow.free
    }
}
