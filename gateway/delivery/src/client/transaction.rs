//! One mail transaction: MAIL, RCPT, the content, the final dot; an outcome for each recipient.
//!
//! What is certain is told: an answer given before the connection broke stays an answer. What nobody can know is
//! told too: when the connection is lost after the final dot, no outcome is made up (RFC 1047).
//!
//! The final dot is preceded by the caller's word: without a yes for every accepted recipient the connection is
//! broken, which is the one way to take a transaction back.

use std::time::Duration;

use securanet_gateway::model::outbound::Outcome;

use super::{
    Envelope, Octets, RecipientOutcome, Session,
    content::{Dots, Encoder},
    failure::{Ending, OUR_FAULT_PAUSE_SECONDS},
    reply::Reply,
    session::State,
    wire::WireError,
};

const DATA: &str = "DATA\r\n";
/// Octets gathered before they are written.
const BLOCK_OCTETS: usize = 64 * 1024;
/// Octets of one BDAT chunk.
const CHUNK_OCTETS: usize = 1024 * 1024;
/// A server that broke off has this long for its last words to arrive.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Recipients that the caller's refusal for another one held back are tried again after this long.
const HELD_BACK_PAUSE_SECONDS: u32 = 1;

/// How a transaction ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sent {
    /// One for each recipient of the envelope, in its order.
    pub verdicts: Vec<Verdict>,
    /// The connection had been used before and was dead when this transaction began: open another one and send
    /// again. Nothing of the content was asked for.
    pub stale: bool,
}

/// How it ended for a recipient.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// An outcome to be settled.
    Settled(RecipientOutcome),
    /// The server wants fewer recipients at a time: send to it in another transaction. At least one recipient of
    /// this one was not answered so.
    Again,
    /// The caller forbade the final dot for it: it is not settled.
    Forbidden,
    /// The final dot has no answer that is one (the connection was lost, or garbage came), in these words.
    Uncertain(String),
}

/// Verdicts as they come.
struct Book {
    verdicts: Vec<Option<Verdict>>,
}

impl Book {
    fn open(&self) -> Vec<usize> {
        (0..self.verdicts.len()).filter(|at| self.verdicts[*at].is_none()).collect()
    }

    fn set(&mut self, at: usize, verdict: Verdict) {
        self.verdicts[at].get_or_insert(verdict);
    }

    /// The same for all that have none.
    fn rest(&mut self, verdict: &Verdict) {
        self.verdicts.iter_mut().for_each(|slot| {
            slot.get_or_insert_with(|| verdict.clone());
        });
    }
}

/// The transaction ends here; what it means for those without a verdict.
struct Stop(Verdict);

