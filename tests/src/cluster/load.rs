//! Load on all gateways: senders, people who submit, and people at IMAP, each on a thread, until they are told to stop.

use std::{
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, sleep},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    chains::Chains,
    ledger::{Fate, Ledger},
    mailbox::Account,
    node::Node,
    person::{Copies, Person},
    sites::Sites,
};
use crate::{
    dialogue::Dialogue,
    random::Random,
    rude::{Manner, Rude},
    server::{PASSWORD, address},
};

/// The domain of the sink.
pub const SINK_DOMAIN: &str = "sink.example";
/// Senders wait so long for an answer, or up to so much longer: some give up before the server does.
const PATIENCE_SECONDS: u64 = 4;
const PATIENCE_MORE_SECONDS: usize = 32;
/// When there is nobody to talk to.
const PAUSE: Duration = Duration::from_millis(100);

/// How much load.
#[derive(Clone, Copy, Debug)]
pub struct Strength {
    /// Connections to each gateway that send to accounts.
    pub senders: usize,
    /// Connections that submit to the sink.
    pub submitters: usize,
    /// Between two messages of one connection, at most, in milliseconds.
    pub pause_millis: usize,
}

/// Everything that the load and its checks share.
pub struct World<'w> {
    /// The cluster.
    pub sites: &'w Sites,
    /// Mail to accounts.
    pub sent: Ledger,
    /// Mail to the sink.
    pub submitted: Ledger,
    /// Messages that people appended.
    pub appended: Ledger,
    /// The accounts; each has one person who changes it.
    pub accounts: Vec<Account>,
    /// Values with a history.
    pub chains: Chains,
    /// Where outbound mail arrives.
    pub sink: Rude,
    /// Commands of IMAP that were answered with OK.
    pub commands: AtomicU64,
    /// Sessions of IMAP that began.
    pub sessions: AtomicU64,
    /// Sessions of IMAP that ended in the middle.
    pub interrupted: AtomicU64,
    /// Messages to be sent again, with their recipients.
    again: Mutex<Vec<(String, Vec<String>)>>,
    stop: AtomicBool,
    broken: Mutex<Vec<String>>,
}

/// A foreign server that takes everything, now and then slowly.
pub fn sink() -> Rude {
    Rude::start(|number| if number % 5 == 0 { Manner::Slow(Duration::from_millis(300)) } else { Manner::Kind })
}

/// Lines of node files: mail for the sink's domain goes there.
pub fn routed_to(sink: &Rude) -> String {
    format!(
        "[delivery.worker]\nunreachable_seconds = 0\n[[delivery.routing.routes]]\nname = \"sink\"\n\
         recipient_domains = [\"{SINK_DOMAIN}\"]\nhosts = [\"[127.0.0.1]:{}\"]\n",
        sink.address().port()
    )
}

/// A message: small ones ride in the log, every sixth has a part large enough to be a blob.
pub fn message(id: &str) -> String {
    let number: usize =
        id.bytes().filter(u8::is_ascii_digit).fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    let line = format!("line of {id} with some text to be found again later\r\n");
    let lines = if number.is_multiple_of(6) { 700 } else { 12 };
    format!("From: s@remote.example\r\nSubject: {id}\r\nMessage-ID: <{id}>\r\n\r\n{}", line.repeat(lines))
}

impl<'w> World<'w> {
    /// Before the load.
    pub fn new(sites: &'w Sites, accounts: &[String], sink: Rude) -> Self {
        Self {
            sites,
            sent: Ledger::new("sent"),
            submitted: Ledger::new("submitted"),
            appended: Ledger::new("appended"),
            accounts: accounts.iter().map(|local| Account::new(local)).collect(),
            chains: Chains::default(),
            sink,
            commands: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
            interrupted: AtomicU64::new(0),
            again: Mutex::default(),
            stop: AtomicBool::new(false),
            broken: Mutex::default(),
        }
    }

    /// Runs the load while `meanwhile` does something; gives what people knew of their mailboxes at the end.
    pub fn load<T>(&self, strength: Strength, seed: u64, meanwhile: impl FnOnce() -> T) -> (T, Vec<Copies>) {
        self.stop.store(false, Ordering::SeqCst);
        self.chains.prepare(self).expect("a message to begin with");
        thread::scope(|scope| {
            let mut random = Random::new(seed);
            let mut fork = || Random::new(random.below(1 << 30) as u64);
            // Each gateway has its own, so that one that hangs takes no load from the others.
            for gateway in self.sites.gateways() {
                for _ in 0..strength.senders {
                    let random = fork();
                    scope.spawn(|| self.send(gateway, random, strength));
                }
            }
            for _ in 0..strength.submitters {
                let random = fork();
                scope.spawn(|| self.submit(random, strength));
            }
            for (at, gateway) in self.sites.gateways().enumerate() {
                let (owner, one, other) = (at % self.accounts.len(), fork(), fork());
                scope.spawn(move || self.chains.write_aliases(self, gateway, owner, one));
                scope.spawn(move || self.chains.write_flags(self, gateway, other));
            }
            let mut people = Vec::new();
            for account in &self.accounts {
                let (one, other) =
                    (Person::new(self, account, fork(), true), Person::new(self, account, fork(), false));
                people.push(scope.spawn(|| one.live()));
                people.push(scope.spawn(|| other.live()));
            }
            let result = meanwhile();
            self.stop.store(true, Ordering::SeqCst);
            (result, people.into_iter().map(|person| person.join().expect("a person")).collect())
        })
    }

