//! One connection and the letters that go over it: routes, hosts in their order, the transaction, outcomes.
//!
//! For each letter: a connection that is open is used; one that turns out to be dead is replaced without a word. A host
//! that cannot be reached, or is lost before the final dot, is followed by the next one; what the last one says counts.
//! When none could be reached, all that waits for the destination is told the same.
//!
//! A stop, or the end of the lease, breaks off what has not passed its [`Gate`]; what has is waited for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use securanet_gateway::{
    connection::Shutdown,
    model::outbound::{OutboundRecipient, Outcome},
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    Core,
    content::{self, ContentFault},
    destination::{Load, SessionEnd},
    lease::Lease,
    letter::{self, Letter, Verdict},
    queue::Queue,
    uplink::Sign,
    wire::Talk,
};
use crate::{
    client::{self, Envelope, OpenFailure, Sent},
    metric,
    route::{Hop, RouteFailure},
};

/// A connection waits so long for its next letter: the time in which the next ones are taken from the queue.
const LINGER: Duration = Duration::from_millis(500);
/// A host that has not got ready for mail for so long may never.
const SLOW: Duration = Duration::from_secs(5);
/// A goodbye that takes longer is nobody's loss.
const QUIT_PATIENCE: Duration = Duration::from_secs(5);
/// What a fault of ours kept back is tried again after this long.
const OUR_FAULT_SECONDS: u32 = 60;
/// While the uplink is dead.
const UPLINK_SECONDS: u32 = 300;
/// Content that cannot be read needs an operator; it is not bounced for that.
const DAMAGED_SECONDS: u32 = 3600;

/// Asked before the final dot: commits the intent.
pub(crate) struct Gate {
    queue: Queue,
    lease: Arc<Lease>,
    places: Vec<(securanet_gateway::model::outbound::Place, u32)>,
    shutdown: Shutdown,
    /// The intent is being committed or is: the transaction is not broken off any more.
    passed: Arc<AtomicBool>,
}

impl Gate {
    /// Whether the final dot may be passed for the recipients at these positions of the envelope.
    pub(crate) async fn pass(self, accepted: Vec<usize>) -> Vec<bool> {
        let none = vec![false; accepted.len()];
        if self.shutdown.is_draining() || !self.lease.is_living() {
            return none;
        }
        self.passed.store(true, Ordering::SeqCst);
        let places = accepted.iter().map(|&at| self.places[at]).collect();
        match self.queue.intend(self.lease.epoch(), places, self.lease.left()).await {
            // The commit may have taken as long as the lease lived.
            Ok(may) if self.lease.is_living() => may,
            Ok(_) => none,
            Err(error) => {
                tracing::warn!(group = %self.queue.group(), %error, "an intent could not be committed: not sent");
                none
            }
        }
    }
}

/// How it goes on after a letter.
enum After {
    /// With the next one.
    On,
    /// The connection's work ends, and this is told to what waits.
    End(SessionEnd<Verdict>, Verdict),
}

impl After {
    fn lost() -> Self {
        Self::End(SessionEnd::Lost, letter::not_tried(1, "the connection was lost"))
    }

    fn peace() -> Self {
        Self::End(SessionEnd::Peace, letter::not_tried(1, "the worker stops"))
    }
}

/// Sends a first letter and those that follow it; the scheduler is told the end.
pub(crate) async fn run(core: Arc<Core>, name: Arc<str>, first: Load<Letter>) {
    let _open = metric::OpenSession::new();
    let line = Line { core, name };
    let mut talk = None;
    let mut next = Some(first);
    let (mut end, mut verdict) = (SessionEnd::Peace, letter::not_tried(1, "the connection has ended"));
    while let Some(load) = next.take() {
        match line.carry(load, &mut talk).await {
            After::On => next = line.next(talk.as_ref().is_some_and(|talk| talk.is_reusable())).await,
            After::End(how, told) => (end, verdict) = (how, told),
        }
    }
    if let Some(talk) = talk.filter(|talk| talk.is_reusable()) {
        timeout(QUIT_PATIENCE, talk.close()).await.ok();
    }
    line.core.session_ended(&line.name, end, &verdict).await;
}

/// A connection's place: its destination among all.
struct Line {
    core: Arc<Core>,
    name: Arc<str>,
}

