//! A world for the worker: what each destination does, and what it has seen.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use securanet_gateway::{
    model::{RecipientAddress, ReversePath, outbound::Outcome},
    store::BoxFuture,
};
use tokio::time::sleep;

use super::super::{
    gate::Gate,
    wire::{Talk, Wire},
};
use crate::{
    client::{Envelope, Octets, OpenFailure, RecipientOutcome, Sent, Stage, Verdict},
    dns::DnsFailure,
    outgoing::Path,
    route::{Hop, RouteFailure, Times, TlsDemand},
};

/// What a destination does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    /// Takes everything.
    Take,
    /// Takes it, the body so slowly.
    TakeSlowly(Duration),
    /// Takes it and answers the final dot after so long.
    AnswerSlowly(Duration),
    /// Takes a message and closes the connection when nobody looks.
    TakeThenDie,
    /// Takes it and breaks off instead of answering.
    LoseAfterDot,
    /// 450.
    Defer,
    /// 550.
    Refuse,
    /// Its host refuses connections.
    Refused,
    /// Its host gives no sign of life, which is clear after half a minute.
    Silent,
    /// Its host accepts and says nothing for five minutes.
    Hang,
    /// No name can be resolved: our fault.
    ResolverDead,
    /// Takes it, and does not know SMTPUTF8.
    Ascii,
    /// Takes it without TLS, which it does not offer.
    NoTls,
    /// Demands TLS by its own policy, which its host cannot do.
    Strict,
    /// A host that only the DNS names; it takes everything.
    Unproven,
    /// Has these hosts, in this order.
    Hosts(&'static [&'static str]),
    /// Where its hosts are is known after so long; they take everything.
    SlowDns(Duration),
}

type Acts = dyn Fn(&str) -> Act + Send + Sync;

pub(super) struct World {
    acts: Mutex<Arc<Acts>>,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    taken: Mutex<Vec<Vec<String>>>,
    /// Of each message taken: SMTPUTF8 was said, and the content.
    content: Mutex<Vec<(bool, String)>>,
    opened: AtomicUsize,
    probed: AtomicUsize,
    broken_off: AtomicUsize,
}

impl World {
    pub(super) fn new(acts: impl Fn(&str) -> Act + Send + Sync + 'static) -> Self {
        Self { acts: Mutex::new(Arc::new(acts)), seen: Arc::default() }
    }

    /// From now on it does this.
    pub(super) fn act(&self, acts: impl Fn(&str) -> Act + Send + Sync + 'static) {
        *self.acts.lock() = Arc::new(acts);
    }

    /// The recipients of each message that remotes have.
    pub(super) fn taken(&self) -> Vec<Vec<String>> {
        self.seen.taken.lock().clone()
    }

    /// Of each message that remotes have: whether SMTPUTF8 was said, and the content.
    pub(super) fn content(&self) -> Vec<(bool, String)> {
        self.seen.content.lock().clone()
    }

    /// Connections tried.
    pub(super) fn opened(&self) -> usize {
        self.seen.opened.load(Ordering::SeqCst)
    }

    /// Probes.
    pub(super) fn probed(&self) -> usize {
        self.seen.probed.load(Ordering::SeqCst)
    }

    /// Transactions that were broken off before their end.
    pub(super) fn broken_off(&self) -> usize {
        self.seen.broken_off.load(Ordering::SeqCst)
    }

    fn of(&self, destination: &str) -> Act {
        let acts = self.acts.lock().clone();
        acts(destination)
    }

    async fn reach(&self, hop: &Hop) -> Result<Act, OpenFailure> {
        let act = self.of(&hop.name);
        match act {
            Act::Refused => Err(OpenFailure::of_test(&hop.name, Stage::Connect, "connection refused")),
            Act::Silent => {
                sleep(Duration::from_secs(30)).await;
                Err(OpenFailure::of_test(&hop.name, Stage::Connect, "timed out"))
            }
            Act::Hang => {
                sleep(Duration::from_secs(300)).await;
                Err(OpenFailure::of_test(&hop.name, Stage::Greeting, "no word for 300 s"))
            }
            Act::NoTls | Act::Strict if hop.tls.is_demanded() => {
                Err(OpenFailure::of_test(&hop.name, Stage::StartTls, "not offered"))
            }
            act => Ok(act),
        }
    }
}

impl Wire for World {
    /// A route is for the mail of whoever is called `routed`.
    fn destination_of(&self, _: &ReversePath, recipient: &RecipientAddress) -> String {
        if recipient.to_string().starts_with("routed@") { "route:one".to_owned() } else { recipient.host() }
    }

    fn times(&self, _: &str) -> Option<Times> {
        None
    }

    fn route<'a>(&'a self, destination: &'a str, _: bool) -> BoxFuture<'a, Result<Vec<Hop>, RouteFailure>> {
        Box::pin(async move {
            if self.of(destination) == Act::ResolverDead {
                return Err(DnsFailure::ResolverDead("no answer".to_owned()).into());
            }
            if let Act::SlowDns(time) = self.of(destination) {
                sleep(time).await;
            }
            let hop = |name: &str| Hop {
                name: name.to_owned(),
                name_is_sure: self.of(name) != Act::Unproven,
                addresses: vec!["192.0.2.1:25".parse().unwrap()],
                tls: if self.of(name) == Act::Strict { TlsDemand::Encrypted } else { TlsDemand::Opportunistic },
                implicit_tls: false,
                auth: None,
                route: None,
                source_addresses: Vec::new(),
                helo_name: None,
                tls_reason: None,
                tls_subject: None,
            };
            Ok(match self.of(destination) {
                Act::Hosts(names) => names.iter().map(|name| hop(name)).collect(),
                _ => vec![hop(destination)],
            })
        })
    }

