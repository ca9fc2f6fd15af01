//! One connection over a link: four threads, two for each direction, one that reads and one that writes when it is time.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use socket2::SockRef;

use super::wire::{CHUNK_BYTES, Wire};

/// On its way at a time, per connection and direction.
const WINDOW_BYTES: usize = 4 << 20;
/// Passes, or vanishes, after the acknowledgements stopped.
const LAST_BYTES: usize = 64 << 10;
/// Whoever waits for something that nobody announces looks this often.
const LOOK: Duration = Duration::from_millis(50);
/// The node behind a link is on this machine: it answers, or its queue of connections is full.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// There are hundreds, and they do little.
const STACK_BYTES: usize = 128 << 10;

/// From where to where a link leads.
pub(super) struct Way {
    pub(super) target: SocketAddr,
    /// To the node that is dialled, and back.
    pub(super) wires: [Arc<Wire>; 2],
    pub(super) ended: AtomicBool,
}

/// A connection: side and flow 0 belong to the node that dialled.
pub(super) struct Connection {
    way: Arc<Way>,
    sides: [TcpStream; 2],
    flows: [Flow; 2],
    broken: AtomicBool,
    closed: AtomicBool,
}

/// One direction.
#[derive(Default)]
struct Flow {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    octets: usize,
    last: Option<Instant>,
    /// What is put in is lost.
    lost: bool,
    /// How much may still pass.
    allowance: Option<usize>,
    ended: bool,
    /// The node at its beginning has gone.
    gone: bool,
}

struct Event {
    begun: Instant,
    due: Instant,
    what: What,
}

enum What {
    Octets(Vec<u8>),
    /// FIN.
    End,
    /// RST.
    Reset,
}

/// Takes a connection in, on threads of its own.
pub(super) fn serve(way: Arc<Way>, dialler: TcpStream) {
    spawn(move || {
        let Some(first) = way.await_open(&dialler) else { return };
        let Ok(dialled) = TcpStream::connect_timeout(&way.target, DIAL_TIMEOUT) else {
            // Nobody listens: RST, as the node's kernel would answer.
            SockRef::from(&dialler).set_linger(Some(Duration::ZERO)).ok();
            return;
        };
        for side in [&dialler, &dialled] {
            side.set_nodelay(true).ok();
            side.set_read_timeout(None).ok();
            side.set_write_timeout(Some(LOOK)).ok();
        }
        Connection::start(way, [dialler, dialled], first);
    });
}

fn spawn(body: impl FnOnce() + Send + 'static) {
    thread::Builder::new().name("link".to_owned()).stack_size(STACK_BYTES).spawn(body).expect("a thread");
}

