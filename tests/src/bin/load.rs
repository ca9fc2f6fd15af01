//! The benchmark's load: sends messages by SMTP as fast as a server takes them, and prints what happened as JSON.
//!
//! It speaks like a busy MTA: connections are kept, MAIL, RCPT and DATA go in one packet (RFC 2920), the message in
//! another. Bodies are cut from one text file, each stretch of it used once, and each Message-ID is new. A message that is
//! refused is counted and not repeated, so "acknowledged" is exactly what must be found in the mailboxes.

use std::{
    fmt::Write as _,
    fs::File,
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};

/// A server may stall for a compaction or a slow disk; longer than this is a failure of the run.
const PATIENCE: Duration = Duration::from_secs(120);
const USAGE: &str = "load [--login USER:PASSWORD] ADDRESS CONNECTIONS MESSAGES SIZE TEXT RECIPIENTS FIRST\n\
    ADDRESS 127.0.0.1:2525; SIZE octets of a message; TEXT a file of text, at least FIRST + MESSAGES times SIZE long;\n\
    RECIPIENTS user{}@bench.example:20 (numbers from 0); FIRST number of the first message (its stretch of TEXT);\n\
    with a login it submits, and USER is the sender of all messages";

struct Load {
    address: SocketAddr,
    connections: usize,
    messages: usize,
    size: usize,
    text: String,
    recipient: String,
    recipients: usize,
    first: usize,
    login: Option<(String, String)>,
    /// Makes Message-IDs of one run differ from those of others.
    run: u128,
}

/// What one connection saw.
#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    octets: u64,
    refused: u64,
    refusal: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let login = if words.first().is_some_and(|word| word == "--login") {
        let (user, password) = words.get(1).and_then(|word| word.split_once(':')).context(USAGE)?;
        let login = (user.to_owned(), password.to_owned());
        words.drain(..2);
        Some(login)
    } else {
        None
    };
    let [address, connections, messages, size, text, recipients, first] = words.as_slice() else { bail!(USAGE) };
    let (recipient, count) = recipients.rsplit_once(':').context(USAGE)?;
    let load = Load {
        address: address.parse()?,
        connections: connections.parse()?,
        messages: messages.parse()?,
        size: size.parse()?,
        text: text.clone(),
        recipient: recipient.to_owned(),
        recipients: count.parse()?,
        first: first.parse()?,
        login,
        run: SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos(),
    };
    let needed = (load.first + load.messages) as u64 * load.size as u64;
    let length = std::fs::metadata(text)?.len();
    ensure!(length >= needed, "{text} has {length} octets of text, {needed} are needed for distinct bodies");
    println!("{}", load.run()?);
    Ok(())
}

impl Load {
    /// Connects all, then sends from all; the clock runs from the first MAIL to the last reply.
    fn run(&self) -> anyhow::Result<serde_json::Value> {
        let open = (0..self.connections)
            .map(|_| Sender::connect(self.address, self.login.as_ref()))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let (next, total) = (AtomicUsize::new(0), Mutex::new(Seen::default()));
        let start = Instant::now();
        thread::scope(|scope| {
            let running: Vec<_> = open.into_iter().map(|sender| scope.spawn(|| self.send(sender, &next))).collect();
            for sender in running {
                let seen = sender.join().map_err(|_| anyhow::anyhow!("a connection panicked"))??;
                let mut total = total.lock().map_err(|_| anyhow::anyhow!("a connection panicked"))?;
                total.latencies.extend(seen.latencies);
                total.octets += seen.octets;
                total.refused += seen.refused;
                total.refusal = total.refusal.take().or(seen.refusal);
            }
            anyhow::Ok(())
        })?;
        let seconds = start.elapsed().as_secs_f64();
        let mut total = total.into_inner().map_err(|_| anyhow::anyhow!("a connection panicked"))?;
        total.latencies.sort_unstable();
        Ok(total.report(seconds))
    }