    fn route_for_tls_report<'a>(
        &'a self,
        domain: &'a str,
        fresh: bool,
    ) -> BoxFuture<'a, Result<Vec<Hop>, RouteFailure>> {
        Box::pin(async move {
            let mut hops = self.route(domain, fresh).await?;
            hops.iter_mut().for_each(|hop| hop.tls = TlsDemand::Opportunistic);
            Ok(hops)
        })
    }

    fn open<'a>(&'a self, hop: &'a Hop) -> BoxFuture<'a, Result<Box<dyn Talk>, OpenFailure>> {
        self.seen.opened.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let act = self.reach(hop).await?;
            let remote = Remote { act, seen: self.seen.clone(), used: 0, lost: AtomicBool::new(false) };
            Ok(Box::new(remote) as Box<dyn Talk>)
        })
    }

    fn probe<'a>(&'a self, hop: &'a Hop) -> BoxFuture<'a, Result<(), OpenFailure>> {
        self.seen.probed.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { self.reach(hop).await.map(drop) })
    }
}

struct Remote {
    act: Act,
    seen: Arc<Seen>,
    used: usize,
    lost: AtomicBool,
}

/// Counts a transaction as broken off unless it came to its end.
struct UnderWay(Option<Arc<Seen>>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(seen) = &self.0 {
            seen.broken_off.fetch_add(1, Ordering::SeqCst);
        }
    }
}

fn outcome(outcome: Outcome, status: (u8, u16, u16), answer: &str) -> Verdict {
    Verdict::Settled(RecipientOutcome {
        outcome,
        status,
        host: Some("mx [192.0.2.1]:25".to_owned()),
        tls: None,
        answer: answer.to_owned(),
        answer_is_remote: true,
    })
}

/// What a host can never do, in our own words.
fn cannot(status: (u8, u16, u16), why: &str) -> Verdict {
    match outcome(Outcome::Permanent, status, why) {
        Verdict::Settled(told) => Verdict::Settled(RecipientOutcome { answer_is_remote: false, ..told }),
        other => other,
    }
}

impl Talk for Remote {
    fn path(&self) -> Path {
        Path { eight_bit_mime: true, smtp_utf8: self.act != Act::Ascii }
    }

    fn whom(&self) -> (String, String) {
        ("mx [192.0.2.1]:25".to_owned(), "none".to_owned())
    }

    fn send<'a>(
        &'a mut self,
        envelope: &'a Envelope<'a>,
        content: &'a mut dyn Octets,
        gate: Gate,
    ) -> BoxFuture<'a, Sent> {
        Box::pin(async move {
            let count = envelope.recipients.len();
            let all = |verdict: Verdict| Sent { verdicts: vec![verdict; count], stale: false };
            self.used += 1;
            if self.act == Act::TakeThenDie && self.used > 1 {
                self.lost.store(true, Ordering::SeqCst);
                let lost = outcome(Outcome::TemporaryConnection, (4, 4, 2), "connection closed");
                return Sent { stale: true, ..all(lost) };
            }
            match self.act {
                Act::Defer => return all(outcome(Outcome::TemporaryAnswer, (4, 2, 1), "450 4.2.1 come back later")),
                Act::Ascii if envelope.needs_utf8() => return all(cannot((5, 6, 7), "no SMTPUTF8 here")),
                Act::Refuse => return all(outcome(Outcome::Permanent, (5, 1, 1), "550 5.1.1 no such user")),
                _ => {}
            }
            let mut under_way = UnderWay(Some(self.seen.clone()));
            let mut octets = Vec::new();
            while let Some(piece) = content.next().await.unwrap() {
                octets.extend_from_slice(&piece);
            }
            if let Act::TakeSlowly(time) = self.act {
                sleep(time).await;
            }
            let may = gate.pass((0..count).collect()).await;
            if may.contains(&false) {
                self.lost.store(true, Ordering::SeqCst);
                let held_back = outcome(Outcome::NotTried { again_after: 1 }, (4, 3, 0), "held back");
                let verdict = |may: &bool| if *may { held_back.clone() } else { Verdict::Forbidden };
                return Sent { verdicts: may.iter().map(verdict).collect(), stale: false };
            }
            under_way.0 = None;
            let recipients = envelope.recipients.iter().map(|recipient| recipient.address.to_string());
            self.seen.taken.lock().push(recipients.collect());
            let text = String::from_utf8(octets).unwrap();
            self.seen.content.lock().push((envelope.needs_utf8(), text));
            match self.act {
                Act::AnswerSlowly(time) => sleep(time).await,
                Act::LoseAfterDot => {
                    self.lost.store(true, Ordering::SeqCst);
                    return all(Verdict::Uncertain("closed after the final dot".to_owned()));
                }
                _ => {}
            }
            all(outcome(Outcome::Delivered { notifies: false }, (2, 0, 0), "250 2.0.0 queued"))
        })
    }

    fn is_reusable(&self) -> bool {
        !self.lost.load(Ordering::SeqCst)
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}