/// The conversation that is open, if one is.
type Open = Option<Box<dyn Talk>>;

/// A conversation's host after a transaction.
struct Host {
    is_reusable: bool,
    /// As [`Talk::whom`] says.
    whom: (String, String),
}

/// What became of a letter with one host.
enum Carried {
    /// All its recipients are settled; whether the host took it for one of them.
    Settled(bool),
    /// These are not: the host did not take them, another may.
    Left(Letter, Verdict),
    /// The connection had died before: nothing was said to anybody.
    Stale(Letter),
    /// The host wants these in a transaction of their own (RFC 5321 4.5.3.1.10).
    Again(Letter),
    /// It was broken off by a stop or the lease's end; all are settled.
    BrokenOff,
}

impl Line {
    /// The next letter; with an open connection after a short wait if there is none.
    async fn next(&self, is_open: bool) -> Option<Load<Letter>> {
        let more = |core: &Core, name: &Arc<str>| core.scheduler.lock().more(Instant::now(), name);
        if self.core.shutdown.is_draining() {
            return None;
        }
        if let Some(load) = more(&self.core, &self.name) {
            return Some(load);
        }
        if !is_open {
            return None;
        }
        let wake = self.core.scheduler.lock().idle(Instant::now(), &self.name, true);
        tokio::select! {
            () = wake.notified() => {}
            () = sleep(LINGER) => {}
            () = self.core.shutdown.draining() => {}
        }
        self.core.scheduler.lock().idle(Instant::now(), &self.name, false);
        if self.core.shutdown.is_draining() { None } else { more(&self.core, &self.name) }
    }

    async fn carry(&self, load: Load<Letter>, open: &mut Open) -> After {
        let began = Instant::now();
        let letter = load.letter;
        if !letter.lease.is_living() {
            return After::On;
        }
        if self.core.shutdown.is_draining() {
            letter.settle_all(began, &letter::not_tried(1, "the server is shutting down")).await;
            return After::peace();
        }
        if let Some(verdict) = too_late(&letter) {
            letter.settle_all(began, &verdict).await;
            return After::On;
        }
        let reused = open.take().filter(|talk| talk.is_reusable() && !letter.requires_tls());
        let Some(mut talk) = reused else { return self.carry_afresh(letter, load.is_bulk, began, open).await };
        match self.send_all(&mut *talk, letter, began).await {
            Carried::Settled(taken) => after_host(talk, taken, open),
            Carried::BrokenOff => After::peace(),
            Carried::Stale(letter) | Carried::Again(letter) | Carried::Left(letter, _) => {
                self.carry_afresh(letter, load.is_bulk, began, open).await
            }
        }
    }

    /// Finds the destination's hosts and tries one after the other.
    async fn carry_afresh(&self, mut letter: Letter, is_bulk: bool, began: Instant, open: &mut Open) -> After {
        let hops = match self.core.wire.route(&self.name, letter.was_no_such_domain()).await {
            Ok(hops) => hops,
            Err(failure) => return self.no_route(letter, &failure, began).await,
        };
        let mut last = letter::not_tried(OUR_FAULT_SECONDS, "the destination has no host");
        let mut reached = false;
        for hop in hops {
            let hop = if letter.requires_tls() { hop.requiring_tls() } else { hop };
            let mut talk = match self.open(&hop, &letter).await {
                Some(Ok(talk)) => talk,
                Some(Err(verdict)) => {
                    last = verdict;
                    continue;
                }
                None => {
                    letter.settle_all(began, &letter::not_tried(1, "broken off before the message was sent")).await;
                    return After::peace();
                }
            };
            reached = true;
            match self.send_all(&mut *talk, letter, began).await {
                Carried::Settled(taken) => return after_host(talk, taken, open),
                Carried::BrokenOff => return After::peace(),
                Carried::Left(left, verdict) => (letter, last) = (left, verdict),
                Carried::Stale(left) | Carried::Again(left) => letter = left,
            }
        }
        if reached {
            letter.settle_all(began, &last).await;
            return After::lost();
        }
        self.no_host(letter, is_bulk, last, began).await
    }

