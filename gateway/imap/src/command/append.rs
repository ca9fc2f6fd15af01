//! APPEND (RFC 9051 6.3.12) with MULTIAPPEND (RFC 3502), APPENDUID (RFC 4315), APPENDLIMIT (RFC 7889) and
//! `UTF8 (...)` (RFC 9755).
//!
//! Each message goes from the connection to the store as it comes; none is ever held whole. All messages of one
//! command are committed by one change: all or none. A command that is refused in its middle is read to its end,
//! unless the client waits for us to ask for the next literal.
//!
//! Octets are kept as they come, bare LF included; a NUL or a CR without LF is refused, because no RFC 5322
//! message has them and clients and parsers disagree about what they mean.

use securanet_gateway::{
    clock,
    model::{
        MailboxId, UnixMillis,
        account::{AccountCommand, AccountRefusal, AccountReply, AppendMessage},
    },
    store::ContentSink,
};

use super::copy::try_create;
use crate::{
    grammar::{
        append::{self, Head, Next, Options},
        framing::{Limits, LiteralHeader, literal_header},
    },
    mailbox::{Account, out_of_turn},
    metric,
    response::{Code, Stop, Tagged},
    session::Session,
};

/// Messages of one MULTIAPPEND: their small parts ride in one log entry.
const MESSAGES_MAX: usize = 200;
/// Octets of recipes and summaries of one MULTIAPPEND, for the same reason.
const INLINE_OCTETS_MAX: usize = 8 * 1024 * 1024;
/// Octets handed to the store at a time.
const CHUNK_OCTETS: u64 = 64 * 1024;

/// Answers an APPEND whose first literal comes next.
pub(crate) async fn run(
    session: &mut Session,
    account: &Account,
    head: Head,
    header: LiteralHeader,
) -> Result<Tagged, Stop> {
    let target = match target(session, account, &head).await {
        Ok(mailbox) => Ok(mailbox),
        Err(Stop::Refused(tagged)) => Err(tagged),
        Err(fatal) => return Err(fatal),
    };
    let refused = target.as_ref().err().cloned();
    let mut appending = Appending::new(account, refused);
    if !appending.take_all(session, head.first, header).await? {
        // The client waits for a literal to be asked for and gets its answer instead.
        return Err(appending.refusal().into());
    }
    if appending.lease_until < clock::now() {
        appending.refuse(Tagged::no("Messages took too long to arrive, try again").code(Code::UNAVAILABLE));
    }
    match (target, appending.refused) {
        (Ok(mailbox), None) => {
            let (messages, octets) = (appending.messages.len(), appending.octets);
            let tagged = commit(account, mailbox, appending.messages).await?;
            metric::appended(messages, octets);
            Ok(tagged)
        }
        (Err(tagged), _) | (Ok(_), Some(tagged)) => Err(tagged.into()),
    }
}

async fn target(session: &mut Session, account: &Account, head: &Head) -> Result<MailboxId, Stop> {
    let name = head.mailbox.name(session.out.enabled.utf8)?;
    account.store.store().accepting()?;
    let Some(info) = account.mailbox(&name).await? else { return Err(try_create().into()) };
    Ok(info.id)
}

async fn commit(account: &Account, mailbox: MailboxId, messages: Vec<AppendMessage>) -> Result<Tagged, Stop> {
    match account.change(AccountCommand::Append { mailbox, messages }).await {
        Ok(AccountReply::Uids(map)) => {
            let code = map.uid_validity.filter(|_| !map.to.is_empty());
            let code = code.map(|validity| Code::append_uid(validity, &map.to));
            Ok(Tagged { code, ..Tagged::ok("Appended") })
        }
        Ok(_) => Err(out_of_turn()),
        Err(Stop::Refused(tagged)) if tagged == Tagged::from(AccountRefusal::NoMailbox) => Err(try_create().into()),
        Err(stop) => Err(stop),
    }
}