    /// Whether the load ends.
    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// A promise was broken.
    pub fn report(&self, what: String) {
        eprintln!("BROKEN: {what}");
        self.broken.lock().unwrap().push(what);
    }

    /// What was broken so far.
    pub fn broken(&self) -> Vec<String> {
        self.broken.lock().unwrap().clone()
    }

    /// Some gateway's listener that is there, and the node's name.
    pub fn some_gateway(&self, random: &mut Random, listener: &str) -> Option<(String, SocketAddr)> {
        let gateways: Vec<_> = self.sites.gateways().collect();
        let node = gateways[random.below(gateways.len())];
        Some((node.name.clone(), node.address(listener)?))
    }

    fn send(&self, gateway: &Node, mut random: Random, strength: Strength) {
        while !self.is_over() {
            let Some(to) = gateway.address("smtp") else {
                sleep(PAUSE);
                continue;
            };
            let connected = Dialogue::smtp_within(to, "EHLO", patience(&mut random));
            let Ok(mut smtp) = connected else {
                sleep(PAUSE);
                continue;
            };
            for _ in 0..=random.below(15) {
                let (id, recipients) = self.next_mail(gateway, &mut random);
                let to: Vec<String> = recipients.iter().map(|local| address(local)).collect();
                let given = give(&mut smtp, "s@remote.example", &to, &message(&id));
                let acknowledged = matches!(given, Ok(Fate::Acknowledged));
                let good = conclude(&self.sent, &id, given);
                if !acknowledged && random.below(3) > 0 {
                    self.again.lock().unwrap().push((id, recipients));
                }
                if !good || self.is_over() {
                    break;
                }
                sleep(Duration::from_millis(random.below(strength.pause_millis) as u64));
            }
        }
    }

    /// One that was not acknowledged, as it was, at whatever gateway; or a new one.
    fn next_mail(&self, gateway: &Node, random: &mut Random) -> (String, Vec<String>) {
        if let Some((id, recipients)) = self.again.lock().unwrap().pop() {
            self.sent.repeat(&id, &gateway.name);
            return (id, recipients);
        }
        let recipients = self.recipients(random);
        (self.sent.attempt(&recipients, &gateway.name), recipients)
    }

    /// Mostly one account, sometimes up to three.
    fn recipients(&self, random: &mut Random) -> Vec<String> {
        let first = random.below(self.accounts.len());
        let count = if random.below(5) == 0 { 1 + random.below(3.min(self.accounts.len())) } else { 1 };
        let chosen = (first..first + count).map(|at| self.accounts[at % self.accounts.len()].local.clone());
        chosen.collect()
    }

    fn submit(&self, mut random: Random, strength: Strength) {
        while !self.is_over() {
            let sender = address(&self.accounts[random.below(self.accounts.len())].local);
            let Some((node, to)) = self.some_gateway(&mut random, "submission") else {
                sleep(PAUSE);
                continue;
            };
            let Ok(mut smtp) = logged_in(to, &sender, patience(&mut random)) else {
                sleep(PAUSE);
                continue;
            };
            for _ in 0..=random.below(6) {
                let recipient = format!("r{}@{SINK_DOMAIN}", random.below(50));
                let id = self.submitted.attempt(std::slice::from_ref(&recipient), &node);
                let text = message(&id).replace("s@remote.example", &sender);
                if !conclude(&self.submitted, &id, give(&mut smtp, &sender, &[recipient], &text)) || self.is_over() {
                    break;
                }
                sleep(Duration::from_millis(random.below(5 * strength.pause_millis) as u64));
            }
        }
    }
}

fn patience(random: &mut Random) -> Duration {
    Duration::from_secs(PATIENCE_SECONDS + random.below(PATIENCE_MORE_SECONDS) as u64)
}

fn logged_in(to: SocketAddr, sender: &str, patience: Duration) -> anyhow::Result<Dialogue> {
    let mut smtp = Dialogue::smtp_within(to, "EHLO", patience)?;
    let secret = STANDARD.encode(format!("\0{sender}\0{PASSWORD}"));
    smtp.expect(&format!("AUTH PLAIN {secret}"), "235")?;
    Ok(smtp)
}

/// Notes what became of it; whether the connection is still good.
fn conclude(ledger: &Ledger, id: &str, fate: anyhow::Result<Fate>) -> bool {
    let good = fate.is_ok();
    let fate = fate.unwrap_or(Fate::Unknown);
    ledger.end(id, fate);
    if fate != Fate::Acknowledged {
        sleep(PAUSE);
    }
    good
}

/// One transaction; an error when the connection ended before it did.
fn give(smtp: &mut Dialogue, from: &str, to: &[String], text: &str) -> anyhow::Result<Fate> {
    let mut lines = vec![format!("MAIL FROM:<{from}>")];
    lines.extend(to.iter().map(|to| format!("RCPT TO:<{to}>")));
    for line in lines {
        if !smtp.say(&line)?.starts_with("250") {
            smtp.say("RSET")?;
            return Ok(Fate::Refused);
        }
    }
    if !smtp.say("DATA")?.starts_with("354") {
        return Ok(Fate::Refused);
    }
    let reply = smtp.send_data(text.as_bytes())?;
    Ok(if reply.starts_with("250") { Fate::Acknowledged } else { Fate::Refused })
}
