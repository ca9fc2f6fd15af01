//! Taking a message in, after DATA and in chunks, and answering for it.
//!
//! Octets that a client sends as data are data, whatever became of the message: a refused message is passed over to
//! its true end, with a bound; where client and we may not agree about that end the refusal is said at once, what
//! follows is read and thrown away for a while (so that the client gets to see the refusal), and the session ends.

use std::{sync::Arc, time::Duration};

use securanet_gateway::{clock, line::StreamError};
use tokio::time::Instant;

use super::{
    conversation::{Conversation, End, revoked},
    state::{Chunk, Chunking, Mailing, Named, State},
};
use crate::{
    commit::{Commit, Committed},
    envelope::Envelope,
    grammar::{ContentScanner, DataFault, Reply, Scan},
    intake::{Intake, Opening},
    metric,
    plan::Seen,
    refusal,
    submission::completion::Completion,
    trace::Received,
};

/// After a refusal that ends the session: silence of this length means that the client has sent all it had.
const LINGER: Duration = Duration::from_secs(10);

/// How a stretch of data ended.
enum Taken {
    /// All of it is there.
    All,
    /// Refused, and the session ends.
    Fault(DataFault),
    /// Refused, and there is more of it than we care to pass over.
    Endless,
}

impl Conversation {
    /// After DATA: 354, the message, the reply.
    pub(super) async fn receive_data(&mut self, mailing: Mailing) -> Result<State, End> {
        let mut intake = self.open(&mailing, ContentScanner::dotted(self.bare_newline)).await;
        if let Some(reply) = intake.refused().cloned() {
            self.refuse_data(&reply).await?;
            return Ok(Named::again(mailing.client));
        }
        self.answer(&Reply::plain(354, "end with CRLF.CRLF")).await?;
        match self.take(&mut intake, u64::MAX).await? {
            Taken::All => self.conclude(mailing, intake).await,
            Taken::Fault(fault) => Err(self.expel(&mailing, intake, fault).await),
            Taken::Endless => Err(self.give_up(mailing, intake).await),
        }
    }

    /// DATA is not accepted. A client waits for the reply before it sends a message; what one that did not wait has
    /// sent already is no command.
    pub(super) async fn refuse_data(&mut self, reply: &Reply) -> Result<(), End> {
        self.answer(reply).await?;
        if self.io.buffered().is_empty() && reply.code() != 421 { Ok(()) } else { Err(End::Done) }
    }

    /// Before the first chunk.
    pub(super) async fn begin_chunks(&mut self, mailing: Mailing) -> Chunking {
        let intake = self.open(&mailing, ContentScanner::counted(self.bare_newline)).await;
        Chunking { mailing, intake }
    }

    /// RFC 3030 2: the chunk's octets, and the reply to it.
    pub(super) async fn receive_chunk(&mut self, mut chunking: Chunking, chunk: Chunk) -> Result<State, End> {
        let intake = &mut chunking.intake;
        intake.announce(chunk.octets);
        let ending = match self.take(intake, chunk.octets).await? {
            Taken::All if chunk.last && intake.refused().is_none() => intake.scanner.finish().err(),
            Taken::All => None,
            Taken::Fault(fault) => Some(fault),
            Taken::Endless => return Err(self.give_up(chunking.mailing, chunking.intake).await),
        };
        if let Some(fault) = ending {
            return Err(self.expel(&chunking.mailing, chunking.intake, fault).await);
        }
        if chunk.last {
            return self.conclude(chunking.mailing, chunking.intake).await;
        }
        let reply = match chunking.intake.refused() {
            Some(reply) => reply.clone(),
            None => Reply::new(250, (0, 0), format!("{} octets taken", chunk.octets)),
        };
        self.answer(&reply).await?;
        if reply.code() == 421 {
            return Err(End::Done);
        }
        self.count(&reply).await?;
        Ok(State::Chunking(Box::new(chunking)))
    }