struct Appending<'a> {
    account: &'a Account,
    messages: Vec<AppendMessage>,
    /// Octets of messages taken so far.
    octets: u64,
    inline_octets: usize,
    /// The store keeps the parts of all messages until then.
    lease_until: UnixMillis,
    /// Why nothing will be appended; the first reason stays.
    refused: Option<Tagged>,
}

impl<'a> Appending<'a> {
    fn new(account: &'a Account, refused: Option<Tagged>) -> Self {
        let lease_until = UnixMillis::new(u64::MAX);
        Self { account, messages: Vec::new(), octets: 0, inline_octets: 0, lease_until, refused }
    }

    fn refuse(&mut self, tagged: impl Into<Tagged>) {
        self.refused.get_or_insert(tagged.into());
    }

    fn refusal(self) -> Tagged {
        self.refused.unwrap_or_else(|| Tagged::no("Nothing appended"))
    }

    /// Takes all messages of the command. `false`: the command ended early, because the client waits to be asked
    /// for a literal that nobody wants any more.
    async fn take_all(
        &mut self,
        session: &mut Session,
        mut options: Options,
        mut header: LiteralHeader,
    ) -> Result<bool, Stop> {
        loop {
            self.check(session, &options, &header).await?;
            if !header.without_asking {
                if self.refused.is_some() {
                    return Ok(false);
                }
                session.out.continuation("OK");
            }
            self.take_one(session, &options, &header).await?;
            let Some((next, its_header)) = self.next(session, options.utf8).await? else { return Ok(true) };
            (options, header) = (next, its_header);
        }
    }

