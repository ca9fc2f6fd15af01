//! One letter over one conversation: its content as that host can take it, the transaction, what each recipient's answer
//! means, and which recipients are left for another host.

use std::sync::{Arc, atomic::AtomicBool};

use securanet_gateway::model::{
    Answer, Freshness, Query, StoreError,
    outbound::{OutboundAnswer, OutboundQuery, OutboundRecipient, Outcome, State},
};
use securanet_gateway::store::Answered;
use tokio::time::Instant;

use super::{
    attempt::{Line, OUR_FAULT_SECONDS},
    content::{self, ContentFault},
    gate::{Gate, broken_off, unless_stopped},
    letter::{self, Letter, Verdict},
    wire::Talk,
};
use crate::client::{self, Envelope, Sent};

/// Content that cannot be read needs an operator; it is not bounced for that.
const DAMAGED_SECONDS: u32 = 3600;

/// A conversation's host after a transaction.
struct Host {
    is_reusable: bool,
    /// As [`Talk::whom`] says.
    whom: (String, String),
}

/// What became of a letter with one host.
pub(crate) enum Carried {
    /// All its recipients are settled; whether the host took it for one of them.
    Settled(bool),
    /// These are not: the host did not take them, another may.
    Left(Letter, Verdict),
    /// The connection had died before: nothing was said to anybody.
    Stale(Letter),
    /// The host wants these in a transaction of their own (RFC 5321 4.5.3.1.10).
    Again(Letter),
    /// It was broken off by a stop or the lease's end, and needs nothing more.
    BrokenOff,
}

impl Line {
    /// Sends a letter in as many transactions as the host wants.
    pub(crate) async fn send_all(&self, talk: &mut dyn Talk, mut letter: Letter, began: Instant) -> Carried {
        loop {
            match self.send(talk, letter, began).await {
                Carried::Again(rest) if talk.is_reusable() => letter = rest,
                carried => return carried,
            }
        }
    }

    /// Sends a letter over a conversation and settles what can be.
    async fn send(&self, talk: &mut dyn Talk, letter: Letter, began: Instant) -> Carried {
        let opening = content::open(&self.core, letter.handle.group, &letter.head, talk.path());
        let mut source = match unless_stopped(&self.core.shutdown, &letter.lease, opening).await {
            Some(Ok(source)) => source,
            // Nothing was asked of the host.
            Some(Err(ContentFault::Unsendable(why))) => {
                let verdict = letter::ours(Outcome::Permanent, why.status(), why.to_string());
                let (host, tls) = talk.whom();
                return Carried::Left(letter, Verdict { host: Some(host), tls: Some(tls), ..verdict });
            }
            Some(Err(ContentFault::Store(error))) => {
                let verdict = match self.was_given_up(&letter, &error).await {
                    true => letter::not_tried(OUR_FAULT_SECONDS, "it was given up before it was sent"),
                    false => of_store(&error),
                };
                letter.settle_all(began, &verdict).await;
                return Carried::Settled(true);
            }
            None => {
                letter.stopped(began).await;
                return Carried::BrokenOff;
            }
        };
        let passed = Arc::new(AtomicBool::new(false));
        let all: Vec<usize> = (0..letter.recipients.len()).collect();
        let gate = Gate {
            intents: letter.intents.clone(),
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
            letter.stopped(began).await;
            return Carried::BrokenOff;
        };
        let host = Host { is_reusable: talk.is_reusable(), whom: talk.whom() };
        self.settle(&host, letter, sent, began).await
    }

    /// An operator may end an item that is taken; its content goes with its last recipient, and nothing is wrong then.
    async fn was_given_up(&self, letter: &Letter, error: &StoreError) -> bool {
        if !matches!(error, StoreError::NotFound) {
            return false;
        }
        let query = Query::Outbound(OutboundQuery::Item(letter.head.view.item));
        match self.core.client.store().query(letter.handle.group, query, Freshness::Now).await {
            Ok(Answered { answer: Answer::Outbound(OutboundAnswer::Item(item)), .. }) => {
                let has_ended = |state| matches!(state, State::Delivered | State::Failed | State::Cancelled);
                item.is_none_or(|item| item.recipients.iter().all(|recipient| has_ended(recipient.state)))
            }
            _ => false,
        }
    }

    async fn settle(&self, host: &Host, letter: Letter, sent: Sent, began: Instant) -> Carried {
        if sent.stale {
            return Carried::Stale(letter);
        }
        let mut left = None;
        let mut of_recipient = |verdict| match settled(verdict, host)? {
            verdict if is_of_this_host(&verdict, host) => {
                left = Some(verdict);
                None
            }
            verdict => Some(verdict),
        };
        let verdicts: Vec<Option<Verdict>> = sent.verdicts.into_iter().map(&mut of_recipient).collect();
        let is_taken = |verdict: &Verdict| verdict.outcome.is_success();
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

/// Whether the next host may do better: this one was lost before the final dot, or lacks what the message needs. What it
/// says itself of the message, the others would say too.
fn is_of_this_host(verdict: &Verdict, host: &Host) -> bool {
    match verdict.outcome {
        Outcome::TemporaryConnection => !host.is_reusable,
        Outcome::Permanent => !verdict.answer_is_remote,
        _ => false,
    }
}

fn of_store(error: &StoreError) -> Verdict {
    let why = format!("the message cannot be read: {error}");
    match error {
        StoreError::Damaged(_) | StoreError::NotFound | StoreError::Internal(_) => {
            tracing::error!(%error, "mail cannot leave: look at the store, `securanet scrub` says more");
            letter::not_tried(DAMAGED_SECONDS, why)
        }
        _ => letter::not_tried(OUR_FAULT_SECONDS, why),
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