    /// Passes over a chunk that has no place here.
    pub(super) async fn skip_chunk(&mut self, chunk: Chunk, reply: &Reply) -> Result<(), End> {
        let settings = &self.smtp.settings;
        if chunk.octets > settings.message_size_bytes_max {
            return Err(self.say_farewell(reply).await);
        }
        let deadline = Instant::now() + settings.message_timeout;
        let mut left = chunk.octets;
        while left > 0 {
            self.wait_for_data(deadline).await?;
            let octets = usize::try_from(left).unwrap_or(usize::MAX).min(self.io.buffered().len());
            self.io.consume(octets);
            left -= octets as u64;
        }
        Ok(())
    }

    async fn open(&mut self, mailing: &Mailing, scanner: ContentScanner) -> Intake {
        let (settings, envelope) = (&self.smtp.settings, &mailing.envelope);
        let id = securanet_gateway::client::request_id().to_string();
        let only = if let [only] = envelope.recipients.as_slice() { Some(&only.rcpt.recipient) } else { None };
        let at = clock::now();
        let submitter = envelope.submitter.as_ref();
        let hides_client = submitter.is_some_and(|submitter| submitter.policies.hide_client);
        let trace = Received {
            client: &mailing.client.name,
            peer: (!hides_client).then_some(self.peer),
            hostname: &settings.hostname,
            hello: mailing.client.hello,
            utf8: envelope.mail.utf8,
            authenticated: submitter.is_some_and(|submitter| submitter.is_authenticated()),
            tls: self.io.tls().map(AsRef::as_ref),
            id: &id,
            recipient: only,
            at,
        }
        .field();
        let completion = submitter.map(|submitter| Completion::new(Arc::clone(submitter), id.clone(), at));
        let opening = Opening {
            tenants: &envelope.tenants,
            trace,
            size_octets: envelope.mail.size_octets,
            octets_max: settings.message_size_bytes_max,
            scanner,
            deadline: Instant::now() + settings.message_timeout,
            id,
            completion,
        };
        Intake::open(&self.smtp.store, opening).await
    }

    /// Takes octets of a message to its end, or `left` octets of it.
    async fn take(&mut self, intake: &mut Intake, mut left: u64) -> Result<Taken, End> {
        let mut passed_over = 0;
        while left > 0 {
            self.wait_for_data(intake.deadline).await?;
            let buffered = self.io.buffered();
            let piece = &buffered[..usize::try_from(left).unwrap_or(usize::MAX).min(buffered.len())];
            let mut input = piece;
            let taken = loop {
                match intake.scanner.next(&mut input) {
                    Scan::Content(octets) => intake.write(octets).await,
                    Scan::More => break None,
                    Scan::End => break Some(Taken::All),
                    Scan::Fault(fault) => {
                        metric::data_fault(self.smtp.protocol(), fault);
                        intake.refuse(fault.reply());
                        if fault.ends_session() {
                            break Some(Taken::Fault(fault));
                        }
                    }
                }
            };
            let octets = piece.len() - input.len();
            self.io.consume(octets);
            left -= octets as u64;
            if let Some(taken) = taken {
                return Ok(taken);
            }
            if intake.refused().is_some() {
                passed_over += octets as u64;
                if passed_over > self.smtp.settings.message_size_bytes_max {
                    return Ok(Taken::Endless);
                }
            }
        }
        Ok(Taken::All)
    }

    /// Waits until there is input; gives the client as long as a pause may last, and no longer than the message may.
    async fn wait_for_data(&mut self, deadline: Instant) -> Result<(), End> {
        if self.io.buffered().is_empty() {
            self.io.flush().await?;
            let left = deadline.saturating_duration_since(Instant::now());
            self.io.fill_some(self.smtp.settings.data_timeout.min(left)).await?;
        }
        Ok(())
    }