    /// Looks for a reason to refuse the message before it comes.
    async fn check(&mut self, session: &mut Session, options: &Options, header: &LiteralHeader) -> Result<(), Stop> {
        let limit = session.service.settings.message_size_bytes_max;
        if options.utf8 && !session.out.enabled.utf8 {
            self.refuse(Tagged::bad("Enable UTF8=ACCEPT first"));
        } else if header.octets == 0 {
            // RFC 3502 6.3.11: an empty literal calls the whole command off.
            self.refuse(Tagged::no("An empty message is not appended"));
        } else if header.octets > limit {
            self.refuse(Tagged::no(format!("Message is larger than {limit} octets")).code(Code::TOO_BIG));
        } else if self.messages.len() >= MESSAGES_MAX || self.inline_octets > INLINE_OCTETS_MAX {
            self.refuse(Tagged::no("Too many messages in one command").code(Code::LIMIT));
        } else if self.refused.is_none() {
            let usage = self.account.quota().await;
            match usage {
                Err(Stop::Refused(tagged)) => self.refuse(tagged),
                Err(fatal) => return Err(fatal),
                Ok(usage) => {
                    let bytes = usage.bytes.saturating_add(self.octets).saturating_add(header.octets);
                    let messages = usage.messages.saturating_add(self.messages.len() as u64 + 1);
                    let over = usage.quota.bytes_max.is_some_and(|max| bytes > max)
                        || usage.quota.messages_max.is_some_and(|max| messages > max);
                    if over {
                        self.refuse(AccountRefusal::OverQuota);
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes the octets of one literal, to the store or to nowhere.
    async fn take_one(&mut self, session: &mut Session, options: &Options, header: &LiteralHeader) -> Result<(), Stop> {
        let mut left = header.octets;
        if self.refused.is_none()
            && let Err(stop) = self.store_one(session, options, &mut left, header.octets).await
        {
            match stop {
                Stop::Refused(tagged) => self.refuse(tagged),
                fatal @ Stop::Fatal(_) => return Err(fatal),
            }
        }
        let limit = session.service.settings.message_size_bytes_max.saturating_mul(2);
        if left > limit {
            return Err(crate::error::ImapError::UnwantedLiteral { octets: left }.into());
        }
        while left > 0 {
            left -= session.literal(left).await?.len() as u64;
        }
        Ok(())
    }

    async fn store_one(
        &mut self,
        session: &mut Session,
        options: &Options,
        left: &mut u64,
        octets: u64,
    ) -> Result<(), Stop> {
        let store = self.account.store.store();
        let mut sink: Box<dyn ContentSink> = store.put(self.account.tenant(), Vec::new(), Some(octets)).await?;
        let mut line_ends = LineEnds::default();
        while *left > 0 {
            let chunk = session.literal((*left).min(CHUNK_OCTETS)).await?;
            *left -= chunk.len() as u64;
            line_ends.check(&chunk, *left == 0)?;
            sink.write(&chunk).await?;
        }
        let ingested = sink.finish().await?;
        tracing::info!(message_id = ingested.message_id.as_deref().unwrap_or_default(), octets, "message taken in");
        self.lease_until = self.lease_until.min(ingested.lease_until);
        let mut message = ingested.message;
        message.internal_date = options.internal_date;
        self.octets += octets;
        self.inline_octets += message.recipe.bytes.len() + message.summary.bytes.len();
        self.messages.push(AppendMessage { message, flags: options.flags.clone() });
        Ok(())
    }

    /// Reads what follows a literal: another message's options and header, or the end.
    async fn next(&mut self, session: &mut Session, utf8: bool) -> Result<Option<(Options, LiteralHeader)>, Stop> {
        let deadline = session.service.settings.literal_pause;
        let Some(line) = session.wire.line(Limits::KNOWN.line_octets_max, deadline).await? else {
            self.refuse(Tagged::bad("Command is too long"));
            return Ok(None);
        };
        let header = literal_header(&line);
        let before = header.map_or(&line[..], |(_, begin)| &line[..begin]);
        match (append::parse_next(before, utf8, header.is_none()), header) {
            (Ok(Next::Message(options)), Some((header, _))) => Ok(Some((options, header))),
            (Ok(_), _) => Ok(None),
            (Err(error), None) => {
                self.refuse(error);
                Ok(None)
            }
            (Err(error), Some((header, _))) => {
                self.refuse(error);
                if header.without_asking {
                    session.pass_over(header.octets, true).await?;
                }
                Ok(None)
            }
        }
    }
}

/// Finds octets that no message has, across the borders of chunks.
#[derive(Debug, Default)]
struct LineEnds {
    after_cr: bool,
}

impl LineEnds {
    fn check(&mut self, chunk: &[u8], last: bool) -> Result<(), Tagged> {
        let bare_cr = || Tagged::no("Message has a CR without LF").code(Code::CANNOT);
        if memchr::memchr(0, chunk).is_some() {
            return Err(Tagged::no("Message has a NUL octet").code(Code::CANNOT));
        }
        if self.after_cr && chunk.first().is_some_and(|&octet| octet != b'\n') {
            return Err(bare_cr());
        }
        self.after_cr = chunk.last() == Some(&b'\r');
        let bare = memchr::memchr_iter(b'\r', chunk).any(|at| chunk.get(at + 1).is_some_and(|&next| next != b'\n'));
        if bare || (last && self.after_cr) { Err(bare_cr()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cr_needs_its_lf_also_across_chunks() {
        let check = |chunks: &[&[u8]]| {
            let mut line_ends = LineEnds::default();
            let last = chunks.len() - 1;
            chunks.iter().enumerate().all(|(at, chunk)| line_ends.check(chunk, at == last).is_ok())
        };
        assert!(check(&[b"a\r\nb\n\r\n"]));
        assert!(check(&[b"a\r", b"\nb"]));
        assert!(!check(&[b"a\r", b"b"]));
        assert!(!check(&[b"a\rb"]));
        assert!(!check(&[b"a\r"]));
        assert!(!check(&[b"a\0b"]));
        assert!(!check(&[b"\r\r\n"]));
    }
}
