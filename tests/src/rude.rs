//! A mail server without manners, on a free loopback port: it drops, hangs, talks garbage or refuses at each stage of the
//! dialogue as a test wants it, and remembers what it took.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Nobody speaks to us for so long: the connection is forgotten.
const IDLE: Duration = Duration::from_secs(60);

/// A point of the dialogue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Before the greeting.
    Greeting,
    /// At EHLO.
    Hello,
    /// At MAIL.
    Mail,
    /// At RCPT.
    Rcpt,
    /// At DATA.
    Data,
    /// When some of the message has come.
    Body,
    /// When the final dot has come: the message is taken, and nothing is said.
    Dot,
}

/// What it does with a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Takes everything.
    Kind,
    /// Closes at this stage.
    Drop(Stage),
    /// Says nothing any more at this stage, for so long; then closes.
    Hang(Stage, Duration),
    /// Answers nonsense at this stage.
    Garbage(Stage),
    /// Answers this at this stage; at the final dot the message is not taken.
    Say(Stage, &'static str),
    /// Takes everything, and waits so long before it answers the final dot.
    Slow(Duration),
}

/// A message that it took.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Taken {
    /// The envelope's sender, in angle brackets.
    pub from: String,
    /// The recipients, in angle brackets.
    pub to: Vec<String>,
    /// The message with its dots unstuffed.
    pub text: String,
}

type Manners = Box<dyn Fn(usize) -> Manner + Send + Sync>;

struct State {
    manners: Mutex<Manners>,
    taken: Mutex<Vec<Taken>>,
    connections: AtomicUsize,
    transactions: AtomicUsize,
    open: AtomicUsize,
    ended: AtomicBool,
}

/// The server; gone when dropped.
pub struct Rude {
    address: SocketAddr,
    state: Arc<State>,
}

impl Rude {
    /// A server whose manner may depend on the number of the connection, from 0.
    pub fn start(manners: impl Fn(usize) -> Manner + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("address");
        let state = Arc::new(State {
            manners: Mutex::new(Box::new(manners)),
            taken: Mutex::default(),
            connections: AtomicUsize::new(0),
            transactions: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let serving = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if serving.ended.load(Ordering::SeqCst) {
                    return;
                }
                let state = serving.clone();
                state.open.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    state.serve(&stream).ok();
                    state.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, state }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it behaves so.
    pub fn behave(&self, manners: impl Fn(usize) -> Manner + Send + Sync + 'static) {
        *self.state.manners.lock().unwrap() = Box::new(manners);
    }

    /// What it took, in order.
    pub fn taken(&self) -> Vec<Taken> {
        self.state.taken.lock().unwrap().clone()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// MAIL commands so far.
    pub fn transactions(&self) -> usize {
        self.state.transactions.load(Ordering::SeqCst)
    }

    /// Waits until nobody is connected: who connects then meets its present manners.
    ///
    /// # Panics
    /// When it takes longer than `patience`.
    pub fn await_idle(&self, patience: Duration) {
        let start = Instant::now();
        while self.state.open.load(Ordering::SeqCst) > 0 {
            assert!(start.elapsed() < patience, "somebody stays connected");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until it has taken so many messages.
    ///
    /// # Panics
    /// When it takes longer than `patience`.
    pub fn await_taken(&self, count: usize, patience: Duration) {
        let start = Instant::now();
        while self.taken().len() < count {
            assert!(start.elapsed() < patience, "{} of {count} messages have come", self.taken().len());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Rude {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        // Wakes the one who accepts.
        TcpStream::connect(self.address).ok();
    }
}

/// Whether the dialogue goes on.
enum Go {
    On,
    Away,
}

impl State {
    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        let number = self.connections.fetch_add(1, Ordering::SeqCst);
        let manner = (self.manners.lock().unwrap())(number);
        stream.set_read_timeout(Some(IDLE))?;
        let mut lines = BufReader::new(stream.try_clone()?);
        let mut say = stream;
        if let Go::Away = answer(manner, Stage::Greeting, "220 rude.example ESMTP", &mut say)? {
            return Ok(());
        }
        let mut envelope = Taken { from: String::new(), to: Vec::new(), text: String::new() };
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end();
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let argument =
                || line.split_once(':').map_or("", |(_, rest)| rest).split(' ').next().unwrap_or("").to_owned();
            let go = match verb.as_str() {
                "EHLO" | "HELO" => answer(manner, Stage::Hello, "250-rude.example\r\n250 8BITMIME", &mut say)?,
                "MAIL" => {
                    self.transactions.fetch_add(1, Ordering::SeqCst);
                    envelope = Taken { from: argument(), to: Vec::new(), text: String::new() };
                    answer(manner, Stage::Mail, "250 sender", &mut say)?
                }
                "RCPT" => {
                    envelope.to.push(argument());
                    answer(manner, Stage::Rcpt, "250 recipient", &mut say)?
                }
                "DATA" => match answer(manner, Stage::Data, "354 go on", &mut say)? {
                    Go::On if !matches!(manner, Manner::Say(Stage::Data, _) | Manner::Garbage(Stage::Data)) => {
                        self.data(manner, &mut lines, &mut say, &mut envelope)?
                    }
                    go => go,
                },
                "QUIT" => {
                    say.write_all(b"221 bye\r\n")?;
                    Go::Away
                }
                _ => {
                    say.write_all(b"250 whatever\r\n")?;
                    Go::On
                }
            };
            if let Go::Away = go {
                return Ok(());
            }
        }
    }

    fn data(
        &self,
        manner: Manner,
        lines: &mut impl BufRead,
        say: &mut &TcpStream,
        envelope: &mut Taken,
    ) -> std::io::Result<Go> {
        let mut first = true;
        loop {
            let mut line = Vec::new();
            if lines.read_until(b'\n', &mut line)? == 0 {
                return Ok(Go::Away);
            }
            if line == b".\r\n" {
                break;
            }
            if std::mem::take(&mut first) && matches!(manner, Manner::Drop(Stage::Body) | Manner::Hang(Stage::Body, _))
            {
                return answer(manner, Stage::Body, "", say);
            }
            envelope.text += &String::from_utf8_lossy(line.strip_prefix(b".").unwrap_or(&line));
        }
        if !matches!(manner, Manner::Say(Stage::Dot, _)) {
            self.taken.lock().unwrap().push(envelope.clone());
        }
        if let Manner::Slow(time) = manner {
            thread::sleep(time);
        }
        answer(manner, Stage::Dot, "250 taken", say)
    }
}

/// Answers at a stage as the manner wants it.
fn answer(manner: Manner, stage: Stage, kind: &str, say: &mut &TcpStream) -> std::io::Result<Go> {
    let line = match manner {
        Manner::Drop(at) if at == stage => return Ok(Go::Away),
        Manner::Hang(at, time) if at == stage => {
            thread::sleep(time);
            return Ok(Go::Away);
        }
        Manner::Garbage(at) if at == stage => "\u{7f}\u{0} this is no SMTP",
        Manner::Say(at, line) if at == stage => line,
        _ => kind,
    };
    say.write_all(format!("{line}\r\n").as_bytes())?;
    Ok(Go::On)
}
