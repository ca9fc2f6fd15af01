//! Recipients of one item that go out together, from the moment they were taken until each is settled.
//!
//! A letter that is dropped with recipients in it gives their memory back and ends its lease: they are taken at the
//! queue, nobody will settle them, and only the lease's end makes them due again. So a fault of ours delays mail by
//! seconds and loses none.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::Arc,
};

use parking_lot::Mutex;
use securanet_gateway::model::{
    GroupId, ReversePath, StoreError,
    outbound::{Attempt, ItemView, Notify, Origin, Outcome, Place, Schedule, Settlement, Taken},
};
use tokio::{
    sync::{OnceCell, mpsc},
    time::Instant,
};

use super::{Core, content::Prepared, group::Handle, intending::Intent, lease::Lease, queue::Queue, settling::Fact};
use crate::metric;

/// Octets that the queue keeps of what an attempt says.
const ANSWER_OCTETS_MAX: usize = 1000;
const HOST_OCTETS_MAX: usize = 300;
const TLS_OCTETS_MAX: usize = 200;
/// Envelopes remembered: a bulk mailing's is asked for by each of its destinations.
const HEADS_MAX: usize = 2000;

/// What is known of an item, without its recipients.
pub(crate) struct Head {
    pub(crate) view: ItemView,
    /// How its content leaves, found with the first attempt.
    pub(crate) prepared: OnceCell<Prepared>,
}

/// What TLS reports wait with, before the domain: a line of their own. They go over connections that other mail must not
/// have, and what other mail is told of TLS is nothing to them. No domain's name has a colon.
pub(crate) const TLS_REPORT_PREFIX: &str = "tls-report:";

/// Recipients of one item for one destination.
pub(crate) struct Letter {
    pub(crate) core: Arc<Core>,
    pub(crate) handle: Arc<Handle>,
    pub(crate) facts: mpsc::Sender<Fact>,
    pub(crate) intents: mpsc::Sender<Intent>,
    pub(crate) lease: Arc<Lease>,
    pub(crate) head: Arc<Head>,
    /// What its account's policies say of retries.
    pub(crate) schedule: Arc<Schedule>,
    /// Whose memory it takes.
    pub(crate) destination: Arc<str>,
    pub(crate) recipients: Vec<Taken>,
}

/// What came of an attempt for a recipient, or for all of them.
pub(crate) use crate::client::RecipientOutcome as Verdict;

/// A verdict in our own words.
pub(crate) fn ours(outcome: Outcome, status: (u8, u16, u16), answer: impl Into<String>) -> Verdict {
    Verdict { outcome, status, host: None, tls: None, answer: answer.into(), answer_is_remote: false }
}

/// Not tried, for a fault of ours.
pub(crate) fn not_tried(again_after_seconds: u32, why: impl Into<String>) -> Verdict {
    ours(Outcome::NotTried { again_after: again_after_seconds }, (4, 3, 0), why)
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letter")
            .field("group", &self.handle.group)
            .field("item", &self.head.view.item)
            .field("recipients", &self.recipients.len())
            .finish_non_exhaustive()
    }
}

impl Letter {
    /// The places of some recipients, with their attempts.
    pub(crate) fn places(&self, positions: &[usize]) -> Vec<(Place, u32)> {
        positions.iter().map(|&at| (self.recipients[at].place, self.recipients[at].attempt)).collect()
    }

    /// RFC 8689; a bounce is not lost for want of it (section 5).
    pub(crate) fn requires_tls(&self) -> bool {
        self.head.view.options.require_tls && self.head.view.sender != ReversePath::Null
    }