impl Way {
    /// Waits until both wires are open and a handshake has gone over them; gives what was written meanwhile. None when
    /// whoever dialled has given up.
    fn await_open(&self, mut dialler: &TcpStream) -> Option<Vec<u8>> {
        let mut first = Vec::new();
        let mut buffer = [0; CHUNK_BYTES];
        loop {
            while !self.wires.iter().all(|wire| wire.is_open()) {
                if self.ended.load(Ordering::SeqCst) {
                    return None;
                }
                if first.len() >= LAST_BYTES {
                    thread::sleep(LOOK);
                    continue;
                }
                dialler.set_read_timeout(Some(LOOK)).ok()?;
                match dialler.read(&mut buffer) {
                    Ok(0) => return None,
                    Ok(count) => first.extend(&buffer[..count]),
                    Err(error) if is_timeout(&error) => {}
                    Err(_) => return None,
                }
            }
            thread::sleep(self.wires.iter().map(|wire| wire.latency()).sum());
            if self.wires.iter().all(|wire| wire.is_open()) {
                return Some(first);
            }
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

impl Connection {
    fn start(way: Arc<Way>, sides: [TcpStream; 2], first: Vec<u8>) {
        let (broken, closed) = (AtomicBool::new(false), AtomicBool::new(false));
        let connection = Arc::new(Self { way, sides, flows: Default::default(), broken, closed });
        if !first.is_empty() {
            connection.put(0, What::Octets(first));
        }
        for wire in &connection.way.wires {
            wire.carry(&connection);
        }
        // Cut, or dropped, before it was known.
        for wire in connection.way.wires.iter().filter(|wire| wire.is_cut()) {
            connection.break_over(wire);
        }
        if connection.way.ended.load(Ordering::SeqCst) {
            connection.reset();
        }
        for direction in [0, 1] {
            let (reading, writing) = (connection.clone(), connection.clone());
            spawn(move || reading.read(direction));
            spawn(move || writing.write(direction));
        }
    }

    pub(super) fn is_of(&self, way: &Arc<Way>) -> bool {
        Arc::ptr_eq(&self.way, way)
    }

    /// A wire was cut: what is on it is lost, and what goes the other way is soon nobody's any more.
    pub(super) fn break_over(&self, wire: &Wire) {
        self.broken.store(true, Ordering::SeqCst);
        for (flow, over) in self.flows.iter().zip(&self.way.wires) {
            let mut queue = flow.queue.lock().unwrap();
            if std::ptr::eq(Arc::as_ptr(over), wire) {
                queue.lost = true;
                over.lose(queue.octets);
                queue.events.clear();
                queue.octets = 0;
            } else {
                queue.allowance.get_or_insert(LAST_BYTES);
            }
            flow.changed.notify_all();
        }
    }

    /// The wires are whole: nobody knows of a broken connection any more.
    pub(super) fn bury(&self) {
        let healed = self.way.wires.iter().all(|wire| !wire.is_cut());
        if healed && self.broken.load(Ordering::SeqCst) {
            self.reset();
        }
    }

    /// RST to both.
    pub(super) fn reset(&self) {
        for side in &self.sides {
            SockRef::from(side).set_linger(Some(Duration::ZERO)).ok();
        }
        self.close(Shutdown::Read);
    }

    /// All threads end; the sockets close with the last one.
    fn close(&self, how: Shutdown) {
        self.closed.store(true, Ordering::SeqCst);
        for (side, flow) in self.sides.iter().zip(&self.flows) {
            side.shutdown(how).ok();
            drop(flow.queue.lock().unwrap());
            flow.changed.notify_all();
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Takes what a node writes.
    fn read(&self, direction: usize) {
        let mut buffer = vec![0; CHUNK_BYTES];
        while !self.is_closed() {
            let Some(room) = self.way.wires[direction].pipe().room() else {
                thread::sleep(Duration::from_millis(5));
                continue;
            };
            let what = match (&self.sides[direction]).read(&mut buffer[..room]) {
                Ok(0) => What::End,
                Ok(count) => What::Octets(buffer[..count].to_vec()),
                Err(error) if is_timeout(&error) => continue,
                Err(_) => What::Reset,
            };
            let more = matches!(what, What::Octets(_));
            self.put(direction, what);
            if !more {
                return;
            }
        }
    }

    fn put(&self, direction: usize, what: What) {
        let (flow, wire) = (&self.flows[direction], &self.way.wires[direction]);
        let count = if let What::Octets(octets) = &what { octets.len() } else { 0 };
        let mut queue = flow.queue.lock().unwrap();
        while (queue.octets + count > WINDOW_BYTES || queue.is_shut()) && !self.is_closed() {
            if count == 0 && queue.is_shut() {
                break;
            }
            queue = flow.changed.wait(queue).unwrap();
        }
        if count == 0 {
            queue.gone = true;
        }
        if queue.lost || queue.allowance.is_some_and(|left| left < count || count == 0) {
            wire.lose(count);
            if queue.lost {
                queue.allowance = Some(queue.allowance.unwrap_or(LAST_BYTES).saturating_sub(count));
            } else {
                queue.allowance = Some(0);
            }
            drop(queue);
            return self.forget_if_gone();
        }
        if let Some(left) = &mut queue.allowance {
            *left -= count;
        }
        let begun = Instant::now();
        let due = wire.begin(count).max(queue.last.unwrap_or(begun));
        queue.last = Some(due);
        queue.octets += count;
        queue.events.push_back(Event { begun, due, what });
        flow.changed.notify_all();
    }

    /// A broken connection that both nodes have left.
    fn forget_if_gone(&self) {
        if self.flows.iter().all(|flow| flow.queue.lock().unwrap().gone) {
            self.reset();
        }
    }

    /// Gives to the other node what has arrived.
    fn write(&self, direction: usize) {
        while let Some(event) = self.next(direction) {
            let went = match event.what {
                What::Octets(octets) => self.deliver(direction, &octets, event.begun),
                What::End => {
                    self.sides[1 - direction].shutdown(Shutdown::Write).ok();
                    self.flows[direction].queue.lock().unwrap().ended = true;
                    if self.flows.iter().all(|flow| flow.queue.lock().unwrap().ended) {
                        self.close(Shutdown::Both);
                    }
                    true
                }
                What::Reset => return self.reset(),
            };
            if !went && !self.is_closed() && !self.flows[direction].queue.lock().unwrap().lost {
                // The node has gone: the one that writes to it hears of it in time.
                self.put(1 - direction, What::Reset);
                return;
            }
        }
    }

    /// What is due next; none when the connection is closed.
    fn next(&self, direction: usize) -> Option<Event> {
        let (flow, wire) = (&self.flows[direction], &self.way.wires[direction]);
        let mut queue = flow.queue.lock().unwrap();
        loop {
            if self.is_closed() {
                return None;
            }
            let Some(first) = queue.events.front() else {
                queue = flow.changed.wait(queue).unwrap();
                continue;
            };
            let left = first.due.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                queue = flow.changed.wait_timeout(queue, left).unwrap().0;
            } else if wire.is_stalled() {
                drop(queue);
                wire.wait_while_stalled(LOOK);
                queue = flow.queue.lock().unwrap();
            } else {
                let event = queue.events.pop_front()?;
                if let What::Octets(octets) = &event.what {
                    queue.octets -= octets.len();
                }
                flow.changed.notify_all();
                return Some(event);
            }
        }
    }

    /// Whether the node took it.
    fn deliver(&self, direction: usize, mut octets: &[u8], begun: Instant) -> bool {
        let wire = &self.way.wires[direction];
        while !octets.is_empty() {
            match (&self.sides[1 - direction]).write(octets) {
                Ok(count) => {
                    wire.arrived(count, begun.elapsed());
                    octets = &octets[count..];
                }
                Err(error) if is_timeout(&error) => {
                    // It does not read. A cut loses what it has not taken.
                    if self.is_closed() || self.flows[direction].queue.lock().unwrap().lost {
                        wire.lose(octets.len());
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
        true
    }
}

impl Queue {
    /// Nothing is read any more from the node at its beginning.
    fn is_shut(&self) -> bool {
        self.allowance == Some(0)
    }
}
