//! A message is complete: put what was received to rest, commit it, and say what became of it.
//!
//! 250 is said only after a majority has it (promise P1). Whatever else happens the client is told to come again,
//! and a repeat of what was kept after all is suppressed by its repeat key, so nothing is lost and nothing doubled.

use std::time::{Duration, Instant};

use securanet_gateway::{
    model::{StoreError, TenantId, content::Ingested, limits},
    store::Executed,
};

use crate::{
    envelope::Envelope,
    grammar::Reply,
    intake::Sinks,
    metric,
    plan::{Fate, Plan, Seen},
    refusal,
    server::Smtp,
    trace,
};

/// Making the blobs of the largest message durable, on a slow disk.
const FINISH_TIMEOUT: Duration = Duration::from_secs(60);
/// The client's own limit, and a second for its last answer.
const COMMIT_TIMEOUT: Duration = Duration::from_millis(limits::COMMIT_TIMEOUT_MILLIS + 1000);

/// Where messages go.
pub(crate) struct Commit<'a> {
    pub(crate) smtp: &'a Smtp,
    /// Names the message in logs, its trace field and the reply.
    pub(crate) id: &'a str,
}

/// All that a recipient leads to has sent the message on before.
fn goes_round() -> Reply {
    Reply::new(554, (4, 6), "message goes round in circles: it was sent on from here before")
}

/// A request that was not sent, since what came before it was not kept.
fn not_tried() -> StoreError {
    StoreError::Unavailable("what came before it was not kept".to_owned())
}

/// What became of a message: one reply, or one for each recipient; and its Message-ID, for the log.
pub(crate) struct Committed {
    pub(crate) replies: Vec<Reply>,
    pub(crate) message_id: Option<String>,
}

impl Commit<'_> {
    /// Commits the message for its envelope.
    pub(crate) async fn run(&self, envelope: &Envelope, sinks: Sinks, seen: Seen<'_>) -> Committed {
        let begun = Instant::now();
        let messages = match self.finish(sinks).await {
            Ok(messages) => messages,
            Err(reply) => return Committed { replies: self.to_all(envelope, reply), message_id: None },
        };
        let first = messages.first().map(|(_, ingested)| ingested);
        let message_id = first.and_then(|ingested| ingested.message_id.clone());
        if first.is_some_and(|ingested| ingested.received_count > trace::RECEIVED_MAX) {
            let reply = Reply::new(554, (4, 6), "message goes round in circles: too many Received fields");
            return Committed { replies: self.to_all(envelope, reply), message_id };
        }
        let octets = first.map_or(0, |ingested| ingested.message.size_bytes);
        let mut plan = Plan::new(envelope, &messages, seen, self.separate());
        for by in &plan.looped {
            tracing::warn!(mail = self.id, %by, "not sent on again: it has been here before");
        }
        // One reply for all: nobody could be told that this recipient's mail was not kept.
        if !self.separate() && plan.leads_nowhere() {
            return Committed { replies: vec![goes_round()], message_id };
        }
        // The plan has its own copies: what is not needed any more is not held through the commit.
        drop(messages);
        let results = self.execute(&mut plan).await;
        plan.tell_of_sent(self.id, &results);
        let replies = self.replies(envelope, &plan, &plan.fates(&results)).await;
        if replies.iter().any(Reply::is_positive) {
            metric::kept(self.smtp.protocol(), octets, begun.elapsed());
        }
        Committed { replies, message_id }
    }

    /// Whether each recipient has a reply of its own (RFC 2033 4.2).
    fn separate(&self) -> bool {
        self.smtp.settings.is_lmtp()
    }

    /// The same reply for the message, or for each recipient.
    pub(crate) fn to_all(&self, envelope: &Envelope, reply: Reply) -> Vec<Reply> {
        vec![reply; if self.separate() { envelope.recipients.len() } else { 1 }]
    }

    async fn finish(&self, sinks: Sinks) -> Result<Vec<(TenantId, Ingested)>, Reply> {
        let mut messages = Vec::with_capacity(sinks.len());
        for (tenant, sink) in sinks {
            let finished = match tokio::time::timeout(FINISH_TIMEOUT, sink.finish()).await {
                Ok(finished) => finished,
                Err(_) => Err(StoreError::Unavailable("content was not durable in time".to_owned())),
            };
            match finished {
                Ok(ingested) => messages.push((tenant, ingested)),
                Err(error) => {
                    tracing::warn!(mail = self.id, %error, "message could not be taken in");
                    return Err(refusal::of_store(&error));
                }
            }
        }
        Ok(messages)
    }

    /// Sends all requests at the same time (there is more than one only in LMTP), or one after the other.
    async fn execute(&self, plan: &mut Plan) -> Vec<Result<Executed, StoreError>> {
        let mut commits = Vec::with_capacity(plan.requests.len());
        for request in &mut plan.requests {
            commits.push((request.group, std::mem::take(&mut request.commands)));
        }
        let commits = commits.into_iter().map(|(group, commands)| async move {
            let commit = self.smtp.store.execute(group, commands);
            let late = || StoreError::Unavailable("no commit in time".to_owned());
            tokio::time::timeout(COMMIT_TIMEOUT, commit).await.unwrap_or_else(|_| Err(late()))
        });
        if !plan.in_order {
            return futures::future::join_all(commits).await;
        }
        let mut results = Vec::with_capacity(plan.requests.len());
        for commit in commits {
            let goes_on = plan.requests.iter().zip(&results).all(|(request, result)| request.is_kept(result));
            results.push(if goes_on { commit.await } else { Err(not_tried()) });
        }
        results
    }

    async fn replies(&self, envelope: &Envelope, plan: &Plan, fates: &[Fate]) -> Vec<Reply> {
        let repeats = fates.iter().filter(|fate| matches!(fate, Fate::Kept { repeat: true })).count();
        metric::repeats(self.smtp.protocol(), repeats as u64);
        if repeats > 0 {
            tracing::info!(mail = self.id, repeats, "a sender's repeat: what was here already was not kept again");
        }
        if fates.contains(&Fate::Elsewhere) {
            self.smtp.recipients.forget();
        }
        if !self.separate() {
            let worst = fates.iter().max_by_key(|fate| fate.gravity());
            return vec![self.reply(envelope, 0, worst).await];
        }
        let mut replies = Vec::with_capacity(envelope.recipients.len());
        for recipient in 0..envelope.recipients.len() {
            let worst = plan.of_recipient(recipient, fates).max_by_key(|fate| fate.gravity());
            replies.push(self.reply(envelope, recipient, worst).await);
        }
        replies
    }

    async fn reply(&self, envelope: &Envelope, recipient: usize, worst: Option<&Fate>) -> Reply {
        match worst {
            Some(Fate::Kept { .. }) => Reply::new(250, (0, 0), format!("kept as {}", self.id)),
            Some(Fate::OverQuota) => match envelope.recipients[recipient].accepted.accounts().first() {
                Some(account) => self.smtp.recipients.over_quota(account).await,
                None => refusal::no_commit(),
            },
            Some(Fate::Elsewhere) => Reply::new(451, (3, 0), "mailbox is moving: try again later"),
            Some(Fate::Later(why)) => Reply::new(451, (3, 0), *why),
            Some(Fate::Failed(error)) => {
                tracing::warn!(mail = self.id, %error, "message was not committed");
                refusal::of_store(error)
            }
            // It led nowhere but back to where it has been.
            None => goes_round(),
        }
    }
}