    /// The message is there: commit it if it is not refused, and answer.
    async fn conclude(&mut self, mailing: Mailing, intake: Intake) -> Result<State, End> {
        let Mailing { client, envelope, .. } = mailing;
        let (octets, id) = (intake.octets(), intake.id.clone());
        let smtp = Arc::clone(&self.smtp);
        let commit = Commit { smtp: &smtp, id: &id };
        let committed = match intake.finish().await {
            Ok(_) if self.is_revoked() => Committed { replies: commit.to_all(&envelope, revoked()), message_id: None },
            Ok(received) => {
                let seen = Seen { id: &id, eight_bit: received.eight_bit, eight_bit_header: received.eight_bit_header };
                commit.run(&envelope, received.sinks, seen).await
            }
            Err(reply) => Committed { replies: commit.to_all(&envelope, reply), message_id: None },
        };
        self.answer_for(&envelope, &committed, &id, octets).await?;
        Ok(Named::again(client))
    }

    /// Line ends are not what they should be: refuse, and end the session without reading another command.
    async fn expel(&mut self, mailing: &Mailing, intake: Intake, fault: DataFault) -> End {
        let replies = Commit { smtp: &self.smtp, id: &intake.id }.to_all(&mailing.envelope, fault.reply());
        let committed = Committed { replies, message_id: None };
        self.part(&mailing.envelope, &committed, intake).await
    }

    /// More of a refused message than we pass over: refuse, and end the session.
    async fn give_up(&mut self, mailing: Mailing, intake: Intake) -> End {
        let reply = intake.refused().cloned().unwrap_or_else(refusal::no_commit);
        let replies = Commit { smtp: &self.smtp, id: &intake.id }.to_all(&mailing.envelope, reply);
        let committed = Committed { replies, message_id: None };
        self.part(&mailing.envelope, &committed, intake).await
    }

    /// Answers for a message, listens for a while, and ends the session.
    async fn part(&mut self, envelope: &Envelope, committed: &Committed, mut intake: Intake) -> End {
        let id = std::mem::take(&mut intake.id);
        if let Err(end) = self.answer_for(envelope, committed, &id, intake.octets()).await {
            return end;
        }
        match self.linger(&mut intake).await {
            Ok(()) | Err(End::Stream(StreamError::ReadTimeout)) => End::Done,
            Err(end) => end,
        }
    }

    /// Reads and throws away what the client still sends: were the connection closed under it, it would not see our
    /// refusal and come again.
    async fn linger(&mut self, intake: &mut Intake) -> Result<(), End> {
        let mut left = self.smtp.settings.message_size_bytes_max;
        self.io.flush().await?;
        loop {
            let octets = self.io.buffered().len();
            let mut input = self.io.buffered();
            let ended = loop {
                match intake.scanner.next(&mut input) {
                    Scan::More => break false,
                    Scan::End => break true,
                    Scan::Content(_) | Scan::Fault(_) => {}
                }
            };
            self.io.consume(octets);
            left = left.saturating_sub(octets as u64);
            if ended || left == 0 || intake.deadline <= Instant::now() {
                return Ok(());
            }
            self.io.fill_some(LINGER).await?;
        }
    }

    async fn answer_for(
        &mut self,
        envelope: &Envelope,
        committed: &Committed,
        id: &str,
        octets: u64,
    ) -> Result<(), End> {
        let Committed { replies, message_id } = committed;
        let Some(best) = replies.iter().min_by_key(|reply| reply.code()) else { return Err(End::Done) };
        let outcome = metric::outcome(best);
        metric::message(self.smtp.protocol(), outcome);
        // In LMTP some recipients may have it and others not.
        let not_kept = replies.iter().filter(|reply| !reply.is_positive()).count();
        tracing::info!(
            mail = id, message_id, by = envelope.submitter.as_ref().map(|submitter| submitter.to_string()),
            from = %envelope.mail.sender, recipients = envelope.recipients.len(), octets, outcome,
            not_kept, code = best.code(), status = best.status(), text = best.text(), "message"
        );
        for reply in replies {
            self.answer(reply).await?;
        }
        // A node that goes down says so once; nothing is read after it.
        let last = refusal::draining().code();
        if replies.iter().any(|reply| reply.code() == last) { Err(End::Done) } else { Ok(()) }
    }
}