    /// Opens a conversation; `None` when a stop or the lease's end came before.
    async fn open(&self, hop: &Hop, letter: &Letter) -> Option<Result<Box<dyn Talk>, Verdict>> {
        let opened = tokio::select! {
            opened = self.open_in_time(hop) => opened,
            () = self.core.shutdown.draining() => return None,
            () = letter.lease.ended() => return None,
        };
        metric::opened(opened.is_ok());
        Some(match opened {
            Ok(talk) => {
                self.core.saw(&self.name, Sign::Life);
                Ok(talk)
            }
            Err(failure) => Err(self.judged(failure)),
        })
    }

    /// Opens a conversation; one that takes long makes room for another meanwhile.
    async fn open_in_time(&self, hop: &Hop) -> Result<Box<dyn Talk>, OpenFailure> {
        let mut opening = self.core.wire.open(hop);
        if let Ok(opened) = timeout(SLOW, &mut opening).await {
            return opened;
        }
        let Some(_slow) = Slow::begin(&self.core, &self.name) else { return opening.await };
        opening.await
    }

    /// A failure to reach a host is ours while nobody can be reached.
    fn judged(&self, failure: OpenFailure) -> Verdict {
        let sign = Sign::of(&failure);
        self.core.saw(&self.name, sign);
        let mut verdict = Verdict::from(failure);
        if verdict.outcome == Outcome::TemporaryConnection && sign == Sign::Silence && self.core.is_uplink_dead() {
            verdict.outcome = Outcome::NotTried { again_after: UPLINK_SECONDS };
        }
        verdict
    }

    async fn no_route(&self, letter: Letter, failure: &RouteFailure, began: Instant) -> After {
        metric::no_route(failure);
        let verdict = letter::ours(failure.outcome(), failure.status(), failure.to_string());
        letter.settle_all(began, &verdict).await;
        After::End(SessionEnd::Told, verdict)
    }

    /// No host took the connection. With others open, the destination merely wants fewer of them.
    async fn no_host(&self, letter: Letter, is_bulk: bool, verdict: Verdict, began: Instant) -> After {
        let recipients = letter.recipients.len();
        let load = Load { letter, recipients, is_bulk };
        let Some(Load { letter, .. }) = self.core.scheduler.lock().leave_to_company(&self.name, load) else {
            return After::lost();
        };
        letter.settle_all(began, &verdict).await;
        let told = Verdict { answer: format!("not tried again so soon: {}", verdict.answer), ..verdict };
        After::End(SessionEnd::Unreachable(told.clone()), told)
    }

    /// Sends a letter in as many transactions as the host wants.
    async fn send_all(&self, talk: &mut dyn Talk, mut letter: Letter, began: Instant) -> Carried {
        loop {
            match self.send(talk, letter, began).await {
                Carried::Again(rest) if talk.is_reusable() => letter = rest,
                carried => return carried,
            }
        }
    }

    /// Sends a letter over a conversation and settles what can be.
    async fn send(&self, talk: &mut dyn Talk, letter: Letter, began: Instant) -> Carried {
        let mut source = match content::open(&self.core, letter.handle.group, &letter.head, talk.path()).await {
            Ok(source) => source,
            Err(fault) => {
                letter.settle_all(began, &of_fault(&fault)).await;
                // Nothing was asked of the host.
                return Carried::Settled(true);
            }
        };
        let passed = Arc::new(AtomicBool::new(false));
        let all: Vec<usize> = (0..letter.recipients.len()).collect();
        let gate = Gate {
            queue: Queue::new(self.core.client.clone(), letter.handle.group),
            lease: letter.lease.clone(),
            places: letter.places(&all),
            shutdown: self.core.shutdown.clone(),
            passed: passed.clone(),
        };
        let recipients: Vec<&OutboundRecipient> = letter.recipients.iter().map(|taken| &taken.recipient).collect();
        let view = &letter.head.view;
        let envelope = Envelope {
            sender: &view.sender,
            recipients: &recipients,
            options: &view.options,
            size_bytes: source.size_bytes(),
            eight_bit: source.is_eight_bit(),
            utf8_header: source.has_utf8_header(),
            now: self.core.now(),
        };
        let sent = tokio::select! {
            sent = talk.send(&envelope, &mut source, gate) => Some(sent),
            () = broken_off(&self.core.shutdown, &letter.lease, &passed) => None,
        };
        let Some(sent) = sent else {
            letter.settle_all(began, &letter::not_tried(1, "broken off before the message's end")).await;
            return Carried::BrokenOff;
        };
        let host = Host { is_reusable: talk.is_reusable(), whom: talk.whom() };
        self.settle(&host, letter, sent, began).await
    }