    /// The domain that a TLS report goes to, which is what its line is named after; `None` for all other mail, whatever the
    /// line, and for a report that a route takes.
    pub(crate) fn tls_report_to<'a>(&self, line: &'a str) -> Option<&'a str> {
        let is_report = self.head.view.origin == Origin::TlsReport;
        line.strip_prefix(TLS_REPORT_PREFIX).filter(|_| is_report)
    }

    /// The domain did not exist the time before: a remembered absence is not good enough.
    pub(crate) fn was_no_such_domain(&self) -> bool {
        self.recipients.iter().any(|taken| taken.last == Some(Outcome::NoSuchDomain))
    }

    /// Settles all recipients alike.
    pub(crate) async fn settle_all(self, began: Instant, verdict: &Verdict) {
        let verdicts = vec![Some(verdict.clone()); self.recipients.len()];
        self.settle(began, verdicts).await.done();
    }

    /// A stop or the lease's end came before its gate. With the lease the right to it is gone: it is dropped, and due again
    /// when that is seen.
    pub(crate) async fn stopped(self, began: Instant) {
        if self.lease.is_living() {
            self.settle_all(began, &not_tried(1, "broken off before the message was sent")).await;
        }
    }

    /// Settles each recipient that has a verdict; gives back those that have none.
    pub(crate) async fn settle(mut self, began: Instant, verdicts: Vec<Option<Verdict>>) -> Rest {
        let took_millis = u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX);
        let recipients = std::mem::take(&mut self.recipients);
        for (taken, verdict) in recipients.into_iter().zip(verdicts) {
            match verdict {
                Some(verdict) => self.send(taken, verdict, took_millis).await,
                None => self.recipients.push(taken),
            }
        }
        Rest(self)
    }

    async fn send(&self, taken: Taken, verdict: Verdict, took_millis: u32) {
        let is_loud =
            !verdict.outcome.is_success() || matches!(taken.recipient.notify, Notify::On { success: true, .. });
        let tried = Attempt {
            at: self.core.now(),
            took_millis,
            outcome: verdict.outcome,
            status: verdict.status,
            host: verdict.host.map(|host| cut(host, HOST_OCTETS_MAX)),
            tls: verdict.tls.map(|tls| cut(tls, TLS_OCTETS_MAX)),
            answer: cut(verdict.answer, ANSWER_OCTETS_MAX),
            answer_is_remote: verdict.answer_is_remote,
        };
        self.log(&taken, &tried);
        let schedule = Schedule::clone(&self.schedule);
        let settlement = Settlement { place: taken.place, attempt: taken.attempt, tried, schedule };
        let fact = Fact { destination: self.destination.clone(), settlement, is_loud };
        if self.facts.send(fact).await.is_err() {
            // The worker has ended: the lease's end makes it due again.
            self.core.release(&self.handle, &self.destination, 1);
        }
    }
}

impl Letter {
    /// The one line that says what became of a recipient.
    fn log(&self, taken: &Taken, tried: &Attempt) {
        let (class, subject, detail) = tried.status;
        tracing::info!(
            mail = self.head.view.trace_id,
            group = %self.handle.group,
            item = taken.place.item,
            to = %taken.recipient.address,
            attempt = taken.attempt,
            outcome = metric::outcome_name(tried.outcome),
            status = format!("{class}.{subject}.{detail}"),
            host = tried.host,
            tls = tried.tls,
            took_millis = tried.took_millis,
            answer = tried.answer,
            "attempt"
        );
    }
}

impl Drop for Letter {
    fn drop(&mut self) {
        if !self.recipients.is_empty() {
            self.lease.end();
            self.core.release(&self.handle, &self.destination, self.recipients.len());
        }
    }
}

/// A letter after some of its recipients were settled.
pub(crate) struct Rest(Letter);

impl Rest {
    /// The letter with the recipients that are not settled; `None` when all are.
    pub(crate) fn letter(self) -> Option<Letter> {
        if self.0.recipients.is_empty() { None } else { Some(self.0) }
    }

    /// All were settled.
    pub(crate) fn done(self) {
        debug_assert!(self.0.recipients.is_empty(), "a recipient has no verdict");
    }
}

/// Cuts a text at a character's border.
fn cut(mut text: String, octets_max: usize) -> String {
    if text.len() > octets_max {
        let end = (0..=octets_max).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// Envelopes that were read not long ago.
#[derive(Default)]
pub(crate) struct Heads {
    memory: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    heads: HashMap<(GroupId, u64), Arc<Head>>,
    /// Their keys, oldest first.
    order: VecDeque<(GroupId, u64)>,
}

impl Heads {
    /// The head of an item; `None` when there is no such item any more.
    pub(crate) async fn of(&self, queue: &Queue, item: u64) -> Result<Option<Arc<Head>>, StoreError> {
        let key = (queue.group(), item);
        if let Some(head) = self.memory.lock().heads.get(&key) {
            return Ok(Some(head.clone()));
        }
        let Some(view) = queue.envelope(item).await? else { return Ok(None) };
        let head = Arc::new(Head { view: *view, prepared: OnceCell::new() });
        let mut memory = self.memory.lock();
        if memory.heads.insert(key, head.clone()).is_none() {
            memory.order.push_back(key);
        }
        if memory.order.len() > HEADS_MAX
            && let Some(oldest) = memory.order.pop_front()
        {
            memory.heads.remove(&oldest);
        }
        Ok(Some(head))
    }
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("äöü".to_owned(), 3), "ä");
        assert_eq!(cut("abc".to_owned(), 3), "abc");
        assert_eq!(cut("abcd".to_owned(), 3), "abc");
    }
}
