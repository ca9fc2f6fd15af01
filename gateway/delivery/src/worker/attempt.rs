//! One connection and the letters that go over it: routes, hosts in their order, the transaction, outcomes.
//!
//! For each letter: a connection that is open is used; one that turns out to be dead is replaced without a word. A host
//! that cannot be reached, is lost before the final dot or can never take this very message is followed by the next one;
//! what the last one says counts, and what is for good only when no host says less. When none could be reached, all that
//! waits for the destination is told the same; but not what holds for one message only.
//!
//! A stop, or the end of the lease, breaks off what has not passed its [`Gate`](super::gate::Gate); what has is waited
//! for.

use std::{sync::Arc, time::Duration};

use securanet_gateway::{model::outbound::Outcome, store::BoxFuture};
use tokio::time::{Instant, sleep, timeout};

use super::{
    Core,
    destination::{Load, SessionEnd},
    gate::unless_stopped,
    letter::{self, Letter, Verdict},
    local,
    sending::Carried,
    uplink::Sign,
    wire::Talk,
};
use crate::{
    client::OpenFailure,
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
pub(crate) const OUR_FAULT_SECONDS: u32 = 60;
/// While the uplink is dead.
const UPLINK_SECONDS: u32 = 300;

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
    if local::is_local(&name) {
        return local::run(core, name, first).await;
    }
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
    if let Some(talk) = talk {
        close(talk).await;
    }
    line.core.session_ended(&line.name, end, &verdict).await;
}

/// A connection's place: its destination among all.
pub(crate) struct Line {
    pub(crate) core: Arc<Core>,
    pub(crate) name: Arc<str>,
}

/// The conversation that is open, if one is.
type Open = Option<Box<dyn Talk>>;

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
        // What another connection has proved of the server is not enough for REQUIRETLS.
        let reused = if letter.requires_tls() { None } else { open.take().filter(|talk| talk.is_reusable()) };
        let Some(mut talk) = reused else { return self.carry_afresh(letter, load.is_bulk, began, open).await };
        match self.send_all(&mut *talk, letter, began).await {
            Carried::Settled(taken) => after_host(talk, taken, open).await,
            Carried::BrokenOff => After::peace(),
            Carried::Stale(letter) | Carried::Again(letter) | Carried::Left(letter, _) => {
                keep(talk, open).await;
                self.carry_afresh(letter, load.is_bulk, began, open).await
            }
        }
    }

    /// Finds the destination's hosts and tries one after the other.
    async fn carry_afresh(&self, mut letter: Letter, is_bulk: bool, began: Instant, open: &mut Open) -> After {
        let shutdown = &self.core.shutdown;
        let hops = match unless_stopped(shutdown, &letter.lease, self.route(&letter)).await {
            Some(Ok(hops)) => hops,
            Some(Err(failure)) => return self.no_route(letter, &failure, began).await,
            None => {
                letter.stopped(began).await;
                return After::peace();
            }
        };
        let mut tried = Tried::default();
        for hop in hops {
            let hop = match hop {
                hop if !letter.requires_tls() => hop,
                hop => {
                    let name = hop.name.clone();
                    let Some(hop) = hop.requiring_tls() else {
                        tried.of_message = true;
                        tried.says(unproven(&name));
                        continue;
                    };
                    hop
                }
            };
            let mut talk = match unless_stopped(shutdown, &letter.lease, self.open(&hop)).await {
                Some(Ok(talk)) => talk,
                Some(Err(verdict)) => {
                    tried.of_message |= letter.requires_tls() && verdict.outcome == Outcome::TemporaryTls;
                    tried.says(verdict);
                    continue;
                }
                None => {
                    letter.stopped(began).await;
                    return After::peace();
                }
            };
            tried.reached = true;
            match self.send_all(&mut *talk, letter, began).await {
                Carried::Settled(taken) => return after_host(talk, taken, open).await,
                Carried::BrokenOff => return After::peace(),
                Carried::Left(left, verdict) => {
                    tried.says(verdict);
                    letter = left;
                }
                Carried::Stale(left) | Carried::Again(left) => letter = left,
            }
            keep(talk, open).await;
        }
        let last = tried.last.unwrap_or_else(|| letter::not_tried(OUR_FAULT_SECONDS, "the destination has no host"));
        if !tried.reached && !tried.of_message {
            return self.no_host(letter, is_bulk, last, began).await;
        }
        letter.settle_all(began, &last).await;
        if open.is_some() || tried.of_message { After::On } else { After::lost() }
    }

    fn route<'a>(&'a self, letter: &Letter) -> BoxFuture<'a, Result<Vec<Hop>, RouteFailure>> {
        let (wire, fresh) = (&self.core.wire, letter.was_no_such_domain());
        match letter.tls_report_to(&self.name) {
            Some(domain) => wire.route_for_tls_report(domain, fresh),
            None => wire.route(&self.name, fresh),
        }
    }

    /// Opens a conversation.
    async fn open(&self, hop: &Hop) -> Result<Box<dyn Talk>, Verdict> {
        let opened = self.open_in_time(hop).await;
        metric::opened(opened.is_ok());
        match opened {
            Ok(talk) => {
                self.core.saw(&self.name, Sign::Life);
                Ok(talk)
            }
            Err(failure) => Err(self.judged(failure)),
        }
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
        if let RouteFailure::NoRoute(why) = failure {
            tracing::error!(destination = %self.name, why, "mail waits for a route that this node does not have");
        }
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
}

/// What the hosts of a destination have said of a letter.
#[derive(Default)]
struct Tried {
    last: Option<Verdict>,
    /// One was ready for mail.
    reached: bool,
    /// What failed is what this message demands: it says nothing of other mail.
    of_message: bool,
}

impl Tried {
    /// The last word counts; one for good only when no host has said less, for that one may take the message later.
    fn says(&mut self, verdict: Verdict) {
        let said_less = self.last.as_ref().is_some_and(|last| last.outcome != Outcome::Permanent);
        if verdict.outcome != Outcome::Permanent || !said_less {
            self.last = Some(verdict);
        }
    }
}

async fn after_host(talk: Box<dyn Talk>, taken: bool, open: &mut Open) -> After {
    let is_reusable = keep(talk, open).await;
    // One that has carried all that it may is no loss.
    if is_reusable || taken { After::On } else { After::lost() }
}

/// Keeps a conversation for the next letter, if it is good for one; says goodbye in the one before it.
async fn keep(talk: Box<dyn Talk>, open: &mut Open) -> bool {
    let is_reusable = talk.is_reusable();
    if is_reusable && let Some(before) = open.replace(talk) {
        close(before).await;
    }
    is_reusable
}

async fn close(talk: Box<dyn Talk>) {
    if talk.is_reusable() {
        timeout(QUIT_PATIENCE, talk.close()).await.ok();
    }
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

/// RFC 8689 2: the DNS alone named the host, unsigned.
fn unproven(host: &str) -> Verdict {
    let answer = format!(
        "the message requires TLS up to its recipient, and neither DNSSEC nor MTA-STS proves that {host} is the right host"
    );
    letter::ours(Outcome::Permanent, (5, 7, 10), answer)
}

/// RFC 2852 4.1.4: R, and its time is over.
pub(crate) fn too_late(letter: &Letter) -> Option<Verdict> {
    let by = letter.head.view.options.deliver_by.filter(|by| by.or_return && letter.core.now() >= by.by)?;
    let late_seconds = letter.core.now().millis_since(by.by) / 1000;
    let answer = format!("the time in which it was to be delivered was over {late_seconds} seconds ago");
    Some(letter::ours(Outcome::Permanent, (5, 4, 7), answer))
}