    async fn settle(&self, host: &Host, letter: Letter, sent: Sent, began: Instant) -> Carried {
        if sent.stale {
            return Carried::Stale(letter);
        }
        let mut left = None;
        let mut of_recipient = |verdict| match settled(verdict, host)? {
            // The host was lost before the final dot: the next one may take it.
            verdict if verdict.outcome == Outcome::TemporaryConnection && !host.is_reusable => {
                left = Some(verdict);
                None
            }
            verdict => Some(verdict),
        };
        let verdicts: Vec<Option<Verdict>> = sent.verdicts.into_iter().map(&mut of_recipient).collect();
        let is_taken = |verdict: &Verdict| matches!(verdict.outcome, Outcome::Delivered { .. });
        let taken = verdicts.iter().flatten().any(is_taken);
        if taken {
            self.core.scheduler.lock().succeeded(Instant::now(), &self.name);
            self.core.work.notify_one();
        }
        let rest = letter.settle(began, verdicts).await.letter();
        match (rest, left) {
            (Some(letter), Some(verdict)) => Carried::Left(letter, verdict),
            (Some(letter), None) => Carried::Again(letter),
            (None, _) => Carried::Settled(taken),
        }
    }
}

fn after_host(talk: Box<dyn Talk>, taken: bool, open: &mut Open) -> After {
    *open = Some(talk).filter(|talk| talk.is_reusable());
    // One that has carried all that it may is no loss.
    if open.is_some() || taken { After::On } else { After::lost() }
}

/// A connection that does not count, for as long as this lives.
struct Slow<'a>(&'a Core);

impl<'a> Slow<'a> {
    fn begin(core: &'a Core, name: &Arc<str>) -> Option<Self> {
        let counts_no_more = core.scheduler.lock().slow(Instant::now(), name);
        core.work.notify_one();
        counts_no_more.then_some(Self(core))
    }
}

impl Drop for Slow<'_> {
    fn drop(&mut self) {
        self.0.scheduler.lock().awake();
    }
}

/// Resolves when a transaction is to be broken off; never once it has passed its gate.
async fn broken_off(shutdown: &Shutdown, lease: &Lease, passed: &AtomicBool) {
    tokio::select! {
        () = shutdown.draining() => {}
        () = lease.ended() => {}
    }
    if passed.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
}

/// RFC 2852 4.1.4: R, and its time is over.
fn too_late(letter: &Letter) -> Option<Verdict> {
    let by = letter.head.view.options.deliver_by.filter(|by| by.or_return && letter.core.now() >= by.by)?;
    let late_seconds = letter.core.now().millis_since(by.by) / 1000;
    let answer = format!("the time in which it was to be delivered was over {late_seconds} seconds ago");
    Some(letter::ours(Outcome::Permanent, (5, 4, 7), answer))
}

fn of_fault(fault: &ContentFault) -> Verdict {
    use securanet_gateway::model::StoreError;
    match fault {
        ContentFault::Unsendable(why) => letter::ours(Outcome::Permanent, why.status(), why.to_string()),
        ContentFault::Store(StoreError::Damaged(_) | StoreError::NotFound | StoreError::Internal(_)) => {
            tracing::error!(%fault, "mail cannot leave: look at the store, `securanet scrub` says more");
            letter::not_tried(DAMAGED_SECONDS, fault.to_string())
        }
        ContentFault::Store(_) => letter::not_tried(OUR_FAULT_SECONDS, fault.to_string()),
    }
}

/// What a verdict of the client is to the queue; none: it is to be sent in another transaction.
fn settled(verdict: client::Verdict, host: &Host) -> Option<Verdict> {
    Some(match verdict {
        client::Verdict::Settled(outcome) => outcome,
        client::Verdict::Again => return None,
        client::Verdict::Forbidden => letter::not_tried(1, "the queue did not allow the message's end"),
        client::Verdict::Uncertain(why) => {
            let (host, tls) = host.whom.clone();
            Verdict { host: Some(host), tls: Some(tls), ..letter::ours(Outcome::Uncertain, (4, 4, 2), why) }
        }
    })
}