    fn send(&self, mut sender: Sender, next: &AtomicUsize) -> anyhow::Result<Seen> {
        let mut seen = Seen::default();
        let mut text = File::open(&self.text)?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= self.messages {
                sender.say(b"QUIT\r\n")?;
                return Ok(seen);
            }
            let recipient = self.recipient.replace("{}", &(number % self.recipients).to_string());
            let message = self.message(number, &recipient, &mut text)?;
            let began = Instant::now();
            match sender.deliver(self.sender(), &recipient, &message)? {
                None => {
                    seen.latencies.push(began.elapsed());
                    seen.octets += message.len() as u64;
                }
                Some(refusal) => {
                    seen.refused += 1;
                    seen.refusal.get_or_insert(refusal);
                }
            }
        }
    }

    fn sender(&self) -> &str {
        self.login.as_ref().map_or("sender@remote.example", |(user, _)| user)
    }

    /// A message of the size asked for, its text from a stretch of the file that no other message of the run has.
    fn message(&self, number: usize, recipient: &str, text: &mut File) -> anyhow::Result<Vec<u8>> {
        let mut header = String::with_capacity(self.size + self.size / 16);
        write!(
            header,
            "From: Sender {number} <{}>\r\nTo: <{recipient}>\r\nSubject: Message {number} of a \
             measurement\r\nDate: Mon, 02 Mar 2026 09:00:00 +0000\r\nMessage-ID: <{}.{number}@remote.example>\r\n\
             MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n",
            self.sender(),
            self.run
        )?;
        let mut message = header.into_bytes();
        text.seek(SeekFrom::Start((self.first + number) as u64 * self.size as u64))?;
        let mut stretch = vec![0; self.size];
        text.read_exact(&mut stretch)?;
        for line in stretch.split(|&byte| byte == b'\n') {
            let room = self.size.saturating_sub(message.len() + 2);
            if room == 0 {
                break;
            }
            message.extend(&line[..line.len().min(room)]);
            message.extend(b"\r\n");
        }
        Ok(message)
    }
}

/// A connection that has said EHLO.
struct Sender {
    stream: BufReader<TcpStream>,
}

impl Sender {
    fn connect(to: SocketAddr, login: Option<&(String, String)>) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut sender = Self { stream: BufReader::new(stream) };
        let greeting = sender.reply()?;
        ensure!(greeting.starts_with("220"), "greeting {greeting:?}");
        let hello = sender.say(b"EHLO load.remote.example\r\n")?;
        ensure!(hello.starts_with("250"), "EHLO was answered {hello:?}");
        if let Some((user, password)) = login {
            let secret = BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
            let reply = sender.say(format!("AUTH PLAIN {secret}\r\n").as_bytes())?;
            ensure!(reply.starts_with("235"), "AUTH was answered {reply:?}");
        }
        Ok(sender)
    }

    /// Sends one message; a refusal is given back as text.
    fn deliver(&mut self, from: &str, recipient: &str, message: &[u8]) -> anyhow::Result<Option<String>> {
        let envelope =
            format!("MAIL FROM:<{from}> SIZE={} BODY=8BITMIME\r\nRCPT TO:<{recipient}>\r\nDATA\r\n", message.len());
        self.write(envelope.as_bytes())?;
        let replies = [self.reply()?, self.reply()?, self.reply()?];
        if let Some(refusal) = replies.iter().find(|reply| !reply.starts_with(['2', '3'])) {
            if replies[2].starts_with("354") {
                self.say(b".\r\n")?;
            }
            self.say(b"RSET\r\n")?;
            return Ok(Some(refusal.clone()));
        }
        let mut data = Vec::with_capacity(message.len() + 64);
        for line in message.split_inclusive(|&byte| byte == b'\n') {
            if line.starts_with(b".") {
                data.push(b'.');
            }
            data.extend(line);
        }
        data.extend(b".\r\n");
        let reply = self.say(&data)?;
        Ok((!reply.starts_with("250")).then_some(reply))
    }

    fn say(&mut self, bytes: &[u8]) -> anyhow::Result<String> {
        self.write(bytes)?;
        self.reply()
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    /// The last line of a reply.
    fn reply(&mut self) -> anyhow::Result<String> {
        loop {
            let mut line = String::new();
            ensure!(self.stream.read_line(&mut line)? > 0, "the server closed the connection");
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line.trim_end().to_owned());
            }
        }
    }
}

impl Seen {
    fn report(&self, seconds: f64) -> serde_json::Value {
        let milliseconds = |share: f64| {
            let at = (self.latencies.len() as f64 * share) as usize;
            self.latencies.get(at.min(self.latencies.len().saturating_sub(1))).map(|time| time.as_secs_f64() * 1e3)
        };
        serde_json::json!({
            "acknowledged": self.latencies.len(),
            "refused": self.refused,
            "refusal": self.refusal,
            "octets": self.octets,
            "seconds": seconds,
            "messages_per_second": self.latencies.len() as f64 / seconds,
            "p50_milliseconds": milliseconds(0.5),
            "p90_milliseconds": milliseconds(0.9),
            "p99_milliseconds": milliseconds(0.99),
        })
    }
}