impl Session {
    /// Sends a message to the recipients of an envelope. Each gets a verdict.
    ///
    /// `content` is asked only when the server has accepted a recipient. When all but its end is sent,
    /// `before_final_dot` is asked with the positions of the accepted recipients and says for each whether it may be
    /// delivered; a single no breaks the connection, and the others are told [`Outcome::NotTried`].
    pub async fn send<H, F>(&mut self, envelope: &Envelope<'_>, content: &mut dyn Octets, before_final_dot: H) -> Sent
    where
        H: FnOnce(Vec<usize>) -> F + Send,
        F: Future<Output = Vec<bool>> + Send,
    {
        let mut book = Book { verdicts: vec![None; envelope.recipients.len()] };
        if let Some(refusal) = self.refuses(envelope) {
            book.rest(&Verdict::Settled(refusal));
            return Sent { verdicts: book.verdicts.into_iter().flatten().collect(), stale: false };
        }
        let used = self.used;
        let mut answered = false;
        let ended = async {
            let begun = self.envelope(envelope, &mut book, &mut answered).await?;
            if book.open().is_empty() {
                return Ok(());
            }
            if self.chunked() {
                self.chunks(content, before_final_dot, &mut book).await
            } else {
                self.data(begun, content, before_final_dot, &mut book).await
            }
        }
        .await;
        if let Err(Stop(verdict)) = ended {
            book.rest(&verdict);
        }
        let stale = used > 0 && !answered && !self.reusable();
        Sent { verdicts: book.verdicts.into_iter().flatten().collect(), stale }
    }

    /// Whether content goes in chunks, without DATA.
    fn chunked(&self) -> bool {
        self.capabilities().chunking && self.chunking
    }

    /// What this server can never do for this mail; another host of the destination may.
    #[must_use]
    pub fn refuses(&self, envelope: &Envelope<'_>) -> Option<RecipientOutcome> {
        let offered = self.capabilities();
        let too_large = offered.size_limit().is_some_and(|limit| envelope.size_bytes > limit);
        let by = envelope.options.deliver_by.as_ref();
        let impossible = if too_large {
            ((5, 3, 4), "the message is larger than the server takes")
        } else if envelope.needs_utf8() && !offered.smtp_utf8 {
            ((5, 6, 7), "an address or a header field is not in ASCII, and the server does not offer SMTPUTF8")
        } else if envelope.demands_tls() && !(self.authenticated && offered.require_tls) {
            ((5, 7, 30), "the message requires TLS up to its recipient, and the server does not offer REQUIRETLS")
        } else if by.is_some_and(|by| by.or_return) && offered.deliver_by.is_none() {
            ((5, 3, 3), "the message is to be returned if it is late, and the server does not offer DELIVERBY")
        } else {
            return None;
        };
        Some(self.told(Ending::impossible(impossible.0, impossible.1)))
    }

    fn told(&self, ending: Ending) -> RecipientOutcome {
        RecipientOutcome {
            outcome: ending.outcome,
            status: ending.status,
            host: Some(self.host().to_owned()),
            tls: Some(self.tls().to_owned()),
            answer: ending.answer,
            answer_is_remote: ending.is_remote,
        }
    }

    fn settled(&self, ending: Ending) -> Verdict {
        Verdict::Settled(self.told(ending))
    }

    fn lost(&mut self, during: &str, error: &WireError) -> Stop {
        self.state = State::Broken;
        Stop(self.settled(Ending::lost(during, error)))
    }

    /// A reply; 421 ends the connection whatever it answers.
    async fn answer(&mut self, during: &str, within: Duration) -> Result<Reply, Stop> {
        let reply = self.wire.reply(within).await.map_err(|error| self.lost(during, &error))?;
        if reply.code() == 421 {
            self.state = State::Broken;
            return Err(Stop(self.settled(Ending::of_reply(&reply, (4, 2)))));
        }
        Ok(reply)
    }

    /// RSET where it is due, MAIL and RCPT. Recipients that were not accepted have a verdict then. DATA goes with them
    /// where it may (RFC 2920 3.1: as the last of a group), which saves a round trip; the answer to it is returned.
    async fn envelope(
        &mut self,
        envelope: &Envelope<'_>,
        book: &mut Book,
        answered: &mut bool,
    ) -> Result<Option<Reply>, Stop> {
        let timeouts = self.timeouts.clone();
        if self.state == State::MustReset {
            let sent = self.wire.write(b"RSET\r\n", timeouts.block).await;
            sent.map_err(|error| self.lost("resetting", &error))?;
            let reply = self.answer("resetting", timeouts.reset).await?;
            if !reply.is_positive() {
                self.state = State::Broken;
                return Err(Stop(self.settled(Ending::temporary(&reply, Outcome::TemporaryAnswer, (5, 0)))));
            }
        }
        self.used += 1;
        self.state = State::MustReset;
        let mut commands = vec![envelope.mail(self.capabilities(), self.authenticated)];
        commands.extend(envelope.recipients.iter().map(|to| envelope.rcpt(to, self.capabilities())));
        let recipients = 1..commands.len();
        let mut turns = Turns { session: self, pipelined: false, patience: None };
        if turns.session.capabilities().pipelining {
            if !turns.session.chunked() {
                commands.push(DATA.to_owned());
            }
            turns.say_all(&commands).await;
        }
        let mail = turns.ask(&commands[0], "giving the sender", timeouts.mail).await?;
        *answered = true;
        if !mail.is_positive() {
            book.rest(&turns.session.settled(Ending::of_reply(&mail, (1, 0))));
            if !turns.pipelined {
                return Ok(None);
            }
        }
        let mut accepted = 0;
        let mut too_many = Vec::new();
        for (at, command) in commands[recipients.clone()].iter().enumerate() {
            let reply = turns.ask(command, "giving the recipients", timeouts.recipient).await?;
            if reply.is_positive() {
                accepted += 1;
            } else if is_too_many(&reply, accepted) {
                too_many.push((at, reply));
            } else {
                let told = turns.session.settled(Ending::of_reply(&reply, (1, 0)));
                book.set(at, told);
            }
        }
        for (at, reply) in too_many {
            let alone = Ending::temporary(&reply, Outcome::TemporaryAnswer, (5, 3));
            let verdict = if accepted > 0 { Verdict::Again } else { turns.session.settled(alone) };
            book.set(at, verdict);
        }
        let Some(data) = commands.get(recipients.end) else { return Ok(None) };
        let reply = turns.ask(data, "beginning the message", timeouts.data).await?;
        if reply.code() == 354 && book.open().is_empty() {
            self.end_without_content(accepted).await?;
        }
        Ok(Some(reply))
    }

    /// A server that said 354 although it refused everybody waits for content, and gets none (RFC 2920 3.1).
    async fn end_without_content(&mut self, accepted: usize) -> Result<(), Stop> {
        if accepted > 0 {
            // It took recipients of a sender that it refused: an end could deliver an empty message to them.
            self.state = State::Broken;
            return Ok(());
        }
        let (block, patience) = (self.timeouts.block, self.timeouts.reset);
        let during = "ending a message for nobody";
        let sent = self.wire.write(b".\r\n", block).await;
        sent.map_err(|error| self.lost(during, &error))?;
        self.answer(during, patience).await?;
        Ok(())
    }

    /// RFC 5321 4.1.1.4. `begun` is the answer to a DATA that was sent already.
    async fn data<H, F>(
        &mut self,
        begun: Option<Reply>,
        content: &mut dyn Octets,
        may_end: H,
        book: &mut Book,
    ) -> Result<(), Stop>
    where
        H: FnOnce(Vec<usize>) -> F + Send,
        F: Future<Output = Vec<bool>> + Send,
    {
        let timeouts = self.timeouts.clone();
        let reply = match begun {
            Some(reply) => reply,
            None => {
                let sent = self.wire.write(DATA.as_bytes(), timeouts.block).await;
                sent.map_err(|error| self.lost("beginning the message", &error))?;
                self.answer("beginning the message", timeouts.data).await?
            }
        };
        if reply.code() != 354 {
            return Err(Stop(self.settled(Ending::of_reply(&reply, (3, 0)))));
        }
        let mut encoder = Encoder::new(Dots::Doubled);
        let mut block = Vec::with_capacity(BLOCK_OCTETS * 2);
        while let Some(octets) = self.read(content).await? {
            encoder.encode(&octets, &mut block);
            if block.len() >= BLOCK_OCTETS {
                self.pour(&block).await?;
                block.clear();
            }
        }
        encoder.finish(&mut block);
        self.pour(&block).await?;
        self.ask_before_end(may_end, book).await?;
        self.end(b".\r\n").await
    }

    /// RFC 3030 2. The caller's word comes before the last chunk, since its end is the end of the message.
    async fn chunks<H, F>(&mut self, content: &mut dyn Octets, may_end: H, book: &mut Book) -> Result<(), Stop>
    where
        H: FnOnce(Vec<usize>) -> F + Send,
        F: Future<Output = Vec<bool>> + Send,
    {
        let mut encoder = Encoder::new(Dots::Kept);
        let mut chunk = Vec::new();
        while let Some(octets) = self.read(content).await? {
            if chunk.len() >= CHUNK_OCTETS {
                self.chunk(&chunk).await?;
                chunk.clear();
            }
            encoder.encode(&octets, &mut chunk);
        }
        encoder.finish(&mut chunk);
        self.ask_before_end(may_end, book).await?;
        // Up to its last octet the message is not there, and a connection that is lost is lost for certain.
        let mut last = format!("BDAT {} LAST\r\n", chunk.len()).into_bytes();
        last.append(&mut chunk);
        let end = last.split_off(last.len() - 1);
        self.pour(&last).await?;
        self.end(&end).await
    }

    /// A chunk that is not the last one.
    async fn chunk(&mut self, chunk: &[u8]) -> Result<(), Stop> {
        let timeouts = self.timeouts.clone();
        let command = format!("BDAT {}\r\n", chunk.len());
        let mut written = self.wire.write(command.as_bytes(), timeouts.block).await;
        if written.is_ok() {
            written = self.wire.write(chunk, timeouts.block).await;
        }
        let patience = if written.is_ok() { timeouts.final_dot } else { LAST_WORDS };
        let reply = self.answer("sending the message", patience).await?;
        if reply.is_positive() {
            return Ok(());
        }
        Err(Stop(self.settled(Ending::of_reply(&reply, (3, 0)))))
    }

    async fn read(&mut self, content: &mut dyn Octets) -> Result<Option<bytes::Bytes>, Stop> {
        content.next().await.map_err(|error| {
            self.state = State::Broken;
            tracing::error!(%error, "message on its way out cannot be read");
            Stop(self.settled(Ending::ours(format!("the message cannot be read: {error}"), OUR_FAULT_PAUSE_SECONDS)))
        })
    }

    /// Writes content. A server that speaks before its end has made up its mind, and one that takes no more may have
    /// said why.
    async fn pour(&mut self, octets: &[u8]) -> Result<(), Stop> {
        let written = self.wire.write(octets, self.timeouts.block).await;
        if written.is_ok() && !self.wire.has_spoken() {
            return Ok(());
        }
        self.state = State::Broken;
        let during = "sending the message";
        Err(match (self.wire.reply(LAST_WORDS).await, written) {
            (Ok(reply), _) => Stop(self.settled(Ending::of_reply(&reply, (3, 0)))),
            (Err(_), Err(error)) | (Err(error), Ok(())) => self.lost(during, &error),
        })
    }

    async fn ask_before_end<H, F>(&mut self, may_end: H, book: &mut Book) -> Result<(), Stop>
    where
        H: FnOnce(Vec<usize>) -> F + Send,
        F: Future<Output = Vec<bool>> + Send,
    {
        let accepted = book.open();
        let allowed = may_end(accepted.clone()).await;
        let allows = |nth: usize| allowed.get(nth).copied().unwrap_or(false);
        if (0..accepted.len()).all(allows) {
            return Ok(());
        }
        self.state = State::Broken;
        for (nth, at) in accepted.into_iter().enumerate().filter(|(nth, _)| !allows(*nth)) {
            tracing::debug!(nth, at, "final dot forbidden");
            book.set(at, Verdict::Forbidden);
        }
        let why = "the message was taken back before its end for the sake of another recipient";
        Err(Stop(self.settled(Ending::ours(why.to_owned(), HELD_BACK_PAUSE_SECONDS))))
    }

    /// Writes the end of the message and hears what became of it.
    async fn end(&mut self, octets: &[u8]) -> Result<(), Stop> {
        let timeouts = self.timeouts.clone();
        let written = self.wire.write(octets, timeouts.block).await;
        let patience = if written.is_ok() { timeouts.final_dot } else { LAST_WORDS };
        let heard = self.wire.reply(patience).await;
        if !matches!(&heard, Ok(reply) if reply.code() != 421) || written.is_err() {
            self.state = State::Broken;
        }
        let verdict = match (heard, written) {
            // Half of the end and a yes do not go together.
            (Ok(reply), Err(error)) if reply.is_positive() => Verdict::Uncertain(error.to_string()),
            (Ok(reply), _) if reply.is_positive() => {
                self.state = State::Ready;
                self.settled(Ending::delivered(&reply, self.capabilities().dsn))
            }
            (Ok(reply), _) => self.settled(Ending::of_reply(&reply, (3, 0))),
            // Garbage too: whoever says it may have taken the message.
            (Err(error), _) => Verdict::Uncertain(format!("after the end of the message: {error}")),
        };
        Err(Stop(verdict))
    }
}

/// Commands and their replies, one by one or all at once.
struct Turns<'a> {
    session: &'a mut Session,
    pipelined: bool,
    /// The server took only some of the commands: what it said to them is there, or never comes.
    patience: Option<Duration>,
}

impl Turns<'_> {
    async fn say_all(&mut self, commands: &[String]) {
        self.pipelined = true;
        let all = commands.concat();
        let within = self.session.timeouts.block;
        if self.session.wire.write(all.as_bytes(), within).await.is_err() {
            self.patience = Some(LAST_WORDS);
        }
    }

    async fn ask(&mut self, command: &str, during: &str, within: Duration) -> Result<Reply, Stop> {
        if !self.pipelined {
            let block = self.session.timeouts.block;
            let sent = self.session.wire.write(command.as_bytes(), block).await;
            if sent.is_err() {
                self.patience = Some(LAST_WORDS);
            }
        }
        self.session.answer(during, self.patience.unwrap_or(within)).await
    }
}

/// RFC 5321 4.5.3.1.10: 452 for too many recipients, and 552 from servers that follow RFC 821. Both codes have
/// other meanings (a full mailbox), so it is believed when the enhanced code says so, or when there is none and
/// recipients before were accepted.
fn is_too_many(reply: &Reply, accepted_before: usize) -> bool {
    match (reply.code(), reply.detail()) {
        (452 | 552, Some(detail)) => detail == (5, 3),
        (452 | 552, None) => accepted_before > 0,
        _ => false,
    }
}
